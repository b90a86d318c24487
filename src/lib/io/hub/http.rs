//! Requests to a hub: retries, timeouts, and what its refusals mean.

use std::{
    env,
    io::{self, Read},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use ureq::{Agent, http::Response};

use super::ENDPOINT;
use crate::error::{Error, Result};

/// Timeout for a connection, for the beginning of an answer, and between two pieces of it, unless
/// `HF_HUB_DOWNLOAD_TIMEOUT` is set.
const PATIENCE: Duration = Duration::from_secs(30);
/// Attempts without progress before giving up.
const ATTEMPTS: u32 = 5;
/// The pause before the second attempt; it grows with each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes of an answer read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// The largest small answer.
const LARGEST_ANSWER: u64 = 64 << 20;

/// Why there is no answer.
pub(super) enum Failed {
    /// Another attempt may succeed.
    Passing(String),
    /// Another attempt will fail as well.
    Final(Error),
}

/// A variable of the environment, if it is not empty.
fn variable(name: &str) -> Option<String> {
    let value = env::var(name).ok()?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Where downloads come from.
pub(super) fn endpoint() -> String {
    let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
    endpoint.trim_end_matches('/').to_owned()
}

/// The endpoint and the token.
pub(super) struct Hub {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    patience: Duration,
}

/// Attempts without progress, with the pauses between them.
#[derive(Default)]
pub(super) struct Tries(u32);

impl Tries {
    /// Resets the count after progress.
    pub fn forget(&mut self) {
        self.0 = 0;
    }

    /// Waits before another attempt.
    ///
    /// # Errors
    /// The number of attempts, if no more are left.
    pub fn pause(&mut self) -> Result<(), u32> {
        self.0 += 1;
        if self.0 == ATTEMPTS {
            return Err(ATTEMPTS);
        }
        thread::sleep(PAUSE * 2u32.pow(self.0 - 1));
        Ok(())
    }
}

/// The body of an answer, which times out if nothing comes for a while. Another thread reads it; a thread
/// that waits for a silent server is abandoned.
struct Body {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
    patience: Duration,
}

impl Body {
    fn new(mut reader: impl Read + Send + 'static, patience: Duration) -> Body {
        let (sender, pieces) = sync_channel(4);
        thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE_BYTES];
                let read = reader.read(&mut piece).map(|count| {
                    piece.truncate(count);
                    piece
                });
                let is_last = !matches!(&read, Ok(piece) if !piece.is_empty());
                // the receiver may be gone
                if sender.send(read).is_err() || is_last {
                    return;
                }
            }
        });
        Body { pieces, piece: io::Cursor::default(), patience }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        match self.pieces.recv_timeout(self.patience) {
            Ok(piece) => self.piece = io::Cursor::new(piece?),
            Err(RecvTimeoutError::Disconnected) => return Ok(0),
            Err(RecvTimeoutError::Timeout) => {
                let reason = format!("nothing came for {} s", self.patience.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
        }
        self.piece.read(buffer)
    }
}

impl Hub {
    /// From `HF_ENDPOINT` and `HF_TOKEN`. The token is sent only to the endpoint, not to where it
    /// redirects.
    pub fn from_environment() -> Hub {
        let patience = variable("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse().ok());
        let patience =
            patience.filter(|&seconds| seconds > 0).map_or(PATIENCE, Duration::from_secs);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .user_agent(concat!("l0/", env!("CARGO_PKG_VERSION")))
            .build();
        Hub { agent: config.into(), endpoint: endpoint(), token: variable("HF_TOKEN"), patience }
    }

    /// The address of a path on the hub.
    pub fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// A small answer as text, with retries.
    ///
    /// # Errors
    /// [`Error::Format`] naming the address and its answer.
    pub fn text(&self, url: &str, model: &str) -> Result<String> {
        let mut tries = Tries::default();
        loop {
            match self.whole(url, model) {
                Ok(text) => return Ok(text),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Passing(reason)) => tries.pause().map_err(|tries| {
                    Error::format(url, format!("{reason}, after {tries} tries; run it again later"))
                })?,
            }
        }
    }

    fn whole(&self, url: &str, model: &str) -> Result<String, Failed> {
        let (_, body) = self.open(url, 0, model)?;
        let mut text = String::new();
        let read = body.take(LARGEST_ANSWER).read_to_string(&mut text);
        read.map_err(|error| Failed::Passing(error.to_string()))?;
        Ok(text)
    }

    /// The bytes from `from` on, or from 0 if the server does not support ranges, and where they begin.
    pub fn open(
        &self,
        url: &str,
        from: u64,
        model: &str,
    ) -> Result<(u64, impl Read + use<>), Failed> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let answer = request.call().map_err(|error| Failed::Passing(error.to_string()))?;
        let begins = match answer.status().as_u16() {
            200 => 0,
            206 if begin(&answer) == Some(from) => from,
            206 => return Err(Failed::Passing("the server sent another range".into())),
            status => return Err(self.refused(url, status, model)),
        };
        Ok((begins, Body::new(answer.into_body().into_reader(), self.patience)))
    }

    fn refused(&self, url: &str, status: u16, model: &str) -> Failed {
        let reason = match status {
            401 | 403 => {
                let said = match self.token {
                    Some(_) => "the token in HF_TOKEN has no access to it",
                    None => {
                        "it is gated, private or not there: set HF_TOKEN to a token that may read it"
                    }
                };
                let page = self.address(model);
                format!(
                    "status {status}: {said}; the conditions of a gated model are accepted at {page}"
                )
            }
            404 => format!(
                "status 404: expected a model and a revision that are there, found `{model}`"
            ),
            429 => return Failed::Passing("status 429: it is asked too often".into()),
            416 | 500.. => return Failed::Passing(format!("status {status}")),
            _ => format!("status {status}"),
        };
        Failed::Final(Error::format(url, reason))
    }
}

/// Where the range of an answer begins.
fn begin<T>(answer: &Response<T>) -> Option<u64> {
    let range = answer.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
