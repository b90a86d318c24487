//! Every value of `docs/method.md`, "Reference values", and more of its kind, in
//! `testdata/golden/paper.json`: as printed there, and the formula in float64.

use candle_core::{DType, Device, Tensor, Var};
use l0::internal::{
    eval::{SparsityStats, flops},
    nn::{Denominator, Groups, Regularizer, RegularizerKind},
    sparse::{Activation, SparseVector, TermId},
    text::inverse_document_frequency,
    train::recipe::stage::RegularizerRecipe,
};
use serde_json::Value;

/// Through f32.
const RELATIVE_F32: f64 = 1e-6;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn paid(given: &Value, kind: RegularizerKind) -> f64 {
    let rows: Vec<Vec<f64>> = given["weights"].as_array().unwrap().iter().map(numbers).collect();
    let weights = Tensor::new(rows, &Device::Cpu).unwrap();
    let loss = Regularizer { kind, groups: Groups::Pooled }.loss(&weights, 1, None).unwrap();
    loss.to_scalar::<f64>().unwrap()
}

/// Value and slope of an activation.
fn activated(given: &Value) -> (f64, f64) {
    let depth = u8::try_from(given["depth"].as_u64().unwrap()).unwrap();
    let logit = given["logit"].as_f64().unwrap() as f32;
    let logit = Var::new(logit, &Device::Cpu).unwrap();
    let weight = Activation::new(depth).unwrap().weights(&logit).unwrap();
    let slope = weight.backward().unwrap().get(&logit).unwrap().clone();
    let number = |tensor: Tensor| tensor.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
    (number(weight), number(slope))
}

/// Two vectors, so that a share of 1, ½ or 0 of them can have a term.
fn tally(shares: &[f64]) -> SparsityStats {
    let vectors = [0.0, 0.5].map(|from| {
        let terms = shares.iter().zip(0..).filter(|&(&share, _)| share > from);
        SparseVector::new(terms.map(|(_, term)| (TermId(term), 1.0)))
    });
    SparsityStats::of(vectors).unwrap()
}

fn ours(check: &str, given: &Value) -> f64 {
    let number = |key: &str| given[key].as_f64().unwrap();
    let whole = |key: &str| given[key].as_u64().unwrap();
    let mask = |denominator| {
        let threshold = u32::try_from(whole("threshold")).unwrap();
        paid(given, RegularizerKind::L0Mask { threshold, denominator })
    };
    match check {
        "l0_mask_all" => mask(Denominator::All),
        "l0_mask_kept" => mask(Denominator::Kept),
        "flops" => paid(given, RegularizerKind::Flops),
        "lambda_ramp" => {
            let (lambda, ramp) = (number("lambda"), whole("steps"));
            let recipe = format!("kind = \"flops\"\nlambda = {lambda}\nramp = {ramp}");
            toml::from_str::<RegularizerRecipe>(&recipe).unwrap().lambda_at(whole("step"))
        }
        "idf" => f64::from(inverse_document_frequency(whole("documents"), whole("df"))),
        "activation" => activated(given).0,
        "activation_gradient" => activated(given).1,
        "count_flops" => {
            flops(&tally(&numbers(&given["queries"])), &tally(&numbers(&given["documents"])))
        }
        other => panic!("no check of that name: {other}"),
    }
}

#[test]
fn the_values_of_the_paper_notes_hold() {
    let text = std::fs::read_to_string("testdata/golden/paper.json").unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let cases = json["cases"].as_array().unwrap();
    // the seven rows of 6.3, the end of the ramp, and the table of 1.1 with its slopes
    assert_eq!(cases.len(), 8 + 12 + 6);
    for case in cases {
        let check = case["check"].as_str().unwrap();
        let (got, value) = (ours(check, &case["given"]), case["value"].as_f64().unwrap());
        assert!((got - value).abs() <= RELATIVE_F32 * value.abs(), "{case}: {got}");
    }
}
