//! The vocabulary head: hidden states are pooled before the decoder, which runs once per document.
//!
//! logits = D · m(n(f(pool(states)))) + b, with f the dense maps of a sentence encoder, n its
//! normalisation and m an optional linear map in front of a low-rank or tied decoder D. Source:
//! `docs/method.md`, "The vocabulary head".

use serde::{Deserialize, Serialize};

use super::{Linear, Matrix};
use crate::{
    kernels::packed::{Finish, Kind, PackedLinear},
    nn::Pooling,
};

/// Where `config.json` describes a [`VocabularyHead`].
pub const HEAD_KEY: &str = "l0_head";

/// What follows a linear map of a sentence encoder's `Dense` module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Squash {
    /// Nothing.
    Identity,
    /// tanh
    Tanh,
}

/// Whether a pooled vector is brought to length 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Unchanged.
    Free,
    /// x / max(‖x‖, 1e-12), as PyTorch's `normalize`.
    One,
}

/// From the hidden states of a text to one vector, as a sentence encoder does it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pooled {
    /// From `[T, H]` to `[H]`.
    pub pooling: Pooling,
    /// One linear map for each, `head.dense.N.weight` and `.bias`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dense: Vec<DenseSize>,
    /// After the maps.
    pub length: Length,
}

/// A vocabulary head as `config.json` describes it, under the key `l0_head`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VocabularyHead {
    /// From hidden states to a vector.
    pub pooled: Pooled,
    /// Numbers that `head.map.weight` gives, if there is one: the rank of the decoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Where the decoder's rows are.
    pub decoder: DecoderRows,
}

/// One linear map.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DenseSize {
    /// Numbers it gives.
    pub outputs: usize,
    /// What follows it.
    pub squash: Squash,
}

/// Where the decoder's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoderRows {
    /// `decoder.weight`, `[V, rank]` or `[V, width]`.
    Own,
    /// The word embeddings, `[V, H]`; `rank` is H then.
    Tied,
}

impl Pooled {
    /// Numbers of the vector.
    pub fn width(&self, hidden: usize) -> usize {
        self.dense.last().map_or(hidden, |last| last.outputs)
    }
}

impl VocabularyHead {
    /// A head with rows of its own after a pooling.
    pub fn of(pooled: Pooled) -> VocabularyHead {
        VocabularyHead { pooled, rank: None, decoder: DecoderRows::Own }
    }

    /// Columns of the decoder.
    pub fn columns(&self, hidden: usize) -> usize {
        self.rank.unwrap_or_else(|| self.pooled.width(hidden))
    }

    /// The fault in the sizes, if any.
    pub(super) fn check(&self, hidden: usize) -> Result<(), String> {
        let zero = self.pooled.dense.iter().any(|dense| dense.outputs == 0) || self.rank == Some(0);
        if zero {
            return Err("l0_head: expected outputs and rank above 0, found 0".into());
        }
        if self.decoder == DecoderRows::Tied && self.columns(hidden) != hidden {
            return Err(format!(
                "l0_head: a tied decoder takes {hidden} numbers, found {}",
                self.columns(hidden)
            ));
        }
        Ok(())
    }
}

/// One vector from hidden states, on slices.
pub(super) struct Pooler {
    pooled: Pooled,
    dense: Vec<PackedLinear>,
}

impl Pooler {
    /// `dense` are the maps of [`Pooled::dense`].
    pub fn new(kind: Kind, pooled: Pooled, dense: Vec<Linear>) -> Pooler {
        let pack = |Linear { weight, bias }| {
            let Matrix { data, columns } = weight;
            PackedLinear::new(kind, &data, columns, bias)
        };
        Pooler { pooled, dense: dense.into_iter().map(pack).collect() }
    }

    /// Whether its vectors have length 1.
    pub fn length(&self) -> Length {
        self.pooled.length
    }

    /// `[width]` from the hidden states `[T, H]` of a text, T above 0.
    pub fn vector(&self, states: &[f32], hidden: usize) -> Vec<f32> {
        let mut vector = pool(self.pooled.pooling, states, hidden);
        for (dense, size) in self.dense.iter().zip(&self.pooled.dense) {
            vector = applied(dense, &vector);
            if size.squash == Squash::Tanh {
                vector.iter_mut().for_each(|number| *number = number.tanh());
            }
        }
        if self.pooled.length == Length::One {
            normalize(&mut vector);
        }
        vector
    }
}

pub(super) fn applied(map: &PackedLinear, vector: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; map.outputs()];
    map.apply(vector, &mut out, Finish::Overwrite);
    out
}

/// `[width]` from the rows of `[T, width]`; sums run in f32, in the order of the rows.
fn pool(pooling: Pooling, states: &[f32], width: usize) -> Vec<f32> {
    let rows = states.chunks_exact(width.max(1));
    let count = rows.len() as f32;
    match pooling {
        Pooling::Cls => states[..width].to_vec(),
        Pooling::Mean => {
            let mut sum = vec![0.0; width];
            rows.for_each(|row| sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value));
            sum.iter_mut().for_each(|sum| *sum /= count);
            sum
        }
        Pooling::Max => {
            let mut largest = vec![f32::NEG_INFINITY; width];
            for row in rows {
                largest
                    .iter_mut()
                    .zip(row)
                    .for_each(|(largest, value)| *largest = largest.max(*value));
            }
            largest
        }
    }
}

/// x / max(‖x‖, 1e-12), as PyTorch's `normalize`.
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|value| *value /= length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_pooled_in_three_ways() {
        let states = [1.0, 2.0, 5.0, -6.0];
        assert_eq!(pool(Pooling::Mean, &states, 2), [3.0, -2.0]);
        assert_eq!(pool(Pooling::Cls, &states, 2), [1.0, 2.0]);
        assert_eq!(pool(Pooling::Max, &states, 2), [5.0, 2.0]);
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        normalize(&mut [0.0]);
    }
}
