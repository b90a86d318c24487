//! Vectors of other programs, as files of vectors.

use std::path::Path;

use super::Role;
use crate::{
    error::{Error, Result},
    formats::{
        exchange::read::{self, Ids, Source},
        rejects::Rejects,
        vectors::{Form, Lookup, Row, VectorMeta, Writer},
    },
    io::Output,
    sparse::{SparseVector, TermId},
    text::Vocabulary,
};

/// How a file is read.
pub struct Import<'a> {
    /// Its form.
    pub from: Source,
    /// A file of document ids, for forms that have none.
    pub ids: Option<&'a Path>,
    /// The tokens behind the term ids.
    pub vocabulary: &'a Vocabulary,
    /// Weights are divided by this.
    pub divide: f32,
    /// The model's name in the metadata; default: the form.
    pub name: Option<&'a str>,
    /// What the rows stand for.
    pub role: Role,
    /// Whether titles and texts are kept.
    pub keep_text: bool,
}

/// Reads all rows of `input` and writes them to `output`; returns how many.
///
/// # Errors
/// What [`read::rows`], [`Rejects::take`] and [`Writer`] say; [`Error::Format`] for a weight that is no
/// weight any more when it is divided.
pub fn import(
    input: &Path,
    plan: &Import,
    rejects: &mut Rejects,
    output: Output,
    form: Form,
) -> Result<u64> {
    let vocabulary = plan.vocabulary;
    let ids = plan.ids.map_or(Ok(Ids::Numbers), Ids::read)?;
    let words = vocabulary.clone();
    let lookup: Lookup = Box::new(move |token| words.id(token));
    let rows = read::rows(plan.from, input, ids, lookup, vocabulary.len())?;
    let from = plan.from.to_string();
    let meta = VectorMeta {
        role: match plan.role {
            Role::Documents => "document".into(),
            Role::Queries => "query".into(),
        },
        model: plan.name.unwrap_or(&from).to_owned(),
        model_sha256: None,
        vocabulary_sha256: vocabulary.fingerprint().to_owned(),
        vocab_size: vocabulary.len(),
        activation: match plan.divide {
            1.0 => "imported".into(),
            divide => format!("imported,/{divide}"),
        },
        max_tokens: None,
        prune: "none".into(),
    };
    let mut writer = Writer::new(output, form, &meta, plan.keep_text)?;
    let (mut count, mut nothing) = (0, true);
    for row in rows {
        nothing = false;
        match row.and_then(|row| checked(row, vocabulary, plan.divide)) {
            Ok(row) => {
                writer.write(&row)?;
                count += 1;
            }
            Err(error) => rejects.take(error, &[])?,
        }
    }
    if nothing && plan.from == Source::JsonLines {
        let reason = "want lines of vectors, got none; did the program before it fail?";
        return Err(Error::format(input, reason));
    }
    rejects.check(count)?;
    rejects.flush()?;
    writer.finish()?;
    Ok(count)
}

/// The row with its weights divided, if its terms are of the vocabulary.
fn checked(row: Row, vocabulary: &Vocabulary, divide: f32) -> Result<Row> {
    let high = row.vector.terms().last().map_or(0, |term| term.index() + 1);
    if high > vocabulary.len() {
        let (term, size) = (high - 1, vocabulary.len());
        let found = format!("`{}`: want terms of a vocabulary of {size}, got {term}", row.id);
        return Err(Error::format("vectors", found));
    }
    if divide == 1.0 {
        return Ok(row);
    }
    let pairs = row.vector.iter().map(|(term, weight): (TermId, f32)| (term, weight / divide));
    Ok(Row { vector: SparseVector::new(pairs)?, ..row })
}
