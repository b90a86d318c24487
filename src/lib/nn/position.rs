//! Where tokens are, and what they see of each other: windows, rotary angles, buckets of distance.

use std::ops::Range;

use candle_core::{D, DType, Device, Tensor};

use crate::{error::Result, kernels::slices};

/// Which tokens of its document a token sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// All of them.
    #[default]
    All,
    /// Those at most so far away.
    Near(usize),
}

impl Span {
    /// The places that those at `places` see together, in a document of `length` tokens.
    pub fn of(self, places: Range<usize>, length: usize) -> Range<usize> {
        match self {
            Span::All => 0..length,
            Span::Near(far) => {
                places.start.saturating_sub(far)..places.end.saturating_add(far).min(length)
            }
        }
    }

    /// The same for documents of at most `length` tokens: a window that holds them whole is none.
    #[must_use]
    pub fn within(self, length: usize) -> Span {
        match self {
            Span::Near(far) if far.saturating_add(1) < length => self,
            _ => Span::All,
        }
    }
}

/// What attention knows in addition to queries, keys and values.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttentionContext<'a> {
    /// Who is seen.
    pub span: Span,
    /// `[heads, T, T]`, added to the scores of documents of at most T tokens ([`relative_bias`]).
    pub bias: Option<&'a Tensor>,
}

/// cos and sin of the angles by which queries and keys are turned, for every place of a document.
///
/// Source: Su et al., RoFormer (arXiv 2104.09864); a head's number i is paired with number i + d/2.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Pairs of a head, d/2.
    pairs: usize,
    /// `[places, d]`: cosines, then sines.
    table: Vec<f32>,
}

/// A [`Rotation`] for the rows of a batch: cos and sin, `[rows, 1, d/2]` each.
pub struct Turn {
    cos: Tensor,
    sin: Tensor,
}

impl Rotation {
    /// From the angle of each pair from one place to the next.
    pub fn new(frequencies: &[f32], places: usize) -> Rotation {
        let mut table = Vec::with_capacity(2 * frequencies.len() * places);
        for place in 0..places {
            let angles = frequencies.iter().map(|frequency| place as f32 * frequency);
            table.extend(angles.clone().map(f32::cos));
            table.extend(angles.map(f32::sin));
        }
        Rotation { pairs: frequencies.len(), table }
    }

    /// Turns the heads in the first `columns` numbers of every row of one document.
    pub(crate) fn turn(&self, rows: &mut [f32], stride: usize, columns: usize) {
        slices::rotate(rows, stride, columns, &self.table, self.pairs);
    }

    /// For rows at `places` of their documents.
    ///
    /// # Errors
    /// [`crate::Error::Compute`] for a place after the last one.
    pub fn at(&self, places: &[u32], device: &Device) -> Result<Turn> {
        let d = 2 * self.pairs;
        let places = Tensor::new(places, device)?;
        let table = Tensor::from_slice(&self.table, (self.table.len() / d.max(1), d), device)?;
        let rows = table.index_select(&places, 0)?.unsqueeze(1)?;
        Ok(Turn {
            cos: rows.narrow(D::Minus1, 0, self.pairs)?.contiguous()?,
            sin: rows.narrow(D::Minus1, self.pairs, self.pairs)?.contiguous()?,
        })
    }
}

/// Turns every head of x `[rows, H]`; computed in f32.
///
/// # Errors
/// [`crate::Error::Compute`].
pub fn rotate(x: &Tensor, turn: &Turn) -> Result<Tensor> {
    let ((rows, width), pairs) = (x.dims2()?, turn.cos.dim(2)?);
    let heads = x.to_dtype(DType::F32)?.reshape((rows, width / (2 * pairs), 2 * pairs))?;
    let [first, second] = [0, pairs].map(|from| heads.narrow(2, from, pairs));
    let (first, second) = (first?.contiguous()?, second?.contiguous()?);
    let turned = Tensor::cat(
        &[
            (first.broadcast_mul(&turn.cos)? - second.broadcast_mul(&turn.sin)?)?,
            (second.broadcast_mul(&turn.cos)? + first.broadcast_mul(&turn.sin)?)?,
        ],
        2,
    )?;
    Ok(turned.reshape((rows, width))?.to_dtype(x.dtype())?)
}

/// Buckets of [`bucket`].
pub const BUCKETS: usize = 32;

/// The bucket of a token `distance` places after the one that looks: 8 near ones for each side,
/// one for each distance, then 8 that grow up to distance 128 and hold all beyond.
///
/// Source: Raffel et al., T5 (arXiv 1910.10683), as MPNet has it.
pub fn bucket(distance: isize) -> usize {
    const SIDE: usize = BUCKETS / 2;
    const EXACT: usize = SIDE / 2;
    const FARTHEST: f32 = 128.0;
    let side = if distance > 0 { SIDE } else { 0 };
    let far = distance.unsigned_abs();
    if far < EXACT {
        return side + far;
    }
    let exact = EXACT as f32;
    let grown = (far as f32 / exact).ln() / (FARTHEST / exact).ln() * (SIDE - EXACT) as f32;
    side + (EXACT + grown as usize).min(SIDE - 1)
}

/// `[heads, T, T]`: what each head adds to the score of a pair of tokens, from `[buckets, heads]`.
///
/// # Errors
/// [`crate::Error::Compute`].
pub fn relative_bias(table: &Tensor, length: usize) -> Result<Tensor> {
    let pairs = (0..length as isize).flat_map(|i| (0..length as isize).map(move |j| j - i));
    let buckets: Vec<u32> = pairs.map(|distance| bucket(distance) as u32).collect();
    let rows = table.index_select(&Tensor::new(buckets, table.device())?, 0)?;
    let squares = rows.reshape((length, length, table.dim(1)?))?;
    Ok(squares.permute((2, 0, 1))?.contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::custom_op::tests::{check_same, random};

    #[test]
    fn windows_end_where_documents_do() {
        for (span, places, expected) in [
            (Span::All, 3..5, 0..9),
            (Span::Near(2), 3..5, 1..7),
            (Span::Near(2), 0..1, 0..3),
            (Span::Near(2), 8..9, 6..9),
            (Span::Near(usize::MAX), 8..9, 0..9),
        ] {
            assert_eq!(span.of(places, 9), expected);
        }
        assert_eq!(Span::Near(8).within(9), Span::All);
        assert_eq!(Span::Near(7).within(9), Span::Near(7));
    }

    #[test]
    fn turning_on_slices_and_on_tensors_is_the_same_and_keeps_lengths() {
        let rotation = Rotation::new(&[1.0, 0.1], 5);
        let x = random(&[5, 8], 1).to_dtype(DType::F32).unwrap();
        let mut rows = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        rotation.turn(&mut rows, 8, 8);
        let turn = rotation.at(&[0, 1, 2, 3, 4], &Device::Cpu).unwrap();
        let turned = rotate(&x, &turn).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in rows.iter().zip(&turned) {
            assert!((a - b).abs() < 1e-6, "{a} not {b}");
        }
        assert_eq!(rows[..8], x.to_vec2::<f32>().unwrap()[0]);
        let lengths = |rows: &[f32]| rows.iter().map(|x| x * x).sum::<f32>();
        let before = x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((lengths(&rows) - before).abs() < 1e-4);
        // a quarter turn of one pair
        let mut row = [0.0, 0.0, 3.0, 4.0];
        Rotation::new(&[std::f32::consts::FRAC_PI_2], 2).turn(&mut row, 2, 2);
        assert!((row[2] + 4.0).abs() < 1e-6 && (row[3] - 3.0).abs() < 1e-6, "{row:?}");
    }

    #[test]
    fn biases_follow_the_distance_and_give_a_gradient_to_their_table() {
        let table = Tensor::arange(0f32, 32.0, &Device::Cpu).unwrap().reshape((32, 1)).unwrap();
        let bias = relative_bias(&table, 3).unwrap().to_vec3::<f32>().unwrap();
        assert_eq!(bias, [[[0.0, 17.0, 18.0], [1.0, 0.0, 17.0], [2.0, 1.0, 0.0]]]);
        check_same(&[random(&[32, 2], 1)], |[table]| relative_bias(table, 4));
    }
}
