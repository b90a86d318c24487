//! JSON lines that engines load: documents, and queries in each engine's form.

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Entry, Number, Target};

/// The names of a collection and its field in the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Names {
    /// The index, collection or document type.
    pub collection: String,
    /// The field that holds the vectors.
    pub field: String,
}

/// `{token: weight}`, or `{id: weight}` with ids as decimal strings.
struct Weights<'a> {
    terms: &'a [(u32, &'a str, Number)],
    by_token: bool,
}

impl Serialize for Weights<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.terms.len()))?;
        for (term, token, weight) in self.terms {
            match self.by_token {
                true => map.serialize_entry(token, weight)?,
                false => map.serialize_entry(term, weight)?,
            }
        }
        map.end()
    }
}

/// `{name: value}`, for a name that is no constant.
struct Named<'a, T>(&'a str, T);

impl<T: Serialize> Serialize for Named<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

/// `{"indices": [..], "values": [..]}`
#[derive(Serialize)]
struct Pair {
    indices: Vec<u32>,
    values: Vec<Number>,
}

fn pair(entry: &Entry) -> Pair {
    let indices = entry.terms.iter().map(|&(term, _, _)| term).collect();
    Pair { indices, values: entry.terms.iter().map(|&(_, _, weight)| weight).collect() }
}

/// The fields of a document in OpenSearch, Elasticsearch and Vespa.
#[derive(Serialize)]
struct Fields<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(flatten)]
    vector: Named<'a, Weights<'a>>,
}

#[derive(Serialize)]
struct Action<'a> {
    index: Address<'a>,
}

#[derive(Serialize)]
struct Address<'a> {
    _index: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    _id: Option<&'a str>,
}

#[derive(Serialize)]
struct Put<'a> {
    put: String,
    fields: Fields<'a>,
}

#[derive(Serialize)]
struct Point<'a> {
    id: u64,
    vector: Named<'a, Pair>,
    payload: Payload<'a>,
}

#[derive(Serialize)]
struct Payload<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

/// `{"id", "content" or "contents", "vector"}`
#[derive(Serialize)]
struct Bare<'a> {
    id: &'a str,
    #[serde(flatten)]
    content: Named<'a, &'a str>,
    vector: Weights<'a>,
}

/// `{"_id", "vector"}`, and the text if it was kept.
#[derive(Serialize)]
struct Keyed<'a> {
    _id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    vector: Weights<'a>,
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Writes a document in the form of `target`, one that is made of JSON lines.
///
/// # Errors
/// What writing says.
pub fn document(
    out: &mut impl Write,
    target: Target,
    names: &Names,
    entry: &Entry,
) -> io::Result<()> {
    let Entry { id, title, text, terms, .. } = *entry;
    let weights = || Weights { terms, by_token: target.by_token() };
    let fields = || Fields { id, title, text, vector: Named(&names.field, weights()) };
    let content = [title.unwrap_or_default(), text.unwrap_or_default()].join(" ");
    let content = content.trim();
    match target {
        Target::OpenSearch | Target::OpenSearchAnn | Target::Elasticsearch => {
            let index = Address { _index: &names.collection, _id: Some(id) };
            line(out, &Action { index })?;
            line(out, &fields())
        }
        Target::Vespa => {
            let put = format!("id:l0:{}::{id}", names.collection);
            line(out, &Put { put, fields: fields() })
        }
        Target::Qdrant => {
            let vector = Named(names.field.as_str(), pair(entry));
            let payload = Payload { id, title, text };
            line(out, &Named("points", [Point { id: entry.place, vector, payload }]))
        }
        Target::Anserini => {
            line(out, &Bare { id, content: Named("contents", content), vector: weights() })
        }
        Target::Seismic => {
            line(out, &Bare { id, content: Named("content", content), vector: weights() })
        }
        _ => line(out, &Keyed { _id: id, title, text, vector: weights() }),
    }
}

/// The body of a search, for every engine with an HTTP interface; `None` for others.
pub fn body(target: Target, names: &Names, k: usize, entry: &Entry) -> Option<serde_json::Value> {
    use serde_json::json;
    let weights = json!(Weights { terms: entry.terms, by_token: target.by_token() });
    let field = names.field.as_str();
    Some(match target {
        Target::OpenSearch => json!({
            "size": k, "_source": ["id", "title"],
            "query": {"neural_sparse": {field: {"query_tokens": weights}}},
        }),
        Target::OpenSearchAnn => json!({
            "size": k, "_source": ["id", "title"],
            "query": {"neural_sparse": {field: {
                "query_tokens": weights,
                "method_parameters": {"k": k, "top_n": entry.terms.len().max(1), "heap_factor": 1.0},
            }}},
        }),
        Target::Elasticsearch => json!({
            "size": k, "_source": ["id", "title"],
            "query": {"sparse_vector": {"field": field, "query_vector": weights, "prune": false}},
        }),
        Target::Vespa => json!({
            "yql": format!("select id from {} where true", names.collection),
            "ranking": "sparse", "hits": k, "input.query(q)": weights,
        }),
        Target::Qdrant => json!({
            "query": pair(entry), "using": field, "limit": k, "with_payload": ["id"],
        }),
        _ => return None,
    })
}

/// A character of a query's id that an engine would take for its end, if there is one.
pub fn parts_a_query(target: Target, id: &str) -> Option<char> {
    let ends = match target {
        Target::Anserini => ['\n', '\r', '\t'],
        Target::Ciff | Target::Pisa => ['\n', '\r', ':'],
        _ => return None,
    };
    id.chars().find(|c| ends.contains(c))
}

/// Writes a query in the form that `target` reads queries in.
///
/// # Errors
/// What writing says.
pub fn query(
    out: &mut impl Write,
    target: Target,
    names: &Names,
    k: usize,
    entry: &Entry,
) -> io::Result<()> {
    if let Some(mut body) = body(target, names, k, entry) {
        match target {
            Target::OpenSearch | Target::OpenSearchAnn | Target::Elasticsearch => {
                // a line of _msearch that names the query: engines answer in order
                let index = Address { _index: &names.collection, _id: None };
                line(out, &index)?;
            }
            _ => body["_id"] = entry.id.into(),
        }
        return line(out, &body);
    }
    match target {
        Target::Anserini | Target::Ciff | Target::Pisa => {
            let between = if target == Target::Anserini { '\t' } else { ':' };
            write!(out, "{}{between}", entry.id)?;
            let mut space = "";
            for &(_, token, weight) in entry.terms {
                let Number::Whole(times) = weight else { continue };
                for _ in 0..times {
                    write!(out, "{space}{token}")?;
                    space = " ";
                }
            }
            out.write_all(b"\n")
        }
        _ => document(out, target, names, entry),
    }
}
