//! The document encoder as the stages above drive it: token ids in, sparse vectors out.

use super::{Activation, Checkpoint, Config, Cutoff, ModelDirectory, cpu::CpuEncoder};
use crate::{
    error::{Error, Result},
    sparse::SparseVector,
};

/// A model ready to encode documents.
pub struct SparseEncoder {
    engine: CpuEncoder,
    cutoff: Option<Cutoff>,
    /// The activation in force.
    pub activation: Activation,
    /// The longest document in tokens.
    pub max_tokens: usize,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// SHA-256 of the file of weights.
    pub sha256: String,
}

impl SparseEncoder {
    /// Loads a model; `activation` and `max_tokens` go before what its files say.
    ///
    /// # Errors
    /// As [`Checkpoint::load`]; [`Error::Usage`] for a length the model has no positions for.
    pub fn load(
        directory: &ModelDirectory,
        activation: Option<Activation>,
        max_tokens: Option<usize>,
    ) -> Result<SparseEncoder> {
        let Checkpoint { config, weights, sha256 } = Checkpoint::load(&directory.encoder)?;
        let Config { max_positions, vocab_size, .. } = config;
        let longest = directory.max_tokens.map_or(max_positions, |own| own.min(max_positions));
        let max_tokens = max_tokens.unwrap_or(longest);
        if max_tokens > max_positions {
            return Err(Error::Usage(format!(
                "--max-tokens: the model has {max_positions} positions, got {max_tokens}"
            )));
        }
        Ok(SparseEncoder {
            engine: CpuEncoder::new(config, weights),
            cutoff: directory.cutoff.clone(),
            activation: activation.or(directory.activation).unwrap_or(Activation::SPLADE),
            max_tokens,
            vocab_size,
            sha256,
        })
    }

    /// The weights of each document, in order, those that pass the model's threshold if it has one;
    /// see [`CpuEncoder::encode`].
    ///
    /// # Errors
    /// [`Error::Weight`] if the model yields a weight that is not finite.
    pub fn encode(&self, documents: &[&[u32]]) -> Result<Vec<SparseVector>> {
        let vectors = self.engine.encode(documents, self.activation)?;
        match &self.cutoff {
            Some(cutoff) => vectors.iter().map(|vector| cutoff.apply(vector)).collect(),
            None => Ok(vectors),
        }
    }
}
