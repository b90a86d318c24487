//! The index: inverted lists of sparse vectors in one complete file, which is mapped, not read.
//!
//! Built in bounded memory by [`Builder`], opened by [`Index::open`]. It knows vectors and bytes;
//! queries are answered in `search`, and their texts become vectors in `text`.

mod bisect;
mod build;
mod builder;
mod calibration;
mod cells;
mod corpus;
mod docnos;
mod draft;
pub mod file;
mod kinship;
mod layout;
mod lists;
mod merge;
mod metadata;
mod order;
mod postings;
mod quantize;
mod runs;
mod stats;
mod texts;
mod verify;

pub use build::{Language, Plan, TableSource, append, build};
pub use builder::{Artefacts, BuildConfig, Builder, Step};
pub use calibration::{Calibration, Trial};
pub use cells::{Ids, Place, Run, Runs, Slots};
pub use corpus::reweighted;
pub use draft::Draft;
pub use file::Index;
pub use merge::merge;
pub use metadata::{Encoding, Metadata};
pub use order::{Gain, Order};
pub use postings::{BLOCK, Broken, DocId, FAR, Parts, PostingList, Read, WORD, blocks};
pub use quantize::{Impacts, Weights};
pub use stats::Stats;
pub use texts::StoredText;
