//! Hugging Face's names of a model's tensors, for each family.

use super::{
    Architecture::{self, Bert, DistilBert, Gte, ModernBert, Mpnet, New, Roberta, XlmRoberta},
    Config,
};

impl Config {
    /// The family's names outside the layers; a vocabulary head's decoder has its own.
    pub(super) fn outer(&self) -> OuterNames {
        let outer = self.architecture.outer();
        match self.vocabulary_head {
            Some(_) => OuterNames { decoder: DECODER, decoder_bias: "decoder.bias", ..outer },
            None => outer,
        }
    }
}

/// Names outside the layers; a linear map and a norm are named without `.weight` and `.bias`.
pub(super) struct OuterNames {
    pub words: String,
    pub positions: String,
    pub token_types: String,
    pub relative: String,
    pub embedding_norm: String,
    pub final_norm: String,
    pub head: &'static str,
    pub head_norm: &'static str,
    pub decoder: &'static str,
    pub decoder_bias: &'static str,
}

/// Names of one layer's parts.
pub(super) struct LayerNames {
    /// Three, or one for all.
    pub query_key_value: Vec<String>,
    pub attention_out: String,
    /// `None` if the layer has no such norm.
    pub attention_norm: Option<String>,
    pub up: String,
    pub down: String,
    pub out_norm: String,
}

/// The rows of a vocabulary head.
pub(super) const DECODER: &str = "decoder.weight";
/// What is between pooled states and the rows of a vocabulary head.
pub(super) const MAP: &str = "head.map.weight";
/// The factor of the lexical part of each term.
pub(super) const LEXICAL_SCALE: &str = "lexical.scale";

/// The name of one of the dense maps of a vocabulary head, without `.weight` and `.bias`.
pub(super) fn dense(at: usize) -> String {
    format!("head.dense.{at}")
}

/// A layer's parts of BERT and RoBERTa: query, key and value, then in the order of [`LayerNames`].
const BERT: ([&str; 3], [&str; 5]) = (
    ["attention.self.query", "attention.self.key", "attention.self.value"],
    [
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    ],
);

impl Architecture {
    /// The prefix of an encoder's names in a model with a head.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Bert => "bert.",
            DistilBert => "distilbert.",
            Roberta | XlmRoberta => "roberta.",
            Mpnet => "mpnet.",
            ModernBert => "model.",
            New => "new.",
            Gte => "gte.",
        }
    }

    pub(super) fn outer(self) -> OuterNames {
        let (words, norm) = match self {
            ModernBert => ("tok_embeddings", "norm"),
            _ => ("word_embeddings", "LayerNorm"),
        };
        let [head, head_norm, decoder, decoder_bias] = match self {
            Bert => [
                "cls.predictions.transform.dense",
                "cls.predictions.transform.LayerNorm",
                "cls.predictions.decoder.weight",
                "cls.predictions.bias",
            ],
            DistilBert => [
                "vocab_transform",
                "vocab_layer_norm",
                "vocab_projector.weight",
                "vocab_projector.bias",
            ],
            Roberta | XlmRoberta | Mpnet => {
                ["lm_head.dense", "lm_head.layer_norm", "lm_head.decoder.weight", "lm_head.bias"]
            }
            ModernBert => ["head.dense", "head.norm", "decoder.weight", "decoder.bias"],
            New | Gte => {
                ["lm_head.dense", "lm_head.norm", "lm_head.decoder.weight", "lm_head.decoder.bias"]
            }
        };
        let prefix = self.prefix();
        let embeddings = |part: &str| format!("{prefix}embeddings.{part}");
        OuterNames {
            words: embeddings(&format!("{words}.weight")),
            positions: embeddings("position_embeddings.weight"),
            token_types: embeddings("token_type_embeddings.weight"),
            relative: format!("{prefix}encoder.relative_attention_bias.weight"),
            embedding_norm: embeddings(norm),
            final_norm: format!("{prefix}final_norm"),
            head,
            head_norm,
            decoder,
            decoder_bias,
        }
    }

    pub(super) fn layer(self, at: usize) -> LayerNames {
        let (maps, parts): (&[&str], [&str; 5]) = match self {
            Bert | Roberta | XlmRoberta => (&BERT.0, BERT.1),
            DistilBert => (
                &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
                ["attention.out_lin", "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"],
            ),
            Mpnet => (
                &["attention.attn.q", "attention.attn.k", "attention.attn.v"],
                [
                    "attention.attn.o",
                    "attention.LayerNorm",
                    "intermediate.dense",
                    "output.dense",
                    "output.LayerNorm",
                ],
            ),
            ModernBert => {
                (&["attn.Wqkv"], ["attn.Wo", "attn_norm", "mlp.Wi", "mlp.Wo", "mlp_norm"])
            }
            New | Gte => (
                &["attention.qkv_proj"],
                ["attention.o_proj", "attn_ln", "mlp.up_gate_proj", "mlp.down_proj", "mlp_ln"],
            ),
        };
        let layers = match self {
            DistilBert => "transformer.layer",
            ModernBert => "layers",
            _ => "encoder.layer",
        };
        let prefix = self.prefix();
        let named = |part: &str| format!("{prefix}{layers}.{at}.{part}");
        let [attention_out, attention_norm, up, down, out_norm] = parts.map(named);
        LayerNames {
            query_key_value: maps.iter().map(|part| named(part)).collect(),
            attention_out,
            // the embeddings are normed, and the first layer takes them as they are
            attention_norm: (self != ModernBert || at > 0).then_some(attention_norm),
            up,
            down,
            out_norm,
        }
    }
}
