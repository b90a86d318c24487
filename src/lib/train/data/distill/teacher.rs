//! The hybrid teacher: cosines of a sentence encoder and a share of BM25, and each query's neighbours.

use std::path::Path;

use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::Pool;
use crate::{
    error::{Error, Result},
    io::{self, Output},
    kernels::slices::{Into, View, times_transposed},
    model::{DenseEncoder, normalize},
    train::{
        recipe::distill::PoolRecipe,
        tensors::{self, Named, Numbers, Width},
    },
};

/// Texts that are encoded together.
const TEXTS: usize = 512;
/// Queries that meet all passages together.
const QUERIES: usize = 64;

/// A teacher's vectors and what it scores by.
pub(in crate::train) struct Hybrid {
    width: usize,
    documents: Vec<f32>,
    queries: Vec<f32>,
    /// For each passage, BM25's impact of its terms, ascending.
    impacts: Vec<Vec<(u32, f32)>>,
    /// For each term, `bm25` times its query weight.
    shares: Vec<f32>,
}

impl Hybrid {
    /// Encodes a pool, or reads the vectors that an earlier run kept in the recipe's cache.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a cache that is damaged.
    pub fn new(
        pool: &Pool,
        recipe: &PoolRecipe,
        encoder: &DenseEncoder,
        table: &[f32],
        mut each: impl FnMut(usize, usize),
    ) -> Result<Hybrid> {
        let key = key(pool, encoder);
        let cache = recipe.cache.as_deref();
        let known = cache.map(|cache| read_cache(cache, &key)).transpose()?.flatten();
        let (documents, queries) = match known {
            Some(found) => found,
            None => {
                let total = pool.documents.len() + pool.queries.len();
                let mut done = 0;
                let mut count = |more| {
                    done += more;
                    each(done, total);
                };
                let documents = pooled_states(encoder, &pool.documents, &mut count);
                let queries = pooled_states(encoder, &pool.queries, &mut count);
                if let Some(cache) = cache {
                    write_cache(cache, &key, pool, &documents, &queries)?;
                }
                (documents, queries)
            }
        };
        let width = documents.len() / pool.documents.len();
        let (mut documents, mut queries) = (documents, queries);
        for vectors in [&mut documents, &mut queries] {
            vectors.par_chunks_exact_mut(width).for_each(normalize);
        }
        let share = recipe.teacher.bm25;
        let shares = table.iter().map(|weight| share * weight.max(0.0)).collect();
        Ok(Hybrid { width, documents, queries, impacts: pool.impacts(), shares })
    }

    /// `[documents, width]`, rows of length 1.
    pub fn documents(&self) -> &[f32] {
        &self.documents
    }

    /// The scores of one query for some passages.
    pub fn scores(&self, query: usize, terms: &[u32], documents: &[usize]) -> Vec<f32> {
        let own = &self.queries[query * self.width..][..self.width];
        let score = |&document: &usize| {
            let other = &self.documents[document * self.width..][..self.width];
            let cosine: f32 = own.iter().zip(other).map(|(a, b)| a * b).sum();
            cosine + self.lexical(terms, document)
        };
        documents.iter().map(score).collect()
    }

    /// The share of BM25 in a score; `terms` ascend.
    fn lexical(&self, terms: &[u32], document: usize) -> f32 {
        let impacts = &self.impacts[document];
        let of = |term: &u32| {
            let at = impacts.binary_search_by_key(term, |&(known, _)| known).ok()?;
            Some(self.shares[*term as usize] * impacts[at].1)
        };
        terms.iter().filter_map(of).sum()
    }

    /// Whether a passage has a term.
    pub fn has(&self, document: usize, term: u32) -> bool {
        self.impacts[document].binary_search_by_key(&term, |&(known, _)| known).is_ok()
    }

    /// The `count` passages with the highest scores for each query, best first; of equal scores the
    /// first passage.
    pub fn neighbours(&self, terms: &[Vec<u32>], count: usize) -> Vec<Vec<u32>> {
        let documents = self.impacts.len();
        let count = count.min(documents);
        let mut postings: Vec<Vec<(u32, f32)>> = vec![Vec::new(); self.shares.len()];
        for (document, impacts) in (0..).zip(&self.impacts) {
            for &(term, impact) in impacts {
                postings[term as usize].push((document, impact));
            }
        }
        let rows = self.queries.par_chunks(QUERIES * self.width).zip(terms.par_chunks(QUERIES));
        let found = rows.flat_map_iter(|(queries, terms)| {
            let mut scores = vec![0.0; terms.len() * documents];
            let (a, b) =
                (View::whole(queries, self.width), View::whole(&self.documents, self.width));
            times_transposed(a, b, &mut scores, documents, Into::Overwrite);
            let rows = scores.chunks_exact_mut(documents).zip(terms);
            let nearest = |(row, terms): (&mut [f32], &Vec<u32>)| {
                for &term in terms {
                    let share = self.shares[term as usize];
                    if share > 0.0 {
                        for &(document, impact) in &postings[term as usize] {
                            row[document as usize] += share * impact;
                        }
                    }
                }
                largest(row, count)
            };
            rows.map(nearest).collect::<Vec<_>>()
        });
        found.collect()
    }
}

/// The places of the `count` largest numbers, largest first; of equal ones the first.
fn largest(row: &[f32], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    let by = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, by);
        order.truncate(count);
    }
    order.sort_unstable_by(by);
    // else each query would hold a place for every passage
    order.shrink_to_fit();
    order
}

/// `[texts, width]`: the vectors of texts in their order; texts of like length are encoded together.
pub(in crate::train) fn pooled_states(
    encoder: &DenseEncoder,
    texts: &[Vec<u32>],
    mut each: impl FnMut(usize),
) -> Vec<f32> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&at| texts[at].len());
    let mut vectors = vec![Vec::new(); texts.len()];
    for part in order.chunks(TEXTS) {
        let some: Vec<&[u32]> = part.iter().map(|&at| &texts[at][..]).collect();
        for (&at, vector) in part.iter().zip(encoder.encode(&some)) {
            vectors[at] = vector;
        }
        each(part.len());
    }
    vectors.concat()
}

/// What vectors depend on: the encoder and every token.
fn key(pool: &Pool, encoder: &DenseEncoder) -> String {
    let mut hash = Sha256::new();
    hash.update(encoder.sha256.as_bytes());
    hash.update(encoder.pooling().as_bytes());
    for ids in pool.documents.iter().chain(&pool.queries) {
        hash.update((ids.len() as u64).to_le_bytes());
        ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
    }
    hash.update((pool.documents.len() as u64).to_le_bytes());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The vectors of documents and queries, if the cache is of this key.
fn read_cache(cache: &Path, key: &str) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    if !cache.exists() {
        return Ok(None);
    }
    let bad = |reason: String| {
        Error::format(
            cache,
            format!("expected vectors of an earlier run: {reason}; remove the file"),
        )
    };
    let bytes = io::map(cache)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| bad(error.to_string()))?;
    let Ok(documents) = tensors.tensor(&format!("{key}.documents")) else { return Ok(None) };
    let queries = tensors.tensor(&format!("{key}.queries"));
    let queries = queries.map_err(|error| bad(error.to_string()))?;
    let mut both = Vec::new();
    for tensor in [documents, queries] {
        if tensor.dtype() != Dtype::F32 {
            return Err(bad(format!("found numbers of type {:?}", tensor.dtype())));
        }
        let numbers = tensor.data().as_chunks().0.iter();
        both.push(numbers.map(|&four| f32::from_le_bytes(four)).collect::<Vec<f32>>());
    }
    Ok(both.pop().zip(both.pop()).map(|(queries, documents)| (documents, queries)))
}

fn write_cache(
    cache: &Path,
    key: &str,
    pool: &Pool,
    documents: &[f32],
    queries: &[f32],
) -> Result<()> {
    let named = |name: &str, numbers: &[f32], texts: usize| Named {
        name: format!("{key}.{name}"),
        shape: vec![texts, numbers.len() / texts.max(1)],
        numbers: Numbers::Host(numbers.to_vec().into()),
    };
    let all = vec![
        named("documents", documents, pool.documents.len()),
        named("queries", queries, pool.queries.len()),
    ];
    let mut output = Output::create(cache)?;
    tensors::write(&all, Width::Full, cache, &mut output)?;
    output.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_of_equal_ones_the_first() {
        assert_eq!(largest(&[1.0, 3.0, 3.0, -1.0, 2.0], 3), [1, 2, 4]);
        assert_eq!(largest(&[1.0, 2.0], 2), [1, 0]);
    }

    #[test]
    fn neighbours_are_those_of_the_scores_one_by_one() {
        let pool = Pool {
            documents: vec![vec![1, 2], vec![2, 3, 3], vec![4]],
            queries: vec![vec![2], vec![3, 4]],
            terms: vec![vec![2], vec![3, 4]],
        };
        let hybrid = Hybrid {
            width: 2,
            documents: vec![1.0, 0.0, 0.8, 0.6, 0.0, 1.0],
            queries: vec![0.6, 0.8, 1.0, 0.0],
            impacts: pool.impacts(),
            shares: vec![0.0, 0.0, 0.5, 0.25, 2.0],
        };
        let found = hybrid.neighbours(&pool.terms, 2);
        for (query, terms) in pool.terms.iter().enumerate() {
            let scores = hybrid.scores(query, terms, &[0, 1, 2]);
            assert_eq!(found[query], largest(&scores, 2));
        }
        assert!(hybrid.has(1, 3) && !hybrid.has(0, 3));
    }
}
