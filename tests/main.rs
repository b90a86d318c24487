//! The one integration crate: what holds across modules, and what the programs do from outside.

mod collection;
mod encode;
mod encode_broken;
mod eval_program;
mod floors;
mod formats;
mod golden;
mod index;
mod index_broken;
mod index_fuzz;
mod paper;
mod pipes;
mod programs_search;
mod readme;
mod recipes;
mod run;
mod search_equal;
mod train_broken;
mod train_data;
mod train_masked;
mod train_ops;
mod train_program;
mod train_run;
mod train_score;
mod train_step;
mod trec_eval;
