//! `config.json`: the sizes of a model, under one set of names.

use std::path::Path;

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    io,
};

/// The families of checkpoints that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `BertForMaskedLM`
    Bert,
    /// `DistilBertForMaskedLM`
    DistilBert,
}

/// Sizes of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// V, tokens in the vocabulary.
    pub vocab_size: usize,
    /// H, width of a hidden state.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads; divides H.
    pub heads: usize,
    /// Width of the feed-forward network.
    pub intermediate: usize,
    /// Longest text in tokens.
    pub max_positions: usize,
    /// Rows of the token-type table, 0 if there is none.
    pub token_types: usize,
    /// ε of every layer norm.
    pub norm_epsilon: f32,
}

/// A sane bound, so that a wild number is an error and not a wild allocation.
const MOST_LAYERS: usize = 1000;

/// A word piece between two special tokens.
const LEAST_POSITIONS: usize = 3;

#[derive(Deserialize)]
struct Raw {
    model_type: String,
    vocab_size: usize,
    #[serde(alias = "dim")]
    hidden_size: usize,
    #[serde(alias = "n_layers")]
    num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    layer_norm_eps: Option<f32>,
    #[serde(alias = "activation")]
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
}

impl Config {
    /// Reads `config.json` in a model's folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for sizes that make no model and for kinds of model,
    /// activation or position that are not implemented.
    pub fn load(folder: &Path) -> Result<Config> {
        let file = folder.join("config.json");
        let bad = |reason: String| Error::format(&file, reason);
        let raw: Raw = serde_json::from_str(&io::read_text(&file)?)
            .map_err(|error| bad(format!("want a model's config: {error}")))?;
        let architecture = match raw.model_type.as_str() {
            "bert" => Architecture::Bert,
            "distilbert" => Architecture::DistilBert,
            other => {
                return Err(bad(format!("want model_type bert or distilbert, got `{other}`")));
            }
        };
        if let Some(other) = raw.hidden_act.as_deref().filter(|&name| name != "gelu") {
            return Err(bad(format!("want hidden_act gelu, got `{other}`")));
        }
        let positions = raw.position_embedding_type.as_deref().unwrap_or("absolute");
        if positions != "absolute" {
            return Err(bad(format!("want position_embedding_type absolute, got `{positions}`")));
        }
        let config = Config {
            architecture,
            vocab_size: raw.vocab_size,
            hidden: raw.hidden_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            intermediate: raw.intermediate_size,
            max_positions: raw.max_position_embeddings,
            token_types: match architecture {
                Architecture::Bert => raw.type_vocab_size,
                Architecture::DistilBert => 0,
            },
            norm_epsilon: raw.layer_norm_eps.unwrap_or(1e-12),
        };
        let Config { vocab_size, hidden, heads, intermediate, max_positions, .. } = config;
        let sizes = [vocab_size, hidden, heads, intermediate, max_positions];
        let sound = !sizes.contains(&0) && config.layers <= MOST_LAYERS;
        if architecture == Architecture::Bert && config.token_types == 0 {
            return Err(bad("want type_vocab_size above 0, got 0".into()));
        }
        if max_positions < LEAST_POSITIONS {
            return Err(bad(format!(
                "want max_position_embeddings of {LEAST_POSITIONS} or more, got {max_positions}: a \
                 text has a special token at either end"
            )));
        }
        if !sound || !config.hidden.is_multiple_of(config.heads) {
            return Err(bad(format!(
                "want sizes above 0, heads that divide the hidden size and at most {MOST_LAYERS} \
                 layers, got {config:?}"
            )));
        }
        Ok(config)
    }

    /// Width of one attention head.
    pub fn head_width(&self) -> usize {
        self.hidden / self.heads
    }
}
