//! Query weights by the statistics of the collection that is indexed.

use super::{Plan, QuerySide};
use crate::{
    error::{Error, Result},
    io::Content,
    text::{DocumentFrequencies, QueryTable, Reweighting},
    vectors::Ending,
};

/// The document frequencies of all inputs together, where query weights depend on them.
pub(in crate::index) struct Corpus<'a> {
    language: &'a QuerySide,
    counted: Option<(Reweighting, DocumentFrequencies)>,
}

impl<'a> Corpus<'a> {
    pub fn new(plan: &Plan<'a>) -> Corpus<'a> {
        let none = DocumentFrequencies::new(plan.language.tokenizer.vocabulary());
        let counted = plan.reweighting.map(|reweighting| (reweighting, none));
        Corpus { language: plan.language, counted }
    }

    /// Refuses an input without frequencies at its first row, where that is known: a stream has them at
    /// its end.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub fn begin(&self, name: &str, content: Content, ending: &Ending) -> Result<()> {
        let is_absent = content != Content::ArrowStream && ending.document_frequencies().is_none();
        if self.counted.is_some() && is_absent { Err(absent(name)) } else { Ok(()) }
    }

    /// Adds the frequencies of an input whose rows were read.
    ///
    /// # Errors
    /// [`Error::Format`] if it has none; as [`DocumentFrequencies::from_text`].
    pub fn add(&mut self, name: &str, ending: &Ending) -> Result<()> {
        let Some((_, sum)) = &mut self.counted else { return Ok(()) };
        let text = ending.document_frequencies().ok_or_else(|| absent(name))?;
        let vocabulary = self.language.tokenizer.vocabulary();
        let (fingerprint, terms) = (vocabulary.fingerprint(), vocabulary.len());
        sum.merge(&DocumentFrequencies::from_text(name, text, fingerprint, terms)?)
    }

    /// The query table of the index, and where it comes from, for people.
    ///
    /// # Errors
    /// As [`Reweighting::table`].
    pub fn table(self) -> Result<(QueryTable, String)> {
        let QuerySide { table, table_source, .. } = self.language;
        let Some((reweighting, counted)) = self.counted else {
            return Ok((table.clone(), table_source.clone()));
        };
        reweighted(reweighting, table, table_source, &counted)
    }
}

/// The query table of a collection, and where it comes from, for people.
///
/// # Errors
/// As [`Reweighting::table`].
pub fn reweighted(
    reweighting: Reweighting,
    table: &QueryTable,
    table_source: &str,
    counted: &DocumentFrequencies,
) -> Result<(QueryTable, String)> {
    let idf = format!("idf of {} documents", counted.documents());
    let source = match reweighting {
        Reweighting::Idf => idf,
        Reweighting::Geometric { .. } => format!("{table_source}, reweighted by the {idf}"),
    };
    Ok((reweighting.table(table, counted)?, source))
}

fn absent(name: &str) -> Error {
    let expected = "expected document frequencies with the vectors, found none";
    let remedy = "encode the documents again into Parquet or Arrow (JSON lines, imports and files of \
                  older versions have none), or ask for the model's own query weights or a table of l0-encode idf";
    Error::format(name, format!("{expected}; {remedy}"))
}
