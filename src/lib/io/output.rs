//! An output that is written next to its target and renamed when it is complete.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use tempfile::{NamedTempFile, TempPath};

use super::{BUFFER_BYTES, stores};
use crate::error::{Error, Result};

/// Files that exist only until their output is committed.
static TEMPORARIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn remember(temporary: &Path) {
    if let Ok(mut paths) = TEMPORARIES.lock() {
        paths.push(temporary.to_path_buf());
    }
}

fn forget(temporary: &Path) {
    if let Ok(mut paths) = TEMPORARIES.lock() {
        paths.retain(|path| path != temporary);
    }
}

/// Removes the unfinished outputs of this process; for the handler of an interrupt.
pub fn remove_temporaries() {
    if let Ok(mut paths) = TEMPORARIES.lock() {
        for path in paths.drain(..) {
            let _ = fs::remove_file(path);
        }
    }
}

/// An output: standard output, a device or pipe, written directly; a file, written next to its target and
/// renamed by [`Output::commit`]; or an object, sent by it. Dropped
/// without a commit, it leaves the target as it was.
pub struct Output {
    name: String,
    sink: Sink,
}

enum Sink {
    Stdout(BufWriter<io::Stdout>),
    Direct(BufWriter<File>),
    Beside { writer: BufWriter<File>, temporary: TempPath, target: PathBuf },
    Object { writer: BufWriter<File>, temporary: TempPath, target: stores::Target },
}

impl Output {
    /// Opens a path, or standard output for `-`. Call it before the long work: it fails early.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder is not writable; [`Error::Format`] if it is missing, for a directory, and
    /// for an address that is not that of an object.
    pub fn create(path: &Path) -> Result<Output> {
        Output::unfinished_in(None, path)
    }

    /// Whether [`Output::create`] would succeed, without making a file that would be left after a kill.
    ///
    /// # Errors
    /// As [`Output::create`].
    pub fn check(path: &Path) -> Result<()> {
        let (target, old) = target_of(path)?;
        if path == Path::new("-") || old.is_some_and(|old| !old.is_file()) {
            return Output::create(path).map(drop);
        }
        let home = target.parent().filter(|home| !home.as_os_str().is_empty());
        let nameless = tempfile::tempfile_in(home.unwrap_or(Path::new(".")));
        nameless.map(drop).map_err(|source| Error::io(path, source))
    }

    /// As [`Output::create`], with the unfinished file in `folder`, which must be on the file system
    /// of `path`.
    ///
    /// # Errors
    /// As [`Output::create`].
    pub fn create_from(folder: &Path, path: &Path) -> Result<Output> {
        Output::unfinished_in(Some(folder), path)
    }

    fn unfinished_in(folder: Option<&Path>, path: &Path) -> Result<Output> {
        if path == Path::new("-") {
            let writer = BufWriter::with_capacity(BUFFER_BYTES, io::stdout());
            return Ok(Output { name: "<stdout>".into(), sink: Sink::Stdout(writer) });
        }
        let fail = |source| Error::io(path, source);
        let name = path.display().to_string();
        if let Some(address) = stores::address(path) {
            let target = stores::Target::new(address)?;
            let (file, temporary) = NamedTempFile::new().map_err(fail)?.into_parts();
            remember(&temporary);
            let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
            return Ok(Output { name, sink: Sink::Object { writer, temporary, target } });
        }
        let (target, old) = target_of(path)?;
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            let file = File::options().write(true).open(&target).map_err(fail)?;
            let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
            return Ok(Output { name, sink: Sink::Direct(writer) });
        }
        let (file, temporary) = unfinished(folder, &target, old.map(|old| old.permissions()))
            .map_err(fail)?
            .into_parts();
        remember(&temporary);
        let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Output { name, sink: Sink::Beside { writer, temporary, target } })
    }

    /// The path as the user gave it, or `<stdout>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a person reads this on a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(&self.sink, Sink::Stdout(_)) && io::stdout().is_terminal()
    }

    /// The path of the temporary file; `None` if the output has none.
    pub fn unfinished(&self) -> Option<PathBuf> {
        match &self.sink {
            Sink::Beside { temporary, .. } | Sink::Object { temporary, .. } => {
                Some(temporary.to_path_buf())
            }
            _ => None,
        }
    }

    /// Completes the output: syncs and renames over the target, or sends the object.
    ///
    /// # Errors
    /// [`Error::Io`], for instance when the disk is full; [`Error::Format`] with a store's answer. The target
    /// is then as it was, except that an `http(s)://` server may have a part of the object.
    pub fn commit(mut self) -> Result<()> {
        let name = self.name.clone();
        let fail = |source| Error::io(&name, source);
        self.flush().map_err(fail)?;
        match self.sink {
            Sink::Stdout(_) | Sink::Direct(_) => Ok(()),
            Sink::Beside { writer, temporary, target } => {
                let file = writer.into_inner().map_err(|error| fail(error.into_error()))?;
                file.sync_all().map_err(fail)?;
                let unfinished = temporary.to_path_buf();
                temporary.persist(&target).map_err(|error| fail(error.error))?;
                forget(&unfinished);
                sync_folder(&target);
                Ok(())
            }
            Sink::Object { writer, temporary, target } => {
                drop(writer.into_inner().map_err(|error| fail(error.into_error()))?);
                target.send(File::open(&temporary).map_err(fail)?)?;
                let unfinished = temporary.to_path_buf();
                temporary.close().map_err(fail)?;
                forget(&unfinished);
                Ok(())
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Stdout(writer) => writer.write(bytes),
            Sink::Direct(writer) | Sink::Beside { writer, .. } | Sink::Object { writer, .. } => {
                writer.write(bytes)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Stdout(writer) => writer.flush(),
            Sink::Direct(writer) | Sink::Beside { writer, .. } | Sink::Object { writer, .. } => {
                writer.flush()
            }
        }
    }
}

/// The file that a path leads to, and what is there now.
fn target_of(path: &Path) -> Result<(PathBuf, Option<fs::Metadata>)> {
    // a link is followed: its target is replaced, not the link itself
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let old = fs::metadata(&target).ok();
    let home = target.parent().filter(|home| !home.as_os_str().is_empty());
    if let Some(home) = home.filter(|home| !home.is_dir()) {
        let reason = format!("expected a folder {} to write in, found none", home.display());
        return Err(Error::format(path, reason));
    }
    if old.as_ref().is_some_and(|old| old.is_dir()) {
        return Err(Error::format(path, "expected a file to write, found a directory"));
    }
    Ok((target, old))
}

/// A hidden temporary file in `folder`, else next to the target, with the permissions that the target
/// will have.
fn unfinished(
    folder: Option<&Path>,
    target: &Path,
    old: Option<Permissions>,
) -> io::Result<NamedTempFile> {
    let beside = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let prefix = format!(".{name}.tmp.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(old.unwrap_or_else(|| Permissions::from_mode(0o666)));
    }
    #[cfg(not(unix))]
    let _ = old;
    builder.tempfile_in(folder.unwrap_or(beside))
}

/// Makes a rename survive a power cut, on file systems that can.
pub(super) fn sync_folder(target: &Path) {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"whole").unwrap();
        assert!(!path.exists());
        output.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
