//! Inputs to an index: reads rows of vectors, compares their metadata, builds.

mod bisect;
mod builder;
mod corpus;
mod draft;
mod merge;
mod order;
mod spill;

use std::{path::Path, sync::Arc};

use corpus::Corpus;

pub use builder::{Artefacts, BuildConfig, Builder, Step};
pub use corpus::reweighted;
pub use draft::Draft;
pub use merge::merge;
pub use order::Order;

use super::format::{
    file::Index,
    metadata::{Encoding, describe},
    quantize::Weights,
    texts::StoredText,
};
use crate::{
    error::{Error, Result},
    io::{Input, Output},
    records::rejects::Rejects,
    sparse::TermId,
    text::{QueryTable, Reweighting, Tokenizer},
    vectors::{self, Lookup, Row, VectorMeta, Vectors},
};

/// What turns a query's text into terms and weights; it goes into the index.
pub struct QuerySide {
    /// The tokenizer of the model that made the vectors.
    pub tokenizer: Tokenizer,
    /// A weight for every term.
    pub table: QueryTable,
    /// Where the weights came from, for people.
    pub table_source: String,
}

/// Where query weights come from.
#[derive(Clone, Copy, Debug)]
pub enum TableSource<'a> {
    /// Weight 1 for every term.
    Unit,
    /// Weight 1 for every term that a query can have: not for special tokens.
    Words,
    /// A file.
    File(&'a Path),
}

impl QuerySide {
    /// The tokenizer of a directory (or a `tokenizer.json`), with a query table.
    ///
    /// # Errors
    /// As [`Tokenizer::load`] and [`QueryTable::read`].
    pub fn load(folder: &Path, source: TableSource) -> Result<QuerySide> {
        let tokenizer = Tokenizer::load(folder)?;
        let vocabulary = tokenizer.vocabulary();
        let (table, table_source) = match source {
            TableSource::Unit => (QueryTable::unit(vocabulary.len()), "unit".to_owned()),
            TableSource::Words => {
                let terms = (0..).map(TermId).take(vocabulary.len());
                let weights = terms.map(|term| if tokenizer.is_special(term) { 0.0 } else { 1.0 });
                (QueryTable::from_weights(weights.collect())?, "unit".to_owned())
            }
            TableSource::File(file) => {
                (QueryTable::read(file, vocabulary)?, file.display().to_string())
            }
        };
        Ok(QuerySide { tokenizer, table, table_source })
    }
}

impl QuerySide {
    /// What an index carries.
    ///
    /// # Errors
    /// [`Error::Format`] if it cannot be used, [`Error::Mismatch`] if the tokenizer is a different one.
    pub fn of(index: &Index) -> Result<QuerySide> {
        let unusable = |what: &str, error: Error| {
            Error::format(index.name(), format!("section `{what}`: {error}"))
        };
        let tokenizer = Tokenizer::from_json(index.tokenizer())
            .map_err(|error| unusable("tokenizer", error))?;
        index.check_fingerprint(tokenizer.vocabulary().fingerprint())?;
        let table = QueryTable::from_weights(index.query_weights())
            .map_err(|error| unusable("query table", error))?;
        Ok(QuerySide { tokenizer, table, table_source: index.metadata().query_weights.clone() })
    }
}

/// How an index is built from inputs.
pub struct Plan<'a> {
    /// The query side.
    pub language: &'a QuerySide,
    /// How the documents' own frequencies change the query weights, if at all.
    pub reweighting: Option<Reweighting>,
    /// SHA-256 of the model's weights, if vectors of another model are to be refused.
    pub model_sha256: Option<&'a str>,
    /// Whether vectors are accepted that do not say which model made them.
    pub trusting: bool,
    /// How weights are stored.
    pub weights: Weights,
    /// How documents are put in order.
    pub order: Order,
    /// Bytes of memory for postings and document ids.
    pub memory: u64,
}

/// Rows between two calls of `progress`.
const PROGRESS_ROWS: u64 = 256;

/// Builds one index from all rows of all inputs, in their order; `progress` hears what is
/// done. The index lacks its end, and the
/// output is not committed.
///
/// # Errors
/// [`Error::Mismatch`] for vectors of another vocabulary, or of another encoding than those before;
/// [`Error::Usage`] for vectors that do not say their model, where that is not trusted;
/// [`Error::Format`] for vectors without the document frequencies that the query weights need;
/// what [`vectors::read`], [`Builder::add`] and [`Rejects::take`] say.
pub fn build<'a>(
    inputs: Vec<Input>,
    plan: &Plan,
    rejects: &mut Rejects,
    mut progress: impl FnMut(Step),
    output: &'a mut Output,
) -> Result<Draft<'a>> {
    fill(builder(plan), inputs, plan, rejects, &mut progress, output)
}

fn builder(plan: &Plan) -> Builder {
    Builder::new(BuildConfig {
        vocabulary_size: plan.language.tokenizer.vocabulary().len(),
        weights: plan.weights,
        order: plan.order,
        memory: plan.memory,
    })
}

fn fill<'a>(
    mut builder: Builder,
    inputs: Vec<Input>,
    plan: &Plan,
    rejects: &mut Rejects,
    progress: &mut dyn FnMut(Step),
    output: &'a mut Output,
) -> Result<Draft<'a>> {
    let language = plan.language;
    let vocabulary = Arc::new(language.tokenizer.vocabulary().clone());
    let mut encoding: Option<Encoding> = None;
    let (mut seen, mut reported) = (0u64, 0);
    let mut any_bare = false;
    let mut corpus = Corpus::new(plan);
    for input in inputs {
        let name = input.name().to_owned();
        let content = input.content();
        builder.begin_part(&name);
        let words = Arc::clone(&vocabulary);
        let lookup: Lookup = Box::new(move |token| words.id(token));
        let Vectors { meta, rows, ending, .. } = vectors::open(input, Some(lookup))?;
        let before = seen;
        let is_bare = meta.is_none();
        any_bare |= is_bare;
        if let Some(meta) = meta {
            check_meta(&name, &meta, plan, &mut encoding)?;
        }
        for row in rows {
            if is_bare && !plan.trusting {
                return Err(unnamed(&name));
            }
            if seen == before {
                corpus.begin(&name, content, &ending)?;
            }
            add(&mut builder, row, rejects)?;
            seen += 1;
            if seen - reported == PROGRESS_ROWS {
                progress(Step::Rows(seen - reported));
                reported = seen;
            }
        }
        if is_bare && seen == before {
            // a program that failed before its first byte leaves this; an empty corpus does not
            let reason = "expected vectors, found an empty input; did the program before it fail?";
            return Err(Error::format(&name, reason));
        }
        corpus.add(&name, &ending)?;
    }
    progress(Step::Rows(seen - reported));
    let (table, table_source) = corpus.table()?;
    let artefacts = Artefacts {
        vocabulary: vocabulary.fingerprint().to_owned(),
        // what some rows do not say cannot be claimed for all
        encoding: encoding.filter(|_| !any_bare),
        tokenizer: language.tokenizer.to_json().to_vec(),
        query_weights: table.weights().to_vec(),
        query_source: table_source,
    };
    let name = output.name().to_owned();
    builder.finish(&artefacts, output, &name, progress)
}

/// The error for rows that do not say their model, where that is not trusted.
fn unnamed(name: &str) -> Error {
    let expected =
        "expected a model or a tokenizer, since the vectors do not say which model made them";
    Error::Usage(format!(
        "{name}: {expected}, found neither; texts are encoded first, by l0-encode"
    ))
}

/// Writes an index with the rows of all inputs after the documents of `index`, with its settings. The new
/// rows are indexed by themselves in `part`, a file that is not committed.
///
/// # Errors
/// As [`build`] and [`merge()`]; [`Error::Usage`] if `part` is not a file.
pub fn append<'a>(
    index: Index,
    inputs: Vec<Input>,
    memory: u64,
    rejects: &mut Rejects,
    mut progress: impl FnMut(Step),
    part: &mut Output,
    output: &'a mut Output,
) -> Result<Draft<'a>> {
    let Some(place) = part.unfinished() else {
        let expected = "expected an output file, next to which the new documents are indexed";
        return Err(Error::Usage(format!("{expected}, found {}", part.name())));
    };
    let (language, metadata) = (QuerySide::of(&index)?, index.metadata());
    let plan = Plan {
        language: &language,
        reweighting: None,
        model_sha256: metadata.encoding.as_ref().and_then(|made| made.model_sha256.as_deref()),
        trusting: true,
        weights: metadata.weights,
        order: if metadata.order.is_some() { Order::Bp } else { Order::Given },
        memory,
    };
    let mut builder = builder(&plan);
    builder.refuse_ids_of(&index)?;
    let more = fill(builder, inputs, &plan, rejects, &mut progress, part)?.open(&place)?;
    let name = output.name().to_owned();
    merge(&[index, more], output, &name)
}

/// Adds a row; what cannot be used goes to the rejects.
fn add(builder: &mut Builder, row: Result<Row>, rejects: &mut Rejects) -> Result<()> {
    let row = match row {
        Ok(row) => row,
        Err(error) => {
            builder.skip_row();
            return rejects.take(error, b"");
        }
    };
    let Row { id, vector, title, text, .. } = row;
    let stored = (title.is_some() || text.is_some())
        .then(|| StoredText { title: title.unwrap_or_default(), text: text.unwrap_or_default() });
    match builder.add(&id, &vector, stored.as_ref()) {
        Err(error) => rejects.take(error, id.as_bytes()),
        Ok(()) => Ok(()),
    }
}

/// Compares an input with the tokenizer, and with the inputs before it.
fn check_meta(
    file: &str,
    meta: &VectorMeta,
    plan: &Plan,
    known: &mut Option<Encoding>,
) -> Result<()> {
    let vocabulary = plan.language.tokenizer.vocabulary().fingerprint();
    if meta.vocabulary_sha256 != vocabulary {
        return Err(Error::Mismatch {
            what: format!("{file}: vocabulary fingerprint"),
            expected: format!("{vocabulary}, the tokenizer's"),
            got: meta.vocabulary_sha256.clone(),
            remedy: "give the tokenizer of the model that made the vectors".into(),
        });
    }
    if meta.role == "query" {
        return Err(Error::Mismatch {
            what: format!("{file}: role of the vectors"),
            expected: "document".into(),
            got: meta.role.clone(),
            remedy: "encode the corpus as documents; queries go to l0-query".into(),
        });
    }
    let got = meta.model_sha256.as_deref();
    if let Some(expected) = plan.model_sha256.filter(|&expected| got != Some(expected)) {
        return Err(Error::Mismatch {
            what: format!("{file}: model that made the vectors"),
            expected: match plan.trusting {
                true => format!("SHA-256 {expected}, that of the given model"),
                false => format!("SHA-256 {expected}, that of the model that ships with l0-index"),
            },
            got: got.map_or_else(|| meta.model.clone(), str::to_owned),
            remedy: "give the model that made them, or its tokenizer and query weights".into(),
        });
    }
    let encoding = Some(Encoding::from(meta));
    if known.is_some() && *known != encoding {
        return Err(Error::Mismatch {
            what: format!("{file}: encoding"),
            expected: format!("{}, as before", describe(known)),
            got: describe(&encoding),
            remedy: "index vectors of one encoding; scores of several do not compare".into(),
        });
    }
    *known = encoding;
    Ok(())
}
