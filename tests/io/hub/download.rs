//! Downloads from a server on this machine that keeps the hub's protocol, or breaks it as a test asks.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::{COMMIT, TEXT, clean};
use crate::support::{Need, Run, TINY, Work, python, run, skipped};

/// What the server does with the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// As it should.
    Plain,
    /// Breaks every answer off after so many bytes.
    Break(usize),
    /// The same, and sends the whole whatever range is asked for.
    BreakWithoutRanges(usize),
    /// Breaks every answer off after so many bytes, and never sends more than the second number of the file.
    BreakAndEnd(usize, usize),
    /// As `Break`, and keeps the connection without a word.
    Stall(usize),
    /// Refuses so many requests for now.
    Busy(usize),
    /// Sends other bytes.
    Wrong,
    /// Asks for the token `secret`.
    Gated,
}

struct Server {
    address: String,
    /// Requests as they came: path, range.
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Serves the files of a folder as `org/toy`.
fn serve(folder: &Path, manner: Manner) -> Server {
    let mut files = BTreeMap::new();
    collect(folder, folder, &mut files);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<_>>> = Arc::default();
    let log = Arc::clone(&asked);
    // the thread ends with the test
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (files, log) = (files.clone(), Arc::clone(&log));
            thread::spawn(move || {
                let _ = answer(stream, &files, manner, &log);
            });
        }
    });
    Server { address, asked }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}

fn answer(
    stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    manner: Manner,
    log: &Mutex<Vec<(String, String)>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut range, mut token) = (String::new(), String::new());
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap();
        match name.to_lowercase().as_str() {
            "range" => range = value.trim().to_owned(),
            "authorization" => token = value.trim().to_owned(),
            _ => {}
        }
    }
    let asked = {
        let mut log = log.lock().unwrap();
        log.push((path.clone(), range.clone()));
        log.len()
    };
    let mut stream = reader.into_inner();
    let mut send = |status: &str, more: &str, bytes: &[u8], sent: usize| {
        let length = bytes.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n"
        )?;
        stream.write_all(&bytes[..sent.min(length)])
    };
    if matches!(manner, Manner::Busy(refused) if asked <= refused) {
        let status =
            if asked % 2 == 0 { "503 Service Unavailable" } else { "429 Too Many Requests" };
        return send(status, "", b"", 0);
    }
    if manner == Manner::Gated && token != "Bearer secret" {
        return send("401 Unauthorized", "", b"", 0);
    }
    if path.starts_with("/api/models/org/toy/revision/main") {
        let json = listing(files).into_bytes();
        return send("200 OK", "", &json, usize::MAX);
    }
    let file = path.strip_prefix(&format!("/org/toy/resolve/{COMMIT}/")).unwrap_or_default();
    let Some(bytes) = files.get(file) else { return send("404 Not Found", "", b"", 0) };
    if !file.ends_with(".safetensors") {
        return send("200 OK", "", bytes, usize::MAX);
    }
    let from =
        range.strip_prefix("bytes=").and_then(|range| range.trim_end_matches('-').parse().ok());
    let from: usize = from.unwrap_or(0);
    let ranged = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
    match manner {
        Manner::Break(sent) if from > 0 => {
            send("206 Partial Content", &ranged, &bytes[from..], sent)
        }
        Manner::Stall(sent) => {
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            send(status, &ranged, &bytes[from..], sent)?;
            thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        Manner::BreakAndEnd(sent, end) => {
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            send(status, &ranged, &bytes[from..], sent.min(end - from))
        }
        Manner::Break(sent) | Manner::BreakWithoutRanges(sent) => send("200 OK", "", bytes, sent),
        Manner::Wrong => send("200 OK", "", &vec![7; bytes.len()], usize::MAX),
        _ => send("200 OK", "", bytes, usize::MAX),
    }
}

/// What the hub says of the files: large ones with SHA-256, the others with git's SHA-1.
fn listing(files: &BTreeMap<String, Vec<u8>>) -> String {
    let siblings = files.iter().map(|(name, bytes)| {
        let git = Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes);
        let mut one = serde_json::json!({
            "rfilename": name, "size": bytes.len(), "blobId": hex(git.finalize()),
        });
        if name.ends_with(".safetensors") {
            let sha256 = hex(Sha256::digest(bytes));
            one["lfs"] =
                serde_json::json!({"sha256": sha256, "size": bytes.len(), "pointerSize": 130});
        }
        one
    });
    let siblings: Vec<_> = siblings.collect();
    serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string()
}

fn encode(work: &Work, server: &Server, more: &[(&str, &str)]) -> Run {
    encode_named(work, server, "org/toy", more)
}

fn encode_named(work: &Work, server: &Server, model: &str, more: &[(&str, &str)]) -> Run {
    let arguments = format!("--model {model} - --format jsonl -o out.jsonl");
    let mut command = clean(work.command("l0-encode", &arguments));
    command.env("HF_HUB_CACHE", work.path("cache")).env("HF_ENDPOINT", &server.address);
    command.env("HF_HUB_OFFLINE", "0").envs(more.iter().copied());
    run(command, TEXT)
}

fn local(work: &Work, model: &str) -> Vec<u8> {
    let arguments = format!("--model {model} - --format jsonl -o local.jsonl --quiet");
    run(work.command("l0-encode", &arguments), TEXT).exits(0);
    work.read("local.jsonl")
}

/// A copy of a model with a file that nobody needs.
fn model(work: &Work, from: &str) -> std::path::PathBuf {
    let target = work.path("origin");
    let copied =
        std::process::Command::new("cp").args(["-rL"]).arg(work.path(from)).arg(&target).status();
    assert!(copied.unwrap().success());
    fs::create_dir_all(target.join("onnx")).unwrap();
    fs::write(target.join("onnx/model.onnx"), b"large").unwrap();
    fs::write(target.join("pytorch_model.bin"), b"the same weights once more").unwrap();
    target
}

#[test]
fn a_fresh_download_gives_what_the_directory_gives() {
    for from in ["testdata/toy", "testdata/toy-st", TINY] {
        let work = Work::new();
        let server = serve(&model(&work, from), Manner::Plain);
        encode(&work, &server, &[]).exits(0);
        assert!(work.read("out.jsonl") == local(&work, from), "{from}");
        let asked = server.asked.lock().unwrap().clone();
        let is_unneeded = |path: &str| path.ends_with(".onnx") || path.ends_with(".bin");
        assert!(!asked.iter().any(|(path, _)| is_unneeded(path)), "{asked:?}");
        let folder = work.path("cache/models--org--toy");
        assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
        let config = folder.join(format!("snapshots/{COMMIT}/config.json"));
        let link = fs::read_link(&config);
        if let Ok(link) = &link {
            assert!(link.starts_with("../../blobs"), "{link:?}");
        }
        for entry in fs::read_dir(folder.join("blobs")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(matches!(name.len(), 40 | 64), "{name}");
        }
        // what is there is not asked for again, and the list says what is there
        let before = asked.len();
        encode(&work, &server, &[]).exits(0);
        assert_eq!(server.asked.lock().unwrap().len(), before);
    }
}

#[test]
fn what_others_left_out_is_fetched() {
    let work = Work::new();
    let server = serve(&model(&work, TINY), Manner::Plain);
    let snapshot = super::copied(&work, "cache", "org/toy", TINY);
    for file in ["modules.json", "l0.json", "router_config.json"] {
        fs::remove_file(snapshot.join(file)).unwrap();
    }
    encode(&work, &server, &[("HF_HUB_OFFLINE", "1")])
        .exits(1)
        .says("unset HF_HUB_OFFLINE to have the rest downloaded, or bring the rest with");
    encode(&work, &server, &[]).exits(0);
    assert!(work.read("out.jsonl") == local(&work, TINY));
    let asked = server.asked.lock().unwrap().len();
    encode(&work, &server, &[]).exits(0);
    assert_eq!(server.asked.lock().unwrap().len(), asked);
    fs::remove_file(snapshot.join("l0.json")).unwrap();
    encode(&work, &server, &[("HF_HUB_OFFLINE", "1")]).exits(1).says("lacks l0.json");
}

#[test]
fn a_mistyped_path_is_reported_as_taken_for_a_name() {
    let work = Work::new();
    let server = serve(&model(&work, "testdata/toy"), Manner::Plain);
    let ran = encode_named(&work, &server, "models/mine", &[]).exits(1);
    let asked = format!("so {} was asked: ", server.address);
    ran.says("models/mine: no such directory is here").says(&asked).says("status 404");
}

#[test]
fn a_broken_download_is_gone_on_with() {
    let work = Work::new();
    let origin = model(&work, "testdata/toy");
    let size = fs::metadata(origin.join("model.safetensors")).unwrap().len() as usize;
    let server = serve(&origin, Manner::Break(size / 3 + 1));
    encode(&work, &server, &[]).exits(0);
    assert!(work.read("out.jsonl") == local(&work, "testdata/toy"));
    let asked = server.asked.lock().unwrap().clone();
    let ranges: Vec<_> =
        asked.iter().map(|(_, range)| range).filter(|range| !range.is_empty()).collect();
    assert_eq!(
        ranges,
        [&format!("bytes={}-", size / 3 + 1), &format!("bytes={}-", 2 * (size / 3 + 1))]
    );
}

#[test]
fn another_run_goes_on_where_one_gave_up() {
    let work = Work::new();
    let origin = model(&work, "testdata/toy");
    let server = serve(&origin, Manner::BreakAndEnd(500, 5000));
    let ran = encode(&work, &server, &[]).exits(1).says("there after 5 tries that came no further");
    // eleven answers, none of which was the fifth in vain
    ran.says("with 5000 of").says("run it again to go on from there");
    assert!(!work.path("cache/models--org--toy/snapshots").exists());
    assert!(!work.path("cache/models--org--toy/refs").exists());
    let server = serve(&origin, Manner::Break(usize::MAX));
    encode(&work, &server, &[]).exits(0);
    let asked = server.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|(_, range)| range == "bytes=5000-"), "{asked:?}");
    assert!(work.read("out.jsonl") == local(&work, "testdata/toy"));
}

#[test]
fn a_server_that_falls_silent_is_left() {
    let work = Work::new();
    let origin = model(&work, "testdata/toy");
    let size = fs::metadata(origin.join("model.safetensors")).unwrap().len() as usize;
    let server = serve(&origin, Manner::Stall(size / 2 + 1));
    encode(&work, &server, &[("HF_HUB_DOWNLOAD_TIMEOUT", "1")]).exits(0);
    assert!(work.read("out.jsonl") == local(&work, "testdata/toy"));
    let work = Work::new();
    let server = serve(&model(&work, "testdata/toy"), Manner::Stall(0));
    encode(&work, &server, &[("HF_HUB_DOWNLOAD_TIMEOUT", "1")])
        .exits(1)
        .says("nothing came for 1 s");
}

#[test]
fn a_busy_server_is_asked_again() {
    let work = Work::new();
    let origin = model(&work, "testdata/toy");
    encode(&work, &serve(&origin, Manner::Busy(3)), &[]).exits(0);
    fs::remove_dir_all(work.path("cache")).unwrap();
    let ran = encode(&work, &serve(&origin, Manner::Busy(99)), &[]).exits(1);
    ran.says("status 429: it is asked too often, after 5 tries; run it again later");
}

#[test]
fn processes_that_begin_at_once_all_get_the_model() {
    let work = Work::new();
    let origin = model(&work, "testdata/toy");
    let size = fs::metadata(origin.join("model.safetensors")).unwrap().len() as usize;
    // slow enough for them to meet
    let server = serve(&origin, Manner::Break(size / 4 + 1));
    thread::scope(|scope| {
        for at in 0..4 {
            let (work, server) = (&work, &server);
            scope.spawn(move || {
                let arguments = format!("--model org/toy - --format jsonl -o {at}.jsonl");
                let mut command = clean(work.command("l0-encode", &arguments));
                command.env("HF_HUB_CACHE", work.path("cache"));
                command.env("HF_ENDPOINT", &server.address).env("HF_HUB_OFFLINE", "0");
                run(command, TEXT).exits(0);
            });
        }
    });
    let expected = local(&work, "testdata/toy");
    assert!((0..4).all(|at| work.read(&format!("{at}.jsonl")) == expected));
    let asked = server.asked.lock().unwrap().clone();
    let weights = asked.iter().filter(|(path, _)| path.ends_with(".safetensors"));
    assert_eq!(weights.count(), 4, "it came once, in four pieces");
}

#[test]
fn a_server_without_ranges_is_asked_for_the_whole() {
    let work = Work::new();
    let origin = model(&work, "testdata/toy");
    encode(&work, &serve(&origin, Manner::BreakWithoutRanges(1000)), &[])
        .exits(1)
        .says("with 1000 of");
    encode(&work, &serve(&origin, Manner::BreakWithoutRanges(usize::MAX)), &[]).exits(0);
    assert!(work.read("out.jsonl") == local(&work, "testdata/toy"));
}

#[test]
fn bytes_of_another_hash_are_thrown_away() {
    let work = Work::new();
    let origin = model(&work, "testdata/toy");
    encode(&work, &serve(&origin, Manner::Wrong), &[]).exits(1).says("expected bytes of hash");
    let blobs = fs::read_dir(work.path("cache/models--org--toy/blobs")).unwrap();
    let names: Vec<_> =
        blobs.map(|blob| blob.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| name.len() == 40), "{names:?}");
    encode(&work, &serve(&origin, Manner::Plain), &[]).exits(0);
}

#[test]
fn refusals_come_with_the_remedy() {
    let work = Work::new();
    let origin = model(&work, "testdata/toy");
    let server = serve(&origin, Manner::Gated);
    let ran = encode(&work, &server, &[]).exits(1).says("set HF_TOKEN to a token that may read it");
    ran.says(&format!("are accepted at {}/org/toy", server.address));
    encode(&work, &server, &[("HF_TOKEN", "wrong")])
        .exits(1)
        .says("the token in HF_TOKEN has no access");
    encode(&work, &server, &[("HF_TOKEN", "secret")]).exits(0);
    let server = serve(&origin, Manner::Plain);
    let ran = encode_named(&work, &server, "org/none", &[]).exits(1);
    ran.says("status 404: expected a model and a revision that are there, found `org/none`");
    encode_named(&work, &server, "org/toy@v7", &[]).exits(1).says("status 404");
    let offline = encode_named(&work, &server, "org/none", &[("HF_HUB_OFFLINE", "1")]).exits(1);
    offline.says("HF_HUB_OFFLINE is set: unset it");
    let nobody = Server { address: "http://127.0.0.1:1".into(), asked: Arc::default() };
    encode_named(&work, &nobody, "org/none", &[])
        .exits(1)
        .says("http://127.0.0.1:1/api/models/org/none");
    assert!(
        !work.path("out.jsonl").exists() || work.read("out.jsonl") == local(&work, "testdata/toy")
    );
}

#[test]
fn what_is_no_model_is_not_downloaded() {
    let work = Work::new();
    work.write("origin/README.md", "nothing");
    work.write("origin/config.json", "{}");
    let server = serve(&work.path("origin"), Manner::Plain);
    let ran =
        encode(&work, &server, &[]).exits(1).says("model.safetensors or pytorch_model.bin; found");
    ran.says("README.md, config.json");
    assert_eq!(server.asked.lock().unwrap().len(), 1);
}

/// Python's library takes what was downloaded for its own.
#[test]
fn the_python_library_finds_it() {
    let python = python();
    let work = Work::new();
    let server = serve(&model(&work, "testdata/toy"), Manner::Plain);
    encode(&work, &server, &[]).exits(0);
    let code = "import sys\ntry:\n    from huggingface_hub import snapshot_download\nexcept ImportError:\n    sys.exit(9)\n\
                print(snapshot_download('org/toy', local_files_only=True))";
    let mut command = clean(std::process::Command::new(&python));
    command.args(["-c", code]).env("HF_HUB_CACHE", work.path("cache"));
    let output = match command.output() {
        Ok(output) if output.status.code() != Some(9) => output,
        _ => {
            let why = format!("{python} has no huggingface_hub");
            return skipped(Need::Tool("py:huggingface_hub"), why);
        }
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.trim().ends_with(&format!("models--org--toy/snapshots/{COMMIT}")),
        "{output:?}"
    );
}
