//! A teacher's scores in a separate file, next to hard negatives by id: rows `qid, pid, score`.
//!
//! The published scores of MS MARCO's hard negatives are a pickle, and reading a pickle runs what
//! is in it; so it is converted once, by anyone who trusts it.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::{Example, read::value_at};
use crate::{
    error::{Error, Result},
    io::{Content, Input},
    tables::{arrow::Table, json::id_of},
};

/// Numbers for ids, in the order of their first occurrence.
#[derive(Default)]
struct Numbers(BTreeMap<String, u32>);

impl Numbers {
    fn number(&mut self, id: String) -> u32 {
        // fewer than 2³² rows are read, so fewer ids
        let next = self.0.len() as u32;
        *self.0.entry(id).or_insert(next)
    }
}

/// Scores by query and document.
pub struct ScoreFile {
    name: String,
    queries: Numbers,
    documents: Numbers,
    /// (query, document, score), ascending.
    rows: Vec<(u32, u32, f32)>,
}

impl ScoreFile {
    /// Reads a whole file of rows `qid, pid, score`, 12 bytes each in memory.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a file that is not a table, saying how to make one, or one
    /// of other columns; [`Error::Line`] for a row without ids or a finite score, or a pair that comes
    /// twice with two scores.
    pub fn read(path: &Path) -> Result<ScoreFile> {
        let input = Input::open(path)?;
        if input.content() == Content::Text {
            return Err(Error::format(path, NO_TABLE));
        }
        let table = Table::open(input)?;
        let has = |name: &&str| table.schema.field_with_name(name).is_ok();
        if !["qid", "pid", "score"].iter().all(has) {
            let reason = format!("expected columns qid, pid, score; found {}", table.columns());
            return Err(Error::format(path, reason));
        }
        let mut file = ScoreFile {
            name: table.name,
            queries: Numbers::default(),
            documents: Numbers::default(),
            rows: Vec::new(),
        };
        for batch in table.batches {
            let batch = batch?;
            let cell = |name: &str, at: usize| {
                batch.column_by_name(name).map_or(Value::Null, |column| value_at(column, at))
            };
            for at in 0..batch.num_rows() {
                file.push(cell("qid", at), cell("pid", at), cell("score", at))?;
            }
        }
        file.rows.sort_by_key(|&(query, document, _)| (query, document));
        file.rows.dedup();
        let twice = |pair: &[(u32, u32, f32)]| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1);
        match file.rows.windows(2).find(|pair| twice(pair)) {
            None => Ok(file),
            Some(pair) => Err(Error::format(
                path,
                format!(
                    "expected one score per pair, found {} and {} for one query and document",
                    pair[0].2, pair[1].2
                ),
            )),
        }
    }

    fn push(&mut self, query: Value, document: Value, score: Value) -> Result<()> {
        let row = self.rows.len() as u64 + 1;
        let bad = |found: String| Error::line(&self.name, row, "two ids and a score", found);
        let query_id = id_of(&query).ok_or_else(|| bad(format!("a qid that is {query}")))?;
        let id = id_of(&document).ok_or_else(|| bad(format!("a pid that is {document}")))?;
        let number = score.as_f64().map(|score| score as f32).filter(|score| score.is_finite());
        let number = number.ok_or_else(|| bad(format!("a score that is {score}")))?;
        if u32::try_from(row).is_err() {
            return Err(bad("more than 2³² rows".into()));
        }
        self.rows.push((self.queries.number(query_id), self.documents.number(id), number));
        Ok(())
    }

    /// The example with these scores, by its ids; the error names a pair without a score.
    pub fn fill(&self, mut example: Example) -> Result<Example, String> {
        let query = self.queries.0.get(&example.query);
        let score = |document: &String| {
            let pair = query.zip(self.documents.0.get(document));
            let at = pair.and_then(|(query, document)| {
                self.rows.binary_search_by_key(&(*query, *document), |row| (row.0, row.1)).ok()
            });
            at.map(|at| self.rows[at].2).ok_or_else(|| {
                format!(
                    "query `{}` and document `{document}`, which {} lacks",
                    example.query, self.name
                )
            })
        };
        example.scores = Some(example.docs.iter().map(score).collect::<Result<_, _>>()?);
        Ok(example)
    }
}

const NO_TABLE: &str = "expected a Parquet file with columns qid, pid, score. A pickle is not read, for \
reading one runs what is in it; if you trust it, convert it once: python -c \"import gzip, pickle, \
pandas; s = pickle.load(gzip.open('scores.pkl.gz')); pandas.DataFrame([(q, p, x) for q, d in s.items() \
for p, x in d.items()], columns=['qid', 'pid', 'score']).to_parquet('scores.parquet')\"";
