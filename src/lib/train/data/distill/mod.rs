//! Distillation without labels: a pool of passages and short texts, and a teacher that is a sentence
//! encoder with a share of BM25.
//!
//! `pool` holds the texts, `teacher` scores them, `draw` chooses what meets in a step, `run::distill` is
//! the loss. Every document of a step meets every query of the step, so that one pass through the network is
//! judged by hundreds of queries, which cost a table look-up. Source: `docs/method.md`, "Distillation".

mod draw;
mod pool;
mod teacher;

pub(in crate::train) use draw::{DistillBatch, Neighbourhood};
pub(in crate::train) use pool::Pool;
pub(in crate::train) use teacher::{Hybrid, pooled_states};
