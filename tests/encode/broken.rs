//! `l0-encode` on broken input: the status, the message with its place, and nothing half-written.

use std::{
    collections::BTreeMap,
    io::Write,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    encode::programs::encode,
    support::{Run, Work, run, start},
};

const TOY: &str = "--model testdata/toy";
const GOOD: &str = "{\"_id\":\"a\",\"title\":\"t\",\"text\":\"bread\"}\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A table of documents, as the program itself writes it.
fn table(form: &str, keep: &str) -> Vec<u8> {
    let arguments = format!("{TOY} --quiet testdata/demo/corpus.jsonl {keep} --format {form}");
    encode(&Work::new(), &arguments, b"").exits(0).stdout().to_vec()
}

/// A run that fails leaves the old output and no file next to it.
#[track_caller]
fn refused(work: &Work, arguments: &str, status: i32, message: &str) {
    work.write("out.parquet", "old");
    let before = work.names();
    let run = encode(work, &format!("{arguments} -o out.parquet"), b"").exits(status).says(message);
    assert!(run.stderr().starts_with("l0-encode: ") || status == 2, "{run}");
    assert!(!run.stderr().contains("panic"), "{run}");
    assert_eq!(run.stdout(), b"", "{run}");
    assert_eq!((work.names(), work.text("out.parquet").as_str()), (before, "old"));
}

#[track_caller]
fn refused_file(name: &str, bytes: &[u8], message: &str) {
    let work = Work::new();
    work.write(name, bytes);
    refused(&work, &format!("{TOY} {name}"), 1, &format!("l0-encode: {name}{message}"));
}

#[test]
fn a_bad_line_is_named_with_its_file_and_number() {
    let want = r#"expected {"_id", "title", "text"}, found "#;
    for (line, found) in [
        (r#"{"text":"x"}"#, "no id"),
        (r#"{"_id":null,"text":"x"}"#, "no id"),
        (r#"{"_id":"","text":"x"}"#, r#"an id that is """#),
        (r#"{"_id":["a"],"text":"x"}"#, r#"an id that is ["a"]"#),
        (r#"{"_id":1.5,"text":"x"}"#, "an id that is 1.5"),
        (r#"{"_id":true,"text":"x"}"#, "an id that is true"),
        (r#"{"_id":"b"}"#, "no text in `b`"),
        (r#"{"_id":"b","text":null}"#, "no text in `b`"),
        (r#"{"_id":"b","text":7}"#, "invalid type: integer `7`, expected a string at column 19 of"),
        (r#"{"_id":"b","text":["x"]}"#, "invalid type: sequence, expected a string"),
        (r#"{"_id":"b","title":{},"text":""}"#, "invalid type: map, expected a string"),
        (r#"{"_id":"b","_id":"c","text":""}"#, "duplicate field `_id`"),
        (r#"{"_id":"b","text":"x"#, "EOF while parsing a string at column 20 of `{\"_id\""),
        (r#"{"_id":"b","text":"x"}}"#, "trailing characters at column 23"),
        (r#"{"_id":"b","text":"\ud800"}"#, "unexpected end of hex escape"),
        (r#"{'_id':'b','text':'x'}"#, "key must be a string at column 2"),
        (r#"["b","t","x"]"#, r#"no object but `["b","t","x"]`"#),
        ("plain text", "no object but `plain text`"),
        ("\0\0\0", "no object but `\u{fffd}\u{fffd}\u{fffd}`"),
        ("{\"_id\":\"b\",\"text\":\"\0\"}", "control character"),
    ] {
        let bytes = format!("{GOOD}{line}\n{GOOD}");
        refused_file("corpus.jsonl", bytes.as_bytes(), &format!(":2: {want}{found}"));
    }
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_place() {
    let utf8 = "expected UTF-8 text, found byte";
    let latin1 = [GOOD.as_bytes(), b"{\"_id\":\"caf\xe9\",\"text\":\"\"}\n"].concat();
    refused_file("corpus.jsonl", &latin1, &format!(":2: {utf8} 0xe9 at column 12\n"));
    let cut = [GOOD.as_bytes(), b"\n\n{\"_id\":\"caf\xc3"].concat();
    refused_file("corpus.jsonl", &cut, &format!(":4: {utf8} 0xc3 at column 12\n"));
    let utf16: Vec<u8> = "\u{feff}{}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    refused_file("corpus.jsonl", &utf16, &format!(":1: {utf8} 0xff at column 1\n"));
}

#[test]
fn a_line_of_a_gigabyte_is_refused_in_little_memory() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: usize = 1000;
    let work = Work::new();
    let mut limited = work.shell(&format!("ulimit -v 600000; exec l0-encode {TOY} -o out.parquet"));
    let mut child = start(limited.stdout(Stdio::null()));
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(GOOD.as_bytes()).unwrap();
    let chunk = vec![b'x'; CHUNK];
    for _ in 0..CHUNKS {
        pipe.write_all(&chunk).unwrap();
    }
    drop(pipe);
    let bytes = CHUNK * CHUNKS;
    let message = format!("<stdin>:2: expected a line of at most 64 MiB, found {bytes} bytes\n");
    Run::of(child).exits(1).says(&message);
    assert!(work.names().is_empty());
}

/// Input that is taken: the ids of its rows, and what the summary says.
#[track_caller]
fn taken(bytes: impl AsRef<[u8]>, ids: &[&str], message: &str) -> String {
    let arguments = format!("{TOY} --format jsonl");
    let run = encode(&Work::new(), &arguments, bytes.as_ref()).exits(0).says(message);
    let rows = run.stdout_text();
    let found: Vec<&str> = rows.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    assert_eq!(found, ids, "{run}");
    rows
}

#[test]
fn unusual_input_is_taken_and_reported_of() {
    taken("", &[], "0 rows");
    taken("\n \n\r\n\t", &[], "0 rows");
    taken("\u{feff}", &[], "0 rows");
    taken(format!("\u{feff}{GOOD}"), &["a"], "1 rows");
    taken(GOOD.replace('\n', "\r\n").repeat(2), &["a", "a"], "2 rows");
    taken(GOOD.trim_end(), &["a"], "1 rows");
    taken(r#"{"_id":"a","title":null,"text":"x"}"#, &["a"], "1 rows");
    taken(r#"{"_id":12,"text":"x"}"#, &["12"], "1 rows");
    taken(r#"{"_id":"a","id":9,"metadata":{"url":[]},"text":"x"}"#, &["a"], "1 rows");
    taken(r#"{"_id":"a","text":"\u0000"}"#, &["a"], "1 rows");
    taken(gzip(GOOD.as_bytes()).repeat(2), &["a", "a"], "2 rows");
    taken(zstd::encode_all(GOOD.as_bytes(), 3).unwrap().repeat(2), &["a", "a"], "2 rows");
    for nothing in [r#"{"_id":"a","text":""}"#, r#"{"_id":"a","title":" ","text":"\u00a0"}"#] {
        let rows = taken(nothing, &["a"], "; 1 without text");
        assert!(rows.contains(r#""indices":[],"#), "{rows}");
    }
}

#[test]
fn an_empty_input_makes_a_whole_file_in_every_form() {
    let work = Work::new();
    for form in ["parquet", "arrow", "jsonl"] {
        encode(&work, &format!("{TOY} -o out.{form}"), b"").exits(0).says("0 rows");
        assert_eq!(work.read(&format!("out.{form}")).is_empty(), form == "jsonl");
    }
    run(work.shell(&format!("l0-encode {TOY} --format jsonl <&-")), b"").exits(0).says("0 rows");
}

#[test]
fn tables_of_documents_are_read_as_their_lines() {
    let work = Work::new();
    let lines = std::fs::read("testdata/demo/corpus.jsonl").unwrap();
    let arguments = format!("{TOY} --format jsonl");
    let expected = encode(&work, &arguments, &lines).exits(0);
    for form in ["parquet", "arrow", "jsonl"] {
        let table = table(form, "--keep-text");
        for bytes in [table.clone(), gzip(&table)] {
            let got = encode(&work, &arguments, &bytes).exits(0);
            assert!(got.stdout() == expected.stdout(), "{form}");
        }
    }
}

#[test]
fn files_cut_short_are_named() {
    let lines = GOOD.repeat(4000);
    let gz = gzip(lines.as_bytes());
    let zst = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    for length in [3, 15, gz.len() / 2, gz.len() - 1] {
        refused_file("corpus.jsonl.gz", &gz[..length], ": ");
    }
    for length in [5, zst.len() / 2, zst.len() - 1] {
        refused_file("corpus.jsonl.zst", &zst[..length], ": ");
    }
    let mut flipped = gz.clone();
    flipped[gz.len() - 6] ^= 1;
    refused_file("corpus.jsonl.gz", &flipped, ": corrupt gzip stream");
    for (form, kind) in [("parquet", "Parquet"), ("arrow", "Arrow")] {
        let table = table(form, "--keep-text");
        for length in [8, table.len() / 2, table.len() - 9] {
            let message = format!(": not readable as {kind} (cut short, or damaged): ");
            refused_file(&format!("corpus.{form}"), &table[..length], &message);
        }
        let bare = self::table(form, "");
        let message = ": expected columns _id, title, text; found id Utf8, indices List(";
        refused_file(&format!("corpus.{form}"), &bare, message);
    }
}

#[test]
fn inputs_and_outputs_that_are_not_there_are_named() {
    let work = Work::new();
    work.write("corpus.jsonl", GOOD);
    work.write("folder/file", "");
    refused(&work, &format!("{TOY} none.jsonl"), 1, "l0-encode: none.jsonl: No such file");
    refused(&work, &format!("{TOY} corpus.jsonl none.jsonl"), 1, "none.jsonl: No such file");
    refused(&work, &format!("{TOY} folder"), 1, "folder: expected a file, found a directory");
    for (output, message) in [
        ("none/out.parquet", "none/out.parquet: expected a folder none to write in, found none"),
        ("folder --format arrow", "folder: expected a file to write, found a directory"),
        (
            "corpus.jsonl/out.parquet",
            "corpus.jsonl/out.parquet: expected a folder corpus.jsonl to write in",
        ),
    ] {
        encode(&work, &format!("{TOY} corpus.jsonl -o {output}"), b"").exits(1).says(message);
    }
    assert_eq!(work.names(), ["corpus.jsonl", "folder", "out.parquet"]);
}

#[test]
fn a_full_disk_is_a_failure() {
    let work = Work::new();
    for form in ["parquet", "arrow", "jsonl"] {
        for line in [
            format!("l0-encode {TOY} testdata/demo/corpus.jsonl --format {form} -o /dev/full"),
            format!("l0-encode {TOY} testdata/demo/corpus.jsonl --format {form} >/dev/full"),
        ] {
            run(work.shell(&line), b"").exits(1).says("No space left on device");
        }
    }
    let line = "l0-encode idf --tokenizer testdata/toy testdata/demo/corpus.jsonl >/dev/full";
    run(work.shell(line), b"").exits(1).says("No space left on device");
}

/// Type, shape and bytes by name.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// The toy model in `model/`, its tensors changed.
fn model(work: &Work, change: impl FnOnce(&mut Tensors)) {
    for name in ["config.json", "tokenizer.json", "vocab.txt"] {
        work.write(&format!("model/{name}"), work.read(&format!("testdata/toy/{name}")));
    }
    let bytes = work.read("testdata/toy/model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let entry = |(name, tensor): (&str, TensorView)| {
        (name.to_owned(), (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()))
    };
    let mut tensors: Tensors = tensors.iter().map(entry).collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (kind, shape, data))| {
        (name, TensorView::new(*kind, shape.clone(), data).unwrap())
    });
    work.write("model/model.safetensors", safetensors::serialize(views, None).unwrap());
}

#[track_caller]
fn refused_model(spoil: impl FnOnce(&Work), status: i32, message: &str) {
    let work = Work::new();
    work.write("corpus.jsonl", GOOD);
    model(&work, |_| {});
    spoil(&work);
    refused(&work, "--model model corpus.jsonl", status, message);
}

#[test]
fn a_model_with_a_file_missing_or_cut_is_refused() {
    let remove = |work: &Work, name: &str| std::fs::remove_file(work.path(name)).unwrap();
    let edit = |work: &Work, name: &str, from: &str, to: &str| {
        let text = work.text(name);
        assert!(text.contains(from), "{name} without {from}");
        work.write(name, text.replacen(from, to, 1));
    };
    let config = "model/config.json";
    refused_model(|work| remove(work, config), 1, "model/config.json: No such file");
    refused_model(
        |work| work.write(config, "{"),
        1,
        "model/config.json: expected a model's config: EOF",
    );
    for (from, to, message) in [
        ("\"bert\"", "\"t5\"", "expected model_type bert, distilbert, roberta"),
        ("\"gelu\"", "\"relu\"", "expected hidden_act gelu, found `relu`"),
        ("heads\": 2", "heads\": 5", "expected sizes above 0, heads that divide the hidden size"),
        ("layers\": 2", "layers\": 99999999999999", "at most 1000 layers"),
        ("layers\": 2", "layers\": 3", "missing: bert.encoder.layer.2.attention"),
        ("layers\": 2", "layers\": 1", "unexpected tensors: bert.encoder.layer.1.attention"),
        (
            "hidden_size\": 32",
            "hidden_size\": 34",
            "expected bert.embeddings.word_embeddings.weight of shape [430, 34], found [430, 32]",
        ),
    ] {
        refused_model(|work| edit(work, config, from, to), 1, message);
    }
    let tokenizer = "model/tokenizer.json";
    refused_model(|work| work.write(tokenizer, "{"), 1, "model/tokenizer.json: not a tokenizer");
    let no_tokenizer = |work: &Work| {
        remove(work, tokenizer);
        remove(work, "model/vocab.txt");
    };
    refused_model(
        no_tokenizer,
        1,
        "model: expected tokenizer.json or vocab.txt in it, found neither",
    );
    let weights = "model/model.safetensors";
    let want = "model: expected model.safetensors or pytorch_model.bin in it, found neither";
    refused_model(|work| remove(work, weights), 1, want);
    for length in [0, 7, 100, 60_000] {
        let cut = |work: &Work| work.write(weights, &work.read(weights)[..length]);
        refused_model(cut, 1, "model/model.safetensors: ");
    }
    let work = Work::new();
    work.write("corpus.jsonl", GOOD);
    refused(&work, "--model none corpus.jsonl", 1, "none: expected a model directory, found none");
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let (bias, norm) = ("cls.predictions.bias", "bert.embeddings.LayerNorm.bias");
    let spoil = |change: &dyn Fn(&mut Tensors), message: &str| {
        let message = format!("model/model.safetensors: {message}\n");
        refused_model(|work| model(work, |tensors| change(tensors)), 1, &message);
    };
    let head = "expected a masked-language model with its head; missing:";
    spoil(&|tensors| drop(tensors.remove(bias)), &format!("{head} {bias}"));
    let more = (Dtype::F32, vec![1], vec![0; 4]);
    spoil(&|tensors| drop(tensors.insert("x.y".into(), more.clone())), "unexpected tensors: x.y");
    let wrong = (Dtype::F32, vec![16], vec![0; 64]);
    let message = format!("expected {norm} of shape [32], found [16]");
    spoil(&|tensors| drop(tensors.insert(norm.into(), wrong.clone())), &message);
    let whole = (Dtype::I32, vec![32], vec![0; 128]);
    let message = format!("expected {norm} in floating point, found whole numbers");
    spoil(&|tensors| drop(tensors.insert(norm.into(), whole.clone())), &message);
    let twice = (Dtype::F32, vec![32], vec![0; 128]);
    let message = format!("two tensors for {norm}, one is called {norm}");
    let old = norm.replace("bias", "beta");
    spoil(&|tensors| drop(tensors.insert(old.clone(), twice.clone())), &message);
}

#[test]
fn a_tokenizer_that_is_larger_than_the_network_is_a_mismatch() {
    let spoil = |work: &Work| {
        let file = "model/tokenizer.json";
        let mut larger: serde_json::Value = serde_json::from_slice(&work.read(file)).unwrap();
        larger["model"]["vocab"]["zzz"] = 430.into();
        work.write(file, larger.to_string());
    };
    let message = "vocabulary of model: expected at most 430 tokens, as the network has, found 431";
    refused_model(spoil, 3, message);
}

#[test]
fn wrong_usage_is_reported_before_any_work() {
    let work = Work::new();
    work.write("corpus.jsonl", GOOD);
    for (arguments, message) in [
        ("--model testdata/toy --no-such-flag", "unexpected argument '--no-such-flag'"),
        ("--tokenizer testdata/toy", "--tokenizer goes with --model bm25 only"),
        (
            "--model testdata/toy --tokenizer testdata/toy",
            "--tokenizer goes with --model bm25 only",
        ),
        ("--model testdata/toy --prune top_k", "top_k"),
        ("--model testdata/toy --prune top_k:0", "top_k"),
        ("--model testdata/toy --prune max_ratio:2", "max_ratio"),
        ("--model testdata/toy --prune alpha_mass:NaN", "alpha_mass"),
        ("--model testdata/toy --prune some:1", "some:1"),
        ("--model testdata/toy --shard 3/3", "expected I/N with I from 0 to N - 1"),
        ("--model testdata/toy --shard 1", "expected I/N with I from 0 to N - 1"),
        (
            "--model testdata/toy --max-tokens 65",
            "--max-tokens: expected at most 64 tokens, the positions of the model, found 65",
        ),
        ("--model testdata/toy --max-tokens 2", "2 is not in"),
        ("--model testdata/toy --activation log1p:9", "log1p:9"),
        ("--model testdata/toy --threads 0", "0 is not in"),
        ("--model testdata/toy --format xml", "expected parquet, arrow or jsonl, found `xml`"),
        ("--model testdata/toy --on-error ask", "expected stop or skip, found `ask`"),
        ("--model testdata/toy --rejects bad.jsonl", "--rejects needs --on-error skip"),
        ("--model bm25 --tokenizer testdata/toy --k1=-1", "k1"),
        ("--model bm25 --tokenizer testdata/toy --b 2", "expected k1 from 0 and b from 0 to 1"),
    ] {
        refused(&work, &format!("corpus.jsonl {arguments}"), 2, message);
    }
    encode(&work, &format!("{TOY} corpus.jsonl -o out.txt"), b"")
        .exits(2)
        .says("out.txt: expected .parquet, .arrow or .jsonl, found .txt; or say --format");
}

#[test]
fn queries_that_are_vectors_are_refused_with_their_place() {
    let work = Work::new();
    work.write("queries.jsonl", "q1\tbread\n{\"indices\":[1],\"values\":[1]}\n");
    let message = "queries.jsonl:2: expected a text to encode, found a vector";
    refused(&work, &format!("{TOY} --role query queries.jsonl"), 1, message);
    let skip = format!("{TOY} --role query queries.jsonl --on-error skip --format jsonl");
    encode(&work, &skip, b"").exits(0).says("1 rows").says("; 1 refused");
}

#[test]
fn refused_records_are_skipped_counted_and_kept() {
    let work = Work::new();
    let bad = b"{\"_id\":\"b\"}\n{\"_id\":\"\xff\"}\n[]\r\n".as_slice();
    let mixed = [GOOD.as_bytes(), bad, GOOD.as_bytes()].concat();
    let skip = format!("{TOY} --on-error skip --rejects rejects.jsonl");
    let run = encode(&work, &format!("{skip} -o out.jsonl"), &mixed).exits(0);
    assert!(run.stderr().contains("2 rows") && run.stderr().contains("; 3 refused"), "{run}");
    assert_eq!(work.text("out.jsonl").lines().count(), 2);
    let want = r#"expected {\"_id\", \"title\", \"text\"}, found "#;
    let expected = [
        format!(r#"{{"reason":"<stdin>:2: {want}no text in `b`","record":"{{\"_id\":\"b\"}}"}}"#),
        "{\"reason\":\"<stdin>:3: expected UTF-8 text, found byte 0xff at column 9\",\"record\":\"{\\\"_id\\\":\\\"\u{fffd}\\\"}\"}".to_owned(),
        format!(r#"{{"reason":"<stdin>:4: {want}no object but `[]`","record":"[]"}}"#),
    ];
    assert_eq!(work.text("rejects.jsonl").lines().collect::<Vec<_>>(), expected);
    let without_file = format!("{TOY} --on-error skip --format jsonl");
    encode(&work, &without_file, &mixed).exits(0).says("; 3 refused");
}

#[test]
fn records_that_are_all_refused_are_a_failure() {
    let work = Work::new();
    let skip = format!("{TOY} --on-error skip --rejects rejects.jsonl");
    encode(&work, &format!("{skip} -o out.jsonl"), b"{}\n[]\n")
        .exits(1)
        .says("input: all 2 records were refused; no output was written");
    assert_eq!(work.names(), ["rejects.jsonl"]);
    assert_eq!(work.text("rejects.jsonl").lines().count(), 2);
    encode(&work, "idf --tokenizer testdata/toy --on-error skip -o idf.json", b"{}\n").exits(1);
    assert_eq!(work.names(), ["rejects.jsonl"]);
}

#[test]
fn a_reader_that_left_ends_the_work_though_more_may_come() {
    let work = Work::new();
    let line = format!("{TOY} --format jsonl --batch-tokens 1 --quiet");
    let mut child = start(&mut work.command("l0-encode", &line));
    drop(child.stdout.take());
    let mut pipe = child.stdin.take().unwrap();
    let text = std::fs::read("testdata/demo/corpus.jsonl").unwrap();
    // more rows than a buffer holds; that the pipe breaks meanwhile is what is hoped for
    let _ = pipe.write_all(&text).and_then(|()| pipe.flush());
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it waits for more");
        sleep(Duration::from_millis(20));
    };
    drop(pipe);
    assert_eq!(status.code(), Some(0));
}
