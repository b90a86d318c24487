//! Answers as text: for people, for trec_eval, for programs.

use std::{fmt, str::FromStr};

use serde::Serialize;

use super::{
    Found,
    batch::AnswerConfig,
    engine::{Detail, Engine, Part},
    questions::message,
};
use crate::{
    error::{Error, Result},
    index::StoredText,
    sparse::SparseVector,
};

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// Rank, score, id and title; the beginning of the text below.
    Text,
    /// `qid Q0 docno rank score tag`
    Trec,
    /// One object per answer: `{"_id", "hits": [{"id", "score"}]}` or `{"_id", "error"}`.
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
    /// What was found.
    pub hits: Result<Hits>,
}

/// The hits of one query as numbers of documents; a form reads what it shows of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Hits {
    /// The weighted terms of the query.
    pub query: SparseVector,
    /// The hits, best first.
    pub found: Vec<Found>,
}

/// An answer in one of the forms.
#[derive(Debug)]
pub struct Rendered {
    /// Line or row of the query, from 1.
    pub number: u64,
    /// What is written.
    pub text: String,
    /// Why there are no hits. In a TREC run nothing is written for such a query.
    pub error: Option<Error>,
}

impl Answer {
    /// The answer as it is written. Only the forms that show titles and texts read them.
    pub fn render(self, engine: &Engine, config: &AnswerConfig) -> Rendered {
        let (number, id) = (self.number, self.id.as_deref());
        let text = self.hits.and_then(|hits| {
            let sheet = Sheet { engine, id, hits: &hits };
            match config.form {
                AnswerForm::Text => sheet.text(config.columns),
                AnswerForm::Trec => sheet.trec(&config.tag),
                AnswerForm::JsonLines => sheet.json(),
            }
        });
        match text {
            Ok(text) => Rendered { number, text, error: None },
            Err(error) => {
                let text = failure(config.form, number, id, &error);
                Rendered { number, text, error: Some(error) }
            }
        }
    }
}

/// What is written of a query that has no hits because of an error.
fn failure(form: AnswerForm, number: u64, id: Option<&str>, error: &Error) -> String {
    match form {
        AnswerForm::Text => format!("{}line {number}: {}\n\n", headline(id), message(error)),
        AnswerForm::Trec => String::new(),
        AnswerForm::JsonLines => {
            let error = Fault { line: number, message: message(error) };
            // strings and a number are always JSON
            json_line(&ErrorRecord { id, error }).unwrap_or_default()
        }
    }
}

/// The hits of one query and where to read what a form shows of them.
struct Sheet<'a> {
    engine: &'a Engine,
    id: Option<&'a str>,
    hits: &'a Hits,
}

impl Sheet<'_> {
    fn parts(&self, found: &Found) -> Result<Vec<Part>> {
        match self.engine.config().detail {
            Detail::Hit => Ok(Vec::new()),
            Detail::Terms => self.engine.parts(&self.hits.query, found),
        }
    }

    fn text(&self, columns: usize) -> Result<String> {
        let mut text = headline(self.id);
        if self.hits.found.is_empty() {
            text += "no hits\n";
        }
        for (rank, found) in (1..).zip(&self.hits.found) {
            let stored = self.engine.text(found)?.unwrap_or_default();
            let (score, id) = (found.hit.score, self.engine.docno(found)?);
            let head = format!("{rank:4}  {score:9.4}  {id}  {}", stored.title);
            text += within(&head, columns).trim_end();
            text += "\n";
            if !stored.text.is_empty() {
                text += &within(&format!("{INDENT}{}", one_line(&stored.text)), columns);
                text += "\n";
            }
            for Part { token, query, document, part } in self.parts(found)? {
                text += &format!("      {part:9.4}  {token}  ({query} · {document})\n");
            }
        }
        Ok(text + "\n")
    }

    fn trec(&self, tag: &str) -> Result<String> {
        let Some(id) = self.id else { return Ok(String::new()) };
        fits_trec(id)?;
        let mut text = String::new();
        for (rank, found) in (1..).zip(&self.hits.found) {
            let docno = self.engine.docno(found)?;
            fits_trec(docno)?;
            text += &format!("{id} Q0 {docno} {rank} {} {tag}\n", found.hit.score);
        }
        Ok(text)
    }

    fn json(&self) -> Result<String> {
        let record = |found: &Found| {
            Ok(HitRecord {
                id: self.engine.docno(found)?.to_owned(),
                score: found.hit.score,
                text: self.engine.text(found)?,
                terms: self.parts(found)?,
            })
        };
        let hits = self.hits.found.iter().map(record).collect::<Result<Vec<_>>>()?;
        json_line(&HitsRecord { id: self.id, hits: &hits })
    }
}

/// Whether a TREC run, whose columns are parted by white space, can hold an id.
fn fits_trec(id: &str) -> Result<()> {
    if !id.is_empty() && !id.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "expected an id without white space, as TREC runs need, found `{id}`; JSON lines hold any id"
    )))
}

/// The line above an answer for people.
fn headline(id: Option<&str>) -> String {
    id.map_or(String::new(), |id| format!("{id}\n"))
}

fn json_line(record: &impl Serialize) -> Result<String> {
    let line = serde_json::to_string(record);
    line.map(|line| line + "\n").map_err(|error| Error::io("answer", error.into()))
}

#[derive(Serialize)]
struct HitsRecord<'a> {
    #[serde(rename = "_id")]
    id: Option<&'a str>,
    hits: &'a [HitRecord],
}

#[derive(Serialize)]
struct HitRecord {
    id: String,
    score: f32,
    /// Title and text, if the index keeps them.
    #[serde(flatten)]
    text: Option<StoredText>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    terms: Vec<Part>,
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
