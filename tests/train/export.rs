//! l0-train export: what makes a trained model small enough to ship.

use std::{collections::BTreeMap, fs, path::Path};

use half::f16;
use l0::internal::{
    model::{Checkpoint, ModelDirectory},
    train::{
        run::save::Size,
        tools::export::{Changes, export},
    },
};
use serde_json::Value;

use crate::support::{Run, Work, run};

const TOY: &str = "testdata/toy-st";

/// What came of a line for the shell.
fn line(work: &Work, line: &str) -> Run {
    run(work.shell(line), b"")
}

/// The demo's documents as a model encodes them, as JSON lines.
fn documents(work: &Work, model: &str) -> String {
    let encode = format!("l0-encode --model {model} testdata/demo/corpus.jsonl --format jsonl");
    line(work, &format!("{encode} --quiet")).exits(0).stdout_text()
}

type Vector = BTreeMap<u64, f64>;

fn vectors(rows: &str) -> Vec<Vector> {
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let ids = row["indices"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap());
        let weights = row["values"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap());
        ids.zip(weights).collect()
    };
    rows.lines().map(row).collect()
}

fn json(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn weights(folder: &Path) -> Vec<f32> {
    let Checkpoint { weights, .. } = Checkpoint::load(folder).unwrap();
    let mut all = weights.words.data;
    all.extend(weights.layers.into_iter().flat_map(|layer| layer.up.weight.data));
    all.extend(weights.decoder_bias);
    all
}

#[test]
fn an_exported_model_is_the_mean_of_its_models_in_half_precision() {
    let work = Work::new();
    let toy = Path::new(TOY);
    // another model of the same kind: every number doubled
    let double = work.path("double");
    copy(toy, &double);
    let file = double.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let from = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for two in bytes[from..].chunks_exact_mut(2) {
        let number = f16::from_le_bytes(two.try_into().unwrap());
        two.copy_from_slice(&f16::from_f32(2.0 * number.to_f32()).to_le_bytes());
    }
    fs::write(&file, bytes).unwrap();

    let (one, mean) = (work.path("one"), work.path("mean"));
    export(&[toy.to_owned()], &Changes::default(), Size::Small, &one).unwrap();
    let card = Changes { card: Some("a card".into()), ..Changes::default() };
    export(&[toy.to_owned(), double.clone()], &card, Size::Small, &mean).unwrap();
    for (at, ((whole, one), mean)) in
        weights(toy).into_iter().zip(weights(&one)).zip(weights(&mean)).enumerate()
    {
        assert!((one - whole).abs() <= whole.abs() / 1024.0 + 1e-7, "{at}: {one} {whole}");
        let expected = 1.5 * whole;
        assert!((mean - expected).abs() <= expected.abs() / 1024.0 + 1e-7, "{at}: {mean}");
    }
    assert_eq!(fs::read_to_string(mean.join("README.md")).unwrap(), "a card");
    assert_eq!(json(&one.join("config.json"))["torch_dtype"], "float16");
    line(&work, &format!("l0-train export {TOY} -o one")).exits(2).says("is not empty");
    // the table is the same, in the one form that is left
    let asked = |folder: &str| {
        let encode = format!("l0-encode --model {folder} --role query testdata/demo/queries.jsonl");
        line(&work, &format!("{encode} --format jsonl --quiet")).exits(0).stdout_text()
    };
    assert!(asked("one") == asked(TOY));
}

#[test]
fn the_old_name_of_export_is_understood() {
    let work = Work::new();
    line(&work, &format!("l0-train pack {TOY} -o old --quiet")).exits(0);
    line(&work, &format!("l0-train export {TOY} -o new --quiet")).exits(0);
    assert!(work.read("old/model.safetensors") == work.read("new/model.safetensors"));
    let help = line(&work, "l0-train --help").exits(0).stdout_text();
    assert!(help.contains("  export ") && !help.contains("pack"), "{help}");
}

#[test]
fn a_model_in_bytes_encodes_nearly_as_the_whole_one() {
    let work = Work::new();
    for toy in [TOY, "testdata/toy-distilbert"] {
        let name = toy.rsplit('/').next().unwrap();
        let bytes = format!("{name}.int8");
        line(&work, &format!("l0-train export {toy} -o {bytes} --dtype int8 --quiet")).exits(0);
        let (whole, near) = (documents(&work, toy), documents(&work, &bytes));
        assert!(whole != near, "{toy}: nothing was rounded");
        let (whole, near) = (vectors(&whole), vectors(&near));
        assert_eq!((whole.len(), near.len()), (333, 333));
        for (at, (a, b)) in whole.iter().zip(&near).enumerate() {
            let dot = |a: &Vector, b: &Vector| -> f64 {
                a.iter().filter_map(|(term, weight)| Some(weight * b.get(term)?)).sum()
            };
            let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            assert!(cosine > COSINE, "{toy}, document {at}: cosine {cosine}");
            let of = |vector: &Vector, term| vector.get(term).copied().unwrap_or(0.0);
            let off = a.keys().chain(b.keys()).map(|term| (of(a, term) - of(b, term)).abs());
            let (off, largest) = (off.fold(0.0, f64::max), a.values().copied().fold(0.0, f64::max));
            assert!(off < OFF * largest, "{toy}, document {at}: {off} of {largest}");
        }

        // what is written in f32 is what was read of the bytes
        let whole = format!("{name}.f32");
        line(&work, &format!("l0-train export {bytes} -o {whole} --dtype f32 --quiet")).exits(0);
        assert!(documents(&work, &whole) == documents(&work, &bytes), "{toy}");
        assert_eq!(weights(&work.path(&whole)), weights(&work.path(&bytes)));
    }
}

/// The cosine of a document's vectors by the whole model and by that in bytes, at least.
const COSINE: f64 = 0.998;
/// How far a weight may be off, as a share of the document's largest: the toys are 32 wide, so that roundings
/// average out less than in a model of use.
const OFF: f64 = 0.15;

#[test]
fn sizes_are_those_of_their_types_and_each_says_who_reads_it() {
    let work = Work::new();
    let size = |folder: &str| work.read(&format!("{folder}/model.safetensors")).len() as f64;
    for dtype in ["f16", "int8", "f32"] {
        let args = format!("-o {dtype} --dtype {dtype} --quiet");
        line(&work, &format!("l0-train export {TOY} {args}")).exits(0);
    }
    assert!(size("f32") / size("f16") > 1.8 && size("f16") / size("int8") > 1.4);
    let config = |folder: &str| json(&work.path(&format!("{folder}/config.json")));
    assert_eq!(config("int8")["torch_dtype"], "float32");
    assert_eq!(config("f32")["torch_dtype"], "float32");
    // with this key and without a method in it, other programs refuse the model
    assert!(config("int8")["quantization_config"].get("quant_method").is_none());
    assert!(config("int8")["quantization_config"].is_object());
    let warning = "read by l0's programs only; `l0-train export` with type f32";
    let card = |folder: &str| work.text(&format!("{folder}/README.md"));
    assert!(card("int8").contains(warning) && !card("int8").contains("library_name"));
    for folder in ["f16", "f32"] {
        assert!(!card(folder).contains(warning) && card(folder).contains("library_name"));
        assert!(config(folder).get("quantization_config").is_none());
    }
    let own = "--card testdata/demo/README.md";
    line(&work, &format!("l0-train export {TOY} -o own --dtype int8 {own} --quiet")).exits(0);
    let text = fs::read_to_string("testdata/demo/README.md").unwrap();
    assert!(card("own").starts_with(text.trim_end()) && card("own").contains(warning));
    let has = |folder: &str, name: &str| work.path(&format!("{folder}/{name}")).exists();
    for name in ["idf.json", "vocab.txt", "query_token_weights.txt"] {
        assert!(has("f32", name) && !has("f16", name) && !has("int8", name), "{name}");
    }
    line(&work, "l0-train export int8 -o again --dtype f32 --quiet").exits(0);
    assert!(config("again").get("quantization_config").is_none());
    line(&work, &format!("l0-train export {TOY} -o x --dtype int4")).exits(2).says("int8");
}

#[test]
fn an_export_keeps_what_the_model_says_of_itself() {
    let work = Work::new();
    for (name, own) in [
        ("a", r#"{"activation":3,"threshold":{"largest":0.25},"lexical":{"weight":0.5,"k1":1.5}}"#),
        ("b", r#"{"activation":4,"threshold":{"all":0.125}}"#),
    ] {
        let model = format!("{name}.model");
        copy(Path::new(TOY), &work.path(&model));
        fs::write(work.path(&format!("{model}/l0.json")), own).unwrap();
        let mut last = model.clone();
        for dtype in ["f16", "int8", "f32"] {
            let next = format!("{name}.{dtype}");
            let args = format!("-o {next} --dtype {dtype} --quiet");
            line(&work, &format!("l0-train export {last} {args}")).exits(0);
            let open = |folder: &str| ModelDirectory::open(&work.path(folder)).unwrap();
            let (given, kept) = (open(&model), open(&next));
            assert!(given.cutoff.is_some() && given.activation.is_some());
            assert_eq!(given.cutoff, kept.cutoff, "{next}");
            assert_eq!(given.lexical, kept.lexical, "{next}");
            assert_eq!(given.activation, kept.activation, "{next}");
            assert_eq!(given.max_tokens, kept.max_tokens, "{next}");
            last = next;
        }
    }
}

#[test]
fn a_lexical_part_and_a_threshold_are_exported_with_the_model() {
    let work = Work::new();
    line(&work, &format!("l0-train export {TOY} -o plain --quiet")).exits(0);
    let changes = "--lexical 0.4 --threshold 0.3 --quiet";
    line(&work, &format!("l0-train export {TOY} -o with {changes}")).exits(0);
    let with = vectors(&documents(&work, "with"));
    // the lexical part comes first, then the threshold
    let added = vectors(&documents(&work, "plain --lexical 0.4"));
    let level = f64::from(0.3f32);
    let above = |vector: &Vector| -> Vector {
        vector.iter().filter(|(_, weight)| **weight > level).map(|(&t, &w)| (t, w)).collect()
    };
    let plain = documents(&work, "plain");
    assert!(with == added.iter().map(above).collect::<Vec<_>>());
    assert!(added != with && added != vectors(&plain));
    assert!(plain == documents(&work, TOY));
    let long = format!("l0-train export {TOY} -o bad --max-tokens 999");
    line(&work, &long).exits(2).says("expected 3 to 64, found 999");
    let bad = format!("l0-train export {TOY} -o bad --lexical=-1");
    line(&work, &bad).exits(2).says("expected a weight from 0");
    let bad = format!("l0-train export {TOY} -o bad --threshold=-1");
    line(&work, &bad).exits(2).says("expected 0 or more, found -1");
}

#[test]
fn models_of_different_kinds_have_no_mean() {
    let work = Work::new();
    let both = format!("l0-train export {TOY} testdata/toy -o out");
    line(&work, &both).exits(3).says("testdata/toy: ");
    copy(Path::new(TOY), &work.path("other"));
    work.write("other/l0.json", r#"{"activation":2,"threshold":{"all":0.25}}"#);
    line(&work, &format!("l0-train export {TOY} other -o out")).exits(3).says("other: ");
    work.write("other/l0.json", r#"{"activation":2,"prune":"top_k:9"}"#);
    let found = "pruning rule of other: expected none, as testdata/toy-st has, found top_k:9";
    line(&work, &format!("l0-train export {TOY} other -o out")).exits(3).says(found);
    assert!(!work.path("out").exists(), "nothing is left");
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
