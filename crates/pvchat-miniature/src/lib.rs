//! The rendered miniature world, and the base model trained on it.

pub mod pretrain;
pub mod world;
