//! Tokens, document weights and queries against PyTorch and Hugging Face's tokenizers.
//!
//! `testdata/golden/make.py` makes the dumps, in float64 where arithmetic is involved.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device};
use l0::internal::{
    device::{Compute, Precision},
    model::{Activation, Checkpoint, ModelDirectory, Overrides, SparseEncoder, cpu::CpuEncoder},
    sparse::SparseVector,
    text::{QueryEncoder, QueryTable, Tokenizer},
};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{cuda, data, model};

/// Weights computed in f32 through two layers, against float64.
const F32_THROUGH_TWO_LAYERS: f32 = 2e-5;
/// Numbers of 8 bits through two layers and the head, on a processor: the difference's norm by the
/// vector's.
const BF16_THROUGH_TWO_LAYERS: f32 = 3e-2;
/// The same where states between the products have 8 bits too, as on a device.
const BF16_ON_A_DEVICE: f32 = 6e-2;

fn json(name: &str) -> Value {
    let text = std::fs::read_to_string(Path::new("testdata/golden").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn dump(bytes: &[u8], name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let numbers = tensor.data().chunks_exact(4);
    let numbers = numbers.map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    (tensor.shape().to_vec(), numbers.collect())
}

fn dumps() -> Vec<u8> {
    std::fs::read("testdata/golden/encoder.safetensors").unwrap()
}

fn texts() -> Vec<String> {
    let texts = json("encoder.json")["texts"].as_array().unwrap().clone();
    texts.iter().map(|text| text["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn tokens_are_those_of_hugging_face() {
    for folder in ["testdata/toy", "testdata/toy-old"] {
        let tokenizer = Tokenizer::load(Path::new(folder)).unwrap();
        for text in json("encoder.json")["texts"].as_array().unwrap() {
            let expected: Vec<u32> = serde_json::from_value(text["ids"].clone()).unwrap();
            let tokens = tokenizer.tokens(text["text"].as_str().unwrap(), 64).unwrap();
            assert_eq!(tokens.ids, expected, "{}", text["text"]);
        }
    }
}

#[track_caller]
fn check_vector(got: &SparseVector, expected: &[f32], what: &str) {
    for (term, &expected) in expected.iter().enumerate() {
        let at = got.terms().iter().position(|got| got.index() == term);
        let got = at.map_or(0.0, |at| got.weights()[at]);
        let near = (got - expected).abs() <= F32_THROUGH_TWO_LAYERS;
        assert!(near && (got > 0.0) == (expected > 0.0), "{what}, {term}: {got} not {expected}");
    }
}

/// The norm of the difference by that of what is expected.
fn relative(got: &SparseVector, expected: &[f32]) -> f32 {
    let mut off = expected.to_vec();
    got.iter().for_each(|(term, weight)| off[term.index()] -= weight);
    let norm = |numbers: &[f32]| numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
    norm(&off) / norm(expected).max(f32::MIN_POSITIVE)
}

/// Where the arithmetic of a device is checked: on the processor, and on a CUDA device if there is one.
fn devices() -> Vec<(Device, DType)> {
    let mut all = vec![(Device::Cpu, DType::F32)];
    if let Some(device) = cuda() {
        all.extend([(device.clone(), DType::F32), (device, DType::BF16)]);
    }
    all
}

#[track_caller]
fn check_encoder(folder: &str, depth: Option<u8>, max_tokens: Option<usize>, name: &str) {
    let folder = Path::new(folder);
    let directory = ModelDirectory::open(folder).unwrap();
    let activation = depth.map(|depth| Activation::new(depth).unwrap());
    let encoder = {
        let overrides = Overrides { activation, max_tokens, ..Overrides::default() };
        SparseEncoder::load(&directory, overrides, Compute::Cpu, Precision::F32).unwrap()
    };
    let tokenizer = Tokenizer::load(folder).unwrap();
    let (shape, expected) = dump(&dumps(), name);
    let ids: Vec<Vec<u32>> = texts()
        .iter()
        .map(|text| tokenizer.tokens(text, encoder.max_tokens).unwrap().ids)
        .collect();
    let documents: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    assert_eq!(shape, [documents.len(), encoder.vocab_size]);
    let together = encoder.encode(&documents).unwrap();
    // the arithmetic of a device, on the processor and on what CUDA device there is
    let on_devices = devices().into_iter().map(|(device, dtype)| {
        let overrides = Overrides { activation, max_tokens, ..Overrides::default() };
        let encoder = SparseEncoder::on_device(&directory, overrides, &device, dtype).unwrap();
        (encoder.encode(&documents).unwrap(), dtype)
    });
    let on_devices: Vec<_> = on_devices.collect();
    for (at, row) in expected.chunks_exact(shape[1]).enumerate() {
        check_vector(&together[at], row, &format!("{name}, text {at}"));
        for (vectors, dtype) in &on_devices {
            if *dtype == DType::F32 {
                check_vector(&vectors[at], row, &format!("{name}, text {at}, as on a device"));
                continue;
            }
            let off = relative(&vectors[at], row);
            assert!(off <= BF16_ON_A_DEVICE, "{name}, text {at}, {dtype:?}: {off}");
        }
        let alone = encoder.encode(&documents[at..=at]).unwrap();
        assert_eq!(alone[0], together[at], "a document depends on its neighbours");
    }
}

#[test]
fn weights_are_those_of_pytorch() {
    for depth in 1..=4 {
        let name = format!("bert.weights.{depth}");
        check_encoder("testdata/toy", Some(depth), None, &name);
        check_encoder("testdata/toy-old", Some(depth), None, &name);
        check_encoder("testdata/toy-st", Some(depth), Some(64), &name);
        let name = format!("distilbert.weights.{depth}");
        check_encoder("testdata/toy-distilbert", Some(depth), None, &name);
    }
}

#[test]
fn sentence_transformers_files_set_activation_and_length() {
    check_encoder("testdata/toy-st", None, None, "st.weights.2");
}

#[test]
fn weights_in_bf16_are_near_those_of_f32() {
    for folder in ["testdata/toy", "testdata/toy-distilbert"] {
        let directory = ModelDirectory::open(Path::new(folder)).unwrap();
        let tokenizer = Tokenizer::load(Path::new(folder)).unwrap();
        let [exact, rounded] = [Precision::F32, Precision::Bf16].map(|precision| {
            let overrides = Overrides::default();
            SparseEncoder::load(&directory, overrides, Compute::Cpu, precision).unwrap()
        });
        assert_eq!(rounded.convention(), format!("{},bf16", exact.convention()));
        let ids = |text: &String| tokenizer.tokens(text, 64).unwrap().ids;
        let ids: Vec<Vec<u32>> = texts().iter().map(ids).collect();
        let documents: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let [exact, vectors] =
            [&exact, &rounded].map(|encoder| encoder.encode(&documents).unwrap());
        assert_ne!(exact, vectors);
        for (at, (exact, vector)) in exact.iter().zip(&vectors).enumerate() {
            let mut whole = vec![0.0; 430];
            exact.iter().for_each(|(term, weight)| whole[term.index()] = weight);
            let off = relative(vector, &whole);
            assert!(off <= BF16_THROUGH_TWO_LAYERS, "{folder}, text {at}: {off}");
            let alone = rounded.encode(&documents[at..=at]).unwrap();
            assert_eq!(&alone[0], vector, "a document depends on its neighbours");
        }
    }
}

#[test]
fn hidden_states_are_those_of_pytorch() {
    for (folder, name) in
        [("testdata/toy", "bert.hidden"), ("testdata/toy-distilbert", "distilbert.hidden")]
    {
        let Checkpoint { config, weights, .. } = Checkpoint::load(Path::new(folder)).unwrap();
        let tokenizer = Tokenizer::load(Path::new(folder)).unwrap();
        let ids = tokenizer.tokens(&texts()[1], 64).unwrap().ids;
        let got = CpuEncoder::new(config, weights).hidden_states(&ids);
        let (shape, expected) = dump(&dumps(), name);
        assert_eq!(shape, [ids.len(), 32]);
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() <= F32_THROUGH_TWO_LAYERS, "{got} not {expected}");
        }
    }
}

#[test]
fn queries_are_those_of_the_released_code() {
    let folder = Path::new("testdata/toy-st");
    for file in
        ["idf.json", "query_token_weights.txt", "query_0_SparseStaticEmbedding/model.safetensors"]
    {
        let tokenizer = Tokenizer::load(folder).unwrap();
        let table = QueryTable::read(&folder.join(file), tokenizer.vocabulary()).unwrap();
        let encoder = QueryEncoder::new(tokenizer, &table).unwrap();
        for query in json("query.json")["queries"].as_array().unwrap() {
            let expected: BTreeMap<String, f32> =
                serde_json::from_value(query["weights"].clone()).unwrap();
            let got = encoder.encode(query["text"].as_str().unwrap()).unwrap();
            let vocabulary = encoder.tokenizer().vocabulary();
            let got = got.iter().map(|(term, weight)| (vocabulary.token(term).to_owned(), weight));
            assert_eq!(got.collect::<BTreeMap<_, _>>(), expected, "{file}: {}", query["text"]);
        }
    }
}

/// The table and the golden values of research on OpenSearch's models; third-party data.
#[test]
fn the_published_idf_table_gives_its_published_values() {
    let parts = (data("idf/msmarco-bert-uncased.json"), model("splade-tiny"));
    let (Some(file), Some(model)) = parts else { return };
    let tokenizer = Tokenizer::load(&model).unwrap();
    let table = QueryTable::read(&file, tokenizer.vocabulary()).unwrap();
    let encoder = QueryEncoder::new(tokenizer, &table).unwrap();
    let got = encoder.encode("What is the weather in NY now? [CLS] ny weather").unwrap();
    let vocabulary = encoder.tokenizer().vocabulary();
    let weight = |token: &str| {
        let at = got.terms().iter().position(|&term| vocabulary.token(term) == token);
        at.map(|at| format!("{:.5}", got.weights()[at]))
    };
    assert_eq!(weight("ny").as_deref(), Some("5.77286"));
    assert_eq!(weight("weather").as_deref(), Some("4.56842"));
    assert_eq!(weight("[CLS]"), None);
    assert_eq!(got.nnz(), 8);
    let weights = table.weights().iter();
    assert_eq!(table.weights().len(), 30_522);
    let smallest = weights.clone().copied().fold(f32::INFINITY, f32::min);
    let largest = weights.clone().copied().fold(0.0, f32::max);
    assert_eq!(format!("{smallest:.5} {largest:.4}"), "0.01605 15.5895");
    assert_eq!(weights.filter(|&&weight| weight == 1.0).count(), 1530);
}

proptest! {
    /// The short road for ASCII and the tokenizer crate's road end at the same place.
    #[test]
    fn both_roads_of_the_tokenizer_agree(text in "[ -~\t\n]{0,80}|([a-z]{1,9}[ ,.'-]?){0,12}|[a-z]{95,105}") {
        let folder = Path::new("testdata/toy");
        let tokenizer = Tokenizer::load(folder).unwrap();
        let mut crates = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
        crates.with_truncation(None).unwrap();
        let expected = crates.encode_fast(text.as_str(), false).unwrap();
        prop_assert_eq!(tokenizer.pieces(&text).unwrap(), expected.get_ids());
    }
}

#[test]
fn ids_that_the_model_cannot_read_are_refused() {
    let directory = ModelDirectory::open(Path::new("testdata/toy")).unwrap();
    let overrides = Overrides { max_tokens: Some(8), ..Overrides::default() };
    let load = |device: Option<&Device>| match device {
        Some(device) => SparseEncoder::on_device(&directory, overrides, device, DType::F32),
        None => SparseEncoder::load(&directory, overrides, Compute::Cpu, Precision::F32),
    };
    for encoder in [load(None).unwrap(), load(Some(&Device::Cpu)).unwrap()] {
        for (ids, wanted) in [(vec![2, 430, 3], "below 430"), (vec![5; 9], "at most 8 tokens")] {
            let error = encoder.encode(&[&[2, 3], &ids]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        assert_eq!(encoder.encode(&[&[2, 3], &[]]).unwrap().len(), 2);
    }
}
