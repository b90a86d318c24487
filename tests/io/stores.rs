//! Objects in stores as inputs and outputs: without the feature `stores` the error names the workaround,
//! with it a store on this machine is read and written.

use crate::support::{Work, run};

#[cfg(not(feature = "stores"))]
#[test]
fn without_the_feature_the_pipe_is_the_remedy() {
    let work = Work::new();
    let encode = |arguments: &str| {
        let all = format!("--model testdata/toy {arguments}");
        run(work.command("l0-encode", &all), b"").exits(1)
    };
    encode("s3://bucket/corpus.jsonl").says("`aws s3 cp s3://bucket/corpus.jsonl - | …`");
    encode("gs://bucket/corpus.jsonl").says("`gcloud storage cat gs://bucket/corpus.jsonl | …`");
    encode("https://host/corpus.jsonl").says("`curl -sfL https://host/corpus.jsonl | …`");
    let to = "testdata/demo/corpus.jsonl -o";
    encode(&format!("{to} s3://bucket/v.parquet")).says("`… | aws s3 cp - s3://bucket/v.parquet`");
    encode(&format!("{to} gs://b/v.parquet")).says("build l0 with the feature `stores`");
    let query = run(work.command("l0-query", "s3://bucket/a.l0x"), b"");
    query.exits(1).says("s3://bucket/a.l0x: expected a file, found an object of a store");
    assert!(work.names().is_empty());
}

#[test]
fn a_folder_is_of_this_machine() {
    let work = Work::new();
    let resume =
        "--model testdata/toy testdata/demo/corpus.jsonl -o s3://bucket/v.parquet --resume";
    run(work.command("l0-encode", resume), b"").exits(2).says("--resume");
    let train = "testdata/demo/recipe.toml -o s3://bucket/model --set stage.0.steps=1";
    run(work.command("l0-train", train), b"").exits(1).says("expected a folder of this machine");
    assert!(work.names().is_empty());
}

#[cfg(feature = "stores")]
mod remote;
