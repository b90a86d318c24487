//! A store on this machine that speaks as much of S3 as the programs say to it, and plain HTTP.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use crate::support::{Work, run};

/// Objects by path.
type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Bytes sent of each path.
type Sent = Arc<Mutex<BTreeMap<String, Vec<usize>>>>;

struct Store {
    address: String,
    objects: Objects,
    sent: Sent,
}

fn serve() -> Store {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let objects = Objects::default();
    let sent = Sent::default();
    let (held, counted) = (Arc::clone(&objects), Arc::clone(&sent));
    // the thread ends with the test
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (objects, sent) = (Arc::clone(&held), Arc::clone(&counted));
            thread::spawn(move || {
                let _ = answer(stream, &objects, &sent);
            });
        }
    });
    Store { address, objects, sent }
}

fn answer(stream: TcpStream, objects: &Objects, sent: &Sent) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut last) = (0, None);
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        } else if name.eq_ignore_ascii_case("range") {
            last = value.trim().strip_prefix("bytes=0-").map(|last| last.parse::<usize>().unwrap());
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut stream = reader.into_inner();
    let common = "ETag: \"x\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close";
    let mut send = |status: &str, bytes: &[u8], with_body: bool| {
        let length = bytes.len();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{common}\r\n\r\n")?;
        stream.write_all(if with_body { bytes } else { b"" })
    };
    if path.starts_with("/closed/") {
        return send("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>", true);
    }
    let mut objects = objects.lock().unwrap();
    match (method, objects.get(path)) {
        ("PUT", _) => {
            objects.insert(path.to_owned(), body);
            send("200 OK", b"", true)
        }
        (_, None) => send("404 Not Found", b"", true),
        (_, Some(bytes)) => {
            let end = last.filter(|_| path.starts_with("/bucket/")).map(|last| last + 1);
            let part = &bytes[..end.unwrap_or(bytes.len()).min(bytes.len())];
            if method == "GET" {
                sent.lock().unwrap().entry(path.to_owned()).or_default().push(part.len());
            }
            let (end, all) = (part.len(), bytes.len());
            match last.filter(|_| part.len() < all) {
                Some(_) => {
                    let range = format!("Content-Range: bytes 0-{}/{all}", end - 1);
                    send(&format!("206 Partial Content\r\n{range}"), part, true)
                }
                None => send("200 OK", bytes, method == "GET"),
            }
        }
    }
}

impl Store {
    fn reached_by(&self, mut command: Command) -> Command {
        for (name, value) in [
            ("AWS_ENDPOINT", self.address.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ] {
            command.env(name, value);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command
    }

    fn put(&self, path: &str, bytes: Vec<u8>) {
        self.objects.lock().unwrap().insert(path.to_owned(), bytes);
    }

    fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }
}

#[test]
fn the_whole_way_runs_over_objects() {
    let (work, store) = (Work::new(), serve());
    let demo = |name: &str| work.read(&format!("testdata/demo/{name}"));
    store.put("/bucket/corpus.jsonl.gz", gzip(&demo("corpus.jsonl")));
    store.put("/bucket/queries.jsonl", demo("queries.jsonl"));
    store.put("/bucket/test.tsv", demo("qrels/test.tsv"));
    let line = format!(
        "set -e
        encode='l0-encode --model testdata/toy --quiet'
        $encode testdata/demo/corpus.jsonl -o v.parquet
        l0-index v.parquet --model testdata/toy -o v.l0x --quiet
        l0-query v.l0x testdata/demo/queries.jsonl --format trec -o v.run
        $encode s3://bucket/corpus.jsonl.gz -o s3://bucket/v.parquet
        $encode {address}/bucket/corpus.jsonl.gz -o s3://bucket/v.arrow
        l0-index s3://bucket/v.parquet --model testdata/toy -o s3://bucket/v.l0x --quiet
        l0-query s3://bucket/v.l0x s3://bucket/queries.jsonl --format trec -o s3://bucket/v.run
        l0-eval s3://bucket/test.tsv s3://bucket/v.run -m nDCG@10
        l0-eval testdata/demo/qrels/test.tsv v.run -m nDCG@10
        l0-query s3://bucket/v.l0x s3://bucket/queries.jsonl --format trec -o {address}/web/v.run",
        address = store.address
    );
    let ran = run(store.reached_by(work.shell(&line)), b"").exits(0);
    let printed = ran.stdout_text();
    let values: Vec<_> = printed.lines().collect();
    assert!(values.len() == 2 && values[0] == values[1], "{values:?}");
    let objects = store.objects.lock().unwrap();
    for name in ["v.parquet", "v.l0x", "v.run"] {
        assert!(objects[&format!("/bucket/{name}")] == work.read(name), "{name}");
    }
    assert!(objects["/web/v.run"] == work.read("v.run"));
    assert_eq!(work.names(), ["v.l0x", "v.parquet", "v.run"]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn what_an_object_is_shows_in_its_first_bytes() {
    let (work, store) = (Work::new(), serve());
    let line = "set -e
        l0-encode --model testdata/toy --quiet testdata/demo/corpus.jsonl -o v.parquet
        l0-index v.parquet --model testdata/toy -o v.l0x --quiet
        l0-index export v.l0x --to jsonl -o v.jsonl --quiet";
    run(work.shell(line), b"").exits(0);
    let length = work.read("v.l0x").len();
    let plain = format!("{}/web/v.l0x", store.address); // knows no ranges
    for (path, from, sent) in [
        ("/bucket/v.l0x", "s3://bucket/v.l0x", vec![8, length]),
        ("/web/v.l0x", &plain, vec![length, length, length]),
    ] {
        store.put(path, work.read("v.l0x"));
        let export = format!("l0-index export {from} --to jsonl -o got.jsonl --quiet");
        run(store.reached_by(work.shell(&export)), b"").exits(0);
        assert!(work.read("got.jsonl") == work.read("v.jsonl"), "{from}");
        assert_eq!(store.sent.lock().unwrap()[path], sent, "{from}");
    }
}

#[test]
fn what_fails_leaves_no_object() {
    let (work, store) = (Work::new(), serve());
    store.put("/bucket/bad.jsonl", b"{\"_id\":\"a\",\"text\":\"x\"}\n{\n".to_vec());
    let encode = |arguments: &str| {
        let all = format!("--model testdata/toy {arguments}");
        run(store.reached_by(work.command("l0-encode", &all)), b"")
    };
    let bad = "s3://bucket/bad.jsonl -o s3://bucket/v.parquet";
    encode(bad).exits(1).says("s3://bucket/bad.jsonl:2: expected");
    encode("s3://bucket/none.jsonl -o s3://bucket/v.parquet")
        .exits(1)
        .says("none.jsonl: no such object");
    encode("s3://closed/a.jsonl -o s3://bucket/v.parquet").exits(1).says("AWS_ACCESS_KEY_ID");
    encode("testdata/demo/corpus.jsonl -o s3://closed/v.parquet")
        .exits(1)
        .says("s3://closed/v.parquet: ");
    encode("s3://bucket -o v.parquet").exits(1).says("expected an object, found a bucket");
    assert_eq!(store.names(), ["/bucket/bad.jsonl"]);
    assert!(work.names().is_empty());
}
