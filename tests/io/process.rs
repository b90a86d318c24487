//! A call of the library that fails leaves the process as it was: its panic hook, its standard input.

use std::{
    cell::Cell,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::channel,
    thread,
};

use l0::internal::{
    device::{Compute, Precision},
    encode::{EncodeConfig, Job, Model, Role, Shard},
    io::{Input, Output},
    model::Overrides,
    records::rejects::Rejects,
    sparse::{Prune, SparseVector, TermId},
    vectors::{self, Form, Row, VectorMeta, Writer},
};

thread_local! {
    /// Panics of this thread that the test's hook has seen, if it counts them.
    static SEEN: Cell<Option<usize>> = const { Cell::new(None) };
}

fn parquet() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.parquet");
    let output = Output::create(&path).unwrap();
    let mut writer = Writer::new(output, Form::Parquet, &VectorMeta::default(), false).unwrap();
    for id in ["a", "b", "c"] {
        let vector = SparseVector::new([(TermId(1), 0.5), (TermId(7), 2.0)]).unwrap();
        writer.write(&Row { id: id.into(), vector, ..Row::default() }).unwrap();
    }
    writer.finish().unwrap();
    std::fs::read(&path).unwrap()
}

#[test]
fn a_broken_table_leaves_the_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match SEEN.get() {
        Some(count) => SEEN.set(Some(count + 1)),
        None => before(info),
    }));
    let good = parquet();
    SEEN.set(Some(0));
    let mut caught = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        let read = Input::from_reader("bad", std::io::Cursor::new(bad))
            .and_then(|input| vectors::read(input, None))
            .and_then(|(_, rows)| rows.collect::<l0::Result<Vec<Row>>>());
        let panicked = |error: &l0::Error| error.to_string().contains("contradict each other");
        caught += usize::from(read.err().as_ref().is_some_and(panicked));
    }
    // the decoder panics on some of them, and the hook hears of each
    assert!(caught > 0);
    assert_eq!(SEEN.get(), Some(caught));
    assert!(std::panic::catch_unwind(|| panic!("of the test")).is_err());
    assert_eq!(SEEN.replace(None), Some(caught + 1));
}

/// Set in the process that [`a_failed_encode_leaves_standard_input_to_others`] starts.
const CHILD: &str = "L0_TEST_PROCESS";

/// Documents, of which the last line is for somebody else.
const DOCUMENTS: usize = 2000;
const OTHER: &str = "for another reader";

/// Encodes standard input until the output is full, then reads what is left.
fn encode_and_read_on() {
    let input = Input::open(Path::new("-")).unwrap();
    let toy = Path::new("testdata/toy");
    let load = Model::load(toy, Role::Document, Overrides::default(), Compute::Cpu, Precision::F32);
    let config = EncodeConfig { batch_tokens: 256, prune: Prune::None, keep_text: true };
    let job = Job { model: &load.unwrap(), role: Role::Document, config, shard: Shard::WHOLE };
    let full = Output::create(Path::new("/dev/full")).unwrap();
    let failed = job.run(vec![input], &mut Rejects::stop(), full, Form::JsonLines, || {});
    eprintln!("failed: {}", failed.unwrap_err());
    let lines = Input::open(Path::new("-")).unwrap().into_reader().lines();
    let found = lines.map(|line| line.unwrap()).any(|line| line == OTHER);
    eprintln!("found: {found}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_failed_encode_leaves_standard_input_to_others() {
    if std::env::var_os(CHILD).is_some() {
        return encode_and_read_on();
    }
    let name = "io::process::a_failed_encode_leaves_standard_input_to_others";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let (sender, failed) = channel();
    let writer = thread::spawn(move || {
        let text = "the sea and the water ".repeat(10);
        for id in 0..DOCUMENTS {
            writeln!(pipe, r#"{{"_id":"{id}","text":"{text}"}}"#).unwrap();
        }
        // the pipe stays open until the work has failed: it must not wait for the end
        failed.recv().unwrap();
        writeln!(pipe, "{OTHER}").unwrap();
    });
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("failed: ") {
            sender.send(()).unwrap();
        }
        said.push(line);
    }
    drop(sender);
    assert!(child.wait().unwrap().success(), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("failed: /dev/full: ")), "{said:?}");
    assert!(said.iter().any(|line| line == "found: true"), "{said:?}");
    writer.join().unwrap();
}
