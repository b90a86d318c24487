//! A record on its way from a file to an example: where it is, and what was found in it.

use std::sync::Arc;

use super::{
    Example, Positional,
    fields::Fields,
    form::{by_name, by_place, checked},
};
use crate::{
    error::{Error, Result},
    io::Line,
    tables::json::json_reason,
};

/// Where an example is.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The file, as the user named it.
    pub file: Arc<str>,
    /// The number of the line or row, from 1; 0 for a pair of judgements.
    pub line: u64,
}

impl Place {
    /// What is wrong with the example at this place.
    pub fn error(&self, wanted: &str, found: &str) -> Error {
        match self.line {
            0 => Error::format(&*self.file, format!("expected {wanted}, found {found}")),
            line => Error::line(&self.file, line, wanted, found),
        }
    }
}

/// A record whose form is not known yet: a line, or a table's row under its column names.
#[derive(Clone, Debug)]
pub enum RawExample {
    /// A JSON object.
    Line(Line),
    /// Number from 1, and columns.
    Row(u64, Fields),
}

/// The contents of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The example.
    pub example: Example,
    /// Whether its strings can only be ids.
    pub ids: bool,
    /// Keys that are not read.
    pub unread: Vec<String>,
}

const WANTED: &str = "an example with query, pos and negs, or query, docs and scores";

impl RawExample {
    /// The number of the line or row, from 1.
    pub fn number(&self) -> u64 {
        match self {
            RawExample::Line(line) => line.number,
            RawExample::Row(number, _) => *number,
        }
    }

    /// The columns that are read by position, if this record, a file's first, has such.
    ///
    /// # Errors
    /// [`Error::Line`] for ambiguous keys.
    pub fn positional(&self, file: &str) -> Result<Option<Positional>> {
        let bad = |found| Error::line(file, self.number(), WANTED, found);
        match self {
            RawExample::Row(_, fields) => Positional::of(fields).map_err(bad),
            // what is not an object is refused when it is parsed
            RawExample::Line(line) => match serde_json::from_str(&line.text) {
                Ok(fields) => Positional::of(&fields).map_err(bad),
                Err(_) => Ok(None),
            },
        }
    }

    /// The example, its columns read by position if the file's first record is read so.
    ///
    /// # Errors
    /// [`Error::Line`] naming what is wrong with it.
    pub fn parse(self, file: &str, positional: Option<&Positional>) -> Result<Parsed> {
        let number = self.number();
        let bad = |found: String| Error::line(file, number, WANTED, found);
        let fields = match self {
            RawExample::Row(_, fields) => fields,
            RawExample::Line(line) => serde_json::from_str(&line.text)
                .map_err(|error| bad(json_reason(&error, &line.text)))?,
        };
        let parsed = match positional {
            Some(positional) => by_place(&fields, positional),
            None => by_name(&fields),
        };
        let parsed = parsed.map_err(bad)?;
        Ok(Parsed { example: checked(parsed.example).map_err(bad)?, ..parsed })
    }
}
