//! The exact method gives what the exhaustive one gives: documents, order and scores, bit for bit.

use std::collections::BTreeMap;

use l0::internal::{
    index::{BuildConfig, Index, Order, Weights, merge},
    search::{Method, calibrate, search, search_all},
    sparse::{SparseVector, TermId},
};
use proptest::prelude::*;

use crate::support::{
    Work,
    collection::{TERMS, artefacts, bisected, bytes, config, filled, vector, vectors},
};

/// `(doc, bits of the score)` of all hits.
fn hits(index: &Index, query: &SparseVector, k: usize, method: Method) -> Vec<(u32, u32)> {
    let hits = search(index, query, k, method).unwrap();
    hits.iter().map(|hit| (hit.doc.0, hit.score.to_bits())).collect()
}

fn check(index: &Index, query: &SparseVector, k: usize) -> Result<(), TestCaseError> {
    let truth = hits(index, query, k, Method::Exhaustive);
    prop_assert_eq!(&hits(index, query, k, Method::Exact), &truth);
    Ok(())
}

/// Few weights, so that scores tie; extremes, so that sums round, overflow and vanish.
fn weight() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => (1u32..4).prop_map(|weight| weight as f32),
        4 => 0.01f32..3.0,
        1 => Just(f32::MAX),
        1 => Just(f32::MIN_POSITIVE),
        1 => Just(f32::from_bits(1)),
    ]
}

fn sparse(most: usize) -> impl Strategy<Value = SparseVector> {
    prop::collection::btree_map(0..TERMS as u32, weight(), 0..most)
        .prop_map(|pairs| vector(&pairs.into_iter().collect::<Vec<_>>()))
}

fn weights() -> impl Strategy<Value = Weights> {
    prop_oneof![Just(Weights::F32), Just(Weights::U8), Just(Weights::U6)]
}

/// A collection, how it is indexed, and what is asked.
#[derive(Clone, Debug)]
struct Case {
    docs: Vec<SparseVector>,
    queries: Vec<SparseVector>,
    k: usize,
    weights: Weights,
    order: Order,
}

fn cases() -> impl Strategy<Value = Case> {
    let docs = prop::collection::vec(sparse(8), 0..40);
    let copies = prop_oneof![4 => 1usize..14, 1 => 30usize..100];
    let queries = prop::collection::vec(prop_oneof![sparse(8), sparse(TERMS)], 1..4);
    let k = prop_oneof![3 => 1usize..60, 1 => 60usize..1200];
    let order = prop_oneof![Just(Order::Given), Just(Order::Bp)];
    let case = |(docs, copies, queries, k, weights, order)| {
        // copies tie everywhere and carry lists over the ends of blocks and windows
        let docs: Vec<Vec<SparseVector>> = std::iter::repeat_n(docs, copies).collect();
        Case { docs: docs.concat(), queries, k, weights, order }
    };
    (docs, copies, queries, k, weights(), order).prop_map(case)
}

fn check_case(case: &Case) -> Result<(), TestCaseError> {
    let config = BuildConfig { order: case.order, ..config(case.weights) };
    let index = Work::new().put("a.l0x", &bytes(filled(&case.docs, config, 0))).unwrap();
    index.verify().unwrap();
    case.queries.iter().try_for_each(|query| check(&index, query, case.k))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    #[ignore = "slow: 400 collections"]
    fn exact_is_exhaustive_on_many_collections(case in cases()) {
        check_case(&case)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn exact_is_exhaustive(case in cases()) {
        check_case(&case)?;
    }

    #[test]
    fn several_indexes_answer_like_one(
        docs in prop::collection::vec(sparse(8), 1..60),
        cut in 0usize..60,
        query in sparse(TERMS),
        k in 1usize..20,
    ) {
        let work = Work::new();
        let cut = cut.min(docs.len());
        let part = |name: &str, from: usize, to: usize| {
            work.put(name, &bytes(filled(&docs[from..to], config(Weights::F32), from))).unwrap()
        };
        let parts = [part("a", 0, cut), part("b", cut, docs.len())];
        let mut merged = Vec::new();
        merge(&parts, &mut merged, "memory").unwrap().finish(None).unwrap();
        let whole = work.put("m", &merged).unwrap();
        let found = search_all(&parts, &query, k, Method::Exact).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|found| ([0, cut][found.index] as u32 + found.hit.doc.0, found.hit.score.to_bits()))
            .collect();
        prop_assert_eq!(found, hits(&whole, &query, k, Method::Exhaustive));
    }
}

/// Weights as networks give them, over enough documents that windows and blocks are skipped.
#[test]
fn exact_is_exhaustive_where_it_skips() {
    let mut state = 7u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let docs: Vec<_> = (0..6000)
        .map(|doc| {
            let held = (0..TERMS as u32).filter_map(|term| {
                let near = (doc / 500) % 8 == term as usize % 8;
                let share = if near { 0.7 } else { 0.3 / (1 + term) as f32 };
                let weight = (1.0 + 3.0 * random() * random()).ln() + 0.01;
                (random() < share).then_some((term, weight))
            });
            vector(&held.collect::<Vec<_>>())
        })
        .collect();
    for config in
        [config(Weights::U8), config(Weights::U6), config(Weights::F32), bisected(Weights::U8)]
    {
        let index = Work::new().put("a.l0x", &bytes(filled(&docs, config, 0))).unwrap();
        for first in 0..TERMS as u32 {
            let terms =
                (0..TERMS as u32).filter(|term| (term * 5 + first) % 4 == 0 || *term == first);
            let query = vector(&terms.map(|term| (term, 0.2 + random() * 4.0)).collect::<Vec<_>>());
            for k in [1, 10, 100, 1000, 7000] {
                check(&index, &query, k).unwrap();
            }
        }
    }
}

/// What approximate search finds has its true score, and there is enough of it.
#[test]
fn approximate_hits_have_exact_scores_and_the_recall_that_was_measured() {
    let mut state = 3u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let mut doc = |doc: usize| {
        let held = (0..TERMS as u32).filter_map(|term| {
            let near = doc / 64 % 12 == term as usize % 12;
            (random() < if near { 0.8 } else { 0.2 }).then(|| (term, 0.05 + random() * random()))
        });
        vector(&held.collect::<Vec<_>>())
    };
    let docs: Vec<SparseVector> = (0..6000).map(&mut doc).collect();
    let work = Work::new();
    let builder = || filled(&docs, bisected(Weights::U8), 0);
    let bare = work.put("bare.l0x", &bytes(builder())).unwrap();
    let found = calibrate(&bare, 0).unwrap();
    assert_eq!(found, calibrate(&bare, 0).unwrap());
    assert!(found.rows.iter().any(|trial| trial.recall < 1.0 && trial.queries == 192));
    assert!(found.trial(0.9, 10, 6).unwrap().reach > 1.0);
    let mut bytes = Vec::new();
    let draft = builder().finish(&artefacts(), &mut bytes, "memory", &mut |_| {}).unwrap();
    draft.finish(Some(found)).unwrap();
    let index = work.put("a.l0x", &bytes).unwrap();
    index.verify().unwrap();
    for recall in [0.9, 0.99, 1.0] {
        let method = Method::new("approx", Some(recall.to_string().parse().unwrap())).unwrap();
        let (mut shared, mut all) = (0, 0);
        for first in 0..60u32 {
            let terms =
                (0..6).map(|step| ((first * 7 + step * 5) % TERMS as u32, 1.0 + step as f32));
            let terms: BTreeMap<u32, f32> = terms.collect();
            let query = vector(&terms.into_iter().collect::<Vec<_>>());
            let truth = search(&index, &query, 10, Method::Exact).unwrap();
            for hit in search(&index, &query, 10, method).unwrap() {
                let score = query.iter().filter_map(|(term, weight)| {
                    Some(weight * index.weight(term, hit.doc).unwrap()?)
                });
                assert_eq!(hit.score, score.fold(0.0, |sum, part| sum + part));
                shared += usize::from(truth.contains(&hit));
            }
            all += truth.len();
        }
        // other queries than those of the calibration: five times its error for so few
        assert!(shared as f64 >= (recall - 0.05) * all as f64, "{shared} of {all} at {recall}");
    }
}

#[test]
fn scores_are_sums_over_shared_terms_in_order() {
    let docs = vectors();
    let index = Work::new().build("a.l0x", &docs, Weights::F32);
    let query = vector(&[(0, 0.3), (3, 1.7), (4, 0.9), (11, 2.3)]);
    let found = search(&index, &query, 1000, Method::Exact).unwrap();
    assert_eq!(found.len(), docs.iter().filter(|doc| query.dot(doc) > 0.0).count());
    for hit in found {
        assert_eq!(hit.score.to_bits(), query.dot(&docs[hit.doc.index()]).to_bits());
    }
}

#[test]
fn terms_outside_the_vocabulary_and_empty_queries_find_nothing() {
    let index = Work::new().build("a.l0x", &vectors(), Weights::U8);
    for query in [SparseVector::default(), vector(&[(TERMS as u32 + 5, 1.0)])] {
        for method in [Method::Exact, Method::Exhaustive] {
            assert_eq!(search(&index, &query, 10, method).unwrap(), []);
        }
    }
    assert!(search(&index, &vector(&[(0, 1.0)]), 0, Method::Exact).unwrap().is_empty());
    assert_eq!(index.list(TermId(u32::MAX)).unwrap().len(), 0);
}
