//! What an engine needs before it takes the documents: mappings, schemas, collections.

use serde_json::{Value, json};

use super::{Target, lines::Names};

/// A file to be put next to the documents: the end of its name, and its text.
pub struct Schema {
    /// `mapping.json`, `collection.json` or `sd`.
    pub ending: &'static str,
    /// Its content.
    pub text: String,
}

/// The engine's schema for `documents` as [`super::lines::document`] writes them, none of whose weights is
/// above `most`; empty for a form that needs none.
pub fn schema(target: Target, names: &Names, documents: u64, most: f32) -> Option<Schema> {
    let field = names.field.as_str();
    let mapping = |settings: Value, vector: Value| {
        let mut properties = json!({
            "id": {"type": "keyword"}, "title": {"type": "text"}, "text": {"type": "text"},
        });
        properties[field] = vector;
        let body = json!({"settings": settings, "mappings": {"properties": properties}});
        Some(Schema { ending: "mapping.json", text: pretty(&body) })
    };
    match target {
        Target::OpenSearch => {
            mapping(json!({"index": {"number_of_shards": 1}}), json!({"type": "rank_features"}))
        }
        Target::OpenSearchAnn => mapping(
            json!({"index": {"sparse": true, "number_of_shards": 1}}),
            json!({"type": "sparse_vector", "method": {"name": "seismic", "parameters": {
                "n_postings": n_postings(documents), "cluster_ratio": 0.1,
                "summary_prune_ratio": 0.4, "approximate_threshold": 1_000_000,
                "quantization_ceiling_ingest": most.max(USUAL_CEILING),
                "quantization_ceiling_search": 16.0,
            }}}),
        ),
        // since 9.1 a new field prunes the tokens of queries by default
        Target::Elasticsearch => mapping(
            json!({"index": {"number_of_shards": 1}}),
            json!({"type": "sparse_vector", "index_options": {"prune": false}}),
        ),
        Target::Qdrant => {
            let vector =
                json!({"index": {"on_disk": false, "datatype": "float32"}, "modifier": "none"});
            let body = json!({"vectors": {}, "sparse_vectors": {field: vector}});
            Some(Schema { ending: "collection.json", text: pretty(&body) })
        }
        Target::Vespa => Some(Schema { ending: "sd", text: vespa(names) }),
        _ => None,
    }
}

/// OpenSearch's own default; heavier weights would be cut to it.
const USUAL_CEILING: f32 = 3.0;

/// OpenSearch's own default: 0.0005 of the documents, at least 160.
fn n_postings(documents: u64) -> u64 {
    (documents / 2000).max(160)
}

fn vespa(Names { collection, field }: &Names) -> String {
    format!(
        "schema {collection} {{
    document {collection} {{
        field id type string {{
            indexing: summary | attribute
        }}
        field title type string {{
            indexing: summary | index
        }}
        field text type string {{
            indexing: summary | index
        }}
        field {field} type tensor<float>(token{{}}) {{
            indexing: attribute
        }}
    }}
    rank-profile sparse {{
        inputs {{
            query(q) tensor<float>(token{{}})
        }}
        first-phase {{
            expression: sum(query(q) * attribute({field}))
        }}
    }}
}}
"
    )
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
