//! The model that ships with the programs.

use std::{fs, path::Path, process::Command};

use l0::model::{Checkpoint, shipped};

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
