//! The vocabulary head and the maximum over tokens as one operator: `[rows, V]` is never stored.

use candle_core::{DType, Result as Candle, Tensor};
use rayon::prelude::*;

use super::{
    Packing,
    cuda::{self, Starts},
    custom_op::{Value, custom_op, on_slices, with_numbers},
};
use crate::{
    error::Result,
    kernels::{
        packed::{Best, WIDTH},
        screen::{Int8Filter, Scratch, States},
        slices::{self, Into, View},
    },
};

/// Terms scored at a time on a processor, whole panels of the screen, and on another device.
const TILE: usize = 24 * WIDTH;
const DEVICE_TILE: usize = 4096;
/// The logit of a term that no token makes positive. Below 0, so that no gradient passes.
const NONE: f32 = -1.0;
/// Rows of short documents that are scored together: a product arranges the tile of W again each time.
const ROWS: usize = 512;

/// max over tokens of h Wᵀ + b: h `[rows, H]` packed, W `[V, H]`, b `[V]` → `[B, V]` pooled logits.
/// They are correct if above 0, which is all that an [activation](crate::sparse::Activation) uses; the
/// others are some number not above 0. NaN stays NaN.
///
/// Forward in tiles of the vocabulary with the winning token kept for each term; backward through
/// the winners alone: 2·B·V·H products instead of 4·rows·V·H, and terms without a gradient cost
/// nothing. Of equal logits the first token wins.
///
/// # Errors
/// [`crate::Error::Compute`]; a document without tokens is refused.
pub fn max_pool_head(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    packing: &Packing,
) -> Result<Tensor> {
    if packing.lengths().contains(&0) {
        return Err(candle_core::Error::Msg("head: a document without tokens".into()).into());
    }
    let shape = (packing.lengths().len(), weight.dim(0)?);
    if cuda::here(hidden) && weight.dim(1)?.is_multiple_of(2) {
        return on_kernels(&hidden.contiguous()?, weight, bias, packing);
    }
    let (value, winners) = if on_slices(hidden) {
        let (best, winners) = with_numbers([hidden, weight, bias], |[hidden, weight, bias]| {
            Tiles { hidden, weight, bias, packing }.forward()
        })?;
        (Value::Host(best), Winners::Host(winners))
    } else {
        let (best, winners) = on_device(hidden, weight, bias, packing)?;
        (Value::Tensor(best), Winners::Device(winners))
    };
    let packing = packing.clone();
    let backward = move |[hidden, weight, _]: [&Tensor; 3], gradient: &Tensor| match &winners {
        Winners::Host(winners) => backward(hidden, weight, gradient, winners, &packing),
        Winners::Device(winners) => device_backward(hidden, weight, gradient, winners),
    };
    Ok(custom_op("max_pool_head", [hidden, weight, bias], value, shape, Box::new(backward))?)
}

/// Products in the type of `hidden`; logits, maxima and the gradients of weight and bias in f32.
fn on_kernels(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    packing: &Packing,
) -> Result<Tensor> {
    let dtype = hidden.dtype();
    let starts = Starts::new(packing, hidden.device())?;
    let narrow = move |weight: &Tensor| weight.detach().to_dtype(dtype);
    let wide_bias = bias.detach().to_dtype(DType::F32)?;
    let own = narrow(weight)?;
    let (best, winners) =
        cuda::max_pool_head_with_winners(&hidden.detach(), &own, &wide_bias, &starts)?;
    let shape = best.shape().clone();
    let backward = move |[hidden, weight, _]: [&Tensor; 3], gradient: &Tensor| {
        let gradient = gradient.contiguous()?;
        let [dhidden, dw, db] =
            cuda::max_pool_head_backward(&gradient, &winners, hidden, &narrow(weight)?)?;
        Ok([dhidden.to_dtype(dtype)?, dw, db])
    };
    let inputs = [hidden, weight, bias];
    Ok(custom_op("max_pool_head", inputs, Value::Tensor(best), shape, Box::new(backward))?)
}

/// `[B, V]`: the packed row that gave each pooled logit.
enum Winners {
    Host(Vec<u32>),
    Device(Tensor),
}

/// `[B, width]` of logits and of winning rows for some of the terms.
type Tile = (Vec<f32>, Vec<u32>);

struct Tiles<'a> {
    hidden: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    packing: &'a Packing,
}

impl Tiles<'_> {
    fn forward(&self) -> (Vec<f32>, Vec<u32>) {
        let (terms, documents) = (self.bias.len(), self.packing.lengths().len());
        let screen = Int8Filter::new(self.weight, self.bias);
        let froms: Vec<usize> = (0..terms).step_by(TILE).collect();
        let width = |from: usize| TILE.min(terms - from);
        let froms = froms.into_par_iter();
        let tiles: Vec<Tile> = if screen.is_of_use() {
            let states = self.states(&screen);
            froms
                .map_init(Scratch::default, |scratch, from| {
                    self.screened(&screen, &states, from, width(from), scratch)
                })
                .collect()
        } else {
            froms
                .map_init(Vec::new, |scratch, from| self.tile(from, width(from), scratch))
                .collect()
        };
        let (mut best, mut winners) = (vec![0.0; documents * terms], vec![0; documents * terms]);
        let rows = best.par_chunks_exact_mut(terms).zip(winners.par_chunks_exact_mut(terms));
        rows.enumerate().for_each(|(document, (best, winners))| {
            for (from, (logits, rows)) in (0..).step_by(TILE).zip(&tiles) {
                let width = TILE.min(terms - from);
                let part = document * width..(document + 1) * width;
                best[from..from + width].copy_from_slice(&logits[part.clone()]);
                winners[from..from + width].copy_from_slice(&rows[part]);
            }
        });
        (best, winners)
    }

    fn hidden_size(&self) -> usize {
        self.weight.len() / self.bias.len()
    }

    fn states(&self, screen: &Int8Filter) -> Vec<States> {
        let documents: Vec<_> = self.packing.documents().map(|(_, rows)| rows).collect();
        let h = self.hidden_size();
        let states = documents
            .into_par_iter()
            .map(|rows| screen.states(self.hidden[rows.start * h..rows.end * h].to_vec()));
        states.collect()
    }

    /// The terms `from .. from + width`. The bias does not depend on the token, so it is added
    /// afterwards.
    fn screened(
        &self,
        screen: &Int8Filter,
        states: &[States],
        from: usize,
        width: usize,
        scratch: &mut Scratch,
    ) -> Tile {
        let h = self.hidden_size();
        let (weight, bias) = (&self.weight[from * h..][..width * h], &self.bias[from..]);
        let (mut logits, mut winners) =
            (vec![0.0; states.len() * width], vec![0; states.len() * width]);
        let parts = logits.chunks_exact_mut(width).zip(winners.chunks_exact_mut(width));
        let documents = states.iter().zip(self.packing.documents());
        for ((states, (_, rows)), (logits, winners)) in documents.zip(parts) {
            let best = Best { values: &mut *logits, tokens: &mut *winners };
            screen.largest(states, from / WIDTH, weight, best, scratch);
            for ((logit, winner), bias) in logits.iter_mut().zip(winners).zip(bias) {
                // −∞ if nothing is above 0; NaN stays NaN
                *logit = if *logit == f32::NEG_INFINITY { NONE } else { *logit + bias };
                *winner += rows.start as u32;
            }
        }
        (logits, winners)
    }

    /// The same with every product computed: where the processor has no instructions for the screen, and
    /// for weights that are no numbers or too large for it.
    fn tile(&self, from: usize, width: usize, scratch: &mut Vec<f32>) -> Tile {
        let h = self.hidden_size();
        let weight = View::whole(&self.weight[from * h..][..width * h], h);
        let documents = self.packing.lengths().len();
        let (mut best, mut winners) =
            (vec![f32::NEG_INFINITY; documents * width], vec![0; documents * width]);
        let documents: Vec<_> = self.packing.documents().map(|(_, rows)| rows).collect();
        for group in self.packing.groups(ROWS) {
            let rows = documents[group.start].start..documents[group.end - 1].end;
            scratch.resize(rows.len() * width, 0.0);
            let states = View::whole(&self.hidden[rows.start * h..rows.end * h], h);
            slices::times_transposed(states, weight, scratch, width, Into::Overwrite);
            for document in group {
                let own = &documents[document];
                let logits = &scratch[(own.start - rows.start) * width..][..own.len() * width];
                let target = document * width..(document + 1) * width;
                let (best, winners) = (&mut best[target.clone()], &mut winners[target]);
                slices::maxima_and_rows(best, winners, logits, own.start as u32);
                let bias = &self.bias[from..];
                best.iter_mut().zip(bias).for_each(|(best, bias)| *best += bias);
            }
        }
        (best, winners)
    }
}

/// dh = Σ over terms g W at the winner, dW = Σ over documents g h of the winner, db = Σ g.
fn backward(
    hidden: &Tensor,
    weight: &Tensor,
    gradient: &Tensor,
    winners: &[u32],
    packing: &Packing,
) -> Candle<[Tensor; 3]> {
    let (terms, h) = weight.dims2()?;
    let (dh, dw, db) = with_numbers([hidden, weight, gradient], |[hidden, weight, g]| {
        // the rows of different documents are different, so each document writes its own
        let mut dh = vec![0.0; hidden.len()];
        let firsts = packing.documents().map(|(_, rows)| rows.start);
        let parts: Vec<_> = packing.split_mut(&mut dh, h).into_iter().zip(firsts).collect();
        let rows = g.par_chunks_exact(terms).zip(winners.par_chunks_exact(terms));
        parts.into_par_iter().zip(rows).for_each(|(((_, dh), first), (g, winners))| {
            of_document(dh, g, winners, first, weight, h);
        });
        let mut dw = vec![0.0; weight.len()];
        let mut db = vec![0.0; terms];
        dw.par_chunks_mut(h).zip(&mut db).enumerate().for_each(|(term, (dw, db))| {
            for (g, winners) in g.chunks_exact(terms).zip(winners.chunks_exact(terms)) {
                if g[term] != 0.0 {
                    *db += g[term];
                    slices::add_scaled(dw, g[term], &hidden[winners[term] as usize * h..][..h]);
                }
            }
        });
        (dh, dw, db)
    })?;
    let device = hidden.device();
    Ok([
        Tensor::from_vec(dh, hidden.shape(), device)?,
        Tensor::from_vec(dw, weight.shape(), device)?,
        Tensor::from_vec(db, terms, device)?,
    ])
}

/// The gradients `[T, H]` of the rows of one document, the first of which is `first`.
fn of_document(dh: &mut [f32], g: &[f32], winners: &[u32], first: usize, weight: &[f32], h: usize) {
    for ((term, &g), &row) in g.iter().enumerate().zip(winners).filter(|((_, g), _)| **g != 0.0) {
        let sum = &mut dh[(row as usize - first) * h..][..h];
        slices::add_scaled(sum, g, &weight[term * h..][..h]);
    }
}

/// The same with a tile's logits on any device, outside the graph.
fn on_device(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    packing: &Packing,
) -> Candle<(Tensor, Tensor)> {
    let (hidden, device) = (hidden.detach(), hidden.device());
    let (documents, width) = (packing.lengths().len(), packing.widest());
    let cells = packing.padded(device).map_err(message)?;
    let padding = packing.padding(device).map_err(message)?.unsqueeze(2)?;
    // winners are chosen among logits that are not rounded
    let wide = if hidden.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let padded = hidden.index_select(&cells, 0)?.to_dtype(wide)?;
    let (mut best, mut winners) = (Vec::new(), Vec::new());
    let terms = weight.dim(0)?;
    for from in (0..terms).step_by(DEVICE_TILE) {
        let size = DEVICE_TILE.min(terms - from);
        let tile = weight.detach().narrow(0, from, size)?.to_dtype(wide)?;
        let logits = padded.matmul(&tile.t()?)?.reshape((documents, width, size))?;
        let logits = logits.broadcast_add(&padding.to_dtype(wide)?)?;
        let winner = logits.argmax_keepdim(1)?;
        let bias = bias.detach().narrow(0, from, size)?.to_dtype(logits.dtype())?;
        best.push(logits.gather(&winner, 1)?.squeeze(1)?.broadcast_add(&bias)?);
        winners.push(winner.squeeze(1)?);
    }
    let best = Tensor::cat(&best, 1)?;
    let first = packing.documents().map(|(_, rows)| rows.start as u32);
    let first = Tensor::from_iter(first, device)?.unsqueeze(1)?;
    Ok((best, Tensor::cat(&winners, 1)?.broadcast_add(&first)?))
}

fn device_backward(
    hidden: &Tensor,
    weight: &Tensor,
    gradient: &Tensor,
    winners: &Tensor,
) -> Candle<[Tensor; 3]> {
    let (terms, h) = weight.dims2()?;
    let narrow = gradient.to_dtype(weight.dtype())?;
    let mut dh = hidden.zeros_like()?.to_dtype(weight.dtype())?;
    let mut dw = Vec::new();
    for from in (0..terms).step_by(DEVICE_TILE) {
        let size = DEVICE_TILE.min(terms - from);
        let tile = weight.narrow(0, from, size)?;
        let mut sum = tile.zeros_like()?;
        for document in 0..gradient.dim(0)? {
            let rows = winners.get(document)?.narrow(0, from, size)?;
            let g = narrow.get(document)?.narrow(0, from, size)?.unsqueeze(1)?;
            dh = dh.index_add(&rows, &tile.broadcast_mul(&g)?, 0)?;
            let states = hidden.index_select(&rows, 0)?.to_dtype(weight.dtype())?;
            sum = (sum + states.broadcast_mul(&g)?)?;
        }
        dw.push(sum);
    }
    let dw = Tensor::cat(&dw, 0)?.reshape((terms, h))?;
    Ok([dh.to_dtype(hidden.dtype())?, dw, narrow.sum(0)?])
}

fn message(error: crate::Error) -> candle_core::Error {
    candle_core::Error::Msg(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{
        custom_op::tests::{check_same, random},
        linear, max_over_tokens,
    };

    #[test]
    fn the_head_in_tiles_is_the_head_by_its_parts() {
        let packing = Packing::new(vec![4, 1, 6], 0);
        for width in [5, 6] {
            let inputs = [random(&[11, width], 1), random(&[700, width], 2), random(&[700], 3)];
            check_same(&inputs, |[h, w, b]| above_zero(max_pool_head(h, w, b, &packing)?));
            check_same(&inputs, |[h, w, b]| match h.dtype() == DType::F64 {
                true => above_zero(max_over_tokens(&linear(h, w, b)?, &packing)?),
                false => above_zero(max_pool_head(h, w, b, &packing)?),
            });
        }
    }

    #[test]
    fn documents_that_are_scored_together_keep_their_own_maxima() {
        let packing = Packing::new(vec![400, 200, 3], 0);
        assert!(packing.groups(ROWS).len() == 2);
        let inputs = [random(&[603, 5], 1), random(&[300, 5], 2), random(&[300], 3)];
        check_same(&inputs, |[h, w, b]| above_zero(max_pool_head(h, w, b, &packing)?));
    }

    /// `tile`, which a processor with a screen would not reach, against `screened`.
    #[test]
    fn the_screen_and_all_products_choose_the_same_winners() {
        let packing = Packing::new(vec![40, 1, 26], 0);
        let inputs = [random(&[67, 48], 1), random(&[800, 48], 2), random(&[800], 3)];
        let inputs = inputs.map(|input| input.to_dtype(DType::F32).unwrap());
        with_numbers(inputs.each_ref(), |[hidden, weight, bias]| {
            let tiles = Tiles { hidden, weight, bias, packing: &packing };
            let screen = Int8Filter::new(weight, bias);
            let states = tiles.states(&screen);
            for from in (0..800).step_by(TILE) {
                let width = TILE.min(800 - from);
                let screened =
                    tiles.screened(&screen, &states, from, width, &mut Scratch::default());
                let all = tiles.tile(from, width, &mut Vec::new());
                for at in (0..all.0.len()).filter(|&at| all.0[at] > 1e-4) {
                    assert!((screened.0[at] - all.0[at]).abs() < 1e-4);
                    assert_eq!(screened.1[at], all.1[at]);
                }
            }
        })
        .unwrap();
    }

    fn above_zero(logits: Tensor) -> Result<Tensor> {
        Ok(logits.relu()?)
    }

    #[test]
    fn a_document_without_tokens_is_refused() {
        let [h, w, b] = [random(&[2, 5], 1), random(&[7, 5], 2), random(&[7], 3)];
        let error = max_pool_head(&h, &w, &b, &Packing::new(vec![2, 0], 0)).unwrap_err();
        assert!(error.to_string().contains("without tokens"));
    }
}
