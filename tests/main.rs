//! The one integration crate: what holds across modules, and what the programs do from outside.

mod collection;
mod floors;
mod formats;
mod golden;
mod index;
mod index_broken;
mod search_equal;
