//! Sparse vectors in files and pipes: what a row is, what the metadata says, reading, writing.
//!
//! Columns, in this order (schema version 1):
//!
//! | column | Arrow type | null | meaning |
//! |---|---|---|---|
//! | `id` | Utf8 | no | external id |
//! | `indices` | List&lt;Int32&gt;, child `element` | no | term ids, strictly ascending |
//! | `values` | List&lt;Float32&gt;, child `element` | no | weights, finite, above 0, as many as indices |
//! | `n_tokens` | Int32 | yes | tokens of the whole text, special ones included |
//! | `truncated` | Boolean | yes | whether the text was longer than the encoder reads |
//! | `title`, `text` | Utf8 | yes | only with `--keep-text` |
//!
//! Readers also take indices of the types UInt16, UInt32 and Int64, values of Float64, large lists
//! and large or view strings. Metadata are the keys `l0.*` of [`VectorMeta`], in the Arrow schema and
//! in Parquet's key-value pairs. Parquet is zstd level 3, PLAIN, 16,384 rows per group, so that
//! every engine reads it; an Arrow stream has 1,024 rows per batch. A JSON line is
//! `{"_id", "indices", "values"}`, or, when read, `{"_id", "vector": {token: weight}}`; JSON lines
//! carry no metadata.
//!
//! The document frequencies of the encoded documents are known when all rows were written, so they follow
//! the rows ([`Ending`]).

mod rows;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use rows::RowBuilder;

pub use crate::tables::{Ending, Form};
use crate::{
    error::{Error, Result},
    io::{Content, Input, Line, Output},
    sparse::{SparseVector, TermId},
    tables::{
        arrow::Table,
        json::{id_of, json_reason, tokens_of, vector_of},
        sink::Sink,
    },
};

/// The version of the schema above; readers refuse another.
pub const FORMAT: u32 = 1;
const STREAM_ROWS: usize = 1024;
const GROUP_ROWS: usize = 16_384;

/// One document or query as a vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// External id.
    pub id: String,
    /// Its weights.
    pub vector: SparseVector,
    /// Tokens of the whole text, special ones included.
    pub n_tokens: Option<u32>,
    /// Whether the text was longer than the encoder reads.
    pub truncated: Option<bool>,
    /// The title, if it was kept.
    pub title: Option<String>,
    /// The text, if it was kept.
    pub text: Option<String>,
}

/// Where vectors come from; every reader compares what it needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorMeta {
    /// `document` or `query`.
    pub role: String,
    /// The model's name.
    pub model: String,
    /// SHA-256 of the file of the model's weights, or of its query table; none for BM25.
    pub model_sha256: Option<String>,
    /// SHA-256 of the vocabulary (`Vocabulary::fingerprint`).
    pub vocabulary_sha256: String,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// What made the weights from logits, or BM25's parameters.
    pub activation: String,
    /// Longest text that was read, in tokens.
    pub max_tokens: Option<usize>,
    /// The pruning rule.
    pub prune: String,
    /// `I/N` for the rows of one shard of N; none for all rows.
    pub shard: Option<String>,
}

impl VectorMeta {
    fn to_map(&self) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let mut put = |key: &str, value: String| map.insert(format!("l0.{key}"), value);
        put("format", FORMAT.to_string());
        put("version", env!("CARGO_PKG_VERSION").to_owned());
        put("role", self.role.clone());
        put("model", self.model.clone());
        put("tokenizer_sha256", self.vocabulary_sha256.clone());
        put("vocab_size", self.vocab_size.to_string());
        put("activation", self.activation.clone());
        put("pooling", "max".to_owned());
        put("prune", self.prune.clone());
        if let Some(hash) = &self.model_sha256 {
            put("model_sha256", hash.clone());
        }
        if let Some(length) = self.max_tokens {
            put("max_length", length.to_string());
        }
        if let Some(shard) = &self.shard {
            put("shard", shard.clone());
        }
        map
    }

    /// The first thing in which two differ: its key, and what each says.
    pub fn difference(&self, other: &VectorMeta) -> Option<(String, String, String)> {
        let (ours, theirs) = (self.to_map(), other.to_map());
        let said = |map: &BTreeMap<String, String>, key: &str| {
            map.get(key).cloned().unwrap_or_else(|| "nothing".into())
        };
        let key = ours.keys().chain(theirs.keys()).find(|&key| ours.get(key) != theirs.get(key))?;
        Some((key.clone(), said(&ours, key), said(&theirs, key)))
    }

    /// None for a file that some other program wrote.
    fn from_map<'a>(
        file: &str,
        get: impl Fn(&str) -> Option<&'a String>,
    ) -> Result<Option<VectorMeta>> {
        let Some(format) = get("l0.format") else { return Ok(None) };
        if *format != FORMAT.to_string() {
            return Err(Error::Mismatch {
                what: format!("{file}: format of the vectors"),
                expected: FORMAT.to_string(),
                got: format.clone(),
                remedy: "encode again with this version, or read it with the one that wrote it"
                    .into(),
            });
        }
        let text = |key: &str| get(key).cloned().unwrap_or_default();
        let number = |key: &str| -> Result<Option<usize>> {
            let parse = |text: &String| {
                let wanted = format!("expected a number for {key} in the metadata, found `{text}`");
                text.parse().map_err(|_| Error::format(file, wanted))
            };
            get(key).map(parse).transpose()
        };
        Ok(Some(VectorMeta {
            role: text("l0.role"),
            model: text("l0.model"),
            model_sha256: get("l0.model_sha256").cloned(),
            vocabulary_sha256: text("l0.tokenizer_sha256"),
            vocab_size: number("l0.vocab_size")?.unwrap_or(0),
            activation: text("l0.activation"),
            max_tokens: number("l0.max_length")?,
            prune: text("l0.prune"),
            shard: get("l0.shard").cloned(),
        }))
    }
}

/// Whether two files of vectors speak of the same terms.
///
/// # Errors
/// [`Error::Mismatch`] if their vocabularies differ.
pub fn same_vocabulary(documents: &VectorMeta, queries: &VectorMeta) -> Result<()> {
    if documents.vocabulary_sha256 == queries.vocabulary_sha256 {
        return Ok(());
    }
    Err(Error::Mismatch {
        what: "vocabulary of the queries".into(),
        expected: format!("that of the documents ({})", documents.vocabulary_sha256),
        got: queries.vocabulary_sha256.clone(),
        remedy: "encode both with the same tokenizer".into(),
    })
}

/// Finds a token's term; for rows that are keyed by tokens.
pub type Lookup = Box<dyn Fn(&str) -> Option<TermId> + Send>;

/// Rows in the order of the input. A bad row is an [`Error::Line`] (with the row's number) and the
/// next call continues after it.
pub type Rows = Box<dyn Iterator<Item = Result<Row>> + Send>;

/// Whether the rows of an input have texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HasText {
    /// There are columns for them.
    Yes,
    /// There are none.
    No,
    /// Each row says.
    ByRow,
}

/// A file of vectors that is being read.
pub struct Vectors {
    /// Where they come from, if the file says so.
    pub meta: Option<VectorMeta>,
    /// Whether there are columns for texts; a line of JSON says that for itself alone.
    pub has_text: HasText,
    /// The rows.
    pub rows: Rows,
    /// What follows the rows.
    pub ending: Ending,
}

/// Reads vectors in any of the forms; `lookup` is needed for JSON lines keyed by tokens only.
///
/// # Errors
/// [`Error::Format`] if it is no file of vectors; [`Error::Mismatch`] for another format version.
pub fn read(input: Input, lookup: Option<Lookup>) -> Result<(Option<VectorMeta>, Rows)> {
    open(input, lookup).map(|vectors| (vectors.meta, vectors.rows))
}

/// As [`read`], with all that the file says.
///
/// # Errors
/// As [`read`].
pub fn open(input: Input, lookup: Option<Lookup>) -> Result<Vectors> {
    if input.content() == Content::Text {
        let (rows, ending) = (json_rows(input, lookup), Ending::default());
        return Ok(Vectors { meta: None, has_text: HasText::ByRow, rows, ending });
    }
    let table = Table::open(input)?;
    rows::check_schema(&table)?;
    let has = |name: &str| table.schema.field_with_name(name).is_ok();
    let has_text = if has("title") || has("text") { HasText::Yes } else { HasText::No };
    let meta = VectorMeta::from_map(&table.name, |key| table.metadata.get(key))?;
    let (name, ending, mut before) = (table.name, table.ending, 0);
    let rows = table.batches.flat_map(move |batch| match batch {
        Ok(batch) => {
            let rows = rows::rows_of(&name, before, &batch);
            before += batch.num_rows() as u64;
            rows
        }
        Err(error) => vec![Err(error)],
    });
    Ok(Vectors { meta, has_text, rows: Box::new(rows), ending })
}

fn json_rows(input: Input, lookup: Option<Lookup>) -> Rows {
    let name = input.name().to_owned();
    let mut lines = input.lines();
    let rows = std::iter::from_fn(move || {
        let raw = match lines.next_raw()? {
            Ok(raw) => raw,
            Err(error) => return Some(Err(error)),
        };
        let record = raw.bytes.clone();
        let row = lines.check(raw).and_then(|line| match line.text.trim() {
            "" => Ok(None),
            _ => json_row(&name, &line, lookup.as_ref()).map(Some),
        });
        Some(row.map_err(|error| error.with_record(&record)))
    });
    Box::new(rows.filter_map(Result::transpose))
}

fn json_row(file: &str, line: &Line, lookup: Option<&Lookup>) -> Result<Row> {
    let wanted = r#"{"_id", "indices", "values"} or {"_id", "vector": {token: weight}}"#;
    let bad = |found: String| Error::line(file, line.number, wanted, found);
    let raw: Value =
        serde_json::from_str(&line.text).map_err(|error| bad(json_reason(&error, &line.text)))?;
    let id = raw.get("_id").or(raw.get("id")).and_then(id_of);
    let id = id.ok_or_else(|| bad("no id".into()))?;
    let vector = match (raw.get("indices"), raw.get("vector")) {
        (Some(indices), _) => vector_of(indices, raw.get("values").unwrap_or(&Value::Null)),
        (None, Some(vector)) => match lookup {
            Some(lookup) => tokens_of(vector).and_then(|tokens| by_token(&tokens, lookup)),
            None => Err("tokens, and neither a tokenizer nor a model to look them up in".into()),
        },
        (None, None) => Err(format!("neither in `{id}`")),
    };
    let string = |key: &str| raw.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(Row {
        id,
        vector: vector.map_err(bad)?,
        n_tokens: raw
            .get("n_tokens")
            .and_then(Value::as_u64)
            .and_then(|count| u32::try_from(count).ok()),
        truncated: raw.get("truncated").and_then(Value::as_bool),
        title: string("title"),
        text: string("text").or_else(|| string("contents")).or_else(|| string("content")),
    })
}

fn by_token(tokens: &[(String, f32)], lookup: &Lookup) -> Result<SparseVector, String> {
    let pairs = tokens.iter().map(|(token, weight)| {
        let term =
            lookup(token).ok_or_else(|| format!("a token `{token}` that the vocabulary lacks"))?;
        Ok((term, *weight))
    });
    SparseVector::from_unordered(pairs.collect::<Result<_, String>>()?)
        .map_err(|error| error.to_string())
}

/// Writes rows; [`Writer::finish`] must be called, else the output stays as it was.
pub struct Writer {
    sink: Sink,
    rows: RowBuilder,
    document_frequencies: Option<String>,
}

impl Writer {
    /// Begins an output; `keep_text` adds the columns `title` and `text`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(output: Output, form: Form, meta: &VectorMeta, keep_text: bool) -> Result<Writer> {
        let fields = rows::fields(keep_text);
        let (sink, schema) = Sink::open(output, form, fields, meta.to_map(), GROUP_ROWS)?;
        let rows = RowBuilder::new(schema, keep_text);
        Ok(Writer { sink, rows, document_frequencies: None })
    }

    /// Sets the document frequencies that follow the rows, as text; JSON lines have no place for them.
    pub fn set_document_frequencies(&mut self, text: String) {
        self.document_frequencies = Some(text);
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, row: &Row) -> Result<()> {
        if self.sink.takes_lines() {
            return self.sink.line(&json_line(row, self.rows.keeps_text()));
        }
        self.rows.push(row);
        if self.rows.len() >= STREAM_ROWS { self.flush() } else { Ok(()) }
    }

    /// Hands on what was written so far, so that a reader at the other end of a pipe has it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        if self.rows.len() > 0 {
            let batch = self.rows.finish().map_err(|error| self.sink.failed(error))?;
            self.sink.batch(&batch)?;
        }
        self.sink.flush()
    }

    /// Ends the output and puts it in place.
    ///
    /// # Errors
    /// [`Error::Io`]; the target is then as it was.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.sink.finish(self.document_frequencies.as_deref())
    }
}

/// A row as a line. A weight has the fewest digits that are read back as the same f32.
#[derive(Serialize)]
struct JsonRow<'a> {
    _id: &'a str,
    indices: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_tokens: Option<u32>,
    #[serde(flatten)]
    texts: Option<JsonTexts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<bool>,
    values: &'a [f32],
}

#[derive(Serialize)]
struct JsonTexts<'a> {
    text: Option<&'a str>,
    title: Option<&'a str>,
}

fn json_line(row: &Row, keep_text: bool) -> JsonRow<'_> {
    let texts = || JsonTexts { text: row.text.as_deref(), title: row.title.as_deref() };
    JsonRow {
        _id: &row.id,
        indices: row.vector.terms().iter().map(|term| term.0).collect(),
        n_tokens: row.n_tokens,
        texts: keep_text.then(texts),
        truncated: row.truncated,
        values: row.vector.weights(),
    }
}
