//! Rankings against judgements.

use std::path::Path;

use super::file;
use crate::{
    error::Result,
    eval::{self, IdenticalIds, Measure},
    io::Input,
    records::{rejects::Rejects, trec},
};

/// Judgements: which documents are relevant to which queries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Qrels(trec::Qrels);

impl Qrels {
    /// Without judgements.
    pub fn new() -> Qrels {
        Qrels::default()
    }

    /// Reads TREC judgements (`qid iter docno grade`) or BEIR's table (`query-id`, `corpus-id`, `score`).
    ///
    /// ```
    /// let qrels = l0::Qrels::open("testdata/demo/qrels/test.tsv")?;
    /// # Ok::<(), l0::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Line`](crate::Error::Line) for a line that is not a
    /// judgement; [`Error::Format`](crate::Error::Format) for a file without any.
    pub fn open(path: impl AsRef<Path>) -> Result<Qrels> {
        trec::Qrels::read(Input::open(&file(path.as_ref()))?, &mut Rejects::stop()).map(Qrels)
    }

    /// Adds a judgement: from 1 relevant, 0 not relevant. A later one of the same pair replaces it.
    pub fn add(&mut self, query: &str, document: &str, grade: i32) {
        self.0.insert(query, document, grade);
    }
}

/// A run: for each query the documents that were found, with scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Run(trec::Run);

impl Default for Run {
    fn default() -> Run {
        Run::new()
    }
}

impl Run {
    /// Without rankings.
    pub fn new() -> Run {
        Run(trec::Run::named("run"))
    }

    /// Reads a TREC run (`qid Q0 docno rank score tag`).
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Line`](crate::Error::Line) for a line of another form and
    /// for a document that is found twice by one query; [`Error::Format`](crate::Error::Format) for a file
    /// without a line.
    pub fn open(path: impl AsRef<Path>) -> Result<Run> {
        trec::Run::read(Input::open(&file(path.as_ref()))?, &mut Rejects::stop()).map(Run)
    }

    /// Adds the hits of a query, in any order: documents and scores.
    ///
    /// # Errors
    /// [`Error::Line`](crate::Error::Line) with the number of the hit for a document that is there twice
    /// and for a score that is not a number; [`Error::Usage`](crate::Error::Usage) for a query that has its
    /// hits already.
    pub fn insert<D: AsRef<str>>(
        &mut self,
        query: &str,
        hits: impl IntoIterator<Item = (D, f64)>,
    ) -> Result<()> {
        self.0.insert(query, hits)
    }
}

/// The values of measures, in the order of `measures`: means over the judged queries, sums of counts.
///
/// Measures are named as in ir_measures (`nDCG@10`, `RR@10`, `AP`, `R@100`, `P(rel=2)@5`, …) and computed
/// as by trec_eval: ordered by score, ties by document id descending. A judged query without hits counts 0.
///
/// ```
/// let mut qrels = l0::Qrels::new();
/// qrels.add("q1", "tides", 1);
/// let mut run = l0::Run::new();
/// run.insert("q1", [("bread", 7.5), ("tides", 3.25)])?;
/// assert_eq!(l0::evaluate(&qrels, &run, &["RR@10", "P@1"])?, [0.5, 0.0]);
/// # Ok::<(), l0::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`](crate::Error::Usage) for a measure that does not exist, with the nearest name;
/// [`Error::Format`](crate::Error::Format) if no query of the run is judged.
pub fn evaluate(qrels: &Qrels, run: &Run, measures: &[&str]) -> Result<Vec<f64>> {
    let measures: Vec<Measure> = measures.iter().map(|name| name.parse()).collect::<Result<_>>()?;
    let scores = eval::evaluate(&qrels.0, &run.0, &measures, IdenticalIds::Keep)?;
    Ok((0..measures.len()).map(|place| scores.overall(place)).collect())
}
