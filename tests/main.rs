//! The one integration crate: what holds across modules, and what the programs do from outside.

mod eval_program;
mod floors;
mod formats;
mod golden;
mod train_ops;
mod train_program;
mod train_run;
mod train_step;
mod trec_eval;
