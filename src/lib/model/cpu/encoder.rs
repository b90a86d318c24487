//! Documents to weights on the processor.

use rayon::prelude::*;

use crate::{
    error::Result,
    model::{Activation, Config, Layer, Linear, Norm, Weights},
    ops::slices::{Into, View, gelu, layer_norm, maxima, softmax, times, times_transposed},
    sparse::{SparseVector, TermId},
};

/// Terms of the vocabulary that are scored at a time: with H = 384 a tile stays in a core's cache.
const TILE: usize = 512;

/// A masked-language model that turns token ids into sparse vectors.
pub struct CpuEncoder {
    config: Config,
    weights: Weights,
    layers: Vec<Fused>,
}

/// A layer whose query, key and value are one product.
struct Fused {
    /// `[3H, H]`
    query_key_value: Linear,
    rest: Layer,
}

impl CpuEncoder {
    /// From a checkpoint's parts.
    pub fn new(config: Config, mut weights: Weights) -> CpuEncoder {
        let layers = std::mem::take(&mut weights.layers).into_iter().map(fuse).collect();
        CpuEncoder { config, weights, layers }
    }

    /// The weights of each document: `documents` are token ids, special ones included, each at most
    /// as long as the model reads.
    ///
    /// max over tokens of the logits, then the activation (paper.md 1.1). Special tokens take part
    /// in the maximum, as in the released code. A document without tokens has no weights.
    ///
    /// # Errors
    /// [`crate::Error::Weight`] if the model yields a weight that is not finite.
    pub fn encode(
        &self,
        documents: &[&[u32]],
        activation: Activation,
    ) -> Result<Vec<SparseVector>> {
        let hidden: Vec<Vec<f32>> = documents.par_iter().map(|ids| self.transformed(ids)).collect();
        let terms = self.config.vocab_size;
        let tiles: Vec<Vec<f32>> = (0..terms.div_ceil(TILE))
            .into_par_iter()
            .map_init(Vec::new, |scratch, tile| {
                let from = tile * TILE;
                self.tile_logits(&hidden, from, TILE.min(terms - from), scratch)
            })
            .collect();
        let vector = |document: usize| {
            let logits = (0..).step_by(TILE).zip(&tiles).flat_map(|(from, tile)| {
                let width = TILE.min(terms - from);
                (from as u32..).map(TermId).zip(tile[document * width..][..width].iter().copied())
            });
            activation.vector(logits)
        };
        (0..documents.len()).into_par_iter().map(vector).collect()
    }

    /// `[documents, width]`: the largest logit over the tokens of each document for the terms
    /// `from .. from + width`. The bias does not depend on the token, so it is added afterwards.
    fn tile_logits(
        &self,
        hidden: &[Vec<f32>],
        from: usize,
        width: usize,
        scratch: &mut Vec<f32>,
    ) -> Vec<f32> {
        let h = self.config.hidden;
        let rows = View::whole(&self.weights.decoder().data[from * h..][..width * h], h);
        let bias = &self.weights.decoder_bias[from..][..width];
        let mut best = vec![f32::NEG_INFINITY; hidden.len() * width];
        for (states, best) in hidden.iter().zip(best.chunks_exact_mut(width)) {
            let length = states.len() / h;
            scratch.resize(length * width, 0.0);
            times_transposed(View::whole(states, h), rows, scratch, width, Into::Overwrite);
            maxima(best, scratch);
            best.iter_mut().zip(bias).for_each(|(best, bias)| *best += bias);
        }
        best
    }

    /// `[T, H]`: the hidden states after the head's transform, ready for the decoder.
    fn transformed(&self, ids: &[u32]) -> Vec<f32> {
        if ids.is_empty() {
            return Vec::new();
        }
        let states = self.hidden_states(ids);
        let mut out = linear(&states, &self.weights.head);
        gelu(&mut out);
        self.norm(&mut out, &self.weights.head_norm);
        out
    }

    /// `[T, H]`: the last layer's hidden states.
    pub fn hidden_states(&self, ids: &[u32]) -> Vec<f32> {
        let Weights { words, positions, token_types, embedding_norm, .. } = &self.weights;
        let mut x = Vec::with_capacity(ids.len() * self.config.hidden);
        for (at, &id) in ids.iter().enumerate() {
            let parts =
                words.row(id as usize).iter().zip(token_types.row(0)).zip(positions.row(at));
            x.extend(parts.map(|((word, kind), position)| word + kind + position));
        }
        self.norm(&mut x, embedding_norm);
        self.layers.iter().fold(x, |x, layer| self.layer(x, layer))
    }

    fn layer(&self, x: Vec<f32>, layer: &Fused) -> Vec<f32> {
        let context = self.attention(&x, &layer.query_key_value);
        let mut x = linear_onto(x, &context, &layer.rest.attention_out);
        self.norm(&mut x, &layer.rest.attention_norm);
        let mut wide = linear(&x, &layer.rest.up);
        gelu(&mut wide);
        let mut x = linear_onto(x, &wide, &layer.rest.down);
        self.norm(&mut x, &layer.rest.out_norm);
        x
    }

    /// softmax(Q Kᵀ / √d) V for each head, `[T, H]`.
    fn attention(&self, x: &[f32], query_key_value: &Linear) -> Vec<f32> {
        let (h, d) = (self.config.hidden, self.config.head_width());
        let length = x.len() / h;
        let all = linear(x, query_key_value); // [T, 3H]
        let mut scores = vec![0.0; length * length];
        let mut context = vec![0.0; length * h];
        for head in 0..self.config.heads {
            let part = |which: usize| View::part(&all, 3 * h, which * h + head * d, d);
            times_transposed(part(0), part(1), &mut scores, length, Into::Overwrite);
            softmax(&mut scores, length, 1.0 / (d as f32).sqrt());
            let target = &mut context[head * d..];
            times(View::whole(&scores, length), part(2), target, h, Into::Overwrite);
        }
        context
    }

    fn norm(&self, x: &mut [f32], norm: &Norm) {
        layer_norm(x, &norm.weight, &norm.bias, self.config.norm_epsilon);
    }
}

fn fuse(mut layer: Layer) -> Fused {
    let mut all = Linear::default();
    for part in std::mem::take(&mut layer.query_key_value) {
        all.weight.columns = part.weight.columns;
        all.weight.data.extend(part.weight.data);
        all.bias.extend(part.bias);
    }
    Fused { query_key_value: all, rest: layer }
}

/// x Wᵀ + b, `[T, out]`; the target begins as the bias.
fn linear(x: &[f32], layer: &Linear) -> Vec<f32> {
    let rows = x.len() / layer.weight.columns;
    let mut out = layer.bias.repeat(rows);
    add_product(x, layer, &mut out);
    out
}

/// residual + x Wᵀ + b, `[T, out]`; the target begins as residual and bias.
fn linear_onto(mut residual: Vec<f32>, x: &[f32], layer: &Linear) -> Vec<f32> {
    for row in residual.chunks_exact_mut(layer.bias.len()) {
        row.iter_mut().zip(&layer.bias).for_each(|(value, bias)| *value += bias);
    }
    add_product(x, layer, &mut residual);
    residual
}

fn add_product(x: &[f32], layer: &Linear, out: &mut [f32]) {
    let columns = layer.weight.columns;
    let weight = View::whole(&layer.weight.data, columns);
    times_transposed(View::whole(x, columns), weight, out, layer.bias.len(), Into::Add);
}
