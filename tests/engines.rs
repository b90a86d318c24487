//! Real engines answer as l0 does, each from our export of the demo collection.

use super::{
    run::{Run, Work, run},
    shipped::TINY,
};

/// The engines that `L0_ENGINES`, a Python (default: `L0_PYTHON`, `python3`), can import; Lucene where
/// `L0_ANSERINI` names its jar. Those that it cannot are told on stderr.
#[test]
fn engines_give_the_same_ranking_up_to_ties() {
    let work = Work::new();
    let shell = |line: &str| -> Run { run(work.shell(line), b"") };
    shell(
        "l0-encode testdata/demo/corpus.jsonl --quiet -o demo.parquet &&
         l0-index demo.parquet --weights f32 --quiet -o demo.l0x &&
         l0-encode --role query testdata/demo/queries.jsonl --quiet -o asked.parquet",
    )
    .exits(0);
    let parity = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/engines/parity.py");
    let line = format!(
        "${{L0_ENGINES:-${{L0_PYTHON:-python3}}}} {parity} demo.l0x asked.parquet parity {TINY} \
         --qrels testdata/demo/qrels/test.tsv ${{L0_ANSERINI:+--jar $L0_ANSERINI}}"
    );
    let told = shell(&line).exits(0);
    eprintln!("{}{}", told.stderr(), told.stdout_text());
    if !told.stdout_text().contains("the same ranking") {
        eprintln!("skipped: no engine; see benches/engines/setup.sh");
    }
}

/// The golden files of exports, against JSON schemas made from the engines' references and against the engines' own
/// client libraries, where they can be imported.
#[test]
fn exports_fit_what_engines_document() {
    let work = Work::new();
    let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemas.py");
    let python = "${L0_ENGINES:-${L0_PYTHON:-python3}}";
    let told = run(work.shell(&format!("{python} {schemas} testdata/exchange")), b"").exits(0);
    eprintln!("{}{}", told.stderr(), told.stdout_text());
}
