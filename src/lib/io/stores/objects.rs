//! Requests to stores: the only file with an async runtime.

use std::{
    error::Error as _,
    fs::File,
    io::{self, Read, Seek},
    pin::Pin,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::Stream};
use object_store::{
    ClientConfigKey::{ReadTimeout, Timeout},
    ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    http::HttpBuilder,
    path::Path,
};
use reqwest::Url;
use tokio::runtime::{Builder, Runtime};

use super::Object;
use crate::error::{Error, Result};

/// Bytes sent at a time; a shorter object is sent in one request.
const PART_BYTES: u64 = 16 << 20;
/// Timeout of a request: long, since an input is read as fast as it is processed, and a large output may be
/// one request.
const WHOLE: &str = "7days";
/// Timeout without a byte of an answer.
const SILENCE: &str = "5min";
/// The most parts; stores take ten thousand.
const PARTS: u64 = 9_000;

/// A single-threaded runtime, which works while a caller waits for it.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        // an error means that a provider is installed already
        let _ = rustls::crypto::ring::default_provider().install_default();
        Builder::new_current_thread().enable_all().build()
    });
    runtime.as_ref().map_err(|error| Error::io("runtime", io::Error::from(error.kind())))
}

/// A place in a store.
pub(in crate::io) struct Target {
    address: String,
    store: Arc<dyn ObjectStore>,
    path: Path,
}

impl Target {
    /// Reads an address and, from the environment, how its store is reached.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub fn new(address: &str) -> Result<Target> {
        let bad = |reason: String| Error::format(address, reason);
        let url = Url::parse(address).map_err(|error| bad(error.to_string()))?;
        if url.query().is_some() || url.fragment().is_some() {
            let pipe = "the bytes through a pipe, as of `curl -sfL`";
            return Err(bad(format!("expected an address without `?` and `#`, or {pipe}")));
        }
        let path = Path::from_url_path(url.path()).map_err(|error| bad(error.to_string()))?;
        if path.parts().next().is_none() || address.ends_with('/') {
            return Err(bad("expected an object, found a bucket or a folder".into()));
        }
        runtime()?;
        let store: object_store::Result<Arc<dyn ObjectStore>> = match url.scheme() {
            "s3" => {
                let builder = AmazonS3Builder::from_env().with_url(address);
                let builder = builder.with_config(AmazonS3ConfigKey::Client(Timeout), WHOLE);
                let builder = builder.with_config(AmazonS3ConfigKey::Client(ReadTimeout), SILENCE);
                builder.build().map(|s| Arc::new(s) as _)
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(address);
                let builder = builder.with_config(GoogleConfigKey::Client(Timeout), WHOLE);
                let builder = builder.with_config(GoogleConfigKey::Client(ReadTimeout), SILENCE);
                builder.build().map(|s| Arc::new(s) as _)
            }
            _ => {
                let options = ClientOptions::new().with_allow_http(url.scheme() == "http");
                let options = options.with_config(Timeout, WHOLE).with_config(ReadTimeout, SILENCE);
                let host = url.origin().ascii_serialization();
                let builder = HttpBuilder::new().with_url(host).with_client_options(options);
                builder.build().map(|s| Arc::new(s) as _)
            }
        };
        let store = store.map_err(|error| failed(address, &error))?;
        Ok(Target { address: address.to_owned(), store, path })
    }

    /// Sends a file from its beginning: atomically to `s3://` and `gs://`. What an interrupted PUT leaves
    /// is up to an `http(s)://` server.
    ///
    /// # Errors
    /// [`Error::Format`] with the store's answer; [`Error::Io`] of the file.
    pub fn send(&self, mut file: File) -> Result<()> {
        let fail = |source| Error::io(&self.address, source);
        let bytes = file.metadata().map_err(fail)?.len();
        file.rewind().map_err(fail)?;
        let knows_parts = !self.address.starts_with("http");
        if bytes <= PART_BYTES || !knows_parts {
            // mapped, so that a large one is not in memory
            let all = Bytes::from_owner(crate::io::mapped(&file).map_err(fail)?);
            let sent = runtime()?.block_on(self.store.put(&self.path, PutPayload::from(all)));
            return sent.map(drop).map_err(|error| failed(&self.address, &error));
        }
        let part = PART_BYTES.max(bytes.div_ceil(PARTS));
        runtime()?.block_on(async {
            let begun = self.store.put_multipart(&self.path).await;
            let mut upload = begun.map_err(|error| failed(&self.address, &error))?;
            send_parts(&self.address, upload.as_mut(), &mut file, part).await
        })
    }
}

/// Sends a file in parts of so many bytes and joins them at the end; aborts the upload on any failure.
async fn send_parts(
    address: &str,
    upload: &mut dyn MultipartUpload,
    file: &mut (impl Read + Send),
    part: u64,
) -> Result<()> {
    let sent = async {
        loop {
            let mut bytes = Vec::new();
            let read = file.take(part).read_to_end(&mut bytes);
            if read.map_err(|source| Error::io(address, source))? == 0 {
                break;
            }
            let put = upload.put_part(PutPayload::from(bytes)).await;
            put.map_err(|error| failed(address, &error))?;
        }
        upload.complete().await.map(drop).map_err(|error| failed(address, &error))
    };
    let sent = sent.await;
    if sent.is_err() {
        // an error of aborting matters less than the first error
        let _ = upload.abort().await;
    }
    sent
}

/// Opens an object for reading.
///
/// # Errors
/// [`Error::Format`] with what the store answered.
pub(in crate::io) fn open(address: &str) -> Result<Object> {
    let target = Target::new(address)?;
    let found = runtime()?.block_on(target.store.get(&target.path));
    let found = found.map_err(|error| failed(address, &error))?;
    let bytes = found.meta.size;
    let body = Body { stream: found.into_stream(), rest: Bytes::new() };
    Ok(Object { bytes, body: Box::new(body) })
}

/// The first bytes of an object, `count` or as many as it has.
///
/// A store that gives no part of an object is asked for the whole and left after the first bytes.
///
/// # Errors
/// [`Error::Format`] with what the store answered; [`Error::Io`].
pub(in crate::io) fn head(address: &str, count: u64) -> Result<Vec<u8>> {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    let target = Target::new(address)?;
    match runtime()?.block_on(target.store.get_range(&target.path, 0..count)) {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(error @ (NotFound { .. } | PermissionDenied { .. } | Unauthenticated { .. })) => {
            Err(failed(address, &error))
        }
        Err(_) => {
            let mut bytes = Vec::new();
            let read = open(address)?.body.take(count).read_to_end(&mut bytes);
            read.map(|_| bytes).map_err(|source| Error::io(address, source))
        }
    }
}

type Chunks = Pin<Box<dyn Stream<Item = object_store::Result<Bytes>> + Send>>;

/// The bytes of an object as they come.
struct Body {
    stream: Chunks,
    rest: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let runtime = runtime().map_err(io::Error::other)?;
            match runtime.block_on(self.stream.next()) {
                None => return Ok(0),
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Err(io::Error::other(said(&error))),
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

/// The error of a store, with its cause.
fn said(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

fn failed(address: &str, error: &object_store::Error) -> Error {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    let reason = match error {
        NotFound { .. } => "no such object".to_owned(),
        PermissionDenied { .. } | Unauthenticated { .. } => format!(
            "no access; credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, \
             AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT, or GOOGLE_APPLICATION_CREDENTIALS): {}",
            said(error)
        ),
        _ => said(error),
    };
    Error::format(address, reason)
}

#[cfg(test)]
mod tests {
    use object_store::{PutResult, UploadPart, memory::InMemory};

    use super::*;

    fn target(store: &Arc<InMemory>) -> Target {
        let store = Arc::clone(store) as _;
        Target { address: "s3://bucket/a".into(), store, path: Path::from("a") }
    }

    #[test]
    fn parts_become_one_object() {
        let store = Arc::new(InMemory::new());
        let bytes: Vec<u8> = (0..1000u32).flat_map(u32::to_le_bytes).collect();
        let read = |store: &InMemory| {
            runtime().unwrap().block_on(async {
                store.get(&Path::from("a")).await.unwrap().bytes().await.unwrap()
            })
        };
        for part in [1, 999, 4000, 5000] {
            runtime().unwrap().block_on(async {
                let mut upload = store.put_multipart(&Path::from("a")).await.unwrap();
                send_parts("a", upload.as_mut(), &mut &bytes[..], part).await.unwrap();
            });
            assert!(read(&store) == bytes, "{part}");
        }
        // the way of the program
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &bytes[..8]).unwrap();
        target(&store).send(file).unwrap();
        assert_eq!(read(&store), bytes[..8]);
    }

    /// Takes a number of parts, then fails.
    #[derive(Debug, Default)]
    struct Failing {
        takes: usize,
        parts: usize,
        is_aborted: bool,
    }

    type Answer<'a, T> = Pin<Box<dyn Future<Output = object_store::Result<T>> + Send + 'a>>;

    impl MultipartUpload for Failing {
        fn put_part(&mut self, _: PutPayload) -> UploadPart {
            self.parts += 1;
            let fails = self.parts > self.takes;
            Box::pin(async move { if fails { Err(gone()) } else { Ok(()) } })
        }

        fn complete<'a, 'b>(&'a mut self) -> Answer<'b, PutResult>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(gone()) })
        }

        fn abort<'a, 'b>(&'a mut self) -> Answer<'b, ()>
        where
            'a: 'b,
            Self: 'b,
        {
            self.is_aborted = true;
            Box::pin(async { Ok(()) })
        }
    }

    fn gone() -> object_store::Error {
        object_store::Error::NotFound { path: "a".into(), source: "gone".into() }
    }

    #[test]
    fn what_fails_is_thrown_away() {
        for takes in [0, 1, 5] {
            let mut upload = Failing { takes, ..Failing::default() };
            let mut bytes: &[u8] = &[7; 4];
            let sent = send_parts("s3://b/a", &mut upload, &mut bytes, 1);
            let error = runtime().unwrap().block_on(sent).unwrap_err().to_string();
            assert!(error.starts_with("s3://b/a: "), "{error}");
            assert!(upload.is_aborted);
            assert_eq!(upload.parts, 4.min(takes + 1));
        }
    }

    #[test]
    fn addresses_that_are_no_objects_are_refused() {
        for (address, message) in [
            ("s3://bucket", "expected an object"),
            ("s3://bucket/", "expected an object"),
            ("s3://bucket/folder/", "expected an object"),
            ("https://host/a?sig=1", "without `?`"),
            ("https://", "https://: "),
        ] {
            let error = Target::new(address).err().unwrap().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
