//! Teachers' scores of examples: every distinct text is encoded once, every teacher's scores are
//! scaled to 0 … 1 within each example, and the teachers are averaged.
//!
//! Scores within one query are what a student learns from, so the smallest and the largest are those of
//! the query's own documents; the published preparation takes them over chunks of 50 pairs of any
//! queries (`docs/method.md`, "Teacher scores").

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc};

use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    records::examples::{Example, ExampleWriter, Parsed},
    train::{
        data::{
            source::Source,
            teacher::{Side, Teacher, Vectors},
            texts::Texts,
        },
        recipe::SourceRecipe,
    },
};

/// Texts that are encoded at a time.
const CHUNK: usize = 256;

/// Distinct strings, numbered in the order of their first occurrence.
#[derive(Default)]
struct Distinct {
    all: Vec<Arc<str>>,
    at: BTreeMap<Arc<str>, usize>,
}

impl Distinct {
    fn number(&mut self, text: String) -> usize {
        if let Some(&at) = self.at.get(text.as_str()) {
            return at;
        }
        let text: Arc<str> = text.into();
        self.all.push(Arc::clone(&text));
        self.at.insert(text, self.all.len() - 1);
        self.all.len() - 1
    }
}

/// An example with numbers of texts in place of texts.
struct Numbered {
    query: usize,
    docs: Range<usize>,
    positives: usize,
}

/// Examples to be scored, in memory.
pub struct Work {
    texts: Option<Texts>,
    queries: Distinct,
    documents: Distinct,
    examples: Vec<Numbered>,
    /// The documents of all examples, one list after the other.
    docs: Vec<usize>,
}

/// The scores of all documents of all examples, in the order of the examples.
pub struct Scores {
    /// Averaged over teachers, 0 to 1.
    pub mean: Vec<f32>,
    /// The raw scores of each teacher, if they were asked for.
    pub raw: Vec<Vec<f32>>,
    /// Examples whose scores are all equal: they teach nothing.
    pub flat: u64,
}

/// Whether the teachers' own scores are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    /// They are dropped after averaging.
    Drop,
    /// They are written in addition to the average.
    Keep,
}

impl Work {
    /// Reads all examples of a source.
    ///
    /// # Errors
    /// The first example that cannot be used; [`Error::Format`] if there is none, and for a folder of
    /// judgements, whose examples have one document each.
    pub fn read(recipe: &SourceRecipe) -> Result<Work> {
        if recipe.path.is_dir() {
            let reason = "expected a file of examples with several documents each, found a folder of pairs; \
                          l0-train mine makes such a file";
            return Err(Error::format(&recipe.path, reason));
        }
        let mut source = Source::open(recipe, 0)?;
        let (mut queries, mut documents) = (Distinct::default(), Distinct::default());
        let (mut examples, mut docs) = (Vec::new(), Vec::new());
        let mut failure = None;
        source.each_as_it_stands(|parsed| match parsed {
            Ok(_) if failure.is_some() => {}
            Err(error) => failure = failure.take().or(Some(error)),
            Ok(Parsed { example, .. }) => {
                let first = docs.len();
                docs.extend(example.docs.into_iter().map(|doc| documents.number(doc)));
                examples.push(Numbered {
                    query: queries.number(example.query),
                    docs: first..docs.len(),
                    positives: example.positives,
                });
            }
        })?;
        match failure {
            Some(error) => Err(error),
            None if examples.is_empty() => {
                Err(Error::format(&recipe.path, "expected examples, found none"))
            }
            None => Ok(Work { texts: source.into_texts(), queries, documents, examples, docs }),
        }
    }

    /// Examples.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there is no example, which [`Work::read`] refuses.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// The documents that BM25 counts, as text.
    pub fn statistics(&self) -> String {
        match &self.texts {
            Some(texts) => format!("the {} documents of the folder", texts.documents().count()),
            None => format!("the {} documents of the examples", self.documents.all.len()),
        }
    }

    /// Bytes of all distinct texts, a measure of the work of one teacher.
    pub fn bytes(&self) -> u64 {
        let sides = [self.texts(Side::Query), self.texts(Side::Document)];
        sides.iter().flatten().map(|text| text.len() as u64).sum()
    }

    /// The scores of several teachers with their weights; `each` is called with the texts and bytes
    /// encoded so far.
    ///
    /// A teacher's s become (s − min) / (max − min) over the documents of the example, all 0 where
    /// they are equal; then Σ weight · s / Σ weight. BM25 counts the documents of the folder of
    /// texts if there is one, else the distinct documents of the examples.
    ///
    /// # Errors
    /// As [`Teacher::encode`]; [`Error::Format`] for a score that is not finite.
    pub fn score(
        &self,
        teachers: &mut [(Teacher, f64)],
        keep: Raw,
        mut each: impl FnMut(u64, u64),
    ) -> Result<Scores> {
        let total: f64 = teachers.iter().map(|(_, weight)| weight).sum();
        let mut mean = vec![0.0f64; self.docs.len()];
        let mut raw = Vec::new();
        for (teacher, weight) in teachers {
            match &self.texts {
                Some(texts) => teacher.learn(texts.documents())?,
                None => teacher.learn(self.documents.all.iter().map(|text| &**text))?,
            }
            let scores = self.scores_of(teacher, &mut each)?;
            for example in &self.examples {
                let own = example.docs.clone();
                let normal = normalised(&scores[own.clone()]);
                let parts = mean[own].iter_mut().zip(normal);
                parts.for_each(|(sum, score)| *sum += *weight / total * score);
            }
            if keep == Raw::Keep {
                raw.push(scores);
            }
        }
        let mean: Vec<f32> = mean.into_iter().map(|score| score as f32).collect();
        let is_flat = |example: &&Numbered| {
            let own = &mean[example.docs.clone()];
            own.iter().all(|score| *score == own[0])
        };
        let flat = self.examples.iter().filter(is_flat).count() as u64;
        Ok(Scores { mean, raw, flat })
    }

    fn scores_of(&self, teacher: &Teacher, each: &mut impl FnMut(u64, u64)) -> Result<Vec<f32>> {
        let queries = encode(teacher, &self.texts(Side::Query), Side::Query, each)?;
        let documents = encode(teacher, &self.texts(Side::Document), Side::Document, each)?;
        let score = |example: &Numbered| {
            let docs = self.docs[example.docs.clone()].iter();
            docs.map(|&doc| queries.dot(example.query, &documents, doc)).collect::<Vec<f32>>()
        };
        let scores: Vec<f32> = self.examples.par_iter().flat_map_iter(score).collect();
        match scores.iter().find(|score| !score.is_finite()) {
            Some(score) => {
                let reason = format!("expected finite scores of this teacher, found {score}");
                Err(Error::format(teacher.name.to_string(), reason))
            }
            None => Ok(scores),
        }
    }

    /// The distinct texts of one side, in the order of their numbers.
    fn texts(&self, side: Side) -> Vec<&str> {
        let all = match side {
            Side::Query => &self.queries.all,
            Side::Document => &self.documents.all,
        };
        let Some(texts) = &self.texts else {
            return all.iter().map(|text| &**text).collect();
        };
        let text = |id: &Arc<str>| match side {
            Side::Query => texts.query(id).unwrap_or_default(),
            Side::Document => texts.document(id).unwrap_or_default(),
        };
        all.iter().map(text).collect()
    }

    /// Writes the examples with their scores, in the order in which they were read.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, scores: &Scores, mut writer: ExampleWriter) -> Result<()> {
        for Numbered { query, docs, positives } in &self.examples {
            let text = |all: &Distinct, at: usize| all.all[at].to_string();
            let example = Example {
                query: text(&self.queries, *query),
                docs: self.docs[docs.clone()].iter().map(|&at| text(&self.documents, at)).collect(),
                positives: *positives,
                scores: Some(scores.mean[docs.clone()].to_vec()),
            };
            let raw: Vec<&[f32]> = scores.raw.iter().map(|raw| &raw[docs.clone()]).collect();
            writer.write(&example, &raw)?;
        }
        writer.finish()
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (queries, documents) = (self.queries.all.len(), self.documents.all.len());
        write!(f, "{} examples of {queries} queries and {documents} documents", self.len())
    }
}

/// The vectors of texts, in their order; texts of similar length are encoded together.
fn encode(
    teacher: &Teacher,
    texts: &[&str],
    side: Side,
    each: &mut impl FnMut(u64, u64),
) -> Result<Vectors> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&at| texts[at].len());
    let mut vectors: Option<Vectors> = None;
    for chunk in order.chunks(CHUNK) {
        let chunk: Vec<&str> = chunk.iter().map(|&at| texts[at]).collect();
        let more = teacher.encode(&chunk, side)?;
        match &mut vectors {
            Some(vectors) => vectors.append(more),
            None => vectors = Some(more),
        }
        each(chunk.len() as u64, chunk.iter().map(|text| text.len() as u64).sum());
    }
    Ok(vectors.unwrap_or(Vectors::Sparse(Vec::new())).scattered(&order))
}

/// (s − min) / (max − min); zeros if all are equal.
fn normalised(scores: &[f32]) -> impl Iterator<Item = f64> {
    let least = f64::from(scores.iter().copied().fold(f32::INFINITY, f32::min));
    let most = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let width = most - least;
    scores.iter().map(
        move |&score| {
            if width > 0.0 { (f64::from(score) - least) / width } else { 0.0 }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scores: &[f32], expected: &[f64]) {
        assert_eq!(normalised(scores).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn scores_are_brought_to_one_within_a_query() {
        check(&[2.0, 4.0, 3.0], &[0.0, 1.0, 0.5]);
        check(&[-1.0, 1.0], &[0.0, 1.0]);
        check(&[7.0, 7.0], &[0.0, 0.0]); // all equal
        check(&[7.0], &[0.0]);
        check(&[], &[]);
        check(&[f32::MIN, f32::MAX], &[0.0, 1.0]); // the difference is no f32
    }
}
