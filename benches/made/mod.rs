//! A collection for benches: topics that follow one another, terms from common to rare, and queries.

use l0::internal::{
    index::{Artefacts, BuildConfig, Builder, Index, Order, Weights},
    sparse::{SparseVector, TermId},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Terms of the collection: the common ones first.
pub const TERMS: u32 = 2000;
const SHARED: u32 = 20;
const TOPIC: u32 = 500;

/// An index in a file that is gone with it, and queries.
pub struct Made {
    /// The index.
    pub index: Index,
    /// Fifty of six terms.
    pub queries: Vec<SparseVector>,
    _folder: tempfile::TempDir,
}

impl Made {
    /// The same for the same arguments.
    pub fn new(docs: u32, weights: Weights) -> Made {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let size = TERMS as usize;
        let config =
            BuildConfig { vocabulary_size: size, weights, order: Order::Given, memory: 1 << 30 };
        let mut builder = Builder::new(config);
        for doc in 0..docs {
            let vector = vector(doc / TOPIC, 60, &mut random);
            builder.add(&doc.to_string(), &vector, None).expect("a new id");
        }
        let artefacts = Artefacts {
            vocabulary: String::new(),
            encoding: None,
            tokenizer: Vec::new(),
            query_weights: vec![1.0; size],
            query_source: "unit".into(),
        };
        let mut bytes = Vec::new();
        let draft = builder.finish(&artefacts, &mut bytes, "memory", &mut |_| {});
        draft.and_then(|draft| draft.finish(None)).expect("memory takes all");
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("made.l0x");
        std::fs::write(&path, bytes).expect("room for the index");
        let queries = (0..50).map(|query| vector(query * 2 % (docs / TOPIC), 4, &mut random));
        let queries = queries.collect();
        Made { index: Index::open(&path).expect("a sound index"), queries, _folder: folder }
    }
}

/// So many terms of a topic, most of them strong, and a third of the shared ones.
fn vector(topic: u32, terms: usize, random: &mut ChaCha8Rng) -> SparseVector {
    let mut pairs: Vec<(TermId, f32)> = Vec::new();
    for _ in 0..terms {
        let near = random.random_bool(0.8);
        let term = if near { topic * 17 + random.random_range(0..120) } else { random.random() };
        let weight = if near { 0.3 + random.random::<f32>() * 2.0 } else { 0.2 };
        pairs.push((TermId(SHARED + term % (TERMS - SHARED)), weight));
    }
    for term in 0..SHARED {
        if random.random_range(0..SHARED) < if terms < 10 { 2 } else { SHARED / (1 + term / 4) } {
            pairs.push((TermId(term), 0.1 + random.random::<f32>() * 0.4));
        }
    }
    pairs.sort_by_key(|pair| pair.0);
    pairs.dedup_by_key(|pair| pair.0);
    SparseVector::new(pairs).expect("ascending terms, weights above 0")
}
