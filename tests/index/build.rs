//! An index gives back what was put in, however it was built.

use std::collections::BTreeSet;

use l0::internal::{
    Error,
    index::{Builder, DocId, Index, StoredText, Weights, merge},
    sparse::TermId,
};

use crate::support::{
    Work,
    collection::{TERMS, artefacts, bisected, bytes, config, filled, vector, vectors},
};

/// `doc:weight` of every posting of a term.
fn postings(index: &Index, term: u32) -> Vec<(u32, f32)> {
    let postings = index.postings(TermId(term)).unwrap();
    postings.into_iter().map(|(doc, weight)| (doc.0, weight)).collect()
}

#[test]
fn gives_back_documents_postings_and_artefacts() {
    let work = Work::new();
    let vectors = vectors();
    let index = work.build("a.l0x", &vectors, Weights::F32);
    index.verify().unwrap();
    for term in 0..TERMS as u32 {
        let weight = |doc: u32| {
            let vector = &vectors[doc as usize];
            let place = vector.terms().binary_search(&TermId(term)).ok()?;
            Some((doc, vector.weights()[place]))
        };
        assert_eq!(postings(&index, term), (0..300).filter_map(weight).collect::<Vec<_>>());
    }
    assert!(index.list(TermId(TERMS as u32)).unwrap().is_empty());
    assert_eq!(index.len(), 300);
    assert_eq!(index.docno(DocId(299)).unwrap(), "d299");
    assert!(index.docno(DocId(300)).is_err());
    let stored = StoredText { title: "title 2".into(), text: "text text ".into() };
    assert_eq!(index.text(DocId(2)).unwrap(), Some(stored));
    assert_eq!(index.text(DocId(299)).unwrap(), Some(StoredText::default()));
    assert_eq!(index.tokenizer(), b"{}");
    assert_eq!(index.query_weights(), artefacts().query_weights);
}

#[test]
fn without_texts_there_is_no_section_of_texts() {
    let mut builder = Builder::new(config(Weights::U8));
    builder.add("only", &vector(&[(3, 1.5)]), None).unwrap();
    let index = Work::new().put("a.l0x", &bytes(builder)).unwrap();
    assert_eq!(index.text(DocId(0)).unwrap(), None);
    assert_eq!(postings(&index, 3).len(), 1);
    index.verify().unwrap();
}

#[test]
fn an_index_without_documents_is_sound() {
    let index = Work::new().put("a.l0x", &bytes(Builder::new(config(Weights::U8)))).unwrap();
    index.verify().unwrap();
    assert!(index.is_empty());
    assert_eq!(index.stats().unwrap().postings, 0);
}

#[test]
fn memory_and_threads_change_no_byte() {
    let vectors: Vec<_> = std::iter::repeat_n(vectors(), 10).flatten().collect();
    for weights in [Weights::F32, Weights::U8] {
        let build = |memory: u64, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut config = config(weights);
            config.memory = memory;
            pool.install(|| bytes(filled(&vectors, config, 0)))
        };
        let reference = build(1 << 30, 1);
        assert!(reference == build(0, 1) && reference == build(1 << 30, 3), "{weights}");
    }
}

#[test]
fn single_weights_are_those_of_the_list() {
    let vectors: Vec<_> = std::iter::repeat_n(vectors(), 9).flatten().collect();
    for config in [config(Weights::U8), config(Weights::F32), bisected(Weights::U8)] {
        let index = Work::new().put("a.l0x", &bytes(filled(&vectors, config, 0))).unwrap();
        for term in (0..TERMS as u32).step_by(5) {
            let mut all = postings(&index, term).into_iter().peekable();
            for doc in (0..2700).step_by(7) {
                while all.next_if(|posting| posting.0 < doc).is_some() {}
                let expected = all.peek().filter(|posting| posting.0 == doc).map(|p| p.1);
                assert_eq!(index.weight(TermId(term), DocId(doc)).unwrap(), expected);
            }
        }
    }
}

#[test]
fn an_order_moves_places_and_nothing_else() {
    // the documents of one subject come far from one another
    let docs: Vec<_> = (0..2000u32)
        .map(|doc| {
            let subject = doc % 11 * 2;
            vector(&[(subject, 1.0 + doc as f32), (subject + 1, 2.0), (23, 1.0)])
        })
        .collect();
    let work = Work::new();
    for weights in [Weights::F32, Weights::U8] {
        let given = work.put("g", &bytes(filled(&docs, config(weights), 0))).unwrap();
        let whole = bytes(filled(&docs, bisected(weights), 0));
        let ordered = work.put("o", &whole).unwrap();
        ordered.verify().unwrap();
        for term in 0..TERMS as u32 {
            assert_eq!(postings(&ordered, term), postings(&given, term));
        }
        assert_eq!(ordered.docno(DocId(7)).unwrap(), "d7");
        let gain = ordered.stats().unwrap().order.unwrap();
        assert!(gain.stored < gain.given / 2.0, "{gain:?}");
        assert_eq!(given.stats().unwrap().order, None);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let again = pool.install(|| bytes(filled(&docs, bisected(weights), 0)));
        assert!(again == whole, "other bytes with other threads");
        let mut merged = Vec::new();
        let more = work.put("m", &bytes(filled(&docs[..9], config(weights), 2000))).unwrap();
        merge(&[ordered, more], &mut merged, "memory").unwrap().finish(None).unwrap();
        let merged = work.put("j", &merged).unwrap();
        merged.verify().unwrap();
        assert_eq!((0..2009).filter(|place| merged.doc_at(*place).is_some()).count(), 2009);
        assert_eq!(merged.doc_at(2000), Some(DocId(2000)));
    }
}

#[test]
fn an_id_that_comes_twice_is_named_with_both_rows() {
    let mut builder = Builder::new(config(Weights::U8));
    builder.begin_part("a.jsonl");
    builder.add("d1", &vector(&[]), None).unwrap();
    builder.skip_row();
    builder.add("d2", &vector(&[]), None).unwrap();
    builder.begin_part("b.jsonl");
    builder.add("d3", &vector(&[]), None).unwrap();
    let error = builder.add("d2", &vector(&[]), None).unwrap_err();
    let expected = "b.jsonl:2: expected a document id that is new, found `d2`, which a.jsonl:3 has";
    assert_eq!(error.to_string(), expected);
    let error = builder.add("d3", &vector(&[]), None).unwrap_err();
    let expected = "b.jsonl:3: expected a document id that is new, found `d3`, which b.jsonl:1 has";
    assert_eq!(error.to_string(), expected);
    assert_eq!(builder.docs(), 3);
}

#[test]
fn a_term_outside_the_vocabulary_does_not_belong() {
    let mut builder = Builder::new(config(Weights::U8));
    builder.begin_part("a.jsonl");
    let error = builder.add("d1", &vector(&[(TERMS as u32, 1.0)]), None).unwrap_err();
    let expected = format!(
        "a.jsonl:1: expected terms below {TERMS}, the size of the vocabulary, found {TERMS} in `d1`"
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn merging_is_building_at_once() {
    let work = Work::new();
    let all = vectors();
    for weights in [Weights::F32, Weights::U8] {
        let part = |name: &str, from: usize, to: usize| {
            work.put(name, &bytes(filled(&all[from..to], config(weights), from))).unwrap()
        };
        let parts = [part("a", 0, 101), part("b", 101, 101), part("c", 101, 300)];
        let mut merged = Vec::new();
        merge(&parts, &mut merged, "memory").unwrap().finish(None).unwrap();
        let whole = bytes(filled(&all, config(weights), 0));
        if weights == Weights::F32 {
            assert!(merged == whole, "other bytes than building at once");
        }
        let (merged, whole) = (work.put("m", &merged).unwrap(), work.put("w", &whole).unwrap());
        merged.verify().unwrap();
        for term in 0..TERMS as u32 {
            let step = whole.list(TermId(term)).unwrap().max() / 255.0;
            for (got, want) in postings(&merged, term).iter().zip(postings(&whole, term)) {
                assert!(got.0 == want.0 && (got.1 - want.1).abs() <= 1.01 * step);
            }
        }
    }
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let work = Work::new();
    let a = || work.build("a", &vectors()[..2], Weights::U8);
    let f32s = work.put("f", &bytes(filled(&vectors()[..2], config(Weights::F32), 9))).unwrap();
    let mut foreign = artefacts();
    foreign.vocabulary = "beef".into();
    let mut other = Vec::new();
    Builder::new(config(Weights::U8))
        .finish(&foreign, &mut other, "memory", &mut |_| {})
        .unwrap()
        .finish(None)
        .unwrap();
    foreign = artefacts();
    foreign.query_weights[0] = 9.0;
    let mut table = Vec::new();
    Builder::new(config(Weights::U8))
        .finish(&foreign, &mut table, "memory", &mut |_| {})
        .unwrap()
        .finish(None)
        .unwrap();
    for other in [f32s, work.put("v", &other).unwrap(), work.put("t", &table).unwrap()] {
        let error = merge(&[a(), other], &mut Vec::new(), "memory").err().unwrap();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    }
    let error = merge(&[a(), a()], &mut Vec::new(), "memory").err().unwrap().to_string();
    assert!(error.contains("found `d0` as document 1, which document 1 of"), "{error}");
}

#[test]
fn stats_count() {
    let index = Work::new().build("a.l0x", &vectors(), Weights::U8);
    let stats = index.stats().unwrap();
    let postings: usize = vectors().iter().map(|vector| vector.nnz()).sum();
    assert_eq!(stats.postings, postings as u64);
    let used: BTreeSet<TermId> =
        vectors().iter().flat_map(|vector| vector.terms().to_vec()).collect();
    assert_eq!((stats.docs, stats.terms, stats.vocabulary_size), (300, used.len(), TERMS));
    assert_eq!((stats.longest_term, stats.longest_list), (0, 294));
    assert!((stats.mean_nnz - postings as f64 / 300.0).abs() < 1e-9);
    let sections: u64 = stats.sections.iter().map(|(_, bytes)| bytes).sum();
    assert!(sections < stats.bytes);
    let parts = stats.lists;
    let lists = parts.blocks + parts.maxima + parts.offsets + parts.places + parts.impacts;
    let stored = stats.sections.iter().find(|(name, _)| *name == "postings").unwrap().1;
    assert_eq!(lists, stored);
}
