//! Folders embedded in the program, read under the paths `l0:NAME` and `l0:NAME/FILE`; a folder of that name
//! in the working directory is ignored.

use std::{
    ffi::OsStr,
    fmt, io, iter,
    ops::Deref,
    path::{Component, Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use memmap2::Mmap;

use crate::error::{Error, Result};

/// The prefix of the paths of embedded folders.
pub const CARRIED: &str = "l0:";

/// A folder embedded in the program.
pub struct Folder {
    /// Its name after [`CARRIED`], then other names for the same folder.
    pub names: &'static [&'static str],
    /// Its files: the path within the folder, and the bytes.
    pub files: &'static [(&'static str, &'static [u8])],
}

static FOLDERS: Mutex<Vec<&'static Folder>> = Mutex::new(Vec::new());

/// Makes a folder readable, for the whole program.
///
/// Only programs that call this have the files embedded.
pub fn carry(folder: &'static Folder) {
    let mut all = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    if !all.iter().any(|known| known.names == folder.names) {
        all.push(folder);
    }
}

/// The name of an embedded folder in a path, and the rest of the path; `None` for a path of the file system.
fn split(path: &Path) -> Option<(&str, &Path)> {
    let mut parts = path.components();
    let Component::Normal(first) = parts.next()? else { return None };
    let name = first.to_str()?.strip_prefix(CARRIED)?;
    Some((name, parts.as_path()))
}

fn folder(name: &str) -> Option<&'static Folder> {
    let all = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().find(|folder| folder.names.contains(&name)).copied()
}

/// A path in an embedded folder, by the folder's first name; `None` for a path of the file system.
///
/// # Errors
/// [`Error::Format`] for a folder that the program does not have, naming those that it has.
pub(super) fn resolve(path: &Path) -> Option<Result<PathBuf>> {
    let (name, inside) = split(path)?;
    let Some(folder) = folder(name) else { return Some(Err(unknown(path))) };
    let own = format!("{CARRIED}{}", folder.names.first().unwrap_or(&name));
    Some(Ok(iter::once(OsStr::new(&own)).chain(inside).collect()))
}

fn unknown(path: &Path) -> Error {
    let all = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let names = all.iter().flat_map(|folder| folder.names);
    let mut names: Vec<String> = names.map(|name| format!("{CARRIED}{name}")).collect();
    names.sort();
    let expected = match names.as_slice() {
        [] => format!("expected a path, since this program carries no folder {CARRIED}NAME"),
        [one] => format!("expected {one}"),
        _ => format!("expected one of {}", names.join(", ")),
    };
    let remedy = format!("write ./{} for a folder of that name", path.display());
    Error::format(path, format!("{expected}; {remedy}"))
}

/// The bytes of an embedded file; `None` for a path of the file system.
pub(super) fn find(path: &Path) -> Option<Result<&'static [u8]>> {
    let (name, inside) = split(path)?;
    let files = folder(name).map_or(&[][..], |folder| folder.files);
    let found = files.iter().find(|(known, _)| Path::new(known) == inside);
    let absent = || Error::io(path, io::Error::from(io::ErrorKind::NotFound));
    Some(found.map(|(_, bytes)| *bytes).ok_or_else(absent))
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
    let Some((name, inside)) = split(path) else { return path.is_dir() };
    let above = |known: &str| Path::new(known).parent().is_some_and(|at| at.starts_with(inside));
    folder(name).is_some_and(|folder| folder.files.iter().any(|(known, _)| above(known)))
}

/// The bytes of a file, read in place.
pub enum Mapped {
    /// A mapped file.
    File(Mmap),
    /// An embedded file.
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
    use super::{
        super::{hub, map, read_bytes, read_text},
        *,
    };

    static TOY: Folder =
        Folder { names: &["toy", "toy-too"], files: &[("a.json", b"{}"), ("query/b", b"xyz")] };

    #[test]
    fn carried_files_are_read_and_others_are_not_found() {
        carry(&TOY);
        let at = |name: &str| Path::new("l0:toy").join(name);
        assert_eq!(&*map(&at("query/b")).unwrap(), b"xyz");
        for path in ["l0:toy/a.json", "l0:toy-too/a.json", "l0:toy//a.json", "l0:toy/./a.json"] {
            assert_eq!(read_text(Path::new(path)).unwrap(), "{}", "{path}");
        }
        assert!(exists(&at("a.json")) && exists(&at("")) && exists(Path::new("l0:toy")));
        assert!(is_folder(Path::new("l0:toy")) && is_folder(&at("query")));
        assert!(!exists(&at("b")) && !is_folder(&at("a.json")) && !exists(Path::new("l0:to")));
        let error = read_bytes(&at("b")).unwrap_err().to_string();
        assert!(error.contains("l0:toy/b"), "{error}");
    }

    #[test]
    fn a_folder_has_one_name_of_its_own_and_unknown_names_are_refused() {
        carry(&TOY);
        let resolved = |path: &str| hub::resolve(Path::new(path), hub::Need::Model);
        assert_eq!(resolved("l0:toy").unwrap(), Path::new("l0:toy"));
        assert_eq!(resolved("l0:toy-too/").unwrap(), Path::new("l0:toy"));
        assert_eq!(resolved("l0:toy-too/query/b").unwrap(), Path::new("l0:toy/query/b"));
        // not carried: a folder and a file of the file system
        for path in ["./l0:toy", "x/l0:toy", "/l0:toy", "toy", "l0"] {
            assert_eq!(resolved(path).unwrap(), Path::new(path));
        }
        for path in ["l0:", "l0:to", "l0:Toy", "l0:/toy", "l0:xyz/a.json"] {
            let error = resolved(path).unwrap_err().to_string();
            let known = error.contains("l0:toy") && error.contains("l0:toy-too");
            assert!(error.starts_with(path) && known, "{error}");
        }
    }
}
