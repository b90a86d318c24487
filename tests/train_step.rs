//! The encoder that is trained against the one that encodes, and a whole step against PyTorch.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor, safetensors::load};
use l0::{
    model::{Batch, Checkpoint, TensorEncoder, cpu::CpuEncoder},
    ops::{Activation, Denominator, Dropout, Groups, Regularizer, RegularizerKind},
    text::Tokenizer,
    train::loss::kl,
};
use serde_json::Value;

/// The bar for gradients in f32 against float64; PyTorch's own f32 is off by 1.2e-6.
const RELATIVE_F32: f64 = 1e-4;
/// For weights of two encoders in f32.
const F32_THROUGH_TWO_LAYERS: f32 = 2e-5;

fn encoder(folder: &str) -> TensorEncoder {
    let checkpoint = Checkpoint::load(Path::new(folder)).unwrap();
    TensorEncoder::new(checkpoint, &Device::Cpu, DType::F32).unwrap()
}

fn documents(folder: &str) -> Vec<Vec<u32>> {
    let tokenizer = Tokenizer::load(Path::new(folder)).unwrap();
    let text = std::fs::read_to_string("testdata/golden/encoder.json").unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let texts = json["texts"].as_array().unwrap();
    texts
        .iter()
        .map(|text| tokenizer.tokens(text["text"].as_str().unwrap(), 64).unwrap().ids)
        .collect()
}

#[test]
fn the_encoder_that_is_trained_is_the_one_that_encodes() {
    let goldens = load("testdata/golden/encoder.safetensors", &Device::Cpu).unwrap();
    for (folder, name) in [("testdata/toy", "bert"), ("testdata/toy-distilbert", "distilbert")] {
        let documents = documents(folder);
        let logits = encoder(folder).pooled_logits(&Batch::new(&documents, 0), None).unwrap();
        let off = (&logits - &goldens[&format!("{name}.logits")]).unwrap().abs().unwrap();
        let off = off.max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(off <= F32_THROUGH_TWO_LAYERS, "{folder}: {off} from PyTorch's logits");

        let rows = Activation::L0.weights(&logits).unwrap().to_vec2::<f32>().unwrap();
        let Checkpoint { config, weights, .. } = Checkpoint::load(Path::new(folder)).unwrap();
        let slices: Vec<&[u32]> = documents.iter().map(Vec::as_slice).collect();
        let expected = CpuEncoder::new(config, weights).encode(&slices, Activation::L0).unwrap();
        for (row, expected) in rows.iter().zip(&expected) {
            assert_eq!(row.iter().filter(|&&weight| weight > 0.0).count(), expected.nnz());
            for (term, weight) in expected.iter() {
                assert!((row[term.index()] - weight).abs() <= F32_THROUGH_TWO_LAYERS);
            }
        }
    }
}

fn norm(tensor: &Tensor) -> f64 {
    let squares = tensor.to_dtype(DType::F64).unwrap().sqr().unwrap();
    squares.sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
}

/// Loss, and the gradient of every variable, of the dumped step.
fn step(
    encoder: &TensorEncoder,
    golden: &BTreeMap<String, Tensor>,
    dropout: Option<Dropout>,
) -> (f64, BTreeMap<String, Option<Tensor>>) {
    let ids = golden["ids"].to_vec2::<i64>().unwrap();
    let mask = golden["mask"].to_vec2::<i64>().unwrap();
    let documents: Vec<Vec<u32>> = ids
        .iter()
        .zip(&mask)
        .map(|(ids, mask)| {
            let kept = ids.iter().zip(mask).filter(|(_, mask)| **mask == 1);
            kept.map(|(&id, _)| u32::try_from(id).unwrap()).collect()
        })
        .collect();
    let logits = encoder.pooled_logits(&Batch::new(&documents, 0), dropout).unwrap();
    let weights = Activation::L0.weights(&logits).unwrap();
    let by_query = weights.reshape((2, 2, 430)).unwrap();
    let queries = golden["queries"].unsqueeze(1).unwrap();
    let scores = by_query.broadcast_mul(&queries).unwrap().sum(2).unwrap();
    let kind = RegularizerKind::L0Mask { threshold: 45, denominator: Denominator::All };
    let penalty = Regularizer { kind, groups: Groups::Pooled }.loss(&weights, 2, None).unwrap();
    let loss = (kl(&scores, &golden["teacher"]).unwrap() + (penalty * 0.01).unwrap()).unwrap();
    let gradients = loss.backward().unwrap();
    let named = encoder.variables().into_iter();
    let named = named.map(|(name, var)| (name, gradients.get(var).cloned())).collect();
    (f64::from(loss.to_scalar::<f32>().unwrap()), named)
}

#[test]
fn a_whole_step_has_the_loss_and_the_gradients_of_pytorch() {
    let golden: BTreeMap<String, Tensor> =
        load("testdata/golden/step.safetensors", &Device::Cpu).unwrap().into_iter().collect();
    let (loss, gradients) = step(&encoder("testdata/toy"), &golden, None);
    assert!((loss - 0.2026954539809523).abs() <= 1e-6, "{loss}");
    let expected: Vec<_> = golden.iter().filter(|(name, _)| name.starts_with("grad.")).collect();
    assert_eq!(expected.len(), gradients.len());
    for (name, expected) in expected {
        let name = name.strip_prefix("grad.").unwrap();
        let got = gradients[name].as_ref().unwrap_or_else(|| panic!("{name}: no gradient"));
        let error = norm(&(got - expected).unwrap());
        // a softmax does not see the bias of the keys: its gradient is 0 but for rounding
        let bar = if name.contains("key.bias") { 1e-6 } else { RELATIVE_F32 * norm(expected) };
        assert!(error <= bar, "{name}: off by {error} of {}", norm(expected));
    }
}

#[test]
fn every_variable_receives_a_gradient_with_dropout_too() {
    let golden: BTreeMap<String, Tensor> =
        load("testdata/golden/step.safetensors", &Device::Cpu).unwrap().into_iter().collect();
    let encoder = encoder("testdata/toy");
    let (still, _) = step(&encoder, &golden, None);
    let (loss, gradients) = step(&encoder, &golden, Some(Dropout::new(0.1, 1)));
    assert_ne!(loss, still);
    assert_eq!(loss, step(&encoder, &golden, Some(Dropout::new(0.1, 1))).0);
    for (name, gradient) in gradients {
        let gradient = gradient.unwrap_or_else(|| panic!("{name}: no gradient"));
        assert!(norm(&gradient) > 0.0 || name.contains("key.bias"), "{name}: gradient 0");
    }
}
