//! Texts through the network, in batches under a budget of tokens.

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread,
};

use rayon::prelude::*;

use super::distinct;
use crate::{
    error::{Error, Result},
    model::{Pending, SparseEncoder},
    records::Document,
    sparse::{Prune, SparseVector},
    text::{QueryEncoder, Tokenizer, Tokens},
    vectors::Row,
};

/// Most documents in a batch: a batch holds one number for each of its documents and each term of
/// the vocabulary, 31 MB for 30,522 terms, however short the documents are.
const BATCH_DOCS: usize = 256;
/// Texts that are read and tokenised at a time.
const READ_DOCS: usize = 64;

/// How texts become rows.
#[derive(Clone, Copy, Debug)]
pub struct EncodeConfig {
    /// Tokens that are encoded at a time, in at most 256 documents; a longer document is a batch of
    /// its own.
    pub batch_tokens: usize,
    /// The rule for each vector.
    pub prune: Prune,
    /// Whether rows carry title and text.
    pub keep_text: bool,
}

/// One text with its id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// The external id.
    pub id: String,
    /// The title, empty if there is none.
    pub title: String,
    /// The text.
    pub text: String,
}

impl Text {
    /// What is encoded: title, one space, text; trimmed.
    pub fn content(&self) -> String {
        format!("{} {}", self.title, self.text).trim().to_owned()
    }

    /// A row without a vector yet.
    pub(super) fn into_row(self, keep_text: bool) -> Row {
        let (title, text) = match keep_text {
            true => (Some(self.title), Some(self.text)),
            false => (None, None),
        };
        Row { id: self.id, title, text, ..Row::default() }
    }
}

impl From<Document> for Text {
    fn from(document: Document) -> Text {
        let Document { id, title, text } = document;
        Text { id, title, text }
    }
}

/// Texts in the order of the input.
pub trait Source: Iterator<Item = Result<Text>> + Send {}

impl<T: Iterator<Item = Result<Text>> + Send> Source for T {}

/// What happened to a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows written.
    pub rows: u64,
    /// Texts longer than the encoder reads.
    pub truncated: u64,
    /// Texts without a single token; their vectors are empty.
    pub without_text: u64,
    /// Rows without a single weight, the former included.
    pub empty: u64,
    /// Weights in all rows.
    pub nnz: u64,
}

impl Summary {
    /// Counts a row.
    pub fn add(&mut self, row: &Row, has_text: bool) {
        self.rows += 1;
        self.truncated += u64::from(row.truncated == Some(true));
        self.without_text += u64::from(!has_text);
        self.empty += u64::from(row.vector.is_empty());
        self.nnz += row.vector.nnz() as u64;
    }

    /// Mean weights per row, 0 without rows.
    pub fn mean_nnz(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.nnz as f64 / self.rows as f64 }
    }
}

/// A text that was tokenised.
struct Read {
    row: Row,
    tokens: Tokens,
}

/// Encodes texts and hands each row to `each`, in the order of the input, with the distinct word pieces
/// of what was read of the text. When the work has failed it calls `give_up`, which must end the wait of
/// `texts` for more.
///
/// One thread reads and tokenises what comes next, one computes, and the caller's writes; a device
/// begins a batch before the last one has come back from it.
///
/// # Errors
/// The first error of the input, the model or `each`.
pub fn encode(
    texts: impl Source,
    tokenizer: &Tokenizer,
    encoder: &SparseEncoder,
    config: &EncodeConfig,
    mut each: impl FnMut(Row, &[u32]) -> Result<()>,
    give_up: impl Fn(),
) -> Result<Summary> {
    let mut summary = Summary::default();
    thread::scope(|scope| {
        // a closed channel means that the other side failed and tells so itself
        let (sender, batches) = sync_channel(1);
        scope.spawn(move || {
            let (max_tokens, read) = (encoder.max_tokens, VecDeque::new());
            for batch in (Batches { texts, tokenizer, max_tokens, config, read }) {
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        });
        let (sender, encoded) = sync_channel(1);
        scope.spawn(move || compute(&batches, &sender, encoder, config));
        let mut write = |batch: Result<Vec<(Read, SparseVector)>>| -> Result<()> {
            for (Read { mut row, tokens }, vector) in batch? {
                row.vector = vector;
                summary.add(&row, tokens.pieces > 0);
                each(row, &distinct(&tokens.ids, tokenizer))?;
            }
            Ok(())
        };
        // the thread that reads may wait for a pipe that says no more
        encoded.into_iter().try_for_each(&mut write).inspect_err(|_| give_up())?;
        Ok(summary)
    })
}

/// A batch that was begun.
type Started = Result<(Vec<Read>, Pending)>;

/// Encodes batches one after the other. A device begins one before the last is waited for; what nothing
/// follows, because a slow pipe has not given it yet, is finished and sent first.
fn compute(
    batches: &Receiver<Result<Vec<Read>>>,
    sender: &SyncSender<Result<Vec<(Read, SparseVector)>>>,
    encoder: &SparseEncoder,
    config: &EncodeConfig,
) {
    let finish = |started: Started| {
        let (batch, pending) = started?;
        let vectors = encoder.finish(pending).map_err(|error| blamed(error, &batch, encoder))?;
        let pruned = vectors.into_par_iter().map(|vector| config.prune.apply(&vector));
        Ok(batch.into_par_iter().zip(pruned).collect::<Vec<_>>())
    };
    let begin = |batch: Result<Vec<Read>>| {
        let batch = batch?;
        let ids: Vec<&[u32]> = batch.iter().map(|read| encodable(&read.tokens)).collect();
        let pending = encoder.start(&ids).map_err(|error| blamed(error, &batch, encoder))?;
        Ok((batch, pending))
    };
    let mut running: Option<Started> = None;
    loop {
        let next = match batches.try_recv() {
            Err(TryRecvError::Empty) if running.is_none() => batches.recv().ok(),
            next => next.ok(),
        };
        if running.is_none() && next.is_none() {
            return;
        }
        let next = next.map(begin);
        // a processor has computed already
        let is_done = |started: &Started| started.as_ref().is_ok_and(|(_, begun)| begun.is_done());
        let (ready, later) = match next {
            Some(next) if is_done(&next) => (Some(next), None),
            next => (None, next),
        };
        for started in running.take().into_iter().chain(ready) {
            let finished = finish(started);
            let failed = finished.is_err();
            if sender.send(finished).is_err() || failed {
                return;
            }
        }
        running = later;
    }
}

/// The error of a batch with the document that it is of, if it is of one.
fn blamed(error: Error, batch: &[Read], encoder: &SparseEncoder) -> Error {
    let fails = |read: &&Read| encoder.encode(&[encodable(&read.tokens)]).is_err();
    match batch.iter().find(fails) {
        Some(read) => Error::format(format!("document {}", read.row.id), error.to_string()),
        None => error,
    }
}

/// A text without word pieces does not go through the network, which would find words for it.
pub(crate) fn encodable(tokens: &Tokens) -> &[u32] {
    if tokens.pieces == 0 { &[] } else { &tokens.ids }
}

/// Texts in batches under a budget of tokens.
struct Batches<'a, S> {
    texts: S,
    tokenizer: &'a Tokenizer,
    max_tokens: usize,
    config: &'a EncodeConfig,
    /// Read and not in a batch yet.
    read: VecDeque<Result<Read>>,
}

impl<S: Source> Iterator for Batches<'_, S> {
    type Item = Result<Vec<Read>>;

    /// The next batch, or the error in its place.
    fn next(&mut self) -> Option<Result<Vec<Read>>> {
        let (mut batch, mut sum) = (Vec::new(), 0);
        while sum < self.config.batch_tokens && batch.len() < BATCH_DOCS {
            if self.read.is_empty() {
                self.read();
            }
            match self.read.pop_front() {
                Some(Ok(read)) => {
                    sum += read.tokens.ids.len();
                    batch.push(read);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}

impl<S: Source> Batches<'_, S> {
    /// Reads and tokenises some texts, in parallel: a device is faster than one tokenizer.
    fn read(&mut self) {
        let mut texts: Vec<Result<Text>> = Vec::new();
        while texts.len() < READ_DOCS && texts.last().is_none_or(Result::is_ok) {
            let Some(text) = self.texts.next() else { break };
            texts.push(text);
        }
        let one = |text: Result<Text>| {
            let text = text?;
            let tokens = self.tokenizer.tokens(&text.content(), self.max_tokens)?;
            let mut row = text.into_row(self.config.keep_text);
            row.n_tokens = Some(u32::try_from(tokens.whole).unwrap_or(u32::MAX));
            row.truncated = Some(tokens.truncated());
            Ok(Read { row, tokens })
        };
        let read: Vec<Result<Read>> = texts.into_par_iter().map(one).collect();
        self.read.extend(read);
    }
}

/// Queries by table look-up, row by row.
///
/// # Errors
/// The first error of the input, the tokenizer or `each`.
pub fn encode_queries(
    texts: impl Source,
    encoder: &QueryEncoder,
    config: &EncodeConfig,
    mut each: impl FnMut(Row) -> Result<()>,
) -> Result<Summary> {
    let mut summary = Summary::default();
    for text in texts {
        let text = text?;
        let content = text.content();
        let mut row = text.into_row(config.keep_text);
        let vector: SparseVector = encoder.encode(&content)?;
        row.vector = config.prune.apply(&vector);
        summary.add(&row, !content.is_empty());
        each(row)?;
    }
    Ok(summary)
}
