//! Document frequencies that travel with vectors, and the query weights that an index makes of them.

use std::{collections::BTreeSet, path::Path};

use l0::internal::{
    Result,
    index::Index,
    io::{Input, Output},
    sparse::TermId,
    text::{DocumentFrequencies, QueryTable, Tokenizer, Vocabulary},
    vectors::{self, Form, Row, VectorMeta, Writer},
};
use serde_json::{Value, json};

use crate::{
    encode::programs::encode,
    support::{Run, Work, run},
};

const MODEL: &str = "testdata/toy-st";
const BM25: &str = "--model bm25 --tokenizer testdata/toy-st";

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(MODEL)).unwrap()
}

/// 40 documents of the demo collection, one without text, one of special tokens and signs alone.
fn corpus() -> Vec<Value> {
    let demo = std::fs::read_to_string("testdata/demo/corpus.jsonl").unwrap();
    let documents = demo.lines().take(40).map(|line| serde_json::from_str(line).unwrap());
    let odd = [
        json!({"_id": "empty", "text": ""}),
        json!({"_id": "odd", "title": "[MASK]", "text": "[CLS] \u{2603} bread Bread bread"}),
    ];
    documents.chain(odd).collect()
}

fn lines(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("{document}\n")).collect()
}

fn scene() -> Work {
    let work = Work::new();
    work.write("corpus.jsonl", lines(&corpus()));
    work
}

/// In how many documents each term is among the first `max_tokens` tokens, special ones included.
fn brute_force(tokenizer: &Tokenizer, max_tokens: usize) -> Vec<u64> {
    let mut counts = vec![0; tokenizer.vocabulary().len()];
    for document in corpus() {
        let part = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        let text = format!("{} {}", part("title"), part("text"));
        let kept = max_tokens - 2;
        let pieces = tokenizer.pieces(text.trim()).unwrap();
        let distinct: BTreeSet<u32> = pieces.into_iter().take(kept).collect();
        for term in distinct.into_iter().filter(|&term| !tokenizer.is_special(TermId(term))) {
            counts[term as usize] += 1;
        }
    }
    counts
}

/// The frequencies that a file carries, and its number of rows.
fn carried(path: &Path) -> (Option<DocumentFrequencies>, usize) {
    let vectors = vectors::open(Input::open(path).unwrap(), None).unwrap();
    let rows = vectors.rows.collect::<Result<Vec<_>>>().unwrap().len();
    let vocabulary = tokenizer().vocabulary().clone();
    let read = |text: &str| {
        DocumentFrequencies::from_text("v", text, vocabulary.fingerprint(), vocabulary.len())
    };
    (vectors.ending.document_frequencies().map(|text| read(text).unwrap()), rows)
}

#[track_caller]
fn sh(work: &Work, line: &str) -> Run {
    run(work.shell(&format!("set -eo pipefail; {line}")), b"")
}

fn weights(work: &Work, index: &str) -> Vec<f32> {
    Index::open(&work.path(index)).unwrap().query_weights()
}

#[test]
fn vectors_carry_the_counts_of_a_brute_force_count() {
    let work = scene();
    let tokenizer = tokenizer();
    for model in ["--model testdata/toy-st", BM25] {
        for form in ["parquet", "arrow"] {
            for max_tokens in [20, 64] {
                // what is pruned away occurs all the same
                let options = format!("--max-tokens {max_tokens} --prune top_k:3 --quiet");
                encode(&work, &format!("{model} {options} corpus.jsonl -o v.{form}"), b"").exits(0);
                let (counted, rows) = carried(&work.path(&format!("v.{form}")));
                let counted = counted.expect("document frequencies");
                assert_eq!((counted.documents(), rows), (42, 42), "{model} {form}");
                let expected = brute_force(&tokenizer, max_tokens);
                assert_eq!(counted.frequencies(), expected, "{model} {form}, {max_tokens} tokens");
            }
        }
    }
    let queries = "--role query --quiet testdata/demo/queries.jsonl -o q.parquet";
    encode(&work, &format!("--model testdata/toy-st {queries}"), b"").exits(0);
    assert_eq!(carried(&work.path("q.parquet")).0, None, "queries are no documents");
}

#[test]
fn parts_of_a_run_add_up_to_the_bytes_of_one() {
    let work = scene();
    for model in ["--model testdata/toy-st", BM25] {
        for form in ["parquet", "arrow"] {
            let encode = format!("l0-encode {model} corpus.jsonl --quiet");
            let line = format!(
                "{encode} -o one.{form}; for at in 0 1 2; do {encode} --shard $at/3 -o $at.{form}; done
                 l0-encode join 0.{form} 1.{form} 2.{form} -o joined.{form} --quiet"
            );
            sh(&work, &line).exits(0);
            let read = |name: &str| work.read(&format!("{name}.{form}"));
            assert!(read("joined") == read("one"), "{model} {form}");
            let documents = |name: &str| {
                carried(&work.path(&format!("{name}.{form}"))).0.map(|counted| counted.documents())
            };
            assert_eq!([documents("1"), documents("joined")], [Some(14), Some(42)]);
        }
    }
    // a part of JSON lines has none, and so has the whole
    let line = "for at in 0 1; do l0-encode --model testdata/toy-st corpus.jsonl --shard $at/2 \
                --quiet -o $at.jsonl; done; l0-encode join 0.jsonl 1.jsonl -o j.jsonl --quiet";
    sh(&work, line).exits(0);
    assert_eq!(carried(&work.path("j.jsonl")), (None, 42));
}

/// table^½ · idf^½, by any way from text to index.
#[test]
fn corpus_weights_are_the_table_reweighted_by_idf() {
    let work = scene();
    let line = format!(
        "index=\"l0-index --model {MODEL} --query-weights corpus --quiet\"
         encode=\"l0-encode --model {MODEL} --quiet\"
         $encode corpus.jsonl | $index -o piped.l0x
         $encode corpus.jsonl -o v.parquet; $index v.parquet -o file.l0x
         head -15 corpus.jsonl | $encode - -o a.parquet; tail -n +16 corpus.jsonl | $encode - -o b.arrow
         $index a.parquet b.arrow -o two.l0x
         l0-index v.parquet --model {MODEL} --query-weights model --quiet -o model.l0x
         l0-index v.parquet --model {MODEL} --quiet -o plain.l0x
         cmp piped.l0x file.l0x; cmp two.l0x file.l0x; cmp model.l0x plain.l0x
         l0-index stats file.l0x"
    );
    let stats = sh(&work, &line).exits(0).prints("query weights\ttestdata/toy-st/");
    stats.prints(", reweighted by the idf of 42 documents\n");
    let (meta, _) = vectors::read(Input::open(&work.path("v.parquet")).unwrap(), None).unwrap();
    let counts = brute_force(&tokenizer(), meta.unwrap().max_tokens.unwrap());
    let (found, table) = (weights(&work, "file.l0x"), weights(&work, "plain.l0x"));
    assert!(table.iter().any(|&weight| weight > 0.0) && table.iter().any(|&weight| weight != 1.0));
    for ((&found, &table), &df) in found.iter().zip(&table).zip(&counts) {
        let idf = (1.0 + (42.0 - df as f64 + 0.5) / (df as f64 + 0.5)).ln();
        let expected = (f64::from(table.max(0.0)) * idf).sqrt();
        assert!((f64::from(found) - expected).abs() <= 1e-6 * expected, "{found}, {expected}");
    }
}

#[test]
fn without_a_table_corpus_weights_are_the_idf() {
    let work = scene();
    let line = format!(
        "l0-encode {BM25} corpus.jsonl --quiet |
             l0-index --tokenizer {MODEL} --query-weights corpus -o i.l0x
         l0-encode idf --tokenizer {MODEL} corpus.jsonl --quiet -o idf.json"
    );
    sh(&work, &line).exits(0).says("query weights: idf of 42 documents");
    let expected = QueryTable::read(&work.path("idf.json"), tokenizer().vocabulary()).unwrap();
    assert_eq!(weights(&work, "i.l0x"), expected.weights());
}

/// Vectors without document frequencies, or with these.
fn write(work: &Work, name: &str, form: Form, document_frequencies: Option<&str>) {
    let meta = VectorMeta {
        role: "document".into(),
        vocabulary_sha256: tokenizer().vocabulary().fingerprint().to_owned(),
        vocab_size: tokenizer().vocabulary().len(),
        ..VectorMeta::default()
    };
    let output = Output::create(&work.path(name)).unwrap();
    let mut writer = Writer::new(output, form, &meta, false).unwrap();
    writer.write(&Row { id: name.into(), ..Row::default() }).unwrap();
    if let Some(text) = document_frequencies {
        writer.set_document_frequencies(text.into());
    }
    writer.finish().unwrap();
}

#[test]
fn vectors_without_sound_counts_are_refused_where_they_are_needed() {
    let work = scene();
    let text = |words: &Vocabulary| DocumentFrequencies::new(words).to_text().unwrap();
    let (own, other) = (text(tokenizer().vocabulary()), text(&Vocabulary::new(vec!["a".into()])));
    write(&work, "old.parquet", Form::Parquet, None);
    write(&work, "old.arrow", Form::Arrow, None);
    write(&work, "old.jsonl", Form::JsonLines, Some("{}"));
    write(&work, "bad.parquet", Form::Parquet, Some("{}"));
    write(&work, "newer.arrow", Form::Arrow, Some(r#"{"format": 2}"#));
    write(&work, "other.parquet", Form::Parquet, Some(&other));
    write(&work, "own.parquet", Form::Parquet, Some(&own));
    let none = ": expected document frequencies with the vectors, found none; encode the documents \
                again into Parquet or Arrow";
    for (files, status, message) in [
        ("old.parquet", 1, format!("old.parquet{none}")),
        ("old.arrow", 1, format!("old.arrow{none}")),
        ("old.jsonl", 1, format!("old.jsonl{none}")),
        ("own.parquet old.arrow", 1, format!("old.arrow{none}")),
        ("bad.parquet", 1, "bad.parquet: expected document frequencies as".into()),
        (
            "newer.arrow",
            3,
            "newer.arrow: format of the document frequencies: expected 1, found 2".into(),
        ),
        (
            "other.parquet",
            3,
            "other.parquet: vocabulary of the document frequencies: expected".into(),
        ),
    ] {
        let index = format!("l0-index {files} --tokenizer {MODEL} -o i.l0x");
        sh(&work, &format!("{index} --query-weights corpus")).exits(status).says(&message);
        assert!(!work.path("i.l0x").exists());
        sh(&work, &format!("{index} --query-weights unit && rm i.l0x")).exits(0);
    }
    let line = format!("l0-index own.parquet --tokenizer {MODEL} -o i.l0x --query-weights model");
    sh(&work, &line).exits(2).says("expected a model with a query table, found none");
}
