//! An index or vectors in the form of another engine, with all that it needs next to it; and back.
//!
//! | form | one record | terms are | weights |
//! |---|---|---|---|
//! | `opensearch` | two lines of `_bulk`, field of type `rank_features` | tokens | floats |
//! | `opensearch-ann` | the same, field of type `sparse_vector` | term ids | floats |
//! | `elasticsearch` | the same, field of type `sparse_vector` | tokens | floats |
//! | `vespa` | a `put` of `vespa feed` | tokens | floats |
//! | `qdrant` | a point; one request body a line | term ids | floats |
//! | `anserini` | a line of a `JsonVectorCollection` | tokens | whole |
//! | `seismic` | a line `{"id","content","vector"}` | tokens | floats |
//! | `jsonl` | a line `{token: weight}` with its id | tokens | floats |
//! | `ciff` | a posting list of the Common Index File Format | tokens | whole |
//! | `pisa` | a posting list of PISA's inverted index | tokens | whole |
//!
//! The forms: `docs/formats.md`, "Sparse vectors as JSON" and the sections after it.

pub mod ciff;
mod files;
mod form;
mod import;
pub mod lines;
mod lists;
pub mod pisa;
mod quantize;
pub mod read;
mod rows;
pub mod schema;
mod sidecar;
mod source;
pub mod steps;

use std::path::{Path, PathBuf};

use files::Files;
use lines::Names;

use crate::{
    error::{Error, Result},
    index::{Index, QuerySide},
    io,
    sparse::TermId,
};

pub use form::{Entry, Number, Target};
pub use import::{Import, import};
pub use quantize::{Extent, Quantize};

/// What is exported.
pub enum Source<'a> {
    /// All documents of an index, with the weights that it stores.
    Index(&'a Index),
    /// The rows of files of vectors, in order.
    Vectors(&'a [PathBuf]),
}

/// How it is exported.
pub struct Export<'a> {
    /// The tokens, and the query weights of the sample query.
    pub language: &'a QuerySide,
    /// The form.
    pub target: Target,
    /// What it is called in the engine.
    pub names: Names,
    /// Weights to whole numbers.
    pub quantize: Quantize,
    /// Whether rows are queries.
    pub role: Role,
    /// Hits that a query asks for.
    pub k: usize,
}

/// What the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Documents.
    Documents,
    /// Queries, in the form in which the engine reads queries.
    Queries,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exported {
    /// Documents or queries.
    pub rows: u64,
    /// Weights.
    pub postings: u64,
    /// Rows that have no weight.
    pub empty: u64,
    /// The largest weight of a line's form; 0 if there is none.
    pub most: f32,
    /// Weights that became 0 as whole numbers, and are left out.
    pub dropped: u64,
    /// Names of the files next to it.
    pub sidecars: Vec<String>,
}

/// Writes to `output`, and what belongs next to it where that is a file: `OUTPUT.export.json` (what it is
/// and how it was made), the engine's schema, a sample query. All
/// appear together at the end.
///
/// # Errors
/// [`Error::Usage`] for a form that cannot be written so; [`Error::Format`] for tokens and ids that the
/// form cannot hold; what reading and writing say.
///
/// `each` is called after every row, or every list of a form that goes list by list.
pub fn export(
    source: &Source,
    plan: &Export,
    output: &Path,
    each: &mut dyn FnMut(),
) -> Result<Exported> {
    plan.check()?;
    let tokens = plan.language.tokenizer.vocabulary();
    let several = plan.target == Target::Pisa && plan.role == Role::Documents;
    let mut files = match several {
        true if !may_begin_names(output) => return Err(plan.several_files()),
        true => Files::named_after(output),
        false => Files::with_main(output)?,
    };
    let extent = match plan.quantize.needs_extent() {
        true => source.extent(tokens, plan.role)?,
        false => Extent::NONE,
    };
    let mut writer = Writer { plan, extent, summary: Exported::default(), sample: None, each };
    match (plan.target, plan.role, source) {
        (Target::Ciff, Role::Documents, Source::Index(index)) => writer.ciff(index, &mut files)?,
        (Target::Pisa, Role::Documents, Source::Index(index)) => writer.pisa(index, &mut files)?,
        (target, Role::Documents, _) if target.by_list() => {
            return Err(Error::Usage(format!(
                "{target} is written list by list: make an index of the vectors first, with f32 weights, \
                 then export that"
            )));
        }
        _ => writer.rows(source, &mut files)?,
    }
    let Writer { mut summary, sample, .. } = writer;
    if files.is_on_disk() {
        plan.put_sidecars(source, &summary, sample.as_ref(), output, &mut files)?;
    }
    summary.sidecars = files.commit()?;
    Ok(summary)
}

impl Export<'_> {
    fn check(&self) -> Result<()> {
        let Export { target, quantize, .. } = *self;
        if target.is_whole() && !quantize.is_whole() {
            let usual = target.usual();
            return Err(Error::Usage(format!(
                "{target} holds whole numbers: expected a quantization that makes some, such as \
                 {usual}, found none"
            )));
        }
        Ok(())
    }

    fn several_files(&self) -> Error {
        let target = self.target;
        Error::Usage(format!(
            "{target} is several files: expected an output file, found an output that is none"
        ))
    }

    /// The token of a term, if the form can hold it.
    fn token(&self, term: TermId) -> Result<&str> {
        let vocabulary = self.language.tokenizer.vocabulary();
        let token = vocabulary.token(term);
        if !self.target.by_token() {
            return Ok(token);
        }
        let bad = |why: &str| {
            let target = self.target;
            Error::format(
                "vocabulary",
                format!(
                    "token `{token}` of term {}: {why}; {target} names terms by their tokens",
                    term.0
                ),
            )
        };
        if vocabulary.id(token) != Some(term) {
            return Err(bad("expected a token of its own, found one that two terms share"));
        }
        if self.splits_at_space() && token.contains(char::is_whitespace) {
            return Err(bad("expected a token without white space"));
        }
        Ok(token)
    }

    /// Whether tokens are in a text that is split at white space.
    fn splits_at_space(&self) -> bool {
        let said = matches!(self.target, Target::Anserini | Target::Pisa | Target::Ciff);
        self.target == Target::Anserini || self.role == Role::Queries && said
    }
}

/// Whether files can be named after a path: it is not a pipe, device or folder.
fn may_begin_names(output: &Path) -> bool {
    output != Path::new("-") && !io::is_folder(output) && io::is_file(output).unwrap_or(true)
}

fn with_ending(output: &Path, ending: &str) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// The counts of an export so far.
struct Writer<'a> {
    plan: &'a Export<'a>,
    extent: Extent,
    summary: Exported,
    sample: Option<sidecar::Sample>,
    each: &'a mut dyn FnMut(),
}
