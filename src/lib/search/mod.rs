//! Queries against indexes: the exact ways to the best hits, and the loop that answers.
//!
//! Methods differ only in whom they skip. The score of a document is the same everywhere: the sum of
//! query weight · stored weight, in f32, in ascending order of terms; a document whose sum is 0 is
//! no hit. No tensor, no network.

mod batch;
mod block_max;
mod engine;
mod exhaustive;
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
    /// Passes over blocks of documents that cannot hold one of the best.
    Exact,
    /// Scores every posting: the truth that others are compared with.
    Exhaustive,
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Method> {
        match text {
            "exact" => Ok(Method::Exact),
            "exhaustive" => Ok(Method::Exhaustive),
            _ => Err(Error::Usage(format!("want exact or exhaustive, got `{text}`"))),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Exact => "exact",
            Method::Exhaustive => "exhaustive",
        })
    }
}

/// The at most `k` best documents of one index, best first: score descending, then document
/// ascending.
///
/// # Errors
/// [`Error::Format`] if the index turns out to be damaged.
pub fn search(index: &Index, query: &SparseVector, k: usize, method: Method) -> Result<Vec<Hit>> {
    match method {
        Method::Exact => block_max::search(index, query, k),
        Method::Exhaustive => exhaustive::search(index, query, k),
    }
}

/// What one term adds to a score. Every method computes it here.
#[inline]
fn part(query_weight: f32, weight: f32) -> f32 {
    query_weight * weight
}
