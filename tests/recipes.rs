//! The recipes that are shipped: all are read, and all run, made small, on the toy model.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use l0::internal::train::{recipe::Recipe, stage::Task};

use crate::train_masked::headless;

fn shipped() -> Vec<PathBuf> {
    let files = std::fs::read_dir("pipelines/recipes").unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Examples that every loss can use: two documents a query, with a teacher's scores.
fn examples(folder: &Path) -> PathBuf {
    let file = folder.join("examples.jsonl");
    let words =
        ["rain", "wind", "storm", "river", "water", "sea", "heart", "blood", "cell", "house"];
    let lines = words.iter().zip(words.iter().cycle().skip(3)).map(|(good, other)| {
        format!(
            "{{\"query\":\"{good}\",\"docs\":[\"the {good}\",\"an {other}\"],\"scores\":[1,0.2]}}\n"
        )
    });
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    file
}

/// Changes that make a recipe small: the toy model, few texts, one step a stage.
fn made_small(recipe: &Recipe, folder: &Path) -> Vec<String> {
    let base = match (recipe.model.head, &recipe.pool) {
        (None, None) => "testdata/toy".into(),
        (None, Some(_)) => vocabulary_model(folder),
        (Some(_), _) => headless(folder, "toy", "bert."),
    };
    let mut changes = vec![
        format!("model.base={base}"),
        "model.max_tokens=24".into(),
        "query.table=testdata/toy-st/idf.json".into(),
    ];
    if recipe.pool.is_some() {
        let cache = folder.join("vectors.safetensors");
        changes.push("pool.documents=[\"testdata/demo/corpus.jsonl\"]".into());
        changes.push("pool.queries=[\"testdata/demo/queries.jsonl\"]".into());
        changes.push(format!("pool.cache={}", cache.display()));
        changes.push("pool.max_tokens=16".into());
    }
    if !recipe.data.is_empty() {
        changes.push(format!("data=[{{ path = \"{}\" }}]", examples(folder).display()));
    }
    if recipe.evaluate.is_some() {
        changes.push("evaluate.data=[\"testdata/demo\"]".into());
        changes.push("evaluate.split=test".into());
    }
    for (at, stage) in recipe.stage.iter().enumerate() {
        let mut set = |key: &str, value: &str| changes.push(format!("stage.{at}.{key}={value}"));
        set("steps", "1");
        set("batch", "4");
        set("micro_batch", "3");
        match &stage.task {
            Task::Retrieval(task) if task.documents > 2 => set("documents", "2"),
            Task::MaskedLm(task) if task.corpus.is_some() => set("corpus", "testdata/demo"),
            _ => {}
        }
    }
    changes
}

/// The toy encoder with a vocabulary head.
fn vocabulary_model(folder: &Path) -> String {
    let target = folder.join("vocabulary");
    if !target.exists() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l0-train"));
        command.args(["from-dense", "testdata/toy", "--pooling", "mean", "--quiet", "-o"]);
        let done = command.arg(&target).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    target.display().to_string()
}

#[test]
fn shipped_recipes_run_made_small() {
    let files = shipped();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let recipe = Recipe::load(&file, &[]).unwrap();
        let above = tempfile::tempdir().unwrap();
        let output = above.path().join("out");
        let run = |more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_l0-train"));
            command.arg(&file).arg("-o").arg(&output).args(more);
            for change in made_small(&recipe, above.path()) {
                command.args(["--set", &change]);
            }
            let done = command.output().unwrap();
            let told = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(done.status.success(), "{}: {told}", file.display());
            told
        };
        assert!(run(&["--dry-run"]).contains("dry run: "), "{}", file.display());
        assert!(!output.exists());
        let told = run(&[]);
        assert!(output.join("model.safetensors").exists(), "{told}");
        assert_eq!(told.contains("the head is new"), recipe.model.head.is_some(), "{told}");
    }
}
