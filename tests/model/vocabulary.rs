//! Models with a vocabulary head against PyTorch and Sentence Transformers; `testdata/golden/vocabulary.py`
//! makes the values.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, safetensors::load_buffer};
use l0::internal::{
    device::{Compute, Precision},
    model::{
        Activation, Batch, Checkpoint, DenseEncoder, ModelDirectory, Overrides, SparseEncoder,
        TensorEncoder,
    },
    sparse::SparseVector,
    train::{
        run::save::Size,
        tools::export::{Changes, export},
    },
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use crate::support::{Need, Work, cuda, programs, python, run, skipped};

const CASES: [&str; 6] = ["mean_one", "cls_free", "dense", "rank", "tied", "mapped_tied"];
/// The bar for logits in f32 against float64.
const LOGITS: f32 = 1e-4;
/// The bar for gradients, by their norm.
const GRADIENTS: f64 = 1e-4;

fn golden() -> Value {
    let text = fs::read_to_string("testdata/golden/vocabulary.json").unwrap();
    serde_json::from_str(&text).unwrap()
}

fn golden_bytes() -> Vec<u8> {
    fs::read("testdata/golden/vocabulary.safetensors").unwrap()
}

fn values(device: &Device) -> BTreeMap<String, Tensor> {
    let tensors = load_buffer(&golden_bytes(), device).unwrap();
    let in_f32 = |tensor: Tensor| tensor.to_dtype(DType::F32).unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, in_f32(tensor))).collect()
}

fn ids() -> Vec<Vec<u32>> {
    serde_json::from_value(golden()["ids"].clone()).unwrap()
}

/// A tensor as a file has it.
#[derive(Clone)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Stored {
    pub fn vector(numbers: &[f32]) -> Stored {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Stored { dtype: Dtype::F32, shape: vec![numbers.len()], bytes }
    }
}

/// The files of a model that are its own, before they are written.
pub struct Files {
    pub config: Value,
    pub own: Value,
    pub tensors: BTreeMap<String, Stored>,
}

impl Files {
    /// Those of a golden case; weights are relu of the logits.
    pub fn of(case: &str) -> Files {
        let golden = golden();
        let mut config = golden["config"].clone();
        config["l0_head"] = golden["cases"][case].clone();
        let bytes = golden_bytes();
        let all = SafeTensors::deserialize(&bytes).unwrap();
        let own = format!("{case}.");
        let named = all.tensors().into_iter().filter_map(|(name, view)| {
            let name = name.strip_prefix("encoder.").or_else(|| name.strip_prefix(&own))?;
            let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
            let is_value = name == "logits" || name.starts_with("grad.");
            let stored = Stored { dtype: view.dtype(), shape, bytes };
            (!is_value).then(|| (name.to_owned(), stored))
        });
        Files { config, own: json!({"activation": 0}), tensors: named.collect() }
    }

    /// Writes the directory, with the tokenizer of testdata/toy.
    pub fn write(&self, work: &Work, name: &str) -> PathBuf {
        work.write(&format!("{name}/config.json"), self.config.to_string());
        work.write(&format!("{name}/l0.json"), self.own.to_string());
        for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
            let bytes = fs::read(Path::new("testdata/toy").join(file)).unwrap();
            work.write(&format!("{name}/{file}"), bytes);
        }
        let views = self.tensors.iter().map(|(name, Stored { dtype, shape, bytes })| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        work.write(
            &format!("{name}/model.safetensors"),
            safetensors::serialize(views, None).unwrap(),
        );
        work.path(name)
    }
}

/// The processor, and a CUDA device if there is one.
fn devices() -> Vec<Device> {
    [Device::Cpu].into_iter().chain(cuda()).collect()
}

fn cases_on_devices() -> Vec<(&'static str, Device)> {
    let devices = devices();
    let of = |case| devices.iter().map(move |device| (case, device.clone()));
    CASES.into_iter().flat_map(of).collect()
}

pub fn on_slices(folder: &Path) -> l0::Result<SparseEncoder> {
    let directory = ModelDirectory::open(folder)?;
    SparseEncoder::load(&directory, Overrides::default(), Compute::Cpu, Precision::F32)
}

#[track_caller]
fn check_weights(found: &SparseVector, logits: &[f32], what: &str) {
    let mut weights = vec![0.0; logits.len()];
    found.iter().for_each(|(term, weight)| weights[term.index()] = weight);
    for (term, (weight, logit)) in weights.iter().zip(logits).enumerate() {
        let near = (weight - logit.max(0.0)).abs() <= LOGITS * logit.max(1.0);
        assert!(near, "{what}, term {term}: {weight} not {logit}");
    }
}

#[test]
fn weights_are_those_of_pytorch() {
    let (values, documents) = (values(&Device::Cpu), ids());
    let slices: Vec<&[u32]> = documents.iter().map(Vec::as_slice).collect();
    for case in CASES {
        let work = Work::new();
        let folder = Files::of(case).write(&work, case);
        let expected = values[&format!("{case}.logits")].to_vec2::<f32>().unwrap();
        let encoder = on_slices(&folder).unwrap();
        let together = encoder.encode(&slices).unwrap();
        for (at, row) in expected.iter().enumerate() {
            check_weights(&together[at], row, &format!("{case} {at}"));
            let alone = encoder.encode(&slices[at..=at]).unwrap();
            assert_eq!(alone[0], together[at], "{case}: a document depends on its neighbours");
        }
        let directory = ModelDirectory::open(&folder).unwrap();
        for device in devices() {
            let overrides = Overrides::default();
            let encoder =
                SparseEncoder::on_device(&directory, overrides, &device, DType::F32).unwrap();
            let vectors = encoder.encode(&slices).unwrap();
            for (at, (vector, row)) in vectors.iter().zip(&expected).enumerate() {
                check_weights(vector, row, &format!("{case} {at}, as on a device"));
            }
        }
    }
}

/// All documents at once, and from vectors that were pooled before, here and by the encoder of a pool.
#[test]
fn logits_of_the_encoder_that_is_trained_are_those_of_pytorch() {
    let documents = ids();
    let slices: Vec<&[u32]> = documents.iter().map(Vec::as_slice).collect();
    for (case, device) in cases_on_devices() {
        let work = Work::new();
        let folder = Files::of(case).write(&work, case);
        let encoder =
            TensorEncoder::new(Checkpoint::load(&folder).unwrap(), &device, DType::F32).unwrap();
        let batch = Batch::new(&documents, 0);
        let pooled = DenseEncoder::of_head(&folder).unwrap().encode(&slices);
        let width = pooled[0].len();
        let pooled = Tensor::from_vec(pooled.concat(), (slices.len(), width), &device).unwrap();
        let expected = &values(&device)[&format!("{case}.logits")];
        for logits in [
            encoder.pooled_logits(&batch, None),
            encoder.logits_of_pooled(&encoder.pooled(&batch).unwrap()),
            encoder.logits_of_pooled(&pooled),
        ] {
            let off = (logits.unwrap() - expected).unwrap().abs().unwrap().max_all().unwrap();
            let off = off.to_scalar::<f32>().unwrap();
            assert!(off <= LOGITS, "{case}: off by {off}");
        }
    }
}

fn norm(tensor: &Tensor) -> f64 {
    let squares = tensor.to_dtype(DType::F64).unwrap().sqr().unwrap();
    squares.sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
}

#[test]
fn gradients_are_those_of_pytorch() {
    let documents = ids();
    for (case, device) in cases_on_devices() {
        let work = Work::new();
        let checkpoint = Checkpoint::load(&Files::of(case).write(&work, case)).unwrap();
        let encoder = TensorEncoder::new(checkpoint, &device, DType::F32).unwrap();
        let values = values(&device);
        let logits = encoder.pooled_logits(&Batch::new(&documents, 0), None).unwrap();
        let weights = Activation::SPLADE.weights(&logits).unwrap();
        let loss = (weights * &values["coefficients"]).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let variables = encoder.variables();
        let start = format!("{case}.grad.");
        let expected = values.keys().filter(|name| name.starts_with(&start)).count();
        assert_eq!(variables.len(), expected, "{case}");
        for (name, variable) in variables {
            let expected = &values[&format!("{start}{name}")];
            let found = gradients.get(variable);
            let found = found.unwrap_or_else(|| panic!("{case}: {name} has no gradient"));
            let (error, length) = (norm(&(found - expected).unwrap()), norm(expected));
            // a softmax does not see the bias of the keys
            let bar = GRADIENTS * if name.ends_with("key.bias") { 1e-1 } else { length };
            assert!(error <= bar, "{case} {name}: off by {error} of {length}");
        }
    }
}

/// Cases with what l0.json may say, each with a query table but for the last.
fn as_published(work: &Work) -> Vec<PathBuf> {
    let levels: Vec<f32> = (0..430).map(|term| term as f32 / 1024.0).collect();
    let own = [
        json!({"activation": 0, "lexical": {"weight": 1.5}, "prune": "top_k:40"}),
        json!({"activation": 1, "threshold": {"all": 0.25}}),
        json!({"activation": 2, "lexical": {"weight": 0.5, "k1": 0.9, "b": 0.4, "length": 20.0},
            "threshold": {"largest": 0.2}}),
        json!({"activation": 3, "threshold": {"term": levels},
            "prune": "max_ratio:0.5"}),
        json!({"activation": 4, "lexical": {"weight": 0.2, "b": 0.0}, "prune": "alpha_mass:0.7"}),
        json!({"activation": 0, "lexical": {"weight": 2.0, "k1": 0.0}, "prune": "abs_value:0.5"}),
    ];
    let write = |(case, own): (&str, Value)| {
        let mut files = Files::of(case);
        files.own = own;
        let scales: Vec<f32> = (0..430).map(|term| (term % 5) as f32 * 0.5 - 0.5).collect();
        if case == "dense" {
            files.tensors.insert("lexical.scale".into(), Stored::vector(&scales));
        }
        let folder = files.write(work, case);
        if case != CASES[5] {
            let table = fs::read("testdata/toy-st/idf.json").unwrap();
            work.write(&format!("{case}/idf.json"), table);
        }
        let out = work.path(&format!("{case}.out"));
        export(&[folder], &Changes::default(), Size::Whole, &out).unwrap();
        out
    };
    CASES.into_iter().zip(own).map(write).collect()
}

#[test]
fn an_export_encodes_as_its_model() {
    let work = Work::new();
    let documents = ids();
    let slices: Vec<&[u32]> = documents.iter().map(Vec::as_slice).collect();
    for out in as_published(&work) {
        let given = out.with_extension("");
        let [given, kept] = [given, out].map(|folder| on_slices(&folder).unwrap());
        assert_eq!(given.convention(), kept.convention());
        let vectors = given.encode(&slices).unwrap();
        assert_eq!(vectors, kept.encode(&slices).unwrap());
        assert!(vectors.iter().all(|vector| vector.nnz() > 0), "{}", given.convention());
    }
}

/// Where `L0_PYTHON` (default: `python3`) can import Sentence Transformers.
#[test]
#[ignore = "slow: Sentence Transformers"]
fn sentence_transformers_gives_the_same_vectors() {
    let work = Work::new();
    let look = format!("{} -c 'import sentence_transformers'", python());
    if run(work.shell(&look), b"").status() != Some(0) {
        return skipped(Need::Tool("py:sentence_transformers"), "no sentence_transformers");
    }
    let folders = as_published(&work);
    let line = format!(
        "{} {}/tests/model/loaders.py {} --programs {}",
        python(),
        env!("CARGO_MANIFEST_DIR"),
        folders.iter().map(|out| out.to_str().unwrap()).collect::<Vec<_>>().join(" "),
        programs().display()
    );
    let cache = work.path("modules");
    let mut command = work.shell(&line);
    command.env("HF_MODULES_CACHE", cache).env("HF_HUB_OFFLINE", "1");
    let checked = run(command, b"").exits(0);
    // by Sentence Transformers, saved again, and by transformers
    assert_eq!(checked.stdout_text().lines().count(), 3 * CASES.len(), "{checked}");
}
