//! The variables of a head, and the arithmetic of a vocabulary head with gradients.

use candle_core::{DType, Device, Tensor, Var};

use super::variables::{LinearVars, Names, NormVars, matrix};
use crate::{
    error::Result,
    model::{
        Config, HasBias, HeadParts, Length, Pooled, Squash,
        names::{MAP, OuterNames, dense},
    },
    nn::{self, Packing},
};

/// What lies between hidden states and decoder.
pub(super) enum HeadVars {
    None,
    MaskedLanguage { transform: LinearVars, norm: NormVars },
    Vocabulary(VocabularyVars),
}

/// A vocabulary head.
pub(super) struct VocabularyVars {
    pooled: Pooled,
    dense: Vec<LinearVars>,
    map: Option<Var>,
    /// `[rank]`, the bias that the map does not have.
    zeros: Tensor,
}

impl HeadVars {
    pub fn new(parts: HeadParts, config: &Config, device: &Device) -> Result<HeadVars> {
        let biases = config.form.biases;
        Ok(match (parts, &config.vocabulary_head) {
            (HeadParts::MaskedLanguage { transform, norm }, _) => HeadVars::MaskedLanguage {
                transform: LinearVars::new(transform, biases.head, device)?,
                norm: NormVars::new(norm, biases.norms, device)?,
            },
            (HeadParts::Vocabulary { dense, map }, Some(head)) => {
                let dense = dense.into_iter();
                let dense = dense.map(|part| LinearVars::new(part, HasBias::Yes, device));
                HeadVars::Vocabulary(VocabularyVars {
                    pooled: head.pooled.clone(),
                    dense: dense.collect::<Result<_>>()?,
                    map: map.map(|map| matrix(map, device)).transpose()?,
                    zeros: Tensor::zeros(head.columns(config.hidden), DType::F32, device)?,
                })
            }
            (HeadParts::None, _) | (HeadParts::Vocabulary { .. }, None) => HeadVars::None,
        })
    }

    pub fn name<'a>(&'a self, all: &mut Names<'a>, names: &OuterNames) {
        match self {
            HeadVars::None => {}
            HeadVars::MaskedLanguage { transform, norm } => {
                transform.name(all, names.head);
                norm.name(all, names.head_norm);
            }
            HeadVars::Vocabulary(head) => {
                for (at, map) in head.dense.iter().enumerate() {
                    map.name(all, &dense(at));
                }
                if let Some(map) = &head.map {
                    all.push((MAP.to_owned(), map));
                }
            }
        }
    }
}

impl VocabularyVars {
    /// `[B, width]` in f32 from packed hidden states `[rows, H]`.
    pub fn pooled(&self, hidden: &Tensor, packing: &Packing) -> Result<Tensor> {
        let mut x = nn::pool(hidden, packing, self.pooled.pooling)?.to_dtype(DType::F32)?;
        for (map, size) in self.dense.iter().zip(&self.pooled.dense) {
            x = map.of(&x)?;
            if size.squash == Squash::Tanh {
                x = x.tanh()?;
            }
        }
        match self.pooled.length {
            Length::Free => Ok(x),
            Length::One => nn::normalize(&x),
        }
    }

    /// The decoder's input: `[B, columns]`.
    pub fn mapped(&self, pooled: &Tensor) -> Result<Tensor> {
        match &self.map {
            Some(map) => nn::linear(pooled, map, &self.zeros),
            None => Ok(pooled.clone()),
        }
    }
}
