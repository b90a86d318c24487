//! The files of one export: written one by one, put in place together.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use super::with_ending;
use crate::{
    error::{Error, Result},
    io::Output,
};

/// A file that is being written, and its name.
pub(super) struct Named {
    path: PathBuf,
    output: Output,
}

impl Named {
    fn create(path: PathBuf) -> Result<Named> {
        let output = Output::create(&path)?;
        Ok(Named { path, output })
    }

    /// Writes by a function that knows only how to write.
    pub(super) fn with(
        &mut self,
        write: impl FnOnce(&mut Output) -> std::io::Result<()>,
    ) -> Result<()> {
        write(&mut self.output).map_err(|error| Error::io(&self.path, error))
    }

    /// Writes a line of text, for files in which a line is an entry.
    pub(super) fn line(&mut self, text: &str) -> Result<()> {
        if text.contains(['\n', '\r']) {
            let wanted = "expected ids without line breaks, since they are written one per line";
            return Err(Error::format(&self.path, format!("{wanted}, found {text:?}")));
        }
        self.with(|out| writeln!(out, "{text}"))
    }
}

/// All files of an export. Dropped without a commit, they leave everything as it was.
pub(super) struct Files {
    output: PathBuf,
    main: Option<Named>,
    sidecars: Vec<Named>,
}

impl Files {
    /// Of an export whose one file is `output`.
    pub(super) fn with_main(output: &Path) -> Result<Files> {
        let main = Some(Named::create(output.to_owned())?);
        Ok(Files { output: output.to_owned(), main, sidecars: Vec::new() })
    }

    /// Of an export that is several files whose names begin with `output`.
    pub(super) fn named_after(output: &Path) -> Files {
        Files { output: output.to_owned(), main: None, sidecars: Vec::new() }
    }

    /// Whether other files can be written next to it: not for a pipe or a device.
    pub(super) fn is_on_disk(&self) -> bool {
        self.main.as_ref().is_none_or(|main| main.output.unfinished().is_some())
    }

    /// The one file.
    pub(super) fn main(&mut self) -> Result<&mut Named> {
        let Files { output, main, .. } = self;
        main.as_mut().ok_or_else(|| Error::format(output, "expected one file, found several"))
    }

    /// Begins a file next to it.
    pub(super) fn begin(&mut self, ending: &str) -> Result<Named> {
        Named::create(with_ending(&self.output, ending))
    }

    /// Takes a file that was written, to be put in place with the others.
    pub(super) fn take(&mut self, file: Named) {
        self.sidecars.push(file);
    }

    /// Writes a whole file next to it.
    pub(super) fn put(&mut self, ending: &str, text: &str) -> Result<()> {
        let mut file = self.begin(ending)?;
        file.with(|out| out.write_all(text.as_bytes()))?;
        self.take(file);
        Ok(())
    }

    /// Puts all in place, the main file last; returns the names of those next to it.
    pub(super) fn commit(self) -> Result<Vec<String>> {
        let names = self.sidecars.iter().map(|file| file.path.display().to_string()).collect();
        for file in self.sidecars.into_iter().chain(self.main) {
            file.output.commit()?;
        }
        Ok(names)
    }
}
