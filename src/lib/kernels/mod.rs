//! Kernels for processors, on slices: packed products, the int8 filter of the vocabulary head, activations.
//!
//! `slices` has the arithmetic that operators and encoders share, `gradients` its backward passes, `packed`
//! products with weights that are packed once, and `screen` the filter. Nothing here knows of tensors.

pub(crate) mod gradients;
pub(crate) mod packed;
pub(crate) mod screen;
pub(crate) mod slices;
