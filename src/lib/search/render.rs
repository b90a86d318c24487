//! Answers as bytes: for people, for trec_eval, for programs.

use std::{
    fmt,
    io::{self, Write},
    str::FromStr,
};

use serde::Serialize;

use super::{
    batch::AnswerConfig,
    engine::{Part, Shown},
    questions::message,
};
use crate::error::{Error, Result};

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// Rank, score, id and title; the beginning of the text below.
    Text,
    /// `qid Q0 docno rank score tag`
    Trec,
    /// One object an answer: `{"_id", "hits": [{"id", "score"}]}` or `{"_id", "error"}`.
    JsonLines,
}

impl AnswerForm {
    /// What a file name's extension says, if anything.
    pub fn of_extension(extension: &str) -> Option<AnswerForm> {
        match extension {
            "jsonl" | "json" | "ndjson" => Some(AnswerForm::JsonLines),
            "trec" | "run" => Some(AnswerForm::Trec),
            "txt" => Some(AnswerForm::Text),
            _ => None,
        }
    }
}

impl FromStr for AnswerForm {
    type Err = Error;

    fn from_str(text: &str) -> Result<AnswerForm> {
        match text {
            "text" => Ok(AnswerForm::Text),
            "trec" => Ok(AnswerForm::Trec),
            "jsonl" => Ok(AnswerForm::JsonLines),
            _ => Err(Error::Usage(format!("want text, trec or jsonl, got `{text}`"))),
        }
    }
}

impl fmt::Display for AnswerForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AnswerForm::Text => "text",
            AnswerForm::Trec => "trec",
            AnswerForm::JsonLines => "jsonl",
        })
    }
}

/// The answer to one query: what was found, or why nothing could be.
#[derive(Debug)]
pub struct Answer {
    /// Line or row of the query, from 1.
    pub number: u64,
    /// The query's id; none if the line could not be read.
    pub id: Option<String>,
    /// Best first.
    pub hits: Result<Vec<Shown>>,
}

impl Answer {
    /// The answer, or, where the form cannot say an id of it, why.
    pub fn sayable(self, form: AnswerForm) -> Answer {
        let ids = self.hits.iter().flatten().map(|hit| &hit.id).chain(&self.id);
        let bad = ids.into_iter().find(|id| id.is_empty() || id.contains(char::is_whitespace));
        match bad.filter(|_| form == AnswerForm::Trec) {
            None => self,
            Some(id) => {
                let reason = format!("a TREC run cannot say the id `{id}`; want --format jsonl");
                Answer { hits: Err(Error::Usage(reason)), ..self }
            }
        }
    }

    /// Writes the answer. In a TREC run an error has no place: nothing is written for it.
    ///
    /// # Errors
    /// Of the writer.
    pub fn write(&self, output: &mut dyn Write, config: &AnswerConfig) -> io::Result<()> {
        match config.form {
            AnswerForm::Text => self.write_text(output, config.columns),
            AnswerForm::Trec => self.write_trec(output, &config.tag),
            AnswerForm::JsonLines => self.write_json(output),
        }
    }

    fn write_text(&self, output: &mut dyn Write, columns: usize) -> io::Result<()> {
        if let Some(id) = &self.id {
            writeln!(output, "{id}")?;
        }
        let hits = match &self.hits {
            Ok(hits) if !hits.is_empty() => hits,
            Ok(_) => return writeln!(output, "no hits\n"),
            Err(error) => {
                return writeln!(output, "line {}: {}\n", self.number, message(error));
            }
        };
        for (rank, hit) in (1..).zip(hits) {
            let title = hit.text.as_ref().map_or("", |stored| stored.title.as_str());
            let head = format!("{rank:4}  {:9.4}  {}  {title}", hit.score, hit.id);
            writeln!(output, "{}", within(&head, columns).trim_end())?;
            if let Some(stored) = hit.text.as_ref().filter(|stored| !stored.text.is_empty()) {
                writeln!(
                    output,
                    "{}",
                    within(&format!("{INDENT}{}", one_line(&stored.text)), columns)
                )?;
            }
            for Part { token, query, document, part } in &hit.terms {
                writeln!(output, "      {part:9.4}  {token}  ({query} · {document})")?;
            }
        }
        writeln!(output)
    }

    fn write_trec(&self, output: &mut dyn Write, tag: &str) -> io::Result<()> {
        let (Some(id), Ok(hits)) = (&self.id, &self.hits) else { return Ok(()) };
        for (rank, hit) in (1..).zip(hits) {
            writeln!(output, "{id} Q0 {} {rank} {} {tag}", hit.id, hit.score)?;
        }
        Ok(())
    }

    fn write_json(&self, output: &mut dyn Write) -> io::Result<()> {
        let id = self.id.as_deref();
        match &self.hits {
            Ok(hits) => serde_json::to_writer(&mut *output, &HitsRecord { id, hits })?,
            Err(error) => {
                let error = Fault { line: self.number, message: message(error) };
                serde_json::to_writer(&mut *output, &ErrorRecord { id, error })?;
            }
        }
        writeln!(output)
    }
}

#[derive(Serialize)]
struct HitsRecord<'a> {
    #[serde(rename = "_id")]
    id: Option<&'a str>,
    hits: &'a [Shown],
}

#[derive(Serialize)]
struct ErrorRecord<'a> {
    #[serde(rename = "_id")]
    id: Option<&'a str>,
    error: Fault,
}

#[derive(Serialize)]
struct Fault {
    line: u64,
    message: String,
}

/// Puts a text under the score of its hit.
const INDENT: &str = "      ";

/// Words with one space between them.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a terminal would obey, it shows as `�` instead.
fn harmless(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// A line of at most `columns` characters; what is cut shows as `…`.
fn within(line: &str, columns: usize) -> String {
    let line = &harmless(line);
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let kept: String = line.chars().take(columns.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_its_columns() {
        assert_eq!(within("as it is", 8), "as it is");
        assert_eq!(within("bread dôugh", 9), "bread dô…");
        assert_eq!(within("bread dough", 7), "bread…");
    }
}
