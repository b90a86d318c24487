//! The models that ship with the programs, under their names.

use std::{fs, path::Path};

use l0::model::{Checkpoint, shipped};

use crate::run::{Run, Work, run};

/// The files of the small model.
pub const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib/model/shipped/tiny");

/// What came of a line for the shell.
fn line(work: &Work, line: &str) -> Run {
    run(work.shell(line), b"")
}

/// The demo's documents or queries as JSON lines.
fn encoded(work: &Work, arguments: &str) -> String {
    let command = format!("l0-encode {arguments} --format jsonl --quiet");
    line(work, &command).exits(0).stdout_text()
}

const CORPUS: &str = "testdata/demo/corpus.jsonl";

#[test]
fn no_model_means_the_default_one_and_its_index_needs_no_name_either() {
    let work = Work::new();
    let rows = encoded(&work, CORPUS);
    assert_eq!(rows.lines().count(), 333);
    for model in [TINY, "l0:tiny", "l0:default"] {
        let named = encoded(&work, &format!("{CORPUS} --model {model}"));
        assert!(rows == named, "{model}: the folder is what the program carries");
    }
    let queries = "testdata/demo/queries.jsonl";
    assert_eq!(encoded(&work, &format!("--role query {queries}")).lines().count(), 60);

    let made = "l0-encode testdata/demo/corpus.jsonl -o v.parquet && l0-index v.parquet -o d.l0x";
    line(&work, made).exits(0);
    let hits = line(&work, &format!("l0-query d.l0x {queries} -k 1 --format trec")).exits(0);
    assert_eq!(hits.stdout_text().lines().count(), 60);

    // vectors of another model, or of one that nobody names, are not taken for the default one's
    line(&work, &format!("l0-encode --model bm25 {CORPUS} -o bm25.parquet")).exits(0);
    line(&work, "l0-index bm25.parquet -o b.l0x").exits(3).says("model that made the vectors");
    for arguments in ["--model bm25", "--model l0:tiny --role=query"] {
        let command = format!("l0-encode {arguments} {CORPUS} --lexical 0.5");
        line(&work, &command).exits(2).says("--lexical is for documents");
    }
    work.write("v.jsonl", rows);
    let untold = line(&work, "l0-index v.jsonl -o b.l0x").exits(2);
    untold.says("expected --model DIR or --tokenizer DIR");
}

#[test]
fn names_work_wherever_a_model_or_a_tokenizer_is_asked_for() {
    let work = Work::new();
    for model in ["l0:tiny", "l0:default"] {
        let ran = line(
            &work,
            &format!(
                "set -e
                l0-encode --model {model} {CORPUS} --quiet -o v.parquet
                grep -ao 'l0-tiny' v.parquet | head -1
                l0-index v.parquet --model {model} --quiet -o v.l0x
                l0-index v.parquet --tokenizer {model} --quiet -o t.l0x
                l0-index export v.parquet --model {model} --to jsonl --quiet -o v.lines
                l0-index import v.lines --from seismic --tokenizer {model} --quiet -o again.parquet
                l0-encode idf --tokenizer {model} {CORPUS} --quiet -o idf.json
                l0-encode --model bm25 --tokenizer {model} {CORPUS} --quiet -o b.parquet
                printf '{{\"query\":\"the sea\",\"pos\":\"waves\",\"negs\":[\"sun\"]}}' >x.jsonl
                l0-train check x.jsonl --tokenizer {model} >/dev/null
                l0-train score --teacher {model} x.jsonl --quiet -o y.parquet
                grep -ao 'l0:tiny' y.parquet | head -1
                l0-train score --teacher siamese:{model} x.jsonl --quiet -o z.parquet
                cp -r testdata/demo demo; cp demo/queries.jsonl demo/qrels/test.tsv .
                l0-train mine --model {model} --index v.l0x queries.jsonl test.tsv --quiet -o m.jsonl
                rm -rf m exported
                l0-train demo/recipe.toml --set model.base={model} --set query.table=unit \
                    --set stage.0.steps=1 -o m --quiet
                l0-train export {model} -o exported --quiet"
            ),
        );
        let names = ran.exits(0).stdout_text();
        assert_eq!(names.lines().collect::<Vec<_>>(), ["l0-tiny", "l0:tiny"], "{model}");
        // what is exported of the program is what is exported of the folder
        line(&work, &format!("rm -rf folder; l0-train export {TINY} -o folder --quiet")).exits(0);
        line(&work, "diff -r exported folder").exits(0).silent();
    }
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let work = Work::new();
    let expected = "l0:xyz: expected one of l0:default, l0:tiny; write ./l0:xyz for a folder";
    // a folder of that name is not meant
    line(&work, "cp -r testdata/toy l0:xyz && cp -r testdata/demo demo").exits(0);
    work.write("x.jsonl", r#"{"query":"the sea","pos":"waves","negs":["sun"]}"#);
    for command in [
        "l0-encode --model l0:xyz testdata/demo/corpus.jsonl",
        "l0-encode --model bm25 --tokenizer l0:xyz testdata/demo/corpus.jsonl",
        "l0-encode idf --tokenizer l0:xyz testdata/demo/corpus.jsonl",
        "l0-index testdata/demo/corpus.jsonl --model l0:xyz -o i.l0x",
        "l0-index testdata/demo/corpus.jsonl --tokenizer l0:xyz -o i.l0x",
        "l0-train check x.jsonl --tokenizer l0:xyz",
        "l0-train score --teacher l0:xyz x.jsonl -o y.jsonl",
        "l0-train export l0:xyz -o out",
        "l0-train demo/recipe.toml --set model.base=l0:xyz -o out",
    ] {
        line(&work, command).exits(1).says(expected);
    }
    line(&work, "l0-encode --model ./l0:xyz testdata/demo/corpus.jsonl -o v.jsonl").exits(0);
}

#[test]
fn bm25_counts_the_word_pieces_of_the_default_model_where_none_are_named() {
    let work = Work::new();
    let bm25 = |more: &str| encoded(&work, &format!("--model bm25 {more} {CORPUS}"));
    assert!(bm25("") == bm25("--tokenizer l0:default"));
    assert!(bm25("") != bm25("--tokenizer testdata/toy"));
    work.write("x.jsonl", r#"{"query":"the sea","pos":"the sea waves","negs":["sun"]}"#);
    let score = |more: &str| {
        let command = format!("l0-train score --teacher bm25 {more} x.jsonl --format jsonl");
        line(&work, &format!("{command} --quiet")).exits(0).stdout_text()
    };
    assert_eq!(score(""), score("--tokenizer l0:default"));
}

#[test]
fn the_shipped_folder_is_small_and_says_what_it_is() {
    fn bytes(folder: &Path) -> u64 {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let size = |entry: fs::DirEntry| match entry.path().is_dir() {
            true => bytes(&entry.path()),
            false => entry.metadata().unwrap().len(),
        };
        entries.map(size).sum()
    }
    assert!(bytes(Path::new(TINY)) < 10_000_000);
    let card = fs::read_to_string(format!("{TINY}/README.md")).unwrap();
    for said in ["license:", "## Licence", "pipelines/model.sh", "nDCG@10"] {
        assert!(card.contains(said), "the card lacks {said}");
    }
    // carried and in the folder, the weights are the same
    shipped::carry();
    let carried = Checkpoint::load(Path::new("l0:tiny")).unwrap();
    assert_eq!(carried.sha256, Checkpoint::load(Path::new(TINY)).unwrap().sha256);
    assert!(carried.weights.words.data.len() / 128 == 30_522);
}

/// The table of a model, which is nowhere else, tells which programs have it.
#[test]
fn programs_that_read_no_model_carry_none() {
    let table = format!("{TINY}/query_0_SparseStaticEmbedding/model.safetensors");
    let table = fs::read(table).unwrap();
    let finder = memchr::memmem::Finder::new(&table);
    for (program, carries) in [
        (env!("CARGO_BIN_EXE_l0-encode"), true),
        (env!("CARGO_BIN_EXE_l0-index"), true),
        (env!("CARGO_BIN_EXE_l0-train"), true),
        (env!("CARGO_BIN_EXE_l0-query"), false),
        (env!("CARGO_BIN_EXE_l0-eval"), false),
    ] {
        let bytes = fs::read(program).unwrap();
        assert_eq!(finder.find(&bytes).is_some(), carries, "{program}");
    }
}
