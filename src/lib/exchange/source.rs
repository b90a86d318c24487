//! What is exported, row by row.

use std::{collections::BTreeSet, path::Path};

use super::{Extent, Role, Source};
use crate::{
    error::{Error, Result},
    index::{DocId, Index},
    io::{self, Input},
    sparse::TermId,
    text::Vocabulary,
    vectors::{self, Lookup, Row},
};

/// Documents of an index whose vectors are in memory at a time.
const DOCS: usize = 1 << 16;

impl Source<'_> {
    pub(super) fn extent(&self, tokens: &Vocabulary, role: Role) -> Result<Extent> {
        let mut extent = Extent::NONE;
        match self {
            Source::Index(index) => {
                for term in terms(index) {
                    let list = index.postings(term)?;
                    extent = list.iter().fold(extent, |extent, &(_, weight)| extent.with(weight));
                }
            }
            Source::Vectors(paths) => {
                if paths.is_empty() || paths.iter().any(|path| path == Path::new("-")) {
                    return Err(Error::Usage(
                        "max and minmax read the vectors twice: expected files, found a pipe"
                            .into(),
                    ));
                }
                self.each(tokens, role, |row| {
                    let weights = row.vector.weights().iter();
                    extent = weights.fold(extent, |extent, &weight| extent.with(weight));
                    Ok(())
                })?;
            }
        }
        Ok(extent)
    }

    /// Whether the rows are queries, as far as the first file says it, which is not asked if it is a pipe.
    ///
    /// # Errors
    /// As [`vectors::read`].
    pub fn role(&self) -> Result<Option<Role>> {
        let first = match self {
            Source::Vectors([first, ..]) if first != Path::new("-") && io::is_file(first)? => first,
            Source::Vectors(_) => return Ok(None),
            Source::Index(_) => return Ok(Some(Role::Documents)),
        };
        let (meta, _) = vectors::read(Input::open(first)?, None)?;
        Ok(meta.map(|meta| match meta.role.as_str() {
            "query" => Role::Queries,
            _ => Role::Documents,
        }))
    }

    /// All rows, in order.
    pub(super) fn each(
        &self,
        tokens: &Vocabulary,
        role: Role,
        mut take: impl FnMut(&Row) -> Result<()>,
    ) -> Result<()> {
        match self {
            Source::Index(index) => {
                for begin in (0..index.len()).step_by(DOCS) {
                    // an index has fewer than 2³² documents
                    let end = index.len().min(begin + DOCS);
                    let docs: Vec<DocId> = (begin as u32..end as u32).map(DocId).collect();
                    for (&doc, vector) in docs.iter().zip(index.vectors(&docs)?) {
                        let kept = index.text(doc)?;
                        let title = kept.as_ref().map(|kept| kept.title.clone());
                        let title = title.filter(|title| !title.is_empty());
                        let text = kept.map(|kept| kept.text).filter(|text| !text.is_empty());
                        let id = index.docno(doc)?.to_owned();
                        take(&Row { id, vector, title, text, ..Row::default() })?;
                    }
                }
                Ok(())
            }
            Source::Vectors(paths) => {
                let mut ids = BTreeSet::new();
                for path in *paths {
                    let words = tokens.clone();
                    let lookup: Lookup = Box::new(move |token| words.id(token));
                    let input = Input::open(path)?;
                    let name = input.name().to_owned();
                    let (meta, rows) = vectors::read(input, Some(lookup))?;
                    if let Some(meta) = meta {
                        check_vocabulary(&name, &meta.vocabulary_sha256, tokens)?;
                        check_role(&name, &meta.role, role)?;
                    }
                    for row in rows {
                        let row = row?;
                        if !ids.insert(row.id.clone()) {
                            let wanted = "expected every id once, found it twice";
                            return Err(Error::format(&name, format!("`{}`: {wanted}", row.id)));
                        }
                        if let Some(found) = out_of_vocabulary(&row, tokens) {
                            return Err(Error::format(
                                &name,
                                format!("expected terms of the vocabulary, found {found}"),
                            ));
                        }
                        take(&row)?;
                    }
                }
                Ok(())
            }
        }
    }
}

fn check_vocabulary(file: &str, found: &str, tokens: &Vocabulary) -> Result<()> {
    if found == tokens.fingerprint() {
        return Ok(());
    }
    Err(Error::Mismatch {
        what: format!("vocabulary of {file}"),
        expected: format!("that of the tokenizer ({})", tokens.fingerprint()),
        got: found.to_owned(),
        remedy: "name the tokenizer or the model that made the vectors".into(),
    })
}

/// What is wrong with a row whose terms are not all of the vocabulary.
pub(super) fn out_of_vocabulary(row: &Row, tokens: &Vocabulary) -> Option<String> {
    let high = row.vector.terms().last().filter(|term| term.index() >= tokens.len())?;
    let size = tokens.len();
    Some(format!("term {}, of a vocabulary of {size}, in `{}`", high.0, row.id))
}

/// Files of documents and of queries do not mix, and a pipe does not say beforehand what it brings.
fn check_role(file: &str, found: &str, role: Role) -> Result<()> {
    if (found == "query") == (role == Role::Queries) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{file}: expected vectors of one role, found role `{found}`; give the role where a pipe \
         brings queries"
    )))
}

/// The terms of an index, in order of their ids.
pub(super) fn terms(index: &Index) -> impl Iterator<Item = TermId> {
    // a vocabulary has fewer than 2³¹ tokens
    (0..index.metadata().vocabulary_size as u32).map(TermId)
}
