//! What is done before and after runs: `check` examines data, `mine` finds hard negatives, `score` asks
//! teachers about examples, `export` writes a trained model as a directory to ship, and `from_dense` makes
//! a model of a sentence encoder.

pub mod check;
pub mod export;
pub mod from_dense;
pub mod mine;
pub mod score;
