//! What goes wrong between programs: half a stream, the wrong partner, a damaged neighbour.

use super::run::{Work, run};

const ENCODE: &str = "l0-encode --quiet --model testdata/toy";
const INDEX: &str = "l0-index --quiet --tokenizer testdata/toy";

/// A folder with a small corpus and a sound index of it, `good.l0x`.
fn scene() -> Work {
    let work = Work::new();
    let line = format!("head -9 testdata/demo/corpus.jsonl > c.jsonl; {ENCODE} c.jsonl -o c.arrow");
    run(work.shell(&line), b"").exits(0);
    run(work.shell(&format!("{INDEX} c.arrow -o good.l0x")), b"").exits(0);
    work
}

/// The line fails with this status and message, makes nothing new and leaves `good.l0x` as it was.
#[track_caller]
fn refused(work: &Work, line: &str, status: i32, message: &str) {
    let (names, good) = (work.names(), work.read("good.l0x"));
    run(work.shell(line), b"").exits(status).says(message);
    assert_eq!(work.names(), names, "{line}");
    assert_eq!(work.read("good.l0x"), good, "{line}");
}

#[test]
fn half_a_stream_is_not_taken_for_all_of_it() {
    let work = scene();
    let whole = work.read("c.arrow");
    work.write("cut.arrow", &whole[..whole.len() - 8]);
    work.write("two.arrow", [&whole[..], &whole[..]].concat());
    work.write("bad.jsonl", "{\"_id\":\"a\",\"text\":\"x\"}\n{bad\n");
    let cut = "the stream is cut short";
    refused(&work, &format!("cat cut.arrow | {INDEX} -o good.l0x"), 1, cut);
    refused(&work, &format!("{INDEX} cut.arrow -o good.l0x"), 1, cut);
    refused(&work, "l0-eval sparsity cut.arrow", 1, cut);
    refused(&work, &format!("{ENCODE} bad.jsonl | {INDEX} -o good.l0x"), 1, cut);
    let bm25 = "l0-encode --quiet --model bm25 --tokenizer testdata/toy";
    refused(&work, &format!("{bm25} bad.jsonl | {INDEX} -o good.l0x"), 1, cut);
    refused(&work, &format!("false | {INDEX} -o good.l0x"), 1, "got an empty input");
    refused(&work, &format!("{INDEX} -o good.l0x <&-"), 1, "got an empty input");
    refused(&work, &format!("{INDEX} two.arrow -o good.l0x"), 1, "name several files");
    // an empty corpus is no failure
    run(work.shell(&format!("{ENCODE} </dev/null | {INDEX} -o none.l0x")), b"").exits(0);
}

#[test]
fn vectors_of_another_model_or_role_are_refused() {
    let work = scene();
    let query = format!("{ENCODE} --role query testdata/demo/queries.jsonl");
    refused(&work, &format!("{query} | {INDEX} -o good.l0x"), 3, "role of the vectors");
    let other = "l0-index --quiet --model testdata/toy-old c.arrow -o good.l0x";
    refused(&work, other, 3, "model that made the vectors");
    let own = "l0-index --quiet --model testdata/toy c.arrow -o own.l0x";
    run(work.shell(own), b"").exits(0);
    let other =
        "l0-encode --quiet --model testdata/toy-old --role query testdata/demo/queries.jsonl";
    refused(&work, &format!("{other} | l0-query good.l0x"), 3, "model of the queries");
    run(work.shell(&format!("{query} | l0-query good.l0x")), b"").exits(0);
}

#[test]
fn damage_is_not_merged_into_a_sound_file() {
    let work = scene();
    let sound = work.read("good.l0x");
    for at in [200, sound.len() / 2, sound.len() * 9 / 10] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        work.write("bad.l0x", &bytes);
        refused(&work, "l0-index merge bad.l0x -o m.l0x", 1, "is damaged");
    }
}

#[test]
fn a_tokenizer_that_makes_its_crate_panic_is_an_error() {
    let work = scene();
    let text = work.text("testdata/demo/tokenizer.json");
    assert!(text.contains(r###""prefix":"##""###));
    work.write("tk.json", text.replacen(r###""prefix":"##""###, r###""prefix":"#\ud800""###, 1));
    refused(&work, "l0-index c.arrow --tokenizer tk.json -o good.l0x", 1, "not a tokenizer");
}

#[test]
fn refused_rows_are_kept_as_they_stood() {
    let work = scene();
    let bad = [
        r#"{"_id":"b","indices":[1],"values":[-1]}"#,
        r#"{"_id":"c","indices":[999],"values":[1]}"#,
    ];
    let good = r#"{"_id":"a","indices":[9],"values":[1]}"#;
    work.write("v.jsonl", format!("{good}\n{}\n", bad.join("\n")));
    let line = format!("{INDEX} v.jsonl -o v.l0x --on-error skip --rejects r.jsonl");
    run(work.shell(&line), b"").exits(0);
    let rejects = work.text("r.jsonl");
    assert!(
        rejects.contains("v.jsonl:2: want") && rejects.contains(r#"\"values\":[-1]"#),
        "{rejects}"
    );
    assert!(rejects.contains("v.jsonl:3: want terms below 430"), "{rejects}");
    let both = format!("{INDEX} v.jsonl -o good.l0x --on-error skip --rejects good.l0x");
    refused(&work, &both, 2, "want two places");
    refused(&work, &format!("{INDEX} - - -o good.l0x"), 2, "once at most");
}

#[test]
fn a_run_says_only_what_a_run_can_say() {
    let work = scene();
    for tag in ["''", "'a b'"] {
        let line = format!("l0-query good.l0x --format trec --run-name {tag} <<<bees");
        refused(&work, &line, 2, "want one word");
    }
    work.write("q.txt", "q1\tthe sea\nq 2\tthe sea\nq3\tthe sea\n");
    let line = "l0-query good.l0x q.txt -k 1 --format trec -o q.run --quiet";
    run(work.shell(line), b"").exits(0).says(
        "query 2 has no hits: expected an id without white space, as TREC runs need, found `q 2`",
    );
    let run = work.text("q.run");
    assert!(run.contains("q1 Q0 ") && run.contains("q3 Q0 ") && !run.contains("q 2"), "{run}");
}

#[test]
fn one_document_does_not_answer_twice() {
    let work = scene();
    let line = "l0-query --index good.l0x --index good.l0x <<<'bread and water'";
    refused(&work, line, 1, "is also in good.l0x; want indexes that share none");
}

#[test]
fn queries_without_ids_have_the_number_of_their_line_everywhere() {
    let work = scene();
    work.write("q.txt", "bees\n\nflowers\n");
    let encoded =
        format!("{ENCODE} --role query q.txt --format jsonl | grep -o '\"_id\":\"[0-9]*\"'");
    let asked = "l0-query good.l0x q.txt | grep -o '^{\"_id\":\"[0-9]*\"' | tr -d '{'";
    let line = format!("{encoded} > e; {asked} > a; grep -v 2 a | cmp e -");
    run(work.shell(&line), b"").exits(0);
}
