//! Every architecture that loads, against PyTorch: tokens, logits, gradients; `testdata/golden/families.py`
//! makes the checkpoints and the values.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, safetensors::load};
use l0::internal::{
    device::{Compute, Precision},
    model::{
        Activation, Architecture, Batch, Checkpoint, ModelDirectory, Overrides, SparseEncoder,
        TensorEncoder,
    },
    nn::bucket,
    sparse::{SparseVector, TermId},
    text::Tokenizer,
};
use serde_json::Value;

use crate::support::cuda;

/// The bar for pooled logits in f32 against float64.
const LOGITS: f32 = 1e-4;
/// The bar for gradients, by their norm.
const GRADIENTS: f64 = 1e-4;
/// As in `golden.rs`.
const BF16_ON_A_DEVICE: f32 = 6e-2;

pub fn folder(architecture: Architecture) -> PathBuf {
    Path::new("testdata/golden/families").join(architecture.name())
}

fn json() -> Value {
    let text = std::fs::read_to_string("testdata/golden/families/families.json").unwrap();
    serde_json::from_str(&text).unwrap()
}

fn ids(architecture: Architecture) -> Vec<Vec<u32>> {
    serde_json::from_value(json()["ids"][architecture.name()].clone()).unwrap()
}

fn golden(architecture: Architecture, device: &Device) -> BTreeMap<String, Tensor> {
    let file = folder(architecture).join("golden.safetensors");
    load(file, device).unwrap().into_iter().collect()
}

fn tensor_encoder(architecture: Architecture, device: &Device, dtype: DType) -> TensorEncoder {
    let checkpoint = Checkpoint::load(&folder(architecture)).unwrap();
    TensorEncoder::new(checkpoint, device, dtype).unwrap()
}

fn sparse_encoder(architecture: Architecture) -> SparseEncoder {
    let directory = ModelDirectory::open(&folder(architecture)).unwrap();
    let overrides = Overrides::default();
    SparseEncoder::load(&directory, overrides, Compute::Cpu, Precision::F32).unwrap()
}

/// The processor, and a CUDA device if there is one.
fn devices() -> Vec<(Device, DType)> {
    let mut all = vec![(Device::Cpu, DType::F32)];
    if let Some(device) = cuda() {
        all.extend([(device.clone(), DType::F32), (device, DType::BF16)]);
    }
    all
}

fn norm(tensor: &Tensor) -> f64 {
    let squares = tensor.to_dtype(DType::F64).unwrap().sqr().unwrap();
    squares.sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
}

#[test]
fn tokens_are_those_of_hugging_face() {
    let texts: Vec<String> = serde_json::from_value(json()["texts"].clone()).unwrap();
    for architecture in Architecture::ALL {
        let tokenizer = Tokenizer::load(&folder(architecture)).unwrap();
        assert_eq!(tokenizer.special_around(), 2);
        for (text, expected) in texts.iter().zip(ids(architecture)) {
            let got = tokenizer.tokens(text, 160).unwrap().ids;
            assert_eq!(got, expected, "{architecture:?}: {text}");
            let [first, last] = [got[0], got[got.len() - 1]].map(TermId);
            assert!(tokenizer.is_special(first) && tokenizer.is_special(last));
        }
    }
}

/// The logits that weights of one logarithm came of.
fn logits(vector: &SparseVector, terms: usize) -> Vec<f32> {
    let mut all = vec![0.0; terms];
    vector.iter().for_each(|(term, weight)| all[term.index()] = weight.exp_m1());
    all
}

#[track_caller]
fn check_logits(got: &[f32], expected: &[f32], what: &str) {
    for (term, (got, expected)) in got.iter().zip(expected).enumerate() {
        let near = (got.max(0.0) - expected.max(0.0)).abs() <= LOGITS * expected.max(1.0);
        assert!(near, "{what}, term {term}: {got} not {expected}");
    }
}

#[test]
fn pooled_logits_are_those_of_pytorch() {
    for architecture in Architecture::ALL {
        let expected = golden(architecture, &Device::Cpu)["logits"].to_vec2::<f32>().unwrap();
        let documents = ids(architecture);
        let slices: Vec<&[u32]> = documents.iter().map(Vec::as_slice).collect();
        let encoder = sparse_encoder(architecture);
        let together = encoder.encode(&slices).unwrap();
        for (at, (vector, row)) in together.iter().zip(&expected).enumerate() {
            check_logits(&logits(vector, row.len()), row, &format!("{architecture:?} {at}"));
            let alone = encoder.encode(&slices[at..=at]).unwrap();
            assert_eq!(&alone[0], vector, "{architecture:?}: a document depends on its neighbours");
        }
    }
}

/// In one batch, which is padded inside where there are windows or biases, and alone.
#[test]
fn logits_of_the_encoder_that_is_trained_are_those_of_pytorch() {
    for architecture in Architecture::ALL {
        let expected = golden(architecture, &Device::Cpu)["logits"].to_vec2::<f32>().unwrap();
        let documents = ids(architecture);
        for (device, dtype) in devices() {
            if dtype != DType::F32 {
                continue;
            }
            let encoder = tensor_encoder(architecture, &device, dtype);
            let pooled = encoder.pooled_logits(&Batch::new(&documents, 0), None).unwrap();
            let together = pooled.to_vec2::<f32>().unwrap();
            for (at, row) in expected.iter().enumerate() {
                check_logits(&together[at], row, &format!("{architecture:?} {at}"));
                let alone = Batch::new(&documents[at..=at], 0);
                let alone = encoder.pooled_logits(&alone, None).unwrap().to_vec2::<f32>().unwrap();
                check_logits(&alone[0], row, &format!("{architecture:?} {at} alone"));
            }
        }
    }
}

/// The arithmetic of a device, on the processor and on what CUDA device there is.
#[test]
fn weights_of_a_device_are_those_of_pytorch() {
    for architecture in Architecture::ALL {
        let expected = golden(architecture, &Device::Cpu)["logits"].to_vec2::<f32>().unwrap();
        let documents = ids(architecture);
        let slices: Vec<&[u32]> = documents.iter().map(Vec::as_slice).collect();
        let directory = ModelDirectory::open(&folder(architecture)).unwrap();
        for (device, dtype) in devices() {
            let overrides = Overrides::default();
            let encoder = SparseEncoder::on_device(&directory, overrides, &device, dtype).unwrap();
            let vectors = encoder.encode(&slices).unwrap();
            for (at, (vector, row)) in vectors.iter().zip(&expected).enumerate() {
                if dtype == DType::F32 {
                    check_logits(
                        &logits(vector, row.len()),
                        row,
                        &format!("{architecture:?} {at}"),
                    );
                    continue;
                }
                let truth: Vec<f32> = row.iter().map(|logit| logit.max(0.0).ln_1p()).collect();
                let mut off = truth.clone();
                vector.iter().for_each(|(term, weight)| off[term.index()] -= weight);
                let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
                let off = norm(&off) / norm(&truth).max(f32::MIN_POSITIVE);
                assert!(off <= BF16_ON_A_DEVICE, "{architecture:?} {at} {dtype:?}: {off}");
            }
        }
    }
}

#[test]
fn weights_in_bf16_are_near_those_of_f32() {
    for architecture in Architecture::ALL {
        let directory = ModelDirectory::open(&folder(architecture)).unwrap();
        let load = |precision| {
            SparseEncoder::load(&directory, Overrides::default(), Compute::Cpu, precision).unwrap()
        };
        let [exact, rounded] = [Precision::F32, Precision::Bf16].map(load);
        let documents = ids(architecture);
        let slices: Vec<&[u32]> = documents.iter().map(Vec::as_slice).collect();
        let [exact, rounded] = [exact, rounded].map(|encoder| encoder.encode(&slices).unwrap());
        assert_ne!(exact, rounded);
        for (at, (exact, rounded)) in exact.iter().zip(&rounded).enumerate() {
            let mut off = vec![0.0; directory_terms(architecture)];
            exact.iter().for_each(|(term, weight)| off[term.index()] = weight);
            let whole = off.iter().map(|x| x * x).sum::<f32>().sqrt();
            rounded.iter().for_each(|(term, weight)| off[term.index()] -= weight);
            let off = off.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(off <= BF16_ON_A_DEVICE * whole, "{architecture:?} {at}: {off} of {whole}");
        }
    }
}

fn directory_terms(architecture: Architecture) -> usize {
    Checkpoint::load(&folder(architecture)).unwrap().config.vocab_size
}

/// A softmax does not see the bias of the keys: its gradient is 0 but for rounding.
fn is_idle(name: &str) -> bool {
    ["key.bias", "k_lin.bias", "attn.k.bias"].iter().any(|idle| name.ends_with(idle))
}

/// One step: the gradient of every tensor of the checkpoint, by its name in the checkpoint.
#[test]
fn gradients_are_those_of_pytorch() {
    for architecture in Architecture::ALL {
        for (device, dtype) in devices() {
            if dtype != DType::F32 {
                continue;
            }
            let golden = golden(architecture, &device);
            let encoder = tensor_encoder(architecture, &device, dtype);
            let logits = encoder.pooled_logits(&Batch::new(&ids(architecture), 0), None).unwrap();
            let weights = Activation::L0.weights(&logits).unwrap();
            let loss = (weights * &golden["coefficients"]).unwrap().sum_all().unwrap();
            let gradients = loss.backward().unwrap();
            let found: BTreeMap<String, Tensor> = encoder
                .variables()
                .into_iter()
                .map(|(name, var)| {
                    let gradient = gradients.get(var);
                    let gradient = gradient.unwrap_or_else(|| panic!("{name}: no gradient"));
                    (format!("grad.{name}"), gradient.clone())
                })
                .collect();
            let wanted = golden.keys().filter(|name| name.starts_with("grad."));
            assert_eq!(found.keys().collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
            for (name, got) in found {
                let expected = &golden[&name];
                let error = norm(&(&got - expected).unwrap());
                let bar = GRADIENTS * if is_idle(&name) { 1e-1 } else { norm(expected) };
                assert!(
                    error <= bar,
                    "{architecture:?} {name}: off by {error} of {}",
                    norm(expected)
                );
            }
        }
    }
}

#[test]
fn distances_fall_into_the_buckets_of_mpnet() {
    let expected: Vec<usize> = serde_json::from_value(json()["buckets"].clone()).unwrap();
    let got: Vec<usize> = (-600..=600).map(bucket).collect();
    assert_eq!(got, expected);
}
