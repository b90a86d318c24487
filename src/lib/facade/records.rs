//! Records in files.

use std::path::Path;

use super::file;
use crate::{
    error::Result,
    io::Input,
    records::{Document, Records, RejectsFor, rejects::Rejects},
};

/// The records of a file, in their order.
pub struct RecordReader(Records<'static, Document>);

/// Reads a corpus or queries: JSON lines in BEIR's form (`{"_id", "title", "text"}`), plain or compressed,
/// or a Parquet or Arrow table with these columns. The form is recognised by the first bytes.
///
/// ```
/// let mut records = l0::read_records("testdata/demo/corpus.jsonl")?;
/// let first = records.next().unwrap()?;
/// assert_eq!(first.title, "Feeding a sourdough starter");
/// assert!(first.content().starts_with("Feeding a sourdough starter A sourdough"));
/// # Ok::<(), l0::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`](crate::Error::Io); [`Error::Format`](crate::Error::Format) for a table without the columns.
/// A bad record is an [`Error::Line`](crate::Error::Line) with file and line.
pub fn read_records(path: impl AsRef<Path>) -> Result<RecordReader> {
    let inputs = vec![Input::open(&file(path.as_ref()))?];
    Ok(RecordReader(Records::documents(inputs, RejectsFor::Own(Rejects::stop()))))
}

impl Iterator for RecordReader {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Result<Document>> {
        self.0.next()
    }
}
