//! The one integration crate: what holds across modules, and what the programs do from outside.

mod encode;
mod encode_broken;
mod floors;
mod formats;
mod golden;
mod run;
