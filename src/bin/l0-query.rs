//! l0-query: queries in, hits out.
//!
//!     l0-query corpus.l0x                                  a prompt
//!     l0-query corpus.l0x queries.jsonl -k 1000 -o corpus.run

use std::{
    io::{IsTerminal, stdin, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use l0::internal::{
    Error, Result,
    cli::{
        self, RunArgs, prompt,
        values::{self, ReportForm},
    },
    index::Index,
    io::{Input, Output},
    search::{AnswerConfig, AnswerForm, Detail, Engine, Method, QueryReader, Recall, SearchConfig},
};

/// Answers queries from index files: a file of them, a pipe, or a prompt on a terminal.
///
/// A line is plain text, qid TAB text, {"_id","text"}, {"_id","indices","values"} or
/// {"_id","vector":{token: weight}}; vectors may also come as Parquet or Arrow. One answer per line, in
/// the order of the lines; a line that is not a query is answered by an error record in its place.
/// Ctrl-D leaves the prompt.
#[derive(Parser)]
#[command(name = "l0-query", version, after_long_help = EXAMPLES)]
struct Args {
    /// The index file, unless --index names it; then the queries: a file, or - or none for stdin
    #[arg(value_names = ["INDEX", "QUERIES"], num_args = 0..=2)]
    paths: Vec<PathBuf>,
    /// An index file; give it several times to search them as one
    #[arg(long, value_name = "INDEX")]
    index: Vec<PathBuf>,
    /// Hits per query
    #[arg(short, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    k: u32,
    /// Where the answers go
    #[arg(short, long, value_name = "OUT", default_value = "-")]
    output: PathBuf,
    /// text, trec or jsonl [default: by the extension, else text on a terminal, else jsonl]
    #[arg(long, value_name = "FORM")]
    format: Option<AnswerForm>,
    /// exact (skips what cannot be a hit), exhaustive (scores all; the hits are the same), or approx
    /// (skips what is unlikely to be a hit, as far as --recall allows)
    #[arg(long, value_name = "METHOD", default_value = "exact", value_parser = Method::NAMES)]
    method: String,
    /// With --method approx: the share of the best hits to find, as measured when the index was
    /// built
    #[arg(long, value_name = "SHARE")]
    recall: Option<Recall>,
    /// Show the terms that made each score
    #[arg(long)]
    explain: bool,
    /// Print recall against --method exhaustive instead of answers
    #[arg(long, conflicts_with = "bench")]
    check_exact: bool,
    /// Print p50 p90 p95 p99, mean and queries/s instead of answers
    #[arg(long)]
    bench: bool,
    /// Last column of a TREC run
    #[arg(long, value_name = "TAG", default_value = "l0", value_parser = values::run_name)]
    run_name: String,
    #[command(flatten)]
    run: RunArgs,
}

const EXAMPLES: &str = "Examples (demo.l0x is made by the example of l0-index --help):
  A TREC run of the demo collection's queries:
    l0-query demo.l0x testdata/demo/queries.jsonl -k 100 -o demo.run

  One question, and the terms that made each score:
    echo 'how do bees find flowers' | l0-query demo.l0x -k 3 --explain --format text";

fn main() -> ExitCode {
    let args: Args = cli::parse();
    cli::exit("l0-query", run(args))
}

fn run(args: Args) -> Result<()> {
    args.run.start_threads();
    let form = values::answer_form(&args.output, args.format)?;
    let (indexes, queries) = paths(&args)?;
    let indexes = indexes.iter().map(|path| Index::open(path)).collect::<Result<_>>()?;
    let detail = if args.explain { Detail::Terms } else { Detail::Hit };
    let method = method(&args)?;
    let config = SearchConfig { k: args.k as usize, method, detail };
    let engine = Engine::new(indexes, config)?;
    for promise in engine.promises()? {
        args.run.say("l0-query", &promise);
    }
    let columns = values::columns();
    let answers = AnswerConfig { form, tag: args.run_name.clone(), columns };
    let reports = args.bench || args.check_exact;
    let to_stdout = args.output == Path::new("-");
    let terminal = stdin().is_terminal() && stdout().is_terminal();
    if queries.is_none() && to_stdout && terminal && !reports {
        return prompt::converse(&engine, &answers);
    }
    let mut output = Output::create(&args.output)?;
    let input = Input::open(queries.unwrap_or(Path::new("-"))).map_err(|error| match queries {
        Some(text) => query_as_path(text, error),
        None => error,
    })?;
    let questions = QueryReader::open(input, &engine.indexes()[0])?;
    if reports {
        let queries = questions.map(|question| question?.parse()).collect::<Result<Vec<_>>>()?;
        let json = args.format == Some(AnswerForm::JsonLines);
        let report = if json { ReportForm::Json } else { ReportForm::Lines };
        return match args.bench {
            true => values::report(output, &engine.bench(&queries)?, report),
            false => values::report(output, &engine.check_exact(&queries)?, report),
        };
    }
    let count = engine.answer_all(questions, &answers, &mut output, |number, error| {
        if form == AnswerForm::Trec {
            // a run has no line for it, so it is reported even with --quiet
            cli::warn("l0-query", &format!("query {number} has no hits: {error}"));
        }
    })?;
    output.commit()?;
    if count.queries > 0 && count.errors == count.queries {
        return Err(Error::format(
            "queries",
            format!("none of {} could be answered", count.queries),
        ));
    }
    Ok(())
}

/// An error that says how to ask one query, where its text was given in place of a file.
fn query_as_path(text: &Path, error: Error) -> Error {
    let name = text.to_string_lossy();
    if text.exists() || !name.contains(' ') {
        return error;
    }
    Error::Usage(format!(
        "expected a file of queries, found no file named `{name}`; one query: echo '{name}' | l0-query INDEX"
    ))
}

/// The search method: approx needs a recall, the others refuse one.
fn method(args: &Args) -> Result<Method> {
    match (args.method.as_str(), args.recall) {
        ("approx", None) => {
            Err(Error::Usage("--method approx: say how much with --recall, as 0.99".into()))
        }
        (name @ ("exact" | "exhaustive"), Some(_)) => {
            Err(Error::Usage(format!("--recall is for --method approx, not {name}")))
        }
        (name, recall) => Method::new(name, recall),
    }
}

/// The indexes and the queries: with --index every path is one of queries.
fn paths(args: &Args) -> Result<(Vec<&Path>, Option<&Path>)> {
    let mut paths = args.paths.iter().map(PathBuf::as_path);
    let mut indexes: Vec<&Path> = args.index.iter().map(PathBuf::as_path).collect();
    if indexes.is_empty() {
        indexes.extend(paths.next());
    }
    let queries = paths.next();
    match (indexes.is_empty(), paths.next()) {
        (true, _) => Err(Error::Usage(
            "expected an INDEX: l0-query INDEX QUERIES answers a file of queries, l0-query INDEX a pipe or a terminal".into(),
        )),
        (_, Some(more)) => Err(Error::Usage(format!(
            "expected one file of queries, found also {}",
            more.display()
        ))),
        _ => Ok((indexes, queries)),
    }
}
