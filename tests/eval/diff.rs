//! `l0-eval diff` from outside: verdicts, gates, what is wrong with files and arguments.

use crate::support::{Run, Work, run};

const A: &str = "q1 Q0 a 1 3 t\nq1 Q0 b 2 2 t\nq2 Q0 c 1 1.5 t\n";

fn scene() -> Work {
    let work = Work::new();
    work.write("a.run", A);
    // q1: another order; q2: a document of its own; q3: nobody asked
    let b = "q1 Q0 a 1 2 u\nq1 Q0 b 2 3 u\nq2 Q0 d 1 1.5 u\nq3 Q0 d 1 1 u\n";
    work.write("b.run", b);
    work
}

fn diff(work: &Work, arguments: &str) -> Run {
    run(work.command("l0-eval", &format!("diff {arguments}")), A.as_bytes())
}

#[test]
fn equal_runs_are_the_same_and_pass_every_gate() {
    let work = scene();
    let gates = "a.run - --strict --min-overlap 1 --max-error 0";
    let expected = "A\ta.run\nB\t<stdin>\ntop 10\tthe same\nqueries\t2\nidentical\t2\n\
                overlap@10\t1.0000\twith ties 1.0000\ntau\t1.0000\n\
                shared hits\t3\tequal scores 3, within the tolerance 3\n";
    let ran = diff(&work, gates).exits(0);
    assert_eq!((ran.stdout_text().as_str(), ran.stderr().as_str()), (expected, ""));
}

#[test]
fn a_difference_is_reported_and_fails_only_where_that_is_asked_for() {
    let work = scene();
    let ran = diff(&work, "a.run b.run").exits(0).prints("top 10\tdifferent\nqueries\t3\n");
    let ran = ran.prints("different\t2\nonly in B\t1\n").prints("overlap@10\t0.3333");
    ran.prints("\nquery q1, overlap 1.0000\n").prints("   1  ! a 3  ! b 3\n");
    let strict = diff(&work, "a.run b.run --strict").exits(4).prints("top 10\tdifferent");
    strict.says(
        "a.run and b.run: expected the same ranking for every query, found another for 3 of 3 (`q1`)",
    );
    diff(&work, "a.run b.run --min-overlap 0.5")
        .exits(4)
        .says("expected overlap@10 of at least 0.5");
    diff(&work, "a.run b.run --min-overlap 0.3").exits(0);
    diff(&work, "a.run b.run --max-error 0.1").exits(4).says("relative differences of at most 0.1");
}

#[test]
fn lines_are_objects_with_the_queries_first() {
    let work = scene();
    let ran = diff(&work, "a.run b.run -q --format jsonl -o out.jsonl").exits(0);
    assert!(ran.stdout().is_empty());
    let text = work.text("out.jsonl");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!((&lines[0]["query"], &lines[0]["first_rank"]), (&"q1".into(), &1.into()));
    assert_eq!(lines[2]["likeness"], "only in B");
    let all = &lines[3];
    assert_eq!(
        (&all["same"], &all["queries"], &all["shared"]),
        (&false.into(), &3.into(), &2.into())
    );
    assert_eq!(all["likeness"]["only_in_b"], 1);
    assert_eq!(all["absolute"]["document"], "a");
}

#[test]
fn judgements_measure_both() {
    let work = scene();
    work.write("qrels", "q1 0 a 1\nq2 0 d 1\n");
    let measured = "RR@10\tA 0.5000\tB 0.7500\tB - A +0.2500\n";
    let ran = diff(&work, "a.run b.run --qrels qrels -m RR@10").exits(0).prints(measured);
    ran.says("b.run: queries that are not judged and do not count: 1");
    let ran = diff(&work, "a.run b.run --qrels qrels -m RR@10 --format jsonl --quiet").exits(0);
    assert!(ran.stderr().is_empty());
    ran.prints("{\"a\":0.5,\"b\":0.75,\"difference\":0.25,\"measure\":\"RR@10\"}\n");
    diff(&work, "a.run b.run -m RR@10").exits(2).says("--qrels");
    work.write("qrels", "x 0 a 1\n");
    diff(&work, "a.run b.run --qrels qrels").exits(1).says("expected a run for the judged queries");
}

#[test]
fn broken_runs_are_named() {
    let work = scene();
    for (text, message) in [
        ("", "bad.run: expected run lines `qid Q0 docno rank score tag`, found none"),
        ("# nothing\n\n", "bad.run: expected run lines"),
        ("q1 Q0 a 1 3\n", "bad.run:1: expected `qid Q0 docno rank score tag`, found `q1 Q0 a 1 3`"),
        ("q1 Q0 a 1 3 t\nq1 Q0 b 2 x t\n", "bad.run:2: expected a number as score, found `x`"),
        ("q1 Q0 a 1 nan t\n", "bad.run:1: expected a number as score, found `nan`"),
        (
            "q1 Q0 a 1 3 t\nq1 Q0 a 2 2 t\n",
            "bad.run:2: expected each document once per query, found `a` again for query `q1`",
        ),
        ("q1 Q0 \u{fffd}\n", "bad.run:1: expected `qid Q0 docno rank score tag`"),
    ] {
        work.write("bad.run", text);
        for arguments in ["a.run bad.run", "bad.run a.run"] {
            let ran = diff(&work, arguments).exits(1).says(message);
            assert!(ran.stdout().is_empty(), "{ran}");
        }
    }
    work.write("bad.run", b"q1 Q0 \xff 1 3 t\n");
    diff(&work, "a.run bad.run").exits(1).says("bad.run:1: expected");
    diff(&work, "a.run none.run").exits(1).says("none.run: No such file");
    work.write("bad.run", "q1 Q0 a 1 3 t\nq1 Q0 b\n");
    let skip = "a.run bad.run --on-error skip --rejects rejects.jsonl";
    diff(&work, skip).exits(0).says("lines that were refused: 1").prints("only in A\t1");
    assert!(work.text("rejects.jsonl").contains("q1 Q0 b"));
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let work = scene();
    for (arguments, message) in [
        ("a.run", "<B>"),
        ("- -", "expected `-` (stdin) once at most"),
        ("a.run b.run -k 0", "expected a whole number above 0, found `0`"),
        ("a.run b.run --tolerance=-1", "expected a number of 0 or more"),
        ("a.run b.run --max-error nan", "expected a number of 0 or more, found `nan`"),
        ("a.run b.run --format markdown", "expected text or jsonl, found markdown"),
        ("a.run b.run --format csv", "expected text, jsonl or markdown"),
    ] {
        diff(&work, arguments).exits(2).says(message);
    }
}

/// What the subcommand is for: one engine at two widths of weights.
#[test]
#[ignore = "slow: whole programs"]
fn eight_bit_weights_against_floats() {
    let work = Work::new();
    let line = "set -o pipefail
        l0-encode testdata/demo/corpus.jsonl --quiet -o v.parquet
        for w in f32 u8; do
            l0-index v.parquet --weights $w --quiet -o $w.l0x
            l0-query $w.l0x testdata/demo/queries.jsonl -k 20 --format trec -o $w.run
        done
        l0-query f32.l0x testdata/demo/queries.jsonl -k 20 --format trec --method exhaustive |
            l0-eval diff f32.run - --strict --max-error 0 >same
        l0-eval diff f32.run u8.run -k 10 --tolerance 0.01 --min-overlap 0.98 --max-error 0.02";
    let ran = run(work.shell(line), b"").exits(0);
    assert!(work.text("same").contains("top 10\tthe same\n"));
    ran.prints("queries\t60\n").prints("relative error\t");
}
