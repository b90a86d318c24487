//! Training data in every form and file: Parquet and Arrow as JSON lines, columns read by position.

use std::{path::Path, sync::Arc};

use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    builder::{Float32Builder, ListBuilder, StringBuilder},
};
use l0::internal::{
    records::examples::Example,
    train::{data::mixture::Mixture, recipe::SourceRecipe},
};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};

pub fn texts(rows: &[&[&str]]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in rows {
        row.iter().for_each(|text| lists.values().append_value(text));
        lists.append(true);
    }
    Arc::new(lists.finish())
}

pub fn numbers(rows: &[&[f32]]) -> ArrayRef {
    let mut lists = ListBuilder::new(Float32Builder::new());
    for row in rows {
        lists.values().append_slice(row);
        lists.append(true);
    }
    Arc::new(lists.finish())
}

pub fn strings(rows: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(rows.to_vec()))
}

/// Writes columns as Parquet, two rows a group.
pub fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn source(path: &Path) -> SourceRecipe {
    SourceRecipe { buffer: 1, ..SourceRecipe::of(path.to_owned()) }
}

fn drawn(source: &SourceRecipe, count: usize) -> Vec<Example> {
    let mut mixture = Mixture::open(std::slice::from_ref(source), 0).unwrap();
    (0..count).map(|_| mixture.draw().unwrap().example).collect()
}

#[track_caller]
fn check(columns: Vec<(&str, ArrayRef)>, lines: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (table, text) = (folder.path().join("x"), folder.path().join("y"));
    parquet(&table, columns);
    std::fs::write(&text, lines.join("\n")).unwrap();
    assert_eq!(drawn(&source(&table), lines.len()), drawn(&source(&text), lines.len()));
}

#[track_caller]
fn refused(columns: Vec<(&str, ArrayRef)>, found: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    parquet(&path, columns);
    let drawn = Mixture::open(&[source(&path)], 0).and_then(|mut mixture| {
        loop {
            mixture.draw()?;
        }
    });
    let error = drawn.map(|never: ()| never).unwrap_err().to_string();
    assert!(error.contains(found), "{error}: expected {found}");
}

#[test]
fn parquet_says_what_json_lines_say() {
    check(
        vec![
            ("query", strings(&["a", "b", "c"])),
            ("pos", texts(&[&["p"], &["q", "r"], &["s"]])),
            ("negs", texts(&[&["n"], &[], &["m", "o"]])),
        ],
        &[
            r#"{"query":"a","pos":["p"],"negs":["n"]}"#,
            r#"{"query":"b","pos":["q","r"],"negs":[]}"#,
            r#"{"query":"c","pos":["s"],"negs":["m","o"]}"#,
        ],
    );
    check(
        vec![
            ("query", Arc::new(Int32Array::from(vec![7, 8])) as ArrayRef),
            ("docs", texts(&[&["p", "q"], &["r"]])),
            ("scores", numbers(&[&[0.5, 0.25], &[1.0]])),
            ("positives", Arc::new(Int32Array::from(vec![1, 0]))),
        ],
        &[
            r#"{"query":7,"docs":["p","q"],"scores":[0.5,0.25],"positives":1}"#,
            r#"{"query":8,"docs":["r"],"scores":[1],"positives":0}"#,
        ],
    );
    check(
        vec![
            ("anchor", strings(&["a"])),
            ("positive", strings(&["p"])),
            ("negative_1", strings(&["m"])),
            ("negative_2", strings(&["n"])),
            ("label", numbers(&[&[0.5, 2.0]])),
        ],
        &[r#"{"anchor":"a","positive":"p","negative_1":"m","negative_2":"n","label":[0.5,2]}"#],
    );
    check(
        vec![
            ("question", strings(&["a"])),
            ("answer", strings(&["p"])),
            ("negative", strings(&["n"])),
            ("score", Arc::new(Float64Array::from(vec![3.0])) as ArrayRef),
        ],
        &[r#"{"anchor":"a","positive":"p","negative":"n","score":3}"#],
    );
}

#[test]
fn bad_rows_are_named_by_their_numbers() {
    let query = || strings(&["a", "b", "c", "d"]);
    let docs = |third: &[&str]| texts(&[&["p", "q"], &["p", "q"], third, &["p", "q"]]);
    let scores = |third: &[f32]| numbers(&[&[1.0, 2.0], &[1.0, 2.0], third, &[1.0, 2.0]]);
    for (docs, scores, found) in [
        (docs(&["p"]), scores(&[1.0, 2.0]), "x.parquet:3: expected an example"),
        (docs(&["p"]), scores(&[1.0, 2.0]), "found 2 scores for 1 documents"),
        (docs(&["p", "q"]), scores(&[1.0, f32::NAN]), "found a score \"NaN\""),
        (docs(&["p", ""]), scores(&[1.0, 2.0]), "found an empty text as document 2"),
        (docs(&[]), scores(&[]), "found no document"),
    ] {
        refused(vec![("query", query()), ("docs", docs), ("scores", scores)], found);
    }
    let null = Arc::new(StringArray::from(vec![Some("a"), None])) as ArrayRef;
    let pair = vec![("query", null), ("positive", strings(&["p", "q"]))];
    refused(pair, "x.parquet:2: expected an example");
    let swapped = vec![("answer", strings(&["a"])), ("query", strings(&["q"]))];
    refused(swapped, "x.parquet:1: expected an example");
    let date = Arc::new(arrow_array::Date32Array::from(vec![1])) as ArrayRef;
    let dated = vec![("query", strings(&["q"])), ("pos", strings(&["p"])), ("day", date)];
    refused(dated, "found day Date32; leave that column out");
    refused(vec![("query", strings(&[])), ("pos", strings(&[]))], "expected examples, found none");
    let flat =
        vec![("query", strings(&["q"])), ("docs", strings(&["p"])), ("scores", strings(&["1"]))];
    refused(flat, "found scores that are a text");
}

#[test]
fn scores_of_hard_negatives_stand_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("x.jsonl"), folder.path().join("scores"));
    let ints = |numbers: &[i64]| Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef;
    let scores = |numbers: &[f64]| Arc::new(Float64Array::from(numbers.to_vec())) as ArrayRef;
    let table = |queries: &[i64], documents: &[i64], numbers: &[f64]| {
        let columns =
            [("qid", ints(queries)), ("pid", ints(documents)), ("score", scores(numbers))];
        parquet(&file, columns.to_vec());
    };
    std::fs::create_dir(folder.path().join("texts")).unwrap();
    let text = |name: &str, lines: &str| std::fs::write(folder.path().join(name), lines).unwrap();
    let line = |id: u8| format!("{{\"_id\":\"{id}\",\"text\":\"t{id}\"}}\n");
    text("texts/queries.jsonl", &line(7));
    text("texts/corpus.jsonl", &(1..5).map(line).collect::<String>());
    std::fs::write(&path, r#"{"qid":7,"pos":[2],"neg":{"bm25":[3,1],"other":[4,3]}}"#).unwrap();
    let texts = Some(folder.path().join("texts"));
    let recipe = SourceRecipe { texts, scores: Some(file.clone()), ..source(&path) };
    let draw = || Mixture::open(std::slice::from_ref(&recipe), 0)?.draw();
    let refused = |found: &str| {
        let error = draw().err().unwrap().to_string();
        assert!(error.contains(found), "{error}: expected {found}");
    };

    table(&[7, 7, 8, 7, 7], &[1, 2, 2, 4, 3], &[1.0, 9.0, 5.0, -4.0, 3.0]);
    let drawn = draw().unwrap().example;
    assert_eq!(drawn.docs, ["t2", "t3", "t1", "t4"]);
    assert_eq!(
        (drawn.positives, drawn.scores.unwrap().as_slice()),
        (1, &[9.0, 3.0, 1.0, -4.0][..])
    );

    table(&[7, 7, 7], &[1, 2, 4], &[1.0, 9.0, 4.0]);
    refused("x.jsonl:1: expected ids with scores, found query `7` and document `3`, which");
    table(&[7, 7], &[1, 1], &[1.0, 2.0]);
    refused("expected one score per pair, found 1 and 2");
    table(&[7, 7], &[1, 2], &[1.0, f64::NAN]);
    refused("scores:2: expected two ids and a score, found a score that is \"NaN\"");
    parquet(&file, vec![("qid", ints(&[7])), ("pid", ints(&[1]))]);
    refused("expected columns qid, pid, score; found qid Int64, pid Int64");
    // a pickle, gzip or not, begins like no table
    std::fs::write(&file, b"\x80\x04\x95").unwrap();
    refused("A pickle is not read");
    refused("to_parquet('scores.parquet')");
}

#[test]
fn a_skip_in_parquet_goes_on_where_draws_would() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let queries: Vec<String> = (0..3000).map(|at| format!("q{at}")).collect();
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    parquet(&path, vec![("query", strings(&queries)), ("answer", strings(&queries))]);
    let recipe = SourceRecipe { buffer: 700, ..source(&path) };
    let all = drawn(&recipe, 5000);
    let mut later = Mixture::open(std::slice::from_ref(&recipe), 0).unwrap();
    later.skip(2500).unwrap();
    for example in &all[2500..] {
        assert_eq!(later.draw().unwrap().example, *example);
    }
    let mut pass: Vec<&str> = all[..3000].iter().map(|example| example.query.as_str()).collect();
    pass.sort_unstable();
    pass.dedup();
    assert_eq!(pass.len(), 3000, "a pass gives every row once");
}
