//! `l0-train from-dense` and stages of kind `distill`, from outside: a sentence encoder becomes a sparse
//! model, a pool without labels trains it, and the same run makes the same bytes.

use safetensors::SafeTensors;

use crate::support::{Run, Work, run};

fn line(work: &Work, line: &str) -> Run {
    run(work.shell(line), b"")
}

const RECIPE: &str = r#"
log_every = 1
checkpoint_every = 3
[model]
base = "base"
max_tokens = 32
activation = 0
lexical = { weight = 0.5 }
lexical_scale = "learned"
[query]
kind = "learned"
[optimizer]
lr = 1e-3
weight_decay = 0.0
rates = { "decoder." = 1e-2, "query." = 1e-2 }
[pool]
documents = ["testdata/demo/corpus.jsonl"]
queries = ["testdata/demo/queries.jsonl"]
max_tokens = 24
cache = "vectors.safetensors"
[[stage]]
name = "head"
kind = "distill"
train = "head"
steps = 4
batch = 16
queries = 40
prune = "top_k:60"
[[stage]]
name = "all"
kind = "distill"
steps = 4
batch = 16
queries = 40
micro_batch = 7
prune = "top_k:50"
paraphrase = 0.5
regularizer = { kind = "l0_mask", lambda = 1e-3, threshold = 20 }
"#;

/// A folder with the toy encoder as a sparse model in it, and the recipe.
fn place() -> Work {
    let work = Work::new();
    let made = "l0-train from-dense testdata/toy --pooling mean --quiet -o base";
    line(&work, made).exits(0);
    work.write("recipe.toml", RECIPE);
    work
}

fn tensor(bytes: &[u8], name: &str) -> Vec<u8> {
    SafeTensors::deserialize(bytes).unwrap().tensor(name).unwrap().data().to_vec()
}

#[test]
fn an_encoder_becomes_a_model_that_searches() {
    let work = place();
    line(&work, "l0-train from-dense testdata/toy --pooling mean --threads 1 --quiet -o again")
        .exits(0);
    line(&work, "diff -r base again").exits(0).silent();
    let search = "l0-encode --model base testdata/demo/corpus.jsonl -o v.parquet --quiet &&
                  l0-index v.parquet --model base -o v.l0x --quiet &&
                  l0-query v.l0x testdata/demo/queries.jsonl --check-exact";
    line(&work, search).exits(0).prints("recall\t1.000000");
    // as many weights as the model keeps, and all of them where that is asked for
    let most = |rule: &str| {
        let command = format!(
            "l0-encode --model base {rule} testdata/demo/corpus.jsonl --format jsonl --quiet"
        );
        let rows = line(&work, &command).exits(0).stdout_text();
        let count = |row: &str| row.split("\"values\"").next().unwrap().matches(',').count();
        rows.lines().map(count).max().unwrap()
    };
    line(&work, "sed -i s/top_k:400/top_k:5/ base/l0.json").exits(0);
    let (few, many) = (most(""), most("--prune none"));
    assert!(few < 12 && many > 2 * few, "{few} and {many} terms");
}

#[test]
fn what_cannot_be_turned_into_a_model_is_refused() {
    let work = place();
    work.write("few.jsonl", "{\"_id\":\"1\",\"text\":\"rain\"}\n");
    let command = |more: &str| line(&work, &format!("l0-train from-dense {more}"));
    command("testdata/toy -o new").exits(2).says("give --pooling mean, cls or max");
    command("testdata/toy --pooling mean -o base").exits(2).says("is not empty");
    let few = "testdata/toy --pooling mean --background few.jsonl -o new";
    command(few).exits(2).says("expected 50 or more background passages, found 1");
    let sparse = command("testdata/toy-st --pooling mean -o new").exits(1);
    sparse.says("expected a sentence encoder, found a sparse model");
    command("nowhere --pooling mean -o new").exits(1).says("nowhere");
    assert!(!work.names().contains(&"new".to_owned()), "{:?}", work.names());
}

#[test]
#[ignore = "slow: four training runs"]
fn a_pool_trains_a_model_and_a_resumed_run_makes_the_same() {
    let work = place();
    line(&work, "l0-train recipe.toml -o whole --quiet").exits(0);
    let steps = work.text("whole/train.jsonl");
    assert_eq!(steps.lines().count(), 8, "{steps}");
    // killed after the first checkpoint, and gone on with
    let killed = "l0-train recipe.toml -o killed --quiet & pid=$!
        until [ -d killed/checkpoints/step-3 ] || ls killed/checkpoints 2>/dev/null | grep -q 3; do sleep 0.01; done
        kill -9 $pid; wait $pid; l0-train recipe.toml -o killed --resume --quiet";
    line(&work, killed).exits(0);
    for file in ["model.safetensors", "l0.json", "idf.json"] {
        assert!(
            work.read(&format!("whole/{file}")) == work.read(&format!("killed/{file}")),
            "{file}"
        );
    }
    // one thread and vectors that are made again: the same bytes
    line(&work, "rm vectors.safetensors; l0-train recipe.toml -o single --threads 1 --quiet")
        .exits(0);
    assert!(work.read("whole/model.safetensors") == work.read("single/model.safetensors"));
    assert!(work.text("whole/l0.json").contains("top_k:50"));
    let encode = "l0-encode --model whole testdata/demo/corpus.jsonl -o v.parquet --quiet";
    line(&work, encode).exits(0);
}

#[test]
fn the_head_learns_and_the_network_stays() {
    let work = place();
    let command = "l0-train recipe.toml -o head --quiet --set 'stage.1.train=\"head\"' \
                   --set stage.0.steps=30 --set stage.0.lr=1e-2";
    line(&work, command).exits(0);
    let (before, after) =
        (work.read("base/model.safetensors"), work.read("head/model.safetensors"));
    let words = "bert.embeddings.word_embeddings.weight";
    assert!(tensor(&before, words) == tensor(&after, words));
    assert!(tensor(&before, "decoder.weight") != tensor(&after, "decoder.weight"));
    let ones = 1.0f32.to_le_bytes().repeat(tensor(&after, "lexical.scale").len() / 4);
    assert!(tensor(&after, "lexical.scale") != ones);
    let loss = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["loss"].as_f64().unwrap()
    };
    let log = work.text("head/train.jsonl");
    let losses: Vec<f64> = log.lines().map(loss).collect();
    let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
    assert!(mean(&losses[25..30]) < 0.8 * mean(&losses[..5]), "{losses:?}");
}

#[test]
fn recipes_that_make_no_sense_are_refused() {
    let work = place();
    for (change, found) in [
        ("stage.1.train=\"head\" --set stage.0.train=\"all\"", "before all others"),
        ("stage.0.prune=max_ratio:0.5", "expected prune none or top_k:K"),
        ("stage.0.paraphrase=1.5", "expected paraphrase from 0 to below 1"),
        ("pool.documents=[]", "expected files of documents"),
        ("pool.teacher.candidates=3", "expected 20 or more"),
        ("pool.max_tokens=33", "pool.max_tokens: expected 3 to 32"),
        ("query.kind=encoder", "expected query.kind"),
        ("stage.0.querys=3", "the nearest is `queries`"),
        ("pool.teacher.dense=bm25", "expected a sentence encoder"),
    ] {
        let command = format!("l0-train recipe.toml -o out --quiet --set {change}");
        let ran = line(&work, &command);
        assert!(ran.stderr().contains(found), "{change}: {ran}");
        assert_ne!(ran.status(), Some(0), "{change}");
    }
    work.write("vectors.safetensors", "no tensors");
    line(&work, "l0-train recipe.toml -o out")
        .exits(1)
        .says("vectors.safetensors: expected vectors");
    line(&work, "sed -i '/pool/,/cache/d' recipe.toml").exits(0);
    line(&work, "l0-train recipe.toml -o out").exits(1).says("expected a [pool]");
}
