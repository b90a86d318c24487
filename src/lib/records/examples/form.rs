//! One record to an example, in any of the forms.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Parsed, Positional,
    fields::{Fields, LABELS, named},
};
use crate::tables::json::id_of;

/// One query with its documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Example {
    /// The query's text, or its id.
    pub query: String,
    /// Texts or ids of documents, the positives first; at least one.
    pub docs: Vec<String>,
    /// How many of `docs` are known to be relevant; 0 if only the scores say.
    pub positives: usize,
    /// A teacher's score of each document, finite.
    pub scores: Option<Vec<f32>>,
}

/// The example, if its parts belong together; else what is wrong.
pub(super) fn checked(example: Example) -> Result<Example, String> {
    if example.query.trim().is_empty() {
        return Err("an empty query".into());
    }
    if example.docs.is_empty() {
        return Err("no document".into());
    }
    if let Some(at) = example.docs.iter().position(|doc| doc.trim().is_empty()) {
        return Err(format!("an empty text as document {}", at + 1));
    }
    if let Some(scores) = &example.scores {
        if scores.len() != example.docs.len() {
            return Err(format!("{} scores for {} documents", scores.len(), example.docs.len()));
        }
        if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
            return Err(format!("a score {score}"));
        }
    }
    Ok(example)
}

/// Keys that name documents; a record has one of them.
const DOCUMENTS: [&str; 5] = ["docs", "pos", "positive", "positive_passages", "neg"];

pub(super) fn by_name(raw: &Fields) -> Result<Parsed, String> {
    if raw.has("qid") && raw.has("neg") {
        return Ok(parsed(of_systems(raw)?, raw, &["qid", "pos", "neg"], true));
    }
    let key = if raw.has("anchor") { "anchor" } else { "query" };
    let query = raw.get(key).ok_or_else(|| format!("no query among {}", named(raw)))?;
    let query = text_of(query).ok_or_else(|| format!("a query that is {}", kind(query)))?;
    let found: Vec<&str> = DOCUMENTS.into_iter().filter(|key| raw.has(key)).collect();
    if let [first, second, ..] = found.as_slice() {
        return Err(format!("two forms in one record: {first} and {second}"));
    }
    let example = Example { query, ..Example::default() };
    match found.first() {
        Some(&"docs") => {
            let read = [key, "docs", "scores", "positives"];
            Ok(parsed(of_docs(raw, example)?, raw, &read, false))
        }
        Some(&"pos") => of_lists(raw, example, [key, "pos", "negs"]),
        Some(&"positive_passages") => {
            of_lists(raw, example, [key, "positive_passages", "negative_passages"])
        }
        Some(&"positive") => {
            let numbered = (1..).map(|at| format!("negative_{at}"));
            let numbered: Vec<String> = numbered.take_while(|key| raw.has(key)).collect();
            let negatives = ["negative"].into_iter().filter(|key| raw.has(key));
            let negatives = negatives.chain(numbered.iter().map(String::as_str));
            let texts: Vec<&str> = [key, "positive"].into_iter().chain(negatives).collect();
            of_columns(raw, &texts)
        }
        _ => Err(named(raw)),
    }
}

pub(super) fn by_place(raw: &Fields, positional: &Positional) -> Result<Parsed, String> {
    if !positional.fits(raw) {
        return Err(format!("{}; the first record has {positional}", named(raw)));
    }
    of_columns(raw, &positional.texts().collect::<Vec<_>>())
}

fn parsed(example: Example, raw: &Fields, read: &[&str], ids: bool) -> Parsed {
    let unread = raw.keys().filter(|key| !read.contains(key));
    Parsed { example, ids, unread: unread.map(str::to_owned).collect() }
}

fn of_docs(raw: &Fields, mut example: Example) -> Result<Example, String> {
    example.docs = texts_of(raw.get("docs").unwrap_or(&Value::Null), "docs")?;
    let scores = raw.get("scores").ok_or("docs without scores")?;
    example.scores = Some(scores_of(scores)?);
    if let Some(positives) = raw.get("positives") {
        let count = positives.as_u64().and_then(|count| usize::try_from(count).ok());
        example.positives = count
            .filter(|&count| count <= example.docs.len())
            .ok_or_else(|| format!("{positives} positives of {} docs", example.docs.len()))?;
    }
    Ok(example)
}

fn of_lists(raw: &Fields, mut example: Example, keys: [&str; 3]) -> Result<Parsed, String> {
    let [query, positive, negative] = keys;
    example.docs = texts_of(raw.get(positive).unwrap_or(&Value::Null), positive)?;
    example.positives = example.docs.len();
    if example.positives == 0 {
        return Err(format!("an empty list {positive}"));
    }
    if let Some(negatives) = raw.get(negative) {
        example.docs.extend(texts_of(negatives, negative)?);
    }
    example.scores = raw.get("scores").map(scores_of).transpose()?;
    Ok(parsed(example, raw, &[query, positive, negative, "scores"], false))
}

/// The columns of Sentence Transformers: anchor, positive, negatives; labels by name.
fn of_columns(raw: &Fields, texts: &[&str]) -> Result<Parsed, String> {
    let mut example = Example::default();
    for (at, key) in texts.iter().enumerate() {
        let value = raw.get(key).unwrap_or(&Value::Null);
        match at {
            0 => {
                example.query = text_of(value).ok_or(format!("a {key} that is {}", kind(value)))?
            }
            _ => example.docs.extend(texts_of(value, key)?),
        }
        if at == 1 {
            example.positives = example.docs.len();
        }
    }
    example.scores = labels(raw, example.docs.len())?;
    let read: Vec<&str> = texts.iter().copied().chain(LABELS).collect();
    Ok(parsed(example, raw, &read, false))
}

/// Labels of Sentence Transformers: one score per document, or one margin per negative.
fn labels(raw: &Fields, documents: usize) -> Result<Option<Vec<f32>>, String> {
    let Some(label) = LABELS.into_iter().find_map(|key| raw.get(key)) else { return Ok(None) };
    let numbers = match label {
        Value::Array(_) => scores_of(label)?,
        one => scores_of(&Value::Array(vec![one.clone()]))?,
    };
    if numbers.len() + 1 == documents {
        let below = numbers.into_iter().map(|margin| -margin);
        return Ok(Some(std::iter::once(0.0).chain(below).collect()));
    }
    Ok(Some(numbers))
}

/// Hard negatives of several systems, by id; with scores if every document has one.
fn of_systems(raw: &Fields) -> Result<Example, String> {
    let query = raw.get("qid").unwrap_or(&Value::Null);
    let query = id_of(query).ok_or_else(|| format!("a qid that is {query}"))?;
    let Some(Value::Array(positive)) = raw.get("pos") else { return Err("no list pos".into()) };
    let Some(Value::Object(systems)) = raw.get("neg") else {
        return Err("no lists of systems in neg".into());
    };
    let mut documents = Vec::new();
    for document in positive {
        documents.push(scored_id(document)?);
    }
    let positives = documents.len();
    if positives == 0 {
        return Err("an empty list pos".into());
    }
    let mut known: BTreeSet<String> = documents.iter().map(|(id, _)| id.clone()).collect();
    for (system, negatives) in systems {
        let Value::Array(negatives) = negatives else {
            return Err(format!("no list neg.{system}"));
        };
        for negative in negatives {
            let negative = scored_id(negative)?;
            if known.insert(negative.0.clone()) {
                documents.push(negative);
            }
        }
    }
    let (docs, scores): (Vec<String>, Vec<Option<f32>>) = documents.into_iter().unzip();
    let scored = scores.iter().flatten().count();
    if scored != 0 && scored != docs.len() {
        return Err(format!("a ce-score for {scored} of {} documents", docs.len()));
    }
    Ok(Example { query, docs, positives, scores: scores.into_iter().collect() })
}

fn scored_id(document: &Value) -> Result<(String, Option<f32>), String> {
    let id = document.get("pid").unwrap_or(document);
    let id = id_of(id).ok_or_else(|| format!("a document id that is {id}"))?;
    Ok((id, document.get("ce-score").and_then(Value::as_f64).map(|score| score as f32)))
}

fn scores_of(value: &Value) -> Result<Vec<f32>, String> {
    let Value::Array(scores) = value else {
        return Err(format!("scores that are {}", kind(value)));
    };
    let number = |score: &Value| score.as_f64().map(|score| score as f32);
    scores.iter().map(|score| number(score).ok_or_else(|| format!("a score {score}"))).collect()
}

/// A string, an id in digits, or `{"title", "text"}`.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(passage) => {
            let part = |key: &str| passage.get(key).and_then(Value::as_str);
            let title = part("title").unwrap_or_default();
            part("text").map(|text| format!("{title} {text}").trim().to_owned())
        }
        other => id_of(other),
    }
}

/// One text or a list of them.
fn texts_of(value: &Value, key: &str) -> Result<Vec<String>, String> {
    let texts = match value {
        Value::Array(texts) => texts.iter().map(text_of).collect(),
        one => text_of(one).map(|text| vec![text]),
    };
    texts.ok_or_else(|| format!("{key} that is no text and no list of texts"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::{super::RawExample, *};
    use crate::{error::Result, io::Line};

    fn parse(text: &str) -> Result<Parsed> {
        let raw = RawExample::Line(Line { number: 3, text: text.to_owned() });
        let positional = raw.positional("f")?;
        raw.parse("f", positional.as_ref())
    }

    #[track_caller]
    fn good(text: &str, docs: &[&str], positives: usize, scores: Option<&[f32]>) {
        let example = parse(text).unwrap().example;
        assert_eq!(example.query, "7");
        assert_eq!(example.docs, docs);
        assert_eq!((example.positives, example.scores.as_deref()), (positives, scores));
    }

    #[test]
    fn every_form_is_read() {
        good(r#"{"query":"7","pos":"a","negs":["b","c"]}"#, &["a", "b", "c"], 1, None);
        good(
            r#"{"query":"7","pos":["a","b"],"negs":[],"scores":[1,2]}"#,
            &["a", "b"],
            2,
            Some(&[1.0, 2.0]),
        );
        good(r#"{"query":7,"docs":[4,"b"],"scores":[1,2.5]}"#, &["4", "b"], 0, Some(&[1.0, 2.5]));
        let scored = r#"{"query":"7","docs":["a","b"],"scores":[1,2],"positives":1}"#;
        good(scored, &["a", "b"], 1, Some(&[1.0, 2.0]));
        good(r#"{"anchor":"7","positive":"a"}"#, &["a"], 1, None);
        good(
            r#"{"query":"7","positive":"a","negative_1":"b","negative_2":"c","label":[2,3]}"#,
            &["a", "b", "c"],
            1,
            Some(&[0.0, -2.0, -3.0]),
        );
        good(
            r#"{"query":"7","positive":"a","negative":"b","scores":[2,1]}"#,
            &["a", "b"],
            1,
            Some(&[2.0, 1.0]),
        );
        good(
            r#"{"query_id":"x","query":"7","positive_passages":[{"docid":"1","title":"t","text":"a"}],
                "negative_passages":[{"text":"b"}]}"#,
            &["t a", "b"],
            1,
            None,
        );
        good(
            r#"{"qid":7,"pos":[1],"neg":{"bm25":[2,3],"other":[3,4]}}"#,
            &["1", "2", "3", "4"],
            1,
            None,
        );
        good(
            r#"{"qid":7,"pos":[{"pid":1,"ce-score":9}],"neg":{"bm25":[{"pid":2,"ce-score":-1.5}]}}"#,
            &["1", "2"],
            1,
            Some(&[9.0, -1.5]),
        );
    }

    #[test]
    fn columns_of_other_names_are_read_by_position() {
        good(r#"{"question":"7","answer":"a"}"#, &["a"], 1, None);
        good(r#"{"question":"7","answer":"a","negative":"b"}"#, &["a", "b"], 1, None);
        good(r#"{"query":"7","answer":"a","other":["b","c"]}"#, &["a", "b", "c"], 1, None);
        let labelled = r#"{"sentence_A":"7","sentence_B":"a","sentence_C":"b","label":[1,0]}"#;
        good(labelled, &["a", "b"], 1, Some(&[1.0, 0.0]));
        good(r#"{"score":0.5,"sentence1":"7","sentence2":"a"}"#, &["a"], 1, Some(&[0.5]));
        let first = RawExample::Line(Line { number: 1, text: r#"{"b":"x","a":"y"}"#.into() });
        let columns = first.positional("f").unwrap().unwrap();
        assert_eq!(columns.to_string(), "b as query, a as positive");
        // another order of keys would mean something else
        let text = r#"{"a":"y","b":"x"}"#.to_owned();
        let second = RawExample::Line(Line { number: 2, text });
        let error = second.parse("f", Some(&columns)).unwrap_err().to_string();
        assert!(
            error.contains("f:2: expected") && error.contains("first record has b as"),
            "{error}"
        );
    }

    #[test]
    fn keys_that_are_not_read_are_reported() {
        let unread = |text: &str| parse(text).unwrap().unread;
        assert_eq!(
            unread(r#"{"query":"q","pos":"a","negatives":["b"],"_id":1}"#),
            ["negatives", "_id"]
        );
        assert_eq!(
            unread(r#"{"query":"q","docs":["a"],"scores":[1],"first_rank":2}"#),
            ["first_rank"]
        );
        assert!(unread(r#"{"query":"q","positive":"a","negative_1":"b","label":1}"#).is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, found) in [
            (r#"{"query":"q","docs":["a","b"],"scores":[1]}"#, "1 scores for 2 documents"),
            (r#"{"query":"q","docs":["a"]}"#, "docs without scores"),
            (r#"{"query":"q","docs":[],"scores":[]}"#, "no document"),
            (r#"{"query":"q","docs":["a"],"scores":[1],"positives":2}"#, "2 positives of 1 docs"),
            (r#"{"query":"q","docs":["a"],"scores":[1],"positives":-1}"#, "-1 positives of 1"),
            (r#"{"query":"q","docs":["a"],"scores":[NaN]}"#, "expected value"),
            (r#"{"query":"q","docs":["a"],"scores":[1e60]}"#, "a score inf"),
            (r#"{"query":"q","docs":["a"],"scores":["1"]}"#, "a score \"1\""),
            (r#"{"query":"q","docs":["a"],"scores":0.5}"#, "scores that are a number"),
            (r#"{"query":"q","docs":["a"," "],"scores":[1,2]}"#, "an empty text as document 2"),
            (r#"{"query":" ","pos":"a","negs":[]}"#, "an empty query"),
            (r#"{"query":["q"],"pos":"a"}"#, "a query that is a list"),
            (r#"{"pos":"a","negs":[]}"#, "no query"),
            (r#"{"query":"q","pos":[],"negs":["b"]}"#, "an empty list pos"),
            (r#"{"query":"q","pos":{"title":"t"}}"#, "pos that is no text"),
            (r#"{"query":"q","url":"a","_id":"b"}"#, "an id `_id` among columns read by position"),
            (r#"{"query":"q","pages":3}"#, "no text in `pages`"),
            (r#"{"answer":"a","query":"q"}"#, "`query` in place 2 of keys answer, query"),
            (r#"{"query":"q"}"#, "keys query"),
            (r#"{"query":"q","pos":"a","docs":["a"]}"#, "two forms in one record: docs and pos"),
            (r#"{"query":"q","pos":"a","neg":["a"]}"#, "two forms in one record: pos and neg"),
            (r#"{"query":"q","pos":"a","pos":"b"}"#, "the key `pos` twice"),
            (r#"{"query":"q","positive":"a","negative":null}"#, "negative that is no text"),
            (
                r#"{"qid":1,"pos":[2],"neg":{"a":[{"pid":3,"ce-score":1}]}}"#,
                "a ce-score for 1 of 2",
            ),
            (r#"{"query":"q","pos":"a","negs":["b"]"#, "EOF while parsing"),
            (r#"{"qid":1,"pos":[],"neg":{}}"#, "an empty list pos"),
            (r#"{"qid":1,"pos":[2],"neg":[3]}"#, "no lists of systems"),
            ("plain words", "expected value"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("f:3: expected an example"), "{error}");
            assert!(error.contains(found), "{error}: expected {found}");
        }
    }
}
