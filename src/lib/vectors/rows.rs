//! Rows of vectors to Arrow's columns and back.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, RecordBatch,
    builder::{BooleanBuilder, Float32Builder, Int32Builder, ListBuilder, StringBuilder},
    cast::AsArray,
    types::{Float32Type, Float64Type, Int32Type, Int64Type, UInt16Type, UInt32Type},
};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};

use super::Row;
use crate::{
    error::{Error, Result},
    sparse::{SparseVector, TermId},
    tables::{
        arrow::{Table, string_at},
        sink::element,
    },
};

/// The columns of schema version 1.
pub(super) fn fields(keep_text: bool) -> Vec<Field> {
    let list = |name: &str, kind| Field::new_list(name, element(kind), false);
    let mut fields = vec![
        Field::new("id", DataType::Utf8, false),
        list("indices", DataType::Int32),
        list("values", DataType::Float32),
        Field::new("n_tokens", DataType::Int32, true),
        Field::new("truncated", DataType::Boolean, true),
    ];
    if keep_text {
        fields.push(Field::new("title", DataType::Utf8, true));
        fields.push(Field::new("text", DataType::Utf8, true));
    }
    fields
}

/// Collects rows into a batch.
pub(super) struct RowBuilder {
    schema: SchemaRef,
    keep_text: bool,
    rows: usize,
    id: StringBuilder,
    indices: ListBuilder<Int32Builder>,
    values: ListBuilder<Float32Builder>,
    n_tokens: Int32Builder,
    truncated: BooleanBuilder,
    title: StringBuilder,
    text: StringBuilder,
}

impl RowBuilder {
    pub(super) fn new(schema: SchemaRef, keep_text: bool) -> RowBuilder {
        RowBuilder {
            schema,
            keep_text,
            rows: 0,
            id: StringBuilder::new(),
            indices: ListBuilder::new(Int32Builder::new()).with_field(element(DataType::Int32)),
            values: ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32)),
            n_tokens: Int32Builder::new(),
            truncated: BooleanBuilder::new(),
            title: StringBuilder::new(),
            text: StringBuilder::new(),
        }
    }

    pub(super) fn keeps_text(&self) -> bool {
        self.keep_text
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    pub(super) fn push(&mut self, row: &Row) {
        self.rows += 1;
        self.id.append_value(&row.id);
        for (term, weight) in row.vector.iter() {
            // a vocabulary has fewer than 2³¹ tokens
            self.indices.values().append_value(term.0 as i32);
            self.values.values().append_value(weight);
        }
        self.indices.append(true);
        self.values.append(true);
        self.n_tokens.append_option(row.n_tokens.map(|count| count as i32));
        self.truncated.append_option(row.truncated);
        if self.keep_text {
            self.title.append_option(row.title.as_deref());
            self.text.append_option(row.text.as_deref());
        }
    }

    /// The batch so far; the builder is then empty.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.id.finish()),
            Arc::new(self.indices.finish()),
            Arc::new(self.values.finish()),
            Arc::new(self.n_tokens.finish()),
            Arc::new(self.truncated.finish()),
        ];
        if self.keep_text {
            columns.push(Arc::new(self.title.finish()));
            columns.push(Arc::new(self.text.finish()));
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

/// Whether a table has the columns of vectors, in types that are read.
pub(super) fn check_schema(table: &Table) -> Result<()> {
    let schema = &table.schema;
    let kind = |name: &str| schema.field_with_name(name).ok().map(Field::data_type);
    let child = |name: &str| match kind(name) {
        Some(DataType::List(field) | DataType::LargeList(field)) => Some(field.data_type().clone()),
        _ => None,
    };
    use DataType::{Float32, Float64, Int32, Int64, LargeUtf8, UInt16, UInt32, Utf8, Utf8View};
    let fits = matches!(kind("id"), Some(Utf8 | LargeUtf8 | Utf8View))
        && matches!(child("indices"), Some(Int32 | Int64 | UInt16 | UInt32))
        && matches!(child("values"), Some(Float32 | Float64));
    if fits {
        return Ok(());
    }
    Err(Error::format(
        &table.name,
        format!(
            "expected columns id utf8, indices list<int32>, values list<float32>; found {}",
            table.columns()
        ),
    ))
}

/// The rows of a batch whose schema was checked; `before` rows came earlier in the input.
pub(super) fn rows_of(file: &str, before: u64, batch: &RecordBatch) -> Vec<Result<Row>> {
    let column = |name: &str| batch.column_by_name(name);
    let (Some(ids), Some(indices), Some(values)) =
        (column("id"), column("indices"), column("values"))
    else {
        return vec![Err(Error::format(file, "expected columns id, indices, values"))];
    };
    let rows = (0..batch.num_rows()).map(|at| {
        let bad = |found: String| {
            let wanted = "an id, ascending indices and as many weights above 0";
            Error::line(file, before + at as u64 + 1, wanted, found)
        };
        let id = string_at(ids, at).ok_or_else(|| bad("no id".into()))?;
        let bad = |found: String| bad(format!("{found} in `{id}`"));
        let terms = list_at(indices, at).ok_or_else(|| bad("no indices".into()))?;
        let weights = list_at(values, at).ok_or_else(|| bad("no values".into()))?;
        let vector = vector_of(&terms, &weights).map_err(bad)?;
        Ok(Row {
            id: id.to_owned(),
            vector,
            n_tokens: column("n_tokens").and_then(|column| int_at(column, at)),
            truncated: column("truncated").and_then(|column| bool_at(column, at)),
            title: column("title").and_then(|column| string_at(column, at)).map(str::to_owned),
            text: column("text").and_then(|column| string_at(column, at)).map(str::to_owned),
        })
    });
    rows.collect()
}

fn vector_of(terms: &ArrayRef, weights: &ArrayRef) -> Result<SparseVector, String> {
    if terms.len() != weights.len() {
        return Err(format!("{} indices and {} values", terms.len(), weights.len()));
    }
    if terms.null_count() + weights.null_count() > 0 {
        return Err("a null".into());
    }
    let terms = terms_of(terms)?;
    let weights: Vec<f32> = match weights.data_type() {
        DataType::Float64 => weights
            .as_primitive::<Float64Type>()
            .values()
            .iter()
            .map(|&value| value as f32)
            .collect(),
        _ => weights.as_primitive::<Float32Type>().values().to_vec(),
    };
    SparseVector::new(terms.into_iter().zip(weights)).map_err(|error| error.to_string())
}

fn terms_of(array: &ArrayRef) -> Result<Vec<TermId>, String> {
    let term = |value: i64| u32::try_from(value).map(TermId).map_err(|_| format!("index {value}"));
    match array.data_type() {
        DataType::UInt16 => {
            array.as_primitive::<UInt16Type>().values().iter().map(|&id| term(id.into())).collect()
        }
        DataType::UInt32 => {
            array.as_primitive::<UInt32Type>().values().iter().map(|&id| term(id.into())).collect()
        }
        DataType::Int64 => {
            array.as_primitive::<Int64Type>().values().iter().map(|&id| term(id)).collect()
        }
        _ => array.as_primitive::<Int32Type>().values().iter().map(|&id| term(id.into())).collect(),
    }
}

fn list_at(column: &ArrayRef, at: usize) -> Option<ArrayRef> {
    if column.is_null(at) {
        return None;
    }
    match column.data_type() {
        DataType::LargeList(_) => Some(column.as_list::<i64>().value(at)),
        _ => Some(column.as_list::<i32>().value(at)),
    }
}

fn int_at(column: &ArrayRef, at: usize) -> Option<u32> {
    let array = column.as_primitive_opt::<Int32Type>()?;
    (!array.is_null(at)).then(|| array.value(at)).and_then(|value| u32::try_from(value).ok())
}

fn bool_at(column: &ArrayRef, at: usize) -> Option<bool> {
    let array: &BooleanArray = column.as_boolean_opt()?;
    (!array.is_null(at)).then(|| array.value(at))
}
