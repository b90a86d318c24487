//! A sentence encoder to an inference-free sparse retriever, without labels and without training.
//!
//! The row of a term is the encoder's own embedding of the term's word, less the mean of all of them
//! and divided by how far its product with background passages spreads: z = (s − μ)/σ. The weight of a
//! term is what z has above [`Rules::cut`]. Source: `docs/method.md`, "A decoder without training".

mod calibrate;
mod decoder;
mod fit;

use std::{collections::BTreeSet, path::Path};

use candle_core::{DType, Device};
use rayon::prelude::*;
use serde_json::{Map, json};

use crate::{
    error::{Error, Result},
    io::folder::{Staged, names},
    model::{
        Activation, Checkpoint, DecoderRows, DenseDirectory, DenseEncoder, HeadParts, Matrix,
        TensorEncoder, VocabularyHead,
    },
    sparse::{Prune, TermId},
    text::{DocumentFrequencies, Lexical, QueryTable, Reweighting, Tokenizer},
    train::run::save::{Saved, Size},
};

use calibrate::{Background, Usual, centred, usual};
pub use decoder::DecoderForm;

/// Texts that are encoded together.
const TEXTS: usize = 256;
/// Fewest background passages that a spread can be measured on.
const FEWEST: usize = 50;
/// Letters that make a token a word: single letters are not informative.
const LETTERS: usize = 2;
/// The logit of a disabled term.
const OFF: f32 = -1.0;

/// What the standard deviation of a term's products is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// On the words of the vocabulary, of which there are many and of all kinds.
    Words,
    /// On the background passages, which then should be thousands.
    Passages,
}

/// What the model has in addition to the decoder's rows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// θ: standard deviations above the mean at which a term begins to count.
    pub cut: f32,
    /// Logit to weight.
    pub activation: Activation,
    /// The lexical part.
    pub lexical: Option<Lexical>,
    /// What is kept of a document's weights.
    pub prune: Prune,
    /// How the decoder's rows are stored.
    pub decoder: DecoderForm,
    /// On what σ is measured; μ always is on the background passages.
    pub spread: Spread,
    /// How strongly fitted rows are kept where they were: about so many texts move a word half of the way.
    pub ridge: f32,
    /// Query weights below this are 0: words of almost every text matter little, and cost much.
    pub drop_below: f32,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Made {
    /// Terms in the vocabulary.
    pub terms: usize,
    /// Of these, words, which documents can weigh.
    pub words: usize,
    /// Background passages.
    pub passages: usize,
    /// Short texts that rows were fitted to.
    pub queries: usize,
}

/// A sentence encoder that is being turned into a sparse retriever.
pub struct FromDense<'a> {
    /// Where its parts are.
    pub directory: &'a DenseDirectory,
    /// Passages of the kind that will be indexed: means and deviations are measured on them.
    pub background: &'a [String],
    /// Short texts like the queries: rows are fitted so that the bag of a text's words comes near the
    /// encoder's vector of the text. Empty to leave the rows as they are.
    pub queries: &'a [String],
    /// Query weights; `None` for the idf of the background.
    pub table: Option<&'a Path>,
    /// The other settings.
    pub rules: Rules,
}

impl FromDense<'_> {
    /// Writes the model directory; `each` is called with texts that were encoded.
    ///
    /// # Errors
    /// [`Error::Usage`] for a folder that is not empty and for fewer than 50 background passages;
    /// [`Error::Format`] for an encoder that puts a prompt before documents; as the loaders of its parts.
    pub fn write(&self, folder: &Path, mut each: impl FnMut(usize)) -> Result<Made> {
        self.check(folder)?;
        let tokenizer = Tokenizer::load(&self.directory.encoder)?;
        let encoder = DenseEncoder::load(self.directory, None)?;
        let mut checkpoint = Checkpoint::load_encoder(&self.directory.encoder)?;
        let terms = tokenizer.vocabulary().len();
        if checkpoint.config.vocab_size < terms {
            return Err(Error::Mismatch {
                what: format!("vocabulary of {}", self.directory.encoder.display()),
                expected: format!("at most {} tokens, as the encoder has", encoder.vocab_size),
                got: format!("{terms} in its tokenizer"),
                remedy: "use the tokenizer that came with the encoder".into(),
            });
        }
        let mut embed = |texts: &[String]| embed(&encoder, &tokenizer, texts, &mut each);
        let passages = embed(self.background)?;
        let words = words(&tokenizer, self.background);
        let texts: Vec<String> = words.iter().map(|(_, text)| self.query(text)).collect();
        let read = embed(&texts)?;
        let rows = centred(read.clone());
        let background = Background { passages, words: read };
        let queries = embed(self.queries)?;
        let (rows, bias) = match self.bags(&tokenizer, &words)? {
            bags if bags.is_empty() => self.calibrated(rows, &background),
            bags => {
                let before = self.usual(&rows, &background);
                let rows = fit::rows(rows, &bags, &queries, self.rules.ridge);
                let after = self.usual(&rows, &background).into_iter().zip(before);
                let usual = after.map(|(new, old)| Usual { deviation: old.deviation, ..new });
                self.scaled(rows, usual.collect())
            }
        };
        let (passages, queries) = (self.background.len(), self.queries.len());
        let made = Made { terms, words: words.len(), passages, queries };
        self.set_head(&mut checkpoint, &words, (rows, bias), &background)?;
        self.save(checkpoint, &tokenizer, folder, encoder.max_tokens, made)?;
        Ok(made)
    }

    /// Puts the decoder after the encoder, in the form that was asked for. A form that only approximates the
    /// rows is calibrated again.
    fn set_head(
        &self,
        checkpoint: &mut Checkpoint,
        words: &[(TermId, String)],
        (rows, bias): (Vec<Vec<f32>>, Vec<f32>),
        background: &Background,
    ) -> Result<()> {
        let mut head = VocabularyHead::of(self.directory.pooled.clone());
        let terms = checkpoint.config.vocab_size;
        let dense = self.directory.maps(checkpoint.config.hidden)?;
        let (map, rows, bias) = match self.rules.decoder {
            DecoderForm::Full => (None, Some(rows), bias),
            DecoderForm::Rank(rank) => {
                let (short, map) = decoder::of_rank(&rows, rank);
                let (short, bias) = self.calibrated(short, &background.mapped(&map));
                head.rank = Some(map.data.len() / map.columns);
                (Some(map), Some(short), bias)
            }
            DecoderForm::Tied => {
                let embeddings = &checkpoint.weights.words;
                let mut map = decoder::of_words(words, &rows, embeddings)?;
                let own = |(term, _): &(TermId, String)| embeddings.row(term.index()).to_vec();
                let own: Vec<Vec<f32>> = words.iter().map(own).collect();
                let found = self.usual(&own, &background.mapped(&map));
                // one number for all terms: their rows are shared with the network
                let mean = found.iter().map(|spread| spread.deviation).sum::<f32>();
                let mean = mean / found.len().max(1) as f32;
                map.data.iter_mut().for_each(|number| *number /= mean);
                let bias = found.iter().map(|spread| -spread.mean / mean - self.rules.cut);
                head.rank = Some(map.data.len() / map.columns);
                head.decoder = DecoderRows::Tied;
                (Some(map), None, bias.collect())
            }
        };
        let (rows, bias) = spread_out(words, rows, bias, terms);
        checkpoint.set_vocabulary_head(head, HeadParts::Vocabulary { dense, map }, rows, bias);
        Ok(())
    }

    fn check(&self, folder: &Path) -> Result<()> {
        if let Some(name) = names(folder)?.first() {
            return Err(Error::Usage(format!(
                "{} is not empty ({name} is in it); name a new folder",
                folder.display()
            )));
        }
        if self.background.len() < FEWEST {
            return Err(Error::Usage(format!(
                "expected {FEWEST} or more background passages, found {}; 260 of all kinds are used if none are named",
                self.background.len()
            )));
        }
        if !self.directory.document_prompt.is_empty() {
            let reason = format!(
                "expected an encoder without a prompt for documents, found `{}`, which is not implemented",
                self.directory.document_prompt
            );
            return Err(Error::format(&self.directory.encoder, reason));
        }
        Ok(())
    }

    /// A word as the encoder reads a query.
    fn query(&self, word: &str) -> String {
        format!("{}{word}", self.directory.query_prompt)
    }

    /// Rows and biases by which a logit is z − θ.
    fn calibrated(
        &self,
        rows: Vec<Vec<f32>>,
        background: &Background,
    ) -> (Vec<Vec<f32>>, Vec<f32>) {
        let usual = self.usual(&rows, background);
        self.scaled(rows, usual)
    }

    fn scaled(&self, mut rows: Vec<Vec<f32>>, usual: Vec<Usual>) -> (Vec<Vec<f32>>, Vec<f32>) {
        let mut bias = Vec::with_capacity(rows.len());
        for (row, Usual { mean, deviation }) in rows.iter_mut().zip(usual) {
            row.iter_mut().for_each(|number| *number /= deviation);
            bias.push(-mean / deviation - self.rules.cut);
        }
        (rows, bias)
    }

    /// μ and σ of each row.
    fn usual(&self, rows: &[Vec<f32>], background: &Background) -> Vec<Usual> {
        let mut found = usual(rows, &background.passages);
        if self.rules.spread == Spread::Words {
            let words = usual(rows, &background.words);
            found.iter_mut().zip(words).for_each(|(own, word)| own.deviation = word.deviation);
        }
        found
    }

    /// Of each query, its words that weigh something: the number of the row, and the query weight.
    fn bags(&self, tokenizer: &Tokenizer, words: &[(TermId, String)]) -> Result<Vec<fit::Bag>> {
        let table = self.table(tokenizer)?;
        let mut rows = vec![None; table.len()];
        (0..).zip(words).for_each(|(row, (term, _))| rows[term.index()] = Some(row));
        let bag = |text: &String| {
            let mut pieces = tokenizer.pieces(text)?;
            pieces.sort_unstable();
            pieces.dedup();
            let weighed = pieces.into_iter().filter(|&piece| table[piece as usize] > 0.0);
            let known = weighed.filter_map(|at| Some((rows[at as usize]?, table[at as usize])));
            Ok(known.collect())
        };
        self.queries.par_iter().map(bag).collect()
    }

    fn table(&self, tokenizer: &Tokenizer) -> Result<Vec<f32>> {
        let table = match self.table {
            Some(file) => QueryTable::read(file, tokenizer.vocabulary())?.weights().to_vec(),
            None => {
                let mut counted = DocumentFrequencies::new(tokenizer.vocabulary());
                for text in self.background {
                    let mut pieces = tokenizer.pieces(text)?;
                    pieces.sort_unstable();
                    pieces.dedup();
                    counted.add(pieces);
                }
                let terms = 0..tokenizer.vocabulary().len() as u32;
                terms.map(|term| counted.weight(TermId(term))).collect()
            }
        };
        let weight = |(term, weight): (u32, f32)| {
            let asked = weight >= self.rules.drop_below && !tokenizer.is_special(TermId(term));
            if asked { weight } else { 0.0 }
        };
        Ok((0..).zip(table).map(weight).collect())
    }

    fn save(
        &self,
        checkpoint: Checkpoint,
        tokenizer: &Tokenizer,
        folder: &Path,
        max_tokens: usize,
        made: Made,
    ) -> Result<()> {
        let base = checkpoint.sha256.clone();
        let encoder = TensorEncoder::new(checkpoint, &Device::Cpu, DType::F32)?;
        let mut record = Map::new();
        let mut own = json!({"base": base, "passages": made.passages});
        if made.queries > 0 {
            own["queries"] = made.queries.into();
            own["ridge"] = self.rules.ridge.into();
        }
        record.insert("from_dense".into(), own);
        let staged = Staged::create(folder)?;
        let saved = Saved {
            base: &self.directory.encoder,
            variables: encoder.variables(),
            head: encoder.config().vocabulary_head.as_ref(),
            tokenizer,
            table: Some(self.table(tokenizer)?),
            ranks: true,
            frozen: true,
            activation: self.rules.activation,
            max_tokens,
            cutoff: None,
            lexical: self.rules.lexical,
            prune: self.rules.prune,
            reweighting: Some(Reweighting::OF_A_MODEL),
            record,
            recipe: "",
            size: Size::Whole,
            card: None,
        };
        saved.write(staged.path())?;
        staged.replace()
    }
}

/// The vectors of texts, in their order; texts of similar length are encoded together.
fn embed(
    encoder: &DenseEncoder,
    tokenizer: &Tokenizer,
    texts: &[String],
    mut each: impl FnMut(usize),
) -> Result<Vec<Vec<f32>>> {
    let ids = |text: &String| Ok(tokenizer.tokens(text, encoder.max_tokens)?.ids);
    let ids = texts.par_iter().map(ids).collect::<Result<Vec<Vec<u32>>>>()?;
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&at| ids[at].len());
    let mut vectors = vec![Vec::new(); ids.len()];
    for part in order.chunks(TEXTS) {
        let texts: Vec<&[u32]> = part.iter().map(|&at| &ids[at][..]).collect();
        for (&at, vector) in part.iter().zip(encoder.encode(&texts)) {
            vectors[at] = vector;
        }
        each(part.len());
    }
    Ok(vectors)
}

/// The tokens that are words, and their texts: letters alone, two or more, all of which occur in the
/// background, so that scripts which the encoder never reads are off. Pieces that continue a word are off
/// too: alone they read as another word, often as one that has a token of its own.
fn words(tokenizer: &Tokenizer, background: &[String]) -> Vec<(TermId, String)> {
    let lower = background.iter().flat_map(|text| text.chars()).flat_map(char::to_lowercase);
    let letters: BTreeSet<char> = lower.filter(|letter| letter.is_alphabetic()).collect();
    let is_word = |text: &String| {
        let mut lower = text.chars().flat_map(char::to_lowercase);
        text.chars().count() >= LETTERS && lower.all(|letter| letters.contains(&letter))
    };
    let terms = (0..tokenizer.vocabulary().len() as u32).map(TermId);
    let terms: Vec<TermId> = terms.filter(|&term| !tokenizer.is_special(term)).collect();
    // a vocabulary may not mark beginnings at all
    let marked = terms.iter().any(|&term| tokenizer.begins_word(term));
    let terms = terms.into_iter().filter(|&term| !marked || tokenizer.begins_word(term));
    let texts = terms.filter_map(|term| Some((term, tokenizer.surface(term)?)));
    texts.filter(|(_, text)| is_word(text)).collect()
}

/// The whole decoder: rows of words in their places, 0 elsewhere, and a bias below 0 there. No rows for a decoder
/// without rows of its own.
fn spread_out(
    words: &[(TermId, String)],
    rows: Option<Vec<Vec<f32>>>,
    bias: Vec<f32>,
    terms: usize,
) -> (Option<Matrix>, Vec<f32>) {
    let mut all = vec![OFF; terms];
    for ((term, _), bias) in words.iter().zip(bias) {
        all[term.index()] = bias;
    }
    let matrix = rows.map(|rows| {
        let columns = rows.first().map_or(0, Vec::len);
        let mut data = vec![0.0; terms * columns];
        for ((term, _), row) in words.iter().zip(rows) {
            data[term.index() * columns..][..columns].copy_from_slice(&row);
        }
        Matrix { data, columns }
    });
    (matrix, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_letters_that_the_background_has() {
        let tokenizer = Tokenizer::load("testdata/toy".as_ref()).unwrap();
        let all: Vec<String> = vec![('a'..='z').collect()];
        let words_of = |background: &[String]| words(&tokenizer, background).len();
        let is_word = |(_, text): &(TermId, String)| text.chars().all(char::is_alphabetic);
        assert!(words(&tokenizer, &all).iter().all(is_word));
        let fewer: Vec<String> = vec![('a'..='m').collect()];
        assert!(words_of(&fewer) > 0 && words_of(&fewer) < words_of(&all));
        assert_eq!(words_of(&["123".to_owned()]), 0);
        let continues = |(term, _): &(TermId, String)| !tokenizer.begins_word(*term);
        assert!(!words(&tokenizer, &all).iter().any(continues));
    }
}
