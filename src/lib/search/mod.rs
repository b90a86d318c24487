//! Queries against indexes: the ways to the best hits, and the loop that answers.
//!
//! Methods differ only in what they skip. The score of a document is the same in all: the sum of
//! query weight · stored weight, in f32, in ascending order of terms; a document whose sum is 0 is
//! not a hit. No tensor, no network.

mod batch;
mod block_max;
mod bounds;
mod calibrate;
mod collector;
mod engine;
mod exhaustive;
mod measure;
mod questions;
mod render;
mod several;
mod topk;

use std::{collections::BTreeSet, str::FromStr};

pub use batch::{AnswerConfig, Count};
pub use calibrate::{calibrate, calibrated};
pub use engine::{Detail, Engine, Part, SearchConfig};
pub use measure::{Agreement, Latency};
pub use questions::{QueryLine, QueryReader};
pub use render::{Answer, AnswerForm, Hits, Rendered};
pub use several::{Found, search_all};
pub use topk::{Hit, TopK};

use crate::{
    error::{Error, Result},
    index::{Calibration, Index, Trial},
    sparse::SparseVector,
};

/// How the best hits are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Skips blocks of documents that cannot hold one of the best.
    Exact,
    /// Scores every posting: the reference for the others.
    Exhaustive,
    /// Skips blocks that are unlikely to hold one of the best; the scores of the hits are exact.
    Approx(Recall),
}

/// The share of the best hits that approximate search shall find, above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recall(f64);

impl Recall {
    /// # Errors
    /// [`Error::Usage`] for a share that is not above 0 and at most 1.
    pub fn new(share: f64) -> Result<Recall> {
        match share > 0.0 && share <= 1.0 {
            true => Ok(Recall(share)),
            false => {
                Err(Error::Usage(format!("expected a recall above 0 and up to 1, found {share}")))
            }
        }
    }
}

impl FromStr for Recall {
    type Err = Error;

    fn from_str(text: &str) -> Result<Recall> {
        let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
        let wanted =
            || Error::Usage(format!("expected a recall above 0 and up to 1, found `{text}`"));
        share.map(Recall).ok_or_else(wanted)
    }
}

impl Method {
    /// Their names.
    pub const NAMES: [&str; 3] = ["exact", "exhaustive", "approx"];

    /// By its name; only `approx` takes a recall.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name, and for a recall that is missing or not allowed.
    pub fn new(name: &str, recall: Option<Recall>) -> Result<Method> {
        match (name, recall) {
            ("exact", None) => Ok(Method::Exact),
            ("exhaustive", None) => Ok(Method::Exhaustive),
            ("approx", Some(recall)) => Ok(Method::Approx(recall)),
            ("approx", None) => {
                Err(Error::Usage("approx: expected a recall, as 0.99, found none".into()))
            }
            ("exact" | "exhaustive", Some(_)) => {
                Err(Error::Usage(format!("recall: expected the method approx, found {name}")))
            }
            _ => Err(Error::Usage(format!("expected exact, exhaustive or approx, found `{name}`"))),
        }
    }
}

/// The at most `k` best documents of one index, best first: score descending, then document
/// ascending.
///
/// # Errors
/// [`Error::Format`] if the index turns out to be damaged, or was not calibrated and
/// [`Method::Approx`] is asked for.
pub fn search(index: &Index, query: &SparseVector, k: usize, method: Method) -> Result<Vec<Hit>> {
    match method {
        Method::Exact => block_max::search(index, query, k, 1.0),
        Method::Exhaustive => exhaustive::search(index, query, k),
        Method::Approx(Recall(recall)) => {
            let trial = calibration(index)?.trial(recall, k, query.nnz()).filter(|_| recall < 1.0);
            block_max::search(index, query, k, trial.map_or(1.0, |trial| trial.reach))
        }
    }
}

fn calibration(index: &Index) -> Result<&Calibration> {
    index.metadata().calibration.as_ref().ok_or_else(|| {
        let reason = "it was not calibrated for approximate search: write it to a file, not a pipe, \
                      or write it again with `l0-index merge`";
        Error::format(index.name(), reason)
    })
}

/// What approximate search does with short and with long queries, and what it reached on those that
/// calibrated the index.
///
/// # Errors
/// As [`search`].
pub fn promise(index: &Index, hits: usize, Recall(wanted): Recall) -> Result<String> {
    let calibration = calibration(index)?;
    let recall = |terms: usize| match calibration
        .trial(wanted, hits, terms)
        .filter(|_| wanted < 1.0)
    {
        None => format!("up to {terms} terms exact"),
        Some(Trial { k, reach, recall, error, queries, .. }) => format!(
            "up to {terms} terms {recall:.4} ± {error:.4} of {k} (thresholds × {reach}, {queries} queries)"
        ),
    };
    let kinds: BTreeSet<usize> = calibration.rows.iter().map(|trial| trial.terms).collect();
    let kinds: Vec<String> = kinds.into_iter().map(recall).chain(["else exact".into()]).collect();
    Ok(format!("{}: recall on samples of its documents: {}", index.name(), kinds.join(", ")))
}

/// What one term adds to a score. Every method computes it here.
#[inline]
fn part(query_weight: f32, weight: f32) -> f32 {
    query_weight * weight
}
