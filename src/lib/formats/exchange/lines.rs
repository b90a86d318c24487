//! JSON lines that engines load: documents, and queries in each engine's form.

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Entry, Number, Target};

/// What a collection and its field are called in the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Names {
    /// The index, collection or document type.
    pub collection: String,
    /// The field that holds the vectors.
    pub field: String,
}

/// `{token: weight}`, or `{id: weight}` with ids as decimal strings.
#[derive(Clone, Copy)]
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

/// The body of a search.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Body<'a>(Search<'a>);

#[derive(Serialize)]
#[serde(untagged)]
enum Search<'a> {
    OpenSearch(Page<Named<'a, Named<'a, Tokens<'a>>>>),
    Elasticsearch(Page<Named<'a, SparseVector<'a>>>),
    Vespa(Yql<'a>),
    Qdrant(Nearest<'a>),
}

/// A search of OpenSearch and Elasticsearch.
#[derive(Serialize)]
struct Page<Q> {
    _source: [&'static str; 2],
    query: Q,
    size: usize,
}

#[derive(Serialize)]
struct Tokens<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    method_parameters: Option<Seismic>,
    query_tokens: Weights<'a>,
}

#[derive(Serialize)]
struct Seismic {
    heap_factor: f32,
    k: usize,
    top_n: usize,
}

#[derive(Serialize)]
struct SparseVector<'a> {
    field: &'a str,
    prune: bool,
    query_vector: Weights<'a>,
}

#[derive(Serialize)]
struct Yql<'a> {
    hits: usize,
    #[serde(rename = "input.query(q)")]
    input: Weights<'a>,
    ranking: &'static str,
    yql: String,
}

#[derive(Serialize)]
struct Nearest<'a> {
    limit: usize,
    query: Pair,
    using: &'a str,
    with_payload: [&'static str; 1],
}

/// The body of a search, as every engine with an HTTP door takes it; none for one without.
pub fn body<'a>(target: Target, names: &'a Names, k: usize, entry: &Entry<'a>) -> Option<Body<'a>> {
    let weights = Weights { terms: entry.terms, by_token: target.by_token() };
    let field = names.field.as_str();
    let neural = |method_parameters| {
        let tokens = Tokens { method_parameters, query_tokens: weights };
        let query = Named("neural_sparse", Named(field, tokens));
        Search::OpenSearch(Page { _source: SHOWN, query, size: k })
    };
    Some(Body(match target {
        Target::OpenSearch => neural(None),
        Target::OpenSearchAnn => {
            let top_n = entry.terms.len().max(1);
            neural(Some(Seismic { heap_factor: 1.0, k, top_n }))
        }
        Target::Elasticsearch => {
            let query = SparseVector { field, prune: false, query_vector: weights };
            let query = Named("sparse_vector", query);
            Search::Elasticsearch(Page { _source: SHOWN, query, size: k })
        }
        Target::Vespa => Search::Vespa(Yql {
            hits: k,
            input: weights,
            ranking: "sparse",
            yql: format!("select id from {} where true", names.collection),
        }),
        Target::Qdrant => Search::Qdrant(Nearest {
            limit: k,
            query: pair(entry),
            using: field,
            with_payload: ["id"],
        }),
        _ => return None,
    }))
}

/// What a hit shows.
const SHOWN: [&str; 2] = ["id", "title"];

/// A body with the id of its query.
#[derive(Serialize)]
struct Identified<'a> {
    _id: &'a str,
    #[serde(flatten)]
    body: Body<'a>,
}

/// The character of a query's id at which an engine would take it to end, if it has one.
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
    if let Some(body) = body(target, names, k, entry) {
        return match target {
            Target::OpenSearch | Target::OpenSearchAnn | Target::Elasticsearch => {
                // a line of _msearch that names the query: engines answer in order
                let index = Address { _index: &names.collection, _id: None };
                line(out, &index)?;
                line(out, &body)
            }
            _ => line(out, &Identified { _id: entry.id, body }),
        };
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
