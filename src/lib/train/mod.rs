//! Examples and a base model in, a trained model out.
//!
//! `recipe` and its `stage`s describe the run, `source` draws examples, `batch` turns them into tokens,
//! `objective` computes a loss of their weights, `masked` one of hidden word pieces, `adamw` updates the
//! variables, `trainer` runs the steps, `record` logs, `state` keeps what a run is resumed from, and `save`
//! writes the directory that other programs load. `evaluate` measures during the run, `check` examines data
//! before it, `mine` finds hard negatives, `export` writes a trained model as a directory to ship, and
//! `score` asks `teacher`s about examples.

pub mod adamw;
pub mod batch;
pub mod change;
pub mod check;
pub mod distill;
pub mod evaluate;
pub mod export;
pub mod from_dense;
pub mod loss;
pub mod masked;
pub mod mine;
mod numbers;
pub mod objective;
mod parts;
pub mod recipe;
pub mod record;
pub mod save;
pub mod score;
pub mod source;
pub mod stage;
pub mod state;
pub mod teacher;
mod tensors;
pub mod trainer;
