//! What a newcomer to l0-eval sees: values, messages, exit statuses.
use std::{fs, io::Write};

use crate::support::{Run, Work};

const QRELS: &str = "testdata/trec/qrels";
const RUN: &str = "testdata/trec/run";

fn l0_eval(args: &[&str], stdin: &[u8]) -> Run {
    Work::new().run("l0-eval", args, stdin)
}

#[track_caller]
fn check(args: &[&str], stdin: &str, stdout: &str) {
    let run = l0_eval(args, stdin.as_bytes()).exits(0);
    assert_eq!(run.stdout_text(), stdout, "{run}");
}

#[track_caller]
fn check_refused(args: &[&str], stdin: &str, status: i32, message: &str) {
    let run = l0_eval(args, stdin.as_bytes()).exits(status).says(message);
    assert_eq!(run.stdout_text(), "", "{run}");
}

#[test]
fn takes_the_usual_measures_if_none_is_named() {
    let usual = "nDCG@10\t0.3941\nRR@10\t0.3333\nR@100\t0.6562\nAP\t0.3469\n";
    check(&[QRELS, RUN], "", usual);
    check(&[QRELS, "-"], &fs::read_to_string(RUN).unwrap(), usual);
    check(&["-", RUN], &fs::read_to_string(QRELS).unwrap(), usual);
}

#[test]
fn reads_gzip_and_lines_that_end_as_on_windows() {
    let text = fs::read_to_string(RUN).unwrap().replace('\n', "\r\n");
    check(&[QRELS, "-", "-m", "AP"], &text, "AP\t0.3469\n");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let run = l0_eval(&[QRELS, "-", "-m", "AP"], &gzip.finish().unwrap()).exits(0);
    assert_eq!(run.stdout_text(), "AP\t0.3469\n");
}

#[test]
fn notes_go_to_stderr_and_can_be_silenced() {
    l0_eval(&[QRELS, RUN], b"")
        .says("judged queries without a hit, they count 0: 1 of 8")
        .says("queries that are not judged and do not count: 1");
    assert_eq!(l0_eval(&[QRELS, RUN, "--quiet"], b"").stderr(), "");
    let twice = l0_eval(&["-", RUN, "-m", "NumRel"], b"q1 0 a 1\nq1 0 a 0\n");
    assert_eq!(twice.stdout_text(), "NumRel\t0\n");
    twice.says("judgements that come again, the last one holds: 1");
    let twice = l0_eval(&["diff", RUN, RUN, "--qrels", "-"], b"q1 0 a 1\nq1 0 a 0\n");
    twice.says("judgements that come again, the last one holds: 1");
}

#[test]
fn the_hit_that_is_the_query_is_taken_out_on_request() {
    let args = [QRELS, RUN, "-m", "NumRelRet", "-q", "--format", "jsonl"];
    let value = "\"query\":\"q6\",\"run\":\"testdata/trec/run\",\"value\":";
    l0_eval(&args, b"").prints(&format!("{value}2.0}}"));
    let args = [&args[..], &["--ignore-identical-ids"]].concat();
    l0_eval(&args, b"").prints(&format!("{value}1.0}}"));
}

#[test]
fn a_missed_floor_is_status_4_after_the_results() {
    check(&[QRELS, RUN, "-m", "AP", "--min", "AP=0.3"], "", "AP\t0.3469\n");
    let run = l0_eval(&[QRELS, RUN, "-m", "AP", "--min", "P(rel=2)@5=0.5"], b"").exits(4);
    assert_eq!(run.stdout_text(), "AP\t0.3469\nP(rel=2)@5\t0.1000\n");
    run.says("testdata/trec/run: expected P(rel=2)@5 of at least 0.5, found 0.1");
}

#[test]
fn a_comparison_is_a_line_a_measure() {
    let baseline = "testdata/trec/baseline";
    let args = [QRELS, RUN, "--compare", baseline, "-m", "AP", "-m", "R@100", "--seed", "1"];
    let line = "AP\t0.2431\t0.3469\t+0.1039\t5\t2\t0.4379\t0.4379\t";
    let run = l0_eval(&args, b"").exits(0).prints(line);
    assert_eq!(run.stdout_text().lines().count(), 3, "{run}");
    assert_eq!(l0_eval(&args, b"").stdout(), run.stdout());
}

#[test]
fn says_what_is_wrong_with_the_files() {
    check_refused(&[QRELS, "no.run"], "", 1, "no.run: No such file or directory");
    check_refused(&["no.qrels", RUN], "", 1, "no.qrels: No such file or directory");
    check_refused(
        &[QRELS, "-"],
        "",
        1,
        "<stdin>: expected run lines `qid Q0 docno rank score tag`",
    );
    check_refused(&[QRELS, "testdata"], "", 1, "testdata: expected a file, found a directory");
    let swapped = "testdata/trec/run:2: expected `qid iter docno grade`";
    check_refused(&[RUN, QRELS], "", 1, swapped);
    check_refused(&[RUN, QRELS], "", 1, "(a run? QRELS comes before RUN)");
    check_refused(&[QRELS, QRELS], "", 1, "(judgements? QRELS comes before RUN)");
    check_refused(&["-", RUN], "q1\ta\t1\n", 1, "the header `query-id<TAB>corpus-id<TAB>score`");
    check_refused(&[QRELS, "-"], "q1 Q0 a 1 nan t\n", 1, "<stdin>:1: expected a number as score");
    check_refused(
        &[QRELS, "-"],
        "x Q0 a 1 1 t\n",
        1,
        "expected a run for the judged queries (`q1`",
    );
    check_refused(
        &[QRELS, "-"],
        "q1 Q0 a 1 2 t\nq1 Q0 a 2 1 t\n",
        1,
        "<stdin>:2: expected each document once per query, found `a` again for query `q1` (first in line 1)",
    );
}

#[test]
fn says_what_is_wrong_with_the_arguments() {
    check_refused(&[QRELS], "", 2, "<RUN>");
    check_refused(&["-", "-"], "", 2, "expected `-` (stdin) once at most");
    check_refused(&[QRELS, RUN, "-m", "nDGC@10"], "", 2, "the nearest is nDCG");
    check_refused(
        &[QRELS, RUN, "--min", "AP"],
        "",
        2,
        "expected MEASURE=VALUE, as in nDCG@10=0.35",
    );
    check_refused(&[QRELS, RUN, "--format", "csv"], "", 2, "expected text, jsonl or markdown");
}

#[test]
fn bad_lines_can_be_skipped_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let rejects = folder.path().join("rejects.jsonl");
    let skip = ["--on-error", "skip", "--rejects", rejects.to_str().unwrap()];
    let run = "q1 Q0 a 1 2 t\nq1 Q0 b\nq1 Q0 c 2 1 t\n";
    check(&[&[QRELS, "-", "-m", "NumRet"], &skip[..]].concat(), run, "NumRet\t2\n");
    let kept = fs::read_to_string(&rejects).unwrap();
    assert!(kept.contains("\"record\":\"q1 Q0 b\""), "{kept}");
    check_refused(&[&[QRELS, "-"], &skip[..]].concat(), "bad\n", 1, "found none");
    assert!(fs::read_to_string(&rejects).unwrap().contains("\"record\":\"bad\""));
}

#[test]
fn results_of_several_seeds_become_a_table_and_a_drawing() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("front.svg");
    let results = "{\"name\":\"a\",\"method\":\"l0\",\"ndcg\":0.3,\"flops\":1,\"seed\":0}\n\
                   {\"name\":\"a\",\"method\":\"l0\",\"ndcg\":0.4,\"flops\":2,\"seed\":1}\n";
    let table =
        "method\tname\tseeds\tflops\tnDCG@10\t±\tfront\nl0\ta\t2\t1.5000\t0.3500\t0.0500\tyes\n";
    check(&["tradeoff", "-", "--svg", svg.to_str().unwrap()], results, table);
    let drawn = fs::read_to_string(&svg).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.contains("\nPareto front\n"));
    check(&["tradeoff", "-", "--svg", "-"], results, &drawn);
    check_refused(&["tradeoff"], "{\"name\":1}\n", 1, "<stdin>:1: expected {\"name\"");
    check_refused(&["tradeoff", "--where", "seed=7"], results, 2, "no result meets it");
    let zero = "{\"name\":\"a\",\"ndcg\":0.3,\"flops\":0}\n";
    check_refused(&["tradeoff", "--log", "--svg", "-"], zero, 2, "expected flops above 0");
    let one = "method\tname\tseeds\tnDCG@10\tflops\t±\tseed\tfront\nl0\ta\t1\t0.4000\t2.0000\t-\t1.0000\tyes\n";
    let asked =
        ["tradeoff", "--where", "seed=1", "--x", "ndcg", "--y", "flops", "--columns", "seed"];
    check(&asked, results, one);
}
