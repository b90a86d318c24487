//! A file of examples, record by record, in any format recognised by its first bytes.

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use arrow_schema::DataType;
use serde_json::{Map, Number, Value};

use super::{
    RawExample,
    fields::{Fields, Positional},
    write::FORMAT,
};
use crate::{
    error::{Error, Result},
    io::{Content, Input, Lines},
    tables::arrow::{Table, string_at},
};

/// The records of a file in order. A bad record is an [`Error::Line`], and the next call continues
/// after it.
pub struct ExampleReader {
    name: String,
    first: Option<Result<RawExample>>,
    rest: Rest,
}

enum Rest {
    Lines(Lines),
    Table(Box<dyn Iterator<Item = Result<RawExample>> + Send>),
}

impl ExampleReader {
    /// Opens JSON lines, Parquet or Arrow.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a damaged table or one whose columns cannot be read.
    pub fn open(input: Input) -> Result<ExampleReader> {
        let name = input.name().to_owned();
        let rest = match input.content() {
            Content::Text => Rest::Lines(input.lines()),
            _ => Rest::Table(rows(Table::open(input)?)?),
        };
        let mut reader = ExampleReader { name, first: None, rest };
        reader.first = reader.read();
        Ok(reader)
    }

    /// The columns that are read by position, if the first record has such; to be called before the
    /// first record is taken.
    ///
    /// # Errors
    /// [`Error::Line`] for ambiguous columns.
    pub fn positional(&self) -> Result<Option<Positional>> {
        match &self.first {
            Some(Ok(first)) => first.positional(&self.name),
            _ => Ok(None),
        }
    }

    fn read(&mut self) -> Option<Result<RawExample>> {
        match &mut self.rest {
            Rest::Table(rows) => rows.next(),
            Rest::Lines(lines) => loop {
                match lines.next()? {
                    Ok(line) if line.text.trim().is_empty() => {}
                    line => return Some(line.map(RawExample::Line)),
                }
            },
        }
    }
}

impl Iterator for ExampleReader {
    type Item = Result<RawExample>;

    fn next(&mut self) -> Option<Result<RawExample>> {
        self.first.take().or_else(|| self.read())
    }
}

/// The rows of a table of examples, a batch at a time.
fn rows(table: Table) -> Result<Box<dyn Iterator<Item = Result<RawExample>> + Send>> {
    if let Some(version) = table.metadata.get("l0.examples").filter(|&v| *v != FORMAT.to_string()) {
        return Err(Error::Mismatch {
            what: format!("{}: format of the examples", table.name),
            expected: FORMAT.to_string(),
            got: version.clone(),
            remedy: "write it again with this version, or read it with the one that wrote it"
                .into(),
        });
    }
    if let Some(field) = table.schema.fields().iter().find(|field| !is_read(field.data_type())) {
        let reason = format!(
            "expected columns of texts, numbers and lists of them, found {} {}; leave that column out",
            field.name(),
            field.data_type()
        );
        return Err(Error::format(&table.name, reason));
    }
    let mut before = 0;
    let rows = table.batches.flat_map(move |batch| match batch {
        Ok(batch) => {
            let first = before + 1;
            before += batch.num_rows() as u64;
            rows_of(first, &batch)
        }
        Err(error) => vec![Err(error)],
    });
    Ok(Box::new(rows))
}

fn rows_of(first: u64, batch: &RecordBatch) -> Vec<Result<RawExample>> {
    let schema = batch.schema();
    let row = |at: usize| {
        let columns = schema.fields().iter().zip(batch.columns());
        let fields = columns.map(|(field, column)| (field.name().clone(), value_at(column, at)));
        Ok(RawExample::Row(first + at as u64, Fields(fields.collect())))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn is_read(kind: &DataType) -> bool {
    match kind {
        DataType::List(field) | DataType::LargeList(field) => is_read(field.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_read(field.data_type())),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Null | DataType::Boolean | DataType::Float32 | DataType::Float64 => true,
        other => other.is_integer(),
    }
}

/// A cell as JSON; a number that JSON does not have becomes a string, which no reader of scores
/// accepts.
pub(super) fn value_at(column: &ArrayRef, at: usize) -> Value {
    if column.is_null(at) {
        return Value::Null;
    }
    let float = |number: f64| {
        Number::from_f64(number).map_or_else(|| Value::from(number.to_string()), Value::Number)
    };
    match column.data_type() {
        DataType::Boolean => Value::Bool(column.as_boolean().value(at)),
        DataType::Float32 => float(column.as_primitive::<Float32Type>().value(at).into()),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(at)),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(at).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(at).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(at).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(at).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(at).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(at).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(at).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(at).into(),
        DataType::List(_) => list(&column.as_list::<i32>().value(at)),
        DataType::LargeList(_) => list(&column.as_list::<i64>().value(at)),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(column.as_struct().columns());
            let values = columns.map(|(field, part)| (field.name().clone(), value_at(part, at)));
            Value::Object(values.collect::<Map<_, _>>())
        }
        _ => string_at(column, at).map_or(Value::Null, Value::from),
    }
}

fn list(items: &ArrayRef) -> Value {
    (0..items.len()).map(|at| value_at(items, at)).collect()
}
