//! Objects in stores as inputs and outputs: `s3://`, `gs://` and `https://`, with the cargo feature `stores`.
//!
//! An input is streamed; what must be read at any position is copied to a nameless temporary file first. An
//! output is written to a temporary file and sent when it is committed: atomically to `s3://` and `gs://`; of
//! `https://` the server decides. Credentials come from the environment, as the crate `object_store` reads
//! them.

#[cfg(feature = "stores")]
mod objects;

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use crate::error::{Error, Result};

#[cfg(feature = "stores")]
pub(super) use objects::{Target, head, open};

/// The prefixes of the paths of objects.
const SCHEMES: [&str; 4] = ["s3://", "gs://", "https://", "http://"];

/// An object that is being read.
pub(super) struct Object {
    pub bytes: u64,
    pub body: Box<dyn Read + Send>,
}

/// The address of an object; `None` for a path of the file system.
pub(super) fn address(path: &Path) -> Option<&str> {
    let is_one = |text: &&str| SCHEMES.iter().any(|scheme| text.starts_with(scheme));
    path.to_str().filter(is_one)
}

/// The target of an output that is an object.
#[cfg(not(feature = "stores"))]
pub(super) enum Target {}

#[cfg(not(feature = "stores"))]
impl Target {
    pub fn new(address: &str) -> Result<Target> {
        let pipe = match address.split_once("://") {
            Some(("s3", _)) => format!("… | aws s3 cp - {address}"),
            Some(("gs", _)) => format!("… | gcloud storage cp - {address}"),
            _ => format!("… | curl -sfT - {address}"),
        };
        Err(absent(address, &pipe))
    }

    pub fn send(&self, _: File) -> Result<()> {
        match *self {}
    }
}

/// Opens an object for reading.
#[cfg(not(feature = "stores"))]
pub(super) fn open(address: &str) -> Result<Object> {
    let pipe = match address.split_once("://") {
        Some(("s3", _)) => format!("aws s3 cp {address} - | …"),
        Some(("gs", _)) => format!("gcloud storage cat {address} | …"),
        _ => format!("curl -sfL {address} | …"),
    };
    Err(absent(address, &pipe))
}

/// The first bytes of an object.
#[cfg(not(feature = "stores"))]
pub(super) fn head(address: &str, _: u64) -> Result<Vec<u8>> {
    open(address).map(|_| Vec::new())
}

#[cfg(not(feature = "stores"))]
fn absent(address: &str, pipe: &str) -> Error {
    let reason = format!(
        "expected a file, found an object of a store; use a pipe, `{pipe}`, or build l0 with the feature `stores`"
    );
    Error::format(address, reason)
}

/// A nameless temporary copy of an object, to be read at any position.
pub(super) fn copy(address: &str) -> Result<File> {
    let fail = |source| Error::io(address, source);
    let mut file = tempfile::tempfile().map_err(fail)?;
    let mut object = open(address)?;
    let count = io::copy(&mut object.body, &mut file).map_err(fail)?;
    if count != object.bytes {
        let reason = format!("expected {} bytes, found {count}: it was cut short", object.bytes);
        return Err(Error::format(address, reason));
    }
    file.rewind().map_err(fail)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_apart_from_paths() {
        for text in ["s3://bucket/a", "gs://bucket/a.parquet", "https://host/a", "http://host/a"] {
            assert_eq!(address(Path::new(text)), Some(text));
        }
        for text in ["s3:/bucket/a", "/s3://x", "a", "-", "ftp://host/a", "l0:tiny"] {
            assert_eq!(address(Path::new(text)), None, "{text}");
        }
    }
}
