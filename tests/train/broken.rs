//! Bad training data of every kind, from outside: training and `l0-train check` name file and line, and
//! what can be trained on but should not be is reported by `check`.

use crate::{
    records::examples::{numbers, parquet, strings, texts},
    support::{Work, run},
};

const TRAIN: &str = "l0-train";

const RECIPE: &str = r#"
[model]
base = "testdata/toy-st"
max_tokens = 16
[[data]]
path = "x"
[[stage]]
steps = 1
batch = 4
documents = 2
loss = [{ kind = "info_nce" }]
"#;

fn work() -> Work {
    let work = Work::new();
    work.write("recipe.toml", RECIPE);
    work
}

/// A file of four records, of which the third is this one. A batch of four reads all of them.
fn third(line: &str) -> String {
    let good = |at: u8| format!("{{\"query\":\"sea {at}\",\"pos\":\"rain\",\"negs\":[\"sun\"]}}\n");
    [good(1), good(2), format!("{line}\n"), good(4)].concat()
}

/// Training and the look at the data both fail and say this.
#[track_caller]
fn refused(work: &Work, more: [&str; 2], found: &str) {
    let train = format!("recipe.toml -o out --dry-run --quiet {}", more[0]);
    run(work.command(TRAIN, &train), b"").exits(1).says(found);
    // what is found wrong is the answer, what keeps the file from being read an error
    let check = run(work.command(TRAIN, &format!("check x {}", more[1])), b"").exits(1);
    assert!(check.stdout_text().contains(found) || check.stderr().contains(found), "{check}");
    assert!(!work.path("out").exists());
}

/// Nothing fails, and the look at the data says this.
#[track_caller]
fn remarked(lines: &str, found: &str) {
    let work = work();
    work.write("x", lines);
    run(work.command(TRAIN, "recipe.toml -o out --dry-run --quiet"), b"").exits(0);
    let check = work.command(TRAIN, "check x --tokenizer testdata/toy");
    run(check, b"").exits(0).prints(found);
}

#[test]
fn records_that_cannot_be_used_are_named_with_file_and_line() {
    for (line, found) in [
        (r#"{"query":"q","docs":["a","b"],"scores":[1]}"#, "1 scores for 2 documents"),
        (r#"{"query":"q","docs":["a","b"],"scores":[1,NaN]}"#, "expected value at column 43"),
        (r#"{"query":"q","docs":["a","b"],"scores":[1,1e99]}"#, "a score inf"),
        (r#"{"query":"q","docs":["a"," "],"scores":[1,2]}"#, "an empty text as document 2"),
        (r#"{"query":"q","pos":[],"negs":["b"]}"#, "an empty list pos"),
        (r#"{"query":"","pos":"a"}"#, "an empty query"),
        (r#"{"query":"q","pos":"a","docs":["b"],"scores":[1]}"#, "two forms in one record"),
        (r#"{"query":"q","pos":"a","pos":"b"}"#, "the key `pos` twice"),
        (r#"{"query":"q","negatives":["b"]}"#, "keys query, negatives"),
        (r#"{"query":"q","pos":"a","negs":["b"#, "EOF while parsing a string"),
        (r#"{"qid":1,"pos":[2],"neg":{"bm25":[3]}}"#, "found ids alone"),
        ("query\tdocument", "expected value at column 1 of `query"),
        (r#"["q","a","b"]"#, "expected a JSON object"),
    ] {
        let work = work();
        work.write("x", third(line));
        refused(&work, ["", ""], "x:3: expected ");
        refused(&work, ["", ""], found);
    }
    let work = work();
    work.write("x", [b"{\"query\":\"q\",\"pos\":\"", &b"\xff\"}\n"[..]].concat());
    refused(&work, ["", ""], "x:1: expected UTF-8 text, found byte 0xff at column 21");
    work.write("x", r#"{"answer":"a","query":"q"}"#);
    refused(&work, ["", ""], "x:1: expected an example");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let work = work();
    work.write("x", "\n \n");
    run(work.command(TRAIN, "recipe.toml -o out --dry-run"), b"")
        .exits(1)
        .says("x: expected examples");
    run(work.command(TRAIN, "check x"), b"").exits(1).prints("0 examples, 0 documents");

    let lines: String =
        (0..500).map(|at| third(&format!("{{\"query\":\"{at}\",\"pos\":\"b\"}}"))).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, lines.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    work.write("x", &gzip[..gzip.len() / 2]);
    refused(&work, ["", ""], "x: ");
    refused(&work, ["", ""], " behind line ");

    work.write("y/queries.jsonl", "{\"_id\":\"q\",\"text\":\"sea\"}\n");
    work.write("y/corpus.jsonl", "{\"_id\":\"d\",\"text\":\"rain\"}\n");
    work.write("x", third(r#"{"query":"q","pos":"d","negs":["e"]}"#).replace("sea 1", "q"));
    let texts = "--set data.0.texts=y";
    refused(&work, [texts, "--texts y"], "expected ids with texts, found ");
    refused(&work, [texts, "--texts nowhere"], "expected");
    std::fs::remove_file(work.path("x")).unwrap();
    refused(&work, ["", ""], "x: No such file");

    std::os::unix::fs::symlink("y", work.path("x")).unwrap();
    refused(&work, ["", ""], "qrels/train.tsv: No such file");
    work.write("y/qrels/train.tsv", "query-id\tcorpus-id\tscore\nq\td\t0\n");
    refused(&work, ["", ""], "expected judgements above 0, found none");
    work.write("y/qrels/train.tsv", "query-id\tcorpus-id\tscore\nq\te\t1\n");
    refused(&work, ["", ""], "found document `e`, which x lacks");
}

#[test]
fn tables_that_cannot_be_used_are_named() {
    let work = work();
    let query = || ("query", strings(&["a", "b"]));
    let docs = || ("docs", texts(&[&["p", "q"], &["r", "s"]]));
    for (columns, found) in [
        (vec![query(), docs()], "found docs without scores"),
        (vec![query(), docs(), ("scores", strings(&["1", "2"]))], "scores that are a text"),
        (
            vec![query(), docs(), ("scores", numbers(&[&[1.0, 2.0], &[1.0]]))],
            "x:2: expected an example",
        ),
        (
            vec![("docs", docs().1), ("scores", numbers(&[&[1.0, 2.0], &[1.0, 0.0]]))],
            "no query among keys",
        ),
        (vec![query(), ("pos", texts(&[&["p"], &[]]))], "x:2: expected an example"),
    ] {
        parquet(&work.path("x"), columns);
        refused(&work, ["", ""], found);
    }
    let bytes = work.read("x");
    work.write("x", &bytes[..bytes.len() / 2]);
    refused(&work, ["", ""], "x: not readable as Parquet (cut short, or damaged)");
}

#[test]
fn what_can_be_trained_on_but_should_not_be_is_reported() {
    remarked(&third(r#"{"query":"q","pos":"a"}"#), "1 without negatives");
    remarked(&third(r#"{"query":"q","pos":"a","negs":["b","a"]}"#), "1 with a document twice");
    remarked(
        &third(r#"{"query":"q","docs":["a","b"],"scores":[2,2]}"#),
        "1 with scores that are all equal",
    );
    remarked(
        &third(r#"{"query":"q","pos":"a","negatives":["b"]}"#),
        "1 with a key `negatives`, which is not",
    );
    remarked(
        &third(r#"{"query":"日本","pos":"a"}"#),
        "unknown words only: is it the right tokenizer?",
    );
    let repeated = r#"{"query":"sea 1","pos":"a"}"#;
    remarked(&third(repeated), "1 repeat an earlier query");
    let by_place = "{\"question\":\"a\",\"answer\":\"b\"}\n{\"question\":\"c\",\"answer\":\"d\"}\n";
    remarked(by_place, "read by position: question as query, answer as positive");
}

#[test]
fn what_a_loss_needs_is_named_with_file_and_line() {
    let work = work();
    work.write("x", third(r#"{"query":"q","pos":"rain","negs":["sun","sea"]}"#));
    let fails = |more: &str, status: i32, found: &str| {
        let train = format!("recipe.toml -o out --dry-run {more}");
        run(work.command(TRAIN, &train), b"").exits(status).says(found);
    };
    let kl = "--set stage.0.loss.0.kind=kl --set data.0.buffer=1";
    fails(
        kl,
        1,
        "x:1: expected 2 documents with a teacher's scores for kl or margin_mse, found 2 without",
    );
    let three = "--set stage.0.documents=4 --set data.0.buffer=1";
    fails(three, 1, "x:1: expected 4 documents per query, found 2 and too few others in the batch");
    // a tokenizer or a table of another vocabulary
    for name in ["config.json", "model.safetensors"] {
        work.write(&format!("m/{name}"), std::fs::read(format!("testdata/toy/{name}")).unwrap());
    }
    work.write("m/tokenizer.json", std::fs::read("testdata/demo/tokenizer.json").unwrap());
    fails(
        "--set model.base=m --set query.table=unit",
        3,
        "use the tokenizer that came with the model",
    );
    work.write("idf.json", r#"{"nosuchtoken": 1.0}"#);
    fails("--set query.table=idf.json", 3, "`nosuchtoken`");
}
