//! The rendered miniature world, and the base model trained on it.

pub mod base;
pub mod corpus;
pub mod embedded;
pub mod exam;
pub mod pretrain;
pub mod tokenizer;
pub mod words;
pub mod world;
