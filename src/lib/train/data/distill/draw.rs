//! What meets in a step: passages that lie near each other, and queries that are near one of them.

use std::collections::BTreeSet;

use super::{Hybrid, Pool};
use crate::train::data::random::Random;

/// Ranks of a query's neighbours, and how many of each range take part.
const RANKS: [(usize, usize, usize); 4] = [(0, 2, 2), (2, 6, 1), (6, 20, 2), (20, 100, 2)];
/// A query is near the passages of its first ranks.
const NEAR: usize = 5;
/// The most other queries that a passage brings.
const OTHERS: usize = 6;

/// Which passages are near which queries.
pub(in crate::train) struct Neighbourhood {
    /// For each query, passages, nearest first.
    nearest: Vec<Vec<u32>>,
    /// For each passage, the queries that have it among their first.
    queries: Vec<Vec<u32>>,
    /// Queries that have a term with a weight.
    seeds: Vec<u32>,
}

/// One step's passages and queries, by their numbers in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::train) struct DistillBatch {
    /// Ascending.
    pub documents: Vec<usize>,
    /// The queries that chose the documents, then others that are near.
    pub queries: Vec<usize>,
}

impl Neighbourhood {
    /// From the nearest passages of each query; a query none of whose terms has a weight in `table`
    /// takes no part.
    pub fn new(pool: &Pool, nearest: Vec<Vec<u32>>, table: &[f32]) -> Neighbourhood {
        let mut queries = vec![Vec::new(); pool.documents.len()];
        let mut seeds = Vec::new();
        for ((query, near), terms) in (0..).zip(&nearest).zip(&pool.terms) {
            if terms.iter().any(|&term| table[term as usize] > 0.0) {
                seeds.push(query);
                near.iter().take(NEAR).for_each(|&document| queries[document as usize].push(query));
            }
        }
        Neighbourhood { nearest, queries, seeds }
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.seeds.is_empty()
    }

    /// `documents` passages or a few more, all near some seed queries, with at most `queries` queries. The
    /// same for the same `random`.
    pub fn draw(&self, mut random: Random, documents: usize, queries: usize) -> DistillBatch {
        let (mut chosen, mut seeds) = (BTreeSet::new(), Vec::new());
        let enough = documents.min(self.queries.len());
        // seeds may share their neighbours: a small pool runs out of new ones
        while chosen.len() < enough && seeds.len() < documents {
            let seed = self.seeds[random.below(self.seeds.len())] as usize;
            seeds.push(seed);
            let near = &self.nearest[seed];
            for (from, to, count) in RANKS {
                let mut ranks: Vec<usize> = (from..to.min(near.len())).collect();
                random.shuffle(&mut ranks);
                chosen.extend(ranks.into_iter().take(count).map(|rank| near[rank] as usize));
            }
        }
        let mut known = BTreeSet::new();
        seeds.retain(|&seed| known.insert(seed));
        let mut others = BTreeSet::new();
        for &document in &chosen {
            let mut near = self.queries[document].clone();
            random.shuffle(&mut near);
            others.extend(near.into_iter().take(OTHERS).map(|query| query as usize));
        }
        let mut others: Vec<usize> = others.difference(&known).copied().collect();
        random.shuffle(&mut others);
        let mut all: Vec<usize> = seeds.into_iter().chain(others).collect();
        all.truncate(queries);
        DistillBatch { documents: chosen.into_iter().collect(), queries: all }
    }
}

impl DistillBatch {
    /// `[queries, documents]`: the teacher's scores.
    pub fn scores(&self, pool: &Pool, teacher: &Hybrid) -> Vec<f32> {
        let row = |&query: &usize| teacher.scores(query, &pool.terms[query], &self.documents);
        self.queries.iter().flat_map(row).collect()
    }

    /// For each query, 1 less `paraphrase` times the share of its weight that the words make up which the
    /// passage with the highest of `scores` has.
    pub fn weights(
        &self,
        pool: &Pool,
        teacher: &Hybrid,
        scores: &[f32],
        table: &[f32],
        paraphrase: f64,
    ) -> Vec<f32> {
        let rows = scores.chunks_exact(self.documents.len().max(1)).zip(&self.queries);
        let weight = |(row, &query): (&[f32], &usize)| {
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
            let document = self.documents[best.unwrap_or(0)];
            let (mut shared, mut all) = (0.0, 0.0);
            for &term in &pool.terms[query] {
                let weight = f64::from(table[term as usize]);
                all += weight;
                shared += if teacher.has(document, term) { weight } else { 0.0 };
            }
            let share = if all > 0.0 { shared / all } else { 0.0 };
            (1.0 - paraphrase * share) as f32
        };
        rows.map(weight).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_meets_and_the_same_seed_draws_the_same() {
        let count = 60;
        let terms: Vec<Vec<u32>> = (0..count).map(|query| vec![query % 7]).collect();
        let ids = terms.clone();
        let pool = Pool { documents: ids.clone(), queries: ids, terms };
        let nearest = (0..count).map(|query| (0..count).map(|at| (query + at) % count).collect());
        let mut table = vec![1.0; 7];
        table[3] = 0.0;
        let near = Neighbourhood::new(&pool, nearest.collect(), &table);
        let batch = near.draw(Random::new(1, 2), 24, 30);
        assert_eq!(batch, near.draw(Random::new(1, 2), 24, 30));
        assert_ne!(batch, near.draw(Random::new(1, 3), 24, 30));
        assert!(batch.documents.len() >= 24 && batch.documents.is_sorted());
        assert!(batch.queries.len() == 30 && batch.queries.iter().all(|query| query % 7 != 3));
        // a pool that is smaller than a batch is drawn whole, once
        assert_eq!(near.draw(Random::new(1, 2), 1000, 1000).documents.len(), 60);
    }
}
