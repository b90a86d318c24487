//! Files that a program has in itself, under paths that begin with [`CARRIED`]; a folder of that name in the
//! working directory is passed over.

use std::{
    fmt, io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use memmap2::Mmap;

use crate::error::{Error, Result};

/// What the paths of carried files begin with.
pub const CARRIED: &str = "l0:";

/// The name of a file below [`CARRIED`], and its bytes.
type Carried = (&'static str, &'static [u8]);

static FILES: Mutex<Vec<Carried>> = Mutex::new(Vec::new());

/// Makes files readable under paths that begin with [`CARRIED`], for the whole program.
///
/// What calls this has the files in it, and other programs of the library have not.
pub fn carry(files: &[Carried]) {
    let mut all = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    for file in files {
        if !all.iter().any(|(name, _)| *name == file.0) {
            all.push(*file);
        }
    }
}

/// The first carried file that `is` true of.
fn look(is: impl Fn(&str) -> bool) -> Option<&'static [u8]> {
    let all = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().find(|(name, _)| is(name)).map(|(_, bytes)| *bytes)
}

/// The bytes of a carried file; none for a path of the file system.
pub(super) fn find(path: &Path) -> Option<Result<&'static [u8]>> {
    let name = below(path)?;
    let found = look(|known| Path::new(known) == name);
    let absent = || Error::io(path, io::Error::from(io::ErrorKind::NotFound));
    Some(found.ok_or_else(absent))
}

fn below(path: &Path) -> Option<PathBuf> {
    path.strip_prefix(CARRIED).ok().map(Path::to_path_buf)
}

/// Whether there is a file or a folder.
pub fn exists(path: &Path) -> bool {
    match find(path) {
        Some(found) => found.is_ok() || is_folder(path),
        None => path.exists(),
    }
}

/// Whether there is a folder.
pub fn is_folder(path: &Path) -> bool {
    match below(path) {
        Some(name) => {
            let above = |known: &str| Path::new(known).parent().map(Path::to_path_buf);
            look(|known| above(known).is_some_and(|above| above.starts_with(&name))).is_some()
        }
        None => path.is_dir(),
    }
}

/// The bytes of a file that are read where they are.
pub enum Mapped {
    /// Pages of a file.
    File(Mmap),
    /// A part of the program.
    Carried(&'static [u8]),
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Mapped::File(map) => map,
            Mapped::Carried(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carried_files_are_read_and_others_are_not_found() {
        carry(&[("toy/a.json", b"{}"), ("toy/query/b", b"xyz")]);
        let at = |name: &str| Path::new(CARRIED).join(name);
        assert_eq!(&*super::super::map(&at("toy/query/b")).unwrap(), b"xyz");
        assert_eq!(super::super::read_text(&at("toy/a.json")).unwrap(), "{}");
        assert!(exists(&at("toy/a.json")) && exists(&at("toy")) && is_folder(&at("toy/query")));
        assert!(!exists(&at("toy/b")) && !is_folder(&at("toy/a.json")));
        let error = super::super::read_bytes(&at("toy/b")).unwrap_err().to_string();
        assert!(error.contains("l0:/toy/b"), "{error}");
    }
}
