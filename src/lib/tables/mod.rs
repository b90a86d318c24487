//! Tables in files and pipes: Parquet, Arrow IPC and JSON lines, read as batches and written by rows.
//!
//! Records and rows of vectors are read and written with it; it knows neither.

pub mod arrow;
pub mod json;
pub mod sink;
mod stream;

pub use sink::Form;
pub use stream::Ending;
