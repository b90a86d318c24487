//! The forms of other engines: what is written byte by byte, and read back; and what is refused.

use std::{fs, path::Path};

use l0::internal::exchange::Target;

use crate::support::{Run, Work, run};

pub const L0_INDEX: &str = "l0-index";

/// Three documents, one without a weight, one with a text.
pub const VECTORS: &str = r###"{"_id":"a","vector":{"a":1.25,"##0":0.5,"z":3.0},"title":"T","text":"say \"é\""}
{"_id":"b \\ b","indices":[],"values":[]}
{"_id":"c","vector":{"a":0.004,".":2.0}}
"###;

const QUERIES: &str = r###"{"_id":"q1","vector":{"a":2.0,"z":0.5}}
{"_id":"q2","indices":[],"values":[]}
"###;

/// A folder with vectors (f32 in an index), and queries.
pub fn folder() -> Work {
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
pub fn index(work: &Work, arguments: &str) -> Run {
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
    for to in Target::NAMES {
        let before = work.names();
        index(&work, &format!("export docs.l0x --to {to} -o {to}")).exits(0).says("3 rows, ");
        let made: Vec<String> =
            work.names().into_iter().filter(|name| !before.contains(name)).collect();
        assert!(made.contains(&format!("{to}.export.json")), "{to}: {made:?}");
        for name in made {
            golden(&work, &name);
        }
        if ["ciff", "pisa"].contains(&to) {
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
    for to in ["opensearch", "qdrant", "anserini", "seismic", "jsonl"] {
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
    for (to, from) in [("seismic", "seismic"), ("jsonl", "splade")] {
        index(&work, &format!("export docs.l0x --to {to} -o out")).exits(0);
        import(&work, &format!("out --from {from} -o back.jsonl"));
        assert_eq!(rows(&work, "back.jsonl"), known, "{to}");
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

#[test]
fn vectors_may_be_lists_of_pairs() {
    let line = r#"{"id":"a","vector":[["z",0.5],["a",2]]}"#;
    let arguments = "import - --from splade --tokenizer testdata/toy --format jsonl -o pairs.jsonl";
    let work = Work::new();
    run(work.command(L0_INDEX, arguments), line.as_bytes()).exits(0);
    assert_eq!(rows(&work, "pairs.jsonl"), r#""a" [44,69] [2.0,0.5]"#);
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
fn an_export_into_a_device_is_that_alone() {
    let work = folder();
    let ran =
        run(work.shell("l0-index export docs.l0x --to jsonl -o >(cat >piped); sleep 0.3"), b"")
            .exits(0);
    assert!(ran.stderr().contains("written with -o FILE"), "{ran}");
    index(&work, "export docs.l0x --to jsonl -o filed").exits(0);
    assert_eq!(work.read("piped"), work.read("filed"));
    index(&work, "export docs.l0x --to pisa -o /dev/null").exits(2).says("several files");
}

#[test]
fn an_export_names_the_largest_weight_for_an_engine_that_cuts_them() {
    let work = Work::new();
    work.write("docs.jsonl", "{\"_id\":\"a\",\"indices\":[5],\"values\":[9.5]}");
    index(&work, "export docs.jsonl --tokenizer testdata/toy --to opensearch-ann -o ann").exits(0);
    assert!(work.text("ann.mapping.json").contains("\"quantization_ceiling_ingest\": 9.5"));
}
