//! Folders that are written atomically, and logs that grow.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::Output;
use crate::error::{Error, Result};

/// A folder that is written under a temporary name and renamed by [`Staged::commit`]. Dropped without a
/// commit, it is removed.
pub struct Staged {
    folder: TempDir,
    target: PathBuf,
}

impl Staged {
    /// Begins a folder that will be called `target`.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder above is missing or not writable; [`Error::Format`] for an address in a
    /// store.
    pub fn create(target: &Path) -> Result<Staged> {
        local(target)?;
        let above = target.parent().filter(|above| !above.as_os_str().is_empty());
        let folder = tempfile::Builder::new()
            .prefix(".unfinished.")
            .tempdir_in(above.unwrap_or(Path::new(".")))
            .map_err(|source| Error::io(target, source))?;
        Ok(Staged { folder, target: target.to_owned() })
    }

    /// Writes and syncs one file in it.
    ///
    /// # Errors
    /// [`Error::Io`], for instance when the disk is full.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.fill(name, |file, path| {
            file.write_all(bytes).map_err(|source| Error::io(path, source))
        })
    }

    /// As [`Staged::write`], by a function that gets the open file and its final path.
    ///
    /// # Errors
    /// [`Error::Io`], and what the function returns.
    pub fn fill(
        &self,
        name: &str,
        write: impl FnOnce(&mut File, &Path) -> Result<()>,
    ) -> Result<()> {
        let path = self.target.join(name);
        let fail = |source| Error::io(&path, source);
        let mut file = File::create(self.folder.path().join(name)).map_err(fail)?;
        write(&mut file, &path)?;
        file.sync_all().map_err(fail)
    }

    /// Its temporary path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// As [`Staged::commit`], replacing a folder of that name, which is removed when the new one is in place.
    ///
    /// # Errors
    /// [`Error::Io`]; the old folder is then as it was.
    pub fn replace(self) -> Result<()> {
        if !self.target.exists() {
            return self.commit();
        }
        let target = self.target.clone();
        let fail = |source| Error::io(&target, source);
        let old = Staged::create(&target)?;
        fs::rename(&target, old.path()).map_err(fail)?;
        self.commit().inspect_err(|_| {
            // if it cannot be put back it stays next to its place
            if fs::rename(old.path(), &target).is_err() {
                let _ = old.folder.keep();
            }
        })
    }

    /// Gives the folder its name; a folder of that name must not be there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit(self) -> Result<()> {
        let fail = |source| Error::io(&self.target, source);
        fs::rename(self.folder.path(), &self.target).map_err(fail)?;
        super::output::sync_folder(&self.target);
        // the folder has another name now: there is nothing left to remove
        let _ = self.folder.keep();
        Ok(())
    }
}

/// Refuses a path of a store, which has no folders.
fn local(folder: &Path) -> Result<()> {
    match super::is_object(folder) {
        true => Err(Error::format(
            folder,
            "expected a folder of this machine, found an object of a store",
        )),
        false => Ok(()),
    }
}

/// Makes a folder and those above it, unless it is there.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for an address in a store.
pub fn make(folder: &Path) -> Result<()> {
    local(folder)?;
    fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))
}

/// Locks a folder for this process for as long as the returned value lives; waits while another process
/// has it.
///
/// # Errors
/// [`Error::Io`].
#[cfg(any(feature = "hub", test))]
pub(super) fn wait_for(folder: &Path) -> Result<File> {
    let fail = |source| Error::io(folder, source);
    let opened = File::open(folder).map_err(fail)?;
    match opened.lock() {
        Ok(()) => Ok(opened),
        // some file systems cannot lock: then two processes may do the same work
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(opened),
        Err(source) => Err(fail(source)),
    }
}

/// Locks a folder for this process for as long as the returned value lives.
///
/// # Errors
/// [`Error::Usage`] if another process has it; [`Error::Io`].
pub fn lock(folder: &Path) -> Result<File> {
    let fail = |source| Error::io(folder, source);
    let opened = File::open(folder).map_err(fail)?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(Error::Usage(format!(
            "{}: another run is writing to it; wait for it, or name another folder",
            folder.display()
        ))),
        // some file systems cannot lock: a single run is fine there
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(opened),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

/// The names in a folder, in byte order; empty if there is no such folder.
///
/// # Errors
/// [`Error::Io`].
pub fn names(folder: &Path) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let fail = |source| Error::io(folder, source);
    let entries = fs::read_dir(folder).map_err(fail)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<std::io::Result<Vec<_>>>().map_err(fail)?;
    names.sort();
    Ok(names)
}

/// Removes a folder with all that is in it.
///
/// # Errors
/// [`Error::Io`].
pub fn remove(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).map_err(|source| Error::io(folder, source))
}

/// Removes a file.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_file(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|source| Error::io(path, source))
}

/// Writes a file atomically, replacing what was there.
///
/// # Errors
/// [`Error::Io`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut output = Output::create(path)?;
    output.write_all(bytes).map_err(|source| Error::io(path, source))?;
    output.commit()
}

/// A file that grows by whole lines.
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens a log with `lines` in it and nothing else.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path, lines: &[&str]) -> Result<Log> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        write(path, text.as_bytes())?;
        let file = File::options().append(true).open(path);
        Ok(Log { path: path.to_owned(), file: file.map_err(|source| Error::io(path, source))? })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add(&mut self, line: &str) -> Result<()> {
        let bytes = format!("{line}\n");
        self.file.write_all(bytes.as_bytes()).map_err(|source| Error::io(&self.path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let above = tempfile::tempdir().unwrap();
        let target = above.path().join("step-1");
        let staged = Staged::create(&target).unwrap();
        staged.write("a", b"1").unwrap();
        assert!(!target.exists());
        drop(staged);
        assert!(names(above.path()).unwrap().is_empty());

        let staged = Staged::create(&target).unwrap();
        staged.write("a", b"1").unwrap();
        staged.commit().unwrap();
        assert_eq!(names(&target).unwrap(), ["a"]);
        remove(&target).unwrap();
        assert!(names(&target).unwrap().is_empty());
    }

    #[test]
    fn a_folder_takes_the_place_of_an_older_one() {
        let above = tempfile::tempdir().unwrap();
        let target = above.path().join("best");
        for name in ["a", "b"] {
            let staged = Staged::create(&target).unwrap();
            staged.write(name, b"1").unwrap();
            staged.replace().unwrap();
            assert_eq!(names(&target).unwrap(), [name]);
        }
        let staged = Staged::create(&target).unwrap();
        fs::remove_dir(staged.path()).unwrap(); // so that it cannot take its name
        assert!(staged.replace().is_err());
        assert_eq!(names(&target).unwrap(), ["b"], "the old one was not put back");
        assert_eq!(names(above.path()).unwrap(), ["best"]);
    }

    #[test]
    fn a_folder_that_is_taken_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        assert!(matches!(lock(folder.path()), Err(Error::Usage(_))));
        let path = folder.path().to_owned();
        let waits = std::thread::spawn(move || wait_for(&path).map(drop));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waits.is_finished(), "two have it");
        drop(held);
        waits.join().unwrap().unwrap();
    }

    #[test]
    fn a_log_begins_with_what_is_kept() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("log");
        Log::open(&path, &["old"]).unwrap().add("new").unwrap();
        Log::open(&path, &["old"]).unwrap().add("other").unwrap();
        assert_eq!(super::super::read_text(&path).unwrap(), "old\nother\n");
    }
}
