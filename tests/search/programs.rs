//! `l0-index` and `l0-query` from outside: streams, exit statuses, files that are whole or absent.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
};

use l0::internal::{
    index::Index,
    io::{Input, Output},
    search::{AnswerConfig, AnswerForm, Detail, Engine, Method, QueryReader, SearchConfig},
    sparse::{SparseVector, TermId},
    text::Tokenizer,
    vectors::{Form, Row, VectorMeta, Writer},
};
use serde_json::Value;

use crate::{
    index::broken::section,
    support::{Run, Work},
};

const TOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/toy");
const ROWS: &str = r#"{"_id":"d1","vector":{"water":1.5,"sea":1.0},"title":"Sea","text":"salt water"}
{"_id":"d2","vector":{"water":1.5},"title":"","text":"a glass"}
{"_id":"d3","indices":[7],"values":[0.25]}
"#;

/// A folder with an index `a.l0x` of [`ROWS`].
fn indexed() -> Work {
    let desk = Work::new();
    let args = ["--tokenizer", TOY, "-o", "a.l0x", "--weights", "f32"];
    desk.run("l0-index", &args, ROWS).exits(0);
    desk
}

fn said(run: &Run) -> String {
    run.stdout_text()
}

#[track_caller]
fn check(run: Run, status: i32, message: &str) {
    run.exits(status).says(message);
}

#[test]
fn an_answer_a_line_in_order_and_faults_in_their_place() {
    let desk = indexed();
    let queries = "the water\nq2\tsea\n{\"_id\":\"q3\",\"vector\":{\"water\":2}}\n{oops\n\
        {\"_id\":\"q5\",\"indices\":[430],\"values\":[1]}\n\n{\"_id\":\"q7\",\"text\":\"sea\"}\n";
    let output = desk.run("l0-query", &["a.l0x", "-k", "1"], queries);
    let expected = r#"{"_id":"1","hits":[{"id":"d1","score":1.5,"title":"Sea","text":"salt water"}]}
{"_id":"q2","hits":[{"id":"d1","score":1.0,"title":"Sea","text":"salt water"}]}
{"_id":"q3","hits":[{"id":"d1","score":3.0,"title":"Sea","text":"salt water"}]}
{"_id":null,"error":{"line":4,"message":"expected a query with \"text\", \"indices\" and \"values\", or \"vector\", found key must be a string at column 2 of `{oops`"}}
{"_id":"q5","error":{"line":5,"message":"expected term numbers below 430, found 430"}}
{"_id":"6","hits":[]}
{"_id":"q7","hits":[{"id":"d1","score":1.0,"title":"Sea","text":"salt water"}]}
"#;
    assert_eq!(said(&output), expected);
    check(output, 0, "");
}

#[test]
fn runs_name_the_tag_and_explanations_the_terms() {
    let desk = indexed();
    let args = ["a.l0x", "-o", "a.run", "--run-name", "mine"];
    check(desk.run("l0-query", &args, "q1\twater sea\nq2\tglass\n"), 0, "");
    let run = fs::read_to_string(desk.path("a.run")).unwrap();
    assert_eq!(run, "q1 Q0 d1 1 2.5 mine\nq1 Q0 d2 2 1.5 mine\n");
    let output = desk.run("l0-query", &["a.l0x", "--explain"], "water sea\n");
    let answer: Value = serde_json::from_str(&said(&output)).unwrap();
    let terms: Vec<&str> = answer["hits"][0]["terms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|term| term["token"].as_str().unwrap())
        .collect();
    assert_eq!(terms, ["water", "sea"]);
}

/// Texts of the index that were read to answer in a form.
fn text_blocks_read(form: AnswerForm, detail: Detail) -> u64 {
    let desk = indexed();
    let index = Index::open(&desk.path("a.l0x")).unwrap();
    let config = SearchConfig { k: 10, method: Method::Exact, detail };
    let engine = Engine::new(vec![index], config).unwrap();
    desk.write("queries.txt", "water sea\nwater\nglass\n");
    let input = Input::open(&desk.path("queries.txt")).unwrap();
    let questions = QueryReader::open(input, &engine.indexes()[0]).unwrap();
    let mut output = Output::create(&desk.path("answers")).unwrap();
    let answers = AnswerConfig { form, tag: "l0".into(), columns: 80 };
    let count = engine.answer_all(questions, &answers, &mut output, |_, error| panic!("{error}"));
    output.commit().unwrap();
    assert_eq!((count.unwrap().queries, desk.text("answers").lines().count() >= 3), (3, true));
    engine.indexes()[0].text_blocks_read()
}

#[test]
fn only_forms_that_show_texts_read_them() {
    for detail in [Detail::Hit, Detail::Terms] {
        assert_eq!(text_blocks_read(AnswerForm::Trec, detail), 0);
        // the first query has two hits, the second the same, the third none
        assert_eq!(text_blocks_read(AnswerForm::JsonLines, detail), 4);
        assert_eq!(text_blocks_read(AnswerForm::Text, detail), 4);
    }
}

#[test]
fn an_answer_comes_before_the_next_question() {
    let desk = indexed();
    let mut child = desk
        .command("l0-query", &["a.l0x"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut questions = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 1..=3 {
        writeln!(questions, "water").unwrap();
        let answer = answers.next().unwrap().unwrap();
        assert!(answer.starts_with(&format!("{{\"_id\":\"{number}\"")), "{answer}");
    }
    drop(questions);
    assert!(answers.next().is_none() && child.wait().unwrap().success());
}

#[test]
fn several_indexes_answer_as_one_and_threads_change_nothing() {
    let desk = indexed();
    let (first, rest) = ROWS.split_once('\n').unwrap();
    for (rows, name) in [(first, "b.l0x"), (rest, "c.l0x")] {
        let args = ["--tokenizer", TOY, "-o", name, "--weights", "f32", "--threads", "1"];
        check(desk.run("l0-index", &args, rows), 0, "");
    }
    check(desk.run("l0-index", &["merge", "b.l0x", "c.l0x", "-o", "m.l0x"], ""), 0, "");
    let bytes = |name: &str| fs::read(desk.path(name)).unwrap();
    assert!(bytes("m.l0x") == bytes("a.l0x"));
    let queries = "water\nsea\nwater sea\n";
    let whole = desk.run("l0-query", &["a.l0x"], queries);
    let parts = desk.run("l0-query", &["--index", "b.l0x", "--index", "c.l0x"], queries);
    let single = desk.run("l0-query", &["a.l0x", "--threads", "1"], queries);
    assert_eq!(said(&parts), said(&whole));
    assert_eq!(said(&single), said(&whole));
    let output = desk.run("l0-query", &["a.l0x", "--check-exact"], queries);
    assert_eq!(said(&output), "queries\t3\nidentical\t3\nrecall\t1.000000\n");
    let output = desk.run("l0-query", &["a.l0x", "--bench"], queries);
    assert!(said(&output).contains("\np99\t") && said(&output).starts_with("queries\t3\n"));
}

#[test]
fn appended_documents_stand_behind_the_others() {
    let desk = indexed();
    let (first, rest) = ROWS.split_once('\n').unwrap();
    let args = ["--tokenizer", TOY, "-o", "b.l0x", "--weights", "f32"];
    check(desk.run("l0-index", &args, first), 0, "");
    check(desk.run("l0-index", &["append", "b.l0x", "-o", "b.l0x"], rest), 0, "3 documents");
    let bytes = |name: &str| fs::read(desk.path(name)).unwrap();
    assert!(bytes("b.l0x") == bytes("a.l0x"));
    let output = desk.run("l0-index", &["append", "b.l0x", "-o", "b.l0x"], rest);
    check(
        output,
        1,
        "<stdin>:1: expected a document id that is new, found `d2`, which document 2 of b.l0x",
    );
    let skip = ["append", "b.l0x", "-o", "b.l0x", "--on-error", "skip"];
    check(desk.run("l0-index", &skip, rest), 1, "");
    assert!(bytes("b.l0x") == bytes("a.l0x"));
    assert_eq!(desk.names().len(), 2); // no temporary file is left
    check(
        desk.run("l0-index", &["append", "b.l0x", "-o", "/dev/null"], rest),
        2,
        "expected -o FILE",
    );
}

#[test]
fn approximate_search_says_what_it_gives_up_and_wants_to_be_asked() {
    let desk = indexed();
    let args = ["a.l0x", "--method", "approx", "--recall", "0.9"];
    let output = desk.run("l0-query", &args, "water sea\n");
    check(output.clone(), 0, "l0-query: a.l0x: recall on samples of its documents: ");
    let exact = desk.run("l0-query", &["a.l0x"], "water sea\n");
    assert_eq!(said(&output), said(&exact));
    check(desk.run("l0-query", &args[..3], ""), 2, "say how much with --recall, as 0.99");
    check(desk.run("l0-query", &["a.l0x", "--recall", "0.9"], ""), 2, "--recall is for --method");
    let args = ["a.l0x", "--method", "approx", "--recall", "1.5"];
    check(desk.run("l0-query", &args, ""), 2, "expected a recall above 0 and up to 1, found `1.5`");
    // what goes to a pipe cannot be read back
    let piped = desk.run("l0-index", &["--tokenizer", TOY, "-o", "-"], ROWS);
    fs::write(desk.path("p.l0x"), piped.stdout()).unwrap();
    let args = ["p.l0x", "--method", "approx", "--recall", "0.9"];
    check(desk.run("l0-query", &args, "sea\n"), 1, "p.l0x: it was not calibrated");
    check(desk.run("l0-query", &["p.l0x"], "sea\n"), 0, "");
}

#[test]
fn stats_and_verify_tell_of_the_file() {
    let desk = indexed();
    let output = desk.run("l0-index", &["stats", "a.l0x"], "");
    assert!(said(&output).starts_with("documents\t3\nvocabulary\t430\n"), "{}", said(&output));
    let output = desk.run("l0-index", &["stats", "--json", "a.l0x"], "");
    let stats: Value = serde_json::from_str(&said(&output)).unwrap();
    assert_eq!(stats["postings"], 4);
    check(desk.run("l0-index", &["verify", "a.l0x"], ""), 0, "");
    let mut bytes = fs::read(desk.path("a.l0x")).unwrap();
    bytes[100] ^= 1;
    fs::write(desk.path("a.l0x"), &bytes).unwrap();
    let message = "l0-index: a.l0x: section `tokenizer` is damaged";
    check(desk.run("l0-index", &["verify", "a.l0x"], ""), 1, message);
}

#[test]
fn an_index_that_turns_out_damaged_ends_the_answers() {
    let desk = indexed();
    let mut bytes = fs::read(desk.path("a.l0x")).unwrap();
    let postings = section(&bytes, 7);
    bytes[postings].fill(0xff);
    fs::write(desk.path("a.l0x"), &bytes).unwrap();
    let output = desk.run("l0-query", &["a.l0x"], "zzz\nwater\n");
    check(output, 1, "l0-query: a.l0x: section `postings` is damaged: the list of term");
}

#[test]
fn what_does_not_belong_together_ends_with_3() {
    let desk = indexed();
    let mut bytes = fs::read(desk.path("a.l0x")).unwrap();
    bytes[8] = 9;
    fs::write(desk.path("newer.l0x"), &bytes).unwrap();
    check(desk.run("l0-query", &["newer.l0x"], ""), 3, "format version: expected 3, found 9");
    let args = ["--tokenizer", TOY, "-o", "b.l0x"];
    check(desk.run("l0-index", &args, ROWS), 0, "");
    let args = ["merge", "a.l0x", "b.l0x", "-o", "m.l0x"];
    check(desk.run("l0-index", &args, ""), 3, "weights: expected f32, as in a.l0x, found u8");
    let args = ["--index", "a.l0x", "--index", "c.l0x"];
    let other = ["--tokenizer", TOY, "-o", "c.l0x", "--query-weights", "table.txt"];
    desk.write("table.txt", "water\t2\n");
    check(desk.run("l0-index", &other, ROWS), 0, "");
    check(desk.run("l0-query", &args, ""), 3, "query table");
}

#[test]
fn vectors_of_another_vocabulary_do_not_belong() {
    let desk = indexed();
    let own = Tokenizer::load(Path::new(TOY)).unwrap().vocabulary().fingerprint().to_owned();
    let write = |name: &str, vocabulary: &str, prune: &str| {
        let meta = VectorMeta {
            vocabulary_sha256: vocabulary.into(),
            prune: prune.into(),
            ..VectorMeta::default()
        };
        let output = l0::internal::io::Output::create(&desk.path(name)).unwrap();
        let mut writer = Writer::new(output, Form::Parquet, &meta, false).unwrap();
        let vector = SparseVector::new([(TermId(7), 2.0)]).unwrap();
        writer.write(&Row { id: name.into(), vector, ..Row::default() }).unwrap();
        writer.finish().unwrap();
    };
    write("own.parquet", &own, "none");
    write("foreign.parquet", "beef", "none");
    write("pruned.parquet", &own, "top_k:9");
    let index = |inputs: &[&str]| {
        let args = [inputs, &["--tokenizer", TOY, "-o", "v.l0x"]].concat();
        desk.run("l0-index", &args, "")
    };
    check(index(&["foreign.parquet"]), 3, "foreign.parquet: vocabulary fingerprint: expected ");
    check(index(&["own.parquet", "pruned.parquet"]), 3, "pruned.parquet: encoding: expected ");
    check(index(&["own.parquet"]), 0, "1 documents");
    let output = desk.run("l0-query", &["a.l0x", "own.parquet"], "");
    let expected = "{\"_id\":\"own.parquet\",\"hits\":[{\"id\":\"d3\",\"score\":0.5,";
    assert!(said(&output).starts_with(expected), "{}", said(&output));
    check(desk.run("l0-query", &["a.l0x", "foreign.parquet"], ""), 3, "vocabulary fingerprint");
    check(desk.run("l0-query", &["--index", "a.l0x", "--index", "v.l0x"], ""), 3, "encoding");
}

#[test]
fn wrong_usage_ends_with_2_and_bad_data_with_1_and_no_file() {
    let desk = indexed();
    check(desk.run("l0-query", "", ""), 2, "expected an INDEX: l0-query INDEX QUERIES answers");
    let typed = desk.run("l0-query", &["a.l0x", "how do tides work"], "");
    check(typed, 2, "one query: echo 'how do tides work' | l0-query INDEX");
    check(desk.run("l0-query", &["a.l0x", "-k", "0"], ""), 2, "");
    check(desk.run("l0-query", &["a.l0x", "-o", "a.csv"], ""), 2, "found .csv");
    check(desk.run("l0-query", &["a.l0x"], "{\n"), 1, "none of 1 could be answered");
    check(desk.run("l0-query", &["none.l0x"], ""), 1, "none.l0x: ");
    desk.write("rows.jsonl", "");
    check(
        desk.run("l0-encode", &["--model", TOY, "rows.jsonl", "-o", "n.parquet"], ""),
        0,
        "0 rows",
    );
    let nothing = desk.run("l0-index", &["n.parquet", "--tokenizer", TOY, "-o", "n.l0x"], "");
    check(nothing, 0, "the inputs have no rows: the index is empty");
    desk.write("empty.l0x", "");
    check(desk.run("l0-query", &["empty.l0x"], ""), 1, "found an empty file");
    check(
        desk.run("l0-index", &["-o", "b.l0x"], ROWS),
        2,
        "expected --model DIR or --tokenizer DIR",
    );
    check(desk.run("l0-index", &["--tokenizer", TOY], ROWS), 2, "expected -o INDEX");
    let args = ["--tokenizer", TOY, "-o", "b.l0x"];
    let twice = [ROWS, ROWS].concat();
    let message =
        "l0-index: <stdin>:4: expected a document id that is new, found `d1`, which <stdin>:1 has";
    check(desk.run("l0-index", &args, &twice), 1, message);
    check(desk.run("l0-index", &args, "{\"_id\":\"a\"}\n"), 1, "<stdin>:1: expected ");
    assert!(!desk.path("b.l0x").exists());
    let skip = [&args[..], &["--on-error", "skip", "--rejects", "r.jsonl"]].concat();
    check(desk.run("l0-index", &skip, &twice), 0, "3 documents");
    assert_eq!(lines(&desk.path("r.jsonl")), 3);
    check(desk.run("l0-index", &skip, "{}\n"), 1, "all 1 records were refused");
    assert_eq!(lines(&desk.path("r.jsonl")), 1);
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).unwrap().lines().count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_and_a_reader_that_leaves_is_no_failure() {
    let desk = indexed();
    let full = ["--tokenizer", TOY, "-o", "/dev/full"];
    check(desk.run("l0-index", &full, ROWS), 1, "/dev/full: No space left on device");
    let full = ["a.l0x", "--format", "jsonl", "-o", "/dev/full"];
    check(desk.run("l0-query", &full, "water\n"), 1, "/dev/full: No space left on device");
    desk.write("many.txt", "water\n".repeat(100_000));
    let mut child =
        desk.command("l0-query", "a.l0x many.txt").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(child.wait().unwrap().success());
}
