//! `l0-train from-dense`: what it makes of a tiny encoder, and what it refuses.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use crate::support::{Run, Work, headless, run};

const BACKGROUND: &str = "--background testdata/demo/corpus.jsonl";
const QUERIES: &str = "--queries testdata/demo/queries.jsonl";

/// A folder with the encoder of testdata/toy, without its head, as `headless`.
fn work() -> Work {
    let work = Work::new();
    headless(&work.path(""), "toy", "bert.");
    work
}

fn from_dense(work: &Work, line: &str) -> Run {
    run(work.shell(&format!("l0-train from-dense {line} --quiet")), b"")
}

/// Turns `headless` into a directory of Sentence Transformers with these conventions.
fn as_sentence_transformers(work: &Work, conventions: &Value) {
    let module = |at: usize, kind: &str, path: &str| {
        let kind = format!("sentence_transformers.models.{kind}");
        json!({"idx": at, "name": at.to_string(), "path": path, "type": kind})
    };
    let modules = json!([module(0, "Transformer", ""), module(1, "Pooling", "1_Pooling")]);
    work.write("headless/modules.json", modules.to_string());
    let pooling = json!({"word_embedding_dimension": 32, "pooling_mode_cls_token": true});
    work.write("headless/1_Pooling/config.json", pooling.to_string());
    work.write("headless/config_sentence_transformers.json", conventions.to_string());
    work.write("headless/sentence_bert_config.json", json!({"max_seq_length": 16}).to_string());
}

/// Every file in a folder and those in it, by its path.
fn files(work: &Work, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(work.path(folder)).unwrap() {
        let name = format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap());
        match work.path(&name).is_dir() {
            true => all.extend(files(work, &name)),
            false => drop(all.insert(name.clone(), work.read(&name))),
        }
    }
    all
}

fn json_of(work: &Work, name: &str) -> Value {
    serde_json::from_str(&work.text(name)).unwrap()
}

#[test]
fn the_same_bytes_come_each_time_on_any_number_of_threads() {
    let work = work();
    let made = |name: &str, threads: usize| {
        let line =
            format!("headless --pooling mean {BACKGROUND} {QUERIES} -o {name} --threads {threads}");
        from_dense(&work, &line).exits(0);
        let files = files(&work, name).into_iter();
        let bare = |(path, bytes): (String, Vec<u8>)| (path[name.len()..].to_owned(), bytes);
        files.map(bare).collect::<BTreeMap<_, _>>()
    };
    let first = made("one", 1);
    assert!(first.contains_key("/model.safetensors") && first.contains_key("/l0_head.py"));
    assert!(first == made("again", 1), "two runs differ");
    assert!(first == made("two", 2), "another number of threads makes another model");
    // what texts say moves rows, more under a smaller ridge, and is recorded
    let own = json_of(&work, "one/l0.json");
    assert_eq!(
        (&own["from_dense"]["queries"], &own["from_dense"]["ridge"]),
        (&json!(60), &json!(10.0))
    );
    let rows = |options: &str, name: &str| {
        from_dense(&work, &format!("headless --pooling mean {BACKGROUND} {options} -o {name}"))
            .exits(0);
        work.read(&format!("{name}/model.safetensors"))
    };
    let plain = rows("", "plain");
    assert!(plain != first["/model.safetensors"]);
    assert!(rows(&format!("{QUERIES} --ridge 0.1"), "freer") != first["/model.safetensors"]);
}

#[test]
fn short_texts_that_are_none_are_refused() {
    let work = work();
    work.write("empty.jsonl", "");
    let refused = |options: &str, message: &str| {
        let line = format!("headless --pooling mean {BACKGROUND} {options} -o out");
        from_dense(&work, &line).exits(2).says(message);
        assert!(!work.path("out").exists());
    };
    refused("--queries empty.jsonl", "--queries: expected short texts, found none");
    refused(&format!("{QUERIES} --ridge 0"), "expected a ridge above 0, found 0");
    refused("--ridge 3", "--queries");
}

#[test]
fn the_model_that_is_made_says_what_it_was_made_by_and_ranks() {
    let work = work();
    as_sentence_transformers(&work, &json!({"similarity_fn_name": "dot"}));
    let rules = "--cut 1 --activation log1p:2 --lexical 0.5 --prune top_k:20";
    from_dense(&work, &format!("headless {BACKGROUND} --passages 60 {rules} -o out")).exits(0);
    let head = json!({"pooled": {"pooling": "cls", "length": "free"}, "decoder": "own"});
    assert_eq!(json_of(&work, "out/config.json")["l0_head"], head);
    let own = json_of(&work, "out/l0.json");
    assert_eq!((&own["activation"], &own["prune"]), (&json!(2), &json!("top_k:20")));
    assert_eq!(
        (&own["lexical"]["weight"], &own["from_dense"]["passages"]),
        (&json!(0.5), &json!(60))
    );
    assert_eq!(json_of(&work, "out/sentence_bert_config.json")["max_seq_length"], 16);
    let card = work.text("out/README.md");
    assert!(
        card.contains("trust_remote_code=True") && card.contains("2 nested ln(1 + ·)"),
        "{card}"
    );

    let line = "set -e; l0-encode testdata/demo/corpus.jsonl --model out --format jsonl --quiet >v
                l0-index v --model out -o i.l0x --quiet --query-weights model
                l0-query i.l0x testdata/demo/queries.jsonl -k 3 --format trec";
    let ranked = run(work.shell(line), b"").exits(0).stdout_text();
    assert!(ranked.lines().count() > 30, "{ranked}");
    // its query weights are the collection's as well, which Parquet carries and JSON lines do not
    run(work.shell("l0-index v --model out -o j.l0x --quiet"), b"")
        .exits(1)
        .says("v: expected document frequencies with the vectors, found none")
        .says("or ask for the model's own query weights");
    let line = "set -e; l0-encode testdata/demo/corpus.jsonl --model out --quiet -o v.parquet
                for weights in model corpus; do
                    l0-index v.parquet --model out --query-weights $weights -o $weights.l0x --quiet
                done
                l0-index v.parquet --model out -o default.l0x --quiet
                cmp corpus.l0x default.l0x; ! cmp -s model.l0x default.l0x
                l0-index stats default.l0x";
    run(work.shell(line), b"").exits(0).prints("reweighted by the idf of 333 documents");
    let nnz = |line: &str| json_of_line(line)["indices"].as_array().unwrap().len();
    let kept: Vec<usize> = work.text("v").lines().map(nnz).collect();
    assert!(kept.iter().all(|&nnz| nnz <= 20) && kept.contains(&20), "{kept:?}");
}

fn json_of_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn what_it_needs_is_asked_for() {
    let work = work();
    let refused = |line: &str, status: i32, message: &str| {
        from_dense(&work, &format!("{line} -o out")).exits(status).says(message);
        assert!(!work.path("out").exists());
    };
    let bare = format!("headless {BACKGROUND}");
    refused(
        &bare,
        2,
        "does not say how its hidden states are pooled: give --pooling mean, cls or max",
    );
    let few = format!("{bare} --pooling mean --passages 49");
    refused(&few, 2, "expected 50 or more background passages, found 49");
    let few = "headless --pooling mean --passages 10";
    refused(few, 2, "expected 50 or more background passages, found 10");
    for pooling in ["", "--pooling mean"] {
        let message =
            "nowhere: expected the directory of a sentence encoder, found none of that name";
        refused(&format!("nowhere {BACKGROUND} {pooling}"), 1, message);
    }
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let work = work();
    work.write("out/note.txt", "mine");
    let line = format!("headless {BACKGROUND} --pooling mean -o out");
    from_dense(&work, &line)
        .exits(2)
        .says("out is not empty (note.txt is in it); name a new folder");
    assert_eq!(files(&work, "out").len(), 1);
}

#[test]
fn encoders_that_read_documents_after_a_prompt_are_refused() {
    let work = work();
    as_sentence_transformers(&work, &json!({"prompts": {"query": "find: ", "document": "text: "}}));
    let line = format!("headless {BACKGROUND} -o out");
    let message = "expected an encoder without a prompt for documents, found `text: `";
    from_dense(&work, &line).exits(1).says("headless").says(message);
    // a prompt for queries goes before each word
    as_sentence_transformers(&work, &json!({"prompts": {"query": "find: "}}));
    from_dense(&work, &line).exits(0);
    as_sentence_transformers(&work, &json!({}));
    from_dense(&work, &format!("headless {BACKGROUND} -o without")).exits(0);
    assert!(work.read("out/model.safetensors") != work.read("without/model.safetensors"));
    let other = format!("headless {BACKGROUND} -o other --pooling mean");
    from_dense(&work, &other).exits(2).says("leave --pooling out");
}

#[test]
fn a_sparse_model_is_no_sentence_encoder() {
    let work = work();
    from_dense(&work, &format!("headless {BACKGROUND} --pooling mean -o sparse")).exits(0);
    for (model, file) in [
        ("testdata/toy-st", "modules.json"),
        ("sparse", "modules.json"),
        ("l0:tiny", "modules.json"),
    ] {
        for pooling in ["", "--pooling mean"] {
            let line = format!("{model} {BACKGROUND} {pooling} -o out");
            let message =
                format!("{model}/{file}: expected a sentence encoder, found a sparse model");
            from_dense(&work, &line).exits(1).says(&message);
        }
    }
    // one from before there were modules
    fs::remove_file(work.path("sparse/modules.json")).unwrap();
    let line = format!("sparse {BACKGROUND} --pooling mean -o out");
    from_dense(&work, &line).exits(1).says("sparse/l0.json: expected a sentence encoder");
    assert!(!work.path("out").exists());
}
