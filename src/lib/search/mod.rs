//! Queries against indexes: the exact ways to the best hits, and the loop that answers.
//!
//! Methods differ only in whom they skip. The score of a document is the same everywhere: the sum of
//! query weight · stored weight, in f32, in ascending order of terms; a document whose sum is 0 is
//! no hit. No tensor, no network.

mod batch;
mod engine;
mod exhaustive;
mod maxscore;
mod measure;
mod questions;
mod render;
mod several;
mod topk;

use std::{fmt, str::FromStr};

pub use batch::{AnswerConfig, Count};
pub use engine::{Detail, Engine, Part, SearchConfig, Shown};
pub use measure::{Agreement, Latency};
pub use questions::{Question, Questions};
pub use render::{Answer, AnswerForm};
pub use several::{Found, search_all};
pub use topk::{Hit, TopK};

use crate::{
    error::{Error, Result},
    index::Index,
    sparse::SparseVector,
};

/// How the best hits are found. All methods give the same hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Passes over documents that cannot be among the best, for queries where that is quicker.
    Exact,
    /// Passes over documents that cannot be among the best, whatever the query.
    MaxScore,
    /// Scores every posting: the truth that others are compared with.
    Exhaustive,
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Method> {
        match text {
            "exact" => Ok(Method::Exact),
            "maxscore" => Ok(Method::MaxScore),
            "exhaustive" => Ok(Method::Exhaustive),
            _ => Err(Error::Usage(format!("want exact, maxscore or exhaustive, got `{text}`"))),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Exact => "exact",
            Method::MaxScore => "maxscore",
            Method::Exhaustive => "exhaustive",
        })
    }
}

/// Queries of more terms are answered by scoring everything.
///
/// Measured with `l0-query --bench` on 100,000 documents of 114 terms whose weights do not correlate,
/// the worst case for skipping: MaxScore takes half the time at 6 terms, as long at 12, four times as
/// long at 32. The limit lies above 12 by judgement: real weights correlate.
const LONG_QUERY: usize = 16;

/// The at most `k` best documents of one index, best first: score descending, then document
/// ascending.
///
/// # Errors
/// [`Error::Format`] if the index turns out to be damaged.
pub fn search(index: &Index, query: &SparseVector, k: usize, method: Method) -> Result<Vec<Hit>> {
    match method {
        Method::MaxScore => maxscore::search(index, query, k),
        Method::Exact if query.nnz() <= LONG_QUERY => maxscore::search(index, query, k),
        Method::Exact | Method::Exhaustive => exhaustive::search(index, query, k),
    }
}

/// What one term adds to a score. Every method computes it here.
#[inline]
fn part(query_weight: f32, weight: f32) -> f32 {
    query_weight * weight
}
