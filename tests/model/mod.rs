//! Models and their encoders, against PyTorch; the shipped model.

pub mod families;
pub mod families_programs;
pub mod golden;
pub mod layouts;
pub mod shipped;
pub mod vocabulary;
pub mod vocabulary_broken;
