//! Random collections and random damage: exact search stays exhaustive search, and no bytes make a panic. A few
//! rounds always; in the slow tier for as long as `L0_FUZZ_SECONDS` says, else 20 seconds a test.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use l0::internal::{
    index::{BuildConfig, Order, Weights},
    search::{Method, search},
    sparse::SparseVector,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    index::broken::{examine, seal, section},
    support::{
        Work,
        collection::{TERMS, bytes, config, filled, vector},
    },
};

/// Rounds of the fast tier; the same ones each time.
const FEW: u64 = 4;

/// Rounds with seeds from [`FEW`] on, until the time is over.
fn many_rounds(mut round: impl FnMut(u64)) {
    let seconds = env::var("L0_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let (started, time) = (Instant::now(), Duration::from_secs(seconds));
    for seed in FEW.. {
        round(seed);
        if started.elapsed() > time {
            eprintln!("{} rounds", seed + 1 - FEW);
            break;
        }
    }
}

/// Documents in which terms are from everywhere to nearly nowhere, alone or in heaps: lists with maps
/// and with gaps of blocks, cells of slots and of maps, counts of four bits and of eight.
fn collection(random: &mut ChaCha8Rng) -> Vec<SparseVector> {
    let docs = [70, 700, 3000, 9000, 40_000][random.random_range(0..5)];
    let shares: Vec<f32> = (0..TERMS).map(|_| random.random::<f32>().powi(6)).collect();
    let heap: u32 = random.random_range(20..2000);
    let few = random.random_bool(0.3);
    let held = |doc: u32, term: usize, random: &mut ChaCha8Rng| {
        let near = (doc / heap + term as u32).is_multiple_of(7);
        random.random::<f32>()
            < if near { (8.0 * shares[term]).min(0.9) } else { shares[term] / 4.0 }
    };
    let mut docs_of = Vec::with_capacity(docs as usize);
    for doc in 0..docs {
        let mut pairs = Vec::new();
        for term in 0..TERMS {
            if held(doc, term, random) {
                let weight = match few {
                    true => random.random_range(1..4) as f32,
                    false => 0.02 + random.random::<f32>().powi(3) * 3.0,
                };
                pairs.push((term as u32, weight));
            }
        }
        docs_of.push(vector(&pairs));
    }
    docs_of
}

fn built(random: &mut ChaCha8Rng, docs: &[SparseVector]) -> Vec<u8> {
    let weights = [Weights::U8, Weights::U8, Weights::U6, Weights::F32][random.random_range(0..4)];
    let order = if random.random_bool(0.5) { Order::Bp } else { Order::Given };
    let memory = if random.random_bool(0.5) { 0 } else { 1 << 24 };
    bytes(filled(docs, BuildConfig { order, memory, ..config(weights) }, 0))
}

fn exact_is_exhaustive(seed: u64) {
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let docs = collection(random);
    let index = Work::new().put("a.l0x", &built(random, &docs)).unwrap();
    index.verify().unwrap();
    for _ in 0..8 {
        let terms: BTreeMap<u32, f32> = (0..random.random_range(1..=TERMS))
            .map(|_| (random.random_range(0..TERMS as u32), 0.1 + random.random::<f32>() * 5.0))
            .collect();
        let query = vector(&terms.into_iter().collect::<Vec<_>>());
        let k = [1, 2, 10, 100, 1000, 20_000][random.random_range(0..6)];
        let hits = |method| {
            let hits = search(&index, &query, k, method).unwrap();
            hits.iter().map(|hit| (hit.doc, hit.score.to_bits())).collect::<Vec<_>>()
        };
        assert_eq!(hits(Method::Exact), hits(Method::Exhaustive), "seed {seed}, k {k}");
    }
}

#[test]
fn exact_stays_exhaustive_on_random_collections() {
    (0..FEW).for_each(exact_is_exhaustive);
}

#[test]
#[ignore = "slow: random collections for 20 seconds"]
fn exact_stays_exhaustive_on_many_random_collections() {
    many_rounds(exact_is_exhaustive);
}

fn damage(seed: u64) {
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let docs = collection(random);
    let whole = built(random, &docs);
    for _ in 0..5 {
        let mut bytes = whole.clone();
        let wanted = [7, 7, 7, 8, 8, 6][random.random_range(0..6)];
        let range = section(&bytes, wanted);
        for _ in 0..random.random_range(1..6) {
            if range.is_empty() {
                break;
            }
            let at = random.random_range(range.clone());
            let many = random.random_range(1..9).min(range.end - at);
            match random.random_bool(0.5) {
                true => random.fill_bytes(&mut bytes[at..at + many]),
                false => bytes[at..at + many].fill([0, 0xff][random.random_range(0..2)]),
            }
        }
        seal(&mut bytes);
        let _ = examine(&bytes);
    }
}

#[test]
fn no_bytes_make_a_panic() {
    (0..FEW).for_each(damage);
}

#[test]
#[ignore = "slow: random damage for 20 seconds"]
fn no_bytes_of_many_make_a_panic() {
    many_rounds(damage);
}
