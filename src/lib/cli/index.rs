//! The arguments of l0-index and its subcommands; those of export and import are in `exchange`.

use std::path::PathBuf;

use clap::{
    Args, Subcommand, ValueHint,
    builder::{PathBufValueParser, TypedValueParser},
};

use super::{
    RejectArgs, RunArgs,
    exchange::{ExportArgs, ImportArgs},
    values,
};
use crate::index::{Order, Weights};

/// Building an index.
#[derive(Args)]
pub struct BuildArgs {
    /// Vectors, in the order of the documents; none or - for standard input
    pub vectors: Vec<PathBuf>,
    /// The index file
    #[arg(short, long, value_name = "INDEX")]
    pub output: Option<PathBuf>,
    /// Directory of the model, a model that ships with the program (l0:default, l0:tiny), or its name on the
    /// hub: its tokenizer, and its query table if it has one [default without --tokenizer: l0:default]
    #[arg(long, value_name = "DIR", conflicts_with = "tokenizer")]
    pub model: Option<PathBuf>,
    /// Directory of the tokenizer, l0:default, l0:tiny, or its tokenizer.json
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// Weights of query terms: model (the model's table), unit (1 for all), corpus (the model's table
    /// reweighted by the document frequencies that the vectors carry, or their idf where there is no
    /// table), or a FILE with a table [default: as the model says, else its
    /// table, else unit]
    #[arg(long, value_name = "model|unit|corpus|FILE", value_hint = ValueHint::AnyPath,
          value_parser = PathBufValueParser::new().map(QueryWeights::from))]
    pub query_weights: Option<QueryWeights>,
    /// How weights are stored: u8 (eight bits, one scale per term), u6 (six bits: a tenth smaller, and ranks
    /// change a little) or f32 (as given)
    #[arg(long, value_name = "u8|u6|f32", default_value_t = Weights::U8)]
    pub weights: Weights,
    /// The smallest file: --weights u6 --order bp
    #[arg(long, conflicts_with_all = ["weights", "order"])]
    pub compact: bool,
    /// Order of the documents in the file: given (as they came), or bp (similar ones adjacent: smaller,
    /// and several times faster to search; ids and answers are the same)
    #[arg(long, value_name = "given|bp", default_value_t = Order::Given)]
    pub order: Order,
    /// How it works
    #[command(flatten)]
    pub work: WorkArgs,
}

/// Where the weights of query terms come from.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryWeights {
    /// The model's table.
    Model,
    /// 1 for every term.
    Unit,
    /// The documents that are indexed, and the model's table if it has one.
    Corpus,
    /// A table.
    File(PathBuf),
}

impl From<PathBuf> for QueryWeights {
    fn from(path: PathBuf) -> QueryWeights {
        match path.to_str() {
            Some("model") => QueryWeights::Model,
            Some("unit") => QueryWeights::Unit,
            Some("corpus") => QueryWeights::Corpus,
            _ => QueryWeights::File(path),
        }
    }
}

/// Everything but building.
#[derive(Subcommand)]
pub enum Other {
    /// Print counts and sizes
    #[command(after_long_help = "Examples (demo.l0x is made by the example of l0-index --help):
  As lines:
    l0-index stats demo.l0x

  As one JSON object:
    l0-index stats demo.l0x --json")]
    Stats {
        /// The index file
        index: PathBuf,
        /// One JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Check every byte: checksums, order, maxima, ids
    #[command(after_long_help = "Examples (demo.l0x is made by the example of l0-index --help):
  A word where all is sound, else an error and status 1:
    l0-index verify demo.l0x

  Every index of a folder:
    for index in *.l0x; do l0-index verify \"$index\" || break; done")]
    Verify {
        /// The index file
        index: PathBuf,
    },
    /// Add documents after those of an index, with its weights, order and query table
    #[command(after_long_help = "Examples (demo.l0x is made by the example of l0-index --help):
  A day's new documents, into the same file:
    echo '{\"_id\":\"new-1\",\"text\":\"a sourdough starter in winter\"}' > new.jsonl
    l0-encode --model bm25 --tokenizer testdata/demo new.jsonl -o new.parquet
    l0-index append demo.l0x new.parquet -o demo.l0x

  Or into another file, from a pipe:
    l0-encode --model bm25 --tokenizer testdata/demo new.jsonl | l0-index append demo.l0x -o both.l0x")]
    Append(AppendArgs),
    /// Join indexes of one model, documents in the order of the arguments
    #[command(after_long_help = "Examples:
  Two halves of a corpus, each indexed by itself:
    head -200 testdata/demo/corpus.jsonl | l0-encode --model testdata/toy - -o a.parquet
    tail -133 testdata/demo/corpus.jsonl | l0-encode --model testdata/toy - -o b.parquet
    l0-index a.parquet --model testdata/toy -o a.l0x
    l0-index b.parquet --model testdata/toy -o b.l0x
    l0-index merge a.l0x b.l0x -o both.l0x

  The whole is searched as one:
    echo 'a sourdough starter' | l0-query both.l0x -k 3")]
    Merge {
        /// The index files
        #[arg(required = true)]
        indexes: Vec<PathBuf>,
        /// The index file to write
        #[arg(short, long, value_name = "INDEX")]
        output: PathBuf,
        /// Seed of the sample on which --method approx of l0-query is calibrated
        #[arg(long, value_name = "N", default_value_t = 0)]
        seed: u64,
        /// Threads and talk
        #[command(flatten)]
        run: RunArgs,
    },
    /// Write an index or vectors in the form of another engine, with its schema and a sample query
    Export(ExportArgs),
    /// Read vectors that another program wrote: they become vectors as l0-encode writes them
    Import(ImportArgs),
}

/// What building and appending share.
#[derive(Args)]
pub struct WorkArgs {
    /// Memory for postings and ids while building; the rest goes to a temporary file
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = values::bytes)]
    pub memory: u64,
    /// Seed of the sample on which --method approx of l0-query is calibrated
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// What happens to bad records
    #[command(flatten)]
    pub rejects: RejectArgs,
    /// Threads and talk
    #[command(flatten)]
    pub run: RunArgs,
}

/// `l0-index append`
#[derive(Args)]
pub struct AppendArgs {
    /// The index file
    pub index: PathBuf,
    /// Vectors of the same model; none or - for standard input
    pub vectors: Vec<PathBuf>,
    /// The index file to write; it may be INDEX itself
    #[arg(short, long, value_name = "INDEX")]
    pub output: PathBuf,
    /// How it works
    #[command(flatten)]
    pub work: WorkArgs,
}
