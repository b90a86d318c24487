//! Imports and exports of what is damaged or cannot be held: refused by name, and nothing is left.

use l0::internal::exchange::ciff::{self, DocRecord, Header, PostingsList};

use crate::{
    exchange::forms::{L0_INDEX, VECTORS, folder, index},
    support::{Work, run},
};

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
fn lines_that_are_no_vectors_are_refused() {
    for (line, words) in [
        ("", "found none"),
        ("{", "in:1: expected"),
        (r#"{"id":"a","vector":{"nowhere":1}}"#, "a token `nowhere` that the vocabulary lacks"),
        (r#"{"id":"a","vector":{"a":-1}}"#, "found -1"),
        (r#"{"vector":{"a":1}}"#, "no id"),
        (r#"{"id":"a","vector":"a"}"#, "in:1"),
        (r#"{"id":"a","vector":[["a",1],["z"]]}"#, r#"found ["z"] among the pairs of a vector"#),
        (r#"{"id":"a","vector":[["a",1],["a",2]]}"#, "strictly ascending"),
        (
            r#"{"id":"a","indices":[999999],"values":[1]}"#,
            "in:1: expected terms of the vocabulary and weights above 0, found term 999999, of a vocabulary of 430",
        ),
    ] {
        refused("anserini", line.as_bytes(), words);
    }
}

#[test]
fn responses_that_are_none_are_refused() {
    for (line, words) in [
        ("{}", "line 1: expected [[{\"index\", \"value\"}"),
        ("[[{\"index\":1}]]", "missing field `value`"),
        ("[[{\"index\":430,\"value\":1}]]", "index 430, of a vocabulary of 430"),
        ("[[{\"index\":1,\"value\":0}]]", "found 0 for term 1"),
        ("[[{\"index\":1,\"value\":1},{\"index\":1,\"value\":1}]]", "strictly ascending"),
        ("[[]]\n[[", "line 2"),
    ] {
        refused("tei", line.as_bytes(), words);
    }
    let work = Work::new();
    work.write("in", "[[],[]]");
    for (ids, words) in
        [("a\n", "vector 2: expected its id"), ("a\nb\nc\n", "found 2"), ("a\n\n", "an empty line")]
    {
        work.write("ids.txt", ids);
        let arguments = "import in --from tei --ids ids.txt --tokenizer testdata/toy -o out.jsonl";
        index(&work, arguments).exits(1).says(words);
    }
    index(&work, "import in --from ciff --ids ids.txt --tokenizer testdata/toy")
        .exits(2)
        .says("ids of its own");
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
    refused("ciff", b"", "message 1: expected a header, found the end of the file");
    refused("ciff", b"{\"_id\"", "message 1: expected a header");
    let sound = ciff(|_, _, _| ());
    refused(
        "ciff",
        &sound[..sound.len() - 1],
        "message 4: expected a document, found the end after",
    );
    refused("ciff", &[&sound[..], b"x"].concat(), "expected the end behind the documents");
    refused("ciff", &ciff(|header, _, _| header.version = 2), "version 2");
    refused("ciff", &ciff(|header, _, _| header.num_docs = -1), "-1 documents");
    refused(
        "ciff",
        &ciff(|_, list, _| list.term = "nowhere".into()),
        "list of `nowhere`: expected a token",
    );
    refused("ciff", &ciff(|_, list, _| list.df = 3), "expected df postings, 3, found 2");
    refused("ciff", &ciff(|_, list, _| list.postings[1].gap = 0), "found 0 after 0");
    refused(
        "ciff",
        &ciff(|_, list, _| list.postings[1].gap = 2),
        "ascend below 2, found 2 after 0",
    );
    refused("ciff", &ciff(|_, list, _| list.postings[0].impact = 0), "expected impacts from 1");
    refused("ciff", &ciff(|_, list, _| list.postings[0].impact = 1 << 25), "found 33554432");
    refused("ciff", &ciff(|_, _, docs| docs[1].docid = 0), "found document 0, `y`");
    refused("ciff", &ciff(|_, _, docs| docs[1].docid = 9), "found document 9, `y`");
    refused("ciff", &ciff(|_, _, docs| docs[0].collection_docid.clear()), "found document 0, ``");
}

#[test]
fn what_a_form_cannot_hold_is_refused() {
    let work = folder();
    let export = |arguments: &str| index(&work, &format!("export {arguments}"));
    export("docs.l0x --to anserini --quantize none").exits(2).says("such as scale:100");
    export("docs.l0x --to pisa").exits(2).says("several files");
    export("docs.jsonl --tokenizer testdata/toy --to ciff -o x").exits(2).says("make an index");
    export("docs.l0x --tokenizer testdata/toy --to jsonl").exits(2).says("its own tokenizer");
    export("docs.l0x --to lucene").exits(2).says("expected one of opensearch,");
    export("docs.l0x --to jsonl --quantize u8").exits(2).says("u8-ceil:C");
    export("docs.l0x --to opensearch --name Big").exits(2).says("a-z, 0-9 or _");
    export("asked.parquet --to jsonl").exits(3).says("vocabulary of asked.parquet");
    export("nowhere --to jsonl").exits(1).says("nowhere");
    let piped = "export - --tokenizer testdata/toy --to jsonl --quantize max:255";
    run(work.command(L0_INDEX, piped), VECTORS.as_bytes()).exits(2).says("read the vectors twice");
    work.write("line.jsonl", "{\"_id\":\"a\\nb\",\"indices\":[5],\"values\":[1]}");
    export("line.jsonl --tokenizer testdata/toy --to opensearch --field text")
        .exits(2)
        .says("other than id, title");
    index(&work, "line.jsonl --tokenizer testdata/toy -o line.l0x --quiet").exits(0);
    export("line.l0x --to pisa -o x")
        .exits(1)
        .says("x.documents: expected ids without line breaks");
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
    refused("ciff", &bytes, "message 2: expected a document, found the end");
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
        .says("`a`: expected every id once");
    work.write("twice.jsonl", [VECTORS, VECTORS].concat());
    index(&work, "import twice.jsonl --from jsonl --tokenizer testdata/toy")
        .exits(1)
        .says("twice.jsonl:4: expected every id once");
}
