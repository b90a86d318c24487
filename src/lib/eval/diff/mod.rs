//! Two runs side by side: are they the same ranking, and if not, where and by how much.
//!
//! No judgements are needed: this is how one engine is checked against another. What the scores of
//! two engines have in common is in `scores`, what a tie excuses in `likeness`.

mod likeness;
mod render;
mod scores;

pub use likeness::{Mark, QueryDiff, RankingRelation, Side};
pub use render::render_diff;
pub use scores::{Fit, Quotients, ScoreDiff, ScoreGap};

use std::collections::BTreeSet;

use rayon::prelude::*;

use self::{likeness::Candidates, scores::Pair};
use crate::{
    error::{Error, Result},
    records::trec::{Ranking, Run},
};

/// When two scores of one run count as equal: within either.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// A share of the larger of the two, 0 or more.
    pub relative: f64,
    /// A difference, 0 or more.
    pub absolute: f64,
}

impl Tolerance {
    /// Whether two scores are a tie.
    pub fn ties(&self, a: f64, b: f64) -> bool {
        let near = |a: f64, b: f64| {
            (a - b).abs() <= self.absolute.max(self.relative * a.abs().max(b.abs()))
        };
        // infinite scores are equal or not
        a == b || a.is_finite() && b.is_finite() && near(a, b)
    }
}

/// What two runs have in common, and what differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// The first run's name.
    pub a: String,
    /// The second's.
    pub b: String,
    /// How many hits of a query are compared.
    pub k: usize,
    /// The queries of either run in byte order.
    pub queries: Vec<QueryDiff>,
    /// How the scores of the documents that both runs have compare.
    pub scores: ScoreDiff,
}

/// Compares two runs to depth `k`. The result does not depend on the number of threads.
///
/// Rankings are those of trec_eval (`Ranking::ranked`). Scores are compared for the documents of either
/// top `k` that the other run has too, at whatever rank.
pub fn diff(a: &Run, b: &Run, k: usize, tolerance: Tolerance) -> Diff {
    let qids: BTreeSet<&String> = a.rankings().keys().chain(b.rankings().keys()).collect();
    let none = Ranking::default();
    let of = |run: &'_ Run, qid: &str| run.rankings().contains_key(qid);
    let candidates: Vec<(&str, Candidates)> = qids
        .into_par_iter()
        .map(|qid| {
            let [ours, theirs] = [a, b].map(|run| run.rankings().get(qid).unwrap_or(&none));
            (qid.as_str(), Candidates::new(ours, theirs, k))
        })
        .collect();
    let pairs = candidates.iter().flat_map(|(qid, candidates)| {
        candidates.shared().map(|(docno, a, b)| Pair { qid, docno, a, b })
    });
    let scores = ScoreDiff::new(pairs.collect(), [a, b], tolerance);
    let factor = scores.fit.as_ref().map_or(1.0, |fit| fit.factor);
    let queries = candidates.par_iter().map(|(qid, candidates)| {
        let known = (of(a, qid), of(b, qid));
        QueryDiff::new(qid, candidates, known, factor, tolerance)
    });
    let (a, b) = (a.name().to_owned(), b.name().to_owned());
    Diff { a, b, k, queries: queries.collect(), scores }
}

/// What a comparison must reach, else exit status 4.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Every query is the same, up to ties.
    pub same: bool,
    /// The least mean overlap, ties excused.
    pub min_overlap: Option<f64>,
    /// The largest relative score difference, after the factor if there is one.
    pub max_error: Option<f64>,
}

impl Diff {
    /// How many queries are so.
    pub fn count(&self, likeness: RankingRelation) -> usize {
        self.queries.iter().filter(|query| query.likeness == likeness).count()
    }

    /// Whether all queries are the same up to ties.
    pub fn is_same(&self) -> bool {
        self.queries.iter().all(QueryDiff::is_same)
    }

    /// The mean share of the top `k` that both have. A query of one run alone counts 0.
    pub fn overlap(&self) -> f64 {
        self.mean(|query| query.overlap)
    }

    /// As [`Diff::overlap`], where documents that a tie at the cutoff keeps out count as shared.
    pub fn overlap_with_ties(&self) -> f64 {
        self.mean(|query| query.overlap_with_ties)
    }

    fn mean(&self, of: impl Fn(&QueryDiff) -> f64) -> f64 {
        self.queries.iter().map(of).sum::<f64>() / self.queries.len() as f64
    }

    /// The mean of Kendall's τ over the queries that have one, ties counted as agreement.
    pub fn tau(&self) -> Option<f64> {
        let all: Vec<f64> = self.queries.iter().filter_map(|query| query.tau).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }

    /// Checks that it reaches what is required.
    ///
    /// # Errors
    /// [`Error::Floor`] naming what it does not reach.
    pub fn check(&self, wanted: &Wanted) -> Result<()> {
        let Diff { a, b, k, .. } = self;
        let fail = |text: String| Err(Error::Floor(format!("{a} and {b}: {text}")));
        if wanted.same && !self.is_same() {
            let apart = self.queries.iter().filter(|query| !query.is_same());
            let first = apart.clone().next().map_or("", |query| &query.qid);
            let (count, of) = (apart.count(), self.queries.len());
            return fail(format!(
                "expected the same ranking for every query, found another for {count} of {of} (`{first}`)"
            ));
        }
        let overlap = self.overlap_with_ties();
        if let Some(least) = wanted.min_overlap.filter(|&least| overlap < least) {
            return fail(format!("expected overlap@{k} of at least {least}, found {overlap}"));
        }
        let error = self.scores.error();
        match wanted.max_error {
            Some(most) if error.is_none() => fail(format!(
                "expected relative differences of at most {most}, found no document that both have"
            )),
            Some(most) if error.is_some_and(|error| error > most) => fail(format!(
                "expected relative differences of at most {most}, found {}",
                error.unwrap_or_default()
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
