//! Vision encoders behind one trait.

pub mod miniature;
