//! The recipes that are shipped: all are read, and all run, made small, on the toy model.

use std::path::PathBuf;

use l0::internal::train::recipe::{Recipe, stage::Task};

use crate::support::{Work, headless};

fn shipped() -> Vec<PathBuf> {
    let files = std::fs::read_dir("pipelines/recipes").unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Examples that every loss can use: two documents per query, with a teacher's scores.
fn examples(work: &Work) {
    let words =
        ["rain", "wind", "storm", "river", "water", "sea", "heart", "blood", "cell", "house"];
    let lines = words.iter().zip(words.iter().cycle().skip(3)).map(|(good, other)| {
        format!(
            "{{\"query\":\"{good}\",\"docs\":[\"the {good}\",\"an {other}\"],\"scores\":[1,0.2]}}\n"
        )
    });
    work.write("examples.jsonl", lines.collect::<String>());
}

/// Changes that make a recipe small: the toy model, few texts, one step a stage.
fn made_small(recipe: &Recipe, work: &Work) -> Vec<String> {
    let base = match (recipe.model.head, &recipe.pool) {
        (None, None) => "testdata/toy".into(),
        (None, Some(_)) => vocabulary_model(work),
        (Some(_), _) => headless(&work.path(""), "toy", "bert."),
    };
    let mut changes = vec![
        format!("model.base={base}"),
        "model.max_tokens=24".into(),
        "query.table=testdata/toy-st/idf.json".into(),
    ];
    if recipe.pool.is_some() {
        changes.push("pool.documents=[\"testdata/demo/corpus.jsonl\"]".into());
        changes.push("pool.queries=[\"testdata/demo/queries.jsonl\"]".into());
        changes.push("pool.cache=vectors.safetensors".into());
        changes.push("pool.max_tokens=16".into());
    }
    if !recipe.data.is_empty() {
        examples(work);
        changes.push("data=[{ path = \"examples.jsonl\" }]".into());
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
fn vocabulary_model(work: &Work) -> String {
    let target = work.path("vocabulary");
    if !target.exists() {
        let made = "from-dense testdata/toy --pooling mean --quiet -o vocabulary";
        work.run("l0-train", made, "").exits(0);
    }
    target.display().to_string()
}

#[test]
fn shipped_recipes_run_made_small() {
    let files = shipped();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let recipe = Recipe::load(&file, &[]).unwrap();
        let work = Work::new();
        let path = std::fs::canonicalize(&file).unwrap();
        let train = |more: &[&str]| {
            let mut arguments = vec![path.to_str().unwrap().to_owned(), "-o".into(), "out".into()];
            arguments.extend(more.iter().map(|&word| word.to_owned()));
            for change in made_small(&recipe, &work) {
                arguments.extend(["--set".into(), change]);
            }
            work.run("l0-train", &arguments, "").exits(0)
        };
        train(&["--dry-run"]).says("dry run: ");
        assert!(!work.path("out").exists());
        let stderr = train(&[]).stderr();
        assert!(work.path("out/model.safetensors").exists(), "{stderr}");
        assert_eq!(stderr.contains("the head is new"), recipe.model.head.is_some(), "{stderr}");
    }
}
