//! Instructions of the engine, counted by Valgrind: the same on every computer, so that a change shows.
//! Valgrind knows no AVX-512, so that this counts the road that processors without it take.
//!
//!     cargo install gungraun-runner --version 0.20.0 && apt install valgrind
//!     cargo bench --bench instructions

#![expect(missing_docs, reason = "what the macros make is for the runner")]

mod made;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use l0::internal::{
    index::Weights,
    search::{Hit, Method, search},
    sparse::TermId,
};
use made::Made;

fn hits(k: usize) -> (Made, usize) {
    (Made::new(20_000, Weights::U8), k)
}

fn list(term: u32) -> (Made, TermId) {
    (Made::new(20_000, Weights::U8), TermId(term))
}

#[library_benchmark]
#[bench::ten(args = (10), setup = hits)]
#[bench::thousand(args = (1000), setup = hits)]
fn exact((made, k): (Made, usize)) -> Vec<Hit> {
    let query = &made.queries[7];
    black_box(search(&made.index, query, k, Method::Exact).expect("a sound index"))
}

#[library_benchmark]
#[bench::long(args = (0), setup = list)]
#[bench::rare(args = (made::TERMS - 1), setup = list)]
fn decode((made, term): (Made, TermId)) -> f32 {
    let mut sum = 0.0;
    let list = made.index.list(term).expect("a sound index");
    list.each(|_, weight| sum += weight).expect("a sound list");
    black_box(sum)
}

library_benchmark_group!(name = engine, benchmarks = [exact, decode]);
main!(library_benchmark_groups = engine);
