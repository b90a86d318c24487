//! The one integration crate: what holds across modules, and what the programs do from outside. Its rooms are
//! those of the library; `compat` reads files of older versions, `docs` holds pages to what they say.

mod cli;
mod compat;
mod docs;
mod encode;
mod eval;
mod exchange;
mod facade;
mod index;
mod io;
mod model;
mod records;
mod search;
mod support;
mod train;
mod vectors;
