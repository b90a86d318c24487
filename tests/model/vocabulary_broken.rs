//! Models with a vocabulary head whose files are broken, and heads on a family that departs from BERT.

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::{DType, Device};
use l0::internal::model::{Checkpoint, TensorEncoder};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::{
    model::vocabulary::{Files, Stored, on_slices},
    support::Work,
};

/// What a model is broken by, where that is found, and what the error says.
type Broken = (&'static str, fn(&mut Files), &'static str, &'static str);

const BROKEN: [Broken; 16] = [
    (
        "mean_one",
        |files| files.config["l0_head"]["color"] = json!("red"),
        "config.json",
        "unknown field `color`",
    ),
    (
        "mean_one",
        |files| files.config["l0_head"]["pooled"]["pooling"] = json!("sum"),
        "config.json",
        "unknown variant `sum`, expected one of `mean`, `cls`, `max`",
    ),
    (
        "rank",
        |files| files.config["l0_head"]["rank"] = json!(0),
        "config.json",
        "rank above 0, found 0",
    ),
    (
        "dense",
        |files| files.config["l0_head"]["pooled"]["dense"][1]["outputs"] = json!(0),
        "config.json",
        "outputs and rank above 0, found 0",
    ),
    (
        "rank",
        |files| files.config["l0_head"]["decoder"] = json!("tied"),
        "config.json",
        "a tied decoder takes 8 numbers, found 3",
    ),
    (
        "dense",
        |files| files.config["l0_head"]["decoder"] = json!("tied"),
        "config.json",
        "a tied decoder takes 8 numbers, found 5",
    ),
    (
        "mean_one",
        |files| drop(files.tensors.remove("decoder.weight")),
        TENSORS,
        "missing: decoder.weight",
    ),
    ("tied", |files| drop(files.tensors.remove("decoder.bias")), TENSORS, "missing: decoder.bias"),
    (
        "dense",
        |files| drop(files.tensors.remove("head.dense.1.bias")),
        TENSORS,
        "missing: head.dense.1.bias",
    ),
    (
        "rank",
        |files| drop(files.tensors.remove("head.map.weight")),
        TENSORS,
        "missing: head.map.weight",
    ),
    (
        "rank",
        |files| files.config["l0_head"]["rank"] = json!(4),
        TENSORS,
        "head.map.weight of shape [4, 8], found [3, 8]",
    ),
    (
        "rank",
        |files| drop(files.config["l0_head"].as_object_mut().unwrap().remove("rank")),
        TENSORS,
        "decoder.weight of shape [430, 8], found [430, 3]",
    ),
    (
        "mean_one",
        |files| drop(files.tensors.insert(SCALE.into(), Stored::vector(&[1.0; 429]))),
        TENSORS,
        "lexical.scale of shape [430], found [429]",
    ),
    (
        "mean_one",
        |files| drop(files.tensors.insert(SCALE.into(), Stored::vector(&[f32::INFINITY; 430]))),
        TENSORS,
        "expected finite numbers in lexical.scale, found inf",
    ),
    (
        "mean_one",
        |files| files.own["prune"] = json!("top_k:0"),
        "l0.json",
        "a whole number from 1, found 0",
    ),
    (
        "mean_one",
        |files| files.own["activation"] = json!(5),
        "l0.json",
        "0 to 4 logarithms, found 5",
    ),
];
const TENSORS: &str = "model.safetensors";
const SCALE: &str = "lexical.scale";

#[test]
fn broken_files_are_named_with_what_is_wrong() {
    let work = Work::new();
    for (at, (case, spoil, file, message)) in BROKEN.into_iter().enumerate() {
        let mut files = Files::of(case);
        let sound = files.write(&work, &format!("sound{at}"));
        assert!(on_slices(&sound).is_ok(), "{case}");
        spoil(&mut files);
        let folder = files.write(&work, &format!("broken{at}"));
        let error = on_slices(&folder).err().map(|error| error.to_string()).unwrap_or_default();
        let place = folder.join(file).display().to_string();
        assert!(error.starts_with(&place) && error.contains(message), "{case}, {message}: {error}");
    }
}

#[test]
fn other_words_for_pruning_are_refused_with_the_rules() {
    let work = Work::new();
    let mut files = Files::of("cls_free");
    for rule in ["many", "top_k", "max_ratio:2", "keep:3"] {
        files.own["prune"] = json!(rule);
        let error = on_slices(&files.write(&work, "m")).err().unwrap().to_string();
        let known = error.contains("l0.json: expected none, top_k:K")
            || error.contains("max_ratio: expected");
        assert!(known, "{rule}: {error}");
    }
}

#[test]
fn a_model_with_a_head_is_given_no_second_one() {
    let work = Work::new();
    let folder = Files::of("mean_one").write(&work, "m");
    let error = Checkpoint::load_with_new_head(&folder).err().unwrap().to_string();
    assert!(error.contains("leave model.head out"), "{error}");
}

/// A family whose decoder has no bias: that of the vocabulary head is read, trained and saved all the same.
#[test]
fn the_bias_of_a_head_is_its_own() {
    let work = Work::new();
    let family = Path::new("testdata/golden/families/modernbert");
    let text = fs::read_to_string(family.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["decoder_bias"] = json!(false);
    config["l0_head"] = json!({"pooled": {"pooling": "mean", "length": "one"}, "decoder": "tied"});
    let bytes = fs::read(family.join("model.safetensors")).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let mut files = Files { config, own: json!({}), tensors: BTreeMap::new() };
    for (name, view) in all.tensors().into_iter().filter(|(name, _)| name.starts_with("model.")) {
        let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
        files.tensors.insert(name, Stored { dtype: view.dtype(), shape, bytes });
    }
    let terms = files.config["vocab_size"].as_u64().unwrap() as usize;
    files.tensors.insert("decoder.bias".into(), Stored::vector(&vec![0.5; terms]));
    let checkpoint = Checkpoint::load(&files.write(&work, "m")).unwrap();
    let encoder = TensorEncoder::new(checkpoint, &Device::Cpu, DType::F32).unwrap();
    let variables = encoder.variables();
    let (_, bias) = variables.iter().find(|(name, _)| name == "decoder.bias").unwrap();
    assert_eq!(bias.to_vec1::<f32>().unwrap(), vec![0.5; terms]);
}
