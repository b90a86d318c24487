//! The file of weights in a folder, and its fingerprint.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{error::Result, io, layout};

/// The file of weights in a folder, if there is one.
pub(super) fn weights_file(folder: &Path) -> Option<PathBuf> {
    layout::WEIGHTS.iter().map(|name| folder.join(name)).find(|file| io::exists(file))
}

/// SHA-256 of the file of weights in a folder, in hex; `None` if there is no such file.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn fingerprint(folder: &Path) -> Result<Option<String>> {
    weights_file(folder).map(|file| Ok(hash(&io::map(&file)?))).transpose()
}

/// SHA-256 in hex.
pub(super) fn hash(bytes: &[u8]) -> String {
    in_hex(Sha256::new_with_prefix(bytes))
}

pub(super) fn in_hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
