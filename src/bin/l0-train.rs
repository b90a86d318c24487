//! l0-train: a recipe and examples in, a model directory out.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use l0::internal::{
    Error, Result,
    cli::{
        self,
        from_dense::FromDenseArgs,
        suggest::{self, suggest},
        train::{CheckArgs, ExportArgs, MineArgs, ScoreArgs},
    },
    device::{self, Choice, Precision},
    index::Index,
    io::{self, Consumed, Input, Output},
    model::shipped,
    records::{Records, examples::ExampleWriter, rejects::Rejects, trec::Qrels},
    search::{Detail, Engine, Method, SearchConfig},
    text::Tokenizer,
    train::{
        data::teacher::{self, TeacherName},
        recipe::{Recipe, SourceRecipe, change},
        run::trainer::Trainer,
        tools::{
            check::check,
            export::{Changes, export},
            from_dense::{FromDense, Made},
            mine::MineRule,
            score::{Raw, Work},
        },
    },
};

const PROGRAM: &str = "l0-train";

/// Trains a sparse retrieval model as a recipe says
///
/// The resulting directory loads in Sentence Transformers, transformers and l0-encode. It holds
/// train.jsonl, one record for each logged step, and checkpoints/, from which --resume continues.
#[derive(Parser)]
#[command(
    name = "l0-train",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
#[command(after_long_help = "Examples:
  Train on the demo collection, for fewer steps than the recipe says:
    l0-train testdata/demo/recipe.toml -o model --set stage.0.steps=4

  Look whether a recipe works, without leaving anything:
    l0-train testdata/demo/recipe.toml -o other --dry-run

docs/training.md goes from two files of yours to a searched index and lists what a recipe says.")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: TrainArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Turn a sentence encoder into an inference-free sparse retriever, without labels
    FromDense(FromDenseArgs),
    /// Report what is wrong with training data
    Check(CheckArgs),
    /// Find hard negatives with an index of the corpus
    Mine(MineArgs),
    /// Ask teachers for scores of examples
    Score(ScoreArgs),
    /// Write a trained model as one small directory to ship; of several, their mean
    #[command(alias = "pack")]
    Export(ExportArgs),
}

#[derive(Args)]
struct TrainArgs {
    /// What to do, as TOML
    #[arg(required = true)]
    recipe: Option<PathBuf>,
    /// Where the model, the log and the checkpoints go
    #[arg(long, short, required = true, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Change the recipe: stage.0.lr=1e-5; may be repeated
    #[arg(long, value_name = "KEY=VALUE", hide_possible_values = true,
          value_parser = suggest::<String>(suggest::RECIPE_KEYS))]
    set: Vec<String>,
    /// Continue from the last checkpoint in DIR
    #[arg(long)]
    resume: bool,
    /// Read everything, do one step, write nothing
    #[arg(long)]
    dry_run: bool,
    /// cpu, cuda, cuda:I or auto
    #[arg(long, default_value = "cpu", value_name = "DEVICE", help_heading = "Running",
          hide_possible_values = true, value_parser = suggest::<Choice>(suggest::DEVICES))]
    device: Choice,
    /// f32; on a CUDA device also bf16 or f16: the width of products and states, weights stay f32
    #[arg(long, default_value = "f32", value_name = "WIDTH", help_heading = "Running",
          hide_possible_values = true, value_parser = suggest::<Precision>(suggest::WIDTHS))]
    dtype: Precision,
    #[command(flatten)]
    run: cli::RunArgs,
}

fn main() -> ExitCode {
    device::settle();
    shipped::carry();
    let arguments: Arguments = cli::parse();
    let done = match arguments.command {
        Some(Command::FromDense(args)) => run_from_dense(args),
        Some(Command::Check(args)) => run_check(args),
        Some(Command::Mine(args)) => run_mine(args),
        Some(Command::Score(args)) => run_score(args),
        Some(Command::Export(args)) => run_export(args),
        None => run(arguments.train),
    };
    cli::exit(PROGRAM, cli::with_options(done, &OPTIONS))
}

/// What the library's messages call settings, and the options for them.
const OPTIONS: [(&str, &str); 7] = [
    ("device:", "--device:"),
    ("dtype:", "--dtype:"),
    ("longest text:", "--max-tokens:"),
    ("change `", "--set `"),
    ("resume it", "continue it with --resume"),
    ("the same changes to it", "the same --set"),
    ("expected a folder for the model", "-o: expected a folder"),
];

fn run(args: TrainArgs) -> Result<()> {
    args.run.start_threads();
    let (Some(file), Some(output)) = (&args.recipe, &args.output) else {
        return Err(Error::Usage("expected a recipe and --output DIR".into()));
    };
    let recipe = Recipe::load(file, &args.set)?;
    let (compute, device) = args.device.open()?;
    let dtype = compute.training_dtype(args.dtype)?;
    args.run.say(PROGRAM, &format!("{} steps on {compute} in {}", recipe.steps(), args.dtype));
    let text = change::with_changes(file, &args.set)?;
    let on = (&device, dtype);
    let mut say = |line: &str| args.run.say(PROGRAM, line);
    let mut trainer = Trainer::reporting(recipe, &text, output.clone(), on, &mut say)?;
    if let Some(remark) = trainer.remarks() {
        args.run.say(PROGRAM, &remark);
    }
    if args.dry_run {
        let record = trainer.step()?;
        args.run.say(PROGRAM, &format!("dry run: {record}"));
        return Ok(());
    }
    if args.resume {
        trainer.resume()?;
        args.run.say(PROGRAM, &format!("goes on after step {}", trainer.steps_done()));
    }
    trainer.run(|event| args.run.say(PROGRAM, &event.to_string()))?;
    args.run.say(PROGRAM, &format!("wrote {}", output.display()));
    Ok(())
}

fn run_from_dense(args: FromDenseArgs) -> Result<()> {
    args.run.start_threads();
    let directory = args.directory()?;
    let background = args.passages()?;
    let mut progress = cli::Progress::new(PROGRAM, "texts", Vec::new(), &args.run);
    let (queries, table) = (args.short_texts()?, args.table(&directory)?);
    let work = FromDense {
        directory: &directory,
        background: &background,
        queries: &queries,
        table: table.as_deref(),
        rules: args.rules(),
    };
    let made = work.write(&args.output, |texts| progress.add(texts as u64))?;
    let (_, seconds) = progress.finish();
    let Made { terms, words, passages, queries } = made;
    let fitted = if queries > 0 { format!("fitted to {queries} texts, ") } else { String::new() };
    args.run.say(
        PROGRAM,
        &format!(
            "wrote {}: {words} of {terms} terms are words, {fitted}calibrated on {passages} passages in {}",
            args.output.display(),
            cli::clock(seconds)
        ),
    );
    Ok(())
}

fn run_check(args: CheckArgs) -> Result<()> {
    args.run.start_threads();
    let tokenizer = args.tokenizer.as_deref().map(Tokenizer::load).transpose()?;
    let mut fatal = Vec::new();
    let mut output = Output::create(Path::new("-"))?;
    for path in args.data {
        let name = path.display().to_string();
        let (texts, scores) = (args.texts.clone(), args.scores.clone());
        let source =
            SourceRecipe { texts, scores, split: args.split.clone(), ..SourceRecipe::of(path) };
        let found = check(&source, tokenizer.as_ref(), args.max_tokens)?;
        writeln!(output, "{name}\n{found}").map_err(|source| Error::io(output.name(), source))?;
        if found.is_fatal() {
            fatal.push(name);
        }
    }
    output.commit()?;
    match fatal.first() {
        Some(name) => Err(Error::format(name, "expected data that can be trained on; see above")),
        None => Ok(()),
    }
}

fn run_mine(args: MineArgs) -> Result<()> {
    args.run.start_threads();
    if args.from == 0 || args.from > args.to || args.negatives == 0 {
        return Err(Error::Usage("expected --from from 1 to --to, and --negatives above 0".into()));
    }
    if args.output.extension().is_some_and(|end| end == "parquet" || end == "arrow") {
        let output = args.output.display();
        return Err(Error::Usage(format!(
            "mine writes JSON lines: expected -o FILE.jsonl, found {output}"
        )));
    }
    let indexes = args.index.iter().map(|path| Index::open(path)).collect::<Result<Vec<_>>>()?;
    if let Some(model) = &args.model {
        let tokenizer = Tokenizer::load(model)?;
        let fingerprint = tokenizer.vocabulary().fingerprint();
        indexes.iter().try_for_each(|index| index.check_fingerprint(fingerprint))?;
    }
    let config = SearchConfig { k: args.to, method: Method::Exact, detail: Detail::Hit };
    let engine = Engine::new(indexes, config)?;
    let mut rejects = Rejects::stop();
    let qrels = Qrels::read(Input::open(&args.qrels)?, &mut rejects)?;
    let queries = Records::queries(vec![Input::open(&args.queries)?], &mut rejects);
    let mut output = Output::create(&args.output)?;
    let MineArgs { from: first, to: last, negatives: count, margin, seed, .. } = args;
    let rule = MineRule { first, last, count, margin, seed };
    let find = |query: &_| {
        let found = engine.find(query)?.into_iter();
        let named = found.map(|found| {
            let id = engine.indexes()[found.index].docno(found.hit.doc)?;
            Ok((id.to_owned(), found.hit.score))
        });
        named.collect::<Result<Vec<_>>>()
    };
    let mined = rule.mine(queries, &qrels, find, |line| {
        writeln!(output, "{line}").map_err(|source| Error::io(output.name(), source))
    })?;
    output.commit()?;
    let summary = format!(
        "{} queries with {} negatives; left out: {} without a good document, {} without a negative",
        mined.written, mined.negatives, mined.without_good, mined.without_negative
    );
    args.run.say(PROGRAM, &summary);
    Ok(())
}

fn run_export(args: ExportArgs) -> Result<()> {
    args.run.start_threads();
    let card = args.card.as_deref().map(io::read_text).transpose()?;
    let ExportArgs { lexical, threshold, max_tokens, .. } = args;
    let changes = Changes { lexical, threshold, max_tokens, card };
    export(&args.models, &changes, args.dtype.size(), &args.output)?;
    args.run.say(PROGRAM, &format!("wrote {}", args.output.display()));
    Ok(())
}

fn run_score(args: ScoreArgs) -> Result<()> {
    args.run.start_threads();
    let form = cli::vector_form(&args.output, args.format)?;
    let output = Output::create(&args.output)?;
    let mut teachers = args.teachers()?;
    let recipe = SourceRecipe { texts: args.texts.clone(), ..SourceRecipe::of(args.data) };
    let work = Work::read(&recipe)?;
    args.run.say(PROGRAM, &work.to_string());
    for (teacher, weight) in &teachers {
        let statistics = match &teacher.name {
            TeacherName::Bm25 => format!(", statistics of {}", work.statistics()),
            _ => String::new(),
        };
        args.run.say(PROGRAM, &format!("teacher {teacher}{statistics}, weight {weight}"));
    }
    let (keep, raw) = match args.keep_raw {
        true => (Raw::Keep, teachers.len()),
        false => (Raw::Drop, 0),
    };
    let writer = ExampleWriter::new(output, form, &teacher::described(&teachers), raw)?;
    let left = Consumed::of(work.bytes() * teachers.len() as u64);
    let mut progress = cli::Progress::new(PROGRAM, "texts", vec![left.clone()], &args.run);
    let scores = work.score(&mut teachers, keep, |texts, bytes| {
        left.add(bytes);
        progress.add(texts);
    })?;
    let (texts, seconds) = progress.finish();
    work.write(&scores, writer)?;
    let took = cli::clock(seconds);
    let summary = format!("{} examples; {texts} texts encoded in {took}", work.len());
    let flat = match scores.flat {
        0 => String::new(),
        flat => format!("; {flat} with scores that are all equal, which teach nothing"),
    };
    args.run.say(PROGRAM, &(summary + &flat));
    Ok(())
}
