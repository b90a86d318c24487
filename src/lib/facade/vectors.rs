//! Vectors in files.

use std::path::Path;

use super::file;
#[cfg(feature = "model")]
use crate::{
    error::Error,
    io::Output,
    text::DocumentFrequencies,
    vectors::{Form, Writer},
};
use crate::{
    error::Result,
    io::Input,
    vectors::{self, Row, Rows},
};

/// The rows of a file of vectors, in their order.
pub struct VectorReader(Rows);

/// Reads a file of vectors in Parquet, Arrow or JSON lines, as `l0-encode` and [`VectorWriter`] write it.
/// The form is recognised by the first bytes.
///
/// [`VectorWriter`]: crate::VectorWriter
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("vectors.jsonl");
/// std::fs::write(&path, r#"{"_id": "a", "indices": [3, 7], "values": [0.5, 1.25]}"#).unwrap();
/// let rows = l0::read_vectors(&path)?.collect::<l0::Result<Vec<_>>>()?;
/// assert_eq!((rows[0].id.as_str(), rows[0].vector.nnz()), ("a", 2));
/// # Ok::<(), l0::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if it is not a file of vectors; [`Error::Mismatch`] for another format
/// version. A bad row is an [`Error::Line`] with its number.
///
/// [`Error::Io`]: crate::Error::Io
/// [`Error::Format`]: crate::Error::Format
/// [`Error::Mismatch`]: crate::Error::Mismatch
/// [`Error::Line`]: crate::Error::Line
pub fn read_vectors(path: impl AsRef<Path>) -> Result<VectorReader> {
    let (_, rows) = vectors::read(Input::open(&file(path.as_ref()))?, None)?;
    Ok(VectorReader(rows))
}

impl Iterator for VectorReader {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        self.0.next()
    }
}

/// Writes vectors of documents to a file that `l0-index`, other programs and [`read_vectors`] read.
///
/// The file appears in [`VectorWriter::finish`], complete. The extension says the form: `.parquet`,
/// `.arrow` or `.jsonl`; Parquet and Arrow also name the model, so that vectors of two models are not
/// mixed.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("vectors.parquet");
/// let model = l0::Model::shipped()?;
/// let vector = model.encode("The moon pulls the water of the oceans.")?;
/// let mut writer = l0::VectorWriter::create(&path, &model)?;
/// writer.add("tides", &vector)?;
/// writer.finish()?;
///
/// let row = l0::read_vectors(&path)?.next().unwrap()?;
/// assert_eq!((row.id.as_str(), row.vector), ("tides", vector.into_vector()));
/// # Ok::<(), l0::Error>(())
/// ```
#[cfg(feature = "model")]
pub struct VectorWriter {
    writer: Writer,
    /// `None` once a row has no word pieces.
    counted: Option<DocumentFrequencies>,
}

#[cfg(feature = "model")]
impl VectorWriter {
    /// Begins a file for vectors of `model`.
    ///
    /// # Errors
    /// [`Error::Usage`] for another extension; [`Error::Io`] or [`Error::Format`] if `path` cannot be
    /// written.
    pub fn create(path: impl AsRef<Path>, model: &super::Model) -> Result<VectorWriter> {
        let path = file(path.as_ref());
        let extension = path.extension().and_then(|extension| extension.to_str());
        let form = extension.and_then(Form::of_extension).ok_or_else(|| {
            let found = path.display();
            Error::Usage(format!("vectors: expected .parquet, .arrow or .jsonl, found {found}"))
        })?;
        let output = Output::create(&path)?;
        let writer = Writer::new(output, form, &model.meta(), false)?;
        let counted = Some(DocumentFrequencies::new(model.tokenizer().vocabulary()));
        Ok(VectorWriter { writer, counted })
    }

    /// Adds a row. Document frequencies follow the rows of Parquet and Arrow, unless a row has no pieces.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add(&mut self, id: impl Into<String>, document: &super::EncodedDocument) -> Result<()> {
        let vector = document.clone().into_vector();
        self.writer.write(&Row { id: id.into(), vector, ..Row::default() })?;
        match &mut self.counted {
            Some(counted) if document.has_pieces() => document.count(counted),
            _ => {
                self.counted = None;
                Ok(())
            }
        }
    }

    /// Ends the file and puts it in place.
    ///
    /// # Errors
    /// [`Error::Io`]; the path is then as it was.
    pub fn finish(mut self) -> Result<()> {
        if let Some(counted) = &self.counted {
            self.writer.set_document_frequencies(counted.to_text()?);
        }
        self.writer.finish()
    }
}
