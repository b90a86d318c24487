//! What a test may lack: data, models, engines, a device, other programs.
//!
//! A test that lacks something prints `skipped: …` on stderr, past the capture of test output, and passes;
//! it fails if `L0_REQUIRE` lists what is lacking. The list has kinds (`data`, `models`, `engines`, `cuda`,
//! `tools`) and single things (`model:minilm-l6`, `engine:pisa`, `parallel`, `py:pyarrow` for a package of
//! Python), separated by commas. `.ci/require.py` prints the list of what a machine has.

use std::{
    collections::BTreeSet,
    env,
    fmt::Display,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

use candle_core::Device;
use l0::internal::device::Compute;

/// What is lacking.
#[derive(Clone, Copy, Debug)]
pub enum Need<'a> {
    /// A collection under `L0_DATA`.
    Data,
    /// A model directory under `L0_MODELS`.
    Model(&'a str),
    /// A search engine.
    Engine(&'a str),
    /// A CUDA device.
    Cuda,
    /// A program, or `py:` and a Python package.
    Tool(&'a str),
}

impl Need<'_> {
    /// Whether a list of kinds and single things has it.
    fn is_in(self, list: &str) -> bool {
        let (kind, name) = match self {
            Need::Data => ("data", "data".to_owned()),
            Need::Model(name) => ("models", format!("model:{name}")),
            Need::Engine(name) => ("engines", format!("engine:{name}")),
            Need::Cuda => ("cuda", "cuda".to_owned()),
            Need::Tool(name) => ("tools", name.to_owned()),
        };
        list.split(',').map(str::trim).any(|word| word == kind || word == name)
    }
}

/// Reports that the running test, or a part of it, is skipped; once for each reason and process.
///
/// # Panics
/// If `L0_REQUIRE` lists what is lacking.
#[track_caller]
pub fn skipped(need: Need, why: impl Display) {
    static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let why = why.to_string();
    let required = env::var("L0_REQUIRE").unwrap_or_default();
    assert!(!need.is_in(&required), "skipped: {why}, and L0_REQUIRE is `{required}`");
    let is_new = REPORTED.lock().is_ok_and(|mut reported| reported.insert(why.clone()));
    if is_new {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        // `eprintln!` would be captured with the output of a test that passes
        let _ = writeln!(io::stderr(), "skipped: {why} ({test})");
    }
}

/// What `L0_DATA` has under this name.
#[track_caller]
pub fn data(name: &str) -> Option<PathBuf> {
    under("L0_DATA", name, Need::Data)
}

/// The model directory that `L0_MODELS` has under this name.
#[track_caller]
pub fn model(name: &str) -> Option<PathBuf> {
    under("L0_MODELS", name, Need::Model(name))
}

#[track_caller]
fn under(variable: &str, name: &str, need: Need) -> Option<PathBuf> {
    let Ok(folder) = env::var(variable) else {
        skipped(need, format!("{variable} is not set, which has {name}"));
        return None;
    };
    let path = Path::new(&folder).join(name);
    if !path.exists() {
        skipped(need, format!("expected {name} in {variable}, found none"));
        return None;
    }
    Some(path)
}

/// The first CUDA device.
#[track_caller]
pub fn cuda() -> Option<Device> {
    let device = Compute::Cuda(0).open().ok();
    if device.is_none() {
        skipped(Need::Cuda, "no CUDA device");
    }
    device
}

/// Whether there is a program of this name.
#[track_caller]
pub fn has_tool(name: &str) -> bool {
    let mut command = Command::new(name);
    let silent = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let is_there = silent.stdin(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_there {
        skipped(Need::Tool(name), format!("no {name}"));
    }
    is_there
}

/// The Python named by `L0_PYTHON`.
pub fn python() -> String {
    env::var("L0_PYTHON").unwrap_or_else(|_| "python3".into())
}

#[test]
fn a_list_of_needs_has_kinds_and_names() {
    let all = [
        (Need::Data, "data"),
        (Need::Model("tiny"), "models"),
        (Need::Model("tiny"), "model:tiny"),
        (Need::Engine("pisa"), "engines"),
        (Need::Engine("pisa"), "engine:pisa"),
        (Need::Cuda, "cuda"),
        (Need::Tool("parallel"), "tools"),
        (Need::Tool("parallel"), "parallel"),
        (Need::Tool("py:polars"), "py:polars"),
    ];
    for (need, word) in all {
        assert!(need.is_in(word) && need.is_in(&format!("other, {word} ,more")), "{word}");
        assert!(!need.is_in("") && !need.is_in("other") && !need.is_in(&format!("no{word}")));
    }
    assert!(!Need::Engine("pisa").is_in("tools,engine:bmp,pisa"));
}
