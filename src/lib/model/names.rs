//! What Hugging Face calls a model's tensors, for each family.

use super::Architecture;

/// Names outside the layers; a linear map and a norm are named without `.weight` and `.bias`.
pub(super) struct OuterNames {
    pub words: &'static str,
    pub positions: &'static str,
    pub token_types: Option<&'static str>,
    pub embedding_norm: &'static str,
    pub head: &'static str,
    pub head_norm: &'static str,
    pub decoder: &'static str,
    pub decoder_bias: &'static str,
}

/// Names of one layer's parts.
pub(super) struct LayerNames {
    pub query_key_value: [String; 3],
    pub attention_out: String,
    pub attention_norm: String,
    pub up: String,
    pub down: String,
    pub out_norm: String,
}

impl Architecture {
    /// What stands before an encoder's names in a model with a head.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Architecture::Bert => "bert.",
            Architecture::DistilBert => "distilbert.",
        }
    }

    pub(super) fn outer(self) -> OuterNames {
        match self {
            Architecture::Bert => OuterNames {
                words: "bert.embeddings.word_embeddings.weight",
                positions: "bert.embeddings.position_embeddings.weight",
                token_types: Some("bert.embeddings.token_type_embeddings.weight"),
                embedding_norm: "bert.embeddings.LayerNorm",
                head: "cls.predictions.transform.dense",
                head_norm: "cls.predictions.transform.LayerNorm",
                decoder: "cls.predictions.decoder.weight",
                decoder_bias: "cls.predictions.bias",
            },
            Architecture::DistilBert => OuterNames {
                words: "distilbert.embeddings.word_embeddings.weight",
                positions: "distilbert.embeddings.position_embeddings.weight",
                token_types: None,
                embedding_norm: "distilbert.embeddings.LayerNorm",
                head: "vocab_transform",
                head_norm: "vocab_layer_norm",
                decoder: "vocab_projector.weight",
                decoder_bias: "vocab_projector.bias",
            },
        }
    }

    pub(super) fn layer(self, at: usize) -> LayerNames {
        let parts = match self {
            Architecture::Bert => [
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
                "attention.output.dense",
                "attention.output.LayerNorm",
                "intermediate.dense",
                "output.dense",
                "output.LayerNorm",
            ],
            Architecture::DistilBert => [
                "attention.q_lin",
                "attention.k_lin",
                "attention.v_lin",
                "attention.out_lin",
                "sa_layer_norm",
                "ffn.lin1",
                "ffn.lin2",
                "output_layer_norm",
            ],
        };
        let layers = match self {
            Architecture::Bert => "bert.encoder.layer",
            Architecture::DistilBert => "distilbert.transformer.layer",
        };
        let [query, key, value, attention_out, attention_norm, up, down, out_norm] =
            parts.map(|part| format!("{layers}.{at}.{part}"));
        let query_key_value = [query, key, value];
        LayerNames { query_key_value, attention_out, attention_norm, up, down, out_norm }
    }
}
