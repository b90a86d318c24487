//! The arguments of l0-train's subcommands.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::RunArgs;
use crate::{
    error::{Error, Result},
    train::{
        data::teacher::{Teacher, TeacherName, TeacherOptions},
        run::save::Size,
    },
    vectors::Form,
};

/// `l0-train check`
#[derive(Args)]
#[command(after_long_help = "Examples:
  Judged pairs of a BEIR folder, and what a tokenizer makes of them:
    l0-train check testdata/demo --split test --tokenizer testdata/toy

  A file of examples:
    printf '{\"query\":\"sea\",\"pos\":\"waves\",\"negs\":[\"sun\"]}' | l0-train check -")]
pub struct CheckArgs {
    /// Files of examples, or BEIR folders
    #[arg(required = true)]
    pub data: Vec<PathBuf>,
    /// A BEIR folder that has the texts, if the files have ids
    #[arg(long, value_name = "DIR")]
    pub texts: Option<PathBuf>,
    /// A table `qid, pid, score`, if the files have ids without scores
    #[arg(long, value_name = "FILE")]
    pub scores: Option<PathBuf>,
    /// Which judgements of a BEIR folder
    #[arg(long, default_value = "train")]
    pub split: String,
    /// Whose word pieces: a model directory, l0:default, l0:tiny, or a tokenizer.json
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// Tokens of a document that are read
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub max_tokens: usize,
    /// Threads and talk
    #[command(flatten)]
    pub run: RunArgs,
}

/// How an exported model stores its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportType {
    /// Half precision, one query table
    F16,
    /// Matrices in 8 bits, the rest in f32; read by l0's programs only
    Int8,
    /// Single precision, the query table in every form that some loader reads
    F32,
}

impl ExportType {
    /// The size of a directory in this type.
    pub fn size(self) -> Size {
        match self {
            ExportType::F16 => Size::Small,
            ExportType::Int8 => Size::Byte,
            ExportType::F32 => Size::Whole,
        }
    }
}

/// `l0-train export`
#[derive(Args)]
#[command(after_long_help = "Examples:
  A trained model at half its size, to be copied elsewhere:
    l0-train export testdata/toy-st -o small

  At a quarter, for l0's programs, and from there for Sentence Transformers:
    l0-train export testdata/toy-st -o smaller --dtype int8
    l0-train export smaller -o whole --dtype f32

  The mean of several, here of one and itself, with a card of its own:
    l0-train export testdata/toy-st testdata/toy-st -o mean --card testdata/demo/README.md")]
pub struct ExportArgs {
    /// Model directories; of several, the mean of their weights
    #[arg(required = true, value_name = "DIR")]
    pub models: Vec<PathBuf>,
    /// Where the model goes
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// How weights are stored
    #[arg(long, value_enum, default_value = "f16", value_name = "TYPE")]
    pub dtype: ExportType,
    /// A text to use as the model card, in place of the generated one
    #[arg(long, value_name = "FILE")]
    pub card: Option<PathBuf>,
    /// What l0-encode adds for how often a document has a term (l0-encode --help), 0 for nothing
    /// [default: as the models have it]
    #[arg(long, value_name = "WEIGHT")]
    pub lexical: Option<f32>,
    /// Tokens of a document that l0-encode reads [default: as the models have it]
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// What a document's weights must pass [default: the models' threshold, if they have one]
    #[arg(long, value_name = "WEIGHT")]
    pub threshold: Option<f32>,
    /// Threads and talk
    #[command(flatten)]
    pub run: RunArgs,
}

/// `l0-train mine`
#[derive(Args)]
#[command(after_long_help = "Examples:
  An index by BM25, and eight negatives for each judged query:
    l0-encode --model bm25 --tokenizer testdata/toy testdata/demo/corpus.jsonl -o bm25.parquet
    l0-index bm25.parquet --tokenizer testdata/toy -o bm25.l0x
    cp testdata/demo/queries.jsonl testdata/demo/qrels/test.tsv .
    l0-train mine --index bm25.l0x queries.jsonl test.tsv -o mined.jsonl

  Four that lie well below the best good document, from ranks 2 to 50:
    l0-train mine --index bm25.l0x queries.jsonl test.tsv --from 2 --to 50 --negatives 4 --margin 3

The examples have ids; a recipe names the folder of the texts as `texts`.")]
pub struct MineArgs {
    /// Queries with ids
    pub queries: PathBuf,
    /// Judgements: TREC, or BEIR's table
    pub qrels: PathBuf,
    /// Where the corpus is indexed; may be given again
    #[arg(long, required = true, value_name = "INDEX")]
    pub index: Vec<PathBuf>,
    /// Whose vocabulary the index must have: a model directory, l0:default or l0:tiny
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Where the examples go, by id: name the corpus as `texts` in the recipe
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    pub output: PathBuf,
    /// Negatives per query
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub negatives: usize,
    /// The first rank to take
    #[arg(long, default_value_t = 1, value_name = "RANK")]
    pub from: usize,
    /// The last rank to take
    #[arg(long, default_value_t = 100, value_name = "RANK")]
    pub to: usize,
    /// Leave out hits whose score is not so far below that of the best relevant document
    #[arg(long, value_name = "SCORE")]
    pub margin: Option<f32>,
    /// Seed of the random choice
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads and talk
    #[command(flatten)]
    pub run: RunArgs,
}

/// `l0-train score`
#[derive(Args)]
#[command(
    after_long_help = "Examples (mined.jsonl is made by the examples of l0-train mine --help):
  Examples by id, which stay so:
    l0-train score --teacher testdata/toy --texts testdata/demo mined.jsonl -o scored.parquet

  Two teachers on examples with their texts:
    printf '{\"query\":\"the sea\",\"pos\":\"waves\",\"negs\":[\"sun\"]}' >x.jsonl
    l0-train score --teacher testdata/toy --teacher bm25 --tokenizer testdata/toy x.jsonl -o y.jsonl

Every distinct text is encoded once. A teacher's scores become 0 to 1 within each example, and teachers
are averaged. Scores that stand in the examples are replaced; known positives stay."
)]
pub struct ScoreArgs {
    /// A file of examples; `-` or none is standard input
    #[arg(default_value = "-", value_name = "EXAMPLES")]
    pub data: PathBuf,
    /// DIR, mean:DIR, cls:DIR, siamese:DIR or bm25; may be given again
    ///
    /// A dense directory of Sentence Transformers, or a sparse model, or the name of one on the hub, or
    /// l0:default or l0:tiny; one with a query table looks queries up, unless it is given as siamese:DIR. A
    /// bare encoder does not name its pooling: write mean:DIR or cls:DIR.
    #[arg(long, required = true, value_name = "TEACHER")]
    pub teacher: Vec<TeacherName>,
    /// Weight of each teacher in the mean, in the order of the teachers [default: 1 each]
    #[arg(long, value_name = "X")]
    pub weight: Vec<f64>,
    /// Where the examples with scores go
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    pub output: PathBuf,
    /// parquet, arrow or jsonl [default: by the name of the output]
    #[arg(long, value_name = "FORM")]
    pub format: Option<Form>,
    /// A BEIR folder that has the texts, if the file has ids; ids are written then
    #[arg(long, value_name = "DIR")]
    pub texts: Option<PathBuf>,
    /// With --teacher bm25: whose word pieces, a model directory or a tokenizer.json [default: l0:default]
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// Tokens of a text that are read [default: each teacher's own; all for bm25]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..))]
    pub max_tokens: Option<u32>,
    /// Write each teacher's own scores too, as raw_0, raw_1 …
    #[arg(long)]
    pub keep_raw: bool,
    /// Threads and talk
    #[command(flatten)]
    pub run: RunArgs,
}

impl ScoreArgs {
    /// The teachers with their weights, each loaded.
    ///
    /// # Errors
    /// [`Error::Usage`] for weights that are not one a teacher and above 0; as [`Teacher::load`].
    pub fn teachers(&self) -> Result<Vec<(Teacher, f64)>> {
        let weights = match self.weight.len() {
            0 => vec![1.0; self.teacher.len()],
            _ => self.weight.clone(),
        };
        let sound = weights.iter().all(|weight| weight.is_finite() && *weight > 0.0);
        if weights.len() != self.teacher.len() || !sound {
            return Err(Error::Usage(format!(
                "--weight: expected one above 0 for each of {} teachers, found {weights:?}",
                self.teacher.len()
            )));
        }
        let max_tokens = self.max_tokens.map(|count| count as usize);
        let options = TeacherOptions { max_tokens, tokenizer: self.tokenizer.as_deref() };
        let load = |(name, weight): (&TeacherName, f64)| {
            Ok((Teacher::load(name.clone(), options)?, weight))
        };
        self.teacher.iter().zip(weights).map(load).collect()
    }
}
