//! Vectors of other programs, as files of vectors.

use std::{collections::BTreeSet, path::Path};

use super::{
    Role,
    read::{self, Ids, Source},
    source::out_of_vocabulary,
};
use crate::{
    error::{Error, Result},
    io::Output,
    records::rejects::Rejects,
    sparse::{SparseVector, TermId},
    text::Vocabulary,
    vectors::{Form, Lookup, Row, VectorMeta, Writer},
};

/// How a file is read.
pub struct Import<'a> {
    /// Its form.
    pub from: Source,
    /// A file of document ids, for forms that have none.
    pub ids: Option<&'a Path>,
    /// The tokens of the term ids.
    pub vocabulary: &'a Vocabulary,
    /// Weights are divided by this.
    pub divide: f32,
    /// The model's name in the metadata; default: the form.
    pub name: Option<&'a str>,
    /// What the rows are.
    pub role: Role,
    /// Whether titles and texts are kept.
    pub keep_text: bool,
}

impl Import<'_> {
    /// What the rows will say of where they come from.
    fn meta(&self) -> VectorMeta {
        let from = || self.from.to_string();
        VectorMeta {
            role: match self.role {
                Role::Documents => "document".into(),
                Role::Queries => "query".into(),
            },
            model: self.name.map_or_else(from, str::to_owned),
            model_sha256: None,
            vocabulary_sha256: self.vocabulary.fingerprint().to_owned(),
            vocab_size: self.vocabulary.len(),
            activation: match self.divide {
                1.0 => "imported".into(),
                divide => format!("imported,/{divide}"),
            },
            max_tokens: None,
            prune: "none".into(),
            shard: None,
        }
    }
}

/// Reads all rows of `input` and writes them to `output`; returns how many. `each` is called after every row.
///
/// # Errors
/// What [`read::rows`], [`Rejects::take`] and [`Writer`] say; [`Error::Line`], with the number of the vector,
/// for a term outside the vocabulary and a weight that is none any more when it is divided.
pub fn import(
    input: &Path,
    plan: &Import,
    rejects: &mut Rejects,
    output: Output,
    form: Form,
    mut each: impl FnMut(),
) -> Result<u64> {
    let vocabulary = plan.vocabulary;
    let ids = plan.ids.map_or(Ok(Ids::Numbers), Ids::read)?;
    let words = vocabulary.clone();
    let lookup: Lookup = Box::new(move |token| words.id(token));
    let rows = read::rows(plan.from, input, ids, lookup, vocabulary.len())?;
    let mut writer = Writer::new(output, form, &plan.meta(), plan.keep_text)?;
    let (mut count, mut nothing) = (0, true);
    let name = if input == Path::new("-") { "<stdin>".into() } else { input.display().to_string() };
    let mut ids = BTreeSet::new();
    for (number, row) in (1..).zip(rows) {
        nothing = false;
        let row = row.and_then(|row| {
            let wanted = "terms of the vocabulary and weights above 0";
            checked(row, vocabulary, plan.divide)
                .map_err(|found| Error::line(&name, number, wanted, found))
        });
        let row = row.and_then(|row| match ids.insert(row.id.clone()) {
            true => Ok(row),
            false => {
                Err(Error::line(&name, number, "every id once", format!("`{}` twice", row.id)))
            }
        });
        match row {
            Ok(row) => {
                writer.write(&row)?;
                each();
                count += 1;
            }
            Err(error) => rejects.take(error, &[])?,
        }
    }
    if nothing && matches!(plan.from, Source::JsonLines | Source::Tei) {
        let reason = "expected vectors, found none; did the program before it fail?";
        return Err(Error::format(&name, reason));
    }
    rejects.check(count)?;
    rejects.flush()?;
    writer.finish()?;
    Ok(count)
}

/// The row with its weights divided, if its terms are of the vocabulary; else what was found.
fn checked(row: Row, vocabulary: &Vocabulary, divide: f32) -> Result<Row, String> {
    if let Some(found) = out_of_vocabulary(&row, vocabulary) {
        return Err(found);
    }
    if divide == 1.0 {
        return Ok(row);
    }
    let pairs = row.vector.iter().map(|(term, weight): (TermId, f32)| (term, weight / divide));
    let bad = |error: Error| format!("{error} in `{}`, divided by {divide}", row.id);
    let vector = SparseVector::new(pairs).map_err(bad)?;
    Ok(Row { vector, ..row })
}
