//! The arguments of `l0-train from-dense`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{
    RunArgs,
    suggest::{self, suggest},
};
use crate::{
    error::{Error, Result},
    io::{self, hub::Need},
    layout,
    model::{DenseDirectory, ModelDirectory},
    nn::Pooling,
    records::{Records, rejects::Rejects},
    sparse::{Activation, Prune},
    text::{Lexical, Tokenizer},
    train::{
        data::random::Random,
        tools::from_dense::{DecoderForm, Rules, Spread},
    },
};

/// Passages of all kinds, in English, one per line, written for this purpose.
const BACKGROUND: &str = include_str!("../train/tools/from_dense/background.txt");

/// `l0-train from-dense`
#[derive(Args)]
#[command(after_long_help = "Examples:
  An encoder whose files do not say how it pools; those in the layout of Sentence Transformers do:
    l0-train from-dense testdata/toy --pooling mean -o sparse

  Calibrated on your own passages:
    cp testdata/demo/corpus.jsonl .
    l0-train from-dense testdata/toy --pooling mean --background corpus.jsonl -o sparse.2

The result is a model like any other: l0-encode --model sparse, or a base for l0-train.")]
pub struct FromDenseArgs {
    /// A sentence encoder: BERT, MPNet, RoBERTa, ModernBERT and similar, by directory or name on the hub
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// The directory to write the sparse model to
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// Passages of the kind that will be indexed, 50 or more; may be repeated [default: 260 of all kinds,
    /// in English, that come with the program]
    #[arg(long, value_name = "CORPUS")]
    pub background: Vec<PathBuf>,
    /// How many of them to use; of more, a random sample
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub passages: usize,
    /// Short texts like the queries, JSON lines with `_id` and `text`: rows are fitted so that the bag of a
    /// text's words comes near the encoder's vector of the text; may be given again [default: none, rows stay the
    /// vectors of single words]
    #[arg(long, value_name = "QUERIES")]
    pub queries: Vec<PathBuf>,
    /// With --queries: how much rows are held where they were; about so many texts move a word half of the way
    #[arg(long, default_value_t = 10.0, value_name = "TEXTS", requires = "queries")]
    pub ridge: f32,
    /// How a bare directory pools its hidden states
    #[arg(long, value_enum, value_name = "POOLING")]
    pub pooling: Option<PoolingArg>,
    /// Query weights, as l0-encode idf writes them [default: those of l0:tiny if the vocabulary is its own, else
    /// the idf of the background]
    #[arg(long, value_name = "FILE")]
    pub query_weights: Option<PathBuf>,
    /// Query weights below this are 0
    #[arg(long, default_value_t = 2.0, value_name = "WEIGHT")]
    pub drop_below: f32,
    /// Standard deviations above the background's mean at which a term begins to count
    #[arg(long, default_value_t = 0.5, value_name = "Z")]
    pub cut: f32,
    /// relu, or log1p:1 to log1p:4
    #[arg(long, default_value = "relu", value_name = "NAME", hide_possible_values = true,
          value_parser = suggest::<Activation>(suggest::ACTIVATIONS))]
    pub activation: Activation,
    /// What is added for how often a document has a term; 0 for nothing
    #[arg(long, default_value_t = 2.0, value_name = "WEIGHT")]
    pub lexical: f32,
    /// What is kept of a document's weights
    #[arg(long, default_value = "top_k:400", value_name = "RULE", hide_possible_values = true,
          value_parser = suggest::<Prune>(suggest::RULES))]
    pub prune: Prune,
    /// On what a term's standard deviation is measured; its mean is measured on the background
    #[arg(long, value_enum, default_value = "words", value_name = "TEXTS")]
    pub spread: SpreadArg,
    /// full, tied (the word embeddings and one map) or rank:R (R numbers for each term)
    #[arg(long, default_value = "full", value_name = "FORM", hide_possible_values = true,
          value_parser = suggest::<DecoderForm>(suggest::DECODERS))]
    pub decoder: DecoderForm,
    /// Threads and messages
    #[command(flatten)]
    pub run: RunArgs,
}

/// On what a standard deviation is measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SpreadArg {
    /// The words of the vocabulary
    Words,
    /// The background, which then should be thousands of passages
    Passages,
}

/// Files that a bare encoder does not have.
const OTHERS: [&str; 4] = [layout::MODULES, layout::OWN, layout::IDF, layout::QUERY_WEIGHTS];

/// How hidden states become one vector.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PoolingArg {
    /// Their mean
    Mean,
    /// That of the first token
    Cls,
    /// The largest of each number
    Max,
}

impl FromDenseArgs {
    /// Where the encoder's parts are.
    ///
    /// # Errors
    /// [`Error::Usage`] for a bare directory without a pooling, and for a pooling other than the one
    /// that the files name; [`Error::Format`] for a sparse model; as [`DenseDirectory::recognise`] and
    /// [`io::hub::resolve`].
    pub fn directory(&self) -> Result<DenseDirectory> {
        let pooling = self.pooling.map(|pooling| match pooling {
            PoolingArg::Mean => Pooling::Mean,
            PoolingArg::Cls => Pooling::Cls,
            PoolingArg::Max => Pooling::Max,
        });
        let path = io::hub::resolve(&self.model, Need::Model)?;
        if !io::is_folder(&path) {
            let reason = "expected the directory of a sentence encoder, found none of that name";
            return Err(Error::format(&path, reason));
        }
        let found = DenseDirectory::recognise(&path)?;
        let other = OTHERS.map(|name| path.join(name)).into_iter().find(|file| io::exists(file));
        if let (None, Some(file)) = (&found, other) {
            return Err(Error::format(
                file,
                "expected a sentence encoder, found a sparse model or one of another kind; the base of \
                 a recipe may be a sparse model",
            ));
        }
        match (found, pooling) {
            (Some(found), None) => Ok(found),
            (Some(found), Some(asked)) if found.pooled.pooling == asked => Ok(found),
            (Some(_), Some(_)) => Err(Error::Usage(format!(
                "expected the pooling that the files of {} name; leave --pooling out",
                self.model.display()
            ))),
            (None, Some(pooling)) => DenseDirectory::with_pooling(&path, pooling),
            (None, None) => Err(Error::Usage(format!(
                "{} does not say how its hidden states are pooled: give --pooling mean, cls or max",
                self.model.display()
            ))),
        }
    }

    /// The background passages.
    ///
    /// # Errors
    /// As the readers of records.
    pub fn passages(&self) -> Result<Vec<String>> {
        if self.background.is_empty() {
            return self.sample(BACKGROUND.lines().map(|line| Ok(line.to_owned())));
        }
        let mut rejects = Rejects::stop();
        let documents = Records::documents(super::inputs(&self.background)?, &mut rejects);
        self.sample(documents.map(|document| Ok(document?.content())))
    }

    /// The short texts that rows are fitted to.
    ///
    /// # Errors
    /// [`Error::Usage`] for files without a text and for a ridge that is not above 0; as the readers of records.
    pub fn short_texts(&self) -> Result<Vec<String>> {
        if self.ridge.is_nan() || self.ridge <= 0.0 {
            return Err(Error::Usage(format!("expected a ridge above 0, found {}", self.ridge)));
        }
        if self.queries.is_empty() {
            return Ok(Vec::new());
        }
        let mut rejects = Rejects::stop();
        let queries = Records::text_queries(super::inputs(&self.queries)?, &mut rejects);
        let texts: Vec<String> = queries.map(|query| Ok(query?.text)).collect::<Result<_>>()?;
        if texts.is_empty() {
            return Err(Error::Usage("--queries: expected short texts, found none".into()));
        }
        Ok(texts)
    }

    /// As many texts as are asked for, each as likely as any other to be among them; the same for the same
    /// input.
    fn sample(&self, texts: impl Iterator<Item = Result<String>>) -> Result<Vec<String>> {
        let (mut random, mut kept) = (Random::new(0, 0), Vec::new());
        for (at, text) in texts.enumerate() {
            let text = text?;
            let place = if at < self.passages { at } else { random.below(at + 1) };
            match kept.get_mut(place) {
                Some(old) => *old = text,
                None if at < self.passages => kept.push(text),
                None => {}
            }
        }
        Ok(kept)
    }

    /// The file of query weights: what was asked for, or that of `l0:tiny` for its vocabulary.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn table(&self, directory: &DenseDirectory) -> Result<Option<PathBuf>> {
        if self.query_weights.is_some() {
            return Ok(self.query_weights.clone());
        }
        let tiny = ModelDirectory::open(Path::new("l0:tiny"))?;
        let fingerprint = |folder: &Path| -> Result<String> {
            Ok(Tokenizer::load(folder)?.vocabulary().fingerprint().to_owned())
        };
        let same = fingerprint(&tiny.encoder)? == fingerprint(&directory.encoder)?;
        Ok(tiny.query_table.filter(|_| same))
    }

    /// What the model has in addition to its decoder.
    pub fn rules(&self) -> Rules {
        Rules {
            cut: self.cut,
            activation: self.activation,
            lexical: Lexical::or_of(None, Some(self.lexical)),
            prune: self.prune,
            decoder: self.decoder,
            spread: match self.spread {
                SpreadArg::Words => Spread::Words,
                SpreadArg::Passages => Spread::Passages,
            },
            ridge: self.ridge,
            drop_below: self.drop_below,
        }
    }
}
