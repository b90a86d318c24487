//! Examples and a base model in, a trained model out.
//!
//! `recipe` and its `stage`s say what is to happen, `source` draws examples, `batch` makes tokens of them,
//! `objective` a loss of their weights, `adamw` moves the variables, `trainer` drives, `record`
//! tells, `state` keeps what a run is resumed from and `save` writes the directory that other
//! programs load. `check` looks at data before an hour is spent, `mine` finds hard negatives.

pub mod adamw;
pub mod batch;
mod change;
pub mod check;
pub mod loss;
pub mod mine;
pub mod objective;
mod parts;
pub mod recipe;
pub mod record;
pub mod save;
pub mod source;
pub mod stage;
pub mod state;
mod tensors;
pub mod trainer;
