//! The programs on every architecture: what is encoded, indexed and trained, and what is refused.

use std::{collections::BTreeMap, path::Path};

use l0::internal::{
    model::{Architecture, Checkpoint, cpu::CpuEncoder},
    text::Tokenizer,
};
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::Value;

use crate::{
    model::families::folder,
    support::{Run, Work, run},
};

/// The families whose files are safetensors.
const STORED: [Architecture; 7] = [
    Architecture::DistilBert,
    Architecture::Roberta,
    Architecture::XlmRoberta,
    Architecture::Mpnet,
    Architecture::ModernBert,
    Architecture::New,
    Architecture::Gte,
];

fn shell(work: &Work, line: &str) -> Run {
    run(work.shell(&format!("set -o pipefail; {line}")), b"")
}

#[test]
#[ignore = "slow: whole programs on 8 families"]
fn every_family_is_encoded_indexed_and_searched() {
    for architecture in Architecture::ALL {
        let (work, model) = (Work::new(), folder(architecture));
        let model = model.display();
        shell(&work, &format!("l0-encode testdata/demo/corpus.jsonl --model {model} -o v.parquet"))
            .exits(0)
            .says("333 rows");
        shell(&work, &format!("l0-index v.parquet --model {model} -o i.l0x --quiet")).exits(0);
        let asked =
            "the storm came across the sea, rain turned every river: ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let line = format!("echo '{asked}' | l0-query i.l0x -k 3 --format jsonl");
        let answer: Value =
            serde_json::from_str(&shell(&work, &line).exits(0).stdout_text()).unwrap();
        assert_eq!(answer["hits"].as_array().unwrap().len(), 3, "{architecture:?}: {answer}");
        // vectors know their vocabulary
        shell(&work, "l0-index v.parquet --tokenizer l0:tiny -o j.l0x --quiet").exits(3);
    }
}

const RECIPE: &str = r#"
seed = 5
log_every = 1
[model]
base = "BASE"
max_tokens = 40
dropout = 0.1
[query]
kind = "encoder"
[optimizer]
lr = 1e-3
[[data]]
path = "testdata/demo"
split = "test"
[[stage]]
kind = "masked_lm"
name = "head"
steps = 2
batch = 8
corpus = "testdata/demo"
[[stage]]
name = "sparse"
steps = 2
batch = 4
documents = 1
loss = [{ kind = "in_batch" }]
regularizer = { kind = "flops", lambda = 0.01, ramp = 2 }
"#;

fn tensors(file: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

/// Trains from a family in both kinds of stage; what comes out has the tensors of the base, all of them
/// moved, and encodes.
#[test]
#[ignore = "slow: training runs"]
fn every_family_is_trained_and_saved_under_its_own_names() {
    for architecture in STORED {
        let (work, base) = (Work::new(), folder(architecture));
        let name = base.display().to_string();
        work.write("recipe.toml", RECIPE.replace("BASE", &name));
        shell(&work, "l0-train recipe.toml -o trained").exits(0);
        let (before, after) = (
            tensors(&base.join("model.safetensors")),
            tensors(&work.path("trained/model.safetensors")),
        );
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        let config: Value = serde_json::from_str(&work.text("trained/config.json")).unwrap();
        assert_eq!(config["architectures"][0], architecture.class());
        let files = work.text("trained/special_tokens_map.json");
        let names: BTreeMap<String, String> = serde_json::from_str(&files).unwrap();
        let tokenizer = Tokenizer::load(&base).unwrap();
        let mask = tokenizer.vocabulary().id(&names["mask_token"]);
        assert!(mask.is_some() && mask == tokenizer.mask(), "{names:?}");
        assert_eq!(work.path("trained/vocab.txt").exists(), tokenizer.is_word_piece());
        let again = Checkpoint::load(&work.path("trained")).unwrap();
        assert_eq!(again.config, Checkpoint::load(&base).unwrap().config);
        let line = "l0-encode testdata/demo/corpus.jsonl --model trained --quiet -o v.parquet";
        shell(&work, line).exits(0);
    }
}

/// A copy of a family's folder in `work` with its tensors changed.
fn changed<'a>(
    work: &Work,
    architecture: Architecture,
    change: impl FnOnce(&mut BTreeMap<String, TensorView<'a>>),
    bytes: &'a [u8],
) -> String {
    let name = architecture.name();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        work.write(
            &format!("{name}/{file}"),
            std::fs::read(folder(architecture).join(file)).unwrap(),
        );
    }
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let mut tensors: BTreeMap<String, TensorView<'a>> = tensors.tensors().into_iter().collect();
    change(&mut tensors);
    work.write(
        &format!("{name}/model.safetensors"),
        safetensors::serialize(tensors, None).unwrap(),
    );
    name.to_owned()
}

fn stored(architecture: Architecture) -> Vec<u8> {
    std::fs::read(folder(architecture).join("model.safetensors")).unwrap()
}

/// As a class without a head saves it, and as a masked-language model of transformers 4 does.
#[test]
fn encoders_are_read_without_their_prefix_and_head() {
    for architecture in STORED {
        let (work, bytes) = (Work::new(), stored(architecture));
        let prefix = match architecture {
            Architecture::XlmRoberta => "roberta.".to_owned(),
            Architecture::ModernBert => "model.".to_owned(),
            other => format!("{}.", other.name()),
        };
        let strip = |tensors: &mut BTreeMap<String, TensorView>| {
            let bare = std::mem::take(tensors).into_iter();
            let bare = bare
                .filter_map(|(name, view)| Some((name.strip_prefix(&prefix)?.to_owned(), view)));
            *tensors = bare.collect();
        };
        let name = changed(&work, architecture, strip, &bytes);
        let ids = [0, 5, 9, 7, 2];
        let states = |checkpoint: Checkpoint| {
            CpuEncoder::new(checkpoint.config, checkpoint.weights).hidden_states(&ids)
        };
        let bare = states(Checkpoint::load_encoder(&work.path(&name)).unwrap());
        assert_eq!(bare, states(Checkpoint::load(&folder(architecture)).unwrap()));
        assert_eq!(bare, states(Checkpoint::load_encoder(&folder(architecture)).unwrap()));
        assert_eq!(bare, states(Checkpoint::load_with_new_head(&work.path(&name)).unwrap()));
        let error = Checkpoint::load(&work.path(&name)).err().unwrap().to_string();
        assert!(error.contains("expected a masked-language model with its head"), "{error}");
    }
}

/// Files hold the decoder's bias under two names, or under the other one.
#[test]
fn the_bias_of_the_decoder_has_two_names() {
    let architecture = Architecture::Roberta;
    let (bytes, whole) = (stored(architecture), Checkpoint::load(&folder(architecture)).unwrap());
    for keeps_first in [true, false] {
        let work = Work::new();
        let rename = |tensors: &mut BTreeMap<String, TensorView>| {
            let bias = tensors.remove("lm_head.bias").unwrap();
            if keeps_first {
                tensors.insert("lm_head.bias".into(), bias.clone());
            }
            tensors.insert("lm_head.decoder.bias".into(), bias);
        };
        let name = changed(&work, architecture, rename, &bytes);
        let read = Checkpoint::load(&work.path(&name)).unwrap();
        assert_eq!(read.weights.decoder_bias, whole.weights.decoder_bias);
    }
}

#[test]
fn tensors_that_do_not_fit_a_family_are_named() {
    use Architecture::{Gte, ModernBert, Mpnet, New, Roberta};
    type Tensors<'a> = BTreeMap<String, TensorView<'a>>;
    fn take(name: &'static str) -> impl Fn(&mut Tensors<'_>) {
        move |tensors| drop(tensors.remove(name).unwrap())
    }
    fn put(name: &'static str, like: &'static str) -> impl Fn(&mut Tensors<'_>) {
        move |tensors| {
            let view = tensors[like].clone();
            tensors.insert(name.into(), view);
        }
    }
    type Change = Box<dyn Fn(&mut Tensors<'_>)>;
    let cases: [(Architecture, Change, &str); 9] = [
        (Roberta, Box::new(take("lm_head.bias")), "missing: lm_head.bias"),
        (
            Roberta,
            Box::new(put("roberta.embeddings.position_embeddings.weight", "lm_head.dense.weight")),
            "position_embeddings.weight of shape [162, 16], found [16, 16]",
        ),
        (
            Mpnet,
            Box::new(take("mpnet.encoder.relative_attention_bias.weight")),
            "missing: mpnet.encoder.relative_attention_bias.weight",
        ),
        (
            Mpnet,
            Box::new(put("mpnet.embeddings.token_type_embeddings.weight", "lm_head.dense.weight")),
            "unexpected tensors: mpnet.embeddings.token_type_embeddings.weight",
        ),
        (
            ModernBert,
            Box::new(take("model.layers.1.attn_norm.weight")),
            "missing: model.layers.1.attn_norm.weight",
        ),
        (
            ModernBert,
            Box::new(put("model.layers.0.attn_norm.weight", "head.norm.weight")),
            "unexpected tensors: model.layers.0.attn_norm.weight",
        ),
        (
            ModernBert,
            Box::new(put("head.norm.bias", "head.norm.weight")),
            "unexpected tensors: head.norm.bias",
        ),
        (
            New,
            Box::new(put("new.encoder.layer.0.mlp.up_gate_proj.weight", "lm_head.dense.weight")),
            "up_gate_proj.weight of shape [48, 16], found [16, 16]",
        ),
        (
            Gte,
            Box::new(take("gte.encoder.layer.1.attention.qkv_proj.bias")),
            "missing: gte.encoder.layer.1.attention.qkv_proj.bias",
        ),
    ];
    for (architecture, change, message) in cases {
        let (work, bytes) = (Work::new(), stored(architecture));
        let name = changed(&work, architecture, |tensors| change(tensors), &bytes);
        let line = format!("l0-encode testdata/demo/corpus.jsonl --model {name} -o v.parquet");
        shell(&work, &line).exits(1).says(message);
        assert_eq!(work.names(), [name]);
    }
}

#[test]
fn a_decoder_of_its_own_must_be_there() {
    let (work, bytes) = (Work::new(), stored(Architecture::Roberta));
    let name = changed(&work, Architecture::Roberta, |_| (), &bytes);
    let config = work.text(&format!("{name}/config.json"));
    let untied =
        config.replace(r#""tie_word_embeddings": true"#, r#""tie_word_embeddings": false"#);
    assert_ne!(config, untied);
    work.write(&format!("{name}/config.json"), untied);
    let error = Checkpoint::load(&work.path(&name)).err().unwrap().to_string();
    assert!(error.contains("missing: lm_head.decoder.weight"), "{error}");
}
