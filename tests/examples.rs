//! Vectors as other programs read them: Parquet's readers, and the page of examples, replayed.

use std::{
    ffi::OsString,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use snapbox::assert_data_eq;

use super::{
    cluster::python,
    run::{Work, run},
};

/// Every reader that the Pythons of L0_PYTHON and L0_PYTHON_SPARK3 can import (two majors of Spark do not
/// live in one) sees the types of the format and the sums that are in the file.
#[test]
fn other_programs_read_the_parquet() {
    let work = Work::new();
    let encode =
        "l0-encode testdata/demo/corpus.jsonl --quiet --max-tokens 64 --model testdata/toy";
    run(work.shell(&format!("{encode} -o v.parquet; {encode} -o v.jsonl")), b"").exits(0);
    work.write("expected.json", expected(&work.text("v.jsonl")).to_string());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers.py");
    let mut read = 0;
    let readers = ["pyarrow", "polars", "duckdb", "datasets", "spark"];
    let other = std::env::var("L0_PYTHON_SPARK3").ok().map(|python| (python, &readers[4..]));
    for (python, readers) in [(python(), &readers[..])].into_iter().chain(other) {
        for reader in readers {
            // one process each: a reader that is there and broken does not hide the others
            let line = format!("{python} {} v.parquet expected.json {reader}", script.display());
            let ran = run(work.shell(&line), b"").exits(0);
            match ran.stdout_text().lines().last() {
                Some(version) => {
                    read += 1;
                    eprintln!("{version}: read");
                }
                None => eprintln!("{reader}: {}", ran.stderr().trim()),
            }
        }
    }
    if read == 0 {
        eprintln!("skipped: no reader of Parquet");
    }
}

/// The sums over rows as JSON lines.
fn expected(lines: &str) -> Value {
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let items = |key: &'static str| rows.iter().flat_map(move |row| row[key].as_array().unwrap());
    let indices: u64 = items("indices").map(|term| term.as_u64().unwrap()).sum();
    let tokens: u64 = rows.iter().map(|row| row["n_tokens"].as_u64().unwrap()).sum();
    // JSON has the shortest digits of the f32; what readers add is that f32 as f64
    let weight = |weight: &Value| f64::from(weight.as_f64().unwrap() as f32);
    json!({
        "rows": rows.len(),
        "postings": items("indices").count(),
        "indices": indices,
        "values": items("values").map(weight).sum::<f64>(),
        "n_tokens": tokens,
        "truncated": rows.iter().filter(|row| row["truncated"] == true).count(),
        "first": rows[0]["_id"],
    })
}

/// A block of the page: the tools it needs, its commands and what stands behind each.
struct Block {
    needs: Vec<String>,
    steps: Vec<(String, String)>,
}

fn blocks(page: &str) -> Vec<Block> {
    let block = |text: &str| {
        let (needs, text) = text.split_once('\n').unwrap();
        let mut steps: Vec<(String, String)> = Vec::new();
        for line in text.split("```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), line.strip_prefix("> "), steps.last_mut()) {
                (Some(command), _, _) => steps.push((command.to_owned(), String::new())),
                (None, Some(more), Some((command, _))) => *command += &format!("\n{more}"),
                (None, None, Some((_, output))) => *output += &format!("{line}\n"),
                _ => panic!("output before the first command: {line}"),
            }
        }
        Block { needs: needs.split(' ').map(str::to_owned).collect(), steps }
    };
    page.split("```console ").skip(1).map(block).collect()
}

/// The programs, then those beside the Python of L0_PYTHON, then the rest.
fn path() -> OsString {
    let programs = Path::new(env!("CARGO_BIN_EXE_l0-encode")).parent().unwrap().to_owned();
    let beside = PathBuf::from(python()).parent().map(Path::to_owned);
    let beside = beside.filter(|folder| folder.is_absolute());
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders = [programs].into_iter().chain(beside).chain(std::env::split_paths(&rest));
    std::env::join_paths(folders).unwrap()
}

fn is_there(tool: &str, path: &OsString) -> bool {
    let look = match tool.strip_prefix("py:") {
        Some(module) => format!("python3 -c 'import {module}'"),
        None if tool == "l0" => return true,
        None => format!("command -v {tool}"),
    };
    let looked = Command::new("bash").args(["-c", &look]).env("PATH", path).output().unwrap();
    looked.status.success()
}

#[test]
fn the_page_of_examples_runs_as_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = Work::new();
    for name in ["pipelines", "src"] {
        symlink(root.join(name), work.path(name)).unwrap();
    }
    let page = std::fs::read_to_string(root.join("pipelines/examples/README.md")).unwrap();
    let (blocks, path) = (blocks(&page), path());
    assert!(blocks.len() >= 7, "only {} blocks", blocks.len());
    for tool in ["jq", "make"] {
        assert!(is_there(tool, &path), "want {tool}, which every test machine has");
    }
    for Block { needs, steps } in blocks {
        if let Some(absent) = needs.iter().find(|tool| !is_there(tool, &path)) {
            eprintln!("skipped: no {absent}");
            continue;
        }
        for (command, output) in steps {
            let mut bash = work.command("bash", "-o pipefail -c");
            let ran = bash.arg(&command).env("PATH", &path).output().unwrap();
            println!("$ {command}");
            let seen = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
            assert_data_eq!(seen.replace("\r\n", "\n"), output);
            assert!(ran.status.success(), "{command}: {}", ran.status);
        }
    }
}

#[test]
fn shells_propose_measures_recipe_keys_and_forms() {
    let work = Work::new();
    for (program, words, proposed) in [
        ("l0-eval", "--measure Succ", "Success@1 Success@5"),
        ("l0-eval", "--min RR", "RR@10="),
        ("l0-train", "--set optimizer.w", "optimizer.weight_decay="),
        ("l0-encode", "--dtype b", "bf16"),
        ("l0-encode", "--format par", "parquet"),
        ("l0-encode", "jo", "join"),
    ] {
        let all: Vec<&str> = words.split(' ').collect();
        let line = format!(
            "source <({program} --completions bash); COMP_WORDS=({program} {words}); COMP_CWORD={}; \
             _{} {program} {} {}; echo \"${{COMPREPLY[*]}}\"",
            all.len(),
            program.replace('-', "__"),
            all.last().unwrap(),
            if all.len() > 1 { all[all.len() - 2] } else { program },
        );
        let seen = run(work.shell(&line), b"").exits(0).stdout_text();
        assert_eq!(seen.trim(), proposed, "{program} {words}");
    }
    // the help says in words what there is
    let help = run(work.command(env!("CARGO_BIN_EXE_l0-eval"), "--help"), b"").exits(0);
    assert!(!help.stdout_text().contains("Success@5"), "{help}");
}

/// What packages put beside the programs: manual pages and completions, where systems look for them.
#[test]
fn packages_have_pages_and_completions() {
    let work = Work::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/pages.sh");
    let programs = Path::new(env!("CARGO_BIN_EXE_l0-encode")).parent().unwrap();
    let line = format!("{} {} share", script.display(), programs.display());
    run(work.shell(&line), b"").exits(0).silent();
    for program in ["l0-encode", "l0-eval", "l0-index", "l0-query", "l0-train"] {
        let page = format!("zcat share/man/man1/{program}.1.gz");
        run(work.shell(&page), b"").exits(0).prints(&format!(".TH {program} 1"));
        for (file, has) in [
            (format!("share/bash-completion/completions/{program}"), "complete -F"),
            (format!("share/zsh/site-functions/_{program}"), "#compdef"),
            (format!("share/fish/vendor_completions.d/{program}.fish"), "complete -c"),
        ] {
            assert!(work.text(&file).contains(has), "{file}");
        }
    }
}
