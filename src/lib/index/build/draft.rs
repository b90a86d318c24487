//! An index that is written except for its last section: it can be searched before it is finished.

use std::path::Path;

use crate::{
    error::Result,
    index::format::{
        calibration::Calibration,
        file::Index,
        layout::{FileWriter, Section},
        metadata::Metadata,
    },
    io,
};

/// An index without its metadata, table and closing mark.
#[must_use = "an index without its end cannot be opened"]
pub struct Draft<'a> {
    pub(in crate::index) file: FileWriter<'a>,
    pub(in crate::index) metadata: Metadata,
}

impl Draft<'_> {
    /// What it is made of.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Opens what was written so far, which lies in the file at `path`.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn open(&mut self, path: &Path) -> Result<Index> {
        let frame = self.file.frame()?;
        Index::of(self.file.name().to_owned(), io::map(path)?, frame, self.metadata.clone())
    }

    /// Writes the missing parts.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn finish(mut self, calibration: Option<Calibration>) -> Result<Metadata> {
        self.metadata.calibration = calibration;
        let json = serde_json::to_vec(&self.metadata).expect("metadata are plain values");
        self.file.section(Section::Metadata, &json)?;
        self.file.finish()?;
        Ok(self.metadata)
    }
}
