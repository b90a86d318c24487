//! A run: `trainer` runs the steps, `objective` and `distill` compute a loss of weights, `adamw` updates the
//! variables, `parts` are those in addition to the encoder, `record` logs, `state` keeps what a run is
//! resumed from, `evaluate` measures during the run, and `save` writes the directory that other programs
//! load.

pub mod adamw;
mod distill;
pub mod evaluate;
pub mod loss;
pub mod objective;
mod parts;
pub mod record;
pub mod save;
pub mod state;
pub mod trainer;
