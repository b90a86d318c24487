//! What sparse vectors cost: their lengths, the share of the vocabulary they use, and FLOPS.

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    io::{self, Write},
};

use serde_json::{Map, Value};

use super::render::{Format, row};
use crate::{error::Result, sparse::SparseVector};

/// Terms per page of counters: only pages of terms that occur are kept, whatever their ids.
const PAGE_TERMS: usize = 4096;

/// Counts over a stream of vectors, in memory that grows with the vocabulary only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparsityStats {
    vectors: u64,
    /// By `term / PAGE_TERMS`, then `term % PAGE_TERMS`: vectors in which the term has a weight.
    with_term: BTreeMap<usize, Vec<u64>>,
    /// By number of terms: vectors of that length.
    with_nnz: BTreeMap<usize, u64>,
}

impl SparsityStats {
    /// Counts all `vectors`, owned or borrowed.
    ///
    /// # Errors
    /// The first error among them.
    pub fn of<V: Borrow<SparseVector>>(
        vectors: impl IntoIterator<Item = Result<V>>,
    ) -> Result<SparsityStats> {
        let mut tally = SparsityStats::default();
        for vector in vectors {
            tally.add(vector?.borrow());
        }
        Ok(tally)
    }

    /// Counts one more vector.
    pub fn add(&mut self, vector: &SparseVector) {
        self.vectors += 1;
        *self.with_nnz.entry(vector.nnz()).or_default() += 1;
        for page in vector.terms().chunk_by(|a, b| a.index() / PAGE_TERMS == b.index() / PAGE_TERMS)
        {
            let number = page[0].index() / PAGE_TERMS;
            let counts = self.with_term.entry(number).or_insert_with(|| vec![0; PAGE_TERMS]);
            for term in page {
                counts[term.index() % PAGE_TERMS] += 1;
            }
        }
    }

    /// How many vectors were counted.
    pub fn vectors(&self) -> u64 {
        self.vectors
    }

    /// How many of them have no term.
    pub fn empty(&self) -> u64 {
        self.with_nnz.get(&0).copied().unwrap_or(0)
    }

    /// Mean number of terms; 0 of no vectors.
    pub fn mean_nnz(&self) -> f64 {
        let terms: f64 = self.with_nnz.iter().map(|(&nnz, &n)| nnz as f64 * n as f64).sum();
        terms / self.vectors.max(1) as f64 + 0.0 // the sum of nothing is -0
    }

    /// The number of terms below which the `share` of the vectors lies, 0 ≤ share ≤ 1: 0 gives the
    /// least, 0.5 the lower median, 1 the largest; 0 of no vectors.
    pub fn nnz_at(&self, share: f64) -> usize {
        let wanted = (share * self.vectors as f64).ceil().max(1.0) as u64;
        let mut reached = 0;
        for (&nnz, &vectors) in &self.with_nnz {
            reached += vectors;
            if reached >= wanted {
                return nnz;
            }
        }
        0
    }

    /// How many different terms have a weight somewhere.
    pub fn terms_used(&self) -> usize {
        self.with_term.values().flatten().filter(|&&count| count > 0).count()
    }
}

/// The expected number of terms that a query and a document share: Σ_j P_q(j) · P_d(j), where P is
/// the share of vectors in which term j has a weight. 0 if either side is empty.
///
/// It counts, and so differs from the regularizer of that name, which squares mean weights. Source:
/// the FLOPS column of Shen, Geng, Yang, SIGIR 2025, as their evaluation computes it.
pub fn flops(queries: &SparsityStats, documents: &SparsityStats) -> f64 {
    let pairs = queries.with_term.iter().filter_map(|(page, counts)| {
        documents.with_term.get(page).map(|others| counts.iter().zip(others))
    });
    let all = queries.vectors as f64 * documents.vectors as f64;
    let shared: f64 = pairs.flatten().map(|(&q, &d)| q as f64 * d as f64).sum();
    if all == 0.0 { 0.0 } else { shared / all + 0.0 }
}

/// Writes the counts of documents, of queries if there are any, and FLOPS between them.
/// `vocabulary` is the number of terms there could be, if known.
///
/// # Errors
/// Those of `output`.
pub fn render_sparsity(
    output: &mut impl Write,
    documents: &SparsityStats,
    queries: Option<&SparsityStats>,
    vocabulary: Option<usize>,
    format: Format,
) -> io::Result<()> {
    let mut facts = facts("doc", documents, vocabulary);
    if let Some(queries) = queries {
        facts.extend(self::facts("query", queries, vocabulary));
        facts.push(("flops".into(), flops(queries, documents).into()));
    }
    let shown = |value: &Value| match value.as_u64() {
        Some(count) => count.to_string(),
        None => format!("{:.4}", value.as_f64().unwrap_or(f64::NAN)),
    };
    match format {
        Format::JsonLines => writeln!(output, "{}", Value::Object(Map::from_iter(facts))),
        Format::Text => {
            facts.iter().try_for_each(|(name, value)| writeln!(output, "{name}\t{}", shown(value)))
        }
        Format::Markdown => {
            row(output, facts.iter().map(|(name, _)| name.clone()))?;
            row(output, facts.iter().map(|_| "---:".to_owned()))?;
            row(output, facts.iter().map(|(_, value)| shown(value)))
        }
    }
}

fn facts(of: &str, tally: &SparsityStats, vocabulary: Option<usize>) -> Vec<(String, Value)> {
    let used = tally.terms_used();
    let mut facts: Vec<(&str, Value)> = vec![
        ("count", tally.vectors().into()),
        ("empty", tally.empty().into()),
        ("terms_mean", tally.mean_nnz().into()),
        ("terms_min", tally.nnz_at(0.0).into()),
        ("terms_median", tally.nnz_at(0.5).into()),
        ("terms_max", tally.nnz_at(1.0).into()),
        ("vocabulary_used", used.into()),
    ];
    if let Some(vocabulary) = vocabulary.filter(|&vocabulary| vocabulary > 0) {
        facts.push(("vocabulary_share", (used as f64 / vocabulary as f64).into()));
    }
    facts.into_iter().map(|(name, value)| (format!("{of}_{name}"), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparse::TermId;

    /// Vectors between commas, each a list of terms.
    fn tally(vectors: &str) -> SparsityStats {
        let vectors = vectors.split(',').map(|terms| {
            let terms = terms.split_whitespace().map(|term| TermId(term.parse().unwrap()));
            SparseVector::new(terms.map(|term| (term, 0.5)))
        });
        SparsityStats::of(vectors).unwrap()
    }

    #[test]
    fn flops_is_the_expected_number_of_shared_terms() {
        let queries = tally("1 2,1"); // P = 1, ½
        let documents = tally("1,2"); // P = ½, ½
        assert_eq!(flops(&queries, &documents), 0.75);
        assert_eq!(flops(&documents, &queries), 0.75);
        assert_eq!(flops(&queries, &tally("7,5000")), 0.0);
        assert_eq!(flops(&queries, &SparsityStats::default()), 0.0);
    }

    #[test]
    fn lengths_are_counted() {
        #[track_caller]
        fn check(vectors: &str, mean: f64, min_median_max: [usize; 3], empty: u64, used: usize) {
            let tally = tally(vectors);
            assert_eq!(tally.mean_nnz(), mean);
            assert_eq!([0.0, 0.5, 1.0].map(|share| tally.nnz_at(share)), min_median_max);
            assert_eq!((tally.empty(), tally.terms_used()), (empty, used));
        }
        check("1 2 3,4,1 9", 2.0, [1, 2, 3], 0, 5);
        check(",1 2", 1.0, [0, 0, 2], 1, 2);
        check("4294967295 ", 1.0, [1, 1, 1], 0, 1);
        check("0 4095 4096,4096", 2.0, [1, 1, 3], 0, 3);
    }

    #[test]
    fn nothing_counts_as_nothing() {
        let tally = SparsityStats::default();
        assert_eq!((tally.vectors(), tally.mean_nnz(), tally.nnz_at(0.5)), (0, 0.0, 0));
        assert!(tally.mean_nnz().is_sign_positive());
    }

    #[test]
    fn an_error_among_the_vectors_ends_the_count() {
        let bad = crate::error::Error::line("f", 3, "a vector", "none");
        let vectors = [Ok(SparseVector::default()), Err(bad)];
        assert_eq!(
            SparsityStats::of(vectors).unwrap_err().to_string(),
            "f:3: expected a vector, found none"
        );
    }

    #[track_caller]
    fn check(format: Format, expected: &str) {
        let mut bytes = Vec::new();
        let (documents, queries) = (tally("1,2"), tally("1 2,1"));
        render_sparsity(&mut bytes, &documents, Some(&queries), Some(4), format).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn renders_in_three_forms() {
        check(
            Format::Text,
            "doc_count\t2\ndoc_empty\t0\ndoc_terms_mean\t1.0000\ndoc_terms_min\t1\n\
             doc_terms_median\t1\ndoc_terms_max\t1\ndoc_vocabulary_used\t2\n\
             doc_vocabulary_share\t0.5000\nquery_count\t2\nquery_empty\t0\n\
             query_terms_mean\t1.5000\nquery_terms_min\t1\nquery_terms_median\t1\n\
             query_terms_max\t2\nquery_vocabulary_used\t2\nquery_vocabulary_share\t0.5000\n\
             flops\t0.7500\n",
        );
        let mut bytes = Vec::new();
        render_sparsity(&mut bytes, &tally("1 2"), None, None, Format::JsonLines).unwrap();
        let line: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&line["doc_terms_mean"], &line["flops"]), (&2.0.into(), &Value::Null));
        let mut bytes = Vec::new();
        render_sparsity(&mut bytes, &tally("1 2"), None, None, Format::Markdown).unwrap();
        assert!(bytes.starts_with(b"| doc_count | doc_empty |"));
    }
}
