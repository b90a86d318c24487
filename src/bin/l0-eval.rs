//! l0-eval: runs and judgements in, measures out.
//!
//!     l0-eval qrels/test.tsv bm25.run -m nDCG@10 -m R@100
//!     l0-query corpus.l0x queries.jsonl --format trec | l0-eval qrels/test.tsv - --min nDCG@10=0.35

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, value_parser};
use l0::internal::{
    Error, Result,
    cli::{
        self,
        eval::{DiffArgs, Task, TradeoffArgs},
        suggest::{self, suggest},
    },
    eval::{
        self, Detail, Floor, Format, IdenticalIds, Measure, Outcome, Picture, Scores,
        SparsityStats, Tolerance, View, Wanted,
    },
    io::{Input, Output},
    records::{
        rejects::Rejects,
        trec::{Qrels, Run},
    },
    vectors,
};

const PROGRAM: &str = "l0-eval";

const EXAMPLES: &str = "\
Examples (demo.run is made by the example of l0-query --help):
  A gate on the quality of a run:
    l0-eval testdata/demo/qrels/test.tsv demo.run --min nDCG@10=0.3

  Query by query, and what the judgements make of a second run:
    l0-eval testdata/trec/qrels testdata/trec/run -m nDCG@10 -m 'P(rel=2)@5' -q
    l0-eval testdata/trec/qrels testdata/trec/run --compare testdata/trec/baseline

Measures: nDCG RR AP P R Success Judged Bpref Rprec NumQ NumRet NumRel NumRelRet, with @CUTOFF
and (rel=GRADE) as in ir_measures, computed as trec_eval 10 computes them: hits by score, equal
scores by document id descending, the rank column passed over; a judged query without hits
counts 0.";

/// Measures runs against judgements, and compares runs.
#[derive(Parser)]
#[command(name = "l0-eval", version, after_long_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Args {
    #[command(subcommand)]
    task: Option<Task>,
    /// Judgements, TREC or BEIR; `-` for stdin
    #[arg(required = true)]
    qrels: Option<PathBuf>,
    /// Runs in TREC format; `-` for stdin
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// What to measure, as ir_measures names it; may be repeated
    /// [default: nDCG@10, RR@10, R@100, AP]
    #[arg(short, long = "measure", value_name = "MEASURE", hide_possible_values = true,
          value_parser = suggest::<Measure>(suggest::MEASURES))]
    measures: Vec<Measure>,
    /// A value for each query first, then `all`
    #[arg(short = 'q', long)]
    per_query: bool,
    /// text, jsonl or markdown
    #[arg(long, value_name = "FORM", default_value = "text")]
    format: Format,
    /// Where the results go
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// The least value that a measure may have, else exit status 4; may be repeated
    #[arg(long, value_name = "MEASURE=VALUE", hide_possible_values = true,
          value_parser = suggest::<Floor>(suggest::FLOORS))]
    min: Vec<Floor>,
    /// Remove the hit whose document id is that of the query
    #[arg(long)]
    ignore_identical_ids: bool,
    /// Compare each run with this one: paired t and randomisation tests
    #[arg(long, value_name = "BASELINE", conflicts_with = "per_query", help_heading = "Comparing")]
    compare: Option<PathBuf>,
    /// Random exchanges in the randomisation test
    #[arg(long, value_name = "N", default_value_t = eval::PERMUTATIONS, help_heading = "Comparing",
          value_parser = value_parser!(u32).range(1..))]
    permutations: u32,
    /// Seed of the random exchanges
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Comparing")]
    seed: u64,
    #[command(flatten)]
    rejects: cli::RejectArgs,
    #[command(flatten)]
    run: cli::RunArgs,
}

fn main() -> ExitCode {
    let args: Args = cli::parse();
    let done = match &args.task {
        None => run(&args),
        Some(Task::Sparsity { vectors, queries, format }) => {
            sparsity(vectors, queries.as_deref(), *format)
        }
        Some(Task::Diff(args)) => {
            args.run.start_threads();
            with_rejects(&args.rejects, &args.output, &args.run, |rejects| diff(args, rejects))
        }
        Some(Task::Tradeoff(args)) => tradeoff(args),
    };
    cli::exit(PROGRAM, done)
}

fn sparsity(documents: &Path, queries: Option<&Path>, format: Format) -> Result<()> {
    let tally = |path: &Path| {
        let (meta, rows) = vectors::read(Input::open(path)?, None)?;
        Ok::<_, Error>((meta, SparsityStats::of(rows.map(|row| row.map(|row| row.vector)))?))
    };
    let (meta, documents) = tally(documents)?;
    let queries = queries.map(tally).transpose()?;
    if let (Some(documents), Some((Some(queries), _))) = (&meta, &queries) {
        vectors::same_vocabulary(documents, queries)?;
    }
    let mut output = Output::create(Path::new("-"))?;
    let queries = queries.map(|(_, tally)| tally);
    let vocabulary = meta.map(|meta| meta.vocab_size);
    eval::render_sparsity(&mut output, &documents, queries.as_ref(), vocabulary, format)
        .map_err(|source| Error::io(output.name(), source))?;
    output.commit()
}

fn tradeoff(args: &TradeoffArgs) -> Result<()> {
    let spelled = |field: &String| if field == "ndcg" { eval::NDCG.into() } else { field.clone() };
    let (x, y) = (&spelled(&args.x), &spelled(&args.y));
    let stdout = Path::new("-");
    let mut table = Output::create(stdout)?;
    let drawing = args.svg.as_deref().map(Output::create).transpose()?;
    let wanted = [y.as_str(), x.as_str()];
    let inputs = cli::inputs(&args.results)?.into_iter();
    let outcomes = inputs.map(|input| Outcome::read(input, &args.conditions, &wanted));
    let outcomes = outcomes.collect::<Result<Vec<_>>>()?.concat();
    if outcomes.is_empty() {
        return Err(Error::Usage("--where: no result meets it".into()));
    }
    let reserved = ["name", "method", "seeds", "front"];
    let fields = || [x, y].into_iter().chain(&args.columns);
    if let Some(field) = fields().find(|field| reserved.contains(&field.as_str())) {
        return Err(Error::Usage(format!(
            "expected a field of numbers, found `{field}`, which is in every table"
        )));
    }
    if let Some(field) =
        fields().find(|field| outcomes.iter().all(|one| one.number(field).is_none()))
    {
        return Err(Error::Usage(format!("--columns: no result has a number `{field}`")));
    }
    if args.log && outcomes.iter().filter_map(|one| one.number(x)).any(|x| x <= 0.0) {
        return Err(Error::Usage(format!("--log: expected {x} above 0 in all results")));
    }
    let view = View { x, y, columns: &args.columns };
    let points = eval::points(&outcomes, &view);
    if args.svg.as_deref() != Some(stdout) {
        eval::render_points(&mut table, &points, &view, args.format)
            .map_err(|source| Error::io(table.name(), source))?;
        table.commit()?;
    }
    let Some(mut drawing) = drawing else { return Ok(()) };
    let is_usual = (x.as_str(), y.as_str()) == (eval::FLOPS, eval::NDCG);
    let usual = "FLOPS: expected terms a query and a document share";
    let named = if x == eval::FLOPS { usual } else { x };
    let picture = Picture {
        x: args.x_label.as_deref().unwrap_or(named),
        y: args.y_label.as_deref().unwrap_or(y),
        log: args.log,
        lines: args.lines,
        front: is_usual,
    };
    eval::plot(&mut drawing, &points, &picture)
        .map_err(|source| Error::io(drawing.name(), source))?;
    drawing.commit()
}

fn run(args: &Args) -> Result<()> {
    args.run.start_threads();
    with_rejects(&args.rejects, &args.output, &args.run, |rejects| {
        measure(args, &args.run, rejects)
    })
}

/// Does the work with a file for refused lines, and reports how many there were.
fn with_rejects(
    place: &cli::RejectArgs,
    output: &Path,
    notes: &cli::RunArgs,
    work: impl FnOnce(&mut Rejects) -> Result<()>,
) -> Result<()> {
    let mut rejects = place.open(output)?;
    let done = work(&mut rejects);
    if rejects.count() > 0 {
        notes.say(PROGRAM, &format!("lines that were refused: {}", rejects.count()));
    }
    rejects.finish()?; // what was refused is kept whatever came after
    done
}

/// Reads judgements, and reports how many are repeated.
fn judgements(input: Input, notes: &cli::RunArgs, rejects: &mut Rejects) -> Result<Qrels> {
    let qrels = Qrels::read(input, rejects)?;
    if qrels.repeated() > 0 {
        let text = format!("judgements that come again, the last one holds: {}", qrels.repeated());
        notes.say(PROGRAM, &text);
    }
    Ok(qrels)
}

fn diff(args: &DiffArgs, rejects: &mut Rejects) -> Result<()> {
    if args.format == Format::Markdown {
        return Err(Error::Usage("--format: expected text or jsonl, found markdown".into()));
    }
    let paths = [&args.a, &args.b].into_iter().chain(&args.qrels);
    if paths.filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(Error::Usage("expected `-` (stdin) once at most".into()));
    }
    cli::apart(&args.output, [&args.a, &args.b].into_iter().chain(&args.qrels))?;
    let mut output = Output::create(&args.output)?;
    let [a, b] = [Input::open(&args.a)?, Input::open(&args.b)?];
    let qrels = args.qrels.as_deref().map(Input::open).transpose()?;
    let (a, b) = (Run::read(a, rejects)?, Run::read(b, rejects)?);
    let qrels = qrels.map(|input| judgements(input, &args.run, rejects)).transpose()?;
    let measured = match qrels {
        None => None,
        Some(qrels) => {
            let measures = eval::measures_to_take(&args.measures, &[]);
            let take = |run| eval::evaluate(&qrels, run, &measures, IdenticalIds::Keep);
            let measured = [take(&a)?, take(&b)?];
            measured.iter().flat_map(Scores::notes).for_each(|note| args.run.say(PROGRAM, &note));
            Some(measured)
        }
    };
    let tolerance = Tolerance { relative: args.tolerance, absolute: args.absolute_tolerance };
    let found = eval::diff(&a, &b, args.k, tolerance);
    let detail = if args.per_query { Detail::PerQuery } else { Detail::Overall };
    eval::render_diff(&mut output, &found, measured.as_ref(), (args.format, detail), args.show)
        .map_err(|source| Error::io(output.name(), source))?;
    output.commit()?;
    let DiffArgs { strict: same, min_overlap, max_error, .. } = *args;
    found.check(&Wanted { same, min_overlap, max_error })
}

fn measure(args: &Args, notes: &cli::RunArgs, rejects: &mut Rejects) -> Result<()> {
    let qrels = args.qrels.as_ref().expect("clap wants it where no subcommand is given");
    let paths = || args.runs.iter().chain(&args.compare).chain([qrels]);
    if paths().filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(Error::Usage("expected `-` (stdin) once at most".into()));
    }
    let mut output = Output::create(&args.output)?;
    let mut runs = cli::inputs(&args.runs)?;
    runs.extend(args.compare.as_deref().map(Input::open).transpose()?);
    let qrels = judgements(Input::open(qrels)?, notes, rejects)?;
    let measures = eval::measures_to_take(&args.measures, &args.min);
    let identical =
        if args.ignore_identical_ids { IdenticalIds::Ignore } else { IdenticalIds::Keep };
    let scores = runs.into_iter().map(|input| {
        let run = Run::read(input, rejects)?;
        let scores = eval::evaluate(&qrels, &run, &measures, identical)?;
        scores.notes().iter().for_each(|note| notes.say(PROGRAM, note));
        Ok(scores)
    });
    let mut scores: Vec<Scores> = scores.collect::<Result<_>>()?;
    let baseline = args.compare.as_ref().and_then(|_| scores.pop());
    let detail = if args.per_query { Detail::PerQuery } else { Detail::Overall };
    let written = match &baseline {
        None => eval::render(&mut output, &scores, args.format, detail),
        Some(baseline) => scores.iter().try_for_each(|run| {
            let comparisons = eval::compare(run, baseline, args.seed, args.permutations);
            let names = (run.run.as_str(), baseline.run.as_str());
            eval::render_comparisons(&mut output, names, &comparisons, args.format)
        }),
    };
    written.map_err(|source| Error::io(output.name(), source))?;
    output.commit()?;
    Floor::check(&args.min, &scores)
}
