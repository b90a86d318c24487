//! Files written by older versions, a folder of `testdata/compat` for each: the programs of today read
//! them, answer from them and go on with them. `testdata/compat/README.md` says how they were made.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use l0::internal::{
    io::Input,
    vectors::{self, Row},
};
use serde_json::Value;

use crate::support::{Run, Work, run};

/// Weights, scores and losses on another processor than the one that wrote the files, relative.
const ON_ANOTHER_PROCESSOR: f64 = 1e-3;

/// The names of the versions, each with a folder `testdata/compat/VERSION`.
fn versions() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/compat");
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

#[track_caller]
fn sh(work: &Work, line: &str) -> Run {
    run(work.shell(line), b"")
}

#[track_caller]
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn near(found: &Value, expected: &Value, what: &str) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    let apart = (found - expected).abs();
    assert!(
        apart <= ON_ANOTHER_PROCESSOR * expected.abs(),
        "{what}: expected {expected}, found {found}"
    );
}

/// Copies a folder with what is in it, hidden files too.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[track_caller]
fn rows(path: &Path) -> Vec<Row> {
    let (_, rows) = vectors::read(Input::open(path).unwrap(), None).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Weights by term.
fn weights(row: &Row) -> BTreeMap<u32, f64> {
    row.vector.iter().map(|(term, weight)| (term.0, f64::from(weight))).collect()
}

/// The same ids in the same order, each with the same weights up to those of another processor.
#[track_caller]
fn same_vectors(found: &[Row], expected: &[Row]) {
    let ids = |rows: &[Row]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected));
    for (found, expected) in found.iter().zip(expected) {
        let (of, all) = (weights(found), weights(expected));
        let most = all.values().fold(0.0, |most: f64, &weight| most.max(weight));
        let terms: BTreeSet<u32> = of.keys().chain(all.keys()).copied().collect();
        for term in terms {
            let [a, b] = [&of, &all].map(|weights| weights.get(&term).copied().unwrap_or(0.0));
            let id = &found.id;
            assert!(
                (a - b).abs() <= ON_ANOTHER_PROCESSOR * most,
                "{id}, term {term}: {a}, not {b}"
            );
        }
    }
}

#[test]
fn indexes_are_sound_and_answer_as_they_did() {
    let work = Work::new();
    for version in versions() {
        let folder = format!("testdata/compat/{version}");
        for name in ["u8", "f32", "compact", "texts"] {
            let index = format!("{folder}/{name}.l0x");
            sh(&work, &format!("l0-index verify {index}")).exits(0);
            let ask = format!("l0-query {index} {folder}/data/queries.jsonl --format jsonl");
            let found = lines(&sh(&work, &format!("{ask} -k 5")).exits(0).stdout_text());
            let expected = lines(&work.text(&format!("{folder}/{name}.answers.jsonl")));
            assert_eq!((found.len(), expected.len()), (20, 20), "{index}");
            for (found, expected) in found.iter().zip(&expected) {
                same_answer(found, expected, &index);
            }
            // every other way of searching finds the same
            let exhaustive = sh(&work, &format!("{ask} -k 5 --method exhaustive")).exits(0);
            assert_eq!(lines(&exhaustive.stdout_text()), found, "{index}, exhaustive");
        }
    }
}

#[track_caller]
fn same_answer(found: &Value, expected: &Value, index: &str) {
    assert_eq!(found["_id"], expected["_id"], "{index}");
    let [hits, wanted] = [found, expected].map(|answer| answer["hits"].as_array().unwrap());
    assert_eq!(hits.len(), wanted.len(), "{index}: {}", found["_id"]);
    for (hit, wanted) in hits.iter().zip(wanted) {
        for key in ["id", "title", "text"] {
            assert_eq!(hit[key], wanted[key], "{index}: {}", found["_id"]);
        }
        near(&hit["score"], &wanted["score"], &format!("{index}: {}", found["_id"]));
    }
}

/// Documents can be appended, and a merge of one index answers as that one.
#[test]
fn indexes_can_be_added_to() {
    let work = Work::new();
    for version in versions() {
        let folder = format!("testdata/compat/{version}");
        let encode = format!("l0-encode --model {folder}/base --prune top_k:16 -o one.parquet");
        run(work.shell(&encode), br#"{"_id":"new","text":"bread"}"#).exits(0);
        for name in ["u8", "f32", "compact", "texts"] {
            let index = format!("{folder}/{name}.l0x");
            let ask = format!("{folder}/data/queries.jsonl -k 5 --format jsonl --quiet");
            let line = format!(
                "l0-index append {index} one.parquet -o more.l0x && l0-index verify more.l0x &&
                 l0-index merge {index} -o same.l0x --quiet && l0-query same.l0x {ask} > same &&
                 l0-query {index} {ask} | cmp - same"
            );
            let documents = if name == "texts" { 41 } else { 334 };
            sh(&work, &line).exits(0).says(&format!("{documents} documents"));
        }
    }
}

#[test]
fn vectors_in_every_form_are_the_same_rows() {
    let work = Work::new();
    for version in versions() {
        let folder = format!("testdata/compat/{version}");
        let [parquet, arrow, json] = ["parquet", "arrow", "jsonl"]
            .map(|form| rows(&work.path(&format!("{folder}/vectors.{form}"))));
        assert_eq!(parquet.len(), 40);
        assert_eq!(parquet, arrow, "{version}");
        assert_eq!(parquet, json, "{version}");
        // the numbers as any other program reads them
        let text = lines(&work.text(&format!("{folder}/vectors.jsonl")));
        for (row, line) in parquet.iter().zip(&text) {
            assert_eq!(row.id, line["_id"].as_str().unwrap());
            let terms: Vec<u32> = serde_json::from_value(line["indices"].clone()).unwrap();
            let values: Vec<f32> = serde_json::from_value(line["values"].clone()).unwrap();
            assert_eq!(row.vector.terms().iter().map(|term| term.0).collect::<Vec<_>>(), terms);
            assert_eq!(row.vector.weights(), values);
        }
        // tables know what made them, and carry document frequencies
        let index = format!("l0-index --quiet --model {folder}/base --query-weights corpus");
        let line = format!(
            "{index} {folder}/vectors.parquet -o a.l0x && {index} {folder}/vectors.arrow -o b.l0x &&
             cmp a.l0x b.l0x"
        );
        sh(&work, &line).exits(0);
        let other = format!("l0-index --model testdata/toy-old {folder}/vectors.parquet -o c.l0x");
        sh(&work, &other).exits(3).says("model");
    }
}

#[test]
fn a_model_encodes_what_it_encoded() {
    let work = Work::new();
    for version in versions() {
        let folder = format!("testdata/compat/{version}");
        let line = format!(
            "head -20 {folder}/data/titles.jsonl | l0-encode --model {folder}/model -o v.jsonl --quiet"
        );
        sh(&work, &line).exits(0);
        let expected = rows(&work.path(&format!("{folder}/model.vectors.jsonl")));
        assert!(expected.len() == 20 && expected.iter().all(|row| row.vector.nnz() > 10));
        same_vectors(&rows(&work.path("v.jsonl")), &expected);
    }
}

#[test]
fn examples_keep_their_scores() {
    let work = Work::new();
    for version in versions() {
        let folder = format!("testdata/compat/{version}");
        let line = format!("l0-train check {folder}/examples.parquet --tokenizer {folder}/base");
        sh(&work, &line)
            .exits(0)
            .prints("2 examples, 5 documents")
            .prints("2 with a teacher's scores");
        for form in ["parquet", "jsonl"] {
            let line = format!(
                "l0-train {folder}/recipe.toml -o none --dry-run --set stage.0.batch=2 \
                 --set stage.0.documents=2 --set 'stage.0.loss=[{{ kind = \"kl\" }}]' \
                 --set 'data.0={{ path = \"{folder}/examples.{form}\" }}'"
            );
            sh(&work, &line).exits(0).says("dry run");
        }
        let line = format!(
            "l0-train score --teacher {folder}/base {folder}/examples.parquet -o again.jsonl --quiet"
        );
        sh(&work, &line).exits(0);
        let [found, expected] = ["again.jsonl".to_owned(), format!("{folder}/examples.jsonl")]
            .map(|name| lines(&work.text(&name)));
        assert_eq!(found.len(), 2);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((&found["query"], &found["docs"]), (&expected["query"], &expected["docs"]));
            let [scores, wanted] = [found, expected].map(|line| line["scores"].as_array().unwrap());
            scores.iter().zip(wanted).for_each(|(a, b)| near(a, b, "score"));
        }
    }
}

/// Finished parts are gone on with, to the bytes of an undisturbed run; or refused, left as they are, by a
/// message that says what to do.
#[test]
fn half_finished_encoding_goes_on_or_is_refused() {
    for version in versions() {
        let work = Work::new();
        let folder = format!("testdata/compat/{version}");
        let parts = "resume.parquet.parts";
        copy(&work.path(&format!("{folder}/{parts}")), &work.path(parts));
        let names = || {
            let entries = fs::read_dir(work.path(parts)).unwrap().map(Result::unwrap);
            entries.map(|entry| entry.file_name()).collect::<BTreeSet<_>>()
        };
        let before = names();
        assert_eq!(before.len(), 5, "{before:?}");
        let kept: Vec<Row> = ["part-000000.arrow", "part-000001.arrow"]
            .iter()
            .flat_map(|part| rows(&work.path(&format!("{parts}/{part}"))))
            .collect();
        assert_eq!(kept.len(), 129);

        let encode = format!("l0-encode --model {folder}/base --prune top_k:8");
        let line = format!("{encode} --resume {folder}/data/titles.jsonl -o resume.parquet");
        let resumed = sh(&work, &line);
        if resumed.status() != Some(0) {
            resumed.exits(3).says(parts).says("remove the folder");
            assert_eq!(names(), before, "what was refused was touched");
            assert!(!work.path("resume.parquet").exists());
            // the remedy works
            fs::remove_dir_all(work.path(parts)).unwrap();
            sh(&work, &line).exits(0).says("200 rows");
            continue;
        }
        resumed.says("129 taken over from finished parts");
        assert!(!work.path(parts).exists());
        let whole = format!("{encode} {folder}/data/titles.jsonl -o whole.parquet --quiet");
        sh(&work, &whole).exits(0);
        let [found, expected] =
            ["resume.parquet", "whole.parquet"].map(|name| rows(&work.path(name)));
        assert!(found[..129] == kept, "rows of finished parts were changed");
        same_vectors(&found, &expected);
        if expected[..129] == kept {
            // the processor computes as the one that wrote the parts
            assert!(work.read("resume.parquet") == work.read("whole.parquet"), "other bytes");
        }
    }
}

#[test]
fn a_half_finished_training_run_goes_on_to_its_end() {
    for version in versions() {
        let work = Work::new();
        let folder = format!("testdata/compat/{version}");
        copy(&work.path(&format!("{folder}/train")), &work.path("train"));
        assert!(!work.path("train/model.safetensors").exists());
        let line = format!("l0-train {folder}/recipe.toml -o train --resume");
        sh(&work, &line).exits(0).says("goes on after step 6");

        let expected = lines(&work.text(&format!("{folder}/whole.train.jsonl")));
        let found = lines(&work.text("train/train.jsonl"));
        assert_eq!((found.len(), expected.len()), (20, 20));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found["step"], expected["step"]);
            for key in ["loss", "gradient", "lr", "lambda"] {
                near(&found[key], &expected[key], &format!("step {}, {key}", found["step"]));
            }
        }
        let line = format!("l0-encode --model train {folder}/data/corpus.jsonl -o v.jsonl");
        sh(&work, &line).exits(0).says("40 rows");
    }
}

#[test]
fn a_checkpoint_of_a_later_version_is_refused() {
    for version in versions() {
        let work = Work::new();
        let folder = format!("testdata/compat/{version}");
        copy(&work.path(&format!("{folder}/train")), &work.path("train"));
        let state = "train/checkpoints/step-00000006/state.json";
        let text = work.text(state);
        assert!(text.contains("\"format\": 1,"), "{text}");
        work.write(state, text.replacen("\"format\": 1,", "\"format\": 99,", 1));
        let log = work.read("train/train.jsonl");
        sh(&work, &format!("l0-train {folder}/recipe.toml -o train --resume")).exits(3);
        assert_eq!(work.read("train/train.jsonl"), log, "the run was touched");
    }
}
