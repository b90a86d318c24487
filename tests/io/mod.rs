//! Models by their names on a hub, and objects in stores.

pub mod hub;
pub mod process;
pub mod stores;
