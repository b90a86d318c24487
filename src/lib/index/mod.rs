//! The index: inverted lists of sparse vectors in one complete file, which is mapped, not read.
//!
//! Built in bounded memory by [`Builder`], opened by [`Index::open`]. It knows vectors and bytes;
//! queries are answered in `search`, and their texts become vectors in `text`.

mod build;
mod format;

pub use build::{
    Artefacts, BuildConfig, Builder, Draft, Order, Plan, QuerySide, Step, TableSource, append,
    build, merge, reweighted,
};
pub use format::{
    BLOCK, Broken, Calibration, DocId, Encoding, FAR, Gain, Ids, Impacts, Index, Metadata, Parts,
    Place, PostingList, Read, Run, Runs, Slots, Stats, StoredText, Trial, WORD, Weights, blocks,
};
