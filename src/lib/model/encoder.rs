//! The document encoder, on the processor or a device: token ids in, sparse vectors out.

use candle_core::{DType, Device};
use rayon::prelude::*;

use super::{
    Activation, Batch, Checkpoint, Config, Cutoff, ModelDirectory,
    cpu::CpuEncoder,
    device::{DeviceEncoder, Pooled},
};
use crate::{
    device::{Compute, Precision},
    error::{Error, Result},
    sparse::{Prune, SparseVector, TermId},
    text::{Lexical, LexicalPart, QueryTable, Tokenizer},
};

/// A model ready to encode documents.
pub struct SparseEncoder {
    engine: Engine,
    dtype: DType,
    cutoff: Option<Cutoff>,
    lexical: Option<LexicalPart>,
    prune: Prune,
    /// The effective activation.
    pub activation: Activation,
    /// The longest document in tokens.
    pub max_tokens: usize,
    /// Rows of the network's vocabulary.
    pub vocab_size: usize,
    /// Terms that have a token; later rows are padding, and give no weights.
    pub terms: usize,
    /// SHA-256 of the file of weights.
    pub sha256: String,
}

/// Where the arithmetic is done.
enum Engine {
    Slices(Box<CpuEncoder>),
    Device(Box<DeviceEncoder>),
}

/// Documents that are being encoded.
pub struct Pending {
    state: State,
    /// Of each document, if the model has a lexical part.
    lexical: Vec<Vec<(TermId, f32)>>,
}

impl Pending {
    /// Whether the result is there already.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }
}

enum State {
    Done(Vec<SparseVector>),
    /// Which documents have tokens, of how many, and their logits.
    Sent(Vec<usize>, usize, Option<Pooled>),
}

/// Settings that override a model's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The activation.
    pub activation: Option<Activation>,
    /// The longest document in tokens.
    pub max_tokens: Option<usize>,
    /// The weight of the lexical part; 0 for none.
    pub lexical: Option<f32>,
    /// What is kept of a document's weights.
    pub prune: Option<Prune>,
}

impl SparseEncoder {
    /// Loads a model: on slices for the processor, on tensors for a device.
    ///
    /// # Errors
    /// As [`Checkpoint::load`]; [`Error::Usage`] for a length the model has no positions for, for a
    /// device that does not exist and for f16 on the processor.
    pub fn load(
        directory: &ModelDirectory,
        overrides: Overrides,
        compute: Compute,
        precision: Precision,
    ) -> Result<SparseEncoder> {
        let dtype = compute.dtype(precision)?;
        match compute {
            Compute::Cpu => SparseEncoder::with(directory, overrides, dtype, |checkpoint| {
                let Checkpoint { config, weights, .. } = checkpoint;
                let new = if dtype == DType::BF16 { CpuEncoder::in_bf16 } else { CpuEncoder::new };
                Ok(Engine::Slices(Box::new(new(config, weights))))
            }),
            Compute::Cuda(_) => {
                SparseEncoder::on_device(directory, overrides, &compute.open()?, dtype)
            }
        }
    }

    /// Loads a model on tensors, on any device.
    ///
    /// # Errors
    /// As [`SparseEncoder::load`].
    pub fn on_device(
        directory: &ModelDirectory,
        overrides: Overrides,
        device: &Device,
        dtype: DType,
    ) -> Result<SparseEncoder> {
        SparseEncoder::with(directory, overrides, dtype, |checkpoint| {
            Ok(Engine::Device(Box::new(DeviceEncoder::new(checkpoint, device, dtype)?)))
        })
    }

    fn with(
        directory: &ModelDirectory,
        overrides: Overrides,
        dtype: DType,
        engine: impl FnOnce(Checkpoint) -> Result<Engine>,
    ) -> Result<SparseEncoder> {
        let mut checkpoint = Checkpoint::load(&directory.encoder)?;
        let scale = checkpoint.weights.lexical_scale.take();
        let Config { max_positions, vocab_size, .. } = checkpoint.config;
        let longest = directory.max_tokens.map_or(max_positions, |own| own.min(max_positions));
        let max_tokens = overrides.max_tokens.unwrap_or(longest);
        if max_tokens > max_positions {
            return Err(Error::Usage(format!(
                "longest text: expected at most {max_positions} tokens, the positions of the model, \
                 found {max_tokens}"
            )));
        }
        let activation = overrides.activation.or(directory.activation);
        Ok(SparseEncoder {
            dtype,
            cutoff: directory.cutoff.clone(),
            lexical: lexical(directory, overrides.lexical, scale)?,
            prune: overrides.prune.unwrap_or(directory.prune),
            activation: activation.unwrap_or(Activation::SPLADE),
            max_tokens,
            vocab_size,
            terms: vocab_size,
            sha256: checkpoint.sha256.clone(),
            engine: engine(checkpoint)?,
        })
    }

    /// All that decides a weight except tensors and lengths: the activation, the threshold if one was
    /// trained, the type of the numbers if it is not f32.
    pub fn convention(&self) -> String {
        let mut text = self.activation.to_string();
        if let Some(part) = &self.lexical {
            text += &format!(",lexical={}", part.digest());
        }
        if let Some(cutoff) = &self.cutoff {
            text += &format!(",threshold={}", cutoff.digest());
        }
        if self.prune != Prune::None {
            text += &format!(",prune={}", self.prune);
        }
        if self.dtype != DType::F32 {
            text += &format!(",{}", self.dtype.as_str());
        }
        text
    }

    /// The weights of each document, in order: `documents` are token ids, special ones included,
    /// each at most `max_tokens` long. One without tokens has no weights.
    ///
    /// The largest logit over the tokens, then the activation (`docs/method.md`, "Document weights").
    /// Special tokens take part in the maximum, as in the released code. Then comes the lexical part, if
    /// the model has one, and weights that do not pass its threshold, if it has one, are left out; last its
    /// pruning.
    ///
    /// # Errors
    /// [`Error::Weight`] if the model yields a weight that is not finite; [`Error::Usage`] for ids that
    /// are not tokens of the model and documents that are too long; [`Error::Compute`].
    pub fn encode(&self, documents: &[&[u32]]) -> Result<Vec<SparseVector>> {
        self.finish(self.start(documents)?)
    }

    /// As [`SparseEncoder::encode`], without waiting for a device: it can compute one batch while the
    /// last one is written. A processor computes at once.
    ///
    /// # Errors
    /// As [`SparseEncoder::encode`].
    pub fn start(&self, documents: &[&[u32]]) -> Result<Pending> {
        self.check(documents)?;
        let part = self.lexical.as_ref();
        let lexical = part.map(|part| documents.par_iter().map(|ids| part.of(ids)).collect());
        let lexical = lexical.unwrap_or_default();
        let encoder = match &self.engine {
            Engine::Slices(encoder) => {
                let state = State::Done(encoder.encode(documents, self.activation)?);
                return Ok(Pending { state, lexical });
            }
            Engine::Device(encoder) => encoder,
        };
        let mut with_tokens: Vec<usize> = (0..documents.len()).collect();
        with_tokens.retain(|&at| !documents[at].is_empty());
        let texts: Vec<&[u32]> = with_tokens.iter().map(|&at| documents[at]).collect();
        let pooled = (!texts.is_empty()).then(|| encoder.start(Batch::new(&texts, 0)));
        let state = State::Sent(with_tokens, documents.len(), pooled.transpose()?);
        Ok(Pending { state, lexical })
    }

    /// Checks what the encoders assume about ids.
    fn check(&self, documents: &[&[u32]]) -> Result<()> {
        let SparseEncoder { max_tokens, vocab_size, .. } = *self;
        if let Some(long) = documents.iter().find(|ids| ids.len() > max_tokens) {
            let given = long.len();
            return Err(Error::Usage(format!(
                "expected at most {max_tokens} tokens, found {given}"
            )));
        }
        match documents.iter().copied().flatten().find(|&&id| id as usize >= vocab_size) {
            Some(id) => {
                Err(Error::Usage(format!("expected token ids below {vocab_size}, found {id}")))
            }
            None => Ok(()),
        }
    }

    /// The weights of documents that were started.
    ///
    /// # Errors
    /// As [`SparseEncoder::encode`]; [`Error::Internal`] if another encoder started them.
    pub fn finish(&self, pending: Pending) -> Result<Vec<SparseVector>> {
        let vectors = match (pending.state, &self.engine) {
            (State::Done(vectors), _) => vectors,
            (State::Sent(with_tokens, count, pooled), Engine::Device(encoder)) => {
                let mut vectors = vec![SparseVector::default(); count];
                if let Some(pooled) = pooled {
                    let found = encoder.finish(pooled, |logits, terms| self.vectors(logits, terms));
                    for (at, vector) in with_tokens.into_iter().zip(found??) {
                        vectors[at] = vector;
                    }
                }
                vectors
            }
            (State::Sent(..), Engine::Slices(_)) => {
                let reason = "expected documents that this encoder began, found another's";
                return Err(Error::Internal(reason.into()));
            }
        };
        let pairs = vectors.iter().zip(&pending.lexical);
        let vectors = match &self.lexical {
            Some(_) => {
                pairs.map(|(vector, own)| LexicalPart::add(vector, own)).collect::<Result<_>>()?
            }
            None => vectors,
        };
        let vectors = match &self.cutoff {
            Some(cutoff) => {
                vectors.iter().map(|vector| cutoff.apply(vector)).collect::<Result<_>>()?
            }
            None => vectors,
        };
        let vectors = match self.prune {
            Prune::None => vectors,
            prune => vectors.par_iter().map(|vector| prune.apply(vector)).collect(),
        };
        if self.terms >= self.vocab_size {
            return Ok(vectors);
        }
        let named = |vector: &SparseVector| {
            SparseVector::new(vector.iter().filter(|(term, _)| term.index() < self.terms))
        };
        vectors.iter().map(named).collect()
    }

    /// From `[B, V]` pooled logits, row by row.
    fn vectors(&self, logits: &[f32], terms: usize) -> Result<Vec<SparseVector>> {
        let row = |row: &[f32]| self.activation.vector((0..).map(TermId).zip(row.iter().copied()));
        logits.par_chunks_exact(terms).map(row).collect()
    }
}

/// The lexical part that the directory has or that is asked for, with the terms it counts.
fn lexical(
    directory: &ModelDirectory,
    weight: Option<f32>,
    scale: Option<Vec<f32>>,
) -> Result<Option<LexicalPart>> {
    let Some(own) = Lexical::or_of(directory.lexical, weight) else { return Ok(None) };
    let tokenizer = Tokenizer::load(&directory.encoder)?;
    let read = |file| QueryTable::read(file, tokenizer.vocabulary());
    let table = directory.query_table.as_deref().map(read).transpose()?;
    LexicalPart::new(own, &tokenizer, table.as_ref())?.scaled(scale).map(Some)
}
