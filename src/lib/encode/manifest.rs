//! What a part of unfinished work says of itself, and what must be the same for the work to go on.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Shard;
use crate::{
    error::{Error, Result},
    io::read_text,
    vectors::VectorMeta,
};

/// The version of [`Manifest`] and [`Settings`]; other versions are refused.
pub(super) const FORMAT: u32 = 2;

/// What decides the rows apart from the input: all of it must be the same for work to go on.
///
/// A field that is added later needs a default, and a renamed one its old name, so that unfinished work
/// survives an upgrade; what cannot be kept apart so needs another `FORMAT`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    role: String,
    pub(super) model: String,
    model_sha256: Option<String>,
    vocabulary_sha256: String,
    tokenizer_sha256: String,
    activation: String,
    pub(super) max_tokens: Option<usize>,
    prune: String,
    shard: String,
    keep_text: bool,
}

impl Settings {
    /// Of rows that `meta` describes, for the tokenizer file with this hash.
    pub fn new(
        meta: &VectorMeta,
        tokenizer_sha256: String,
        shard: Shard,
        keep_text: bool,
    ) -> Settings {
        // every field by name, so that a new one is not forgotten here; the vocabulary decides its size
        let VectorMeta {
            role,
            model,
            model_sha256,
            vocabulary_sha256,
            vocab_size: _,
            activation,
            max_tokens,
            prune,
            shard: _,
        } = meta.clone();
        Settings {
            role,
            model,
            model_sha256,
            vocabulary_sha256,
            tokenizer_sha256,
            activation,
            max_tokens,
            prune,
            shard: shard.to_string(),
            keep_text,
        }
    }

    /// The first setting in which two differ: its name, and its value in each.
    pub(super) fn difference(&self, other: &Settings) -> Option<(String, String, String)> {
        let of = |settings| serde_json::to_value(settings).unwrap_or_default();
        let (ours, theirs) = (of(self), of(other));
        let mut names = ours.as_object()?.keys();
        let name = names.find(|name| ours[*name] != theirs[*name])?;
        let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some((name.clone(), shown(&ours[name]), shown(&theirs[name])))
    }
}

/// What a part says of itself, in a small file next to its rows that is written after them.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// [`FORMAT`]
    pub format: u32,
    /// What was asked for.
    pub settings: Settings,
    /// Rows before this part.
    pub first: u64,
    /// Rows in it.
    pub rows: u64,
    /// SHA-256 over all texts up to the end of this part.
    pub input_sha256: String,
    /// SHA-256 of the file of rows.
    pub rows_sha256: String,
}

impl Manifest {
    /// # Errors
    /// [`Error::Mismatch`] for another [`FORMAT`]; [`Error::Format`] for a damaged file.
    pub fn read(file: &Path, folder: &Path) -> Result<Manifest> {
        let bad = |error: serde_json::Error| {
            let folder = folder.display();
            Error::format(file, format!("{error}; remove {folder} to begin again"))
        };
        let read: Value = serde_json::from_str(&read_text(file)?).map_err(bad)?;
        let format = read.get("format");
        if format.and_then(Value::as_u64) != Some(u64::from(FORMAT)) {
            return Err(Error::Mismatch {
                what: format!("unfinished work in {}: format", folder.display()),
                expected: FORMAT.to_string(),
                got: format.map_or("that of an earlier version".into(), Value::to_string),
                remedy: "finish it with the version of l0 that began it, or remove the folder to \
                         begin again"
                    .into(),
            });
        }
        serde_json::from_value(read).map_err(bad)
    }
}
