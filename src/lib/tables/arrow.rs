//! Batches of columns from Parquet files, Arrow files and Arrow streams.
//!
//! The crates that decode them panic on some damaged files, in which lengths and offsets contradict each
//! other; here such a panic becomes an error.

use std::collections::BTreeMap;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchReader, cast::AsArray};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, errors::ParquetError};

use super::{
    Ending,
    stream::{self, Messages},
};
use crate::{
    error::{Error, Result, caught},
    io::{Content, Input},
};

/// Rows of a Parquet file that are decoded at a time.
const BATCH_ROWS: usize = 1024;

/// An open table.
pub struct Table {
    pub name: String,
    pub schema: SchemaRef,
    /// Key-value pairs of the file.
    pub metadata: BTreeMap<String, String>,
    /// What follows the batches.
    pub ending: Ending,
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
                let metadata: BTreeMap<_, _> =
                    pairs.filter_map(|pair| Some((pair.key, pair.value?))).collect();
                let ending = Ending::of(&metadata);
                let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(fail)?;
                let table = Table::of(name.clone(), reader);
                // the input does not see random reads
                let mut seen = 0.0;
                let batches = table.batches.inspect(move |batch| {
                    seen += batch.as_ref().map_or(0.0, |batch| batch.num_rows() as f64);
                    consumed.come_to(seen / rows);
                });
                Ok(Table { metadata, ending, batches: Box::new(batches), ..table })
            }
            Content::ArrowFile => {
                let file = std::io::BufReader::new(input.into_seekable()?);
                let reader = FileReader::try_new(file, None);
                Ok(Table::of(name.clone(), reader.map_err(|error| arrow_error(&name, error))?))
            }
            Content::ArrowStream | Content::Text => {
                let messages = Messages::new(input.into_reader());
                let ending = messages.ending();
                let reader = StreamReader::try_new(messages, None);
                let reader = reader.map_err(|error| arrow_error(&name, error))?;
                Ok(Table { ending, ..Table::ending(name.clone(), reader, stream::check_end) })
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
        Table { name, schema, metadata, ending: Ending::default(), batches: Box::new(batches) }
    }

    /// What the columns are, for a message.
    pub fn columns(&self) -> String {
        let columns = self.schema.fields().iter();
        let columns = columns.map(|field| format!("{} {}", field.name(), field.data_type()));
        columns.collect::<Vec<_>>().join(", ")
    }
}

/// What `decode` returns, or an error if it panics. Its state is not used again.
fn guarded<T>(name: &str, decode: impl FnOnce() -> T) -> Result<T> {
    caught(decode).ok_or_else(|| {
        let reason =
            "not readable as Parquet or Arrow (damaged): its lengths contradict each other";
        Error::format(name, reason)
    })
}

/// A string of any of Arrow's string types; `None` for a null or another type.
pub fn string_at(column: &ArrayRef, at: usize) -> Option<&str> {
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

pub fn arrow_error(name: &str, error: ArrowError) -> Error {
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

pub fn parquet_error(name: &str, error: ParquetError) -> Error {
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
