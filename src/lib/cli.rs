//! What the five bins share: arguments, exit statuses, progress. The only printing in the library.

mod downloads;
pub mod eval;
pub mod exchange;
#[cfg(feature = "model")]
pub mod from_dense;
pub mod index;
pub mod prompt;
pub mod suggest;
#[cfg(feature = "model")]
pub mod train;
pub mod values;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::{Arg, ArgAction, Parser, value_parser};
use clap_complete::Shell;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    iterator::Signals,
};

use crate::{
    error::{Error, Result, is_decoding},
    index::Step,
    io::{self as files, Consumed, Input},
    records::rejects::{OnError, Rejects},
    vectors::Form,
};

/// Parses the arguments of a bin, after answering `--completions SHELL` and `--man`; arranges that
/// an interrupt (Ctrl-C, SIGTERM) removes unfinished outputs and ends with status 130, and that a decoder's
/// panic on damaged bytes, which becomes an error, prints nothing of its own.
pub fn parse<A: Parser>() -> A {
    let command = A::command()
        .arg(
            Arg::new("completions")
                .long("completions")
                .value_name("SHELL")
                .value_parser(value_parser!(Shell))
                .exclusive(true)
                .help_heading("Help")
                .help("Print completions for bash, zsh or fish"),
        )
        .arg(
            Arg::new("man")
                .long("man")
                .action(ArgAction::SetTrue)
                .exclusive(true)
                .help_heading("Help")
                .help("Print the manual page"),
        );
    let matches = command.clone().get_matches();
    if let Some(&shell) = matches.get_one::<Shell>("completions") {
        let (mut command, name) = (command.clone(), command.get_name().to_owned());
        let mut bytes = Vec::new();
        clap_complete::generate(shell, &mut command, name, &mut bytes);
        print_and_leave(&bytes);
    }
    if matches.get_flag("man") {
        let mut bytes = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut bytes);
        rendered.expect("writing into memory cannot fail");
        print_and_leave(&bytes);
    }
    clean_up_when_interrupted();
    silence_decoders();
    A::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn silence_decoders() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !is_decoding() {
            before(info);
        }
    }));
}

/// A hang-up counts as an interrupt, unless the caller asked for it to be ignored, as `nohup`
/// does: long work then goes on without its terminal.
fn clean_up_when_interrupted() {
    let hangup = (!ignores_hangup()).then_some(SIGHUP);
    // nothing here can be refused: the signals are valid, and without a handler they still end us
    // a file size limit is an error of the write, not the end: anyone who writes tells and cleans up
    let known = [SIGINT, SIGTERM, SIGXFSZ].into_iter().chain(hangup);
    let Ok(mut signals) = Signals::new(known) else { return };
    thread::spawn(move || {
        if signals.forever().any(|signal| signal != SIGXFSZ) {
            files::remove_temporaries();
            std::process::exit(130);
        }
    });
}

/// Read off Linux's table of processes; elsewhere nothing is known of it.
fn ignores_hangup() -> bool {
    let status = files::read_text(Path::new("/proc/self/status")).unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

fn print_and_leave(bytes: &[u8]) -> ! {
    let mut stdout = io::stdout();
    let done = stdout.write_all(bytes).and_then(|()| stdout.flush());
    let reader_left = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    std::process::exit(if done.as_ref().err().is_none_or(reader_left) { 0 } else { 1 })
}

/// A line on stderr; errors of writing are ignored, where `eprintln!` would panic.
fn talk(line: fmt::Arguments) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A fault that does not end the work, on stderr.
pub fn warn(program: &str, text: &str) {
    talk(format_args!("{program}: {text}"));
}

/// The exit status of a program; a failure is printed on stderr under the program's name.
///
/// 0 done, or the reader of the output left early · 1 failed on data or I/O · 2 wrong usage ·
/// 3 files that do not match · 4 a measure is below its minimum.
pub fn exit(program: &str, result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if error.is_broken_pipe() {
        return ExitCode::SUCCESS;
    }
    talk(format_args!("{program}: {error}"));
    ExitCode::from(status(&error))
}

/// The result with the words for a setting replaced by the option that sets it, since the library knows
/// no options: pairs of words that its messages use, and what a user of the program reads in their place.
/// Words that end in a colon name the setting that a message is about: only at its beginning.
pub fn with_options<T>(result: Result<T>, options: &[(&str, &str)]) -> Result<T> {
    let named = |text: String| {
        options.iter().fold(text, |text, (words, option)| match text.strip_prefix(words) {
            Some(rest) => format!("{option}{rest}"),
            None if words.ends_with(':') => text,
            None => text.replacen(words, option, 1),
        })
    };
    result.map_err(|error| match error {
        Error::Usage(text) => Error::Usage(named(text)),
        Error::Format { path, reason } => Error::Format { path, reason: named(reason) },
        Error::Mismatch { what, expected, got, remedy } => {
            Error::Mismatch { what, expected, got, remedy: named(remedy) }
        }
        other => other,
    })
}

fn status(error: &Error) -> u8 {
    match error {
        Error::Usage(_) => 2,
        Error::Mismatch { .. } => 3,
        Error::Floor(_) => 4,
        _ => 1,
    }
}

/// `--threads` and `--quiet`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct RunArgs {
    /// Threads to use [default: the cores this process may use]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..), help_heading = "Running")]
    pub threads: Option<u16>,
    /// No progress and no closing summary on stderr
    #[arg(long, help_heading = "Running")]
    pub quiet: bool,
}

impl RunArgs {
    /// Sets the size of the thread pool and returns it; has downloads reported.
    pub fn start_threads(&self) -> usize {
        if !self.quiet {
            downloads::tell();
        }
        let threads = self.threads.map_or_else(default_threads, usize::from);
        // fails only if a pool exists, and then this is not the first call
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        threads
    }

    /// A line on stderr, unless `--quiet`.
    pub fn say(&self, program: &str, text: &str) {
        if !self.quiet {
            talk(format_args!("{program}: {text}"));
        }
    }
}

/// What Slurm granted, else what affinity and cgroups allow.
fn default_threads() -> usize {
    let granted = std::env::var("SLURM_CPUS_PER_TASK").ok().and_then(|text| text.parse().ok());
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    granted.map_or(allowed, |granted: usize| granted.clamp(1, allowed))
}

/// What happens to records that cannot be used.
#[derive(clap::Args, Clone, Debug)]
pub struct RejectArgs {
    /// stop at the first bad record, or skip it
    #[arg(long, value_name = "stop|skip", default_value = "stop", help_heading = "Bad input")]
    pub on_error: OnError,
    /// With --on-error skip: write each refused record and the reason here, as JSON lines
    #[arg(long, value_name = "FILE", help_heading = "Bad input")]
    pub rejects: Option<PathBuf>,
}

impl RejectArgs {
    /// The place where refused records go, which is not that of the `output`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a file without `--on-error skip`, and for the output's own place;
    /// [`Error::Io`] if it cannot be made.
    pub fn open(&self, output: &Path) -> Result<Rejects> {
        if self.rejects.as_deref() == Some(output) {
            let place = output.display();
            return Err(Error::Usage(format!(
                "--rejects and -o are both {place}; expected two places"
            )));
        }
        if self.rejects.is_some() && self.on_error == OnError::Stop {
            return Err(Error::Usage("--rejects needs --on-error skip".into()));
        }
        Rejects::open(self.on_error, self.rejects.as_deref())
    }
}

/// The inputs of a program in order; none means standard input.
///
/// # Errors
/// [`Error::Io`] for the first that cannot be opened.
pub fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>> {
    if paths.is_empty() {
        if io::stdin().is_terminal() {
            talk(format_args!(
                "reading from the terminal; Ctrl-D ends the input, --help tells more"
            ));
        }
        return Ok(vec![Input::open(Path::new("-"))?]);
    }
    if paths.iter().filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(Error::Usage("expected `-` (stdin) once at most".into()));
    }
    paths.iter().map(|path| Input::open(path)).collect()
}

/// Checks that an output is not one of the inputs, which it would replace.
///
/// # Errors
/// [`Error::Usage`].
pub fn apart<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    let Ok(place) = output.canonicalize() else { return Ok(()) };
    let is_it = |input: &&PathBuf| input.canonicalize().is_ok_and(|at| at == place);
    match inputs.into_iter().find(is_it).filter(|_| place.is_file()) {
        Some(input) => {
            let input = input.display();
            Err(Error::Usage(format!("-o would replace the input {input}; expected another place")))
        }
        None => Ok(()),
    }
}

/// The form of an output of vectors: `--format`, else the extension, else by who reads it.
///
/// # Errors
/// [`Error::Usage`] for an extension that says nothing, and for binary forms on a terminal.
pub fn vector_form(output: &Path, format: Option<Form>) -> Result<Form> {
    let to_terminal = output == Path::new("-") && io::stdout().is_terminal();
    let form = match (format, output.extension().and_then(|extension| extension.to_str())) {
        (Some(form), _) => form,
        (None, _) if to_terminal => Form::JsonLines,
        (None, _) if output == Path::new("-") => Form::Arrow,
        (None, Some(extension)) => Form::of_extension(extension).ok_or_else(|| {
            Error::Usage(format!(
                "{}: expected .parquet, .arrow or .jsonl, found .{extension}; or say --format",
                output.display()
            ))
        })?,
        (None, None) => Form::Parquet,
    };
    if to_terminal && form != Form::JsonLines {
        return Err(Error::Usage(
            "will not write binary data to a terminal; say --format jsonl, -o FILE, or pipe it"
                .into(),
        ));
    }
    Ok(form)
}

/// Progress on stderr: one bar if stderr is a terminal, else a plain line every 30 s.
pub struct Progress {
    program: &'static str,
    unit: &'static str,
    shown: Shown,
    started: Instant,
    count: u64,
    sources: Vec<Consumed>,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { next: Instant },
}

const LINE_EVERY: Duration = Duration::from_secs(30);

impl Progress {
    /// Counts `unit`s (`docs`); the share of `sources` that was read gives the time left.
    pub fn new(
        program: &'static str,
        unit: &'static str,
        sources: Vec<Consumed>,
        run: &RunArgs,
    ) -> Progress {
        let shown = if run.quiet {
            Shown::Nothing
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::new(1000);
            let style = ProgressStyle::with_template("{bar:30} {msg}").expect("a valid template");
            bar.set_style(style);
            Shown::Bar(bar)
        } else {
            Shown::Lines { next: Instant::now() + LINE_EVERY }
        };
        Progress { program, unit, shown, started: Instant::now(), count: 0, sources }
    }

    /// Counts `more` done.
    pub fn add(&mut self, more: u64) {
        self.count += more;
        let (count, unit, started) = (self.count, self.unit, self.started);
        let sources = std::mem::take(&mut self.sources);
        let done = share(&sources).unwrap_or(0.0);
        self.tell(done, || message(count, unit, started, &sources));
        self.sources = sources;
    }

    /// Shows a share that is done and a message, as often as they are wanted.
    fn tell(&mut self, share: f64, message: impl FnOnce() -> String) {
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position((share * 1000.0) as u64);
                bar.set_message(message());
            }
            Shown::Lines { next } if Instant::now() >= *next => {
                *next = Instant::now() + LINE_EVERY;
                talk(format_args!("{}: {}", self.program, message()));
            }
            Shown::Lines { .. } => {}
        }
    }

    /// Tells what a build of an index has done.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Rows(more) => self.add(more),
            Step::Ordered(share) => {
                self.tell(share, || format!("ordering, {:.0} %", 100.0 * share))
            }
            Step::Written(share) => {
                self.tell(share, || format!("writing lists, {:.0} %", 100.0 * share));
            }
        }
    }

    /// Takes the bar away; returns the count and the seconds it took.
    pub fn finish(self) -> (u64, f64) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
        (self.count, self.started.elapsed().as_secs_f64())
    }
}

/// The mean share read over all sources that know their size; none if one does not.
fn share(sources: &[Consumed]) -> Option<f64> {
    let shares: Vec<f64> = sources.iter().map(Consumed::share).collect::<Option<_>>()?;
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

fn message(count: u64, unit: &str, started: Instant, sources: &[Consumed]) -> String {
    let seconds = started.elapsed().as_secs_f64();
    let mut text = format!("{count} {unit}, {:.0} {unit}/s", count as f64 / seconds.max(1e-9));
    if let Some(share) = share(sources).filter(|&share| share > 0.0) {
        let left = seconds * (1.0 - share) / share;
        text += &format!(", about {} left", clock(left));
    }
    text
}

/// The closing line of an encoding: what was made, and everything that a user should know of.
#[cfg(feature = "model")]
pub fn encoded(
    summary: &crate::encode::Summary,
    finished: u64,
    refused: u64,
    seconds: f64,
) -> String {
    let rate = summary.rows as f64 / seconds.max(1e-9);
    let mut text = format!(
        "{} rows in {} ({rate:.0}/s), {:.1} terms each",
        summary.rows,
        clock(seconds),
        summary.mean_nnz()
    );
    for (count, what) in [
        (finished, "taken over from finished parts"),
        (summary.truncated, "truncated (see --max-tokens)"),
        (summary.without_text, "without text"),
        (summary.empty - summary.without_text.min(summary.empty), "with text but no weight"),
        (refused, "refused"),
    ] {
        if count > 0 {
            text += &format!("; {count} {what}");
        }
    }
    text
}

/// Seconds as `1.2 s`, `12 s`, `3 min 05 s` or `2 h 10 min`.
pub fn clock(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_read_options_where_the_library_names_settings() {
        let options = [("longest text:", "--max-tokens:"), ("resume it", "continue with --resume")];
        let named = |error| with_options::<()>(Err(error), &options).unwrap_err().to_string();
        let long = "longest text: expected at most 64 tokens, found 99";
        let shown = "--max-tokens: expected at most 64 tokens, found 99";
        assert_eq!(named(Error::Usage(long.into())), shown);
        let held = "holds a run; resume it, or name another folder";
        let shown = "out: holds a run; continue with --resume, or name another folder";
        assert_eq!(named(Error::format("out", held)), shown);
        let path = "expected one input, found also my longest text: 1.jsonl";
        assert_eq!(named(Error::Usage(path.into())), path);
        // the data of a line are not touched
        let line = Error::line("f", 1, "a number", "`longest text`");
        assert_eq!(named(line), "f:1: expected a number, found `longest text`");
    }

    #[test]
    fn statuses_are_those_of_the_contract() {
        assert_eq!(status(&Error::line("f", 1, "x", "y")), 1);
        assert_eq!(status(&Error::Usage("u".into())), 2);
        assert_eq!(status(&Error::Internal("i".into())), 1);
        assert_eq!(status(&Error::Floor("f".into())), 4);
    }

    #[test]
    fn the_extension_chooses_the_form() {
        assert_eq!(vector_form(Path::new("a.parquet"), None).unwrap(), Form::Parquet);
        assert_eq!(vector_form(Path::new("a.jsonl"), None).unwrap(), Form::JsonLines);
        assert_eq!(vector_form(Path::new("a.jsonl"), Some(Form::Arrow)).unwrap(), Form::Arrow);
        assert!(vector_form(Path::new("a.txt"), None).is_err());
    }

    #[test]
    fn clock_reads_well() {
        assert_eq!(clock(59.4), "59 s");
        assert_eq!(clock(185.0), "3 min 05 s");
        assert_eq!(clock(7800.0), "2 h 10 min");
    }
}
