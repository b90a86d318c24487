//! Examples to token ids: which documents of each example take part, and which columns are twins.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::{
    mixture::{Drawn, Mixture},
    random::Random,
};
use crate::{
    error::Result,
    records::examples::{Example, Place},
    sparse::TermId,
    text::Tokenizer,
};

/// The examples of one step; Q queries with N documents each.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainBatch {
    /// Q · N documents as the encoder reads them, by query, then rank.
    pub documents: Vec<Vec<u32>>,
    /// The distinct word pieces of each query, without special ones, ascending.
    pub query_terms: Vec<Vec<u32>>,
    /// The queries as the encoder reads them.
    pub query_tokens: Vec<Vec<u32>>,
    /// Teacher scores of `documents`, if a loss asks for them.
    pub teacher: Option<Vec<f32>>,
    /// Pairs (query, row of `documents`) that repeat the text of the query's first document: no
    /// negatives when a query is compared with the whole batch.
    pub duplicate_positives: Vec<(usize, usize)>,
}

/// How examples become a batch.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Q.
    pub queries: usize,
    /// N.
    pub documents: usize,
    /// Whether every document needs a teacher's score.
    pub teacher: bool,
    /// Tokens of a document that are read.
    pub max_tokens: usize,
}

/// One example's chosen documents.
struct Chosen {
    query: String,
    docs: Vec<String>,
    scores: Vec<f32>,
    known: BTreeSet<String>,
    place: Place,
    random: Random,
}

impl Shape {
    /// Draws the next batch.
    ///
    /// # Errors
    /// As [`Mixture::draw`]; [`crate::Error::Line`] for an example without scores or with too few documents
    /// where a loss needs them.
    pub fn draw(&self, mixture: &mut Mixture, tokenizer: &Tokenizer) -> Result<TrainBatch> {
        let mut chosen = Vec::with_capacity(self.queries);
        for _ in 0..self.queries {
            chosen.push(self.choose(mixture.draw()?)?);
        }
        self.fill(&mut chosen)?;
        let duplicate_positives = (0..chosen.len()).flat_map(|query| {
            let first = &chosen[query].docs[0];
            let texts = chosen.iter().flat_map(|other| &other.docs).enumerate();
            let own = query * self.documents;
            texts
                .filter(move |&(row, text)| row != own && text == first)
                .map(move |(row, _)| (query, row))
                .collect::<Vec<_>>()
        });
        // in parallel, so that a device does not wait
        let texts: Vec<&String> = chosen.iter().flat_map(|example| &example.docs).collect();
        let ids = |text: &String| Ok(tokenizer.tokens(text, self.max_tokens)?.ids);
        let documents: Vec<Result<Vec<u32>>> = texts.into_par_iter().map(ids).collect();
        let mut batch = TrainBatch {
            duplicate_positives: duplicate_positives.collect(),
            documents: documents.into_iter().collect::<Result<_>>()?,
            query_terms: Vec::new(),
            query_tokens: Vec::new(),
            teacher: self.teacher.then(Vec::new),
        };
        for example in chosen {
            let mut terms = tokenizer.pieces(&example.query)?;
            terms.sort_unstable();
            terms.dedup();
            terms.retain(|&term| !tokenizer.is_special(TermId(term)));
            batch.query_terms.push(terms);
            batch.query_tokens.push(tokenizer.tokens(&example.query, self.max_tokens)?.ids);
            if let Some(teacher) = &mut batch.teacher {
                teacher.extend(example.scores);
            }
        }
        Ok(batch)
    }

    /// A positive first and others after it, up to N; without known positives, N drawn ones with the
    /// teacher's best first.
    fn choose(&self, Drawn { example, place, mut random }: Drawn) -> Result<Chosen> {
        let Example { query, docs, positives, scores } = example;
        // one of the positives takes part, and teacher scores are never invented
        let usable = docs.len() - positives + positives.min(1);
        if self.teacher && (scores.is_none() || usable < self.documents) {
            let with = if scores.is_some() { "with" } else { "without" };
            return Err(place.error(
                &format!(
                    "{} documents with a teacher's scores for kl or margin_mse",
                    self.documents
                ),
                &format!(
                    "{usable} {with} scores (one of {positives} good ones takes part); l0-train score \
                     asks a teacher, documents = {usable} asks for less"
                ),
            ));
        }
        let known = docs[..positives].iter().cloned().collect();
        let mut order: Vec<usize> = (positives..docs.len()).collect();
        random.shuffle(&mut order);
        if positives > 0 {
            order.insert(0, random.below(positives));
        }
        order.truncate(self.documents);
        let scores = scores.unwrap_or_else(|| vec![0.0; docs.len()]);
        if positives == 0 {
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        }
        let scores = order.iter().map(|&at| scores[at]).collect();
        let docs = order.into_iter().map(|at| docs[at].clone()).collect();
        Ok(Chosen { query, docs, scores, known, place, random })
    }

    /// Fills short lists with the first documents of other queries.
    fn fill(&self, chosen: &mut [Chosen]) -> Result<()> {
        let firsts: Vec<String> = chosen.iter().map(|example| example.docs[0].clone()).collect();
        for example in chosen.iter_mut().filter(|example| example.docs.len() < self.documents) {
            let own = &example.docs;
            let usable = |text: &&String| !example.known.contains(*text) && !own.contains(text);
            let mut others: Vec<String> = firsts.iter().filter(usable).cloned().collect();
            others.sort();
            others.dedup();
            example.random.shuffle(&mut others);
            let missing = self.documents - example.docs.len();
            if others.len() < missing {
                return Err(example.place.error(
                    &format!("{} documents per query", self.documents),
                    &format!(
                        "{} and too few others in the batch; raise batch, lower documents, or add \
                         negatives",
                        example.docs.len()
                    ),
                ));
            }
            example.docs.extend(others.into_iter().take(missing));
            example.scores.resize(self.documents, 0.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::train::recipe::SourceRecipe;

    fn batch(lines: &str, shape: Shape) -> Result<TrainBatch> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, lines).unwrap();
        let source = SourceRecipe { buffer: 1, ..SourceRecipe::of(path) };
        let tokenizer = Tokenizer::load(Path::new("testdata/toy")).unwrap();
        shape.draw(&mut Mixture::open(&[source], 0)?, &tokenizer)
    }

    const SHAPE: Shape = Shape { queries: 2, documents: 2, teacher: false, max_tokens: 16 };

    #[test]
    fn short_lists_are_filled_and_twins_are_known() {
        let lines = "{\"query\":\"water water sea\",\"pos\":\"rain\",\"negs\":[\"sun\"]}\n\
                     {\"query\":\"wind\",\"pos\":\"house\"}\n";
        let drawn = batch(lines, SHAPE).unwrap();
        assert_eq!(drawn.query_terms[0].len(), 2);
        assert_eq!(drawn.documents.len(), 4);
        assert_eq!(drawn.documents[3], drawn.documents[0], "filled with the other's first");
        assert_eq!(drawn.duplicate_positives, [(0, 3)]);
    }

    #[test]
    fn scores_stay_with_their_documents_and_the_best_comes_first() {
        let lines = "{\"query\":\"a\",\"docs\":[\"sun\",\"rain\"],\"scores\":[1,5]}\n\
                     {\"query\":\"b\",\"docs\":[\"sun\",\"wind\"],\"scores\":[3,2]}\n";
        let drawn = batch(lines, Shape { teacher: true, ..SHAPE }).unwrap();
        assert_eq!(drawn.teacher.unwrap(), [5.0, 1.0, 3.0, 2.0]);
        assert_eq!(drawn.documents[1], drawn.documents[2]);
    }

    #[test]
    fn a_teacher_s_score_is_never_made_up() {
        // two good documents and one other: one of the good ones takes part
        let lines = "{\"query\":\"a\",\"pos\":[\"sun\",\"sea\"],\"negs\":[\"rain\"],\
                     \"scores\":[3,2,1]}\n";
        let shape = Shape { queries: 1, documents: 3, teacher: true, ..SHAPE };
        let error = batch(lines, shape).unwrap_err().to_string();
        assert!(error.contains("documents = 2 asks for less"), "{error}");
        assert!(batch(lines, Shape { documents: 2, ..shape }).is_ok());
    }

    #[test]
    fn what_a_loss_needs_and_an_example_lacks_is_said() {
        let lines = "{\"query\":\"a\",\"pos\":\"sun\",\"negs\":[\"rain\"]}\n";
        let error = batch(lines, Shape { teacher: true, ..SHAPE }).unwrap_err().to_string();
        assert!(error.contains("x.jsonl:1: expected 2 documents with a teacher's scores for kl or margin_mse, found 2 without"), "{error}");
        let lines = "{\"query\":\"a\",\"pos\":\"sun\"}\n";
        let error = batch(lines, SHAPE).unwrap_err().to_string();
        assert!(
            error.contains("x.jsonl:1: expected 2 documents per query, found 1 and too few others"),
            "{error}"
        );
    }
}
