//! How much recall approximate search loses, measured on queries made from the index's own documents.
//!
//! The queries are not known when an index is built, so sampled documents take their place: a query is a
//! few of its terms, drawn in proportion to what they would add to the score, and some of the terms
//! that most documents share; its weights are those of the index's query table. Other
//! queries may lose more, or less.
//!
//! The error of a recall is its standard error, and at least 1.5 hits in all: by the rule of three, a
//! sample of n queries misses an event of probability above 3/n, here a lost hit, at most 5 % of the time.
//! A reach is trusted if recall minus twice its error is enough.

use std::{ops::RangeInclusive, path::Path};

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::{Hit, block_max};
use crate::{
    error::Result,
    index::{Calibration, DocId, Draft, Index, Metadata, Trial},
    sparse::{SparseVector, TermId},
};

/// Documents sampled.
const SAMPLED: usize = 192;
const REACHES: [f64; 13] = [1.02, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5, 1.7, 2.0, 2.5, 3.0];
const KS: [usize; 4] = [1, 10, 100, 1000];
/// Terms of the queries: words, as people ask, as sentences do, as documents do.
const TERMS: [RangeInclusive<usize>; 4] = [1..=3, 4..=9, 10..=19, 20..=80];
/// Fewer queries than these do not suffice.
const FEWEST: usize = 30;
/// Less recall than this is not tried for.
const LEAST: f64 = 0.85;

/// Ends an index, after measuring in it what approximate search misses if it can be read back from the file
/// `written`.
///
/// # Errors
/// As [`calibrate`]; [`crate::Error::Io`].
pub fn calibrated(mut draft: Draft, written: Option<&Path>, seed: u64) -> Result<Metadata> {
    let index = written.map(|file| draft.open(file)).transpose()?;
    let calibration = index.map(|index| calibrate(&index, seed)).transpose()?;
    draft.finish(calibration)
}

/// Measures recall by reach.
///
/// # Errors
/// [`crate::Error::Format`] if the index turns out to be damaged.
pub fn calibrate(index: &Index, seed: u64) -> Result<Calibration> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let sampled = rand::seq::index::sample(&mut random, index.len(), SAMPLED.min(index.len()));
    let docs: Vec<DocId> = sampled.iter().map(|doc| DocId(doc as u32)).collect();
    let vectors = index.vectors(&docs)?;
    let (weights, shared) = (index.query_weights(), index.longest(64)?);
    let mut rows = Vec::new();
    for sizes in TERMS {
        let mut query = |vector: &SparseVector| {
            let size = random.random_range(sizes.clone());
            draw(vector, &shared, size, &weights, &mut random)
        };
        let queries: Vec<SparseVector> = vectors.iter().filter_map(&mut query).collect();
        for k in KS {
            rows.extend(trials(index, &queries, k, *sizes.end())?);
        }
    }
    Ok(Calibration { rows })
}

/// A query of `size` terms of a document, a quarter of them from `shared`; none if it has none.
fn draw(
    vector: &SparseVector,
    shared: &[TermId],
    size: usize,
    weights: &[f32],
    random: &mut ChaCha8Rng,
) -> Option<SparseVector> {
    let weight = |term: TermId| weights.get(term.index()).copied().filter(|weight| *weight > 0.0);
    let known: Vec<(TermId, f32)> =
        vector.iter().filter(|(term, _)| weight(*term).is_some()).collect();
    let part = |&(term, stored): &(TermId, f32)| stored * weight(term).unwrap_or(0.0);
    let own = known.sample_weighted(random, size - size / 4, part).ok()?;
    let mut terms: Vec<TermId> = own.map(|pair| pair.0).collect();
    terms.extend(shared.sample(random, size / 4));
    terms.sort_unstable();
    terms.dedup();
    let pairs = terms.into_iter().filter_map(|term| Some((term, weight(term)?)));
    SparseVector::new(pairs).ok().filter(|query| query.nnz() > 0)
}

/// Overstates more and more, while the recall that is left may be wanted.
fn trials(index: &Index, queries: &[SparseVector], k: usize, terms: usize) -> Result<Vec<Trial>> {
    let search = |query: &SparseVector, reach| block_max::search(index, query, k, reach);
    let truth: Vec<Vec<Hit>> =
        queries.par_iter().map(|query| search(query, 1.0)).collect::<Result<_>>()?;
    let n = queries.len() as f64;
    let mut trials: Vec<Trial> = Vec::new();
    for reach in REACHES {
        if queries.len() < FEWEST || trials.last().is_some_and(|trial| trial.recall < LEAST) {
            break;
        }
        let found =
            |(query, truth): (&SparseVector, &Vec<Hit>)| Ok(share(truth, &search(query, reach)?));
        let shares: Vec<f64> = queries.par_iter().zip(&truth).map(found).collect::<Result<_>>()?;
        let recall = shares.iter().sum::<f64>() / n;
        let spread = shares.iter().map(|share| (share - recall).powi(2)).sum::<f64>() / (n - 1.0);
        let error = (spread / n).sqrt().max(1.5 / (n * k as f64));
        trials.push(Trial { k, terms, queries: queries.len(), reach, recall, error });
    }
    Ok(trials)
}

/// The share of the best hits among those found; one with the score of the last is as good as it.
pub(super) fn share(truth: &[Hit], found: &[Hit]) -> f64 {
    let Some(last) = truth.last() else { return 1.0 };
    let good = found.iter().filter(|hit| hit.score >= last.score).count();
    good.min(truth.len()) as f64 / truth.len() as f64
}
