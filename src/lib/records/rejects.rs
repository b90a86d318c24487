//! What happens to refused records: an error that stops the work, or a line in a file of rejects.

use std::{io::Write, path::Path, str::FromStr};

use serde_json::json;

use crate::{
    error::{Error, Result},
    io::Output,
};

/// The effect of a bad record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It ends the work; no output is written.
    Stop,
    /// It is counted, written to the rejects if there is a file for them, and left out.
    Skip,
}

impl FromStr for OnError {
    type Err = Error;

    fn from_str(text: &str) -> Result<OnError> {
        match text {
            "stop" => Ok(OnError::Stop),
            "skip" => Ok(OnError::Skip),
            _ => Err(Error::Usage(format!("expected stop or skip, found `{text}`"))),
        }
    }
}

/// Longest part of a refused record that is kept in the rejects, in bytes.
const KEPT_BYTES: usize = 1 << 20;

/// The receiver of refused records.
pub struct Rejects {
    policy: OnError,
    output: Option<Output>,
    count: u64,
}

impl Rejects {
    /// With a file for the refused records, or without.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be made.
    pub fn open(policy: OnError, file: Option<&Path>) -> Result<Rejects> {
        let output = file.map(Output::create).transpose()?;
        Ok(Rejects { policy, output, count: 0 })
    }

    /// Stops at the first bad record.
    pub fn stop() -> Rejects {
        Rejects { policy: OnError::Stop, output: None, count: 0 }
    }

    /// Takes the error of one record, with the record as read (or empty, if the error has it).
    ///
    /// # Errors
    /// The error itself if the policy is to stop or if it does not concern a record alone;
    /// [`Error::Io`] if the rejects cannot be written.
    pub fn take(&mut self, error: Error, record: &[u8]) -> Result<()> {
        if self.policy == OnError::Stop || !error.is_record() {
            return Err(error);
        }
        self.count += 1;
        if let Some(output) = &mut self.output {
            let record = match &error {
                Error::Line { record: own, .. } if record.is_empty() => own.as_slice(),
                _ => record,
            };
            let kept = &record[..record.len().min(KEPT_BYTES)];
            let text = String::from_utf8_lossy(kept);
            let text = text.trim_end_matches(['\r', '\n']);
            let line = json!({"reason": error.to_string(), "record": text});
            writeln!(output, "{line}").map_err(|source| Error::io(output.name(), source))?;
        }
        Ok(())
    }

    /// How many were refused so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Checks that some records were accepted, before an output is put in place.
    ///
    /// # Errors
    /// [`Error::Format`] if every record was refused.
    pub fn check(&self, accepted: u64) -> Result<()> {
        if accepted > 0 || self.count == 0 {
            return Ok(());
        }
        let reason = format!("all {} records were refused; no output was written", self.count);
        Err(Error::format("input", reason))
    }

    /// Writes what is still in memory, so that a full disk is found before the output is put in place.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        let Some(output) = &mut self.output else { return Ok(()) };
        output.flush().map_err(|source| Error::io(output.name(), source))
    }

    /// Puts the file of refused records in place.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        self.output.map_or(Ok(()), Output::commit)
    }
}
