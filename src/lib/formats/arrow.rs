//! Batches of columns out of Parquet files, Arrow files and Arrow streams.
//!
//! The crates that decode them panic on some damaged files, where lengths and offsets contradict each
//! other; here that is made an error.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
};

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchReader, cast::AsArray};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, errors::ParquetError};

use crate::{
    error::{Error, Result, caught},
    io::{Content, Input},
};

/// Rows of a Parquet file that are decoded at a time.
const BATCH_ROWS: usize = 1024;

/// An open table.
pub(super) struct Table {
    pub name: String,
    pub schema: SchemaRef,
    /// Key-value pairs of the file.
    pub metadata: BTreeMap<String, String>,
    pub batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
}

impl Table {
    /// Opens an input whose first bytes say that it is Parquet or Arrow.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] if it is damaged.
    pub fn open(input: Input) -> Result<Table> {
        let name = input.name().to_owned();
        guarded(&name, || Table::decode(input)).unwrap_or_else(Err)
    }

    fn decode(input: Input) -> Result<Table> {
        let name = input.name().to_owned();
        match input.content() {
            Content::Parquet => {
                let fail = |error| parquet_error(&name, error);
                let consumed = input.consumed();
                let file = input.into_seekable()?;
                let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(fail)?;
                let rows = builder.metadata().file_metadata().num_rows() as f64;
                let pairs = builder.metadata().file_metadata().key_value_metadata().cloned();
                let pairs = pairs.into_iter().flatten();
                let metadata = pairs.filter_map(|pair| Some((pair.key, pair.value?))).collect();
                let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(fail)?;
                let table = Table::of(name.clone(), reader);
                // what is read in any order is not seen by the input
                let mut seen = 0.0;
                let batches = table.batches.inspect(move |batch| {
                    seen += batch.as_ref().map_or(0.0, |batch| batch.num_rows() as f64);
                    consumed.come_to(seen / rows);
                });
                Ok(Table { metadata, batches: Box::new(batches), ..table })
            }
            Content::ArrowFile => {
                let file = std::io::BufReader::new(input.into_seekable()?);
                let reader = FileReader::try_new(file, None);
                Ok(Table::of(name.clone(), reader.map_err(|error| arrow_error(&name, error))?))
            }
            Content::ArrowStream | Content::Text => {
                let tail = Tail { reader: input.into_reader(), last: [0; 8] };
                let reader = StreamReader::try_new(tail, None);
                let reader = reader.map_err(|error| arrow_error(&name, error))?;
                Ok(Table::ending(name.clone(), reader, stream_end))
            }
        }
    }

    fn of(name: String, reader: impl RecordBatchReader + Send + 'static) -> Table {
        Table::ending(name, reader, |_, _| Ok(()))
    }

    /// A table whose reader must pass `end` when it has no more batches.
    fn ending<R: RecordBatchReader + Send + 'static>(
        name: String,
        mut reader: R,
        end: fn(&str, &mut R) -> Result<()>,
    ) -> Table {
        let schema = reader.schema();
        let metadata = schema.metadata().iter();
        let metadata = metadata.map(|(key, value)| (key.clone(), value.clone())).collect();
        let (file, mut sound) = (name.clone(), true);
        let batches = std::iter::from_fn(move || {
            if !sound {
                return None;
            }
            let batch = guarded(&file, || reader.next()).transpose();
            sound = matches!(&batch, Some(Ok(_)));
            match batch {
                None => end(&file, &mut reader).err().map(Err),
                Some(batch) => {
                    Some(batch.and_then(|batch| batch.map_err(|e| arrow_error(&file, e))))
                }
            }
        });
        Table { name, schema, metadata, batches: Box::new(batches) }
    }

    /// What the columns are, for a message.
    pub fn columns(&self) -> String {
        let columns = self.schema.fields().iter();
        let columns = columns.map(|field| format!("{} {}", field.name(), field.data_type()));
        columns.collect::<Vec<_>>().join(", ")
    }
}

/// A reader that remembers its last bytes.
struct Tail {
    reader: Box<dyn BufRead + Send>,
    last: [u8; 8],
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let new = &buffer[count.saturating_sub(8)..count];
        self.last.rotate_left(new.len());
        self.last[8 - new.len()..].copy_from_slice(new);
        Ok(count)
    }
}

/// The bytes that end an Arrow stream.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Whether a stream ended as it should. Arrow lets a writer just stop; ours never does unless it
/// failed, so that half of our rows are not taken for all of them.
fn stream_end(name: &str, reader: &mut StreamReader<Tail>) -> Result<()> {
    let ours = reader.schema().metadata().contains_key("l0.format");
    let tail = reader.get_mut();
    if ours && tail.last != END_OF_STREAM {
        let reason = "the stream is cut short: the program that wrote it failed or was stopped";
        return Err(Error::format(name, reason));
    }
    let behind = tail.reader.fill_buf().map_err(|source| Error::io(name, source))?;
    if behind.is_empty() {
        return Ok(());
    }
    let reason = "want the end behind an Arrow stream, got more bytes; name several files instead \
                  of joining them";
    Err(Error::format(name, reason))
}

/// What `decode` returns, or an error if it panics. What it worked on is not used again.
fn guarded<T>(name: &str, decode: impl FnOnce() -> T) -> Result<T> {
    caught(decode).ok_or_else(|| {
        let reason =
            "not readable as Parquet or Arrow (damaged): its lengths contradict each other";
        Error::format(name, reason)
    })
}

/// A string of any of Arrow's string types; none for a null or another type.
pub(super) fn string_at(column: &ArrayRef, at: usize) -> Option<&str> {
    if column.is_null(at) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(at)),
        DataType::Utf8View => Some(column.as_string_view().value(at)),
        _ => None,
    }
}

pub(super) fn arrow_error(name: &str, error: ArrowError) -> Error {
    let reason = |text: String| {
        Error::format(name, format!("not readable as Arrow (cut short, or damaged): {text}"))
    };
    match error {
        ArrowError::IoError(text, source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            reason(text)
        }
        ArrowError::IoError(_, source) => Error::io(name, source),
        // what the Parquet reader says through Arrow's interface
        ArrowError::ParquetError(text) => parquet_error(name, ParquetError::General(text)),
        other => reason(other.to_string()),
    }
}

pub(super) fn parquet_error(name: &str, error: ParquetError) -> Error {
    let reason = |text: String| {
        Error::format(name, format!("not readable as Parquet (cut short, or damaged): {text}"))
    };
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(source) => Error::io(name, *source),
            Err(other) => reason(other.to_string()),
        },
        other => reason(other.to_string()),
    }
}
