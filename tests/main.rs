//! The one integration crate: what holds across modules, and what the programs do from outside.

mod floors;
mod formats;
