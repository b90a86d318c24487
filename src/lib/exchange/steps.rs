//! Shell commands that load an exported file into its engine and send a query.

use super::{Target, lines::Names};

/// The first version of an engine that takes the form, if it is not any.
pub fn needs(target: Target) -> Option<&'static str> {
    match target {
        Target::OpenSearch => Some("OpenSearch 2.11"),
        Target::OpenSearchAnn => Some("OpenSearch 3.3"),
        Target::Elasticsearch => {
            Some("Elasticsearch 8.19 or 9.1; earlier ones know no index_options.prune")
        }
        _ => None,
    }
}

/// The lines for a file of documents.
pub fn steps(target: Target, Names { collection, .. }: &Names, file: &str) -> Vec<String> {
    let at = |ending: &str| quoted(&format!("{file}{ending}"));
    let packed = "--encoding block_simdbp";
    match target {
        Target::OpenSearch | Target::OpenSearchAnn | Target::Elasticsearch => bulk(collection, &at),
        Target::Qdrant => points(collection, &at),
        Target::Vespa => vec![
            format!("cp {} APPLICATION/schemas/{collection}.sd", at(".sd")),
            "vespa deploy APPLICATION".into(),
            format!("vespa feed {}", at("")),
            send("POST", "search/", "json", &at(".query.json")),
        ],
        Target::Anserini => vec![
            // it reads all .json and .jsonl of a folder
            format!("mkdir documents && ln {} documents/documents.jsonl", at("")),
            anserini("index.IndexCollection -collection JsonVectorCollection -input documents"),
            anserini(
                "search.SearchCollection -topics QUERIES.tsv -topicReader TsvString -output RUN",
            ),
        ],
        Target::Ciff => vec![format!("ciff2pisa --ciff-file {} --output NAME", at(""))],
        Target::Pisa => vec![
            format!("lexicon build {} {}", at(".terms"), at(".termlex")),
            format!("lexicon build {} {}", at(".documents"), at(".doclex")),
            format!("compress_inverted_index {packed} --collection {} --output INDEX", at("")),
            format!(
                "create_wand_data --collection {} --output WAND --block-size 64 --scorer quantized",
                at("")
            ),
            format!(
                "evaluate_queries {packed} --index INDEX --wand WAND --algorithm maxscore --scorer quantized --weighted \
                 --tokenizer whitespace --terms {} --documents {} --queries QUERIES -k 1000",
                at(".termlex"),
                at(".doclex")
            ),
        ],
        Target::Seismic => {
            let program = "import seismic; seismic.SeismicIndex";
            let program = format!("{program}.build({file:?}).save(\"INDEX\")");
            vec![format!("python -c {}", quoted(&program))]
        }
        Target::JsonLines => Vec::new(),
    }
}

/// A request with a file, or with standard input, as its body.
fn send(method: &str, path: &str, kind: &str, data: &str) -> String {
    let kind = format!("-H 'Content-Type: application/{kind}'");
    format!("curl -X {method} $HOST/{path} {kind} --data-binary @{data}")
}

/// OpenSearch and Elasticsearch: a request holds 100 MB at most.
fn bulk(collection: &str, at: &impl Fn(&str) -> String) -> Vec<String> {
    let part = send("POST", "_bulk", "x-ndjson", "-");
    vec![
        send("PUT", collection, "json", &at(".mapping.json")),
        format!("split --lines 2000 --filter \"{part}\" {}", at("")),
        format!("curl -X POST $HOST/{collection}/_refresh"),
        send("POST", &format!("{collection}/_search"), "json", &at(".query.json")),
    ]
}

/// Qdrant.
fn points(collection: &str, at: &impl Fn(&str) -> String) -> Vec<String> {
    let base = format!("collections/{collection}");
    let each = send("PUT", &format!("{base}/points?wait=true"), "json", "-");
    vec![
        send("PUT", &base, "json", &at(".collection.json")),
        format!("while read -r body; do printf %s \"$body\" | {each}; done <{}", at("")),
        send("POST", &format!("{base}/points/query"), "json", &at(".query.json")),
    ]
}

fn anserini(what: &str) -> String {
    format!("java -cp ANSERINI-FATJAR io.anserini.{what} -index INDEX -impact -pretokenized")
}

/// A text that a shell takes as one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_a_shell() {
        assert_eq!(quoted("demo.ndjson"), "demo.ndjson");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
    }
}
