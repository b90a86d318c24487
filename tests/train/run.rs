//! Whole runs of the trainer on the toy model and the demo collection.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use l0::internal::{
    device::{Compute, Precision},
    model::{ModelDirectory, Overrides, SparseEncoder},
    text::{QueryEncoder, QueryTable, Tokenizer},
    train::{
        recipe::Recipe,
        run::{
            record::Record,
            trainer::{Event, Trainer},
        },
    },
};

/// Sums over a batch in another order, through 3 steps.
const REORDERED: f32 = 2e-5;

const RECIPE: &str = r#"
seed = 5
checkpoint_every = 2
log_every = 1
[model]
base = "testdata/toy-st"
max_tokens = 24
dropout = 0.1
[query]
kind = "learned"
lr = 1e-3
[optimizer]
lr = 1e-3
clip = 1.0
[[data]]
path = "testdata/demo"
split = "test"
[[stage]]
name = "dense"
steps = 3
batch = 8
loss = [{ kind = "in_batch" }]
[[stage]]
name = "sparse"
steps = 3
batch = 8
warmup = 1
loss = [{ kind = "info_nce", temperature = 2.0 }, { kind = "in_batch", weight = 0.5 }]
regularizer = { kind = "l0_mask", lambda = 0.1, ramp = 2, threshold = 40, decouple = true }
threshold = { share = "all", width = 0.1, init = 0.1, lr = 1e-2, count = 1e-3 }
"#;

fn trainer(folder: &Path, changes: &[&str]) -> Trainer {
    let file = folder.with_extension("toml");
    std::fs::write(&file, RECIPE).unwrap();
    let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
    let recipe = Recipe::load(&file, &changes).unwrap();
    Trainer::new(recipe, RECIPE, folder.to_owned(), &Device::Cpu, DType::F32).unwrap()
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("run");
    (above, folder)
}

fn trained(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

#[test]
fn a_run_that_is_cut_goes_on_to_the_same_bytes() {
    let (_above, whole) = scratch();
    trainer(&whole, &[]).run(|_| ()).unwrap();
    for cut in 1..6 {
        let (_above, folder) = scratch();
        let mut first = trainer(&folder, &[]);
        // a run that ends after step `cut`, wherever its last checkpoint is
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
        let mut second = trainer(&folder, &[]);
        if cut > 2 {
            second.resume().unwrap();
            assert!(second.steps_done() > 0);
        }
        second.run(|_| ()).unwrap();
        assert!(trained(&folder) == trained(&whole), "cut behind step {cut}");
        let table = |folder: &Path| std::fs::read(folder.join("idf.json")).unwrap();
        assert!(table(&folder) == table(&whole) && !table(&whole).is_empty());
        let log = std::fs::read_to_string(folder.join("train.jsonl")).unwrap();
        assert_eq!(log.lines().count(), 6);
    }
}

/// Gradients of a batch whose parts are added up, against those of the whole.
const ADDED_UP: f64 = 1e-5;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= ADDED_UP * a.abs().max(b.abs())
}

#[track_caller]
fn check_parts(changes: &[&str], parts: &[&str]) {
    let run = |more: &[&str]| {
        let (_above, folder) = scratch();
        let mut trainer = trainer(&folder, &[changes, more].concat());
        let records: Vec<_> = (0..6).map(|_| trainer.step().unwrap()).collect();
        (records, trainer.numbers().unwrap())
    };
    let (records, whole) = run(&[]);
    let (in_parts, parts) = run(parts);
    for (record, other) in records.iter().zip(&in_parts) {
        assert_eq!((record.lambda, record.rate), (other.lambda, other.rate));
        assert!(close(record.loss, other.loss), "{record}, in parts {other}");
        for (name, value) in &record.parts {
            assert!(close(*value, other.parts[name]), "{name}: {value}, {}", other.parts[name]);
        }
        let (one, two) = (record.gradient, other.gradient);
        assert!(close(one, two), "step {}: gradient {one}, in parts {two}", record.step);
        let terms = |record: &Record| record.sparsity.map(|sparsity| sparsity.terms).unwrap();
        assert!(close(terms(record), terms(other)));
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
fn a_batch_in_parts_is_the_whole_batch() {
    check_parts(&[], &["stage.0.micro_batch=5", "stage.1.micro_batch=3"]);
}

/// 32 documents at once, and as four times 8; λ rises through the steps that are compared.
#[test]
fn what_documents_pay_does_not_depend_on_the_parts_of_a_batch() {
    let regularizers = [
        "{ kind = \"l0_mask\", threshold = 40, groups = \"pooled\", lambda = 0.1, ramp = 4 }",
        "{ kind = \"l0_mask\", threshold = 40, groups = \"rank\", lambda = 0.1, ramp = 4 }",
        "{ kind = \"l0_mask\", threshold = 40, denominator = \"kept\", lambda = 0.1, ramp = 4 }",
        "{ kind = \"flops\", groups = \"pooled\", lambda = 0.1, ramp = 4 }",
        "{ kind = \"flops\", groups = \"rank\", lambda = 0.1, ramp = 4 }",
    ];
    for regularizer in regularizers {
        for loss in ["in_batch", "info_nce"] {
            let regularizer = format!("stage.0.regularizer={regularizer}");
            let loss = format!("stage.0.loss.0.kind={loss}");
            let whole = ["stage.0.steps=6", "stage.0.batch=16", &loss, &regularizer];
            check_parts(&whole, &["stage.0.micro_batch=8"]);
        }
    }
}

#[test]
fn a_threshold_cuts_from_the_stage_on_that_has_one() {
    let (_above, folder) = scratch();
    let mut trainer = trainer(&folder, &[]);
    for step in 1..=6 {
        trainer.step().unwrap();
        assert_eq!(trainer.saved().unwrap().cutoff.is_some(), step > 3, "after step {step}");
    }
}

#[test]
fn the_directory_that_comes_out_encodes() {
    let (_above, folder) = scratch();
    let mut trainer = trainer(&folder, &["stage.0.steps=20", "stage.0.lr=5e-3"]);
    let mut losses = Vec::new();
    let note = |event: Event| {
        if let Event::Step(record) = event {
            losses.push(record.loss);
        }
    };
    trainer.run(note).unwrap();
    assert!(losses[19] < 0.8 * losses[0], "{losses:?}");

    let directory = ModelDirectory::open(&folder).unwrap();
    assert!(directory.cutoff.is_some());
    let encoder =
        SparseEncoder::load(&directory, Overrides::default(), Compute::Cpu, Precision::F32)
            .unwrap();
    assert_eq!((encoder.activation.depth(), encoder.max_tokens), (2, 24));
    let tokenizer = Tokenizer::load(&folder).unwrap();
    let ids = tokenizer.tokens("the storm came from the sea", 24).unwrap().ids;
    let vector = encoder.encode(&[&ids]).unwrap().remove(0);
    let theta = std::fs::read_to_string(folder.join("l0.json")).unwrap();
    let theta: serde_json::Value = serde_json::from_str(&theta).unwrap();
    let theta = theta["threshold"]["all"].as_f64().unwrap() as f32;
    assert!(theta > 0.0 && vector.nnz() > 0);
    assert!(vector.weights().iter().all(|&weight| weight > theta));

    let vocabulary = tokenizer.vocabulary();
    let tables =
        ["idf.json", "query_token_weights.txt", "query_0_SparseStaticEmbedding/model.safetensors"];
    let [first, second, third] =
        tables.map(|name| QueryTable::read(&folder.join(name), vocabulary).unwrap());
    assert!(first == second && second == third);
    let queries = QueryEncoder::new(tokenizer, &first).unwrap();
    assert!(queries.encode("storm [CLS] sea").unwrap().nnz() == 2);
}

#[test]
fn a_siamese_encoder_trains_and_saves_no_table() {
    let (_above, folder) = scratch();
    let changes =
        ["query.kind=\"encoder\"", "stage.0.query_regularizer={ kind = \"flops\", lambda = 0.01 }"];
    trainer(&folder, &changes).run(|_| ()).unwrap();
    assert_eq!(ModelDirectory::open(&folder).unwrap().query_table, None);
}

#[test]
fn what_is_trained_with_a_lexical_part_is_what_is_encoded() {
    let (above, folder) = scratch();
    let texts =
        ["the storm came from the sea, the sea was high", "bees find flowers by their colour"];
    let example = serde_json::json!({"query": "storm at sea", "pos": texts[0], "negs": [texts[1]]});
    let data = above.path().join("one.jsonl");
    std::fs::write(&data, format!("{example}\n")).unwrap();
    let changes = [
        format!("data.0={{ path = {:?} }}", data.to_str().unwrap()),
        "model.dropout=0.0".into(),
        "model.lexical={ weight = 0.5, length = 20 }".into(),
        "query={ kind = \"idf\", drop_below = 1.5 }".into(),
        "stage=[{ steps = 1, batch = 1, documents = 2, lr = 0.0, loss = [{ kind = \"info_nce\" }] }]".into(),
    ];
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    let mut trainer = trainer(&folder, &changes);
    let seen = trainer.step().unwrap().sparsity.unwrap();
    trainer.saved().unwrap().write(&folder).unwrap();

    let directory = ModelDirectory::open(&folder).unwrap();
    let tokenizer = Tokenizer::load(&folder).unwrap();
    let base =
        QueryTable::read(Path::new("testdata/toy-st/idf.json"), tokenizer.vocabulary()).unwrap();
    let table =
        QueryTable::read(directory.query_table.as_ref().unwrap(), tokenizer.vocabulary()).unwrap();
    let pairs = || base.weights().iter().zip(table.weights());
    assert!(pairs().all(|(&before, &after)| after == 0.0 || (after == before && after >= 1.5)));
    assert!(pairs().any(|(&before, &after)| before > 0.0 && after == 0.0));

    let ids = texts.map(|text| tokenizer.tokens(text, 24).unwrap().ids);
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let load = |lexical| {
        let overrides = Overrides { lexical, ..Overrides::default() };
        SparseEncoder::load(&directory, overrides, Compute::Cpu, Precision::F32).unwrap()
    };
    let vectors = load(None).encode(&ids).unwrap();
    let terms = vectors.iter().map(|vector| vector.nnz()).sum::<usize>() as f64 / 2.0;
    let max = vectors.iter().map(|vector| vector.max_weight()).fold(0.0, f32::max);
    assert!((seen.terms - terms).abs() < 1e-9, "{seen:?} {terms}");
    assert!((seen.max - f64::from(max)).abs() < 1e-5, "{seen:?} {max}");
    let alone = load(Some(0.0)).encode(&ids).unwrap();
    assert!(vectors[0].nnz() > 0 && vectors[0] != alone[0], "the part is there");
    // the same on tensors
    let overrides = Overrides::default();
    let tensors =
        SparseEncoder::on_device(&directory, overrides, &Device::Cpu, DType::F32).unwrap();
    for (a, b) in tensors.encode(&ids).unwrap().iter().zip(&vectors) {
        assert_eq!(a.terms(), b.terms());
        assert!(a.weights().iter().zip(b.weights()).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
