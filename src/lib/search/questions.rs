//! Where queries come from: the lines of a text input, or the rows of a file of vectors.

use crate::{
    error::{Error, Result},
    index::Index,
    io::{Content, Input, Line, Lines, Stop},
    records::{Query, QueryBody, parse_query},
    vectors::{self, Row, Rows},
};

/// The queries of one input, unparsed.
pub struct QueryReader {
    name: String,
    source: Source,
    stop: Stop,
}

enum Source {
    Lines(Lines),
    Rows(Rows, u64),
}

/// A query before parsing.
pub struct QueryLine {
    /// Line or row, from 1.
    pub number: u64,
    raw: Raw,
}

enum Raw {
    Line(String, Result<Line>),
    Row(Result<Row>),
}

impl QueryReader {
    /// The queries of `input`; vectors must be of the vocabulary of `index`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for vectors of another vocabulary or network; as [`vectors::read`].
    pub fn open(input: Input, index: &Index) -> Result<QueryReader> {
        let (name, stop) = (input.name().to_owned(), input.stop());
        if input.content() == Content::Text {
            return Ok(QueryReader { name, source: Source::Lines(input.lines()), stop });
        }
        let (meta, rows) = vectors::read(input, None)?;
        if let Some(meta) = meta {
            index.check_fingerprint(&meta.vocabulary_sha256)?;
            index.check_queries(&name, &meta)?;
        }
        Ok(QueryReader { name, source: Source::Rows(rows, 0), stop })
    }

    /// What ends the wait for the next query.
    pub(super) fn stop(&self) -> Stop {
        self.stop.clone()
    }
}

impl Iterator for QueryReader {
    type Item = Result<QueryLine>;

    /// The next query; an error if the input itself cannot be read on.
    fn next(&mut self) -> Option<Result<QueryLine>> {
        match &mut self.source {
            Source::Lines(lines) => {
                let raw = match lines.next_raw()? {
                    Ok(raw) => raw,
                    Err(error) => return Some(Err(error)),
                };
                let number = raw.number;
                let raw = Raw::Line(self.name.clone(), lines.check(raw));
                Some(Ok(QueryLine { number, raw }))
            }
            Source::Rows(rows, before) => match rows.next()? {
                Err(error) if !error.is_record() => Some(Err(error)),
                row => {
                    *before += 1;
                    Some(Ok(QueryLine { number: *before, raw: Raw::Row(row) }))
                }
            },
        }
    }
}

impl QueryLine {
    /// A line from the prompt.
    pub fn typed(number: u64, text: String) -> QueryLine {
        QueryLine { number, raw: Raw::Line("<prompt>".into(), Ok(Line { number, text })) }
    }

    /// What is asked; a query without an id has the number of its line.
    ///
    /// # Errors
    /// [`Error::Line`] for a line or row that is not a query.
    pub fn parse(self) -> Result<Query> {
        let number = self.number;
        let query = match self.raw {
            Raw::Line(name, line) => parse_query(&name, &line?)?,
            Raw::Row(row) => {
                let Row { id, vector, .. } = row?;
                Query { id: Some(id), body: QueryBody::Vector(vector) }
            }
        };
        Ok(Query { id: query.id.or_else(|| Some(number.to_string())), ..query })
    }
}

/// The message of an error, without the place where the answer says it anyway.
pub(super) fn message(error: &Error) -> String {
    match error {
        Error::Line { wanted, found, .. } => format!("expected {wanted}, found {found}"),
        other => other.to_string(),
    }
}
