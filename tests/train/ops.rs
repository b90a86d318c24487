//! Operators of training against PyTorch in float64: values and every gradient.
//!
//! `testdata/golden/ops.py` makes the dumps.

use candle_core::{DType, Device, Tensor, Var, safetensors::load};
use l0::internal::{
    nn::{
        Denominator, Groups, HardThreshold, Kernel, Packing, Regularizer, RegularizerKind, Share,
        embedding_table, max_over_tokens,
    },
    sparse::Activation,
    train::{
        data::batch::TrainBatch,
        recipe::stage::RetrievalRecipe,
        run::{
            loss::{info_nce, kl, margin_mse},
            objective::Objective,
        },
    },
};
use serde_json::Value;

/// The bar for formulas in float64.
const RELATIVE_F64: f64 = 1e-12;
/// For the same through f32.
const RELATIVE_F32: f64 = 1e-5;

struct Golden {
    tensors: std::collections::BTreeMap<String, Tensor>,
    values: Value,
}

impl Golden {
    fn load() -> Golden {
        let tensors = load("testdata/golden/ops.safetensors", &Device::Cpu).unwrap();
        let text = std::fs::read_to_string("testdata/golden/ops.json").unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        Golden { tensors: tensors.into_iter().collect(), values: json["values"].clone() }
    }

    /// Value and gradient of `operator` at the dumped input, in both widths.
    #[track_caller]
    fn check(&self, name: &str, key: &str, input: &str, operator: &dyn Fn(&Tensor) -> Tensor) {
        for (dtype, bar) in [(DType::F64, RELATIVE_F64), (DType::F32, RELATIVE_F32)] {
            let input = Var::from_tensor(&self.tensors[input].to_dtype(dtype).unwrap()).unwrap();
            let value = operator(&input);
            let expected = self.values[name].as_f64().unwrap();
            let got = value.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
            assert!(
                (got - expected).abs() <= bar * expected.abs(),
                "{name}: {got}, not {expected}"
            );
            let expected = &self.tensors[&format!("{name}.grad.{key}")];
            match value.backward().unwrap().get(&input) {
                Some(got) => check_near(got, expected, bar, &format!("{name} d{key}")),
                None => assert_eq!(norm(expected), 0.0, "{name}: no gradient"),
            }
        }
    }

    fn like(&self, name: &str, input: &Tensor) -> Tensor {
        self.tensors[name].to_dtype(input.dtype()).unwrap()
    }
}

fn norm(tensor: &Tensor) -> f64 {
    let squares = tensor.to_dtype(DType::F64).unwrap().sqr().unwrap();
    squares.sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
}

#[track_caller]
fn check_near(got: &Tensor, expected: &Tensor, bar: f64, what: &str) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    let error = norm(&(got.to_dtype(DType::F64).unwrap() - expected).unwrap());
    assert!(error <= bar * norm(expected), "{what}: off by {error} of {}", norm(expected));
}

#[test]
fn pooling_and_activation_are_those_of_pytorch() {
    let golden = Golden::load();
    let packing = Packing::new(vec![5, 3, 2], 0);
    let rows = [0u32, 1, 2, 3, 4, 5, 6, 7, 10, 11];
    for depth in 1..=4 {
        let activation = Activation::new(depth).unwrap();
        golden.check(&format!("pool.depth{depth}"), "logits", "pool.logits", &|logits| {
            let flat = logits.reshape((15, 7)).unwrap();
            let packed = flat.index_select(&Tensor::new(&rows, &Device::Cpu).unwrap(), 0).unwrap();
            let weights = activation.weights(&max_over_tokens(&packed, &packing).unwrap()).unwrap();
            let bar = if logits.dtype() == DType::F64 { RELATIVE_F64 } else { RELATIVE_F32 };
            check_near(&weights, &golden.tensors[&format!("pool.depth{depth}")], bar, "weights");
            (weights * golden.like("pool.upstream", logits)).unwrap().sum_all().unwrap()
        });
    }
}

#[test]
fn regularizers_are_those_of_pytorch() {
    let golden = Golden::load();
    let mask = |threshold, denominator| RegularizerKind::L0Mask { threshold, denominator };
    let mut cases = vec![
        ("flops.pooled".to_owned(), RegularizerKind::Flops, Groups::Pooled, false),
        ("flops.pooled.idf".to_owned(), RegularizerKind::Flops, Groups::Pooled, true),
        ("flops.rank_groups".to_owned(), RegularizerKind::Flops, Groups::Rank, false),
        ("flops.rank_groups.threshold3".to_owned(), mask(3, Denominator::All), Groups::Rank, false),
        ("l0_mask.all.threshold3.idf".to_owned(), mask(3, Denominator::All), Groups::Pooled, true),
        ("l0_mask.kept.threshold3.idf".into(), mask(3, Denominator::Kept), Groups::Pooled, true),
        (
            "l0_mask.kept.rank_groups.threshold3".into(),
            mask(3, Denominator::Kept),
            Groups::Rank,
            false,
        ),
        (
            "l0_mask.all.rank_groups.threshold3.idf".into(),
            mask(3, Denominator::All),
            Groups::Rank,
            true,
        ),
        ("ratio.threshold3".into(), RegularizerKind::Ratio { threshold: 3 }, Groups::Pooled, false),
        (
            "ratio.threshold3.idf".into(),
            RegularizerKind::Ratio { threshold: 3 },
            Groups::Pooled,
            true,
        ),
        (
            "ratio.rank_groups.threshold3".into(),
            RegularizerKind::Ratio { threshold: 3 },
            Groups::Rank,
            false,
        ),
        ("l1".into(), RegularizerKind::L1, Groups::Pooled, false),
        ("l1.idf".into(), RegularizerKind::L1, Groups::Pooled, true),
    ];
    for threshold in [0, 3, 7] {
        for (word, denominator) in [("all", Denominator::All), ("kept", Denominator::Kept)] {
            let name = format!("l0_mask.{word}.threshold{threshold}");
            cases.push((name, mask(threshold, denominator), Groups::Pooled, false));
        }
    }
    for (name, kind, groups, with_idf) in cases {
        golden.check(&name, "weights", "regularizer.weights", &|weights| {
            let idf = with_idf.then(|| golden.like("regularizer.idf", weights));
            Regularizer { kind, groups }.loss(weights, 2, idf.as_ref()).unwrap()
        });
    }
}

#[test]
fn losses_are_those_of_pytorch() {
    let golden = Golden::load();
    let teacher = |student: &Tensor| golden.like("rank.teacher", student);
    golden
        .check("kl", "student", "rank.student", &|student| kl(student, &teacher(student)).unwrap());
    golden.check("margin_mse", "student", "rank.student", &|student| {
        margin_mse(student, &teacher(student)).unwrap()
    });
    golden.check("info_nce.own", "student", "rank.student", &|student| {
        info_nce(student, &[0, 0, 0]).unwrap()
    });
    golden.check("info_nce.in_batch", "scores", "rank.in_batch", &|scores| {
        info_nce(scores, &[0, 4, 8]).unwrap()
    });
}

#[test]
fn thresholds_are_those_of_pytorch() {
    let golden = Golden::load();
    let forms = [
        ("one", "one", Share::All, Kernel::Rectangle),
        ("each", "each", Share::Term, Kernel::Rectangle),
        ("sigmoid", "one", Share::All, Kernel::Sigmoid),
        ("erf", "one", Share::All, Kernel::Erf),
        ("straight_through", "one", Share::All, Kernel::StraightThrough),
        ("largest", "largest", Share::Largest, Kernel::Rectangle),
    ];
    for (name, theta, share, kernel) in forms {
        let threshold = HardThreshold { share, kernel, width: 0.2 };
        let (name, theta) = (format!("threshold.{name}"), format!("threshold.theta.{theta}"));
        let weighted = |y: Tensor| (&y * golden.like("threshold.upstream", &y)).unwrap().sum_all();
        golden.check(&name, "w", "threshold.w", &|w| {
            weighted(threshold.apply(w, &golden.like(&theta, w)).unwrap()).unwrap()
        });
        golden.check(&name, "theta", &theta, &|theta| {
            let y = threshold.apply(&golden.like("threshold.w", theta), theta).unwrap();
            weighted(y).unwrap()
        });
        golden.check(&format!("{name}.count"), "theta", &theta, &|theta| {
            let counts = threshold.count(&golden.like("threshold.w", theta), theta).unwrap();
            counts.sum_all().unwrap()
        });
        if kernel == Kernel::Rectangle && share != Share::Largest {
            continue;
        }
        golden.check(&format!("{name}.target"), "theta", &theta, &|theta| {
            threshold.target(&golden.like("threshold.w", theta), theta, 3.0).unwrap()
        });
    }
}

#[test]
fn a_table_of_embeddings_is_that_of_pytorch() {
    let golden = Golden::load();
    for key in ["words", "weight", "bias"] {
        golden.check("embedding", key, &format!("embedding.{key}"), &|input| {
            let part = |name: &str| match name == key {
                true => input.clone(),
                false => golden.like(&format!("embedding.{name}"), input),
            };
            let table = embedding_table(&part("words"), &part("weight"), &part("bias")).unwrap();
            (&table * golden.like("embedding.upstream", &table)).unwrap().sum_all().unwrap()
        });
    }
}

/// Documents pay on one logarithm more than they rank with, as the released code meant to.
#[test]
fn a_decoupled_payment_is_that_of_pytorch() {
    let golden = Golden::load();
    let batch = TrainBatch {
        documents: vec![Vec::new(); 6],
        query_terms: vec![vec![0], vec![1], vec![2]],
        query_tokens: Vec::new(),
        teacher: None,
        duplicate_positives: Vec::new(),
    };
    for (name, kind) in [
        ("decouple.flops", "kind = \"flops\""),
        ("decouple.l0_mask.all.threshold3", "kind = \"l0_mask\"\nthreshold = 3"),
    ] {
        let recipe = format!("loss = []\n[regularizer]\n{kind}\nlambda = 1\ndecouple = true");
        let stage: RetrievalRecipe = toml::from_str(&recipe).unwrap();
        let weights = golden.tensors["regularizer.weights"].to_dtype(DType::F32).unwrap();
        let weights = Var::from_tensor(&weights).unwrap();
        let table = Tensor::ones(7, DType::F32, &Device::Cpu).unwrap();
        let objective = Objective { stage: &stage, step: 0, table: Some(&table), theta: None };
        let scored = objective.of(&weights, &batch).unwrap();
        let (got, expected) = (scored.parts[0].1, golden.values[name].as_f64().unwrap());
        assert!((got - expected).abs() <= RELATIVE_F32 * expected, "{name}: {got}, not {expected}");
        assert_eq!(scored.loss.to_scalar::<f32>().unwrap(), got as f32);
        let gradients = scored.loss.backward().unwrap();
        let expected = &golden.tensors[&format!("{name}.grad.weights")];
        check_near(gradients.get(&weights).unwrap(), expected, RELATIVE_F32, name);
    }
}

#[test]
fn the_mask_loss_has_the_values_of_the_paper_notes() {
    let weights = Tensor::new(&[[1.0f32, 1.0, 1.0], [1.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let mask = |denominator| RegularizerKind::L0Mask { threshold: 2, denominator };
    for (kind, expected) in [
        (mask(Denominator::All), 0.75),
        (RegularizerKind::Flops, 1.5),
        (mask(Denominator::Kept), 3.0),
    ] {
        let loss = Regularizer { kind, groups: Groups::Pooled }.loss(&weights, 1, None).unwrap();
        assert_eq!(loss.to_scalar::<f32>().unwrap(), expected);
    }
}
