//! The forms of other engines: what is written byte by byte, and read back; and what is refused.

use std::{fs, path::Path};

use l0::formats::exchange::ciff::{self, DocRecord, Header, PostingsList};

use super::run::{Run, Work, run};

const L0_INDEX: &str = env!("CARGO_BIN_EXE_l0-index");

/// Three documents, one without a weight, one with a text.
const VECTORS: &str = r###"{"_id":"a","vector":{"a":1.25,"##0":0.5,"z":3.0},"title":"T","text":"say \"é\""}
{"_id":"b \\ b","indices":[],"values":[]}
{"_id":"c","vector":{"a":0.004,".":2.0}}
"###;

const QUERIES: &str = r###"{"_id":"q1","vector":{"a":2.0,"z":0.5}}
{"_id":"q2","indices":[],"values":[]}
"###;

/// A folder with vectors (f32 in an index), and queries.
fn folder() -> Work {
    let work = Work::new();
    work.write("docs.jsonl", VECTORS);
    work.write("asked.jsonl", QUERIES);
    index(&work, "--tokenizer testdata/toy docs.jsonl --weights f32 -o docs.l0x --quiet").exits(0);
    let import =
        "import asked.jsonl --from jsonl --tokenizer testdata/toy --queries -o asked.parquet";
    index(&work, import).exits(0);
    work
}

#[track_caller]
fn index(work: &Work, arguments: &str) -> Run {
    run(work.command(L0_INDEX, arguments), b"")
}

/// Compares with `testdata/exchange/NAME`, or writes it where `L0_BLESS` is set.
#[track_caller]
fn golden(work: &Work, name: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/exchange").join(name);
    let found = work.read(name);
    if std::env::var_os("L0_BLESS").is_some() {
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::write(kept, found).unwrap();
        return;
    }
    let expected = fs::read(&kept).unwrap_or_else(|error| panic!("{}: {error}", kept.display()));
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(found == expected, "{name}:\n{}\n-- want\n{}", shown(&found), shown(&expected));
}

#[test]
fn every_form_is_written_as_its_engine_reads_it() {
    let work = folder();
    for to in [
        "opensearch",
        "opensearch-ann",
        "elasticsearch",
        "vespa",
        "qdrant",
        "anserini",
        "seismic",
        "seismic-bin",
        "jsonl",
        "csr",
        "ciff",
        "pisa",
    ] {
        let before = work.names();
        index(&work, &format!("export docs.l0x --to {to} -o {to}")).exits(0).says("3 rows, ");
        let made: Vec<String> =
            work.names().into_iter().filter(|name| !before.contains(name)).collect();
        assert!(made.contains(&format!("{to}.export.json")), "{to}: {made:?}");
        for name in made {
            golden(&work, &name);
        }
        if ["csr", "seismic-bin", "ciff", "pisa"].contains(&to) {
            continue; // queries of these are lines, or the same bytes as documents
        }
        index(
            &work,
            &format!("export asked.parquet --tokenizer testdata/toy --to {to} -o {to}.asked"),
        )
        .exits(0)
        .says("2 rows, 2 weights");
        golden(&work, &format!("{to}.asked"));
    }
    index(&work, "export asked.parquet --tokenizer testdata/toy --to pisa -o pisa.asked").exits(0);
    golden(&work, "pisa.asked");
}

#[test]
fn vectors_and_an_index_of_them_are_exported_alike() {
    let work = folder();
    for to in ["opensearch", "qdrant", "anserini", "seismic-bin", "jsonl", "csr"] {
        index(&work, &format!("export docs.l0x --to {to} -o of-index")).exits(0);
        index(
            &work,
            &format!("export docs.jsonl --tokenizer testdata/toy --to {to} -o of-vectors"),
        )
        .exits(0);
        assert_eq!(work.read("of-index"), work.read("of-vectors"), "{to}");
    }
    let piped = run(
        work.command(L0_INDEX, "export - --tokenizer testdata/toy --to jsonl --quiet"),
        VECTORS.as_bytes(),
    );
    index(&work, "export docs.l0x --to jsonl -o of-index").exits(0);
    assert_eq!(piped.exits(0).stdout(), work.read("of-index"));
}

/// Ids, terms and weights of a file of vectors, as JSON lines.
#[track_caller]
fn rows(work: &Work, name: &str) -> String {
    let text = work.text(name);
    let lines = text.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{} {} {}", row["_id"], row["indices"], row["values"])
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_exported_comes_back() {
    let work = folder();
    let import = |work: &Work, arguments: &str| {
        let tokenizer = "--tokenizer testdata/toy --quiet";
        index(work, &format!("import {arguments} {tokenizer}")).exits(0);
    };
    import(&work, "docs.jsonl --from jsonl -o known.jsonl");
    let known = rows(&work, "known.jsonl");
    assert_eq!(known.lines().count(), 3);
    for (to, from) in [
        ("seismic", "seismic"),
        ("jsonl", "splade"),
        ("csr", "csr"),
        ("seismic-bin", "seismic-bin"),
    ] {
        index(&work, &format!("export docs.l0x --to {to} -o out")).exits(0);
        let ids = if work.path("out.ids.txt").exists() { "--ids out.ids.txt" } else { "" };
        import(&work, &format!("out --from {from} {ids} -o back.jsonl"));
        assert_eq!(rows(&work, "back.jsonl"), known, "{to}");
        let _ = fs::remove_file(work.path("out.ids.txt"));
    }
    // whole numbers come back as those, and what became 0 is left out
    let whole = "\"a\" [44,69,70] [125.0,300.0,50.0]\n\"b \\\\ b\" [] []\n\"c\" [18] [200.0]";
    for to in ["anserini", "ciff"] {
        index(&work, &format!("export docs.l0x --to {to} --quantize scale:100 -o out"))
            .exits(0)
            .says("1 weights too small");
        import(&work, &format!("out --from {to} -o back.jsonl"));
        assert_eq!(rows(&work, "back.jsonl"), whole, "{to}");
    }
    import(&work, "out --from ciff --divide 100 -o back.jsonl");
    assert!(rows(&work, "back.jsonl").starts_with("\"a\" [44,69,70] [1.25,3.0,0.5]"));
    import(&work, "docs.jsonl --from jsonl --keep-text -o back.jsonl");
    assert!(work.text("back.jsonl").contains(r#""text":"say \"é\"""#));
}

#[test]
fn responses_of_an_inference_server_become_vectors() {
    let work = Work::new();
    work.write("ids.txt", "x\ny\nz\n");
    let lines = "[[{\"index\":70,\"value\":1.5},{\"index\":7,\"value\":0.5}],[]]\n\n[[{\"index\":5,\"value\":2}]]\n";
    let arguments =
        "import - --from tei --ids ids.txt --tokenizer testdata/toy --format jsonl -o tei.jsonl";
    run(work.command(L0_INDEX, arguments), lines.as_bytes()).exits(0).says("3 rows");
    assert_eq!(rows(&work, "tei.jsonl"), "\"x\" [7,70] [0.5,1.5]\n\"y\" [] []\n\"z\" [5] [2.0]");
}

/// Reading `bytes` fails with these words, and leaves no output.
#[track_caller]
fn refused(from: &str, bytes: &[u8], words: &str) {
    let work = Work::new();
    work.write("in", bytes);
    let arguments = format!("import in --from {from} --tokenizer testdata/toy -o out.jsonl");
    index(&work, &arguments).exits(1).says("in").says(words);
    assert_eq!(work.names(), ["in"]);
}

#[test]
fn vectors_may_be_lists_of_pairs() {
    let line = r#"{"id":"a","vector":[["z",0.5],["a",2]]}"#;
    let arguments = "import - --from splade --tokenizer testdata/toy --format jsonl -o pairs.jsonl";
    let work = Work::new();
    run(work.command(L0_INDEX, arguments), line.as_bytes()).exits(0);
    assert_eq!(rows(&work, "pairs.jsonl"), r#""a" [44,69] [2.0,0.5]"#);
}

#[test]
fn lines_that_are_no_vectors_are_refused() {
    for (line, words) in [
        ("", "got none"),
        ("{", "in:1: want"),
        (r#"{"id":"a","vector":{"nowhere":1}}"#, "a token `nowhere` that the vocabulary lacks"),
        (r#"{"id":"a","vector":{"a":-1}}"#, "got -1"),
        (r#"{"vector":{"a":1}}"#, "no id"),
        (r#"{"id":"a","vector":"a"}"#, "in:1"),
        (r#"{"id":"a","vector":[["a",1],["z"]]}"#, r#"got ["z"] among the pairs of a vector"#),
        (r#"{"id":"a","vector":[["a",1],["a",2]]}"#, "strictly ascending"),
        (
            r#"{"id":"a","indices":[999999],"values":[1]}"#,
            "in:1: want terms of the vocabulary and weights above 0, got term 999999, of a vocabulary of 430",
        ),
    ] {
        refused("anserini", line.as_bytes(), words);
    }
}

#[test]
fn responses_that_are_none_are_refused() {
    for (line, words) in [
        ("{}", "line 1: want [[{\"index\", \"value\"}"),
        ("[[{\"index\":1}]]", "missing field `value`"),
        ("[[{\"index\":430,\"value\":1}]]", "index 430, of a vocabulary of 430"),
        ("[[{\"index\":1,\"value\":0}]]", "got 0 for term 1"),
        ("[[{\"index\":1,\"value\":1},{\"index\":1,\"value\":1}]]", "strictly ascending"),
        ("[[]]\n[[", "line 2"),
    ] {
        refused("tei", line.as_bytes(), words);
    }
    let work = Work::new();
    work.write("in", "[[],[]]");
    for (ids, words) in
        [("a\n", "vector 2: want its id"), ("a\nb\nc\n", "got 2"), ("a\n\n", "an empty line")]
    {
        work.write("ids.txt", ids);
        let arguments = "import in --from tei --ids ids.txt --tokenizer testdata/toy -o out.jsonl";
        index(&work, arguments).exits(1).says(words);
    }
    index(&work, "import in --from ciff --ids ids.txt --tokenizer testdata/toy")
        .exits(2)
        .says("ids of its own");
}

/// The vectors of `folder` in a binary form.
fn exported(to: &str) -> Vec<u8> {
    let work = folder();
    index(&work, &format!("export docs.l0x --to {to} -o out")).exits(0);
    work.read("out")
}

/// `bytes` with all that is `old` as `new`, of the same length.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..=bytes.len() - old.len() {
        if bytes[at..].starts_with(old) {
            bytes[at..at + old.len()].copy_from_slice(new);
        }
    }
    bytes
}

#[test]
fn matrices_that_are_damaged_are_refused() {
    let sound = exported("csr");
    refused("csr", b"", "no .npz");
    refused("csr", b"nothing of the kind", "no .npz");
    refused("csr", &sound[..sound.len() - 30], "no .npz");
    refused("csr", &sound[40..], "want a CSR matrix");
    refused("csr", &replaced(&sound, b"indptr.npy", b"indpxx.npy"), "`indptr`");
    refused("csr", &replaced(&sound, b"csr", b"csc"), "`format`");
    refused("csr", &replaced(&sound, &3.0f32.to_le_bytes(), &2.0f32.to_le_bytes()), "`data`");
    let work = Work::new();
    work.write("docs.jsonl", "{\"_id\":\"a\",\"indices\":[5],\"values\":[1]}\n");
    index(&work, "export docs.jsonl --to csr -o wide.npz").exits(0);
    refused("csr", &work.read("wide.npz"), "30522 columns for a vocabulary of 430 terms");
}

#[test]
fn vectors_of_the_inner_format_that_are_damaged_are_refused() {
    let sound = exported("seismic-bin");
    refused("seismic-bin", b"", "want a count of vectors, got the end of the file");
    refused("seismic-bin", &sound[..sound.len() - 1], "vector 3: want a vector");
    refused("seismic-bin", &[&sound[..], b"x"].concat(), "got more bytes");
    refused("seismic-bin", &[&sound[..4], &u32::MAX.to_le_bytes()].concat(), "4294967295 terms");
    let term = |id: u32| replaced(&sound, &44u32.to_le_bytes(), &id.to_le_bytes());
    refused("seismic-bin", &term(430), "term id 430, of a vocabulary of 430");
    refused("seismic-bin", &term(69), "strictly ascending");
    let weight = |weight: f32| replaced(&sound, &1.25f32.to_le_bytes(), &weight.to_le_bytes());
    refused("seismic-bin", &weight(f32::NAN), "got NaN for term 44");
    refused("seismic-bin", &weight(-1.0), "got -1 for term 44");
}

/// A file of two documents and one list, changed.
fn ciff(change: impl FnOnce(&mut Header, &mut PostingsList, &mut [DocRecord; 2])) -> Vec<u8> {
    let mut header = Header { version: 1, num_postings_lists: 1, num_docs: 2, ..Header::default() };
    let mut list = ciff::list("a", &[(0, 3), (1, 4)]);
    let record = |docid, id: &str| DocRecord { docid, collection_docid: id.into(), doclength: 3 };
    let mut records = [record(0, "x"), record(1, "y")];
    change(&mut header, &mut list, &mut records);
    let mut bytes = Vec::new();
    ciff::write(&mut bytes, &header).unwrap();
    ciff::write(&mut bytes, &list).unwrap();
    for record in &records {
        ciff::write(&mut bytes, record).unwrap();
    }
    bytes
}

#[test]
fn inverted_files_that_are_damaged_are_refused() {
    refused("ciff", b"", "message 1: want a header, got the end of the file");
    refused("ciff", b"{\"_id\"", "message 1: want a header");
    let sound = ciff(|_, _, _| ());
    refused("ciff", &sound[..sound.len() - 1], "message 4: want a document, got the end after");
    refused("ciff", &[&sound[..], b"x"].concat(), "want the end behind the documents");
    refused("ciff", &ciff(|header, _, _| header.version = 2), "version 2");
    refused("ciff", &ciff(|header, _, _| header.num_docs = -1), "-1 documents");
    refused(
        "ciff",
        &ciff(|_, list, _| list.term = "nowhere".into()),
        "list of `nowhere`: want a token",
    );
    refused("ciff", &ciff(|_, list, _| list.df = 3), "want df postings, 3, got 2");
    refused("ciff", &ciff(|_, list, _| list.postings[1].gap = 0), "got 0 after 0");
    refused("ciff", &ciff(|_, list, _| list.postings[1].gap = 2), "ascend below 2, got 2 after 0");
    refused("ciff", &ciff(|_, list, _| list.postings[0].impact = 0), "want impacts from 1");
    refused("ciff", &ciff(|_, list, _| list.postings[0].impact = 1 << 25), "got 33554432");
    refused("ciff", &ciff(|_, _, docs| docs[1].docid = 0), "got document 0, `y`");
    refused("ciff", &ciff(|_, _, docs| docs[1].docid = 9), "got document 9, `y`");
    refused("ciff", &ciff(|_, _, docs| docs[0].collection_docid.clear()), "got document 0, ``");
}

#[test]
fn what_a_form_cannot_hold_is_refused() {
    let work = folder();
    let export = |arguments: &str| index(&work, &format!("export {arguments}"));
    export("docs.l0x --to anserini --quantize none").exits(2).says("such as scale:100");
    export("docs.l0x --to csr").exits(2).says("several files");
    export("docs.jsonl --tokenizer testdata/toy --to ciff -o x").exits(2).says("make an index");
    export("docs.l0x --tokenizer testdata/toy --to jsonl").exits(2).says("its own tokenizer");
    export("docs.l0x --to lucene").exits(2).says("want one of opensearch,");
    export("docs.l0x --to jsonl --quantize u8").exits(2).says("u8-ceil:C");
    export("docs.l0x --to opensearch --name Big").exits(2).says("a-z, 0-9 or _");
    export("asked.parquet --to jsonl").exits(3).says("vocabulary of asked.parquet");
    export("nowhere --to jsonl").exits(1).says("nowhere");
    let piped = "export - --tokenizer testdata/toy --to jsonl --quantize max:255";
    run(work.command(L0_INDEX, piped), VECTORS.as_bytes()).exits(2).says("read the vectors twice");
    work.write("line.jsonl", "{\"_id\":\"a\\nb\",\"indices\":[5],\"values\":[1]}");
    export("line.jsonl --tokenizer testdata/toy --to csr -o x.npz")
        .exits(1)
        .says("without line breaks");
    export("line.jsonl --tokenizer testdata/toy --to opensearch --field text")
        .exits(2)
        .says("other than id, title");
    index(&work, "line.jsonl --tokenizer testdata/toy -o line.l0x --quiet").exits(0);
    export("line.l0x --to pisa -o x").exits(1).says("x.documents: want ids without line breaks");
    for (id, to, wrong) in
        [("a\\tb", "anserini", "'\\t'"), ("a:b", "pisa", "':'"), ("a\\nb", "ciff", "'\\n'")]
    {
        work.write("wrong.jsonl", format!("{{\"_id\":\"{id}\",\"indices\":[5],\"values\":[1]}}"));
        export(&format!("wrong.jsonl --role query --tokenizer testdata/toy --to {to} -o x"))
            .exits(1)
            .says(wrong);
    }
    assert!(
        !work
            .names()
            .iter()
            .any(|name| name.starts_with('x') && name != "x" && !name.starts_with("x.export")),
        "{:?}",
        work.names()
    );
}

#[test]
fn queries_without_metadata_are_queries_where_it_is_said() {
    let work = folder();
    let export =
        "export asked.jsonl --role query --tokenizer testdata/toy --to anserini -o lines.asked";
    index(&work, export).exits(0).says("no fingerprint");
    assert_eq!(
        work.read("lines.asked"),
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/exchange/anserini.asked"))
            .unwrap()
    );
    index(&work, "export asked.parquet --role document --tokenizer testdata/toy --to jsonl")
        .exits(2)
        .says("of one role");
    index(&work, "import asked.parquet --from jsonl --tokenizer testdata/toy")
        .exits(1)
        .says("l0-index takes it as it is");
}

#[test]
fn a_count_that_looks_like_gzip_is_a_count() {
    let work = Work::new();
    let mut bytes = 0x8b1f_u32.to_le_bytes().to_vec();
    bytes.resize(4 + 0x8b1f * 4, 0); // as many vectors without a term
    work.write("in", &bytes);
    index(&work, "import in --from seismic-bin --tokenizer testdata/toy -o out.parquet")
        .exits(0)
        .says("35615 rows");
}

#[test]
fn an_export_into_a_device_is_that_alone() {
    let work = folder();
    let told =
        run(work.shell("l0-index export docs.l0x --to jsonl -o >(cat >piped); sleep 0.3"), b"")
            .exits(0);
    assert!(told.stderr().contains("written with -o FILE"), "{told}");
    index(&work, "export docs.l0x --to jsonl -o filed").exits(0);
    assert_eq!(work.read("piped"), work.read("filed"));
    index(&work, "export docs.l0x --to csr -o /dev/null").exits(2).says("several files");
}

#[test]
fn what_one_record_breaks_may_be_skipped() {
    let work = folder();
    let lines = "{\"id\":\"a\",\"vector\":{\"a\":1}}\n{\"id\":\"b\",\"indices\":[430],\"values\":[1]}\n{\"id\":\"c\",\"vector\":{\"a\":1e-45}}\n";
    work.write("in.jsonl", lines);
    let skip = "import in.jsonl --from jsonl --divide 10 --tokenizer testdata/toy --on-error skip --rejects bad.jsonl -o out.jsonl";
    index(&work, skip).exits(0).says("1 rows in").says("2 refused");
    assert!(
        work.text("bad.jsonl").contains("in.jsonl:2: ")
            && work.text("bad.jsonl").contains("in.jsonl:3: ")
    );
}

#[test]
fn a_header_that_promises_much_costs_nothing() {
    let header =
        Header { version: 1, num_docs: i32::MAX, num_postings_lists: 0, ..Header::default() };
    let mut bytes = Vec::new();
    ciff::write(&mut bytes, &header).unwrap();
    refused("ciff", &bytes, "message 2: want a document, got the end");
}

#[test]
fn an_input_is_not_replaced_and_no_id_comes_twice() {
    let work = folder();
    index(&work, "export docs.l0x --to jsonl -o docs.l0x")
        .exits(2)
        .says("would replace the input docs.l0x");
    index(&work, "import docs.jsonl --from jsonl --tokenizer testdata/toy -o docs.jsonl")
        .exits(2)
        .says("would replace");
    index(&work, "docs.jsonl --tokenizer testdata/toy -o docs.jsonl")
        .exits(2)
        .says("would replace");
    index(&work, "export docs.jsonl docs.jsonl --tokenizer testdata/toy --to jsonl")
        .exits(1)
        .says("`a`: want every id once");
    work.write("twice.jsonl", [VECTORS, VECTORS].concat());
    index(&work, "import twice.jsonl --from jsonl --tokenizer testdata/toy")
        .exits(1)
        .says("twice.jsonl:4: want every id once");
}

#[test]
fn an_engine_that_cuts_weights_is_told_the_largest() {
    let work = Work::new();
    work.write("docs.jsonl", "{\"_id\":\"a\",\"indices\":[5],\"values\":[9.5]}");
    index(&work, "export docs.jsonl --tokenizer testdata/toy --to opensearch-ann -o ann").exits(0);
    assert!(work.text("ann.mapping.json").contains("\"quantization_ceiling_ingest\": 9.5"));
}
