//! The file of an index: its sections, the bytes of its lists, and what is read and checked of them.
//!
//! `file` specifies the bytes. `build` writes them with what is in here, and nothing in here knows how an
//! index is made.

pub(super) mod calibration;
mod cells;
mod compat;
pub(super) mod docnos;
pub(super) mod file;
pub(super) mod layout;
pub(super) mod lists;
pub(super) mod metadata;
pub(super) mod postings;
pub(super) mod quantize;
mod stats;
pub(super) mod texts;
mod verify;

pub use calibration::{Calibration, Trial};
pub use cells::{Ids, Place, Run, Runs, Slots};
pub use file::Index;
pub use metadata::{Encoding, Gain, Metadata};
pub use postings::{BLOCK, Broken, DocId, FAR, Parts, PostingList, Read, WORD, blocks};
pub use quantize::{Impacts, Weights};
pub use stats::Stats;
pub use texts::StoredText;
