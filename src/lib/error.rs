//! The one error of the library: it names the thing, the place, what was expected and what was found.
//!
//! Messages are lower case and name the remedy if there is one. Exit codes belong to `cli`; the variants
//! here are what they need.

use std::{
    cell::Cell,
    io,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

/// Everything that can go wrong on data, files, artefacts or devices.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed; `path` is the file's name, or `<stdin>`, `<stdout>`.
    #[error("{path}: {source}")]
    Io {
        /// The file as the user named it.
        path: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// One record of a text input is bad: `FILE:LINE: expected …, found …`.
    #[error("{file}:{line}: expected {wanted}, found {found}")]
    Line {
        /// The file as the user named it.
        file: String,
        /// Line (or row) number from 1.
        line: u64,
        /// What would have been right.
        wanted: String,
        /// What was found.
        found: String,
        /// The record itself, if the reader still had it.
        record: Vec<u8>,
    },
    /// A file as a whole is not what it should be.
    #[error("{path}: {reason}")]
    Format {
        /// The file as the user named it.
        path: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Two files do not match.
    #[error("{what}: expected {expected}, found {got}; {remedy}")]
    Mismatch {
        /// Which property of which artefacts.
        what: String,
        /// The value of the artefact that sets the rule.
        expected: String,
        /// The value of the one that breaks it.
        got: String,
        /// What to do.
        remedy: String,
    },
    /// A request that makes no sense whatever the data are: the caller's fault.
    #[error("{0}")]
    Usage(String),
    /// The parts of l0 do not keep what they promise each other; no input and no request is to blame.
    #[error("{0}; this is a fault of l0 itself, please report it with the command that led to it")]
    Internal(String),
    /// A measure lies below the floor that the user set.
    #[error("{0}")]
    Floor(String),
    /// A weight that is not finite and above zero.
    #[error("expected a finite weight above 0, found {weight} for term {term}")]
    Weight {
        /// The term that has it.
        term: u32,
        /// The offending value.
        weight: f32,
    },
    /// Terms that do not strictly ascend.
    #[error("expected strictly ascending terms, found {next} after {previous}")]
    Order {
        /// The term before.
        previous: u32,
        /// The term that should have been larger.
        next: u32,
    },
    /// The tensor library failed; boxed, so that a build without it can name every error.
    #[error("compute: {0}")]
    Compute(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// `Result` with the library's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An input or output error at `path`.
    #[doc(hidden)]
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Error {
        Error::Io { path: path.as_ref().display().to_string(), source }
    }

    /// A bad record at `file:line`.
    #[doc(hidden)]
    pub fn line(
        file: &str,
        line: u64,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        let (wanted, found) = (wanted.into(), found.into());
        Error::Line { file: file.to_owned(), line, wanted, found, record: Vec::new() }
    }

    /// The same error with the record it concerns.
    #[doc(hidden)]
    pub fn with_record(mut self, bytes: &[u8]) -> Error {
        if let Error::Line { record, .. } = &mut self {
            *record = bytes.to_vec();
        }
        self
    }

    /// A file that is damaged as a whole.
    #[doc(hidden)]
    pub fn format(path: impl AsRef<Path>, reason: impl Into<String>) -> Error {
        Error::Format { path: path.as_ref().display().to_string(), reason: reason.into() }
    }

    /// Whether it came from a reader of the output that left early, which is not a failure.
    #[doc(hidden)]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether it concerns one record, so that reading may continue after it.
    pub fn is_record(&self) -> bool {
        matches!(self, Error::Line { .. })
    }
}

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// What `decode` returns, or none if it panics.
///
/// For crates that panic on damaged bytes; what `decode` worked on must not be used again. The panic
/// hook runs as for any panic; one that asks [`is_decoding`] can leave such panics out.
pub fn caught<T>(decode: impl FnOnce() -> T) -> Option<T> {
    let outer = DECODING.replace(true);
    let decoded = panic::catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(outer);
    decoded.ok()
}

/// Whether this thread is in [`caught`], so that a panic becomes an error that names the file.
pub fn is_decoding() -> bool {
    DECODING.get()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Panics that the hook of the test below has seen.
    static SEEN: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn a_panic_that_is_caught_passes_the_hook_of_the_program() {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match info.payload_as_str() {
            Some("damaged bytes") => {
                assert!(is_decoding());
                SEEN.fetch_add(1, Ordering::Relaxed);
            }
            _ => before(info),
        }));
        for count in 1..=2 {
            assert_eq!(caught(|| panic!("damaged bytes")), None::<()>);
            assert_eq!((SEEN.load(Ordering::Relaxed), is_decoding()), (count, false));
        }
        assert_eq!(caught(|| 7), Some(7));
    }
}
