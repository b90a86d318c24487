//! Mean and deviation of a term's products with background texts, which put all terms on one scale.

use rayon::prelude::*;

use super::decoder;
use crate::{
    kernels::packed::{Finish, Kind, PackedLinear},
    model::Matrix,
};

/// Background passages per product with the rows.
const PASSAGES: usize = 64;

/// Vectors of length 1 less their mean.
pub(super) fn centred(mut vectors: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let width = vectors.first().map_or(0, Vec::len);
    let mut mean = vec![0.0f64; width];
    for vector in &mut vectors {
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-12);
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        mean.iter_mut().zip(vector).for_each(|(mean, x)| *mean += f64::from(*x));
    }
    let count = vectors.len().max(1) as f64;
    for vector in &mut vectors {
        vector.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= (mean / count) as f32);
    }
    vectors
}

/// The vectors of the background texts.
pub(super) struct Background {
    pub passages: Vec<Vec<f32>>,
    pub words: Vec<Vec<f32>>,
}

impl Background {
    /// The same after a map.
    pub fn mapped(&self, map: &Matrix) -> Background {
        let all = |vectors: &[Vec<f32>]| {
            vectors.par_iter().map(|vector| decoder::product(map, vector)).collect()
        };
        Background { passages: all(&self.passages), words: all(&self.words) }
    }
}

/// Mean and standard deviation of a term's products with passages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usual {
    pub mean: f32,
    pub deviation: f32,
}

/// Added to every deviation: a row with the same product for all passages would divide by 0.
const LEAST_DEVIATION: f64 = 1e-3;

/// Mean and standard deviation of each row's products.
pub(super) fn usual(rows: &[Vec<f32>], passages: &[Vec<f32>]) -> Vec<Usual> {
    let width = passages.first().map_or(0, Vec::len);
    let product = PackedLinear::new(Kind::F32, &rows.concat(), width, vec![0.0; rows.len()]);
    let mut sums = vec![[0.0f64; 2]; rows.len()];
    for part in passages.chunks(PASSAGES) {
        let one = |passage: &Vec<f32>| {
            let mut out = vec![0.0; rows.len()];
            product.apply(passage, &mut out, Finish::Overwrite);
            out
        };
        let found: Vec<Vec<f32>> = part.par_iter().map(one).collect();
        for row in found {
            for ([sum, squares], value) in sums.iter_mut().zip(row) {
                let value = f64::from(value);
                *sum += value;
                *squares += value * value;
            }
        }
    }
    let count = passages.len().max(1) as f64;
    let spread = |[sum, squares]: [f64; 2]| {
        let mean = sum / count;
        let variance = (squares / count - mean * mean).max(0.0);
        Usual { mean: mean as f32, deviation: (variance.sqrt() + LEAST_DEVIATION) as f32 }
    };
    sums.into_iter().map(spread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_centred_and_calibrated() {
        let rows = centred(vec![vec![2.0, 0.0], vec![0.0, 3.0]]);
        assert_eq!(rows, [[0.5, -0.5], [-0.5, 0.5]]);
        let found = usual(&rows, &[vec![1.0, 0.0], vec![0.0, 1.0], vec![1.0, 1.0]]);
        // products with the first row: 0.5, −0.5, 0
        let deviation = ((0.5f64 / 3.0).sqrt() + LEAST_DEVIATION) as f32;
        assert!((found[0].deviation - deviation).abs() < 1e-6 && found[0].mean.abs() < 1e-7);
    }
}
