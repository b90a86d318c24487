//! Smaller decoders: rows of a lower rank, or no rows of their own.

use std::{fmt, str::FromStr};

use nalgebra::{Cholesky, DMatrix, SymmetricEigen};
use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    model::Matrix,
    sparse::TermId,
};

/// How the rows of a decoder are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecoderForm {
    /// A row of H numbers for each term.
    Full,
    /// A row of so many numbers for each term, after one map of the pooled vector.
    Rank(usize),
    /// The word embeddings, after one map of the pooled vector.
    Tied,
}

impl FromStr for DecoderForm {
    type Err = Error;

    fn from_str(text: &str) -> Result<DecoderForm> {
        let rank = text.strip_prefix("rank:").and_then(|rank| rank.parse().ok());
        match (text, rank) {
            ("full", _) => Ok(DecoderForm::Full),
            ("tied", _) => Ok(DecoderForm::Tied),
            (_, Some(rank)) if rank > 0 => Ok(DecoderForm::Rank(rank)),
            _ => Err(Error::Usage(format!(
                "decoder: expected full, tied or rank:R with R above 0, found `{text}`"
            ))),
        }
    }
}

impl fmt::Display for DecoderForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecoderForm::Full => f.write_str("full"),
            DecoderForm::Tied => f.write_str("tied"),
            DecoderForm::Rank(rank) => write!(f, "rank:{rank}"),
        }
    }
}

/// Rows of `rank` numbers and the map `[rank, H]` before them whose product is the closest to `rows`
/// `[words, H]` in the sum of squares: the leading eigenvectors of rowsᵀ rows.
pub(super) fn of_rank(rows: &[Vec<f32>], rank: usize) -> (Vec<Vec<f32>>, Matrix) {
    let width = rows.first().map_or(0, Vec::len);
    let rank = rank.min(width);
    let eigen = SymmetricEigen::new(gram(rows, rows));
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let mut map = Matrix { data: Vec::with_capacity(rank * width), columns: width };
    for &at in &order[..rank] {
        map.data.extend(eigen.eigenvectors.column(at).iter().map(|&x| x as f32));
    }
    let short = rows.par_iter().map(|row| product(&map, row)).collect();
    (short, map)
}

/// The map `[H, width]` with which the word embeddings come closest to `rows` `[words, width]` in the sum of
/// squares; `words` says whose rows they are.
///
/// # Errors
/// [`Error::Usage`] if the embeddings do not span their space.
pub(super) fn of_words(
    words: &[(TermId, String)],
    rows: &[Vec<f32>],
    embeddings: &Matrix,
) -> Result<Matrix> {
    let own: Vec<Vec<f32>> =
        words.iter().map(|(term, _)| embeddings.row(term.index()).to_vec()).collect();
    let squares = Cholesky::new(gram(&own, &own)).ok_or_else(|| {
        Error::Usage(
            "expected word embeddings that span their space, found fewer dimensions".into(),
        )
    })?;
    let map = squares.solve(&gram(&own, rows));
    let width = map.ncols();
    // nalgebra holds columns, a matrix of ours rows
    let data = map.transpose().iter().map(|&x| x as f32).collect();
    Ok(Matrix { data, columns: width })
}

/// `map` times a vector.
pub(super) fn product(map: &Matrix, vector: &[f32]) -> Vec<f32> {
    let rows = map.data.chunks_exact(map.columns.max(1));
    rows.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect()
}

/// aᵀ b of rows, summed in f64 in their order.
fn gram(a: &[Vec<f32>], b: &[Vec<f32>]) -> DMatrix<f64> {
    let (height, width) = (a.first().map_or(0, Vec::len), b.first().map_or(0, Vec::len));
    let column = |at: usize| {
        let mut sum = vec![0.0f64; height];
        for (a, b) in a.iter().zip(b) {
            let factor = f64::from(b[at]);
            sum.iter_mut().zip(a).for_each(|(sum, &x)| *sum += f64::from(x) * factor);
        }
        sum
    };
    let columns: Vec<Vec<f64>> = (0..width).into_par_iter().map(column).collect();
    DMatrix::from_vec(height, width, columns.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_is_named_as_it_is_shown() {
        for name in ["full", "tied", "rank:64"] {
            assert_eq!(name.parse::<DecoderForm>().unwrap().to_string(), name);
        }
        for bad in ["rank:0", "rank:x", "low"] {
            assert!(bad.parse::<DecoderForm>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rows_of_a_lower_rank_are_found_again() {
        // all on one line through (1, 2, 2)
        let rows: Vec<Vec<f32>> = [1.0, -2.0, 0.5].map(|x| vec![x, 2.0 * x, 2.0 * x]).to_vec();
        let (short, map) = of_rank(&rows, 1);
        assert_eq!((short[0].len(), map.data.len()), (1, 3));
        for (row, short) in rows.iter().zip(&short) {
            for (at, &number) in row.iter().enumerate() {
                assert!((short[0] * map.data[at] - number).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn rows_that_are_a_map_of_the_embeddings_are_found_again() {
        let embeddings = Matrix { data: vec![1.0, 0.5, -1.0, 2.0, 0.25, 1.0], columns: 2 };
        let map = Matrix { data: vec![1.0, 2.0, 0.0, -1.0, 0.5, 3.0], columns: 3 };
        let words: Vec<(TermId, String)> =
            (0..3).map(|term| (TermId(term), String::new())).collect();
        let row = |term: usize| -> Vec<f32> {
            let embedding = embeddings.row(term);
            (0..3).map(|at| embedding[0] * map.data[at] + embedding[1] * map.data[3 + at]).collect()
        };
        let rows: Vec<Vec<f32>> = (0..3).map(row).collect();
        let found = of_words(&words, &rows, &embeddings).unwrap();
        assert_eq!(found.columns, 3);
        for (found, expected) in found.data.iter().zip(&map.data) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}
