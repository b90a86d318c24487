//! The query table of a corpus.

use std::io::Write;

use super::Source;
pub use crate::text::DocumentFrequencies;
use crate::{
    error::{Error, Result},
    io::Output,
    sparse::TermId,
    text::Tokenizer,
};

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
    let mut counted = DocumentFrequencies::new(tokenizer.vocabulary());
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
    if counted.documents() == 0 {
        return Err(Error::format("input", "expected at least one document, found none"));
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
