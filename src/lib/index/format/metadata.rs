//! What an index says about itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{calibration::Calibration, quantize::Weights};
use crate::vectors::VectorMeta;

/// A summary of an index, in its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Fingerprint of the vocabulary.
    pub vocabulary: String,
    /// What made the vectors, if they say.
    pub encoding: Option<Encoding>,
    /// Where the query weights came from, for people.
    pub query_weights: String,
    /// How weights are stored.
    pub weights: Weights,
    /// Number of documents.
    pub docs: u32,
    /// Number of terms in the vocabulary.
    pub vocabulary_size: usize,
    /// Number of postings.
    pub postings: u64,
    /// How much the order of the documents saves, if it is not the one of the input.
    pub order: Option<Gain>,
    /// What approximate search costs in recall, if it was measured.
    pub calibration: Option<Calibration>,
}

/// How good an order is: the mean of log₂(gap) over all postings, where the gap is the distance to the
/// previous posting of the list.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// In the order of the input.
    pub given: f64,
    /// In the order of the index.
    pub stored: f64,
}

/// What made vectors: only vectors of one encoding have comparable scores. A network is identified by its
/// hash, whatever its folder was called; an encoder without a hash by its name.
#[derive(Clone, Debug, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// The model's name.
    pub model: String,
    /// SHA-256 of its weights; `None` for BM25.
    pub model_sha256: Option<String>,
    /// The activation that made weights from logits, or BM25's parameters.
    pub activation: String,
    /// Longest text that is read, in tokens.
    pub max_tokens: Option<usize>,
    /// The pruning rule.
    pub prune: String,
}

impl PartialEq for Encoding {
    fn eq(&self, other: &Encoding) -> bool {
        let Encoding { model, model_sha256, activation, max_tokens, prune } = self;
        (model_sha256.is_some() || *model == other.model)
            && *model_sha256 == other.model_sha256
            && *activation == other.activation
            && *max_tokens == other.max_tokens
            && *prune == other.prune
    }
}

impl From<&VectorMeta> for Encoding {
    fn from(meta: &VectorMeta) -> Encoding {
        Encoding {
            model: meta.model.clone(),
            model_sha256: meta.model_sha256.clone(),
            activation: meta.activation.clone(),
            max_tokens: meta.max_tokens,
            prune: meta.prune.clone(),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.model)?;
        if let Some(hash) = &self.model_sha256 {
            write!(f, " (SHA-256 {:.12}…)", hash)?;
        }
        write!(f, ", activation {}, prune {}", self.activation, self.prune)?;
        match self.max_tokens {
            Some(tokens) => write!(f, ", {tokens} tokens"),
            None => Ok(()),
        }
    }
}

/// An encoding as text.
pub(in crate::index) fn describe(encoding: &Option<Encoding>) -> String {
    encoding.as_ref().map_or_else(|| "unknown".to_owned(), Encoding::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_known_by_its_hash_and_what_has_none_by_its_name() {
        let of = |model: &str, hash: Option<&str>, prune: &str| Encoding {
            model: model.into(),
            model_sha256: hash.map(str::to_owned),
            activation: "log1p:2".into(),
            max_tokens: Some(256),
            prune: prune.into(),
        };
        assert_eq!(of("l0-tiny", Some("a"), "none"), of("model", Some("a"), "none"));
        assert_ne!(of("model", Some("a"), "none"), of("model", Some("b"), "none"));
        assert_ne!(of("model", Some("a"), "none"), of("model", Some("a"), "top_k:5"));
        assert_ne!(of("bm25", None, "none"), of("other", None, "none"));
        assert_ne!(of("model", None, "none"), of("model", Some("a"), "none"));
    }
}
