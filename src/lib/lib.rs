#![doc = include_str!("../../ARCHITECTURE.md")]

pub mod cli;
pub mod encode;
pub mod error;
pub mod eval;
pub mod formats;
pub mod index;
pub mod io;
pub mod model;
pub mod search;
pub mod sparse;
pub mod text;

pub use error::{Error, Result};
