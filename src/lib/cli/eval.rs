//! The arguments of l0-eval's subcommands.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    RejectArgs, RunArgs,
    suggest::{self, suggest},
    values,
};
use crate::eval::{Condition, FLOPS, Format, Measure, NDCG};

/// Everything but measuring.
#[derive(Subcommand)]
pub enum Task {
    /// Print what vectors cost: mean terms, count-based FLOPS, use of the vocabulary
    #[command(after_long_help = "Examples:
  A model's documents:
    l0-encode --model testdata/toy testdata/demo/corpus.jsonl -o toy.parquet
    l0-eval sparsity toy.parquet

  What a query costs on the mean, as a table:
    l0-encode --model testdata/toy --role query testdata/demo/queries.jsonl -o q.parquet
    l0-eval sparsity toy.parquet --queries q.parquet --format markdown")]
    Sparsity {
        /// The documents' vectors; `-` for stdin
        #[arg(default_value = "-")]
        vectors: PathBuf,
        /// The queries' vectors, for FLOPS
        #[arg(long, value_name = "VECTORS")]
        queries: Option<PathBuf>,
        /// text, jsonl or markdown
        #[arg(long, value_name = "FORM", default_value = "text")]
        format: Format,
    },
    /// Report whether two runs rank identically, up to ties, and how far their scores differ
    #[command(after_long_help = "Examples:
  One engine against another, and a gate on it:
    l0-eval diff testdata/trec/run testdata/trec/baseline -k 3
    l0-eval diff testdata/trec/run testdata/trec/run --strict --max-error 1e-6

  What the difference is worth, query by query:
    l0-eval diff testdata/trec/run testdata/trec/baseline --qrels testdata/trec/qrels -m AP -q

Two documents may change places, also across the cut at k, if their scores tie in either run. `overlap`
is the share of the top k that both have, `tau` Kendall's, ties counted as agreement. `factor` is printed if
it leaves at most half of the usual difference, `explained` what alone would leave such differences. Side
by side, ! marks a document that moved, ~ one that only a tie moved.")]
    Diff(DiffArgs),
    /// Print and draw effectiveness against FLOPS, or one field of results against another
    #[command(after_long_help = "Examples:
  Two runs of one method and one of another, as a table:
    echo '{\"name\":\"a\",\"method\":\"mask\",\"ndcg\":0.41,\"flops\":2.1}' >runs.jsonl
    echo '{\"name\":\"b\",\"method\":\"mask\",\"ndcg\":0.39,\"flops\":1.2}' >>runs.jsonl
    echo '{\"name\":\"c\",\"method\":\"flops\",\"ndcg\":0.38,\"flops\":1.9}' >>runs.jsonl
    l0-eval tradeoff runs.jsonl

  And drawn:
    l0-eval tradeoff runs.jsonl --svg runs.svg

  The cost alone of one method, as a curve; any number in the results can be an axis or a column:
    l0-eval tradeoff runs.jsonl --where method=mask --x ndcg --y flops --lines --svg cost.svg

The front is what no other point beats: at most its x, at least its y, and better on one side.")]
    Tradeoff(TradeoffArgs),
}

/// Two runs side by side.
#[derive(Args)]
pub struct DiffArgs {
    /// A run in TREC format; `-` for stdin
    pub a: PathBuf,
    /// The run to compare it with
    pub b: PathBuf,
    /// Hits compared per query
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = values::depth)]
    pub k: usize,
    /// Scores of one run that differ by less than this share are ties
    #[arg(long, value_name = "SHARE", default_value_t = 1e-6, value_parser = values::not_below_zero)]
    pub tolerance: f64,
    /// So are those that differ by less than this
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = values::not_below_zero)]
    pub absolute_tolerance: f64,
    /// Print a line for each query first: likeness, overlap, the first rank that differs
    #[arg(short = 'q', long)]
    pub per_query: bool,
    /// Differing queries to show side by side
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub show: usize,
    /// text or jsonl
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: Format,
    /// Where the result goes
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Judgements, TREC or BEIR: measure both runs too
    #[arg(long, value_name = "QRELS", help_heading = "Measuring")]
    pub qrels: Option<PathBuf>,
    /// What to measure; may be repeated; without it nDCG@10, RR@10, R@100 and AP
    #[arg(short, long = "measure", value_name = "MEASURE", requires = "qrels",
          help_heading = "Measuring", hide_possible_values = true,
          value_parser = suggest::<Measure>(suggest::MEASURES))]
    pub measures: Vec<Measure>,
    /// Exit status 4 unless every query has the same ranking, up to ties
    #[arg(long, help_heading = "Gates")]
    pub strict: bool,
    /// The least mean overlap, ties excused, else exit status 4
    #[arg(long, value_name = "SHARE", value_parser = values::not_below_zero, help_heading = "Gates")]
    pub min_overlap: Option<f64>,
    /// The largest relative score difference, after the factor if one is printed, else exit status 4
    #[arg(long, value_name = "SHARE", value_parser = values::not_below_zero, help_heading = "Gates")]
    pub max_error: Option<f64>,
    /// What happens to refused lines
    #[command(flatten)]
    pub rejects: RejectArgs,
    /// Threads, and what is printed
    #[command(flatten)]
    pub run: RunArgs,
}

/// Points of effectiveness and cost.
#[derive(Args)]
pub struct TradeoffArgs {
    /// JSON lines, or an array, of {"name", "method", "nDCG@10", "flops", ...}, one a seed
    #[arg(value_name = "RESULTS")]
    pub results: Vec<PathBuf>,
    /// Where the drawing goes
    #[arg(long, value_name = "OUT")]
    pub svg: Option<PathBuf>,
    /// The field to the right
    #[arg(long, value_name = "FIELD", default_value = FLOPS)]
    pub x: String,
    /// The field upwards
    #[arg(long, value_name = "FIELD", default_value = NDCG)]
    pub y: String,
    /// Further fields for the table, between commas
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Only results whose field has this value; may be repeated
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub conditions: Vec<Condition>,
    /// text, jsonl or markdown
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: Format,
    /// Draw x on a logarithmic scale
    #[arg(long, requires = "svg", help_heading = "Drawing")]
    pub log: bool,
    /// Join the points of a method, and leave their names out
    #[arg(long, requires = "svg", help_heading = "Drawing")]
    pub lines: bool,
    /// Label below the drawing [default: the field]
    #[arg(long, requires = "svg", value_name = "TEXT", help_heading = "Drawing")]
    pub x_label: Option<String>,
    /// Label at the side of the drawing [default: the field]
    #[arg(long, requires = "svg", value_name = "TEXT", help_heading = "Drawing")]
    pub y_label: Option<String>,
}
