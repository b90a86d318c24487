//! A whole run of the encoder: which model, from which records, into which output.

use std::{path::Path, sync::mpsc::channel};

use super::{
    EncodeConfig, Shard, Source, Summary, Text,
    bm25::{self, Bm25},
    document, finish,
    resume::{InputHash, Journal, Settings, skip_finished},
};
use crate::{
    device::{Compute, Precision},
    error::{Error, Result},
    io::{Input, Output, Stop},
    model::{ModelDirectory, Overrides, SparseEncoder},
    records::{Records, TextQuery, rejects::Rejects},
    sparse::Prune,
    text::{DocumentFrequencies, QueryEncoder, QueryTable, Tokenizer, Vocabulary},
    vectors::{Form, Row, VectorMeta, Writer},
};

/// What texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Documents, to be indexed.
    Document,
    /// Queries.
    Query,
}

/// What turns a text into a vector.
pub enum Model {
    /// The network: documents, and queries of a Siamese model.
    Network {
        /// Its tokenizer.
        tokenizer: Tokenizer,
        /// The network.
        encoder: Box<SparseEncoder>,
        /// Its name.
        name: String,
    },
    /// The query table of an inference-free model.
    Table {
        /// Tokenizer and table.
        encoder: QueryEncoder,
        /// The model's name.
        name: String,
    },
    /// BM25 over word pieces.
    Bm25 {
        /// Whose word pieces.
        tokenizer: Tokenizer,
        /// The constants.
        bm25: Bm25,
        /// Where documents are cut, if anywhere.
        max_tokens: Option<usize>,
    },
}

impl Model {
    /// A model directory, for documents or for queries; an inference-free model's queries load no
    /// network.
    ///
    /// # Errors
    /// As the loaders of its parts; [`Error::Mismatch`] if tokenizer and network differ in vocabulary.
    pub fn load(
        folder: &Path,
        role: Role,
        overrides: Overrides,
        compute: Compute,
        precision: Precision,
    ) -> Result<Model> {
        let directory = ModelDirectory::open(folder)?;
        let tokenizer = Tokenizer::load(&directory.encoder)?;
        let name = directory.name();
        if let (Role::Query, Some(file)) = (role, &directory.query_table) {
            let table = QueryTable::read(file, tokenizer.vocabulary())?;
            return Ok(Model::Table { encoder: QueryEncoder::new(tokenizer, &table)?, name });
        }
        let overrides = match role {
            Role::Query => Overrides { lexical: Some(0.0), ..overrides }, // it is of documents
            Role::Document => overrides,
        };
        let encoder = network(&directory, tokenizer.vocabulary(), overrides, compute, precision)?;
        Ok(Model::Network { tokenizer, encoder: Box::new(encoder), name })
    }

    fn tokenizer(&self) -> &Tokenizer {
        match self {
            Model::Network { tokenizer, .. } | Model::Bm25 { tokenizer, .. } => tokenizer,
            Model::Table { encoder, .. } => encoder.tokenizer(),
        }
    }

    /// What the rows will say of where they come from.
    pub fn meta(&self, role: Role, config: &EncodeConfig) -> VectorMeta {
        let origin = match self {
            Model::Network { encoder, name, .. } => Origin::of_network(name, encoder),
            Model::Table { encoder, name } => Origin {
                model: name.clone(),
                model_sha256: Some(encoder.fingerprint()),
                activation: "table".to_owned(),
                max_tokens: None,
            },
            Model::Bm25 { bm25: Bm25 { k1, b }, max_tokens, .. } => Origin {
                model: "bm25".to_owned(),
                model_sha256: None,
                activation: format!("bm25:k1={k1},b={b}"),
                max_tokens: *max_tokens,
            },
        };
        origin.meta(role, self.tokenizer().vocabulary(), config.prune)
    }
}

/// The network of a model directory, for the terms of a vocabulary.
///
/// # Errors
/// As [`SparseEncoder::load`]; [`Error::Mismatch`] if the vocabulary is larger than the network's.
pub(crate) fn network(
    directory: &ModelDirectory,
    vocabulary: &Vocabulary,
    overrides: Overrides,
    compute: Compute,
    precision: Precision,
) -> Result<SparseEncoder> {
    let mut encoder = SparseEncoder::load(directory, overrides, compute, precision)?;
    if vocabulary.len() > encoder.vocab_size {
        return Err(Error::Mismatch {
            what: format!("vocabulary of {}", directory.path.display()),
            expected: format!("at most {} tokens, as the network has", encoder.vocab_size),
            got: format!("{} in the tokenizer", vocabulary.len()),
            remedy: "put the tokenizer.json that the model was trained with next to it".into(),
        });
    }
    encoder.terms = vocabulary.len();
    Ok(encoder)
}

/// What made vectors.
pub(crate) struct Origin {
    model: String,
    model_sha256: Option<String>,
    activation: String,
    max_tokens: Option<usize>,
}

impl Origin {
    /// The network of the model `name`.
    pub fn of_network(name: &str, encoder: &SparseEncoder) -> Origin {
        Origin {
            model: name.to_owned(),
            model_sha256: Some(encoder.sha256.clone()),
            activation: encoder.convention(),
            max_tokens: Some(encoder.max_tokens),
        }
    }

    /// What rows say of where they come from.
    pub fn meta(self, role: Role, vocabulary: &Vocabulary, prune: Prune) -> VectorMeta {
        let Origin { model, model_sha256, activation, max_tokens } = self;
        VectorMeta {
            role: match role {
                Role::Document => "document".to_owned(),
                Role::Query => "query".to_owned(),
            },
            model,
            model_sha256,
            vocabulary_sha256: vocabulary.fingerprint().to_owned(),
            vocab_size: vocabulary.len(),
            activation,
            max_tokens,
            prune: prune.to_string(),
            shard: None,
        }
    }
}

/// A run of the encoder.
pub struct Job<'a> {
    /// What turns texts into vectors.
    pub model: &'a Model,
    /// What the texts are.
    pub role: Role,
    /// How rows are made.
    pub config: EncodeConfig,
    /// Which rows.
    pub shard: Shard,
}

impl Job<'_> {
    /// What the rows will say of where they come from.
    fn meta(&self) -> VectorMeta {
        let shard = (self.shard != Shard::WHOLE).then(|| self.shard.to_string());
        VectorMeta { shard, ..self.model.meta(self.role, &self.config) }
    }

    /// Document frequencies before the first document; none for queries.
    fn empty_counts(&self) -> Option<DocumentFrequencies> {
        let vocabulary = self.model.tokenizer().vocabulary();
        (self.role == Role::Document).then(|| DocumentFrequencies::new(vocabulary))
    }

    /// Encodes the records of `inputs` into `output`; `each` is called after every row.
    ///
    /// # Errors
    /// The first error of input, model or output; no output is left then.
    pub fn run(
        &self,
        inputs: Vec<Input>,
        rejects: &mut Rejects,
        output: Output,
        form: Form,
        mut each: impl FnMut(),
    ) -> Result<Summary> {
        let meta = self.meta();
        let mut writer = Writer::new(output, form, &meta, self.config.keep_text)?;
        let mut counted = self.empty_counts();
        let stops: Vec<Stop> = inputs.iter().map(Input::stop).collect();
        let write = |row: Row, terms: &[u32]| {
            if let Some(counted) = &mut counted {
                counted.add(terms.iter().copied());
            }
            writer.write(&row)?;
            each();
            Ok(())
        };
        let summary = self.rows(texts(self.role, inputs, rejects), write, &stops)?;
        rejects.check(summary.rows)?;
        rejects.flush()?;
        finish(writer, counted.as_ref())?;
        Ok(summary)
    }

    /// As [`Job::run`], keeping finished parts next to `target` and going on from those that are there.
    ///
    /// # Errors
    /// As [`Job::run`]; the finished parts stay. [`Error::Mismatch`] if they belong to other work.
    pub fn resume(
        &self,
        inputs: Vec<Input>,
        rejects: &mut Rejects,
        target: &Path,
        form: Form,
        mut each: impl FnMut(),
    ) -> Result<(Summary, u64)> {
        if matches!(self.model, Model::Bm25 { .. }) {
            let message = "resume: expected a network or a query table, found BM25, which needs the \
                           whole corpus each time";
            return Err(Error::Usage(message.into()));
        }
        if target == Path::new("-") {
            let message = "resume: expected an output file, to keep finished parts next to it, found \
                           standard output";
            return Err(Error::Usage(message.into()));
        }
        if target.exists() && !target.is_file() {
            let target = target.display();
            let message = format!(
                "resume: expected an output file, to keep finished parts next to it, found {target}"
            );
            return Err(Error::Usage(message));
        }
        let meta = self.meta();
        let keep_text = self.config.keep_text;
        let tokenizer = self.model.tokenizer().to_json();
        let tokenizer = InputHash::of_bytes(tokenizer).hex();
        let settings = Settings::new(&meta, tokenizer, self.shard, keep_text);
        // fails before the long work if it cannot be written; leaves nothing
        Output::check(target)?;
        let mut journal = Journal::open(target, settings, meta, keep_text, self.empty_counts())?;
        let finished = journal.rows();
        let stops: Vec<Stop> = inputs.iter().map(Input::stop).collect();
        let mut texts = in_shard(texts(self.role, inputs, rejects), self.shard);
        let mut hash = skip_finished(&journal, &mut texts)?;
        let mut last = hash.clone();
        let (sender, hashes) = channel();
        let hashed = texts.inspect(move |text| {
            if let Ok(text) = text {
                hash.add(text);
                // without a receiver there was a failure, which the other side reports
                let _ = sender.send(hash.clone());
            }
        });
        let rest = Job { shard: Shard::WHOLE, ..*self };
        let write = |row: Row, terms: &[u32]| {
            // a text is hashed before its row is made
            last = hashes.recv().unwrap_or_default();
            journal.push(&row, terms, || last.hex())?;
            each();
            Ok(())
        };
        let summary = rest.rows(hashed, write, &stops)?;
        rejects.check(summary.rows + finished)?;
        rejects.flush()?;
        journal.finish(target, form, last.hex())?;
        Ok((summary, finished))
    }

    /// `each` gets the rows, and of documents the distinct word pieces; `stops` end the wait for `texts`.
    fn rows(
        &self,
        texts: impl Source,
        mut each: impl FnMut(Row, &[u32]) -> Result<()>,
        stops: &[Stop],
    ) -> Result<Summary> {
        let Job { model, role, ref config, shard } = *self;
        match (model, role) {
            (Model::Bm25 { tokenizer, bm25, max_tokens }, Role::Document) => {
                bm25::encode(texts, tokenizer, *bm25, *max_tokens, shard, config, each)
            }
            (Model::Bm25 { tokenizer, max_tokens, .. }, Role::Query) => {
                let texts = in_shard(texts, shard);
                bm25::encode_queries(texts, tokenizer, *max_tokens, config, |row| each(row, &[]))
            }
            (Model::Network { tokenizer, encoder, .. }, _) => {
                let give_up = || stops.iter().for_each(Stop::stop);
                let texts = in_shard(texts, shard);
                document::encode(texts, tokenizer, encoder, config, each, give_up)
            }
            (Model::Table { encoder, .. }, _) => {
                let texts = in_shard(texts, shard);
                document::encode_queries(texts, encoder, config, |row| each(row, &[]))
            }
        }
    }
}

/// The texts of one part; rows are counted after refused records were left out.
fn in_shard(texts: impl Source, shard: Shard) -> impl Source {
    let mut number = 0;
    texts.filter(move |text| {
        let here = text.is_err() || shard.has(number);
        number += u64::from(text.is_ok());
        here
    })
}

/// The records of some inputs as texts; a query without an id is called by the number of its line.
pub fn texts<'a>(
    role: Role,
    inputs: Vec<Input>,
    rejects: &'a mut Rejects,
) -> Box<dyn Source<Item = Result<Text>> + 'a> {
    match role {
        Role::Document => {
            Box::new(Records::documents(inputs, rejects).map(|document| Ok(document?.into())))
        }
        Role::Query => Box::new(Records::text_queries(inputs, rejects).map(|query| {
            let TextQuery { id, text } = query?;
            Ok(Text { id, title: String::new(), text })
        })),
    }
}
