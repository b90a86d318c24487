//! The query table of a corpus.

use std::io::Write;

use super::Source;
use crate::{
    error::{Error, Result},
    io::Output,
    sparse::TermId,
    text::{Tokenizer, inverse_document_frequency},
};

/// In how many documents each term occurs.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentFrequencies {
    /// Documents, empty ones included.
    pub documents: u64,
    /// By term id, `[V]`.
    pub frequencies: Vec<u64>,
}

impl DocumentFrequencies {
    /// None yet, for a vocabulary of `terms`.
    pub fn new(terms: usize) -> DocumentFrequencies {
        DocumentFrequencies { documents: 0, frequencies: vec![0; terms] }
    }

    /// Counts a document by its distinct terms.
    pub fn add(&mut self, distinct: impl IntoIterator<Item = u32>) {
        self.documents += 1;
        for term in distinct {
            self.frequencies[term as usize] += 1;
        }
    }

    /// ln(1 + (N − df + ½) / (df + ½)); a term that no document has gets the largest.
    pub fn weight(&self, term: TermId) -> f32 {
        inverse_document_frequency(self.documents, self.frequencies[term.index()])
    }
}

/// Counts the word pieces of a corpus, of each document at most `max_tokens` (special ones counted
/// as an encoder counts them); calls `each` after every document.
///
/// # Errors
/// The first error of the input or the tokenizer.
pub fn count(
    texts: impl Source,
    tokenizer: &Tokenizer,
    max_tokens: usize,
    mut each: impl FnMut(),
) -> Result<DocumentFrequencies> {
    let mut counted = DocumentFrequencies::new(tokenizer.vocabulary().len());
    for text in texts {
        let mut pieces = tokenizer.pieces(&text?.content())?;
        pieces.truncate(max_tokens.saturating_sub(tokenizer.special_around()));
        pieces.sort_unstable();
        pieces.dedup();
        counted.add(pieces);
        each();
    }
    Ok(counted)
}

/// Writes `{"token": weight}` with every token of the vocabulary in the order of ids, special ones 0.
///
/// # Errors
/// [`Error::Format`] if nothing was counted; [`Error::Io`].
pub fn write(
    counted: &DocumentFrequencies,
    tokenizer: &Tokenizer,
    mut output: Output,
) -> Result<()> {
    if counted.documents == 0 {
        return Err(Error::format("input", "want at least one document, got none"));
    }
    let name = output.name().to_owned();
    let mut lines = String::from("{");
    for (id, token) in (0..).map(TermId).zip(tokenizer.vocabulary().tokens()) {
        let weight = if tokenizer.is_special(id) { 0.0 } else { counted.weight(id) };
        let comma = if id == TermId(0) { "" } else { "," };
        // a string and a number are always JSON
        lines += &format!("{comma}\n  {}: {weight}", serde_json::json!(token));
    }
    lines += "\n}\n";
    output.write_all(lines.as_bytes()).map_err(|source| Error::io(&name, source))?;
    output.commit()
}
