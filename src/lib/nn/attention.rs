//! Attention over packed documents: every document sees itself, or each token a window of it, and on a
//! processor no padding is computed.

use std::ops::Range;

use candle_core::{D, DType, Device, Result as Candle, Tensor};
use rayon::prelude::*;

use super::{
    AttentionContext, Dropout, Packing, Span,
    cuda::{self, Starts, Thinning},
    custom_op::{Value, custom_op, on_slices, with_numbers},
};
use crate::{
    error::Result,
    kernels::{
        gradients,
        slices::{self, Into, View},
    },
};

/// softmax(Q Kᵀ / √d) V for each of `heads` heads and each document; Q, K, V `[rows, H]` packed,
/// d = H / heads → `[rows, H]`. Probabilities are dropped out after the softmax, as in BERT.
///
/// A bias is added to the scores by candle's operators, on a processor too, and so is a window on a CUDA
/// device: there are no kernels for them.
///
/// # Errors
/// [`crate::Error::Compute`].
pub fn attention(
    [query, key, value]: [&Tensor; 3],
    packing: &Packing,
    heads: usize,
    sight: AttentionContext,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let dropout = dropout.filter(|dropout| !dropout.is_off());
    let span = sight.span.within(packing.widest());
    if cuda::here(query) && span == Span::All && sight.bias.is_none() {
        let inputs = [&query.contiguous()?, &key.contiguous()?, &value.contiguous()?];
        return on_device(inputs, packing, heads, dropout);
    }
    if !on_slices(query) || sight.bias.is_some() {
        let sight = AttentionContext { span, ..sight };
        return plain([query, key, value], packing, heads, sight, dropout);
    }
    let shape = Shape { width: query.dim(1)?, heads, span };
    let mut context = vec![0.0; query.elem_count()];
    let targets = packing.split_mut(&mut context, shape.width);
    with_numbers([query, key, value], |all| {
        let documents: Vec<_> = packing.documents().collect();
        let document = |((number, rows), (_, context)): ((usize, Range<usize>), (_, _))| {
            let all = all.map(|x| &x[rows.start * shape.width..rows.end * shape.width]);
            shape.forward(all, context, number, dropout);
        };
        documents.into_par_iter().zip(targets).for_each(document);
    })?;
    let packing = packing.clone();
    let backward = move |inputs: [&Tensor; 3], gradient: &Tensor| {
        shape.backward(inputs, gradient, &packing, dropout)
    };
    let inputs = [query, key, value];
    Ok(custom_op("attention", inputs, Value::Host(context), query.shape(), Box::new(backward))?)
}

#[derive(Clone, Copy)]
struct Shape {
    width: usize,
    heads: usize,
    span: Span,
}

impl Shape {
    fn head(self) -> usize {
        self.width / self.heads
    }

    fn scale(self) -> f32 {
        1.0 / (self.head() as f32).sqrt()
    }

    /// Columns of one head.
    fn part(self, x: &[f32], head: usize) -> View<'_> {
        View::part(x, self.width, head * self.head(), self.head())
    }

    /// `[heads, T, T]` before dropout. They are recomputed in the backward pass: kept, they would be
    /// the largest part of a step's memory.
    fn probabilities(self, query: &[f32], key: &[f32]) -> Vec<f32> {
        let length = query.len() / self.width;
        let mut probabilities = vec![0.0; self.heads * length * length];
        for (head, square) in probabilities.chunks_exact_mut(length * length).enumerate() {
            let (query, key) = (self.part(query, head), self.part(key, head));
            slices::times_transposed(query, key, square, length, Into::Overwrite);
            self.hide(square, length);
            slices::softmax(square, length, self.scale());
        }
        probabilities
    }

    /// Scores outside the window become −∞.
    fn hide(self, square: &mut [f32], length: usize) {
        if self.span == Span::All {
            return;
        }
        for (place, row) in square.chunks_exact_mut(length).enumerate() {
            let seen = self.span.of(place..place + 1, length);
            row[..seen.start].fill(f32::NEG_INFINITY);
            row[seen.end..].fill(f32::NEG_INFINITY);
        }
    }

    /// Writes the context of one document `[T, H]`.
    fn forward(
        self,
        [query, key, value]: [&[f32]; 3],
        context: &mut [f32],
        document: usize,
        dropout: Option<Dropout>,
    ) {
        let length = query.len() / self.width;
        let probabilities = self.probabilities(query, key);
        let kept = thinned(&probabilities, document, dropout);
        let used = kept.as_deref().unwrap_or(&probabilities);
        for (head, square) in used.chunks_exact(length * length).enumerate() {
            let target = &mut context[head * self.head()..];
            let square = View::whole(square, length);
            slices::times(square, self.part(value, head), target, self.width, Into::Overwrite);
        }
    }

    fn backward(
        self,
        inputs: [&Tensor; 3],
        gradient: &Tensor,
        packing: &Packing,
        dropout: Option<Dropout>,
    ) -> Candle<[Tensor; 3]> {
        let [query, key, value] = inputs;
        let [mut dq, mut dk, mut dv] = [(); 3].map(|()| vec![0.0; query.elem_count()]);
        let split = |target| packing.split_mut(target, self.width);
        let targets = split(&mut dq).into_par_iter().zip(split(&mut dk)).zip(split(&mut dv));
        with_numbers([query, key, value, gradient], |all| {
            let targets = targets.zip(packing.documents().collect::<Vec<_>>());
            targets.for_each(|(target, (number, rows))| {
                let all = all.map(|x| &x[rows.start * self.width..rows.end * self.width]);
                let (((_, dq), (_, dk)), (_, dv)) = target;
                self.backward_of(all, [dq, dk, dv], number, dropout);
            });
        })?;
        let tensor = |numbers| Tensor::from_vec(numbers, query.shape(), query.device());
        Ok([tensor(dq)?, tensor(dk)?, tensor(dv)?])
    }

    /// With P the probabilities, P' after dropout and G the gradient of the context: dV = P'ᵀ G,
    /// dP' = G Vᵀ, dS = softmax's gradient, dQ = dS K, dK = dSᵀ Q.
    fn backward_of(
        self,
        [query, key, value, gradient]: [&[f32]; 4],
        [dq, dk, dv]: [&mut [f32]; 3],
        document: usize,
        dropout: Option<Dropout>,
    ) {
        let length = query.len() / self.width;
        let square = length * length;
        let probabilities = self.probabilities(query, key);
        let kept = thinned(&probabilities, document, dropout);
        let used = kept.as_deref().unwrap_or(&probabilities);
        let mut dscores = vec![0.0; probabilities.len()];
        for head in 0..self.heads {
            let of_head = head * square..(head + 1) * square;
            let from = head * self.head();
            let g = self.part(gradient, head);
            let kept = View::whole(&used[of_head.clone()], length);
            slices::transposed_times(kept, g, &mut dv[from..], self.width, Into::Overwrite);
            let target = &mut dscores[of_head];
            slices::times_transposed(g, self.part(value, head), target, length, Into::Overwrite);
        }
        if let Some(dropout) = dropout {
            dropout.apply(document, &mut dscores);
        }
        if length > 0 {
            gradients::softmax_backward(&mut dscores, &probabilities, length, self.scale());
        }
        for head in 0..self.heads {
            let from = head * self.head();
            let ds = View::whole(&dscores[head * square..(head + 1) * square], length);
            let (q, k) = (self.part(query, head), self.part(key, head));
            slices::times(ds, k, &mut dq[from..], self.width, Into::Overwrite);
            slices::transposed_times(ds, q, &mut dk[from..], self.width, Into::Overwrite);
        }
    }
}

fn thinned(numbers: &[f32], document: usize, dropout: Option<Dropout>) -> Option<Vec<f32>> {
    dropout.map(|dropout| {
        let mut kept = numbers.to_vec();
        dropout.apply(document, &mut kept);
        kept
    })
}

/// The same on a padded `[B · heads, T, d]`, by products and kernels of the softmax; the probabilities
/// stay for the backward pass.
fn on_device(
    inputs: [&Tensor; 3],
    packing: &Packing,
    heads: usize,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let (shape, device) = (inputs[0].shape(), inputs[0].device());
    let scale = 1.0 / ((shape.dims2()?.1 / heads) as f32).sqrt();
    let starts = Starts::new(packing, device)?;
    let thinning = dropout.map(|dropout| Thinning::new(dropout, packing, device)).transpose()?;
    let spread = |x: &Tensor| cuda::spread(&x.detach(), &starts, heads);
    let [query, key, value] = [spread(inputs[0])?, spread(inputs[1])?, spread(inputs[2])?];
    let probabilities = query.matmul(&key.t()?)?;
    let left = cuda::softmax(&probabilities, &starts, scale, thinning.as_ref())?;
    let context = left.as_ref().unwrap_or(&probabilities).matmul(&value)?;
    let context = Value::Tensor(cuda::gather(&context, &starts, heads)?);
    let backward = move |inputs: [&Tensor; 3], gradient: &Tensor| {
        let spread = |x: &Tensor| cuda::spread(&x.contiguous()?, &starts, heads);
        let [query, key, value] = [spread(inputs[0])?, spread(inputs[1])?, spread(inputs[2])?];
        let gradient = spread(gradient)?;
        let used = left.as_ref().unwrap_or(&probabilities);
        let dvalue = used.t()?.matmul(&gradient)?;
        let dscores = gradient.matmul(&value.t()?)?;
        let thinning = thinning.as_ref();
        cuda::softmax_backward(&dscores, &probabilities, &starts, scale, thinning)?;
        let [dquery, dkey] = [dscores.matmul(&key)?, dscores.t()?.matmul(&query)?];
        let gather = |x: &Tensor| cuda::gather(x, &starts, heads);
        Ok([gather(&dquery)?, gather(&dkey)?, gather(&dvalue)?])
    };
    Ok(custom_op("attention", inputs, context, shape, Box::new(backward))?)
}

/// The same by candle's operators on a padded `[B, heads, T, d]`; the softmax in f32.
fn plain(
    inputs: [&Tensor; 3],
    packing: &Packing,
    heads: usize,
    sight: AttentionContext,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let (dtype, device) = (inputs[0].dtype(), inputs[0].device());
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let (documents, length) = (packing.lengths().len(), packing.widest());
    let (width, cells) = (inputs[0].dim(1)?, packing.padded(device)?);
    let split = |x: &Tensor| -> Candle<Tensor> {
        let padded =
            x.index_select(&cells, 0)?.reshape((documents, length, heads, width / heads))?;
        padded.transpose(1, 2)?.contiguous()
    };
    let [query, key, value] = [split(inputs[0])?, split(inputs[1])?, split(inputs[2])?];
    let scale = 1.0 / ((width / heads) as f64).sqrt();
    let scores = (query.matmul(&key.t()?.contiguous()?)? * scale)?.to_dtype(wide)?;
    let padding = packing.padding(device)?.to_dtype(wide)?.reshape((documents, 1, 1, length))?;
    let mut scores = scores.broadcast_add(&padding)?;
    if let Some(bias) = sight.bias {
        scores = scores.broadcast_add(&bias.to_dtype(wide)?.unsqueeze(0)?)?;
    }
    if sight.span != Span::All {
        scores = scores.broadcast_add(&window(sight.span, length, device)?.to_dtype(wide)?)?;
    }
    let mut probabilities = candle_nn::ops::softmax(&scores, D::Minus1)?;
    if let Some(dropout) = dropout {
        probabilities = (probabilities * factors(packing, heads, dropout, device, wide)?)?;
    }
    let context = probabilities.to_dtype(dtype)?.matmul(&value)?;
    let context = context.transpose(1, 2)?.reshape((documents * length, width))?;
    Ok(context.index_select(&packing.packed(device)?, 0)?)
}

/// `[T, T]`: 0 for tokens that are seen. The others are far below every score but finite, so that a row
/// of padding, whose window has only padding, stays finite.
fn window(span: Span, length: usize, device: &Device) -> Candle<Tensor> {
    const UNSEEN: f32 = -1e30;
    let mut cells = vec![UNSEEN; length * length];
    for (place, row) in cells.chunks_exact_mut(length.max(1)).enumerate() {
        row[span.of(place..place + 1, length)].fill(0.0);
    }
    Tensor::from_vec(cells, (length, length), device)
}

/// `[B, heads, T, T]`: the factors of dropout.
fn factors(
    packing: &Packing,
    heads: usize,
    dropout: Dropout,
    device: &Device,
    dtype: DType,
) -> Candle<Tensor> {
    let width = packing.widest();
    let mut all = vec![0.0f32; packing.lengths().len() * heads * width * width];
    for (cells, (document, rows)) in
        all.chunks_exact_mut((heads * width * width).max(1)).zip(packing.documents())
    {
        let mut own = vec![1.0; heads * rows.len() * rows.len()];
        dropout.apply(document, &mut own);
        for (at, row) in own.chunks_exact(rows.len().max(1)).enumerate() {
            let (head, line) = (at / rows.len(), at % rows.len());
            cells[(head * width + line) * width..][..row.len()].copy_from_slice(row);
        }
    }
    Tensor::from_vec(all, (packing.lengths().len(), heads, width, width), device)?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::custom_op::tests::{check_same, random};

    #[test]
    fn attention_on_slices_is_the_plain_formula() {
        for lengths in [vec![3, 7, 1], vec![5, 70, 66]] {
            let packing = Packing::new(lengths, 4);
            let part = |seed| random(&[packing.rows(), 8], seed);
            for dropout in [None, Some(Dropout::new(0.4, 3))] {
                for span in [Span::All, Span::Near(2), Span::Near(65)] {
                    let sight = AttentionContext { span, bias: None };
                    check_same(&[part(1), part(2), part(3)], |all| {
                        attention(all, &packing, 2, sight, dropout)
                    });
                }
            }
        }
    }

    #[test]
    fn what_a_token_does_not_see_changes_nothing() {
        let (packing, span) = (Packing::new(vec![9, 3], 0), Span::Near(2));
        let part = |seed| random(&[12, 4], seed).to_dtype(DType::F32).unwrap();
        let bias = random(&[2, 9, 9], 9).to_dtype(DType::F32).unwrap();
        let row = |values: &Tensor, bias: Option<&Tensor>| -> Vec<f32> {
            let (inputs, sight) = ([&part(1), &part(2), values], AttentionContext { span, bias });
            let context = attention(inputs, &packing, 2, sight, None).unwrap();
            context.get(4).unwrap().to_vec1().unwrap()
        };
        for bias in [None, Some(&bias)] {
            let before = row(&part(3), bias);
            for place in 0..12 {
                let one = Tensor::new(&[[1f32; 4]], &Device::Cpu).unwrap();
                let other = part(3).slice_assign(&[place..place + 1, 0..4], &one).unwrap();
                let seen = (2..=6).contains(&place);
                assert_eq!(row(&other, bias) != before, seen, "{place}");
            }
        }
        // a bias that shuts all but one out leaves its value
        let mut shut = vec![-1e4f32; 2 * 81];
        (0..18).for_each(|at| shut[at * 9 + (at % 9)] = 0.0);
        let shut = Tensor::from_vec(shut, (2, 9, 9), &Device::Cpu).unwrap();
        let own: Vec<f32> = part(3).get(4).unwrap().to_vec1().unwrap();
        assert_eq!(row(&part(3), Some(&shut)), own);
    }
}
