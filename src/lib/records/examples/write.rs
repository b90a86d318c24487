//! Training examples as rows of a table: what `l0-train score` writes.
//!
//! | column | Arrow type | null | meaning |
//! |---|---|---|---|
//! | `query` | Utf8 | no | text or id |
//! | `docs` | List&lt;Utf8&gt;, child `element` | no | texts or ids, the positives first |
//! | `scores` | List&lt;Float32&gt;, child `element` | no | a teacher's score of each document |
//! | `positives` | Int32 | no | how many of `docs` are known to be good |
//! | `raw_0` … | List&lt;Float32&gt;, child `element` | no | scores of one teacher as it gave them, if kept |
//!
//! Metadata are the keys `l0.examples` (the version of this table, 1), `l0.version` and `l0.teachers`.
//! Parquet has 1,024 rows per group, since a row may hold a hundred texts. A JSON line has the columns
//! as its keys.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{Float32Builder, Int32Builder, ListBuilder, StringBuilder},
};
use arrow_schema::{DataType, Field, SchemaRef};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::Example;
use crate::{
    error::Result,
    io::Output,
    tables::{
        Form,
        sink::{Sink, element},
    },
};

/// The version of the table above; readers refuse another.
pub(super) const FORMAT: u32 = 1;
const GROUP_ROWS: usize = 1024;

/// Writes examples with scores; [`ExampleWriter::finish`] must be called, else the output stays as it
/// was.
pub struct ExampleWriter {
    sink: Sink,
    schema: SchemaRef,
    rows: usize,
    query: StringBuilder,
    docs: ListBuilder<StringBuilder>,
    /// The final scores, then those of each teacher.
    scores: Vec<ListBuilder<Float32Builder>>,
    positives: Int32Builder,
}

impl ExampleWriter {
    /// Begins an output with `raw` columns of single teachers; `teachers` describes them.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn new(output: Output, form: Form, teachers: &str, raw: usize) -> Result<ExampleWriter> {
        let list = |name: &str, kind| Field::new_list(name, element(kind), false);
        let mut fields = vec![
            Field::new("query", DataType::Utf8, false),
            list("docs", DataType::Utf8),
            list("scores", DataType::Float32),
            Field::new("positives", DataType::Int32, false),
        ];
        fields.extend((0..raw).map(|at| list(&raw_name(at), DataType::Float32)));
        let pairs = [
            ("l0.examples", FORMAT.to_string()),
            ("l0.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("l0.teachers", teachers.to_owned()),
        ];
        let metadata = pairs.map(|(key, value)| (key.to_owned(), value));
        let metadata = BTreeMap::from(metadata);
        let (sink, schema) = Sink::open(output, form, fields, metadata, GROUP_ROWS)?;
        let numbers =
            || ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32));
        Ok(ExampleWriter {
            sink,
            schema,
            rows: 0,
            query: StringBuilder::new(),
            docs: ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8)),
            scores: (0..=raw).map(|_| numbers()).collect(),
            positives: Int32Builder::new(),
        })
    }

    /// Adds an example that has scores; `raw` are as many lists as the output has such columns.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn write(&mut self, example: &Example, raw: &[&[f32]]) -> Result<()> {
        let scores = example.scores.as_deref().unwrap_or_default();
        if self.sink.takes_lines() {
            return self.sink.line(&JsonExample { example, scores, raw });
        }
        self.query.append_value(&example.query);
        example.docs.iter().for_each(|doc| self.docs.values().append_value(doc));
        self.docs.append(true);
        for (column, scores) in self.scores.iter_mut().zip([scores].iter().chain(raw)) {
            column.values().append_slice(scores);
            column.append(true);
        }
        // fewer than the documents of one line
        self.positives.append_value(example.positives as i32);
        self.rows += 1;
        if self.rows >= GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.rows = 0;
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(self.query.finish()), Arc::new(self.docs.finish())];
        let mut scores = self.scores.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        columns.extend(scores.next());
        columns.push(Arc::new(self.positives.finish()));
        columns.extend(scores);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        self.sink.batch(&batch.map_err(|error| self.sink.failed(error))?)
    }

    /// Ends the output and puts it in place.
    ///
    /// # Errors
    /// [`crate::Error::Io`]; the target is then as it was.
    pub fn finish(mut self) -> Result<()> {
        if self.rows > 0 {
            self.flush()?;
        }
        self.sink.finish(None)
    }
}

fn raw_name(at: usize) -> String {
    format!("raw_{at}")
}

/// An example as a line, with its columns as keys.
struct JsonExample<'a> {
    example: &'a Example,
    scores: &'a [f32],
    raw: &'a [&'a [f32]],
}

impl Serialize for JsonExample<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let Example { query, docs, positives, .. } = self.example;
        let mut line = to.serialize_map(Some(4 + self.raw.len()))?;
        line.serialize_entry("docs", docs)?;
        line.serialize_entry("positives", positives)?;
        line.serialize_entry("query", query)?;
        for (at, scores) in self.raw.iter().enumerate() {
            line.serialize_entry(&raw_name(at), scores)?;
        }
        line.serialize_entry("scores", self.scores)?;
        line.end()
    }
}
