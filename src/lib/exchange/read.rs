//! Vectors that other programs wrote, as rows.

use std::{collections::BTreeMap, fmt, io::Read, path::Path, str::FromStr};

use serde::Deserialize;

use super::ciff::{DocRecord, Header, Messages, PostingsList};
use crate::{
    error::{Error, Result},
    io::{self, Content, Input},
    sparse::{SparseVector, TermId},
    vectors::{self, Lookup, Row, Rows},
};

/// A form to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Lines with an id and `{token: weight}`, `[[token, weight], ..]` or indices and values: Anserini's
    /// `JsonVectorCollection`, Seismic, SPLADE, Sentence Transformers, and the rest of the field.
    JsonLines,
    /// The Common Index File Format.
    Ciff,
    /// Responses of text-embeddings-inference's `/embed_sparse`, one a line.
    Tei,
}

impl Source {
    /// What forms are called.
    pub const NAMES: [&'static str; 6] = ["jsonl", "anserini", "seismic", "splade", "ciff", "tei"];
    /// Which forms they are.
    const NAMED: [Source; 6] = [
        Source::JsonLines,
        Source::JsonLines,
        Source::JsonLines,
        Source::JsonLines,
        Source::Ciff,
        Source::Tei,
    ];

    /// Whether document ids come from elsewhere.
    pub fn lacks_ids(self) -> bool {
        matches!(self, Source::Tei)
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Source> {
        let found = Source::NAMES.iter().position(|name| *name == text);
        found.map(|at| Source::NAMED[at]).ok_or_else(|| {
            let names = Source::NAMES.join(", ");
            Error::Usage(format!("expected one of {names}; found `{text}`"))
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Source::NAMED.iter().position(|source| source == self);
        f.write_str(at.map_or("", |at| Source::NAMES[at]))
    }
}

/// Ids for rows that have none, in their order.
pub enum Ids {
    /// The row's number, from 0.
    Numbers,
    /// Those of a file.
    Lines(Vec<String>),
}

impl Ids {
    /// The lines of a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Line`] for an empty line.
    pub fn read(file: &Path) -> Result<Ids> {
        let text = io::read_text(file)?;
        let name = file.display().to_string();
        let ids = (1..).zip(text.lines()).map(|(number, line)| match line {
            "" => Err(Error::line(&name, number, "a document id", "an empty line")),
            id => Ok(id.to_owned()),
        });
        ids.collect::<Result<_>>().map(Ids::Lines)
    }

    fn at(&self, name: &str, place: usize) -> Result<String> {
        match self {
            Ids::Numbers => Ok(place.to_string()),
            Ids::Lines(ids) => ids.get(place).cloned().ok_or_else(|| {
                let (have, row) = (ids.len(), place + 1);
                Error::format(name, format!("vector {row}: expected its id, found {have} ids only"))
            }),
        }
    }

    /// Checks that there are not more ids than rows.
    fn end(&self, name: &str, rows: usize) -> Result<()> {
        match self {
            Ids::Lines(ids) if ids.len() != rows => {
                let have = ids.len();
                Err(Error::format(
                    name,
                    format!("expected as many vectors as ids, {have}, found {rows}"),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The rows of an input.
///
/// # Errors
/// [`Error::Format`] for what is not of that form, and [`Error::Io`].
pub fn rows(
    from: Source,
    path: &Path,
    ids: Ids,
    lookup: Lookup,
    vocabulary: usize,
) -> Result<Rows> {
    let input = Input::open(path)?;
    let name = input.name().to_owned();
    match from {
        Source::JsonLines if input.content() != Content::Text => Err(Error::format(
            name,
            "expected JSON lines, found a table: l0-index takes it as it is",
        )),
        Source::JsonLines => vectors::read(input, Some(lookup)).map(|(_, rows)| rows),
        Source::Ciff => ciff(&name, input.into_reader(), &lookup),
        Source::Tei => Ok(numbered(name, tei(input, vocabulary), ids)),
    }
}

/// Vectors with their ids; that both are equally many shows at the end.
fn numbered(
    name: String,
    vectors: impl Iterator<Item = Result<SparseVector>> + Send + 'static,
    ids: Ids,
) -> Rows {
    let (mut vectors, mut count, mut done) = (vectors, 0, false);
    Box::new(std::iter::from_fn(move || match vectors.next() {
        Some(vector) => {
            let row = vector
                .and_then(|vector| Ok(Row { id: ids.at(&name, count)?, vector, ..Row::default() }));
            count += 1;
            Some(row)
        }
        None if done => None,
        None => {
            done = true;
            ids.end(&name, count).err().map(Err)
        }
    }))
}

#[derive(Deserialize)]
struct Weighted {
    index: u32,
    value: f32,
}

/// The vectors of all responses, in order.
fn tei(input: Input, vocabulary: usize) -> impl Iterator<Item = Result<SparseVector>> + Send {
    let mut lines = input.lines();
    let lines = std::iter::from_fn(move || {
        let raw = match lines.next_raw()? {
            Ok(raw) => raw,
            Err(error) => return Some(Err(error)),
        };
        let name = lines.name().to_owned();
        let found = lines.check(raw).and_then(|line| {
            // not a fault of one record: how many texts a bad line has is unknown
            let bad = |found: String| {
                let wanted = r#"expected [[{"index", "value"}, ..], ..]"#;
                Error::format(&name, format!("line {}: {wanted}, found {found}", line.number))
            };
            if line.text.trim().is_empty() {
                return Ok(Vec::new());
            }
            let texts: Vec<Vec<Weighted>> =
                serde_json::from_str(&line.text).map_err(|error| bad(error.to_string()))?;
            texts.into_iter().map(|text| tei_vector(text, vocabulary).map_err(bad)).collect()
        });
        Some(found)
    });
    lines.flat_map(|line: Result<Vec<SparseVector>>| match line {
        Ok(vectors) => vectors.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    })
}

fn tei_vector(text: Vec<Weighted>, vocabulary: usize) -> Result<SparseVector, String> {
    if let Some(high) = text.iter().find(|weighted| weighted.index as usize >= vocabulary) {
        return Err(format!("index {}, of a vocabulary of {vocabulary}", high.index));
    }
    let pairs = text.into_iter().map(|weighted| (TermId(weighted.index), weighted.value));
    SparseVector::from_unordered(pairs.collect()).map_err(|error| error.to_string())
}

/// A whole number as f32, if that is exact.
const MOST_IMPACT: i32 = 1 << 24;

/// The documents of an inverted file: all postings are held, 12 bytes each.
fn ciff(name: &str, input: impl Read, lookup: &Lookup) -> Result<Rows> {
    let mut messages = Messages::new(name, input);
    let header: Header = messages.next("a header")?;
    if header.version != 1 || header.num_postings_lists < 0 || header.num_docs < 0 {
        let Header { version, num_postings_lists, num_docs, .. } = header;
        return Err(Error::format(
            name,
            format!(
                "expected a CIFF header of version 1, found version {version}, {num_postings_lists} lists, {num_docs} documents"
            ),
        ));
    }
    let mut postings = Vec::new();
    for _ in 0..header.num_postings_lists {
        let list: PostingsList = messages.next("a posting list")?;
        let bad = |found: String| Error::format(name, format!("list of `{}`: {found}", list.term));
        let term = lookup(&list.term).ok_or_else(|| {
            bad("expected a token of the vocabulary, found none of that name".into())
        })?;
        take(&list, term, header.num_docs, &mut postings).map_err(bad)?;
    }
    let mut ids = BTreeMap::new();
    for _ in 0..header.num_docs {
        let DocRecord { docid, collection_docid: id, .. } = messages.next("a document")?;
        let known = (0..header.num_docs).contains(&docid) && !id.is_empty();
        if !known || ids.contains_key(&docid) {
            let wanted = format!("expected each of {} documents once, with an id", header.num_docs);
            return Err(Error::format(name, format!("{wanted}, found document {docid}, `{id}`")));
        }
        ids.insert(docid, id);
    }
    messages.end()?;
    postings.sort_unstable_by_key(|&(doc, term, _)| (doc, term));
    Ok(forward(name.to_owned(), postings, ids))
}

/// Adds the postings of a list.
fn take(
    list: &PostingsList,
    term: TermId,
    docs: i32,
    postings: &mut Vec<(u32, TermId, f32)>,
) -> Result<(), String> {
    if list.df != list.postings.len() as i64 {
        return Err(format!("expected df postings, {}, found {}", list.df, list.postings.len()));
    }
    let mut doc = -1i64;
    for (at, posting) in list.postings.iter().enumerate() {
        let next = if at == 0 { i64::from(posting.gap) } else { doc + i64::from(posting.gap) };
        if next <= doc || next >= i64::from(docs) {
            return Err(format!(
                "expected documents that ascend below {docs}, found {next} after {doc}"
            ));
        }
        if !(1..=MOST_IMPACT).contains(&posting.impact) {
            return Err(format!(
                "expected impacts from 1 to {MOST_IMPACT}, found {}",
                posting.impact
            ));
        }
        doc = next;
        // checked: 0 <= doc < docs, and 1 <= impact <= 2²⁴
        postings.push((doc as u32, term, posting.impact as f32));
    }
    Ok(())
}

fn forward(name: String, postings: Vec<(u32, TermId, f32)>, ids: BTreeMap<i32, String>) -> Rows {
    let mut at = 0;
    // each number below their count once
    let rows = (0u32..).zip(ids.into_values()).map(move |(doc, id)| {
        let begin = at;
        while postings.get(at).is_some_and(|posting| posting.0 == doc) {
            at += 1;
        }
        let pairs = postings[begin..at].iter().map(|&(_, term, weight)| (term, weight));
        // two lists of one token are the only way to fail
        let vector = SparseVector::new(pairs)
            .map_err(|error| Error::format(&name, format!("document `{id}`: {error}")))?;
        Ok(Row { id, vector, ..Row::default() })
    });
    Box::new(rows)
}
