//! What an engine has to be told before it takes the documents: mappings, schemas, collections.

use serde_json::{Value, json};

use super::{Target, lines::Names};

/// A file to be put beside the documents: the end of its name, and its text.
pub struct Schema {
    /// `mapping.json`, `collection.json` or `sd`.
    pub ending: &'static str,
    /// What stands in it.
    pub text: String,
}

/// The engine's schema for documents as [`super::lines::document`] writes them; none for a form that
/// needs none.
pub fn schema(target: Target, names: &Names, documents: u64) -> Option<Schema> {
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
                "quantization_ceiling_ingest": 3.0, "quantization_ceiling_search": 16.0,
            }}}),
        ),
        // since 9.1 a new field prunes the tokens of queries unless it is told not to
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

/// How the documents get into the engine and a query out of it, for people: lines of a shell, with
/// `FILE` for the name of the documents' file without its ending.
pub fn steps(target: Target, Names { collection, .. }: &Names) -> Vec<String> {
    let bulk = |bulk: &str, mapping: &str, ask: &str| {
        vec![
            format!(
                "curl -X PUT  $HOST/{collection} -H 'Content-Type: application/json' -d @FILE.{mapping}"
            ),
            format!(
                "curl -X POST $HOST/_bulk -H 'Content-Type: application/x-ndjson' --data-binary @{bulk}"
            ),
            format!(
                "curl -X POST $HOST/{collection}/{ask} -H 'Content-Type: application/json' -d @FILE.query.json"
            ),
        ]
    };
    match target {
        Target::OpenSearch | Target::OpenSearchAnn | Target::Elasticsearch => {
            bulk("FILE", "mapping.json", "_search")
        }
        Target::Qdrant => vec![
            format!("curl -X PUT $HOST/collections/{collection} -H 'Content-Type: application/json' -d @FILE.collection.json"),
            format!("while read -r body; do curl -X PUT $HOST/collections/{collection}/points -H 'Content-Type: application/json' -d \"$body\"; done <FILE"),
            format!("curl -X POST $HOST/collections/{collection}/points/query -H 'Content-Type: application/json' -d @FILE.query.json"),
        ],
        Target::Vespa => vec![
            "vespa feed FILE    # with FILE.sd among the schemas of the application".into(),
            "curl -X POST $HOST/search/ -H 'Content-Type: application/json' -d @FILE.query.json".into(),
        ],
        Target::Anserini => vec![
            "bin/run.sh io.anserini.index.IndexCollection -collection JsonVectorCollection -input DIR-OF-FILE -index INDEX -impact -pretokenized".into(),
            "bin/run.sh io.anserini.search.SearchCollection -index INDEX -topics QUERIES.tsv -topicReader TsvString -impact -pretokenized -output RUN".into(),
        ],
        Target::Ciff => vec!["ciff2pisa --ciff-file FILE --output NAME    # or any reader of CIFF".into()],
        Target::Pisa => vec![
            "build_binlex FILE.terms FILE.termlex; build_binlex FILE.documents FILE.doclex".into(),
            "compress_inverted_index --encoding block_simdbp --collection FILE --output INDEX".into(),
            "queries or evaluate_queries --scorer quantized --weighted".into(),
        ],
        Target::Csr => vec!["scipy.sparse.load_npz('FILE'); ids are the lines of FILE.ids.txt".into()],
        Target::Seismic | Target::SeismicBinary | Target::JsonLines => Vec::new(),
    }
}
