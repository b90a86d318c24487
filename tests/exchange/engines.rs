//! Other engines answer as l0 does, each from our export of the demo collection.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Need, Run, TINY, Work, run, skipped};

/// The engines of `benches/engines/parity.py`.
const ENGINES: [&str; 9] =
    ["pisa", "bmp", "seismic", "lucene", "qdrant", "scipy", "duckdb", "polars", "spark"];
/// The checks of `schemas.py`.
const SCHEMAS: [&str; 5] = ["bulk", "vespa", "vespa_schema", "elastic", "qdrant"];
/// A small model with a query table.
const TOY: &str = "testdata/toy-st";
/// The Python of the engines.
const PYTHON: &str = "${L0_ENGINES:-${L0_PYTHON:-python3}}";

/// A folder with an index `demo.l0x` of the demo collection and its queries as vectors, `asked.parquet`.
fn scene(model: &str) -> Work {
    let work = Work::new();
    let encode = format!("l0-encode --model {model} --quiet");
    let line = format!(
        "{encode} testdata/demo/corpus.jsonl -o demo.parquet &&
         l0-index demo.parquet --model {model} --weights f32 --quiet -o demo.l0x &&
         {encode} --role query testdata/demo/queries.jsonl -o asked.parquet"
    );
    run(work.shell(&line), b"").exits(0);
    work
}

/// The names of which stderr says that they were left out, each with the package that is lacking; the others
/// are sound.
#[track_caller]
fn left_out(ran: &Run, names: &[&str], is_sound: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let stderr = ran.stderr();
    let mut all = Vec::new();
    for &name in names {
        let words = format!("{name}: left out, for want of ");
        match stderr.lines().find_map(|line| line.strip_prefix(&words)) {
            Some(package) => all.push((name.to_owned(), package.to_owned())),
            None => assert!(is_sound(name), "expected a word on {name}, found none\n{ran}"),
        }
    }
    all
}

/// Those that `L0_ENGINES`, a Python (default: `L0_PYTHON`, `python3`), can import; Lucene where
/// `L0_ANSERINI` names its jar.
#[test]
#[ignore = "slow: engines"]
fn engines_give_the_same_ranking_up_to_ties() {
    let work = scene(TINY);
    let parity = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/engines/parity.py");
    let line = format!(
        "{PYTHON} {parity} demo.l0x asked.parquet parity {TINY} \
         --qrels testdata/demo/qrels/test.tsv ${{L0_ANSERINI:+--jar $L0_ANSERINI}}"
    );
    let ran = run(work.shell(&line), b"").exits(0);
    let compared = ran.stdout_text();
    let is_sound = |name: &str| {
        let same = format!("== {name}: the same ranking up to ties\n");
        compared.contains(&same) || compared.contains(&format!("== {name}: an overlap of "))
    };
    for (engine, package) in left_out(&ran, &ENGINES, is_sound) {
        skipped(Need::Engine(&engine), format!("{engine}: no {package}"));
    }
}

/// The golden files of exports, against JSON schemas made from the engines' references and against the
/// engines' own client libraries, where they can be imported.
#[test]
fn exports_fit_what_engines_document() {
    let work = Work::new();
    let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exchange/schemas.py");
    let ran = run(work.shell(&format!("{PYTHON} {schemas} testdata/exchange")), b"").exits(0);
    let checked = ran.stdout_text();
    let is_sound = |name: &str| checked.lines().any(|line| line == format!("{name}: sound"));
    for (check, package) in left_out(&ran, &SCHEMAS, is_sound) {
        skipped(Need::Tool(&format!("py:{package}")), format!("{check}: no {package}"));
    }
}

type Vector = BTreeMap<String, f64>;

/// Ids and vectors of an export as JSON lines.
fn vectors(lines: &str) -> Vec<(String, Vector)> {
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let id = row["_id"].as_str().unwrap().to_owned();
        (id, serde_json::from_value(row["vector"].clone()).unwrap())
    };
    lines.lines().map(row).collect()
}

/// The plainest engine there is: every product of the exported weights, in f64.
#[test]
fn all_products_of_an_export_rank_as_l0_does() {
    let work = scene(TOY);
    let line = format!(
        "l0-index export demo.l0x --to jsonl -o docs --quiet &&
         l0-index export asked.parquet --tokenizer {TOY} --to jsonl -o asked --quiet &&
         l0-query demo.l0x asked.parquet -k 40 --format trec -o l0.run --quiet"
    );
    run(work.shell(&line), b"").exits(0);
    let (documents, queries) = (vectors(&work.text("docs")), vectors(&work.text("asked")));
    assert_eq!((documents.len(), queries.len()), (333, 60));
    let mut trec = String::new();
    for (query, weights) in &queries {
        let score = |vector: &Vector| -> f64 {
            let products =
                weights.iter().map(|(term, weight)| weight * vector.get(term).unwrap_or(&0.0));
            products.sum()
        };
        let scored = documents.iter().map(|(id, vector)| (score(vector), id));
        let mut scored: Vec<_> = scored.filter(|(score, _)| *score > 0.0).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (rank, (score, id)) in scored.iter().take(40).enumerate() {
            trec += &format!("{query} Q0 {id} {} {score} products\n", rank + 1);
        }
    }
    work.write("products.run", trec);
    let diff = "diff l0.run products.run -k 10 --tolerance 1e-5 --strict";
    work.run("l0-eval", diff, "").exits(0).prints("queries\t60\n");
}
