//! Examples and a base model in, a trained model out.
//!
//! `recipe` describes a run, `data` reads and draws what it learns from, `run` computes its steps and keeps
//! its state, and `tools` are the other commands of the program: they examine data, find hard negatives,
//! score examples, and write models. `tensors` writes named tensors for all of them.

pub mod data;
pub mod recipe;
pub mod run;
mod tensors;
pub mod tools;
