//! The README's transcripts, replayed: each `$ command` of a `console` block in one folder, in order.

use std::{path::Path, process::Command};

use snapbox::assert_data_eq;

/// A command and what stands behind it.
struct Step {
    command: String,
    output: String,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in readme.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step { command: command.to_owned(), output: String::new() });
                }
                (None, Some(step)) => step.output += &format!("{line}\n"),
                (None, None) => panic!("output before the first command: {line}"),
            }
        }
    }
    steps
}

/// The prompt's transcript, typed on a pseudo-terminal of 60 columns by `script` of util-linux.
fn check_prompt(readme: &str, folder: &Path, path: &str) {
    if !crate::support::has_tool("script") {
        return;
    }
    let block = readme.split("```prompt\n$ ").nth(1).unwrap().split("```").next().unwrap();
    let (command, rest) = block.split_once('\n').unwrap();
    let (question, answer) = rest.strip_prefix("l0> ").unwrap().split_once('\n').unwrap();
    // the line is typed when the prompt stands, the end of input when the answer does
    let typed = format!("(sleep 1; echo '{question}'; sleep 1; printf '\\004')");
    let terminal = format!("script -qec 'stty cols 60 rows 24; {command}' /dev/null");
    let mut bash = Command::new("bash");
    let run = bash.args(["-c", &format!("{typed} | {terminal}")]).current_dir(folder);
    let ran = run.env("PATH", path).env("XDG_STATE_HOME", folder).output().unwrap();
    let seen = String::from_utf8_lossy(&ran.stdout).replace('\r', "");
    assert!(ran.status.success() && seen.contains(answer), "want\n{answer}\ngot\n{seen}");
    let history = std::fs::read_to_string(folder.join("l0/query_history")).unwrap();
    assert!(history.contains(question), "the history forgot the question: {history}");
}

/// A folder with the repository's `testdata` and `pipelines` in it, and the PATH that finds the programs.
fn scene() -> (tempfile::TempDir, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    for name in ["testdata", "pipelines"] {
        std::os::unix::fs::symlink(root.join(name), folder.path().join(name)).unwrap();
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_l0-encode")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    (folder, path)
}

#[test]
fn examples_in_the_help_run_one_after_the_other() {
    let (folder, path) = scene();
    let bash = |command: &str| {
        let mut bash = Command::new("bash");
        bash.args(["-o", "pipefail", "-c", command]);
        bash.current_dir(folder.path()).env("PATH", &path).output().unwrap()
    };
    for program in [
        "l0-encode",
        "l0-encode idf",
        "l0-encode join",
        "l0-index",
        "l0-index stats",
        "l0-index verify",
        "l0-index merge",
        "l0-query",
        "l0-eval",
        "l0-eval sparsity",
        "l0-eval diff",
        "l0-eval tradeoff",
        "l0-train",
        "l0-train from-dense",
        "l0-train check",
        "l0-train mine",
        "l0-train score",
        "l0-train export",
    ] {
        let help = String::from_utf8(bash(&format!("{program} --help")).stdout).unwrap();
        let examples = help.split_once("\nExamples").expect("examples in the help").1;
        // clap breaks long lines: what is indented more than an example goes on with it
        let mut commands: Vec<String> = Vec::new();
        for line in examples.lines() {
            match line.strip_prefix("    ").map(|line| (line.starts_with(' '), line.trim())) {
                Some((false, command)) => commands.push(command.to_owned()),
                Some((true, rest)) => panic!("{program}: an example is broken at `{rest}`"),
                None => {}
            }
        }
        assert!(commands.len() >= 2, "{program} --help has {} examples", commands.len());
        for command in commands {
            let ran = bash(&command);
            let told = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(ran.status.success(), "{command}: {told}");
        }
    }
}

#[test]
fn transcripts_say_what_the_programs_say() {
    let (folder, path) = scene();
    let readme = page("README.md");
    replay(&readme, 8, folder.path(), &path);
    check_prompt(&readme, folder.path(), &path);
}

/// The tables of the results are what the programs make of the committed results.
#[test]
fn result_tables_remake_themselves() {
    let (folder, path) = scene();
    replay(&page("pipelines/RESULTS.md"), 5, folder.path(), &path);
}

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn replay(page: &str, least: usize, folder: &Path, path: &str) {
    let steps = steps(page);
    assert!(steps.len() >= least, "only {} commands", steps.len());
    for step in steps {
        let mut bash = Command::new("bash");
        let run = bash.args(["-o", "pipefail", "-c", &step.command]);
        let ran = run.current_dir(folder).env("PATH", path).output().unwrap();
        // a reader sees both streams; the programs talk after their data
        let seen = [ran.stdout, ran.stderr].concat();
        println!("$ {}", step.command);
        assert_data_eq!(String::from_utf8(seen).unwrap(), step.output);
        assert!(ran.status.success(), "{}: {}", step.command, ran.status);
    }
}
