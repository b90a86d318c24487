//! Stateless dropout: what is dropped is a function of seed, step, place and element.
//!
//! No state is kept, so a resumed run, a batch in parts and any number of threads drop the same.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{
    Packing,
    cuda::{self, Starts, Thinning},
    custom_op::{Value, custom_op, on_slices, with_numbers},
};
use crate::error::Result;

/// Which numbers are dropped at one place of a network in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    rate: f32,
    key: u64,
}

impl Dropout {
    /// Drops a share `rate` of the numbers, 0 to below 1; `key` is the seed of the run and step.
    pub fn new(rate: f32, key: u64) -> Dropout {
        Dropout { rate, key: mixed(key) }
    }

    /// The same rate at the next place of the network.
    #[must_use]
    pub fn at(self, place: u64) -> Dropout {
        Dropout { key: mixed(self.key ^ mixed(place)), ..self }
    }

    /// Whether nothing is dropped.
    pub fn is_off(self) -> bool {
        self.rate <= 0.0
    }

    /// The seed of one document's draws.
    pub(super) fn key_of(self, document: usize) -> u64 {
        mixed(self.key ^ document as u64)
    }

    /// Of 2²⁴ draws, how many drop a number; the factor of the others.
    pub(super) fn limit_and_factor(self) -> (u64, f32) {
        ((self.rate * 16_777_216.0) as u64, 1.0 / (1.0 - self.rate))
    }

    /// Multiplies the numbers of one document: by 0, or by 1/(1 − rate).
    pub(super) fn apply(self, document: usize, numbers: &mut [f32]) {
        let (key, (limit, kept)) = (self.key_of(document), self.limit_and_factor());
        for (at, number) in (0u64..).zip(numbers) {
            *number *= if mixed(key.wrapping_add(at)) >> 40 < limit { 0.0 } else { kept };
        }
    }
}

/// What splitmix64 adds to its state for each number.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number that splitmix64 makes of state `x`: every bit of the result depends on every bit of `x`.
#[inline]
pub(crate) fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Drops numbers of x, `[rows, H]` packed.
///
/// # Errors
/// [`crate::Error::Compute`].
pub fn dropout(x: &Tensor, packing: &Packing, dropout: Option<Dropout>) -> Result<Tensor> {
    let Some(dropout) = dropout.filter(|dropout| !dropout.is_off()) else {
        return Ok(x.clone());
    };
    let width = x.elem_count() / packing.rows().max(1);
    if cuda::here(x) {
        return on_device(&x.contiguous()?, packing, dropout);
    }
    if !on_slices(x) {
        let mut factors = vec![1.0f32; x.elem_count()];
        drop_rows(&mut factors, packing, width, dropout);
        let factors = Tensor::from_vec(factors, x.shape(), x.device())?.to_dtype(x.dtype())?;
        return Ok((x * factors)?);
    }
    let dropped = move |packing: &Packing, x: &Tensor| {
        with_numbers([x], |[x]| {
            let mut y = x.to_vec();
            drop_rows(&mut y, packing, width, dropout);
            y
        })
    };
    let value = dropped(packing, x)?;
    let packing = packing.clone();
    let backward = move |[x]: [&Tensor; 1], gradient: &Tensor| {
        Ok([Tensor::from_vec(dropped(&packing, gradient)?, x.shape(), x.device())?])
    };
    Ok(custom_op("dropout", [x], Value::Host(value), x.shape(), Box::new(backward))?)
}

fn on_device(x: &Tensor, packing: &Packing, dropout: Dropout) -> Result<Tensor> {
    let starts = Starts::new(packing, x.device())?;
    let thinning = Thinning::new(dropout, packing, x.device())?;
    let value = cuda::dropout(x, &starts, &thinning)?;
    let backward = move |_: [&Tensor; 1], gradient: &Tensor| {
        Ok([cuda::dropout(&gradient.contiguous()?, &starts, &thinning)?])
    };
    Ok(custom_op("dropout", [x], Value::Tensor(value), x.shape(), Box::new(backward))?)
}

fn drop_rows(numbers: &mut [f32], packing: &Packing, width: usize, dropout: Dropout) {
    let parts = packing.split_mut(numbers, width);
    parts.into_par_iter().for_each(|(document, part)| dropout.apply(document, part));
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::nn::custom_op::tests::{check_same, random};

    #[test]
    fn both_roads_drop_the_same() {
        let packing = Packing::new(vec![3, 5], 0);
        let drop = Dropout::new(0.3, 9).at(2);
        check_same(&[random(&[8, 6], 1)], |[x]| dropout(x, &packing, Some(drop)));
    }

    #[test]
    fn the_rate_is_met_and_a_part_of_a_batch_drops_as_the_whole() {
        let drop = Some(Dropout::new(0.25, 1));
        let ones = |rows: usize| Tensor::ones((rows, 100), DType::F32, &Device::Cpu).unwrap();
        let rows = |x: Tensor| x.to_vec2::<f32>().unwrap();
        let whole = rows(dropout(&ones(90), &Packing::new(vec![40, 50], 0), drop).unwrap());
        let part = rows(dropout(&ones(50), &Packing::new(vec![50], 1), drop).unwrap());
        assert_eq!(whole[40..], part[..]);
        let kept = whole.iter().flatten().filter(|&&number| number > 0.0).count();
        assert!((6600..6900).contains(&kept), "{kept} of 9000");
        assert!(whole.iter().flatten().all(|&number| number == 0.0 || number == 1.0 / 0.75));
    }
}
