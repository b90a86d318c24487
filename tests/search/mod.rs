//! Searching: fast = slow, and l0-query from outside.

pub mod equal;
pub mod programs;
