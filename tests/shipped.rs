//! The model that ships with the programs, and what makes a trained model small enough to ship.

use std::{fs, path::Path, process::Command};

use half::f16;
use l0::{
    model::{Checkpoint, shipped},
    train::pack::{Changes, pack},
};
use serde_json::Value;

const MODEL: &str = "testdata/model";
const DEMO: &str = "testdata/demo";

fn run(program: &str, args: &[&str]) -> (i32, String, String) {
    let done = Command::new(program).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[track_caller]
fn good(program: &str, args: &[&str]) -> String {
    let (status, stdout, stderr) = run(program, args);
    assert_eq!(status, 0, "{stderr}");
    stdout
}

#[test]
fn no_model_means_the_shipped_one_and_its_index_needs_no_name_either() {
    let (encode, index) = (env!("CARGO_BIN_EXE_l0-encode"), env!("CARGO_BIN_EXE_l0-index"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let corpus = format!("{DEMO}/corpus.jsonl");
    let rows = good(encode, &[&corpus, "--format", "jsonl", "--quiet"]);
    assert_eq!(rows.lines().count(), 333);
    let named = [&corpus, "--model", MODEL, "--format", "jsonl", "--quiet"];
    assert!(rows == good(encode, &named), "the folder is what the program carries");
    let queries = format!("{DEMO}/queries.jsonl");
    let asked = ["--role", "query", &queries, "--format", "jsonl", "--quiet"];
    assert_eq!(good(encode, &asked).lines().count(), 60);

    let (vectors, made) = (file("v.parquet"), file("d.l0x"));
    good(encode, &[&corpus, "-o", &vectors]);
    good(index, &[&vectors, "-o", &made]);
    let hits =
        good(env!("CARGO_BIN_EXE_l0-query"), &[&made, &queries, "-k", "1", "--format", "trec"]);
    assert_eq!(hits.lines().count(), 60);

    // vectors of another model, or of one that nobody names, are not taken for the shipped one's
    let bm25 = file("bm25.parquet");
    good(encode, &["--model", "bm25", "--tokenizer", MODEL, &corpus, "-o", &bm25]);
    let (status, _, told) = run(index, &[&bm25, "-o", &file("b.l0x")]);
    assert!(status == 3 && told.contains("model that made the vectors"), "{told}");
    for (model, flag) in [("bm25", "--tokenizer"), (MODEL, "--role=query")] {
        let more = if model == "bm25" { vec![flag, MODEL] } else { vec![flag] };
        let args = [&["--model", model, &corpus, "--lexical", "0.5"], &more[..]].concat();
        let (status, _, told) = run(encode, &args);
        assert!(status == 2 && told.contains("--lexical is for documents"), "{told}");
    }
    fs::write(file("v.jsonl"), rows).unwrap();
    let (status, _, told) = run(index, &[&file("v.jsonl"), "-o", &file("b.l0x")]);
    assert!(status == 2 && told.contains("want --model DIR or --tokenizer DIR"), "{told}");
}

#[test]
fn the_shipped_folder_is_small_and_says_what_it_is() {
    fn bytes(folder: &Path) -> u64 {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let size = |entry: fs::DirEntry| match entry.path().is_dir() {
            true => bytes(&entry.path()),
            false => entry.metadata().unwrap().len(),
        };
        entries.map(size).sum()
    }
    assert!(bytes(Path::new(MODEL)) < 10_000_000);
    let card = fs::read_to_string(format!("{MODEL}/README.md")).unwrap();
    for said in ["license:", "## Licence", "pipelines/model.sh", "nDCG@10"] {
        assert!(card.contains(said), "the card lacks {said}");
    }
    // carried and in the folder, the weights are the same
    let carried = Checkpoint::load(&shipped()).unwrap();
    assert_eq!(carried.sha256, Checkpoint::load(Path::new(MODEL)).unwrap().sha256);
    assert!(carried.weights.words.data.len() / 128 == 30_522);
}

fn weights(folder: &Path) -> Vec<f32> {
    let Checkpoint { weights, .. } = Checkpoint::load(folder).unwrap();
    let mut all = weights.words.data;
    all.extend(weights.layers.into_iter().flat_map(|layer| layer.up.weight.data));
    all.extend(weights.decoder_bias);
    all
}

#[test]
fn a_packed_model_is_the_mean_of_its_models_in_half_precision() {
    let folder = tempfile::tempdir().unwrap();
    let toy = Path::new("testdata/toy-st");
    // another model of the same kind: every number doubled
    let double = folder.path().join("double");
    copy(toy, &double);
    let file = double.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let from = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for two in bytes[from..].chunks_exact_mut(2) {
        let number = f16::from_le_bytes(two.try_into().unwrap());
        two.copy_from_slice(&f16::from_f32(2.0 * number.to_f32()).to_le_bytes());
    }
    fs::write(&file, bytes).unwrap();

    let (one, mean) = (folder.path().join("one"), folder.path().join("mean"));
    pack(&[toy.to_owned()], &Changes::default(), &one).unwrap();
    let card = Changes { card: Some("a card".into()), ..Changes::default() };
    pack(&[toy.to_owned(), double.clone()], &card, &mean).unwrap();
    for (at, ((whole, one), mean)) in
        weights(toy).into_iter().zip(weights(&one)).zip(weights(&mean)).enumerate()
    {
        assert!((one - whole).abs() <= whole.abs() / 1024.0 + 1e-7, "{at}: {one} {whole}");
        let expected = 1.5 * whole;
        assert!((mean - expected).abs() <= expected.abs() / 1024.0 + 1e-7, "{at}: {mean}");
    }
    assert_eq!(fs::read_to_string(mean.join("README.md")).unwrap(), "a card");
    let config: Value =
        serde_json::from_str(&fs::read_to_string(one.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["torch_dtype"], "float16");
    let toy_again =
        run(env!("CARGO_BIN_EXE_l0-train"), &["pack", MODEL, "-o", one.to_str().unwrap()]);
    assert!(toy_again.0 == 2 && toy_again.2.contains("is not empty"), "{}", toy_again.2);
    // the table is the same, in the one spelling that is left
    let asked = |folder: &Path| {
        let queries = format!("{DEMO}/queries.jsonl");
        let folder = folder.to_str().unwrap();
        let args = ["--model", folder, "--role", "query", &queries, "--format", "jsonl", "--quiet"];
        good(env!("CARGO_BIN_EXE_l0-encode"), &args)
    };
    assert!(asked(&one) == asked(toy));
}

#[test]
fn a_lexical_part_and_a_threshold_are_packed_into_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let encode = |model: &str, more: &[&str]| {
        let corpus = format!("{DEMO}/corpus.jsonl");
        let args = ["--model", model, &corpus, "--format", "jsonl", "--quiet"];
        good(env!("CARGO_BIN_EXE_l0-encode"), &[&args[..], more].concat())
    };
    let train = env!("CARGO_BIN_EXE_l0-train");
    good(train, &["pack", "testdata/toy-st", "-o", &file("plain")]);
    let changes = ["--lexical", "0.4", "--threshold", "0.3"];
    good(train, &[&["pack", "testdata/toy-st", "-o", &file("with")], &changes[..]].concat());
    let with = encode(&file("with"), &[]);
    // the lexical part comes first, then the threshold
    let added = encode(&file("plain"), &["--lexical", "0.4"]);
    let all = |rows: &str, least: f64| -> Vec<Vec<(u64, f64)>> {
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            let ids = row["indices"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap());
            let weights = row["values"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap());
            ids.zip(weights).filter(|(_, weight)| *weight > least).collect()
        };
        rows.lines().map(row).collect()
    };
    let level = f64::from(0.3f32);
    assert!(all(&with, 0.0) == all(&added, level));
    assert!(
        all(&added, 0.0) != all(&with, 0.0)
            && all(&added, 0.0) != all(&encode(&file("plain"), &[]), 0.0)
    );
    assert!(encode(&file("plain"), &[]) == encode("testdata/toy-st", &[]));
    let long = run(train, &["pack", "testdata/toy-st", "-o", &file("bad"), "--max-tokens", "999"]);
    assert!(long.0 == 2 && long.2.contains("want 3 to 64, got 999"), "{}", long.2);
    let bad = run(train, &["pack", "testdata/toy-st", "-o", &file("bad"), "--lexical=-1"]);
    assert!(bad.0 == 2 && bad.2.contains("want a weight from 0"), "{}", bad.2);
}

#[test]
fn models_of_different_kinds_have_no_mean() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let program = env!("CARGO_BIN_EXE_l0-train");
    let (status, _, told) = run(program, &["pack", "testdata/toy-st", "testdata/toy", "-o", &out]);
    assert!(status == 3 && told.contains("testdata/toy: want"), "{told}");
    let other = folder.path().join("other");
    copy(Path::new("testdata/toy-st"), &other);
    fs::write(other.join("l0.json"), r#"{"activation":2,"threshold":{"all":0.25}}"#).unwrap();
    let other = other.to_str().unwrap();
    let (status, _, told) = run(program, &["pack", "testdata/toy-st", other, "-o", &out]);
    assert!(status == 3 && told.contains("want"), "{told}");
    assert!(!Path::new(&out).exists(), "nothing is left");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
