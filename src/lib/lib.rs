//! Inference-free learned sparse retrieval: a transformer encodes documents as sparse vectors over its
//! vocabulary, queries are looked up in a table, and one index file answers them exactly.
//!
//! ```
//! # struct Doc { id: &'static str, text: &'static str }
//! # let docs = [
//! #     Doc { id: "tides", text: "The gravity of the moon makes the tides of the sea work." },
//! #     Doc { id: "bread", text: "Flour, water and salt make a loaf." },
//! # ];
//! # let folder = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&folder).unwrap();
//! let model = l0::Model::shipped()?;                        // or Model::open("path or org/name")
//! let mut index = l0::IndexWriter::create("corpus.l0x", &model)?;
//! for doc in docs { index.add(doc.id, &model.encode(doc.text)?)?; }
//! index.finish()?;
//! for hit in l0::Searcher::open("corpus.l0x")?.search("how do tides work", 10)? {
//!     println!("{}\t{:.4}", hit.id, hit.score);
//! }
//! # assert_eq!(l0::Searcher::open("corpus.l0x")?.search("how do tides work", 10)?[0].id, "tides");
//! # Ok::<(), l0::Error>(())
//! ```
//!
//! | to | use |
//! |---|---|
//! | read a corpus or queries | [`read_records`] |
//! | turn texts into vectors | [`Model`] |
//! | write an index | [`IndexWriter`] |
//! | answer queries | [`Searcher`] |
//! | keep vectors in files | [`VectorWriter`], [`read_vectors`] |
//! | measure rankings | [`evaluate`] |
//! | train a model | [`train()`] |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `model` | yes | networks: [`Model`], [`IndexWriter`], [`VectorWriter`], [`train()`] |
//! | `cli` | yes | what the programs need; a library user can leave it out |
//! | `cuda` | no | encoding and training on CUDA devices, in the programs |
//! | `hub` | no | models by their names on the hub |
//! | `stores` | no | paths on `s3://`, `gs://` and `https://` |
//!
//! With `default-features = false` the crate opens indexes and answers queries, and links no tensor library.
//!
//! # Process state
//!
//! No call prints, reads standard input, sets a panic hook or sizes a thread pool: parallel work uses the
//! current [rayon](https://docs.rs/rayon) pool. Files are written next to their target and renamed when they
//! are complete. A decoder that panics on a damaged file becomes an error; the panic hook of the program runs
//! as for any panic.

#[cfg(feature = "cli")]
pub(crate) mod cli;
#[cfg(feature = "model")]
pub(crate) mod device;
#[cfg(feature = "model")]
pub(crate) mod encode;
pub(crate) mod error;
pub(crate) mod eval;
pub(crate) mod exchange;
mod facade;
pub(crate) mod index;
pub(crate) mod io;
#[cfg(feature = "model")]
pub(crate) mod kernels;
pub(crate) mod layout;
pub(crate) mod model;
#[cfg(feature = "model")]
pub(crate) mod nn;
pub(crate) mod records;
pub(crate) mod search;
pub(crate) mod sparse;
pub(crate) mod tables;
pub(crate) mod text;
#[cfg(feature = "model")]
pub(crate) mod train;
pub(crate) mod vectors;

pub use error::{Error, Result};
pub use facade::*;
pub use index::{DocId, Order as DocumentOrder, StoredText, Weights as IndexWeights};
pub use records::Document as Record;
pub use search::{Method, Recall};
pub use sparse::{SparseVector, TermId};
pub use vectors::Row as VectorRow;

/// The rooms of the library, for the programs, benches and tests of this repository. Nothing in here is
/// kept stable.
#[doc(hidden)]
pub mod internal {
    macro_rules! rooms {
        ($($(#[$gate:meta])* $room:ident),* $(,)?) => {
            $($(#[$gate])* pub mod $room { pub use crate::$room::*; })*
        };
    }

    rooms! {
        #[cfg(feature = "cli")] cli,
        #[cfg(feature = "model")] device,
        #[cfg(feature = "model")] encode,
        error,
        eval,
        exchange,
        index,
        io,
        layout,
        model,
        #[cfg(feature = "model")] nn,
        records,
        search,
        sparse,
        text,
        #[cfg(feature = "model")] train,
        vectors,
    }

    pub use crate::error::{Error, Result};
}
