//! Rows of sparse vectors.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// How rows of vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
    /// JSON lines.
    JsonLines,
}

impl Form {
    /// What a file name's extension says, if anything.
    pub fn of_extension(extension: &str) -> Option<Form> {
        match extension {
            "parquet" => Some(Form::Parquet),
            "arrow" | "arrows" | "ipc" => Some(Form::Arrow),
            "jsonl" | "json" | "ndjson" => Some(Form::JsonLines),
            _ => None,
        }
    }
}

impl FromStr for Form {
    type Err = Error;

    fn from_str(text: &str) -> Result<Form> {
        match text {
            "parquet" => Ok(Form::Parquet),
            "arrow" => Ok(Form::Arrow),
            "jsonl" => Ok(Form::JsonLines),
            _ => Err(Error::Usage(format!("want parquet, arrow or jsonl, got `{text}`"))),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Parquet => "parquet",
            Form::Arrow => "arrow",
            Form::JsonLines => "jsonl",
        })
    }
}
