//! Vectors as other programs read them: the readers of Parquet.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Need, Work, python, run, skipped};

/// Every reader that the Pythons of L0_PYTHON and L0_PYTHON_SPARK3 can import (two majors of Spark do not
/// live in one) sees the types of the format and the sums that are in the file.
#[test]
fn other_programs_read_the_parquet() {
    let work = Work::new();
    let encode =
        "l0-encode testdata/demo/corpus.jsonl --quiet --max-tokens 64 --model testdata/toy";
    run(work.shell(&format!("{encode} -o v.parquet; {encode} -o v.jsonl")), b"").exits(0);
    work.write("expected.json", expected(&work.text("v.jsonl")).to_string());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/readers.py");
    let readers = ["pyarrow", "polars", "duckdb", "datasets", "spark"];
    let other = std::env::var("L0_PYTHON_SPARK3").ok().map(|python| (python, &readers[4..]));
    for (python, readers) in [(python(), &readers[..])].into_iter().chain(other) {
        for reader in readers {
            // one process each: a reader that is there and broken does not hide the others
            let line = format!("{python} {} v.parquet expected.json {reader}", script.display());
            let ran = run(work.shell(&line), b"").exits(0);
            match ran.stdout_text().lines().last() {
                Some(version) => {
                    assert!(version.starts_with(&format!("{reader} ")), "{ran}");
                    eprintln!("{version}: read");
                }
                None => skipped(Need::Tool(&format!("py:{reader}")), ran.stderr().trim()),
            }
        }
    }
}

/// The sums over rows as JSON lines.
fn expected(lines: &str) -> Value {
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let items = |key: &'static str| rows.iter().flat_map(move |row| row[key].as_array().unwrap());
    let indices: u64 = items("indices").map(|term| term.as_u64().unwrap()).sum();
    let tokens: u64 = rows.iter().map(|row| row["n_tokens"].as_u64().unwrap()).sum();
    // JSON has the shortest digits of the f32; what readers add is that f32 as f64
    let weight = |weight: &Value| f64::from(weight.as_f64().unwrap() as f32);
    json!({
        "rows": rows.len(),
        "postings": items("indices").count(),
        "indices": indices,
        "values": items("values").map(weight).sum::<f64>(),
        "n_tokens": tokens,
        "truncated": rows.iter().filter(|row| row["truncated"] == true).count(),
        "first": rows[0]["_id"],
    })
}
