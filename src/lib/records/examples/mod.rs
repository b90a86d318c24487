//! Training examples: a query and documents, some of them known to be good, with or without a
//! teacher's scores. JSON lines, or tables (Parquet, Arrow) whose columns are the keys.
//!
//! | form | keys |
//! |---|---|
//! | positive and negatives | `query`, `pos` (one or a list), `negs`; `scores` for pos then negs |
//! | distillation | `query`, `docs`, `scores`; `positives`, if the first so many docs are known to be good |
//! | Sentence Transformers | `anchor` or `query`, `positive`, `negative` or `negative_1` …; `label`, `score` or `scores` |
//! | by place | columns of other names: the anchor, the positive, then negatives; labels by name |
//! | Tevatron | `query`, `positive_passages`, `negative_passages` of `{"title", "text"}` |
//! | hard negatives by id | `qid`, `pos`, `neg: {system: [pid, or {"pid", "ce-score"}]}` |
//!
//! Where a source has a folder of texts, the strings of the first three forms are ids as well. `record`
//! and `form` read one record, `read` a file of them; `write` is what `l0-train score` leaves, `scores` the file of
//! scores that goes with hard negatives by id.

mod fields;
mod form;
mod read;
mod record;
mod scores;
mod write;

pub use fields::Positional;
pub use form::Example;
pub use read::ExampleReader;
pub use record::{Parsed, Place, RawExample};
pub use scores::ScoreFile;
pub use write::ExampleWriter;
