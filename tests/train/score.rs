//! l0-train score: teachers against sentence-transformers and against l0-encode, and from outside.

use std::{collections::BTreeMap, path::Path};

use l0::internal::{
    io::Input,
    train::data::teacher::{Side, Teacher, TeacherName, TeacherOptions},
    vectors::{self, Row},
};
use serde_json::Value;

use crate::support::{Work, model, run};

/// Sums of 384 products in another order, relative.
const TOLERANCE: f64 = 1e-5;

const SCORE: &str = "l0-train";
const ENCODE: &str = "l0-encode";

fn json(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The first texts of a file of testdata/demo.
fn texts(name: &str, count: u64) -> Vec<String> {
    let lines = std::fs::read_to_string(format!("testdata/demo/{name}")).unwrap();
    let text = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let title = row["title"].as_str().unwrap_or_default();
        format!("{title} {}", row["text"].as_str().unwrap()).trim().to_owned()
    };
    lines.lines().take(count as usize).map(text).collect()
}

#[track_caller]
fn scores_as(golden: &Value, name: &str, teacher: &str, expected: &Value) {
    let queries = texts("queries.jsonl", golden["queries"].as_u64().unwrap());
    let documents = texts("corpus.jsonl", golden["documents"].as_u64().unwrap());
    let teacher: TeacherName = teacher.parse().unwrap();
    let teacher = Teacher::load(teacher, TeacherOptions::default()).unwrap();
    let encode = |texts: &[String], side| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        teacher.encode(&texts, side).unwrap()
    };
    let (left, right) = (encode(&queries, Side::Query), encode(&documents, Side::Document));
    for query in 0..queries.len() {
        for document in 0..documents.len() {
            let wanted = expected[query][document].as_f64().unwrap();
            let got = f64::from(left.dot(query, &right, document));
            let off = (got - wanted).abs() / wanted.abs().max(1.0);
            assert!(off < TOLERANCE, "{name}: query {query}, {document}: {got}, expected {wanted}");
        }
    }
}

#[test]
fn dense_teachers_score_as_sentence_transformers_does() {
    let golden = json("testdata/golden/dense.json");
    for case in golden["toy"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let work = dense(&case["files"]);
        let folder = work.path("dense");
        scores_as(&golden, name, folder.to_str().unwrap(), &case["scores"]);
    }
}

#[test]
fn a_real_dense_teacher_scores_as_sentence_transformers_does() {
    let Some(folder) = model("minilm-l6") else { return };
    let folder = folder.display();
    let golden = json("testdata/golden/dense.json");
    scores_as(&golden, "minilm-l6", &format!("mean:{folder}"), &golden["minilm-l6"]);
}

/// A folder `dense`: the toy encoder under the small files of a dense model.
fn dense(files: &Value) -> Work {
    let work = Work::new();
    for (name, content) in files.as_object().unwrap() {
        work.write(&format!("dense/{name}"), content.to_string());
    }
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        work.write(
            &format!("dense/{name}"),
            std::fs::read(format!("testdata/toy/{name}")).unwrap(),
        );
    }
    work
}

/// Examples by id over testdata/demo: four documents each, the first of them known to be good.
fn examples() -> (String, Vec<(String, Vec<String>)>) {
    let ids = |name: &str| {
        let lines = std::fs::read_to_string(format!("testdata/demo/{name}")).unwrap();
        let id = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            row["_id"].as_str().unwrap().to_owned()
        };
        lines.lines().map(id).collect::<Vec<String>>()
    };
    let (queries, documents) = (ids("queries.jsonl"), ids("corpus.jsonl"));
    let example = |(at, query): (usize, &String)| {
        let docs = (0..4).map(|more| documents[(at * 7 + more * 31) % documents.len()].clone());
        (query.clone(), docs.collect::<Vec<_>>())
    };
    let examples: Vec<_> = queries.iter().enumerate().map(example).collect();
    let line = |(query, docs): &(String, Vec<String>)| {
        serde_json::json!({"query": query, "pos": docs[0], "negs": docs[1..]}).to_string()
    };
    (examples.iter().map(line).collect::<Vec<_>>().join("\n"), examples)
}

fn rows(path: &Path) -> BTreeMap<String, Row> {
    let (_, rows) = vectors::read(Input::open(path).unwrap(), None).unwrap();
    rows.map(|row| row.unwrap()).map(|row| (row.id.clone(), row)).collect()
}

/// The lists of numbers under a key of JSON lines.
fn lists(text: &str, key: &str) -> Vec<Vec<f32>> {
    let list = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let numbers = row[key].as_array().unwrap().iter();
        numbers.map(|number| number.as_f64().unwrap() as f32).collect()
    };
    text.lines().map(list).collect()
}

#[test]
fn sparse_teachers_score_as_encoded_vectors_do() {
    let (lines, examples) = examples();
    for (teacher, model) in [
        ("testdata/toy-st", "--model testdata/toy-st"),
        ("siamese:testdata/toy", "--model testdata/toy"),
        ("testdata/toy", "--model testdata/toy"),
        ("bm25 --tokenizer testdata/toy", "--model bm25 --tokenizer testdata/toy"),
    ] {
        let work = Work::new();
        work.write("x.jsonl", &lines);
        let score = format!(
            "score --teacher {teacher} --texts testdata/demo x.jsonl --keep-raw --format jsonl --quiet"
        );
        let scored = run(work.command(SCORE, &score), b"").exits(0).stdout_text();
        let encode =
            |more: &str| run(work.command(ENCODE, &format!("{model} {more}")), b"").exits(0);
        encode("testdata/demo/corpus.jsonl -o d.parquet --quiet");
        encode("--role query testdata/demo/queries.jsonl -o q.parquet --quiet");
        let (queries, documents) = (rows(&work.path("q.parquet")), rows(&work.path("d.parquet")));
        for ((query, docs), raw) in examples.iter().zip(lists(&scored, "raw_0")) {
            let product = |doc: &String| queries[query].vector.dot(&documents[doc].vector);
            assert_eq!(docs.iter().map(product).collect::<Vec<_>>(), raw, "{teacher}: {query}");
        }
    }
}

#[test]
fn teachers_are_normalised_a_query_and_averaged_by_weight() {
    let work = Work::new();
    work.write("x.jsonl", examples().0);
    let score = |more: &str| {
        let common =
            "score --teacher testdata/toy-st --texts testdata/demo x.jsonl --keep-raw --quiet";
        run(work.command(SCORE, &format!("{common} {more}")), b"").exits(0)
    };
    let both = "--teacher bm25 --tokenizer testdata/toy --weight 3 --weight 1";
    let text = score(&format!("{both} --format jsonl")).stdout_text();
    let normal = |scores: &[f32]| -> Vec<f64> {
        let numbers = scores.iter().map(|&score| f64::from(score));
        let (least, most) = (numbers.clone().reduce(f64::min), numbers.clone().reduce(f64::max));
        let (least, most) = (least.unwrap(), most.unwrap());
        numbers.map(|s| if most > least { (s - least) / (most - least) } else { 0.0 }).collect()
    };
    let raws = lists(&text, "raw_0").into_iter().zip(lists(&text, "raw_1"));
    for (mean, (one, other)) in lists(&text, "scores").iter().zip(raws) {
        let parts = normal(&one).into_iter().zip(normal(&other));
        let wanted: Vec<f32> = parts.map(|(a, b)| (a * 0.75 + b * 0.25) as f32).collect();
        let off = mean.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-6, "{mean:?}, expected {wanted:?}");
    }
    // a file by its name, the same bytes on any number of threads, and what a reader makes of it
    score(&format!("{both} --threads 1 -o one.parquet"));
    score(&format!("{both} --threads 3 -o three.parquet"));
    assert!(work.read("one.parquet") == work.read("three.parquet"));
    let check = "check one.parquet --texts testdata/demo --tokenizer testdata/toy";
    run(work.command(SCORE, check), b"").exits(0).prints("60 examples, 240 documents, 0 refused");
    // from standard input, with texts in place of ids; scores that stood there are replaced
    let line = br#"{"query":"sea","docs":["rain and sea","the sun"],"scores":[1,2],"positives":1}"#;
    let piped = "score --teacher testdata/toy --format jsonl --quiet";
    let piped = run(work.command(SCORE, piped), line).exits(0).stdout_text();
    let row: Value = serde_json::from_str(&piped).unwrap();
    assert_eq!((&row["docs"][1], &row["positives"]), (&"the sun".into(), &1.into()));
    assert_ne!(row["scores"], serde_json::json!([1, 2]));
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let golden = json("testdata/golden/dense.json");
    let work = dense(&golden["toy"][0]["files"]);
    work.write("x.jsonl", r#"{"query":"sea","docs":["rain","sun"],"scores":[1,2]}"#);
    work.write("bad.jsonl", "{\"query\":\"sea\",\"pos\":\"rain\"}\n{\"query\":\"sea\"}\n");
    work.write("ids.jsonl", r#"{"qid":1,"pos":[2],"neg":{"a":[3]}}"#);
    work.write("empty.jsonl", "");
    let refused = |arguments: &str, status: i32, found: &str| {
        let command = work.command(SCORE, &format!("score {arguments} -o out.parquet"));
        run(command, b"").exits(status).says(found);
        assert!(!work.path("out.parquet").exists(), "{arguments}");
    };
    let teacher = "--teacher testdata/toy";
    refused(&format!("{teacher} bad.jsonl"), 1, "bad.jsonl:2: expected an example");
    refused(&format!("{teacher} ids.jsonl"), 1, "ids.jsonl:1: expected texts");
    refused(
        &format!("{teacher} ids.jsonl --texts testdata/demo"),
        1,
        "ids.jsonl:1: expected ids with",
    );
    refused(&format!("{teacher} empty.jsonl"), 1, "expected examples, found none");
    refused(&format!("{teacher} testdata/demo"), 1, "l0-train mine");
    refused(
        &format!("{teacher} --weight 1 --weight 2 x.jsonl"),
        2,
        "expected one above 0 for each of 1",
    );
    refused(&format!("{teacher} --weight 0 x.jsonl"), 2, "expected one above 0");
    refused(&format!("{teacher} --max-tokens 65 x.jsonl"), 2, "at most 64 tokens");
    refused("--teacher nowhere x.jsonl", 1, "nowhere");
    refused(&format!("{teacher} x.jsonl --format text"), 2, "expected parquet, arrow or jsonl");

    let change = |name: &str, from: &str, to: &str, found: &str| {
        let path = format!("dense/{name}");
        let before = work.text(&path);
        assert!(before.contains(from), "{name}: no {from}");
        work.write(&path, before.replace(from, to));
        refused("--teacher dense x.jsonl", 1, found);
        work.write(&path, before);
    };
    let other = "found Transformer, Pooling, WeightedLayer";
    change("modules.json", "models.Normalize", "models.WeightedLayer", other);
    change(
        "1_Pooling/config.json",
        "mean_tokens",
        "weightedmean_tokens",
        "expected a pooling by mean, cls or max, found weightedmean",
    );
    let both = "\"pooling_mode\":\"cls\",\"pooling_mode_cls_token\"";
    change(
        "1_Pooling/config.json",
        "\"pooling_mode_cls_token\"",
        both,
        "found cls and mean_tokens",
    );
    let distance = r#"{"similarity_fn_name":"euclidean"}"#;
    change(
        "config_sentence_transformers.json",
        "{}",
        distance,
        "expected similarity_fn_name cosine or dot",
    );
    change(
        "config.json",
        "\"num_hidden_layers\": 2",
        "\"num_hidden_layers\": 3",
        "expected an encoder; missing",
    );
    // an encoder without a head and without Sentence Transformers' files does not say how it pools
    let config = work.text("dense/config.json").replace("BertForMaskedLM", "BertModel");
    work.write("dense/config.json", config);
    std::fs::remove_file(work.path("dense/modules.json")).unwrap();
    refused("--teacher dense x.jsonl", 1, "is said as mean:DIR or cls:DIR");
    let command = "score --teacher mean:dense x.jsonl --format jsonl --quiet";
    run(work.command(SCORE, command), b"").exits(0);
}
