//! The library as its users meet it: what it writes and answers is what the programs write and answer.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use l0::{
    EncodedDocument, Hit, IndexOptions, IndexWriter, Model, Qrels, Record, Run, Searcher,
    SparseVector, VectorWriter,
};
use serde_json::Value;

use super::support::{Work, run};

const CORPUS: &str = "testdata/demo/corpus.jsonl";
const QUERIES: &str = "testdata/demo/queries.jsonl";

fn records(path: &str) -> Vec<Record> {
    l0::read_records(path).unwrap().map(Result::unwrap).collect()
}

/// Documents of the demo collection with their vectors.
fn encoded(model: &Model, documents: usize) -> Vec<(Record, EncodedDocument)> {
    let mut records = records(CORPUS);
    records.truncate(documents);
    let texts: Vec<String> = records.iter().map(Record::content).collect();
    records.into_iter().zip(model.encode_batch(&texts).unwrap()).collect()
}

fn write_index(
    path: &Path,
    model: &Model,
    rows: &[(Record, EncodedDocument)],
    options: IndexOptions,
) {
    let mut index = IndexWriter::create_with(path, model, options).unwrap();
    rows.iter().for_each(|(record, vector)| index.add(&record.id, vector).unwrap());
    assert_eq!((index.len(), index.is_empty()), (rows.len(), false));
    index.finish().unwrap();
}

/// A searcher of the first documents of the demo collection.
fn searcher(work: &Work) -> Searcher {
    let (model, path) = (Model::shipped().unwrap(), work.path("demo.l0x"));
    write_index(&path, &model, &encoded(&model, 64), IndexOptions::default());
    Searcher::open(path).unwrap()
}

fn shell(work: &Work, line: &str) -> String {
    run(work.shell(line), b"").exits(0).stdout_text()
}

#[test]
fn an_index_has_the_bytes_of_the_programs_and_answers_as_they_do() {
    let work = Work::new();
    let model = Model::open("l0:tiny").unwrap();
    let rows = encoded(&model, usize::MAX);
    assert_eq!(rows.len(), 333);
    shell(&work, &format!("l0-encode --model l0:tiny {CORPUS} --quiet -o v.parquet"));
    let bp = IndexOptions { order: l0::DocumentOrder::Bp, ..IndexOptions::default() };
    let f32 = IndexOptions { weights: l0::IndexWeights::F32, seed: 7, ..IndexOptions::default() };
    for (options, arguments) in
        [(IndexOptions::default(), ""), (bp, "--order bp"), (f32, "--weights f32 --seed 7")]
    {
        shell(
            &work,
            &format!("l0-index --model l0:tiny v.parquet --quiet {arguments} -o theirs.l0x"),
        );
        write_index(&work.path("ours.l0x"), &model, &rows, options);
        assert!(work.read("ours.l0x") == work.read("theirs.l0x"), "l0-index {arguments}");
    }
    let answers = shell(&work, &format!("l0-query theirs.l0x {QUERIES} -k 20 --format jsonl"));
    let searcher = Searcher::open(work.path("ours.l0x")).unwrap();
    let queries = records(QUERIES);
    assert_eq!(answers.lines().count(), queries.len());
    for (query, answer) in queries.iter().zip(answers.lines()) {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let theirs = answer["hits"].as_array().unwrap().iter();
        let theirs =
            theirs.map(|hit| (hit["id"].as_str().unwrap(), hit["score"].as_f64().unwrap() as f32));
        let hits = searcher.search(&query.text, 20).unwrap();
        let ours: Vec<(&str, f32)> = hits.iter().map(|hit| (hit.id.as_str(), hit.score)).collect();
        assert_eq!(ours, theirs.collect::<Vec<_>>(), "{}", query.id);
        for method in [l0::Method::Exhaustive, l0::Method::Approx(l0::Recall::new(1.0).unwrap())] {
            let vector = searcher.encode_query(&query.text).unwrap();
            assert_eq!(searcher.search_by(&vector, 20, method).unwrap(), hits);
        }
    }
}

#[test]
fn a_model_without_a_query_table_encodes_queries_as_the_program_does() {
    let work = Work::new();
    let model = Model::open("testdata/toy").unwrap();
    assert!(!model.is_inference_free());
    let line =
        format!("l0-encode --role query --model testdata/toy {QUERIES} --quiet -o q.parquet");
    shell(&work, &line);
    let rows = l0::read_vectors(work.path("q.parquet")).unwrap();
    for (query, row) in records(QUERIES).iter().zip(rows) {
        assert_eq!(model.encode_query(&query.text).unwrap(), row.unwrap().vector, "{}", query.id);
    }
}

#[test]
fn without_a_table_there_is_nothing_to_reweight() {
    let work = Work::new();
    shell(&work, "cp -r testdata/toy toy && echo '{\"query_weights\": \"corpus\"}' >toy/l0.json");
    let model = Model::open(work.path("toy")).unwrap();
    let rows = encoded(&model, 32);
    write_index(&work.path("ours.l0x"), &model, &rows, IndexOptions::default());
    shell(
        &work,
        &format!(
            "head -32 {CORPUS} | l0-encode --model toy --quiet -o v.parquet &&
             l0-index v.parquet --model toy --quiet -o theirs.l0x"
        ),
    );
    let weights =
        |name: &str| shell(&work, &format!("l0-index stats {name} | grep 'query weights'"));
    assert_eq!(weights("ours.l0x"), weights("theirs.l0x"));
    assert!(work.read("ours.l0x") == work.read("theirs.l0x"));
}

#[test]
fn one_searcher_answers_many_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Model>();
    is_shared::<Searcher>();
    let work = Work::new();
    let searcher = searcher(&work);
    let queries = records(QUERIES);
    let answer = |query: &Record| searcher.search(&query.text, 10).unwrap();
    let expected: Vec<Vec<Hit>> = queries.iter().map(answer).collect();
    assert!(expected.iter().any(|hits| hits.len() == 10));
    thread::scope(|scope| {
        for first in 0..16 {
            let (queries, expected, answer) = (&queries, &expected, &answer);
            scope.spawn(move || {
                for at in (first..queries.len()).chain(0..first) {
                    assert_eq!(answer(&queries[at]), expected[at]);
                }
            });
        }
    });
}

#[test]
fn vectors_are_those_of_the_program_and_make_the_same_index() {
    let work = Work::new();
    let model = Model::shipped().unwrap();
    let rows = encoded(&model, 64);
    for name in ["ours.parquet", "ours.arrow", "ours.jsonl"] {
        let mut writer = VectorWriter::create(work.path(name), &model).unwrap();
        rows.iter().for_each(|(record, vector)| writer.add(&record.id, vector).unwrap());
        assert!(!work.path(name).exists(), "{name} is written before it is complete");
        writer.finish().unwrap();
    }
    shell(&work, &format!("head -64 {CORPUS} | l0-encode --quiet -o theirs.parquet"));
    let read = |name: &str| {
        let rows = l0::read_vectors(work.path(name)).unwrap().map(Result::unwrap);
        rows.map(|row| (row.id, row.vector)).collect::<Vec<_>>()
    };
    let theirs = read("theirs.parquet");
    assert_eq!(theirs.len(), 64);
    for name in ["ours.parquet", "ours.arrow", "ours.jsonl"] {
        assert!(read(name) == theirs, "{name}");
    }
    for name in ["ours", "theirs"] {
        shell(&work, &format!("l0-index {name}.parquet --quiet -o {name}.l0x"));
    }
    assert!(work.read("ours.l0x") == work.read("theirs.l0x"));
    write_index(&work.path("direct.l0x"), &model, &rows, IndexOptions::default());
    assert!(work.read("direct.l0x") == work.read("theirs.l0x"));
    let error = VectorWriter::create(work.path("x.csv"), &model).err().unwrap().to_string();
    assert!(error.contains("expected .parquet, .arrow or .jsonl"), "{error}");
}

#[test]
fn measures_are_those_of_the_program() {
    const MEASURES: [&str; 4] = ["nDCG@10", "RR@10", "R@100", "NumRelRet"];
    let work = Work::new();
    let searcher = searcher(&work);
    let mut run = Run::new();
    for query in records(QUERIES) {
        let hits = searcher.search(&query.text, 100).unwrap();
        let hits = hits.iter().map(|hit| (&hit.id, f64::from(hit.score)));
        run.insert(&query.id, hits).unwrap();
    }
    let qrels = Qrels::open("testdata/demo/qrels/test.tsv").unwrap();
    let ours = l0::evaluate(&qrels, &run, &MEASURES).unwrap();
    shell(&work, &format!("l0-query demo.l0x {QUERIES} -k 100 --format trec -o demo.run"));
    let asked = MEASURES.map(|measure| format!("-m {measure}")).join(" ");
    let line = format!("l0-eval testdata/demo/qrels/test.tsv demo.run {asked} --format jsonl");
    let printed = shell(&work, &line);
    let theirs = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["value"].as_f64().unwrap());
    assert_eq!(ours, theirs.collect::<Vec<_>>());
    let again = Run::open(work.path("demo.run")).unwrap();
    assert_eq!(l0::evaluate(&qrels, &again, &MEASURES).unwrap(), ours);

    let error = run.insert("q01", [("a", 1.0)]).unwrap_err().to_string();
    assert!(error.contains("`q01` again"), "{error}");
    let error = run.insert("x", [("a", 1.0), ("b", 0.5), ("a", 0.25)]).unwrap_err().to_string();
    assert!(error.contains("`a` again"), "{error}");
    assert!(run.insert("x", [("a", f64::NAN)]).is_err());
    let error = l0::evaluate(&qrels, &run, &["nDGC@10"]).unwrap_err().to_string();
    assert!(error.contains("nDCG"), "{error}");
}

#[test]
fn a_document_that_cannot_be_added_is_named_and_the_writer_goes_on() {
    let work = Work::new();
    let model = Model::open("l0:tiny").unwrap();
    let mut index = IndexWriter::create(work.path("a.l0x"), &model).unwrap();
    let vector = model.encode("the sea").unwrap();
    index.add("a", &vector).unwrap();
    let error = index.add("a", &vector).unwrap_err().to_string();
    assert!(error.starts_with("documents:2: ") && error.contains("`a`"), "{error}");
    let outside = SparseVector::new([(l0::TermId(1 << 30), 1.0)]).unwrap();
    let error = index.add("b", &outside.clone().into()).unwrap_err().to_string();
    assert!(error.starts_with("documents:3: "), "{error}");
    index.add_with_text("c", &vector, "Sea", "the sea").unwrap();
    index.finish().unwrap();
    let searcher = Searcher::open(work.path("a.l0x")).unwrap();
    let hits = searcher.search("sea", 10).unwrap();
    assert_eq!(hits.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(searcher.text(hits[1].doc).unwrap().unwrap().title, "Sea");
    assert_eq!(searcher.id(hits[0].doc).unwrap(), "a");
    assert!(searcher.search("sea", 0).unwrap().is_empty());
    assert!(searcher.search_vector(&outside, 1).is_err());
    assert!(searcher.id(l0::DocId(2)).is_err());
    let missing = work.path("missing/a.l0x");
    assert!(IndexWriter::create(missing, &model).is_err(), "the folder does not exist");
}

#[test]
fn a_vector_alone_is_refused_where_query_weights_need_the_collection() {
    let work = Work::new();
    let model = Model::shipped().unwrap();
    let mut index = IndexWriter::create(work.path("a.l0x"), &model).unwrap();
    let document = model.encode("the sea").unwrap();
    let bare = document.clone().into_vector().into();
    let error = index.add("a", &bare).unwrap_err().to_string();
    assert!(error.contains("found a vector alone"), "{error}");
    index.add("a", &document).unwrap();
    assert_eq!(index.len(), 1);
}

/// Names the folder in which a child process writes an index until it is killed.
const CHILD: &str = "L0_TEST_WRITER";

#[test]
fn a_writer_that_is_dropped_or_killed_leaves_nothing() {
    let begin = |folder: &Path| {
        let model = Model::shipped().unwrap();
        let mut index = IndexWriter::create(folder.join("a.l0x"), &model).unwrap();
        index.add("a", &model.encode("the sea").unwrap()).unwrap();
        index
    };
    if let Some(folder) = std::env::var_os(CHILD) {
        let _index = begin(Path::new(&folder));
        std::fs::write(Path::new(&folder).join("begun"), "").unwrap();
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    }
    let work = Work::new();
    drop(begin(&work.path("")));
    assert_eq!(work.names(), [""; 0]);
    let path = concat!(module_path!(), "::a_writer_that_is_dropped_or_killed_leaves_nothing");
    let name = path.split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(CHILD, work.path(""))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !work.path("begun").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(work.names(), ["begun"]);
}

#[test]
fn a_recipe_becomes_a_model() {
    let work = Work::new();
    let changes = ["stage.0.steps=2"];
    let model = l0::train("testdata/demo/recipe.toml", &changes, work.path("model")).unwrap();
    shell(&work, "l0-train testdata/demo/recipe.toml --set stage.0.steps=2 --quiet -o theirs");
    let bytes = |folder: &str| work.read(&format!("{folder}/model.safetensors"));
    assert!(bytes("model") == bytes("theirs"));
    assert!(!model.encode("the sea").unwrap().is_empty());
    let again = l0::train("testdata/demo/recipe.toml", &["stage.0.lr=2"], work.path("model"));
    assert!(again.is_err(), "the folder holds another run");
}
