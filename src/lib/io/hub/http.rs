//! Requests to a hub, with what its refusals mean.

use std::{env, io::Read, time::Duration};

use ureq::{Agent, http::Response};

use super::ENDPOINT;
use crate::error::{Error, Result};

/// To make a connection, and to see the first of an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A small answer is not larger.
const LARGEST_ANSWER: u64 = 64 << 20;

/// Why there is no answer.
pub(super) enum Failed {
    /// It may come if it is asked for again.
    Passing(String),
    /// It will not.
    Final(Error),
}

/// Whom to ask, and as whom.
pub(super) struct Hub {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

impl Hub {
    /// As `HF_ENDPOINT` and `HF_TOKEN` say. The token goes to the endpoint alone, not to where it
    /// redirects.
    pub fn from_environment() -> Hub {
        let of = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let endpoint = of("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .user_agent(concat!("l0/", env!("CARGO_PKG_VERSION")))
            .build();
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        Hub {
            agent: config.into(),
            endpoint,
            token: of("HF_TOKEN").map(|token| token.trim().to_owned()),
        }
    }

    /// The address of something of the hub's.
    pub fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// A small answer as text.
    pub fn text(&self, url: &str, model: &str) -> Result<String> {
        let (_, body) = self.open(url, 0, model).map_err(|failed| match failed {
            Failed::Final(error) => error,
            Failed::Passing(reason) => Error::format(url, reason),
        })?;
        let mut text = String::new();
        let read = body.take(LARGEST_ANSWER).read_to_string(&mut text);
        read.map_err(|source| Error::io(url, source))?;
        Ok(text)
    }

    /// The bytes from `from` on, or from 0 if the server knows no ranges; with where they begin.
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
        Ok((begins, answer.into_body().into_reader()))
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
            404 => format!("status 404: want a model and a revision that are there, got `{model}`"),
            416 | 429 | 500.. => return Failed::Passing(format!("status {status}")),
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
