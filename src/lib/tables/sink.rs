//! Where the rows of a table go: a Parquet file, an Arrow stream or JSON lines.

use std::{collections::BTreeMap, fmt, io::Write, str::FromStr, sync::Arc};

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::{metadata::KeyValue, properties::EnabledStatistics, properties::WriterProperties},
    schema::types::ColumnPath,
};
use serde::Serialize;

use super::{
    arrow::{arrow_error, parquet_error},
    stream,
};
use crate::{
    error::{Error, Result},
    io::Output,
};

/// How rows of vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
    /// JSON lines.
    JsonLines,
}

impl Form {
    /// What a file name's extension says, if anything.
    pub fn of_extension(extension: &str) -> Option<Form> {
        match extension {
            "parquet" => Some(Form::Parquet),
            "arrow" | "arrows" | "ipc" => Some(Form::Arrow),
            "jsonl" | "json" | "ndjson" => Some(Form::JsonLines),
            _ => None,
        }
    }
}

impl FromStr for Form {
    type Err = Error;

    fn from_str(text: &str) -> Result<Form> {
        match text {
            "parquet" => Ok(Form::Parquet),
            "arrow" => Ok(Form::Arrow),
            "jsonl" => Ok(Form::JsonLines),
            _ => Err(Error::Usage(format!("expected parquet, arrow or jsonl, found `{text}`"))),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Parquet => "parquet",
            Form::Arrow => "arrow",
            Form::JsonLines => "jsonl",
        })
    }
}

/// The child of every list, under the name that Parquet's specification gives it.
pub fn element(kind: DataType) -> Field {
    Field::new("element", kind, false)
}

/// An output of rows. [`Sink::finish`] must be called, else the output stays as it was.
pub struct Sink {
    name: String,
    schema: SchemaRef,
    open: Open,
}

enum Open {
    Parquet(Box<ArrowWriter<Output>>),
    Arrow(Box<StreamWriter<Output>>),
    JsonLines(Output),
}

impl Sink {
    /// Begins an output of `form`; a row group of Parquet has `group` rows, and its column
    /// `id`, if there is one, has statistics. `metadata` go into Arrow's schema and Parquet's pairs alike.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(
        output: Output,
        form: Form,
        fields: Vec<Field>,
        metadata: BTreeMap<String, String>,
        group: usize,
    ) -> Result<(Sink, SchemaRef)> {
        let name = output.name().to_owned();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata.clone()));
        let open = match form {
            Form::Parquet => {
                let properties = parquet_properties(metadata, group);
                let writer = ArrowWriter::try_new(output, Arc::clone(&schema), Some(properties));
                Open::Parquet(Box::new(writer.map_err(|error| parquet_error(&name, error))?))
            }
            Form::Arrow => {
                let writer = StreamWriter::try_new(output, &schema);
                Open::Arrow(Box::new(writer.map_err(|error| arrow_error(&name, error))?))
            }
            Form::JsonLines => Open::JsonLines(output),
        };
        Ok((Sink { name, schema: Arc::clone(&schema), open }, schema))
    }

    /// Whether rows are written one by one as lines.
    pub fn takes_lines(&self) -> bool {
        matches!(self.open, Open::JsonLines(_))
    }

    /// Writes a row as a line, where rows are lines.
    pub fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let Open::JsonLines(output) = &mut self.open else { return Ok(()) };
        let written = serde_json::to_writer(&mut *output, line).map_err(std::io::Error::from);
        let ended = written.and_then(|()| output.write_all(b"\n"));
        ended.map_err(|source| Error::io(&self.name, source))
    }

    /// Writes a batch, where rows are columns; a reader at the other end of a pipe has it then.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.open {
            Open::Parquet(writer) => {
                writer.write(batch).map_err(|error| parquet_error(&self.name, error))
            }
            Open::Arrow(writer) => {
                let done = writer.write(batch).and_then(|()| writer.flush());
                done.map_err(|error| arrow_error(&self.name, error))
            }
            Open::JsonLines(_) => Ok(()),
        }
    }

    /// Hands on the lines written so far.
    pub fn flush(&mut self) -> Result<()> {
        let Open::JsonLines(output) = &mut self.open else { return Ok(()) };
        output.flush().map_err(|source| Error::io(&self.name, source))
    }

    /// The Arrow library's error for these rows.
    pub fn failed(&self, error: arrow_schema::ArrowError) -> Error {
        arrow_error(&self.name, error)
    }

    /// Ends the output, with the document frequencies after the rows where they have a place, and puts
    /// it in place.
    pub fn finish(self, document_frequencies: Option<&str>) -> Result<()> {
        let output = match self.open {
            Open::Parquet(mut writer) => {
                if let Some(text) = document_frequencies {
                    let pair = KeyValue::new(stream::DOCUMENT_FREQUENCIES.into(), text.to_owned());
                    writer.append_key_value_metadata(pair);
                }
                writer.into_inner().map_err(|error| parquet_error(&self.name, error))?
            }
            Open::Arrow(mut writer) => {
                if let Some(text) = document_frequencies {
                    let written = stream::write_ending(writer.get_mut(), &self.schema, text);
                    written.map_err(|error| arrow_error(&self.name, error))?;
                }
                writer.into_inner().map_err(|error| arrow_error(&self.name, error))?
            }
            Open::JsonLines(output) => output,
        };
        output.commit()
    }
}

fn parquet_properties(metadata: BTreeMap<String, String>, group: usize) -> WriterProperties {
    let pairs = metadata.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
    let level = ZstdLevel::try_new(3).expect("3 is a level of zstd");
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled(ColumnPath::from("id"), EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(group))
        .set_key_value_metadata(Some(pairs))
        .set_created_by(concat!("l0 ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}
