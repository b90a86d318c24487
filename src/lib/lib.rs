#![doc = include_str!("../../ARCHITECTURE.md")]

pub mod cli;
pub mod device;
pub mod encode;
pub mod error;
pub mod eval;
pub mod formats;
pub mod index;
pub mod io;
pub mod model;
pub mod ops;
pub mod search;
pub mod sparse;
pub mod text;
pub mod train;

pub use error::{Error, Result};
