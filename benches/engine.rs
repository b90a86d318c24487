//! The engine in parts, on a collection made here: what a list costs to decode, what bounds and hits
//! cost. For comparisons with other engines see `benches/engines`.
//!
//!     cargo bench --bench engine

mod made;

use divan::{Bencher, black_box, counter::ItemsCount};
use l0::internal::{
    index::Weights,
    search::{Method, search},
    sparse::TermId,
};
use made::Made;

fn main() {
    divan::main();
}

const DOCS: u32 = 50_000;

/// A list in most blocks, decoded whole.
#[divan::bench(args = [Weights::U8, Weights::U6, Weights::F32])]
fn decode_long_list(bencher: Bencher, weights: Weights) {
    decode(bencher, weights, TermId(0));
}

/// A list in few blocks, decoded whole.
#[divan::bench(args = [Weights::U8, Weights::U6, Weights::F32])]
fn decode_rare_list(bencher: Bencher, weights: Weights) {
    decode(bencher, weights, TermId(made::TERMS - 1));
}

fn decode(bencher: Bencher, weights: Weights, term: TermId) {
    let made = Made::new(DOCS, weights);
    let list = made.index.list(term).expect("a sound index");
    bencher.counter(ItemsCount::new(list.len())).bench(|| {
        let mut sum = 0.0;
        list.each(|_, weight| sum += weight).expect("a sound list");
        black_box(sum)
    });
}

/// Fifty queries of six terms; divide by fifty.
#[divan::bench(args = [1, 10, 1000])]
fn fifty_exact(bencher: Bencher, k: usize) {
    fifty(bencher, k, Method::Exact);
}

/// The same, every posting scored.
#[divan::bench]
fn fifty_exhaustive(bencher: Bencher) {
    fifty(bencher, 10, Method::Exhaustive);
}

fn fifty(bencher: Bencher, k: usize, method: Method) {
    let made = Made::new(DOCS, Weights::U8);
    bencher.bench(|| {
        for query in &made.queries {
            black_box(search(&made.index, query, k, method).expect("a sound index"));
        }
    });
}
