//! l0-index: sparse vectors in, one index file out.
//!
//!     l0-encode corpus.jsonl | l0-index -o corpus.l0x
//!     l0-index stats corpus.l0x

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use l0::internal::{
    Error, Result,
    cli::{
        self, Progress, RunArgs,
        exchange::{ExportArgs, ImportArgs},
        index::{AppendArgs, BuildArgs, Other, QueryWeights},
        values::{self, ReportForm},
    },
    exchange::{self, Export, Import, lines::Names},
    index::{self, Draft, Index, Metadata, Order, Plan, QuerySide, Step, TableSource, Weights},
    io::{Content, Input, Output},
    model::{self, ModelDirectory, shipped},
    records::rejects::Rejects,
    search,
    text::{Reweighting, Tokenizer},
};

/// Makes one index file of sparse vectors: Parquet, Arrow or JSON lines, from files or a pipe.
///
/// The file is complete: postings, document ids, tokenizer, query table, fingerprints, and the texts
/// if the vectors were encoded with --keep-text. A query needs nothing else.
#[derive(Parser)]
#[command(name = "l0-index", version, args_conflicts_with_subcommands = true, after_long_help = EXAMPLES)]
struct Command {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    build: BuildArgs,
}

const EXAMPLES: &str = "Examples:
  BM25 impacts of the demo collection:
    l0-encode --model bm25 --tokenizer testdata/demo testdata/demo/corpus.jsonl -o demo.parquet
    l0-index demo.parquet --tokenizer testdata/demo -o demo.l0x

  What is in it, and whether every byte of it is sound:
    l0-index stats demo.l0x && l0-index verify demo.l0x";

fn main() -> ExitCode {
    shipped::carry();
    let command: Command = cli::parse();
    cli::exit("l0-index", cli::with_options(run(command), &OPTIONS))
}

/// What the library's messages call settings, and the options for them.
const OPTIONS: [(&str, &str); 10] = [
    ("a model or a tokenizer", "--model DIR or --tokenizer DIR"),
    (
        "give the model that made them, or its tokenizer and query weights",
        "name the model that made them: --model DIR, or --tokenizer DIR with --query-weights",
    ),
    ("give the tokenizer of the model", "give the tokenizer of the model with --tokenizer"),
    ("with weights of one type", "with the same --weights"),
    ("with the same query weights", "with the same --query-weights"),
    ("expected an output file", "expected -o FILE"),
    ("give the role", "give --role"),
    ("expected a quantization", "expected a --quantize"),
    ("max and minmax read", "--quantize max and minmax read"),
    ("with f32 weights", "with --weights f32"),
];

fn run(command: Command) -> Result<()> {
    match command.other {
        None => build(command.build),
        Some(Other::Stats { index, json }) => {
            let form = if json { ReportForm::Json } else { ReportForm::Lines };
            let output = Output::create(Path::new("-"))?;
            values::report(output, &Index::open(&index)?.stats()?, form)
        }
        Some(Other::Verify { index }) => Index::open(&index)?.verify(),
        Some(Other::Append(args)) => append(args),
        Some(Other::Export(args)) => export(&args),
        Some(Other::Import(args)) => import(&args),
        Some(Other::Merge { indexes, output, seed, run }) => {
            run.start_threads();
            let mut output = Output::create(&output)?;
            let indexes: Vec<Index> =
                indexes.iter().map(|path| Index::open(path)).collect::<Result<_>>()?;
            let (name, place) = (output.name().to_owned(), output.unfinished());
            let draft = index::merge(&indexes, &mut output, &name)?;
            let built = search::calibrated(draft, place.as_deref(), seed)?;
            output.commit()?;
            let (docs, postings) = (built.docs, built.postings);
            run.say("l0-index", &format!("{docs} documents, {postings} postings"));
            Ok(())
        }
    }
}

fn build(args: BuildArgs) -> Result<()> {
    args.work.run.start_threads();
    let Some(path) = &args.output else {
        return Err(Error::Usage("expected -o INDEX, the file to write".into()));
    };
    cli::apart(path, &args.vectors)?;
    let output = Output::create(path)?;
    if output.is_terminal() {
        return Err(Error::Usage("will not write an index to a terminal; say -o FILE".into()));
    }
    let (model, language, reweighting) = resolve_query_side(
        args.model.as_deref(),
        args.tokenizer.as_deref(),
        args.query_weights.as_ref(),
    )?;
    let model_sha256 = match &model {
        Some(model) => model::fingerprint(&model.encoder)?,
        None => None,
    };
    let plan = Plan {
        language: &language,
        reweighting,
        model_sha256: model_sha256.as_deref(),
        trusting: args.model.is_some() || args.tokenizer.is_some(),
        weights: if args.compact { Weights::U6 } else { args.weights },
        order: if args.compact { Order::Bp } else { args.order },
        memory: args.work.memory,
    };
    let rejects = args.work.rejects.open(path)?;
    let target = Target { output, rejects, seed: args.work.seed, before: 0 };
    write(&args.vectors, target, &args.work.run, |inputs, rejects, progress, output| {
        index::build(inputs, &plan, rejects, progress, output)
    })
}

fn append(args: AppendArgs) -> Result<()> {
    args.work.run.start_threads();
    let index = Index::open(&args.index)?;
    let (mut part, output) = (Output::create(&args.output)?, Output::create(&args.output)?);
    let rejects = args.work.rejects.open(&args.output)?;
    let memory = args.work.memory;
    let before = index.metadata().docs;
    let target = Target { output, rejects, seed: args.work.seed, before };
    write(&args.vectors, target, &args.work.run, |inputs, rejects, progress, output| {
        index::append(index, inputs, memory, rejects, progress, &mut part, output)
    })
}

/// The output of an index.
struct Target {
    output: Output,
    rejects: Rejects,
    seed: u64,
    /// Documents of an index to which the inputs are added, 0 for a new one.
    before: u32,
}

/// Opens the inputs, lets `build` write, ends and commits the output, and reports.
fn write(
    vectors: &[PathBuf],
    Target { mut output, mut rejects, seed, before }: Target,
    run: &RunArgs,
    build: impl for<'a> FnOnce(
        Vec<Input>,
        &mut Rejects,
        &mut dyn FnMut(Step),
        &'a mut Output,
    ) -> Result<Draft<'a>>,
) -> Result<()> {
    let inputs = cli::inputs(vectors)?;
    for bare in inputs.iter().filter(|input| input.content() == Content::Text) {
        let trusted =
            "JSON lines carry no fingerprint: that they belong to the tokenizer is trusted";
        run.say("l0-index", &format!("{}: {trusted}", bare.name()));
    }
    let sources = inputs.iter().map(|input| input.consumed()).collect();
    let mut progress = Progress::new("l0-index", "docs", sources, run);
    let place = output.unfinished();
    let draft = build(inputs, &mut rejects, &mut |step| progress.step(step), &mut output);
    let built = draft.and_then(|draft| search::calibrated(draft, place.as_deref(), seed));
    let (_, seconds) = progress.finish();
    let built = built.and_then(|built| {
        rejects.check(u64::from(built.docs - before))?;
        output.commit()?;
        Ok(built)
    });
    let refused = rejects.count();
    rejects.finish()?; // also when all else failed: it says why
    let built = built?;
    if built.docs == 0 {
        cli::warn("l0-index", "the inputs have no rows: the index is empty");
    }
    run.say("l0-index", &summary(&built, refused, seconds));
    Ok(())
}

fn summary(built: &Metadata, refused: u64, seconds: f64) -> String {
    let (docs, postings, time) = (built.docs, built.postings, cli::clock(seconds));
    let refused = if refused > 0 { format!("; {refused} refused") } else { String::new() };
    let table = &built.query_weights;
    format!("{docs} documents, {postings} postings in {time}; query weights: {table}{refused}")
}

/// The model that is named, or the shipped one if none is named, what turns
/// queries into terms and weights, and what the corpus makes of the weights.
fn resolve_query_side(
    model: Option<&Path>,
    tokenizer: Option<&Path>,
    query_weights: Option<&QueryWeights>,
) -> Result<(Option<ModelDirectory>, QuerySide, Option<Reweighting>)> {
    let model = match (model, tokenizer) {
        (None, Some(_)) => None,
        (None, None) => Some(ModelDirectory::open(Path::new(shipped::DEFAULT))?),
        (Some(model), _) => Some(ModelDirectory::open(model)?),
    };
    let own = model.as_ref().and_then(|model| model.query_table.as_deref());
    let (table, reweighting) = match (query_weights, own) {
        (Some(QueryWeights::File(file)), _) => (TableSource::File(file), None),
        (Some(QueryWeights::Corpus), Some(own)) => {
            (TableSource::File(own), Some(Reweighting::OF_A_MODEL))
        }
        (Some(QueryWeights::Corpus), None) => (TableSource::Words, Some(Reweighting::Idf)),
        (Some(QueryWeights::Model), None) => {
            let expected = "--query-weights model: expected a model with a query table, found none";
            return Err(Error::Usage(format!("{expected}; use unit, corpus or a FILE")));
        }
        (None, Some(own)) => {
            (TableSource::File(own), model.as_ref().and_then(|model| model.reweighting))
        }
        (Some(QueryWeights::Model), Some(own)) => (TableSource::File(own), None),
        (None | Some(QueryWeights::Unit), _) => (TableSource::Unit, None),
    };
    let folder = model.as_ref().map(|model| model.encoder.as_path()).or(tokenizer);
    let language = QuerySide::load(folder.unwrap_or(Path::new(".")), table)?;
    Ok((model, language, reweighting))
}

fn export(args: &ExportArgs) -> Result<()> {
    args.run.start_threads();
    cli::apart(&args.output, &args.inputs)?;
    let stdin = [PathBuf::from("-")];
    let inputs = if args.inputs.is_empty() { &stdin[..] } else { &args.inputs[..] };
    let index = match inputs {
        [one] if Index::is(one)? => Some(Index::open(one)?),
        _ => None,
    };
    let (source, language) = match &index {
        Some(index) if args.model.is_some() || args.tokenizer.is_some() => {
            let name = index.name();
            let wanted = "an index has its own tokenizer: leave --model and --tokenizer out";
            return Err(Error::Usage(format!("{name}: {wanted}")));
        }
        Some(index) => (exchange::Source::Index(index), QuerySide::of(index)?),
        None => {
            let (_, language, reweighting) =
                resolve_query_side(args.model.as_deref(), args.tokenizer.as_deref(), None)?;
            if reweighting.is_some() {
                args.run.say(
                    "l0-index",
                    "the sample query has the weights of the model's table; export an index for those fitted to \
                     the collection",
                );
            }
            (exchange::Source::Vectors(inputs), language)
        }
    };
    let said = source.role()?;
    let role = args.role.or(said).unwrap_or(exchange::Role::Documents);
    if said.is_none() {
        let trusted =
            "vectors that carry no fingerprint: that they belong to the tokenizer is trusted";
        args.run.say("l0-index", trusted);
    }
    let names = Names { collection: args.name.clone(), field: args.field.clone() };
    let quantize = args.rule(role);
    let plan = Export { language: &language, target: args.to, names, quantize, role, k: args.k };
    let unit = if args.to.by_list() { "lists" } else { "rows" };
    let mut progress = Progress::new("l0-index", unit, Vec::new(), &args.run);
    let summary = exchange::export(&source, &plan, &args.output, &mut || progress.add(1));
    let (_, seconds) = progress.finish();
    args.run.say("l0-index", &args.summary(&summary?, seconds));
    Ok(())
}

fn import(args: &ImportArgs) -> Result<()> {
    args.run.start_threads();
    args.check()?;
    cli::apart(&args.output, args.ids.iter().chain([&args.input]))?;
    let form = cli::vector_form(&args.output, args.format)?;
    let output = Output::create(&args.output)?;
    let mut rejects = args.rejects.open(&args.output)?;
    let tokenizer = Tokenizer::load(&args.tokenizer)?;
    let plan = Import {
        from: args.from,
        ids: args.ids.as_deref(),
        vocabulary: tokenizer.vocabulary(),
        divide: args.divide,
        name: args.name.as_deref(),
        role: if args.queries { exchange::Role::Queries } else { exchange::Role::Documents },
        keep_text: args.keep_text,
    };
    let mut progress = Progress::new("l0-index", "rows", Vec::new(), &args.run);
    let read = exchange::import(&args.input, &plan, &mut rejects, output, form, || progress.add(1));
    let (_, seconds) = progress.finish();
    let refused = rejects.count();
    rejects.finish()?;
    args.run.say("l0-index", &args.summary(read?, refused, seconds));
    Ok(())
}
