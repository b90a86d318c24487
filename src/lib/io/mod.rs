//! Files and pipes: inputs recognised by their first bytes, outputs that are written atomically.
//!
//! The only module that opens files, and with the features `hub` and `stores` the only one that uses the
//! network. `-` is standard input or output. It knows compression and the difference between a pipe and a
//! file, but not what the bytes mean.

#![expect(clippy::disallowed_methods, reason = "the one module that opens files")]

mod carried;
pub mod folder;
pub mod hub;
mod input;
mod lines;
mod output;
mod stores;

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use memmap2::Mmap;

pub use carried::{CARRIED, Folder, Mapped, carry, exists, is_folder};
pub use input::{Consumed, Content, Input, Stop};
pub use lines::{Line, Lines, MAX_LINE_BYTES, RawLine};
pub use output::{Output, remove_temporaries};

use crate::error::{Error, Result};

/// What is read from a file, or collected for one, at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// A whole small file as text.
///
/// # Errors
/// As [`read_bytes`]; a file that is no UTF-8 is [`Error::Format`].
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|_| Error::format(path, "expected UTF-8 text"))
}

/// A whole file.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] of an object, with what its store answered, or without the feature
/// `stores`.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    if let Some(address) = stores::address(path) {
        let mut bytes = Vec::new();
        let read = stores::open(address)?.body.read_to_end(&mut bytes);
        return read.map(|_| bytes).map_err(|source| Error::io(path, source));
    }
    match carried::find(path) {
        Some(bytes) => bytes.map(<[u8]>::to_vec),
        None => fs::read(path).map_err(|source| Error::io(path, source)),
    }
}

/// The first bytes of a file, `count` or as many as it has; of an object, no more is asked for.
///
/// # Errors
/// As [`read_bytes`].
pub fn read_head(path: &Path, count: usize) -> Result<Vec<u8>> {
    if let Some(address) = stores::address(path) {
        return stores::head(address, count as u64);
    }
    if let Some(bytes) = carried::find(path) {
        return bytes.map(|bytes| bytes[..count.min(bytes.len())].to_vec());
    }
    let fail = |source| Error::io(path, source);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fail)?;
    file.take(count as u64).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Whether a path is a plain file or an object, and no folder, device or pipe.
///
/// # Errors
/// [`Error::Io`] if there is nothing.
pub fn is_file(path: &Path) -> Result<bool> {
    if is_object(path) {
        return Ok(true);
    }
    let found = fs::metadata(path).map_err(|source| Error::io(path, source))?;
    Ok(found.is_file())
}

/// A file mapped into memory, read only; of an object, a temporary copy.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened or mapped; [`Error::Format`] for a directory or a pipe, and of an
/// object as [`read_bytes`].
pub fn map(path: &Path) -> Result<Mapped> {
    if let Some(bytes) = carried::find(path) {
        return bytes.map(Mapped::Carried);
    }
    let file = match stores::address(path) {
        Some(address) => stores::copy(address)?,
        // asked first: to open a pipe waits for a writer
        None if !fs::metadata(path).map_err(|source| Error::io(path, source))?.is_file() => {
            return Err(Error::format(path, "expected a file, found a directory or a pipe"));
        }
        None => File::open(path).map_err(|source| Error::io(path, source))?,
    };
    mapped(&file).map(Mapped::File).map_err(|source| Error::io(path, source))
}

fn mapped(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read only. A file that another process cuts short while it is mapped ends
    // this one by SIGBUS; our own writers never change a file in place, they rename a new one over it.
    unsafe { Mmap::map(file) }
}

/// Lets the memory of the first `bytes` of a map go; they can still be read, from the file again.
pub fn let_go(map: &Mapped, bytes: usize) {
    let Mapped::File(map) = map else { return };
    #[cfg(unix)]
    // SAFETY: the map is of a file and never written to, so its pages come back as they were. If the
    // system refuses, the only cost is memory.
    let _ = unsafe {
        map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, 0, bytes.min(map.len()))
    };
}

/// Whether a path is of an object in a store, which has no folder next to it.
pub fn is_object(path: &Path) -> bool {
    stores::address(path).is_some()
}

/// A nameless temporary file for data that outgrow the memory, in the folder that `TMPDIR` names.
///
/// # Errors
/// [`Error::Io`], with that folder.
pub fn scratch() -> Result<File> {
    let folder = std::env::temp_dir();
    let named = || format!("temporary file in {} (TMPDIR)", folder.display());
    tempfile::tempfile_in(&folder).map_err(|source| Error::io(named(), source))
}
