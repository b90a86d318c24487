//! What a query costs: text to weighted terms, and weighted terms to hits.
//!
//!     cargo bench --bench query

use std::path::Path;

use l0::internal::text::{QueryEncoder, QueryTable, Tokenizer};

fn main() {
    divan::main();
}

/// The texts of the demo collection's queries.
fn texts() -> Vec<String> {
    let lines = std::fs::read_to_string("testdata/demo/queries.jsonl").expect("run at the root");
    let text = |line: &str| {
        let query: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        query["text"].as_str().expect("a text").to_owned()
    };
    lines.lines().map(text).collect()
}

/// Sixty queries from text to weighted terms by the table; divide by sixty.
#[divan::bench]
fn sixty_texts_to_terms(bencher: divan::Bencher) {
    let tokenizer = Tokenizer::load(Path::new("testdata/demo")).expect("the demo's tokenizer");
    let table = QueryTable::unit(tokenizer.vocabulary().len());
    let encoder = QueryEncoder::new(tokenizer, &table).expect("a table of its own");
    let texts = texts();
    bencher.bench(|| {
        for text in &texts {
            divan::black_box(encoder.encode(text).expect("a plain text"));
        }
    });
}

/// The word pieces of the demo corpus, as the encoder reads them.
#[divan::bench]
fn corpus_to_pieces(bencher: divan::Bencher) {
    let tokenizer = Tokenizer::load(Path::new("testdata/demo")).expect("the demo's tokenizer");
    let corpus = std::fs::read_to_string("testdata/demo/corpus.jsonl").expect("run at the root");
    bencher.counter(divan::counter::BytesCount::of_str(&corpus)).bench(|| {
        for line in corpus.lines() {
            divan::black_box(tokenizer.pieces(line).expect("a plain text"));
        }
    });
}
