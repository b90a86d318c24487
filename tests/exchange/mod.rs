//! Forms of other engines.

pub mod broken;
pub mod engines;
pub mod forms;
