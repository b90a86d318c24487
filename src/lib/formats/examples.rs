//! JSON lines of training examples: a query and documents, some of them known to be good, with or
//! without a teacher's scores.
//!
//! | form | keys |
//! |---|---|
//! | positive and negatives | `query`, `pos` (one or a list), `negs`; `scores` for pos then negs |
//! | distillation | `query`, `docs`, `scores`; `positives`, if the first so many docs are known to be good |
//! | Sentence Transformers | `anchor` or `query`, `positive`, `negative` or `negative_1` …; `label`, `score` or `scores` |
//! | Tevatron | `query`, `positive_passages`, `negative_passages` of `{"title", "text"}` |
//! | hard negatives by id | `qid`, `pos`, `neg: {system: [pid, or {"pid", "ce-score"}]}` |
//!
//! Where a source has a folder of texts, the strings of the first two forms are ids as well.

use serde_json::{Map, Value};

use super::records::{id_of, json_reason};
use crate::{
    error::{Error, Result},
    io::Line,
};

/// One query with its documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Example {
    /// The query's text, or its id.
    pub query: String,
    /// Texts or ids of documents, the positives first; at least one.
    pub docs: Vec<String>,
    /// How many of `docs` are known to be good; 0 if the scores alone tell.
    pub positives: usize,
    /// A teacher's score of each document, finite.
    pub scores: Option<Vec<f32>>,
}

const WANTED: &str = "an example with query, pos and negs, or query, docs and scores";

/// An example from its line.
///
/// # Errors
/// [`Error::Line`] naming what is wrong with it.
pub fn parse_example(file: &str, line: &Line) -> Result<Example> {
    let bad = |found: String| Error::line(file, line.number, WANTED, found);
    let raw: Map<String, Value> =
        serde_json::from_str(&line.text).map_err(|error| bad(json_reason(&error, &line.text)))?;
    let example = of_object(&raw).map_err(bad)?;
    checked(example).map_err(bad)
}

/// The example, if its parts belong together; else what is wrong.
fn checked(example: Example) -> Result<Example, String> {
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

fn of_object(raw: &Map<String, Value>) -> Result<Example, String> {
    let has = |key: &str| raw.contains_key(key);
    if has("qid") && has("neg") {
        return of_systems(raw);
    }
    let query = raw.get("query").or(raw.get("anchor")).ok_or("no query")?;
    let query = text_of(query).ok_or_else(|| format!("a query that is {}", kind(query)))?;
    let mut example = Example { query, ..Example::default() };
    if let Some(docs) = raw.get("docs") {
        example.docs = texts_of(docs, "docs")?;
        let scores = raw.get("scores").ok_or("docs without scores")?;
        example.scores = Some(scores_of(scores)?);
        if let Some(positives) = raw.get("positives") {
            let count = positives.as_u64().and_then(|count| usize::try_from(count).ok());
            example.positives = count
                .filter(|&count| count <= example.docs.len())
                .ok_or_else(|| format!("{positives} positives of {} docs", example.docs.len()))?;
        }
        return Ok(example);
    }
    let keys = [("pos", "negs"), ("positive_passages", "negative_passages")];
    if let Some((positive, negative)) = keys.into_iter().find(|(positive, _)| has(positive)) {
        example.docs = texts_of(&raw[positive], positive)?;
        example.positives = example.docs.len();
        if example.positives == 0 {
            return Err(format!("an empty list {positive}"));
        }
        if let Some(negatives) = raw.get(negative) {
            example.docs.extend(texts_of(negatives, negative)?);
        }
        example.scores = raw.get("scores").map(scores_of).transpose()?;
        return Ok(example);
    }
    let positive = raw.get("positive").ok_or_else(|| {
        format!("keys {}", raw.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
    })?;
    example.docs = texts_of(positive, "positive")?;
    example.positives = example.docs.len();
    let numbered = (1..).map(|at| format!("negative_{at}")).map_while(|key| raw.get(&key));
    for negative in raw.get("negative").into_iter().chain(numbered) {
        example.docs.extend(texts_of(negative, "negative")?);
    }
    example.scores = labels(raw, example.docs.len())?;
    Ok(example)
}

/// Labels of Sentence Transformers: one score a document, or one margin a negative.
fn labels(raw: &Map<String, Value>, documents: usize) -> Result<Option<Vec<f32>>, String> {
    let keys = ["scores", "label", "score"];
    let Some(label) = keys.into_iter().find_map(|key| raw.get(key)) else { return Ok(None) };
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

/// Hard negatives of several systems, by id; a teacher's scores only if every document has one.
fn of_systems(raw: &Map<String, Value>) -> Result<Example, String> {
    let query = id_of(&raw["qid"]).ok_or_else(|| format!("a qid that is {}", raw["qid"]))?;
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
    for (system, negatives) in systems {
        let Value::Array(negatives) = negatives else {
            return Err(format!("no list neg.{system}"));
        };
        for negative in negatives {
            let negative = scored_id(negative)?;
            if !documents.iter().any(|(id, _)| *id == negative.0) {
                documents.push(negative);
            }
        }
    }
    let (docs, scores): (Vec<_>, Vec<_>) = documents.into_iter().unzip();
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
    use super::*;

    fn parse(text: &str) -> Result<Example> {
        parse_example("f", &Line { number: 3, text: text.to_owned() })
    }

    #[track_caller]
    fn good(text: &str, docs: &[&str], positives: usize, scores: Option<&[f32]>) {
        let example = parse(text).unwrap();
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
            (r#"{"query":"q","text":"a"}"#, "keys query, text"),
            (r#"{"query":"q","pos":"a","negs":["b"]"#, "EOF while parsing"),
            (r#"{"qid":1,"pos":[],"neg":{}}"#, "an empty list pos"),
            (r#"{"qid":1,"pos":[2],"neg":[3]}"#, "no lists of systems"),
            ("plain words", "expected value"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("f:3: want an example"), "{error}");
            assert!(error.contains(found), "{error}: want {found}");
        }
    }
}
