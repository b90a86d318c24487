//! A module imports only from floors below its own: the architecture, as a test.
use std::{fs, path::Path, process::Command};

use l0::internal::layout;

/// From the ground up, without `lib.rs`: it only lists modules.
const FLOORS: [&[&str]; 9] = [
    &["error", "layout"],
    &["sparse", "device", "io"],
    &["tables", "text", "kernels"],
    &["records", "vectors"],
    &["nn", "index", "eval"],
    &["model"],
    &["encode", "search", "exchange"],
    &["train"],
    &["cli", "facade"],
];

#[test]
fn modules_import_only_from_below() {
    let floor = |module: &str| FLOORS.iter().position(|floor| floor.contains(&module));
    let mut broken = Vec::new();
    visit(Path::new("src/lib"), &mut |path, source| {
        let inside = path.strip_prefix("src/lib").unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            return;
        }
        let here = floor(module).unwrap_or_else(|| panic!("{module} stands on no floor"));
        for name in names_under_crate(source) {
            if name != module && floor(&name).is_some_and(|there| there >= here) {
                broken.push(format!("{}: {module} imports {name}", path.display()));
            }
        }
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The bytes of an index do not depend on how it is built.
#[test]
fn the_format_of_an_index_imports_nothing_of_its_build() {
    let mut broken = Vec::new();
    visit(Path::new("src/lib/index/format"), &mut |path, source| {
        for (number, line) in (1..).zip(source.lines()) {
            let mut names = line.split("index::").skip(1);
            let is_import = !line.trim_start().starts_with("//");
            if is_import
                && (names.any(|name| !name.starts_with("format")) || line.contains("build::"))
            {
                broken.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Who may name an outside crate: folders and files of `src/lib`.
const NAMED_BY: [(&str, &[&str]); 16] = [
    ("candle_", &["device.rs", "nn", "model", "train"]),
    ("gemm::", &["kernels"]),
    ("nalgebra::", &["train"]),
    ("arrow_", &["tables", "records/examples", "vectors"]),
    ("flatbuffers::", &["tables"]),
    ("parquet::", &["tables"]),
    ("tokenizers::", &["text/tokenizer.rs"]),
    ("clap::", &["cli", "cli.rs"]),
    ("rustyline::", &["cli"]),
    ("ureq::", &["io/hub"]),
    ("object_store::", &["io/stores"]),
    ("tokio::", &["io/stores"]),
    ("reqwest::", &["io/stores"]),
    ("rustls::", &["io/stores"]),
    ("futures_util::", &["io/stores"]),
    ("std::net", &[]),
];

#[test]
fn outside_crates_are_named_where_they_belong() {
    let mut broken = Vec::new();
    visit(Path::new("src/lib"), &mut |path, source| {
        let inside = path.strip_prefix("src/lib").unwrap();
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code: Vec<&str> = code.collect();
        for (name, homes) in NAMED_BY {
            let at_home = homes.iter().any(|home| inside.starts_with(home));
            if !at_home && code.iter().any(|line| line.contains(name)) {
                broken.push(format!("{} names {name}", path.display()));
            }
        }
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The crates that the library links with these features, by their names.
fn linked(features: &[&str]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--offline", "--locked", "-e", "normal", "--prefix", "none"]);
    let output = command.args(features).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<String> =
        lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_library_links_tensors_and_terminals_with_their_features_only() {
    const TENSORS: [&str; 4] = ["candle-core", "candle-nn", "gemm", "nalgebra"];
    const TERMINALS: [&str; 4] = ["clap", "clap_mangen", "indicatif", "rustyline"];
    let check = |features: &[&str], has_tensors: bool, has_terminals: bool| {
        let linked = linked(features);
        for (names, expected) in [(TENSORS, has_tensors), (TERMINALS, has_terminals)] {
            for name in names {
                let found = linked.iter().any(|linked| linked == name);
                assert_eq!(found, expected, "{name} with {features:?}");
            }
        }
    };
    check(&[], true, true);
    check(&["--no-default-features"], false, false);
    check(&["--no-default-features", "--features", "cli"], false, true);
    check(&["--no-default-features", "--features", "model"], true, false);
}

/// Files of the library whose texts are commands of other programs, which have options of their own.
const COMMANDS: [&str; 3] = ["exchange/steps.rs", "io/hub/mod.rs", "nn/cuda/build.rs"];

/// A user of the library has no command line: `cli` and the bins put options in messages.
#[test]
fn the_library_names_no_options() {
    let mut broken = Vec::new();
    visit(Path::new("src/lib"), &mut |path, source| {
        let inside = path.strip_prefix("src/lib").unwrap();
        let home = ["cli", "cli.rs"].iter().any(|home| inside.starts_with(home));
        if home || COMMANDS.iter().any(|file| inside == Path::new(file)) {
            return;
        }
        for (number, line) in (1..).zip(source.lines()) {
            if names_option(line) {
                broken.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Whether a line that is no comment has an option of a command: `--word` or `-o`.
fn names_option(line: &str) -> bool {
    let begins = |at: usize| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '-')
    };
    let is_long = |(at, _): (usize, &str)| {
        begins(at) && line[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    };
    let is_output =
        |(at, _): (usize, &str)| begins(at) && line[at + 2..].starts_with([' ', ':', '"', '`']);
    let is_comment = line.trim_start().starts_with("//");
    !is_comment
        && (line.match_indices("--").any(is_long) || line.match_indices("-o").any(is_output))
}

#[test]
fn sees_every_form_of_option() {
    for line in ["\"--to csv\"", "say --format", "`--quiet`", "(--a)", "-o: a", "\"want -o FILE\""]
    {
        assert!(names_option(line), "{line}");
    }
    for line in ["/// `--resume`", "a -- b", "x-o y", "---\\ntags:", "read-only", "a - o", "1--o"] {
        assert!(!names_option(line), "{line}");
    }
}

/// The rooms that read, write or fetch files of a model name them by `layout`.
#[test]
fn files_of_a_model_are_named_in_one_place() {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let named = file_names(&read("src/lib/layout.rs"));
    assert!(named.len() >= 10 && named.iter().any(|name| name == layout::MODULES), "{named:?}");
    let mut elsewhere = Vec::new();
    let mut look = |path: &Path, source: &str| {
        // the programs embed the shipped models by their paths
        if path.ends_with("shipped/mod.rs") || path.ends_with("tests.rs") {
            return;
        }
        let names = file_names(source.split("#[cfg(test)]").next().unwrap());
        let names = names.into_iter().filter(|name| named.contains(name));
        elsewhere.extend(names.map(|name| format!("{}: {name}", path.display())));
    };
    for folder in ["cli", "facade", "io", "model", "text", "train"] {
        visit(&Path::new("src/lib").join(folder), &mut look);
    }
    assert!(elsewhere.is_empty(), "{}", elsewhere.join("\n"));
}

#[test]
fn every_file_of_a_model_that_is_read_is_fetched() {
    let mut names = file_names(&fs::read_to_string("src/lib/layout.rs").unwrap());
    let fetched: [&[&str]; 3] = [&layout::OF_MODEL, &layout::OF_TOKENIZER, &layout::WEIGHTS];
    names.retain(|name| !fetched.concat().contains(&name.as_str()));
    assert!(names.is_empty(), "read, but not fetched from a hub: {names:?}");
}

/// The string literals of a source that are names of a model's files.
fn file_names(source: &str) -> Vec<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let literals = code.flat_map(|line| line.split('"').skip(1).step_by(2));
    let is_file = |text: &&str| {
        let (stem, end) = text.rsplit_once('.').unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_name = !stem.is_empty() && stem.chars().all(is_plain);
        is_name && ["json", "txt", "safetensors", "bin", "model"].contains(&end)
    };
    literals.filter(is_file).map(str::to_owned).collect()
}

#[test]
fn sees_every_form_of_import() {
    let source =
        "// crate::not_code\nuse crate::{Error, a::{x, y},\n  b::c as d};\nfn f(v: crate::e::V) {}";
    assert_eq!(names_under_crate(source), ["Error", "a", "b", "e"]);
}

/// The names directly under `crate::`, grouped imports included, comment lines left out.
fn names_under_crate(source: &str) -> Vec<String> {
    let code: String = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    code.split("crate::").skip(1).flat_map(items).map(first_word).collect()
}

/// `{a::{x, y}, b}; …` gives `a::{x, y}` and `b`; anything else gives itself.
fn items(after: &str) -> Vec<&str> {
    let Some(group) = after.strip_prefix('{') else { return vec![after] };
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    items
}

fn first_word(item: &str) -> String {
    item.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn visit(dir: &Path, each: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, each);
        } else if path.extension().is_some_and(|e| e == "rs") {
            each(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
