//! JSON lines of documents and queries, under the field names of BEIR.
//!
//! A document is `{"_id", "title", "text"}`, the title optional. A query line is a JSON object
//! (`{"_id", "text"}`, `{"_id", "indices", "values"}` or `{"_id", "vector": {token: weight}}`),
//! `qid TAB text`, or plain text. An id is a string, or a whole number, which is read as its digits. Empty
//! lines are ignored.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::rejects::Rejects;
use crate::{
    error::{Error, Result},
    io::{Content, Input, Line, Lines},
    sparse::SparseVector,
    tables::{
        arrow::{Table, string_at},
        json::{beginning, id_of, json_reason, tokens_of, vector_of},
    },
};

/// One document of a corpus.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The external id.
    pub id: String,
    /// The title, empty if there is none.
    pub title: String,
    /// The text.
    pub text: String,
}

impl Document {
    /// What is encoded: title, one space, text; trimmed.
    pub fn content(&self) -> String {
        format!("{} {}", self.title, self.text).trim().to_owned()
    }
}

/// One query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The id, if the line has one.
    pub id: Option<String>,
    /// What is asked.
    pub body: QueryBody,
}

/// What a query line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryBody {
    /// A text, to be weighted by the index's query table.
    Text(String),
    /// Weighted term ids.
    Vector(SparseVector),
    /// Weighted tokens, in the line's order.
    Tokens(Vec<(String, f32)>),
}

/// A query that is a text, and so can be encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct TextQuery {
    /// The id, or the number of the line if it has none.
    pub id: String,
    /// What is asked.
    pub text: String,
}

#[derive(Deserialize)]
struct RawDocument {
    _id: Option<Value>,
    id: Option<Value>,
    title: Option<String>,
    text: Option<String>,
}

/// A document from its line.
///
/// # Errors
/// [`Error::Line`].
pub fn parse_document(file: &str, line: &Line) -> Result<Document> {
    let wanted = r#"{"_id", "title", "text"}"#;
    let bad = |found: String| Error::line(file, line.number, wanted, found);
    // a struct would accept an array as well
    if !line.text.trim_ascii_start().starts_with('{') {
        return Err(bad(format!("no object but `{}`", beginning(&line.text))));
    }
    let raw: RawDocument =
        serde_json::from_str(&line.text).map_err(|error| bad(json_reason(&error, &line.text)))?;
    let Some(id) = raw._id.or(raw.id) else { return Err(bad("no id".into())) };
    let id = id_of(&id).ok_or_else(|| bad(format!("an id that is {id}")))?;
    let Some(text) = raw.text else { return Err(bad(format!("no text in `{id}`"))) };
    Ok(Document { id, title: raw.title.unwrap_or_default(), text })
}

/// A query from its line, in any of the forms of the module's description.
///
/// # Errors
/// [`Error::Line`].
pub fn parse_query(file: &str, line: &Line) -> Result<Query> {
    if !line.text.trim_start().starts_with('{') {
        return Ok(match line.text.split_once('\t') {
            Some((id, text)) if !id.is_empty() => {
                Query { id: Some(id.to_owned()), body: QueryBody::Text(text.to_owned()) }
            }
            _ => Query { id: None, body: QueryBody::Text(line.text.clone()) },
        });
    }
    let wanted = r#"a query with "text", "indices" and "values", or "vector""#;
    let bad = |found: String| Error::line(file, line.number, wanted, found);
    let raw: Map<String, Value> =
        serde_json::from_str(&line.text).map_err(|error| bad(json_reason(&error, &line.text)))?;
    let id = match raw.get("_id").or(raw.get("id")) {
        None | Some(Value::Null) => None,
        Some(id) => Some(id_of(id).ok_or_else(|| bad(format!("an id that is {id}")))?),
    };
    let body = match (raw.get("text"), raw.get("indices"), raw.get("vector")) {
        (_, Some(indices), _) => {
            let values = raw.get("values").unwrap_or(&Value::Null);
            QueryBody::Vector(vector_of(indices, values).map_err(bad)?)
        }
        (_, _, Some(vector)) => QueryBody::Tokens(tokens_of(vector).map_err(bad)?),
        (Some(Value::String(text)), None, None) => QueryBody::Text(text.clone()),
        _ => return Err(bad("none of them".into())),
    };
    Ok(Query { id, body })
}

fn parse_text_query(file: &str, line: &Line) -> Result<TextQuery> {
    let query = parse_query(file, line)?;
    match query.body {
        QueryBody::Text(text) => {
            Ok(TextQuery { id: query.id.unwrap_or_else(|| line.number.to_string()), text })
        }
        QueryBody::Vector(_) | QueryBody::Tokens(_) => {
            Err(Error::line(file, line.number, "a text to encode", "a vector"))
        }
    }
}

/// The records of some inputs, one after the other: parsed, and refused as the rejects' policy says.
pub struct Records<'a, T> {
    inputs: std::vec::IntoIter<Input>,
    open: Open<T>,
    parse: fn(&str, &Line) -> Result<T>,
    of_table: fn(Document) -> T,
    rejects: RejectsFor<'a>,
}

/// Rejects that other inputs share, or those of these records alone.
pub enum RejectsFor<'a> {
    /// The caller's.
    Shared(&'a mut Rejects),
    /// Its own.
    Own(Rejects),
}

impl RejectsFor<'_> {
    fn get(&mut self) -> &mut Rejects {
        match self {
            RejectsFor::Shared(rejects) => rejects,
            RejectsFor::Own(rejects) => rejects,
        }
    }
}

impl<'a> From<&'a mut Rejects> for RejectsFor<'a> {
    fn from(rejects: &'a mut Rejects) -> RejectsFor<'a> {
        RejectsFor::Shared(rejects)
    }
}

/// The reason for a refusal, and the record.
type Refused = (Error, Vec<u8>);

/// The input being read.
enum Open<T> {
    None,
    Lines(Lines),
    Table(Box<dyn Iterator<Item = Result<T>> + Send>),
}

impl<'a> Records<'a, Document> {
    /// The documents of a corpus: JSON lines, or tables with columns `_id` or `id`, `title`, `text`.
    pub fn documents(
        inputs: Vec<Input>,
        rejects: impl Into<RejectsFor<'a>>,
    ) -> Records<'a, Document> {
        let rejects = rejects.into();
        let (parse, of_table) = (parse_document as fn(&str, &Line) -> _, |document| document);
        Records { inputs: inputs.into_iter(), open: Open::None, parse, of_table, rejects }
    }
}

impl<'a> Records<'a, Query> {
    /// The queries of some files: lines, or tables with columns `_id` or `id`, and `text`.
    pub fn queries(inputs: Vec<Input>, rejects: impl Into<RejectsFor<'a>>) -> Records<'a, Query> {
        let rejects = rejects.into();
        let of_table = |document: Document| Query {
            id: Some(document.id),
            body: QueryBody::Text(document.text),
        };
        let parse = parse_query as fn(&str, &Line) -> _;
        Records { inputs: inputs.into_iter(), open: Open::None, parse, of_table, rejects }
    }
}

impl<'a> Records<'a, TextQuery> {
    /// The queries of some files, as texts: lines, or tables with columns `_id` or `id`, and `text`. A
    /// query that is a vector is a bad record.
    pub fn text_queries(
        inputs: Vec<Input>,
        rejects: impl Into<RejectsFor<'a>>,
    ) -> Records<'a, TextQuery> {
        let rejects = rejects.into();
        let of_table = |document: Document| TextQuery { id: document.id, text: document.text };
        let parse = parse_text_query as fn(&str, &Line) -> _;
        Records { inputs: inputs.into_iter(), open: Open::None, parse, of_table, rejects }
    }
}

impl<T: Send + 'static> Records<'_, T> {
    /// The next record or refusal of the open input, with the record as read.
    fn step(&mut self) -> Option<Result<Result<T, Refused>>> {
        match &mut self.open {
            Open::None => None,
            Open::Table(rows) => rows.next().map(|row| match row {
                Err(error) if error.is_record() => Ok(Err((error, Vec::new()))),
                other => Ok(Ok(other?)),
            }),
            Open::Lines(lines) => loop {
                let raw = match lines.next_raw()? {
                    Ok(raw) => raw,
                    Err(error) => return Some(Err(error)),
                };
                let record = raw.bytes.clone();
                let parsed = match lines.check(raw) {
                    Ok(line) if line.text.trim_ascii().is_empty() => continue,
                    Ok(line) => (self.parse)(lines.name(), &line),
                    Err(error) => Err(error),
                };
                return Some(Ok(parsed.map_err(|error| (error, record))));
            },
        }
    }

    fn open_next(&mut self) -> Option<Result<()>> {
        let input = self.inputs.next()?;
        let opened = match input.content() {
            Content::Text => Ok(Open::Lines(input.lines())),
            _ => table_documents(input, self.of_table),
        };
        Some(opened.map(|opened| self.open = opened))
    }
}

impl<T: Send + 'static> Iterator for Records<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            match self.step() {
                Some(Ok(Ok(record))) => return Some(Ok(record)),
                Some(Ok(Err((error, record)))) => {
                    if let Err(error) = self.rejects.get().take(error, &record) {
                        return Some(Err(error));
                    }
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    if let Err(error) = self.open_next()? {
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}

fn table_documents<T: Send + 'static>(
    input: Input,
    of_table: fn(Document) -> T,
) -> Result<Open<T>> {
    let table = Table::open(input)?;
    let has = |name: &str| table.schema.field_with_name(name).is_ok();
    let id = if has("_id") { "_id" } else { "id" };
    if !(has(id) && has("text")) {
        let reason = format!("expected columns _id, title, text; found {}", table.columns());
        return Err(Error::format(&table.name, reason));
    }
    let (name, mut row) = (table.name, 0);
    let rows = table.batches.flat_map(move |batch| {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return vec![Err(error)],
        };
        let column = |name: &str, at: usize| {
            let column = batch.column_by_name(name)?;
            string_at(column, at).map(str::to_owned)
        };
        let documents = (0..batch.num_rows()).map(|at| {
            row += 1;
            let bad = |found: &str| Error::line(&name, row, "a string id and a text", found);
            let id = column(id, at).filter(|id| !id.is_empty()).ok_or_else(|| bad("no id"))?;
            let text = column("text", at).ok_or_else(|| bad("no text"))?;
            let title = column("title", at).unwrap_or_default();
            Ok(of_table(Document { id, title, text }))
        });
        documents.collect()
    });
    Ok(Open::Table(Box::new(rows)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparse::TermId;

    fn line(text: &str) -> Line {
        Line { number: 7, text: text.to_owned() }
    }

    #[track_caller]
    fn document(text: &str, expected: Result<(&str, &str), &str>) {
        match (parse_document("f", &line(text)), expected) {
            (Ok(document), Ok((id, content))) => {
                assert_eq!((document.id.as_str(), document.content().as_str()), (id, content));
            }
            (Err(error), Err(message)) => assert_eq!(error.to_string(), message),
            (got, _) => panic!("{got:?}"),
        }
    }

    #[test]
    fn documents_are_read_or_their_fault_is_named() {
        document(r#"{"_id":"a","title":"t","text":"x","metadata":{}}"#, Ok(("a", "t x")));
        document(r#"{"_id":12,"text":" x "}"#, Ok(("12", "x")));
        document(r#"{"_id":"a","title":null,"text":""}"#, Ok(("a", "")));
        let wanted = r#"f:7: expected {"_id", "title", "text"}, found "#;
        document(r#"{"id":7,"_id":"a","text":"x"}"#, Ok(("a", "x")));
        document(r#"{"id":"b","text":"x"}"#, Ok(("b", "x")));
        document(r#"{"_id":"a"}"#, Err(&format!("{wanted}no text in `a`")));
        document(r#"{"_id":1.5,"text":""}"#, Err(&format!("{wanted}an id that is 1.5")));
        document(r#"{"_id":"","text":""}"#, Err(&format!("{wanted}an id that is \"\"")));
        document(r#"{"text":""}"#, Err(&format!("{wanted}no id")));
        document(r#"["a","t","x"]"#, Err(&format!(r#"{wanted}no object but `["a","t","x"]`"#)));
        document("\0\0", Err(&format!("{wanted}no object but `\u{fffd}\u{fffd}`")));
        let torn = format!("{wanted}EOF while parsing a string at column 8 of `{{\"_id\":\"`");
        document(r#"{"_id":""#, Err(&torn));
    }

    #[track_caller]
    fn query(text: &str, id: Option<&str>, body: QueryBody) {
        let expected = Query { id: id.map(str::to_owned), body };
        assert_eq!(parse_query("f", &line(text)).unwrap(), expected);
    }

    #[test]
    fn queries_come_in_five_forms() {
        query("plain words", None, QueryBody::Text("plain words".into()));
        query("q1\tsome words", Some("q1"), QueryBody::Text("some words".into()));
        query(r#"{"_id":"q","text":"w"}"#, Some("q"), QueryBody::Text("w".into()));
        let vector = SparseVector::new([(TermId(1), 2.0), (TermId(4), 0.5)]).unwrap();
        query(r#"{"indices":[4,1],"values":[0.5,2]}"#, None, QueryBody::Vector(vector));
        let tokens = vec![("a".to_owned(), 1.5)];
        query(r#"{"_id":3,"vector":{"a":1.5}}"#, Some("3"), QueryBody::Tokens(tokens));
    }

    #[test]
    fn bad_queries_are_named() {
        for (text, found) in [
            (r#"{"_id":"q"}"#, "none of them"),
            (r#"{"indices":[1],"values":[]}"#, "1 indices and 0 values"),
            (r#"{"indices":[1,1],"values":[1,1]}"#, "strictly ascending"),
            (r#"{"indices":[1],"values":[-1]}"#, "found -1 for term 1"),
            (r#"{"indices":[-1],"values":[1]}"#, "index -1"),
            (r#"{"vector":{"a":"b"}}"#, "`a`: \"b\""),
        ] {
            let error = parse_query("f", &line(text)).unwrap_err().to_string();
            assert!(error.starts_with("f:7: expected a query") && error.contains(found), "{error}");
        }
    }
}
