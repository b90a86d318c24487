//! What a run learns from: `source` reads examples, `mixture` draws them, `batch` turns them into tokens,
//! `masked` hides word pieces, `distill` has texts without labels, and `teacher`s score.

pub mod batch;
pub mod distill;
pub mod masked;
pub mod mixture;
pub mod random;
pub mod source;
pub mod teacher;
pub mod texts;
