//! The pages of the documentation, held to the programs: transcripts are replayed, each `$ command` of a
//! page's `console` blocks in one folder, in order; links lead somewhere; sections that comments cite exist.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use snapbox::assert_data_eq;

/// A command and the output that the page prints for it.
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
    // the line is typed when the prompt is there, the end of input when the answer is
    let typed = format!("(sleep 1; echo '{question}'; sleep 1; printf '\\004')");
    let terminal = format!("script -qec 'stty cols 60 rows 24; {command}' /dev/null");
    let mut bash = Command::new("bash");
    let run = bash.args(["-c", &format!("{typed} | {terminal}")]).current_dir(folder);
    let ran = run.env("PATH", path).env("XDG_STATE_HOME", folder).output().unwrap();
    let seen = String::from_utf8_lossy(&ran.stdout).replace('\r', "");
    assert!(ran.status.success() && seen.contains(answer), "expected\n{answer}\nfound\n{seen}");
    let history = fs::read_to_string(folder.join("l0/query_history")).unwrap();
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
            let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(ran.status.success(), "{command}: {stderr}");
        }
    }
}

/// Pages with transcripts, and the least number of commands in each.
const PAGES: [(&str, usize); 4] =
    [("README.md", 4), ("docs/engines.md", 7), ("docs/guide.md", 12), ("docs/results.md", 5)];

fn replay_page(name: &str) {
    let (folder, path) = scene();
    let least = PAGES.iter().find(|(page, _)| *page == name).expect("a page of PAGES").1;
    replay(&page(name), least, folder.path(), &path);
}

#[test]
fn the_readme_prints_what_the_programs_print() {
    let (folder, path) = scene();
    let readme = page("README.md");
    replay(&readme, PAGES[0].1, folder.path(), &path);
    check_prompt(&readme, folder.path(), &path);
}

#[test]
fn the_page_on_engines_prints_what_the_programs_print() {
    replay_page("docs/engines.md");
}

#[test]
fn the_guide_prints_what_the_programs_print() {
    replay_page("docs/guide.md");
}

/// The tables of the results are what the programs make of the committed results.
#[test]
fn the_tables_of_results_are_what_the_programs_print() {
    replay_page("docs/results.md");
}

#[test]
fn every_page_with_transcripts_is_replayed() {
    for name in pages() {
        let has_transcripts = page(&name).contains("```console\n");
        let is_listed = PAGES.iter().any(|(page, _)| *page == name);
        assert_eq!(has_transcripts, is_listed, "{name}: transcripts, and whether PAGES lists it");
    }
}

#[test]
fn the_readme_is_short() {
    let lines = page("README.md").lines().count();
    assert!(lines <= 150, "README.md: expected at most 150 lines, found {lines}");
}

#[test]
fn links_between_pages_lead_to_files_and_headings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    for name in pages() {
        let folder = Path::new(&name).parent().unwrap();
        for link in links(&page(&name)) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { PathBuf::from(&name) } else { folder.join(file) };
            let found = match heading {
                "" => root.join(&target).exists(),
                _ => fs::read_to_string(root.join(&target))
                    .is_ok_and(|text| headings(&text).any(|found| slug(found) == heading)),
            };
            if !found {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn sections_that_comments_cite_exist() {
    let mut broken = Vec::new();
    let mut cited = 0;
    for name in ["docs/method.md", "docs/formats.md"] {
        let text = page(name);
        let known: Vec<&str> = headings(&text).collect();
        visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |path| {
            if path.extension().is_some_and(|extension| extension == "rs") {
                for section in citations(&fs::read_to_string(path).unwrap(), name) {
                    cited += 1;
                    if !known.contains(&section.as_str()) {
                        broken.push(format!("{}: {name}, {section:?}", path.display()));
                    }
                }
            }
        });
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(cited >= 20, "only {cited} citations");
}

/// The sections of a page that comments cite as `PAGE`, "SECTION"; a comment may be broken anywhere.
fn citations(source: &str, page: &str) -> Vec<String> {
    let bare = |line: &str| line.trim_start().trim_start_matches(['/', '!']).trim().to_owned();
    let text = source.lines().map(bare).collect::<Vec<_>>().join(" ");
    let cited = text.split(page).skip(1).filter_map(|rest| {
        let section = rest.trim_start_matches('`').strip_prefix(", \"")?;
        section.split_once('"').map(|(section, _)| section.to_owned())
    });
    cited.collect()
}

/// Targets of the relative links of a page, outside of blocks of code.
fn links(page: &str) -> Vec<String> {
    let prose = page.split("```").step_by(2);
    let targets = prose.flat_map(|text| text.split("](").skip(1));
    let targets = targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

fn headings(page: &str) -> impl Iterator<Item = &str> {
    let prose = page.split("```").step_by(2).flat_map(str::lines);
    prose.filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim())
}

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

/// The Markdown pages of the repository, relative to its root, in order.
fn pages() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    let mut add = |path: &Path| {
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    };
    for entry in fs::read_dir(root).unwrap() {
        add(&entry.unwrap().path());
    }
    for folder in ["benches", "docs", "pipelines"] {
        visit(&root.join(folder), &mut add);
    }
    pages.sort();
    assert!(pages.len() >= 10, "only {pages:?}");
    pages
}

/// Calls `each` for every file under a folder.
fn visit(folder: &Path, each: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => visit(&path, each),
            false => each(&path),
        }
    }
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
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
