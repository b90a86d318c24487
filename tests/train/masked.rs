//! Stages that guess hidden word pieces, bases without a head, and query tables that are learned.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device};
use l0::internal::{
    Result,
    model::{Checkpoint, ModelDirectory},
    text::{QueryTable, Tokenizer},
    train::{
        recipe::Recipe,
        run::trainer::{Event, Trainer},
    },
};
use safetensors::SafeTensors;

use crate::support::{Work, headless};

const RECIPE: &str = r#"
seed = 5
checkpoint_every = 2
log_every = 1
[model]
base = "testdata/toy-st"
max_tokens = 24
dropout = 0.1
[optimizer]
lr = 1e-3
clip = 1.0
[[data]]
path = "testdata/demo"
split = "test"
[[stage]]
kind = "masked_lm"
name = "head"
steps = 3
batch = 8
corpus = "testdata/demo"
[[stage]]
name = "sparse"
steps = 3
batch = 8
documents = 1
loss = [{ kind = "in_batch" }]
regularizer = { kind = "l0_mask", lambda = 0.1, ramp = 2, threshold = 40 }
threshold = { width = 0.1, init = 0.1, lr = 1e-2, count = 1e-3 }
"#;

/// Sums over a batch in another order, through 6 steps.
const REORDERED: f32 = 2e-5;

struct Scene {
    work: Work,
}

impl Scene {
    fn new() -> Scene {
        Scene { work: Work::new() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.work.path(name)
    }

    fn trainer(&self, output: &str, changes: &[&str]) -> Result<Trainer> {
        let file = self.file("recipe.toml");
        std::fs::write(&file, RECIPE).unwrap();
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        let recipe = Recipe::load(&file, &changes)?;
        Trainer::new(recipe, RECIPE, self.file(output), &Device::Cpu, DType::F32)
    }

    /// The losses of a whole run.
    #[track_caller]
    fn run(&self, output: &str, changes: &[&str]) -> Vec<f64> {
        let mut losses = Vec::new();
        let mut trainer = self.trainer(output, changes).unwrap();
        let note = |event: Event| {
            if let Event::Step(record) = event {
                losses.push(record.loss);
            }
        };
        trainer.run(note).unwrap();
        losses
    }

    fn headless(&self) -> String {
        headless(&self.work.path(""), "toy", "bert.")
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.names().into_iter().map(str::to_owned).collect()
}

fn json(file: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn a_run_with_hidden_pieces_goes_on_to_the_same_bytes() {
    let scene = Scene::new();
    scene.run("whole", &[]);
    let trained =
        |output: &str| std::fs::read(scene.file(output).join("model.safetensors")).unwrap();
    for cut in [3, 5] {
        let output = format!("cut{cut}");
        let mut first = scene.trainer(&output, &[]).unwrap();
        let mut steps = 0;
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            first.run(|_| {
                steps += 1;
                if steps == cut {
                    std::panic::resume_unwind(Box::new("cut"));
                }
            })
        }));
        assert!(end.is_err());
        let mut second = scene.trainer(&output, &[]).unwrap();
        second.resume().unwrap();
        assert!(second.steps_done() > 0);
        second.run(|_| ()).unwrap();
        assert!(trained(&output) == trained("whole"), "cut behind step {cut}");
    }
    // three steps of eight texts, three of eight examples
    for output in ["whole", "cut3", "cut5"] {
        assert_eq!(json(&scene.file(output).join("l0.json"))["examples"], 48);
    }
    let log = std::fs::read_to_string(scene.file("whole/train.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!((&first["stage"], first["loss"].is_f64()), (&"head".into(), true));
    assert_eq!((&first["masked_lm"], first.get("nnz")), (&first["loss"], None));
}

#[test]
fn hidden_pieces_in_parts_are_those_of_the_whole_batch() {
    let scene = Scene::new();
    let run = |output: &str, changes: &[&str]| {
        let mut trainer = scene.trainer(output, changes).unwrap();
        let losses: Vec<f64> = (0..3).map(|_| trainer.step().unwrap().loss).collect();
        (losses, trainer.numbers().unwrap())
    };
    let (losses, whole) = run("whole", &[]);
    let (in_parts, parts) = run("parts", &["stage.0.micro_batch=3"]);
    for (loss, other) in losses.iter().zip(in_parts) {
        assert!((loss - other).abs() <= 1e-5 * loss, "{loss}, in parts {other}");
    }
    for ((name, whole), (_, parts)) in whole.iter().zip(&parts) {
        // AdamW makes steps of one length of gradients that are 0 but for rounding
        if name.contains("key.bias") {
            continue;
        }
        let off = whole.iter().zip(parts).map(|(a, b)| (a - b).abs());
        let mean = off.sum::<f32>() / whole.len() as f32;
        assert!(mean <= REORDERED, "{name}: {mean}");
    }
}

#[test]
fn guessing_gets_better_on_documents_and_queries_of_the_sources() {
    let scene = Scene::new();
    for texts in ["documents", "queries", "both"] {
        let stage = format!(
            "stage=[{{ kind = \"masked_lm\", steps = 60, batch = 8, lr = 3e-3, texts = \"{texts}\" }}]"
        );
        // nothing ranks, so no query table is wanted
        let losses = scene.run(texts, &[&stage, "model.base=testdata/toy"]);
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        assert!(mean(&losses[50..]) < 0.7 * mean(&losses[..10]), "{texts}: {losses:?}");
        assert_eq!(ModelDirectory::open(&scene.file(texts)).unwrap().query_table, None);
    }
    let card = std::fs::read_to_string(scene.file("both/README.md")).unwrap();
    assert!(card.contains("a base to train on from"), "{card}");
}

#[test]
fn a_base_without_a_head_gets_one_if_it_is_asked_for() {
    let scene = Scene::new();
    let base = format!("model.base={}", scene.headless());
    let table = "query.table=testdata/toy-st/idf.json";
    let refused = |changes: &[&str]| scene.trainer("out", changes).err().unwrap().to_string();
    let error = refused(&[&base, table]);
    let remedy = "found no cls.predictions.transform.dense.weight; l0-train gives an encoder a head: \
                  model.head = \"new\" and a stage of kind masked_lm";
    assert!(error.contains(remedy), "{error}");
    for (base, found) in
        [("testdata/toy", "found one with"), ("testdata/toy-st", "has its own head")]
    {
        let error = refused(&[&format!("model.base={base}"), "model.head=new", table]);
        assert!(error.contains(found) && error.contains("leave model.head out"), "{error}");
    }

    let changes = [&base, table, "model.head=new", "stage.0.steps=20", "stage.0.lr=3e-3"];
    let losses = scene.run("out", &changes);
    assert!(losses[19] < 0.8 * losses[0], "{losses:?}");
    let out = scene.file("out");
    assert_eq!(names(&out), names(Path::new("testdata/toy")));
    assert_eq!(json(&out.join("config.json"))["architectures"][0], "BertForMaskedLM");
    assert_eq!(json(&out.join("l0.json"))["head"], "new");
    assert!(Checkpoint::load(&out).is_ok());
    let remarks = scene.trainer("new", &changes).unwrap().remarks().unwrap();
    assert!(remarks.contains("the head is new") && remarks.contains("a masked_lm stage trains it"));
    assert_eq!(scene.trainer("none", &[]).unwrap().remarks(), None);
}

#[test]
fn a_distilbert_without_a_head_gets_one_too() {
    let scene = Scene::new();
    let base =
        format!("model.base={}", headless(&scene.work.path(""), "toy-distilbert", "distilbert."));
    scene.run("out", &[&base, "model.head=new", "query.kind=\"embedding\""]);
    let out = scene.file("out");
    assert_eq!(names(&out), names(Path::new("testdata/toy-distilbert")));
    assert_eq!(json(&out.join("config.json"))["architectures"][0], "DistilBertForMaskedLM");
    assert!(Checkpoint::load(&out).is_ok());
}

#[test]
fn the_card_names_the_pruning_that_a_threshold_folds_into() {
    let scene = Scene::new();
    for (share, found) in [
        ("all", "for other programs it is the pruning rule `abs_value:"),
        ("largest", "for other programs it is the pruning rule `max_ratio:"),
        ("term", "no plain pruning rule does the same. `abs_value:"),
    ] {
        scene.run(share, &[&format!("stage.1.threshold.share={share}"), "stage.0.steps=1"]);
        let card = std::fs::read_to_string(scene.file(share).join("README.md")).unwrap();
        assert!(card.contains(found), "{card}");
    }
}

#[test]
fn a_dense_model_is_a_base_and_nothing_to_encode_with() {
    let scene = Scene::new();
    let headless = scene.headless();
    let encode = |found: &str| {
        let encode = "--model headless testdata/demo/corpus.jsonl -o x.parquet";
        scene.work.run("l0-encode", encode, "").exits(1).says(found);
    };
    encode("l0-train gives an encoder a head: model.head = \"new\"");
    let modules = Path::new(&headless).join("modules.json");
    let module = |at: u8, path: &str, class: &str| {
        format!(
            r#"{{"idx":{at},"name":"{at}","path":"{path}","type":"sentence_transformers.models.{class}"}}"#
        )
    };
    let list = [module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")].join(",");
    std::fs::write(&modules, format!("[{list}]")).unwrap();
    encode(
        "expected a sparse model, found a sentence encoder; `l0-train from-dense` makes a sparse one",
    );

    let base = format!("model.base={headless}");
    let changes = [&base, "model.head=new", "query.kind=\"embedding\""];
    let changes = changes.map(|change: &str| change);
    scene.run("out", &changes);
    std::fs::write(&modules, format!("[{}]", module(1, "1_Pooling", "Pooling"))).unwrap();
    let error = scene.trainer("out", &changes).err().unwrap().to_string();
    assert!(error.contains("expected a Transformer as the first module"), "{error}");
}

fn tables(folder: &Path) -> QueryTable {
    let tokenizer = Tokenizer::load(folder).unwrap();
    let names =
        ["idf.json", "query_token_weights.txt", "query_0_SparseStaticEmbedding/model.safetensors"];
    let [first, second, third] =
        names.map(|name| QueryTable::read(&folder.join(name), tokenizer.vocabulary()).unwrap());
    assert!(first == second && second == third);
    first
}

#[test]
fn a_table_of_embeddings_is_trained_and_saved_as_a_table() {
    let scene = Scene::new();
    let stage = "stage=[{ steps = 12, batch = 8, documents = 1, lr = 1e-2, loss = [{ kind = \"in_batch\" }] }]";
    let query = |more: &str| format!("query={{ kind = \"embedding\", lr = 5e-2{more} }}");
    let (trained, frozen) = (query(""), query(", embeddings = \"frozen\""));
    let losses = scene.run("trained", &[stage, &trained]);
    assert!(losses[11] < losses[0], "{losses:?}");
    let table = tables(&scene.file("trained"));
    let weights: Vec<f32> =
        table.weights().iter().copied().filter(|&weight| weight > 0.0).collect();
    let (least, most) = weights.iter().fold((f32::MAX, 0.0f32), |(a, b), &w| (a.min(w), b.max(w)));
    assert!(weights.len() > 100 && least < 0.6 && most > 0.8, "{least} to {most}");
    scene.run("frozen", &[stage, &frozen]);
    assert_ne!(tables(&scene.file("frozen")), table, "the choice makes no difference");
}

#[test]
fn a_term_that_weighs_nothing_can_come_back() {
    let scene = Scene::new();
    let tokenizer = Tokenizer::load(Path::new("testdata/toy-st")).unwrap();
    let tokens = tokenizer.vocabulary().tokens().iter();
    let below: String = tokens.map(|token| format!("{token}\t-0.5\n")).collect();
    std::fs::write(scene.file("below.txt"), below).unwrap();
    let query = format!(
        "query={{ kind = \"learned\", lr = 1e-2, table = \"{}\" }}",
        scene.file("below.txt").display()
    );
    let stage = "stage=[{ steps = 3, batch = 8, documents = 1, loss = [{ kind = \"in_batch\" }] }]";
    scene.run("out", &[stage, &query]);
    let table = tables(&scene.file("out"));
    assert!(table.weights().iter().any(|&weight| weight > 0.0));
}
