//! The page of examples, replayed.

use std::{
    ffi::OsString,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use snapbox::assert_data_eq;

use crate::support::{Need, Work, programs, python, skipped};

/// A block of the page: the tools it needs, its commands and the comment after each.
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

/// The programs, then those next to the Python of L0_PYTHON, then the rest.
fn path() -> OsString {
    let beside = PathBuf::from(python()).parent().map(Path::to_owned);
    let beside = beside.filter(|folder| folder.is_absolute());
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        [programs().to_owned()].into_iter().chain(beside).chain(std::env::split_paths(&rest));
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
#[ignore = "slow: whole programs"]
fn the_page_of_examples_runs_as_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = Work::new();
    for name in ["examples", "pipelines", "src"] {
        symlink(root.join(name), work.path(name)).unwrap();
    }
    let page = std::fs::read_to_string(root.join("pipelines/examples/README.md")).unwrap();
    let (blocks, path) = (blocks(&page), path());
    assert!(blocks.len() >= 7, "only {} blocks", blocks.len());
    for tool in ["jq", "make"] {
        assert!(is_there(tool, &path), "expected {tool} on every machine that runs tests");
    }
    for Block { needs, steps } in blocks {
        if let Some(absent) = needs.iter().find(|tool| !is_there(tool, &path)) {
            skipped(Need::Tool(absent), format!("no {absent}"));
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
