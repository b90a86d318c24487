//! Models by their names on a hub: out of a cache that is there, and, with the feature `hub`, into it from a
//! server of the test's own.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{Run, TINY, Work, run};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TEXT: &[u8] = b"{\"_id\":\"a\",\"text\":\"the sea is wide\"}\n";

/// A program without the variables of this machine that would lead it to another cache or a network.
pub fn clean(mut command: Command) -> Command {
    for name in [
        "HF_HUB_CACHE",
        "HF_HOME",
        "XDG_CACHE_HOME",
        "HF_ENDPOINT",
        "HF_TOKEN",
        "HF_HUB_DOWNLOAD_TIMEOUT",
    ] {
        command.env_remove(name);
    }
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.env("HF_HUB_OFFLINE", "1");
    command
}

fn encode(work: &Work, model: &str, variables: &[(&str, &str)]) -> Run {
    let arguments = format!("--model {model} - --format jsonl -o out.jsonl");
    let mut command = clean(work.command("l0-encode", &arguments));
    command.env("HOME", work.path("home"));
    command.envs(variables.iter().map(|(name, value)| (name, work.path(value))));
    run(command, TEXT)
}

/// The toy model in a cache, as a download of all files leaves it: blobs, and links to them.
fn cached(work: &Work, cache: &str, model: &str) {
    let snapshot = copied(work, cache, model, "testdata/toy");
    fs::write(snapshot.join(".gitattributes"), "").unwrap();
}

/// A model's files in a cache; returns the snapshot.
fn copied(work: &Work, cache: &str, model: &str, from: &str) -> PathBuf {
    let folder = work.path(cache).join(format!("models--{}", model.replace('/', "--")));
    let snapshot = folder.join("snapshots").join(COMMIT);
    for folder in [&snapshot, &folder.join("blobs"), &folder.join("refs")] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(folder.join("refs/main"), COMMIT).unwrap();
    for (at, entry) in fs::read_dir(work.path(from)).unwrap().enumerate() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), folder.join(format!("blobs/{at}"))).unwrap();
            symlink(format!("../../blobs/{at}"), snapshot.join(entry.file_name())).unwrap();
        } else {
            let mut copy = Command::new("cp");
            copy.arg("-r").arg(entry.path()).arg(snapshot.join(entry.file_name()));
            assert!(copy.status().unwrap().success());
        }
    }
    snapshot
}

#[test]
fn a_cached_model_is_found_where_the_environment_says() {
    let work = Work::new();
    cached(&work, "a", "org/toy");
    cached(&work, "b/hub", "org/toy");
    cached(&work, "c/huggingface/hub", "org/toy");
    cached(&work, "home/.cache/huggingface/hub", "org/toy");
    encode(&work, "testdata/toy", &[]).exits(0);
    let expected = work.read("out.jsonl");
    let lost = ("HF_HUB_CACHE", "none");
    for variables in [
        &[][..],
        &[("HF_HUB_CACHE", "a"), ("HF_HOME", "none"), ("XDG_CACHE_HOME", "none")],
        &[("HF_HOME", "b"), ("XDG_CACHE_HOME", "none")],
        &[("XDG_CACHE_HOME", "c")],
    ] {
        for model in ["org/toy", "org/toy@main", &format!("org/toy@{COMMIT}")] {
            encode(&work, model, variables).exits(0);
            assert!(work.read("out.jsonl") == expected, "{model} {variables:?}");
        }
    }
    encode(&work, "org/toy", &[lost]).exits(1);
}

#[test]
fn what_is_not_there_is_reported_with_the_place_and_the_remedy() {
    let work = Work::new();
    cached(&work, "a", "org/toy");
    let cache = ("HF_HUB_CACHE", "a");
    let ran = encode(&work, "org/other", &[cache]).exits(1);
    let ran = ran.says(
        "org/other: expected a model directory, found none of that name; nor is its revision",
    );
    let remedy = if cfg!(feature = "hub") { "unset it" } else { "`hf download org/other`" };
    ran.says("a/models--org--other").says(remedy);
    encode(&work, "org/toy@v2", &[cache]).exits(1).says("its revision v2");
    let other = COMMIT.replace('0', "1");
    encode(&work, &format!("org/toy@{other}"), &[cache]).exits(1).says(&other);
    // what has not the form of a name is a path and nothing else
    encode(&work, "a/b/c", &[cache])
        .exits(1)
        .says("expected a model directory, found none of that name");
    // others fetch file by file: what is missing is named
    fs::remove_file(work.path(&format!("a/models--org--toy/snapshots/{COMMIT}/config.json")))
        .unwrap();
    encode(&work, "org/toy", &[cache]).exits(1).says(&format!("{COMMIT} lacks config.json"));
}

/// A model with modules, whose `l0.json` alone says that it has a threshold and a lexical part.
#[test]
fn a_part_of_a_model_does_not_pass_for_another() {
    let work = Work::new();
    let snapshot = copied(&work, "a", "org/toy", TINY);
    let cache = ("HF_HUB_CACHE", "a");
    encode(&work, TINY, &[]).exits(0);
    let expected = work.read("out.jsonl");
    encode(&work, "org/toy", &[cache]).exits(0);
    assert!(work.read("out.jsonl") == expected);
    for (file, lack) in [
        ("l0.json", "lacks l0.json"),
        ("router_config.json", "lacks router_config.json"),
        (
            "query_0_SparseStaticEmbedding/model.safetensors",
            "lacks model.safetensors or idf.json in query_0_SparseStaticEmbedding",
        ),
        ("document_1_SpladePooling/config.json", "lacks config.json in document_1_SpladePooling"),
        // with the table's weights there, which are not the network's
        ("model.safetensors", "lacks model.safetensors or pytorch_model.bin"),
        ("modules.json", "lacks modules.json, if the model has one"),
    ] {
        let aside = work.path("aside");
        fs::rename(snapshot.join(file), &aside).unwrap();
        let ran = encode(&work, "org/toy", &[cache]).exits(1).says(lack);
        ran.says("`hf download org/toy`").says("or name that directory to take it as it is");
        fs::rename(&aside, snapshot.join(file)).unwrap();
    }
    fs::remove_file(snapshot.join("l0.json")).unwrap();
    encode(&work, &format!("a/models--org--toy/snapshots/{COMMIT}"), &[]).exits(0);
    assert!(work.read("out.jsonl") != expected, "what is named is taken as it is");
}

#[test]
fn a_directory_of_that_name_comes_first() {
    let work = Work::new();
    cached(&work, "a", "org/toy");
    fs::create_dir_all(work.path("org/toy")).unwrap();
    encode(&work, "org/toy", &[("HF_HUB_CACHE", "a")])
        .exits(1)
        .says("org/toy: expected tokenizer.json");
}

#[test]
fn every_program_takes_a_name_and_vectors_carry_it() {
    let work = Work::new();
    cached(&work, "a", "org/toy");
    let line = "set -e
        l0-encode --model org/toy testdata/demo/corpus.jsonl --quiet -o v.parquet
        grep -ao 'org/toy@[0-9a-f]*' v.parquet | head -1
        l0-index v.parquet --model org/toy --quiet -o v.l0x
        l0-index v.parquet --tokenizer org/toy --quiet -o t.l0x
        l0-encode idf --tokenizer org/toy testdata/demo/corpus.jsonl --quiet -o idf.json
        l0-encode --model bm25 --tokenizer org/toy testdata/demo/corpus.jsonl --quiet -o b.parquet
        printf '{\"query\":\"the sea\",\"pos\":\"waves\",\"negs\":[\"sun\"]}' >x.jsonl
        l0-train check x.jsonl --tokenizer org/toy >/dev/null
        l0-train score --teacher org/toy x.jsonl --quiet -o y.parquet
        grep -ao 'org/toy@[0-9a-f]*' y.parquet | head -1
        cp -r testdata/demo demo
        l0-train demo/recipe.toml --set 'model.base=\"org/toy\"' --set 'query.table=\"unit\"' --dry-run -o m --quiet
        l0-train export org/toy -o exported --quiet";
    let mut command = clean(work.shell(line));
    command.env("HF_HUB_CACHE", work.path("a"));
    let ran = run(command, b"").exits(0);
    let name = format!("org/toy@{COMMIT}");
    assert_eq!(ran.stdout_text().lines().collect::<Vec<_>>(), [&name, &name]);
    assert!(Path::new(&work.path("exported/model.safetensors")).exists());
}

#[cfg(feature = "hub")]
mod download;
