//! Teachers: models whose scores of a query's documents a student learns from.
//!
//! | name | teacher | score of a query and a document |
//! |---|---|---|
//! | `DIR` | what the directory is: one of the next three | |
//! | | dense, by Sentence Transformers' `modules.json` with a pooling | product or cosine, as its files say |
//! | | inference-free sparse, if it has a query table | product of table look-up and network |
//! | `siamese:DIR` | sparse, also for a directory with a query table | product of network and network |
//! | `mean:DIR`, `cls:DIR`, `max:DIR` | dense, a bare encoder under this pooling | cosine |
//! | `bm25` | BM25 over word pieces | its sum over the query's words |

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::{
    device::{Compute, Precision},
    error::{Error, Result},
    io::{self, hub::Need},
    model::{
        DenseDirectory, DenseEncoder, ModelDirectory, Overrides, Pooling, SparseEncoder, shipped,
    },
    sparse::{SparseVector, TermId},
    text::{Bm25, DocumentFrequencies, QueryEncoder, QueryTable, Tokenizer},
};

/// A teacher as a user names it.
#[derive(Clone, Debug, PartialEq)]
pub enum TeacherName {
    /// A directory, to be recognised.
    Directory(PathBuf),
    /// A bare encoder under a pooling.
    Pooled(Pooling, PathBuf),
    /// A sparse model, both sides through the network.
    Siamese(PathBuf),
    /// BM25.
    Bm25,
}

impl FromStr for TeacherName {
    type Err = Error;

    fn from_str(text: &str) -> Result<TeacherName> {
        let name = match text.split_once(':') {
            Some(("mean", folder)) => TeacherName::Pooled(Pooling::Mean, folder.into()),
            Some(("cls", folder)) => TeacherName::Pooled(Pooling::Cls, folder.into()),
            Some(("max", folder)) => TeacherName::Pooled(Pooling::Max, folder.into()),
            Some(("siamese", folder)) => TeacherName::Siamese(folder.into()),
            _ if text == "bm25" => TeacherName::Bm25,
            _ => TeacherName::Directory(text.into()),
        };
        Ok(name)
    }
}

impl fmt::Display for TeacherName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the name of a model on the hub is better than its path
        let said = |folder: &Path| {
            io::hub::name_of(folder).unwrap_or_else(|| folder.display().to_string())
        };
        match self {
            TeacherName::Directory(folder) => f.write_str(&said(folder)),
            TeacherName::Pooled(Pooling::Mean, folder) => write!(f, "mean:{}", said(folder)),
            TeacherName::Pooled(Pooling::Cls, folder) => write!(f, "cls:{}", said(folder)),
            TeacherName::Pooled(Pooling::Max, folder) => write!(f, "max:{}", said(folder)),
            TeacherName::Siamese(folder) => write!(f, "siamese:{}", said(folder)),
            TeacherName::Bm25 => f.write_str("bm25"),
        }
    }
}

impl TeacherName {
    /// The same teacher by its directory, if it was given by a name on the hub (`io::hub`).
    fn resolved(self) -> Result<TeacherName> {
        let at = |folder: PathBuf| io::hub::resolve(&folder, Need::Model);
        Ok(match self {
            TeacherName::Directory(folder) => TeacherName::Directory(at(folder)?),
            TeacherName::Pooled(pooling, folder) => TeacherName::Pooled(pooling, at(folder)?),
            TeacherName::Siamese(folder) => TeacherName::Siamese(at(folder)?),
            TeacherName::Bm25 => TeacherName::Bm25,
        })
    }
}

/// What every teacher may need beyond its name.
#[derive(Clone, Copy, Debug, Default)]
pub struct TeacherOptions<'a> {
    /// Tokens of a document that are read, in place of the teacher's own limit.
    pub max_tokens: Option<usize>,
    /// Whose word pieces BM25 counts; `None` for those of the default model.
    pub tokenizer: Option<&'a Path>,
}

/// A teacher, ready.
pub struct Teacher {
    /// As the user named it.
    pub name: TeacherName,
    tokenizer: Tokenizer,
    kind: Kind,
}

enum Kind {
    Dense { directory: DenseDirectory, encoder: Box<DenseEncoder> },
    Sparse { encoder: Box<SparseEncoder>, table: Option<Box<QueryEncoder>> },
    Bm25 { max_tokens: Option<usize>, counted: DocumentFrequencies, mean_length: f64 },
}

impl fmt::Display for Teacher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.kind())
    }
}

/// Teachers and weights for the metadata of what they scored, as JSON.
pub fn described(teachers: &[(Teacher, f64)]) -> String {
    let one = |(teacher, weight): &(Teacher, f64)| {
        let (name, sha256) = (teacher.name.to_string(), teacher.sha256());
        json!({"teacher": name, "kind": teacher.kind(), "sha256": sha256, "weight": weight})
    };
    Value::Array(teachers.iter().map(one).collect()).to_string()
}

/// The sentence encoder that a name means, over the word pieces of `tokenizer`.
///
/// # Errors
/// As [`Teacher::load`]; [`Error::Usage`] for a teacher that is not a sentence encoder;
/// [`Error::Mismatch`] for another vocabulary.
pub(in crate::train) fn dense(name: &str, tokenizer: &Tokenizer) -> Result<DenseEncoder> {
    let teacher = Teacher::load(name.parse()?, TeacherOptions::default())?;
    let Kind::Dense { directory, encoder } = teacher.kind else {
        let message = format!("pool.teacher.dense: expected a sentence encoder, found {name}");
        return Err(Error::Usage(message));
    };
    if !directory.query_prompt.is_empty() || !directory.document_prompt.is_empty() {
        let message =
            format!("pool.teacher.dense: expected an encoder without prompts, found {name}");
        return Err(Error::Usage(message));
    }
    let (expected, got) = (tokenizer.vocabulary(), teacher.tokenizer.vocabulary());
    if expected.fingerprint() != got.fingerprint() {
        return Err(Error::Mismatch {
            what: format!("vocabulary of {name}"),
            expected: expected.fingerprint().to_owned(),
            got: got.fingerprint().to_owned(),
            remedy: "a pool's teacher reads the tokens of the model that is trained".into(),
        });
    }
    Ok(*encoder)
}

/// Which side of a score a text is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A query.
    Query,
    /// A document.
    Document,
}

/// The vectors of some texts, in their order.
pub enum Vectors {
    /// `[H]` each.
    Dense(Vec<Vec<f32>>),
    /// Over terms.
    Sparse(Vec<SparseVector>),
}

impl Vectors {
    /// Σ of the products of query `at` and document `doc`, in f32.
    pub fn dot(&self, at: usize, documents: &Vectors, doc: usize) -> f32 {
        match (self, documents) {
            (Vectors::Dense(queries), Vectors::Dense(documents)) => {
                queries[at].iter().zip(&documents[doc]).map(|(a, b)| a * b).sum()
            }
            (Vectors::Sparse(queries), Vectors::Sparse(documents)) => {
                queries[at].dot(&documents[doc])
            }
            // one teacher makes both
            _ => f32::NAN,
        }
    }

    /// The vectors in other places: the one at `i` goes to `places[i]`, a permutation.
    pub fn scattered(self, places: &[usize]) -> Vectors {
        match self {
            Vectors::Dense(all) => Vectors::Dense(scattered(all, places)),
            Vectors::Sparse(all) => Vectors::Sparse(scattered(all, places)),
        }
    }

    /// Appends vectors of the same kind.
    pub fn append(&mut self, more: Vectors) {
        match (self, more) {
            (Vectors::Dense(all), Vectors::Dense(more)) => all.extend(more),
            (Vectors::Sparse(all), Vectors::Sparse(more)) => all.extend(more),
            (all, more) => *all = more,
        }
    }
}

fn scattered<T: Clone + Default>(all: Vec<T>, places: &[usize]) -> Vec<T> {
    let mut target = vec![T::default(); all.len()];
    all.into_iter().zip(places).for_each(|(item, &place)| target[place] = item);
    target
}

impl Teacher {
    /// Loads a teacher.
    ///
    /// # Errors
    /// As the loaders of its parts; [`Error::Format`] for a directory that is neither dense nor
    /// sparse; [`Error::Mismatch`] if tokenizer and network differ in vocabulary.
    pub fn load(name: TeacherName, options: TeacherOptions) -> Result<Teacher> {
        let name = name.resolved()?;
        match &name {
            TeacherName::Bm25 => {
                let default = Path::new(shipped::DEFAULT);
                let tokenizer = Tokenizer::load(options.tokenizer.unwrap_or(default))?;
                let counted = DocumentFrequencies::new(tokenizer.vocabulary());
                let max_tokens = options.max_tokens;
                let kind = Kind::Bm25 { max_tokens, counted, mean_length: 0.0 };
                Ok(Teacher { name, tokenizer, kind })
            }
            TeacherName::Pooled(pooling, folder) => {
                let directory = DenseDirectory::with_pooling(folder, *pooling)?;
                Teacher::dense(name, directory, options)
            }
            TeacherName::Directory(folder) => match DenseDirectory::recognise(folder)? {
                Some(directory) => Teacher::dense(name, directory, options),
                None => Teacher::sparse(name.clone(), folder, true, options),
            },
            TeacherName::Siamese(folder) => Teacher::sparse(name.clone(), folder, false, options),
        }
    }
    fn dense(
        name: TeacherName,
        directory: DenseDirectory,
        options: TeacherOptions,
    ) -> Result<Teacher> {
        let tokenizer = Tokenizer::load(&directory.encoder)?;
        let encoder = Box::new(DenseEncoder::load(&directory, options.max_tokens)?);
        check_vocabulary(&name, &tokenizer, encoder.vocab_size)?;
        Ok(Teacher { name, tokenizer, kind: Kind::Dense { directory, encoder } })
    }

    fn sparse(
        name: TeacherName,
        folder: &Path,
        with_table: bool,
        options: TeacherOptions,
    ) -> Result<Teacher> {
        let directory = ModelDirectory::open(folder)?;
        if DenseDirectory::is_bare(&directory.encoder)? {
            let reason = "expected a dense directory of Sentence Transformers (modules.json) or a model \
                          with a masked-language head; a bare encoder is said as mean:DIR or cls:DIR";
            return Err(Error::format(folder, reason));
        }
        let tokenizer = Tokenizer::load(&directory.encoder)?;
        // a Siamese teacher reads queries and documents with one encoder
        let lexical = (!with_table || directory.query_table.is_none()).then_some(0.0);
        let overrides =
            Overrides { max_tokens: options.max_tokens, lexical, ..Overrides::default() };
        let encoder = SparseEncoder::load(&directory, overrides, Compute::Cpu, Precision::F32)?;
        check_vocabulary(&name, &tokenizer, encoder.vocab_size)?;
        let table = match directory.query_table.as_ref().filter(|_| with_table) {
            Some(file) => {
                let table = QueryTable::read(file, tokenizer.vocabulary())?;
                let tokenizer = Tokenizer::load(&directory.encoder)?;
                Some(Box::new(QueryEncoder::new(tokenizer, &table)?))
            }
            None => None,
        };
        Ok(Teacher { name, tokenizer, kind: Kind::Sparse { encoder: Box::new(encoder), table } })
    }

    /// A short description.
    pub fn kind(&self) -> &'static str {
        match &self.kind {
            Kind::Dense { .. } => "dense",
            Kind::Sparse { table: Some(_), .. } => "sparse, inference-free",
            Kind::Sparse { table: None, .. } => "sparse, Siamese",
            Kind::Bm25 { .. } => "BM25",
        }
    }

    /// SHA-256 of its weights; `None` for BM25.
    pub fn sha256(&self) -> Option<&str> {
        match &self.kind {
            Kind::Dense { encoder, .. } => Some(&encoder.sha256),
            Kind::Sparse { encoder, .. } => Some(&encoder.sha256),
            Kind::Bm25 { .. } => None,
        }
    }

    /// Counts the statistics of a corpus that BM25 needs; other teachers need none.
    ///
    /// # Errors
    /// As [`Tokenizer::pieces`].
    pub fn learn<'a>(&mut self, corpus: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let Kind::Bm25 { max_tokens, counted, mean_length } = &mut self.kind else {
            return Ok(());
        };
        let mut total = 0;
        for text in corpus {
            let (terms, length) = count(&self.tokenizer, text, *max_tokens)?;
            counted.add(terms.into_keys());
            total += u64::from(length);
        }
        *mean_length = total as f64 / counted.documents().max(1) as f64;
        Ok(())
    }

    /// The vectors of some texts, in their order, on all threads; a text's vector does not depend on
    /// the texts next to it. Documents are cut to what the teacher reads.
    ///
    /// # Errors
    /// As [`Tokenizer::tokens`] and [`SparseEncoder::encode`].
    pub fn encode(&self, texts: &[&str], side: Side) -> Result<Vectors> {
        let tokenizer = &self.tokenizer;
        match &self.kind {
            Kind::Dense { directory, encoder } => {
                let prompt = match side {
                    Side::Query => &directory.query_prompt,
                    Side::Document => &directory.document_prompt,
                };
                let tokens = |text: &&str| {
                    Ok(tokenizer.tokens(&format!("{prompt}{text}"), encoder.max_tokens)?.ids)
                };
                let ids = texts.par_iter().map(tokens).collect::<Result<Vec<_>>>()?;
                let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
                Ok(Vectors::Dense(encoder.encode(&ids)))
            }
            Kind::Sparse { table: Some(table), .. } if side == Side::Query => {
                let vectors = texts.par_iter().map(|text| table.encode(text));
                Ok(Vectors::Sparse(vectors.collect::<Result<_>>()?))
            }
            Kind::Sparse { encoder, .. } => {
                let tokens = |text: &&str| tokenizer.tokens(text, encoder.max_tokens);
                let tokens = texts.par_iter().map(tokens).collect::<Result<Vec<_>>>()?;
                // as l0-encode does: without word pieces there is no input for the network
                let ids = tokens.iter().map(|tokens| match tokens.pieces {
                    0 => &[][..],
                    _ => &tokens.ids,
                });
                Ok(Vectors::Sparse(encoder.encode(&ids.collect::<Vec<_>>())?))
            }
            Kind::Bm25 { max_tokens, counted, mean_length } => {
                let vector = |text: &&str| {
                    let (terms, length) = count(tokenizer, text, *max_tokens)?;
                    SparseVector::new(terms.into_iter().map(|(term, tf)| match side {
                        Side::Query => (TermId(term), tf as f32),
                        Side::Document => {
                            let idf = counted.weight(TermId(term));
                            (TermId(term), Bm25::USUAL.impact(idf, tf, length, *mean_length))
                        }
                    }))
                };
                Ok(Vectors::Sparse(texts.par_iter().map(vector).collect::<Result<_>>()?))
            }
        }
    }
}

/// Terms with their counts, and how many word pieces were read.
fn count(
    tokenizer: &Tokenizer,
    text: &str,
    max_tokens: Option<usize>,
) -> Result<(BTreeMap<u32, u32>, u32)> {
    let mut pieces = tokenizer.pieces(text)?;
    if let Some(max_tokens) = max_tokens {
        pieces.truncate(max_tokens.saturating_sub(tokenizer.special_around()));
    }
    let length = pieces.len() as u32;
    let mut terms = BTreeMap::new();
    for piece in pieces.into_iter().filter(|&piece| !tokenizer.is_special(TermId(piece))) {
        *terms.entry(piece).or_insert(0) += 1;
    }
    Ok((terms, length))
}

fn check_vocabulary(name: &TeacherName, tokenizer: &Tokenizer, network: usize) -> Result<()> {
    let terms = tokenizer.vocabulary().len();
    if terms <= network {
        return Ok(());
    }
    Err(Error::Mismatch {
        what: format!("vocabulary of {name}"),
        expected: format!("at most {network} tokens, as the network has"),
        got: format!("{terms} in the tokenizer"),
        remedy: "put the tokenizer.json that the model was trained with next to it".into(),
    })
}
