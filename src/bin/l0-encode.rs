//! l0-encode: text in, sparse vectors out.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use l0::internal::{
    Error, Result,
    cli::{
        self,
        suggest::{self, suggest},
    },
    device::{Choice, Precision},
    encode::{EncodeConfig, Job, Model, Role, Shard, bm25::Bm25, idf, join, texts},
    io::{Input, Output},
    model::{Activation, Overrides, shipped},
    sparse::Prune,
    text::Tokenizer,
    vectors::Form,
};

const PROGRAM: &str = "l0-encode";

/// Encodes documents or queries into sparse vectors, one row each, in input order
///
/// Documents are JSON lines {"_id", "title", "text"}, or Parquet or Arrow tables with these columns;
/// gzip and zstd are decompressed. Without INPUT, or for `-`, standard input is read.
///
/// Parquet and Arrow also get the document frequencies of the word pieces, from which l0-index
/// --query-weights corpus makes query weights.
#[derive(Parser)]
#[command(
    name = "l0-encode",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
#[command(after_long_help = "Examples:
  BM25 impacts of the demo collection, without a network:
    l0-encode --model bm25 testdata/demo/corpus.jsonl -o bm25.parquet

  The vectors of the model that ships with the program, as JSON lines on the terminal:
    head -1 testdata/demo/corpus.jsonl | l0-encode --format jsonl

  Those of another:
    l0-encode --model testdata/toy testdata/demo/corpus.jsonl -o toy.parquet")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    encode: EncodeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Make the query table of a corpus: ln(1 + (N - df + 0.5)/(df + 0.5)) for every token
    Idf(IdfArgs),
    /// Join the parts that --shard made to one output, rows in the order of the input
    Join(JoinArgs),
}

#[derive(Args)]
struct EncodeArgs {
    /// Files of documents or queries
    input: Vec<PathBuf>,
    /// Where the rows go: .parquet, .arrow or .jsonl
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    output: PathBuf,
    /// parquet, arrow or jsonl [default: by the output's name; arrow into a pipe, jsonl on a terminal]
    #[arg(long, value_name = "FORM", hide_possible_values = true,
          value_parser = suggest::<Form>(suggest::FORMS))]
    format: Option<Form>,
    /// A model directory, a model that ships with the program (l0:default, l0:tiny), a model's name on the
    /// hub (org/name, org/name@revision), or bm25 [default: l0:default]
    #[arg(long, value_name = "DIR|bm25")]
    model: Option<PathBuf>,
    /// With --model bm25: whose word pieces, a model as above or a tokenizer.json [default: l0:default]
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// What the input is
    #[arg(long, value_enum, default_value = "document")]
    role: RoleArg,
    /// none, top_k:K, max_ratio:R, abs_value:V or alpha_mass:A [default: the model's own]
    #[arg(long, value_name = "RULE", hide_possible_values = true,
          value_parser = suggest::<Prune>(suggest::RULES))]
    prune: Option<Prune>,
    /// Longest text in tokens, including special ones [default: the model's; none for bm25]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..))]
    max_tokens: Option<u32>,
    /// log1p:1 (SPLADE) to log1p:4, in place of what the model's files say (log1p:1 if nothing)
    #[arg(long, value_name = "NAME", hide_possible_values = true,
          value_parser = suggest::<Activation>(suggest::ACTIVATIONS))]
    activation: Option<Activation>,
    /// What is added for how often a document has a term: WEIGHT times BM25's term frequency (k1 1.2,
    /// b 0.75, 150 tokens the usual length), 0 for nothing [default: the model's, for most nothing]
    #[arg(long, value_name = "WEIGHT")]
    lexical: Option<f32>,
    /// k1 of BM25
    #[arg(long, default_value_t = 1.2, value_name = "X")]
    k1: f32,
    /// b of BM25
    #[arg(long, default_value_t = 0.75, value_name = "X")]
    b: f32,
    /// Keep title and text in the rows
    #[arg(long)]
    keep_text: bool,
    /// Only the rows with number ≡ I mod N
    #[arg(long, default_value_t = Shard::WHOLE, value_name = "I/N")]
    shard: Shard,
    /// Keep finished parts in OUTPUT.parts, and continue from those that exist
    #[arg(long)]
    resume: bool,
    /// cpu, cuda, cuda:I, or auto: a CUDA device if there is one
    #[arg(long, default_value = "cpu", value_name = "DEVICE", help_heading = "Running",
          hide_possible_values = true, value_parser = suggest::<Choice>(suggest::DEVICES))]
    device: Choice,
    /// f32 or bf16; on a CUDA device also f16
    #[arg(long, default_value_t = Precision::F32, value_name = "TYPE", help_heading = "Running",
          hide_possible_values = true, value_parser = suggest::<Precision>(suggest::WIDTHS))]
    dtype: Precision,
    /// Tokens encoded at a time
    #[arg(long, default_value_t = 16_384, value_name = "N", help_heading = "Running")]
    batch_tokens: usize,
    #[command(flatten)]
    rejects: cli::RejectArgs,
    #[command(flatten)]
    run: cli::RunArgs,
}

#[derive(Args)]
#[command(after_long_help = "Examples:
  The table of a corpus:
    l0-encode idf --tokenizer testdata/toy testdata/demo/corpus.jsonl -o idf.json

  Of what a model reads of each document, as far as it reads:
    l0-encode idf --tokenizer testdata/toy --max-tokens 64 testdata/demo/corpus.jsonl | head -5")]
struct IdfArgs {
    /// Files of documents
    corpus: Vec<PathBuf>,
    /// Whose word pieces: a model directory, l0:default, l0:tiny, or a tokenizer.json
    #[arg(long, value_name = "DIR")]
    tokenizer: PathBuf,
    /// Where the table goes
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    output: PathBuf,
    /// Count this many tokens of each document, special ones included [default: all]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    #[command(flatten)]
    rejects: cli::RejectArgs,
    #[command(flatten)]
    run: cli::RunArgs,
}

#[derive(Args)]
#[command(after_long_help = "Examples:
  Two processes, and the bytes that one makes:
    l0-encode --shard 0/2 testdata/demo/corpus.jsonl -o 0.parquet
    l0-encode --shard 1/2 testdata/demo/corpus.jsonl -o 1.parquet
    l0-encode join 0.parquet 1.parquet -o all.parquet")]
struct JoinArgs {
    /// What --shard 0/N to --shard N-1/N made, in this order
    #[arg(required = true)]
    parts: Vec<PathBuf>,
    /// Where the rows go: .parquet, .arrow or .jsonl
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    output: PathBuf,
    /// parquet, arrow or jsonl [default: as of l0-encode]
    #[arg(long, value_name = "FORM", hide_possible_values = true,
          value_parser = suggest::<Form>(suggest::FORMS))]
    format: Option<Form>,
    #[command(flatten)]
    run: cli::RunArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleArg {
    Document,
    Query,
}

fn main() -> ExitCode {
    shipped::carry();
    let arguments: Arguments = cli::parse();
    let done = match arguments.command {
        Some(Command::Idf(idf)) => run_idf(idf),
        Some(Command::Join(join)) => run_join(join),
        None => run(arguments.encode),
    };
    cli::exit(PROGRAM, cli::with_options(done, &OPTIONS))
}

/// What the library's messages call settings, and the options for them.
const OPTIONS: [(&str, &str); 6] = [
    ("device:", "--device:"),
    ("dtype:", "--dtype:"),
    ("longest text:", "--max-tokens:"),
    ("resume:", "--resume:"),
    ("expected an output file", "expected -o FILE"),
    ("expected JSON lines as output", "expected --format jsonl"),
];

fn run(args: EncodeArgs) -> Result<()> {
    args.run.start_threads();
    let form = cli::vector_form(&args.output, args.format)?;
    let role = match args.role {
        RoleArg::Document => Role::Document,
        RoleArg::Query => Role::Query,
    };
    let config = EncodeConfig {
        batch_tokens: args.batch_tokens.max(1),
        prune: args.prune.unwrap_or(Prune::None),
        keep_text: args.keep_text,
    };
    if args.resume && l0::internal::io::is_object(&args.output) {
        let reason = "--resume keeps parts next to the output: expected a file of this machine, found an object";
        return Err(Error::Usage(reason.into()));
    }
    cli::apart(&args.output, &args.input)?;
    // before the long work, so that a folder that cannot be written is reported at once
    let output = (!args.resume).then(|| Output::create(&args.output)).transpose()?;
    let mut rejects = args.rejects.open(&args.output)?;
    let inputs = cli::inputs(&args.input)?;
    let model = load(&args, role)?;
    let sources = inputs.iter().map(Input::consumed).collect();
    let mut progress = cli::Progress::new(PROGRAM, "docs", sources, &args.run);
    let job = Job { model: &model, role, config, shard: args.shard };
    let done = match output {
        None => job.resume(inputs, &mut rejects, &args.output, form, || progress.add(1)),
        Some(output) => job
            .run(inputs, &mut rejects, output, form, || progress.add(1))
            .map(|summary| (summary, 0)),
    };
    let (_, seconds) = progress.finish();
    let refused = rejects.count();
    rejects.finish()?;
    let (summary, finished) = done?;
    args.run.say(PROGRAM, &cli::encoded(&summary, finished, refused, seconds));
    Ok(())
}

fn load(args: &EncodeArgs, role: Role) -> Result<Model> {
    let max_tokens = args.max_tokens.map(|count| count as usize);
    let is_bm25 = args.model.as_deref().is_some_and(|model| model.as_os_str() == "bm25");
    if args.lexical.is_some() && (is_bm25 || role == Role::Query) {
        let reason = "--lexical is for documents that a network encodes";
        return Err(Error::Usage(reason.into()));
    }
    let default = Path::new(shipped::DEFAULT);
    if is_bm25 {
        let tokenizer = Tokenizer::load(args.tokenizer.as_deref().unwrap_or(default))?;
        return Ok(Model::Bm25 { tokenizer, bm25: Bm25::new(args.k1, args.b)?, max_tokens });
    }
    if args.tokenizer.is_some() {
        return Err(Error::Usage("--tokenizer goes with --model bm25 only".into()));
    }
    let (compute, _) = args.device.open()?;
    if args.device == Choice::Auto {
        args.run.say(PROGRAM, &format!("--device auto: {compute}"));
    }
    let overrides = Overrides {
        activation: args.activation,
        max_tokens,
        lexical: args.lexical,
        // a rule that is asked for takes the place of the model's own
        prune: args.prune.map(|_| Prune::None),
    };
    Model::load(args.model.as_deref().unwrap_or(default), role, overrides, compute, args.dtype)
}

fn run_idf(args: IdfArgs) -> Result<()> {
    args.run.start_threads();
    let tokenizer = Tokenizer::load(&args.tokenizer)?;
    let output = Output::create(&args.output)?;
    let mut rejects = args.rejects.open(&args.output)?;
    let inputs = cli::inputs(&args.corpus)?;
    let sources = inputs.iter().map(Input::consumed).collect();
    let mut progress = cli::Progress::new(PROGRAM, "docs", sources, &args.run);
    let documents = texts(Role::Document, inputs, &mut rejects);
    let max_tokens = args.max_tokens.unwrap_or(usize::MAX);
    let counted = idf::count(documents, &tokenizer, max_tokens, || progress.add(1))?;
    progress.finish();
    let checked = rejects.check(counted.documents());
    rejects.finish()?;
    checked?;
    idf::write(&counted, &tokenizer, output)
}

fn run_join(args: JoinArgs) -> Result<()> {
    cli::apart(&args.output, &args.parts)?;
    let form = cli::vector_form(&args.output, args.format)?;
    let output = Output::create(&args.output)?;
    let parts = cli::inputs(&args.parts)?;
    let sources = parts.iter().map(Input::consumed).collect();
    let mut progress = cli::Progress::new(PROGRAM, "rows", sources, &args.run);
    let rows = join(parts, output, form, || progress.add(1))?;
    let (_, seconds) = progress.finish();
    let count = args.parts.len();
    args.run.say(PROGRAM, &format!("{rows} rows of {count} parts in {}", cli::clock(seconds)));
    Ok(())
}
