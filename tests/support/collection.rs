//! Small indexes for the tests of index and search.

use l0::internal::{
    Result,
    index::{Artefacts, BuildConfig, Builder, Index, Order, StoredText, Weights},
    sparse::{SparseVector, TermId},
};

use super::Work;

/// Terms in the vocabulary of every index here.
pub const TERMS: usize = 24;

pub fn vector(pairs: &[(u32, f32)]) -> SparseVector {
    SparseVector::new(pairs.iter().map(|&(term, weight)| (TermId(term), weight))).unwrap()
}

pub fn config(weights: Weights) -> BuildConfig {
    BuildConfig { vocabulary_size: TERMS, weights, order: Order::Given, memory: 1 << 20 }
}

/// As [`config`], in the order of bisection.
pub fn bisected(weights: Weights) -> BuildConfig {
    BuildConfig { order: Order::Bp, ..config(weights) }
}

pub fn artefacts() -> Artefacts {
    Artefacts {
        vocabulary: "f00d".into(),
        encoding: None,
        tokenizer: b"{}".to_vec(),
        query_weights: (0..TERMS).map(|term| term as f32).collect(),
        query_source: "unit".into(),
    }
}

pub fn bytes(builder: Builder) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder.finish(&artefacts(), &mut bytes, "memory", &mut |_| {}).unwrap().finish(None).unwrap();
    bytes
}

impl Work {
    /// Writes and opens an index.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<Index> {
        self.write(name, bytes);
        Index::open(&self.path(name))
    }

    /// Documents `d0`, `d1`, …, every second with a text.
    pub fn build(&self, name: &str, vectors: &[SparseVector], weights: Weights) -> Index {
        self.put(name, &bytes(filled(vectors, config(weights), 0))).unwrap()
    }
}

/// A builder with documents `d{first}` and on.
pub fn filled(vectors: &[SparseVector], config: BuildConfig, first: usize) -> Builder {
    let mut builder = Builder::new(config);
    for (number, vector) in (first..).zip(vectors) {
        let stored = StoredText { title: format!("title {number}"), text: "text ".repeat(number) };
        let text = (number % 2 == 0).then_some(&stored);
        builder.add(&format!("d{number}"), vector, text).unwrap();
    }
    builder
}

/// 300 documents in which the terms are from everywhere to rare; a few are empty.
pub fn vectors() -> Vec<SparseVector> {
    let held = |doc: u32| {
        let terms =
            (0..TERMS as u32).filter(move |term| (doc * 13 + term).is_multiple_of(term + 1));
        let terms = terms.filter(move |_| doc % 50 != 49);
        terms.map(move |term| (term, 0.1 + (doc * (term + 3) % 17) as f32)).collect::<Vec<_>>()
    };
    (0..300).map(|doc| vector(&held(doc))).collect()
}
