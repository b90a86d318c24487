//! The library as a program uses it: encode, index, search, evaluate, train.
//!
//! Each type here is a thin layer over the other modules, with the bytes and scores of the command-line
//! programs. Nothing here prints, reads standard input or changes the process.

#[cfg(feature = "model")]
mod document;
mod eval;
#[cfg(feature = "model")]
mod model;
mod records;
mod search;
#[cfg(feature = "model")]
mod train;
mod vectors;
#[cfg(feature = "model")]
mod writer;

use std::path::{Path, PathBuf};

#[cfg(feature = "model")]
pub use document::EncodedDocument;
pub use eval::{Qrels, Run, evaluate};
#[cfg(feature = "model")]
pub use model::Model;
pub use records::{RecordReader, read_records};
pub use search::{Hit, Searcher, TermScore};
#[cfg(feature = "model")]
pub use train::train;
#[cfg(feature = "model")]
pub use vectors::VectorWriter;
pub use vectors::{VectorReader, read_vectors};
#[cfg(feature = "model")]
pub use writer::{IndexOptions, IndexWriter};

/// A path of the file system: `-` is a file of that name here, not standard input or output.
fn file(path: &Path) -> PathBuf {
    if path == Path::new("-") { Path::new(".").join(path) } else { path.to_owned() }
}
