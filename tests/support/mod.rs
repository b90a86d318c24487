//! What several tests share: a folder to run programs in, small indexes, models, and skips that are loud.

pub mod collection;
mod models;
mod need;
mod run;

pub use models::{TINY, headless};
pub use need::{Need, cuda, data, has_tool, model, python, skipped};
pub use run::{Run, Work, programs, run, start};
