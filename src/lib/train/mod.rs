//! Examples and a base model in, a trained model out.

pub mod loss;
