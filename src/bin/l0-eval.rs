//! l0-eval: runs and judgements in, measures out.
//!
//!     l0-eval qrels/test.tsv bm25.run -m nDCG@10 -m R@100
//!     l0-query corpus.l0x queries.jsonl --format trec | l0-eval qrels/test.tsv - --min nDCG@10=0.35

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args as Arguments, Parser, Subcommand, value_parser};
use l0::{
    Error, Result,
    cli::{
        self,
        suggest::{self, suggest},
    },
    eval::{
        self, Condition, Detail, Floor, Format, IdenticalIds, Measure, Outcome, Picture, Scores,
        Tally, Tolerance, View, Wanted,
    },
    formats::{
        rejects::Rejects,
        trec::{Qrels, Run},
        vectors,
    },
    io::{Input, Output},
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
    /// The least value a measure may have, else exit status 4; may be repeated
    #[arg(long, value_name = "MEASURE=VALUE", hide_possible_values = true,
          value_parser = suggest::<Floor>(suggest::FLOORS))]
    min: Vec<Floor>,
    /// Take out the hit whose document id is the query's
    #[arg(long)]
    ignore_identical_ids: bool,
    /// Compare each run with this one: paired t and randomisation tests
    #[arg(long, value_name = "BASELINE", conflicts_with = "per_query", help_heading = "Comparing")]
    compare: Option<PathBuf>,
    /// Random exchanges in the randomisation test
    #[arg(long, value_name = "N", default_value_t = eval::PERMUTATIONS, help_heading = "Comparing",
          value_parser = value_parser!(u32).range(1..))]
    permutations: u32,
    /// What the random exchanges start from
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Comparing")]
    seed: u64,
    #[command(flatten)]
    rejects: cli::RejectArgs,
    #[command(flatten)]
    run: cli::RunArgs,
}

#[derive(Subcommand)]
enum Task {
    /// Tell what vectors cost: mean terms, count-based FLOPS, use of the vocabulary
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
    /// Tell whether two runs are the same ranking, up to ties, and how far their scores are apart
    #[command(after_long_help = "Examples:
  One engine against another, and a gate on it:
    l0-eval diff testdata/trec/run testdata/trec/baseline -k 3
    l0-eval diff testdata/trec/run testdata/trec/run --strict --max-error 1e-6

  What the difference is worth, query by query:
    l0-eval diff testdata/trec/run testdata/trec/baseline --qrels testdata/trec/qrels -m AP -q

Two documents may change places, also across the cut at k, if their scores tie in either run. `overlap`
is the share of the top k that both have, `tau` Kendall's, ties counted as agreement. `factor` is told if
it leaves at most half of the usual difference, `explained` what alone would leave such differences. Side
by side, ! stands before a document that moved and ~ before one that only a tie moved.")]
    Diff(DiffArgs),
    /// Tell and draw effectiveness against FLOPS, or one field of results against another
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

#[derive(Arguments)]
struct DiffArgs {
    /// A run in TREC format; `-` for stdin
    a: PathBuf,
    /// The run to hold beside it
    b: PathBuf,
    /// Hits of a query that are compared
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = cli::values::depth)]
    k: usize,
    /// Scores of one run that differ by less than this share are ties
    #[arg(long, value_name = "SHARE", default_value_t = 1e-6, value_parser = cli::values::not_below_zero)]
    tolerance: f64,
    /// So are those that differ by less than this
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = cli::values::not_below_zero)]
    absolute_tolerance: f64,
    /// A line for each query first: likeness, overlap, the first rank that differs
    #[arg(short = 'q', long)]
    per_query: bool,
    /// Differing queries to show side by side
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
    /// text or jsonl
    #[arg(long, value_name = "FORM", default_value = "text")]
    format: Format,
    /// Where the result goes
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Judgements, TREC or BEIR: measure both runs too
    #[arg(long, value_name = "QRELS", help_heading = "Measuring")]
    qrels: Option<PathBuf>,
    /// What to measure; may be repeated [default: nDCG@10, RR@10, R@100, AP]
    #[arg(
        short,
        long = "measure",
        value_name = "MEASURE",
        requires = "qrels",
        help_heading = "Measuring"
    )]
    measures: Vec<Measure>,
    /// Exit status 4 unless every query has the same ranking, up to ties
    #[arg(long, help_heading = "Gates")]
    strict: bool,
    /// The least mean overlap, ties excused, else exit status 4
    #[arg(long, value_name = "SHARE", value_parser = cli::values::not_below_zero, help_heading = "Gates")]
    min_overlap: Option<f64>,
    /// The largest relative score difference, after the factor if one is told, else exit status 4
    #[arg(long, value_name = "SHARE", value_parser = cli::values::not_below_zero, help_heading = "Gates")]
    max_error: Option<f64>,
    #[command(flatten)]
    rejects: cli::RejectArgs,
    #[command(flatten)]
    run: cli::RunArgs,
}

#[derive(Arguments)]
struct TradeoffArgs {
    /// JSON lines, or an array, of {"name", "method", "nDCG@10", "flops", ...}, one a seed
    #[arg(value_name = "RESULTS")]
    results: Vec<PathBuf>,
    /// Where the drawing goes
    #[arg(long, value_name = "OUT")]
    svg: Option<PathBuf>,
    /// The field to the right
    #[arg(long, value_name = "FIELD", default_value = eval::FLOPS)]
    x: String,
    /// The field upwards
    #[arg(long, value_name = "FIELD", default_value = eval::NDCG)]
    y: String,
    /// Further fields for the table, between commas
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    columns: Vec<String>,
    /// Only results whose field is this; may be given again
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    conditions: Vec<Condition>,
    /// text, jsonl or markdown
    #[arg(long, value_name = "FORM", default_value = "text")]
    format: Format,
    /// Let x grow by factors
    #[arg(long, requires = "svg", help_heading = "Drawing")]
    log: bool,
    /// Join the points of a method, and leave their names out
    #[arg(long, requires = "svg", help_heading = "Drawing")]
    lines: bool,
    /// What stands below the drawing [default: the field]
    #[arg(long, requires = "svg", value_name = "TEXT", help_heading = "Drawing")]
    x_label: Option<String>,
    /// What stands beside it [default: the field]
    #[arg(long, requires = "svg", value_name = "TEXT", help_heading = "Drawing")]
    y_label: Option<String>,
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
        Ok::<_, Error>((meta, Tally::of(rows.map(|row| row.map(|row| row.vector)))?))
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
        return Err(Error::Usage(format!("`{field}` is in every table; want a field of numbers")));
    }
    if let Some(field) =
        fields().find(|field| outcomes.iter().all(|one| one.number(field).is_none()))
    {
        return Err(Error::Usage(format!("--columns: no result has a number `{field}`")));
    }
    if args.log && outcomes.iter().filter_map(|one| one.number(x)).any(|x| x <= 0.0) {
        return Err(Error::Usage(format!("--log: want {x} above 0 in all results")));
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

/// Does the work with a place for refused lines, and tells how many there were.
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

fn diff(args: &DiffArgs, rejects: &mut Rejects) -> Result<()> {
    if args.format == Format::Markdown {
        return Err(Error::Usage("--format: want text or jsonl, got markdown".into()));
    }
    let paths = [&args.a, &args.b].into_iter().chain(&args.qrels);
    if paths.filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(Error::Usage("want `-` (stdin) once at most".into()));
    }
    let mut output = Output::create(&args.output)?;
    let [a, b] = [Input::open(&args.a)?, Input::open(&args.b)?];
    let qrels = args.qrels.as_deref().map(Input::open).transpose()?;
    let (a, b) = (Run::read(a, rejects)?, Run::read(b, rejects)?);
    let measured = match qrels.map(|input| Qrels::read(input, rejects)).transpose()? {
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
        return Err(Error::Usage("want `-` (stdin) once at most".into()));
    }
    let mut output = Output::create(&args.output)?;
    let mut runs = cli::inputs(&args.runs)?;
    runs.extend(args.compare.as_deref().map(Input::open).transpose()?);
    let qrels = Qrels::read(Input::open(qrels)?, rejects)?;
    if qrels.repeated() > 0 {
        let text = format!("judgements that come again, the last one holds: {}", qrels.repeated());
        notes.say(PROGRAM, &text);
    }
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
