//! BM25 over word pieces: the baseline without a network, in the same rows as a model's.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, Write},
};

use super::{EncodeConfig, Shard, Source, Summary, Text};
pub use crate::text::Bm25;
use crate::{
    error::{Error, Result},
    io,
    sparse::{SparseVector, TermId},
    text::{DocumentFrequencies, Tokenizer},
    vectors::Row,
};

/// Encodes a corpus in two passes, the first into a temporary file; `each` gets the rows of `shard`
/// in the order of the input, weighted by the statistics of the whole corpus, and their terms before
/// they are pruned.
///
/// # Errors
/// The first error of the input, the tokenizer, the temporary file or `each`.
pub fn encode(
    texts: impl Source,
    tokenizer: &Tokenizer,
    bm25: Bm25,
    max_tokens: Option<usize>,
    shard: Shard,
    config: &EncodeConfig,
    mut each: impl FnMut(Row, &[u32]) -> Result<()>,
) -> Result<Summary> {
    let mut spool = Spool::new()?;
    let mut counted = DocumentFrequencies::new(tokenizer.vocabulary());
    let mut total = 0u64;
    for text in texts {
        let counts = count(&text?, tokenizer, max_tokens, config.keep_text)?;
        counted.add(counts.terms.iter().map(|&(term, _)| term));
        total += u64::from(counts.length);
        spool.push(&counts)?;
    }
    let mean_length = total as f64 / counted.documents().max(1) as f64;
    let mut summary = Summary::default();
    let mut rows = spool.read()?;
    for number in 0..counted.documents() {
        let counts = rows.next()?;
        if !shard.has(number) {
            continue;
        }
        let weights = counts.terms.iter().map(|&(term, tf)| {
            let term = TermId(term);
            (term, bm25.impact(counted.weight(term), tf, counts.length, mean_length))
        });
        let mut row = counts.text.into_row(config.keep_text);
        row.vector = config.prune.apply(&SparseVector::new(weights)?);
        row.n_tokens = Some(counts.whole);
        row.truncated = Some(counts.length < counts.whole);
        summary.add(&row, counts.whole > 0);
        let terms: Vec<u32> = counts.terms.iter().map(|&(term, _)| term).collect();
        each(row, &terms)?;
    }
    Ok(summary)
}

/// A query as BM25 reads it: each term with its count. `each` gets the rows.
///
/// # Errors
/// The first error of the input, the tokenizer or `each`.
pub fn encode_queries(
    texts: impl Source,
    tokenizer: &Tokenizer,
    max_tokens: Option<usize>,
    config: &EncodeConfig,
    mut each: impl FnMut(Row) -> Result<()>,
) -> Result<Summary> {
    let mut summary = Summary::default();
    for text in texts {
        let counts = count(&text?, tokenizer, max_tokens, config.keep_text)?;
        let pairs = counts.terms.iter().map(|&(term, tf)| (TermId(term), tf as f32));
        let mut row = counts.text.into_row(config.keep_text);
        row.vector = config.prune.apply(&SparseVector::new(pairs)?);
        row.n_tokens = Some(counts.whole);
        row.truncated = Some(counts.length < counts.whole);
        summary.add(&row, counts.whole > 0);
        each(row)?;
    }
    Ok(summary)
}

/// The part of a document that BM25 needs.
struct Counts {
    text: Text,
    /// Word pieces that count.
    length: u32,
    /// Word pieces of the whole document.
    whole: u32,
    /// Terms, ascending, with their counts.
    terms: Vec<(u32, u32)>,
}

fn count(
    text: &Text,
    tokenizer: &Tokenizer,
    max_tokens: Option<usize>,
    keep_text: bool,
) -> Result<Counts> {
    let mut pieces = tokenizer.pieces(&text.content())?;
    let whole = pieces.len() as u32;
    if let Some(max_tokens) = max_tokens {
        pieces.truncate(max_tokens.saturating_sub(tokenizer.special_around()));
    }
    let length = pieces.len() as u32;
    let mut terms = BTreeMap::new();
    for piece in pieces.into_iter().filter(|&piece| !tokenizer.is_special(TermId(piece))) {
        *terms.entry(piece).or_insert(0) += 1;
    }
    let text = match keep_text {
        true => text.clone(),
        false => Text { id: text.id.clone(), ..Text::default() },
    };
    Ok(Counts { text, length, whole, terms: terms.into_iter().collect() })
}

/// Counts on their way through a temporary file.
struct Spool {
    file: BufWriter<File>,
}

struct Spooled {
    file: BufReader<File>,
}

fn failed(source: std::io::Error) -> Error {
    Error::io("temporary file", source)
}

impl Spool {
    fn new() -> Result<Spool> {
        Ok(Spool { file: BufWriter::new(io::scratch()?) })
    }

    fn push(&mut self, counts: &Counts) -> Result<()> {
        let mut bytes = Vec::new();
        for text in [&counts.text.id, &counts.text.title, &counts.text.text] {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        for number in [counts.length, counts.whole, counts.terms.len() as u32] {
            bytes.extend(number.to_le_bytes());
        }
        for &(term, tf) in &counts.terms {
            bytes.extend(term.to_le_bytes());
            bytes.extend(tf.to_le_bytes());
        }
        self.file.write_all(&bytes).map_err(failed)
    }

    fn read(self) -> Result<Spooled> {
        let mut file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.rewind().map_err(failed)?;
        Ok(Spooled { file: BufReader::new(file) })
    }
}

impl Spooled {
    fn next(&mut self) -> Result<Counts> {
        let [id, title, text] = [self.string()?, self.string()?, self.string()?];
        let [length, whole, terms] = [self.number()?, self.number()?, self.number()?];
        let terms = (0..terms).map(|_| Ok((self.number()?, self.number()?)));
        let terms = terms.collect::<Result<_>>()?;
        Ok(Counts { text: Text { id, title, text }, length, whole, terms })
    }

    fn number(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes).map_err(failed)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn string(&mut self) -> Result<String> {
        let mut length = [0; 8];
        self.file.read_exact(&mut length).map_err(failed)?;
        let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
        self.file.read_exact(&mut bytes).map_err(failed)?;
        String::from_utf8(bytes).map_err(|_| Error::format("temporary file", "it was changed"))
    }
}
