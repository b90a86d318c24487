//! `l0-encode` from outside: help, streams, parts of the work, and work that was killed.

use std::{io::Write, process::Command, thread, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use serde_json::{Value, json};

use crate::support::{Run, Work, run, start};

const TOY: &str = "--model testdata/toy";
const DEMO: &str = "testdata/demo/corpus.jsonl";
const FORMS: [&str; 3] = ["parquet", "arrow", "jsonl"];

pub fn encode(work: &Work, arguments: &str, stdin: &[u8]) -> Run {
    run(command(work, arguments), stdin)
}

pub fn command(work: &Work, arguments: &str) -> Command {
    work.command("l0-encode", arguments)
}

#[track_caller]
fn wait_until(done: impl Fn() -> bool) {
    let waited = (0..10_000).find(|_| {
        done() || {
            thread::sleep(Duration::from_millis(2));
            false
        }
    });
    assert!(waited.is_some(), "waited in vain");
}

/// The demo collection `times` over, under fresh ids.
fn corpus(times: usize) -> String {
    let lines = std::fs::read_to_string(DEMO).unwrap();
    let copy = |at: usize| {
        let lines = lines.lines();
        lines.map(move |line| line.replacen(r#"{"_id": ""#, &format!(r#"{{"_id": "{at}-"#), 1))
    };
    (0..times).flat_map(copy).map(|line| line + "\n").collect()
}

#[test]
fn every_form_of_help_needs_nothing_else() {
    let work = Work::new();
    for arguments in [
        "-h",
        "--help",
        "--version",
        "--man",
        "--completions bash",
        "--completions zsh",
        "--completions fish",
        "idf -h",
        "idf --help",
        "join -h",
        "join --help",
    ] {
        let run = encode(&work, arguments, b"").exits(0);
        assert!(!run.stdout().is_empty() && run.stderr().is_empty(), "{run}");
    }
    let reader_leaves = "l0-encode --man | head -c 1 | wc -c; exit ${PIPESTATUS[0]}";
    assert_eq!(run(work.shell(reader_leaves), b"").exits(0).stdout_text().trim(), "1");
}

#[test]
fn the_examples_of_the_help_run_as_printed() {
    let work = Work::new();
    let help = encode(&work, "--help", b"").exits(0).stdout_text();
    let (_, examples) = help.split_once("Examples:\n").expect("examples in the help");
    let lines: Vec<&str> = examples.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert_eq!(lines.len(), 3, "{help}");
    for line in lines {
        run(work.shell(&format!("set -o pipefail; {line}")), b"").exits(0).says("rows in");
    }
    assert_eq!(work.names(), ["bm25.parquet", "toy.parquet"]);
}

#[test]
fn stdout_carries_rows_and_stderr_talk() {
    let work = Work::new();
    for form in FORMS {
        encode(&work, &format!("{TOY} {DEMO} -o out.{form} --quiet"), b"").exits(0).silent();
        let piped = encode(&work, &format!("{TOY} {DEMO} --format {form}"), b"").exits(0);
        assert_eq!(piped.stdout(), work.read(&format!("out.{form}")), "{form}");
        assert_eq!(piped.stderr().lines().count(), 1, "{piped}");
        let quiet = encode(&work, &format!("{TOY} {DEMO} --quiet --format {form}"), b"").exits(0);
        assert!(quiet.stderr().is_empty(), "{quiet}");
    }
    let unnamed = encode(&work, &format!("{TOY} --quiet"), corpus(1).as_bytes()).exits(0);
    assert!(unnamed.stdout().starts_with(&[0xff; 4]), "an Arrow stream into a pipe");
}

#[test]
fn an_error_is_reported_even_with_quiet() {
    let work = Work::new();
    encode(&work, &format!("{TOY} none.jsonl --quiet"), b"")
        .exits(1)
        .says("none.jsonl: No such file");
}

#[test]
fn stderr_that_takes_nothing_is_no_panic() {
    let work = Work::new();
    let line = format!("l0-encode {TOY} {DEMO} -o out.jsonl 2>/dev/full");
    run(work.shell(&line), b"").exits(0).silent();
    run(work.shell(&format!("l0-encode {TOY} none 2>/dev/full")), b"").exits(1).silent();
}

#[test]
fn a_reader_that_leaves_early_is_success() {
    let work = Work::new();
    for form in FORMS {
        let line = format!(
            "l0-encode {TOY} {DEMO} {DEMO} --format {form} | head -c 4 >/dev/null; exit ${{PIPESTATUS[0]}}"
        );
        run(work.shell(&line), b"").exits(0).silent();
    }
    let line = format!("l0-encode {TOY} {DEMO} --format jsonl | head -1; exit ${{PIPESTATUS[0]}}");
    let run = run(work.shell(&line), b"").exits(0);
    assert!(
        run.stderr().is_empty() && run.stdout_text().starts_with(r#"{"_id":"cook-01""#),
        "{run}"
    );
}

#[test]
fn an_interrupt_leaves_nothing() {
    for signal in ["INT", "TERM"] {
        let work = Work::new();
        let mut child = start(&mut command(&work, &format!("{TOY} -o out.parquet")));
        child.stdin.as_ref().unwrap().write_all(corpus(1).as_bytes()).unwrap();
        wait_until(|| work.names().iter().any(|name| name.starts_with(".out.parquet.tmp.")));
        let kill = work.shell(&format!("kill -{signal} {}", child.id()));
        let open = child.stdin.take(); // an end of the input would race with the signal
        run(kill, b"").exits(0);
        Run::of(child).exits(130).silent();
        drop(open);
        assert!(work.names().is_empty(), "{:?}", work.names());
    }
}

#[test]
fn work_under_nohup_outlives_its_terminal() {
    let work = Work::new();
    let mut line = work.shell(&format!("trap '' HUP; exec l0-encode {TOY} -o out.jsonl"));
    let mut child = start(&mut line);
    let mut input = child.stdin.take().unwrap();
    let half = corpus(2); // more than a pipe holds: the program is at work when this is written
    input.write_all(half.as_bytes()).unwrap();
    run(work.shell(&format!("kill -HUP {}", child.id())), b"").exits(0);
    let rest = thread::spawn(move || input.write_all(br#"{"_id": "last", "text": ""}"#));
    Run::of(child).exits(0);
    rest.join().unwrap().unwrap();
    assert_eq!(work.text("out.jsonl").lines().count(), half.lines().count() + 1);
}

#[test]
fn threads_and_batches_do_not_change_a_byte() {
    let work = Work::new();
    let bm25 = "--model bm25 --tokenizer testdata/toy";
    for (model, form) in [(TOY, "parquet"), (TOY, "arrow"), (bm25, "jsonl")] {
        let base = format!("{model} {DEMO} --prune max_ratio:0.2 --format {form}");
        let expected = encode(&work, &base, b"").exits(0);
        for more in ["", "--threads 1", "--threads 3 --batch-tokens 777", "--batch-tokens 1"] {
            let got = encode(&work, &format!("{base} {more}"), b"").exits(0);
            assert!(got.stdout() == expected.stdout(), "{form} with `{more}`");
        }
    }
}

#[test]
fn shards_are_the_rows_of_one_run() {
    let work = Work::new();
    for (model, input) in [
        (TOY, DEMO),
        ("--model bm25 --tokenizer testdata/toy", DEMO),
        ("--model testdata/toy-st --role query", "testdata/demo/queries.jsonl"),
    ] {
        let base = format!("{model} {input} --format jsonl");
        let whole = encode(&work, &base, b"").exits(0).stdout_text();
        let shards: Vec<String> = (0..3)
            .map(|at| encode(&work, &format!("{base} --shard {at}/3"), b"").exits(0).stdout_text())
            .collect();
        let mut shards: Vec<_> = shards.iter().map(|shard| shard.lines()).collect();
        for (at, row) in whole.lines().enumerate() {
            assert_eq!(shards[at % 3].next(), Some(row), "{model}: row {at}");
        }
        assert!(shards.iter_mut().all(|shard| shard.next().is_none()), "{model}: more rows");
    }
}

/// The titles of the demo collection as documents, `times` over, under fresh ids: short texts, so
/// that parts of 4,096 rows fill fast.
fn titles(times: usize) -> String {
    let demo = std::fs::read_to_string(DEMO).unwrap();
    let titles: Vec<Value> = demo
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["title"].clone())
        .collect();
    let line = |at: usize| json!({"_id": at, "text": titles[at % titles.len()]}).to_string() + "\n";
    (0..times * titles.len()).map(line).collect()
}

const RESUME: &str = "--model testdata/toy --prune top_k:8 --resume";

/// Begins `arguments`, feeds a part of the input of random length, and kills the program.
fn begin_and_kill(work: &Work, arguments: &str, input: &str, random: &mut ChaCha8Rng) {
    let mut child = start(&mut command(work, arguments));
    let mut pipe = child.stdin.take().unwrap();
    let length = random.random_range(0..input.len());
    pipe.write_all(&input.as_bytes()[..length]).unwrap();
    thread::sleep(Duration::from_millis(random.random_range(0..20)));
    child.kill().unwrap();
    child.wait().unwrap();
    // only now: the program must not take the end of what was fed for the end of the input
    drop(pipe);
}

#[track_caller]
fn killed_ten_times(form: &str, seed: u64) {
    let work = Work::new();
    // about 4,000 documents may be on their way through pipe and threads when the kill comes
    let input = titles(56);
    work.write("corpus.jsonl", &input);
    let undisturbed = RESUME.replace("--resume", "--quiet");
    encode(&work, &format!("{undisturbed} corpus.jsonl -o want.{form}"), b"").exits(0);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..10 {
        begin_and_kill(&work, &format!("{RESUME} -o got.{form}"), &input, &mut random);
    }
    let parts = format!("got.{form}.parts");
    assert_eq!(work.names(), ["corpus.jsonl".into(), parts, format!("want.{form}")]);
    encode(&work, &format!("{RESUME} corpus.jsonl -o got.{form}"), b"")
        .exits(0)
        .says("taken over from finished parts");
    assert!(work.read(&format!("got.{form}")) == work.read(&format!("want.{form}")), "{form}");
    assert_eq!(
        work.names(),
        ["corpus.jsonl".into(), format!("got.{form}"), format!("want.{form}")]
    );
}

#[test]
#[ignore = "slow: killed ten times"]
fn a_parquet_run_killed_ten_times_has_the_same_bytes() {
    killed_ten_times("parquet", 1);
}

#[test]
#[ignore = "slow: killed ten times"]
fn an_arrow_run_killed_ten_times_has_the_same_bytes() {
    killed_ten_times("arrow", 2);
}

#[test]
#[ignore = "slow: killed ten times"]
fn a_json_run_killed_ten_times_has_the_same_bytes() {
    killed_ten_times("jsonl", 3);
}

#[test]
fn unfinished_work_goes_on_only_with_its_own_input_and_options() {
    let work = Work::new();
    let input = titles(14);
    work.write("corpus.jsonl", &input);
    let mut child = start(&mut command(&work, &format!("{RESUME} -o out.parquet")));
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(input.as_bytes()).unwrap();
    wait_until(|| work.path("out.parquet.parts/part-000000.json").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    drop(pipe);

    work.write("changed.jsonl", input.replacen("sourdough", "sourbread", 1));
    let shorter: Vec<&str> = input.lines().take(4000).collect();
    work.write("shorter.jsonl", shorter.join("\n"));
    for (arguments, message) in [
        (
            "changed.jsonl",
            "input behind the unfinished work in out.parquet.parts: expected 4096 documents",
        ),
        (
            "shorter.jsonl",
            "input behind the unfinished work in out.parquet.parts: expected 4096 documents",
        ),
        (
            "corpus.jsonl --max-tokens 9",
            "unfinished work in out.parquet.parts: max_tokens: expected 9, found 64",
        ),
        (
            "corpus.jsonl --activation log1p:2",
            "unfinished work in out.parquet.parts: activation: expected log1p:2, found log1p:1",
        ),
        (
            "corpus.jsonl --shard 0/2",
            "unfinished work in out.parquet.parts: shard: expected 0/2, found 0/1",
        ),
        (
            "corpus.jsonl --keep-text",
            "unfinished work in out.parquet.parts: keep_text: expected true, found false",
        ),
    ] {
        let arguments = format!("{RESUME} {arguments} -o out.parquet");
        encode(&work, &arguments, b"").exits(3).says(message);
    }
    // one bit of a weight
    let part = "out.parquet.parts/part-000000.arrow";
    let whole = work.read(part);
    let mut spoilt = whole.clone();
    spoilt[whole.len() / 2] ^= 1;
    work.write(part, &spoilt);
    encode(&work, &format!("{RESUME} corpus.jsonl -o out.parquet"), b"")
        .exits(1)
        .says("not as it was written; remove out.parquet.parts");
    work.write(part, &whole);
    encode(&work, &format!("{RESUME} corpus.jsonl -o out.parquet"), b"")
        .exits(0)
        .says("; 4096 taken over from finished parts");
    assert!(!work.path("out.parquet.parts").exists());
}

#[test]
fn resuming_wants_a_file_and_a_model() {
    let work = Work::new();
    encode(&work, &format!("{RESUME} {DEMO} -o -"), b"")
        .exits(2)
        .says("--resume: expected -o FILE");
    let bm25 = "--model bm25 --tokenizer testdata/toy --resume";
    encode(&work, &format!("{bm25} {DEMO} -o out.parquet"), b"").exits(2).says("BM25");
    encode(&work, &format!("{RESUME} {DEMO} -o none/out.parquet"), b"")
        .exits(1)
        .says("expected a folder none");
    assert!(work.names().is_empty(), "{:?}", work.names());
}
