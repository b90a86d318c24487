#![doc = include_str!("../../ARCHITECTURE.md")]

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "model")]
pub mod device;
#[cfg(feature = "model")]
pub mod encode;
pub mod error;
pub mod eval;
pub mod formats;
pub mod index;
pub mod io;
pub mod model;
#[cfg(feature = "model")]
pub mod ops;
pub mod search;
pub mod sparse;
pub mod text;
#[cfg(feature = "model")]
pub mod train;

pub use error::{Error, Result};
