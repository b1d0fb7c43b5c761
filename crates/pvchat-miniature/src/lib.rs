#![doc = include_str!("../README.md")]

pub mod base;
pub mod corpus;
pub mod embedded;
pub mod exam;
pub mod footage;
pub mod level;
pub mod pretrain;
mod supervision;
pub mod tokenizer;
pub mod words;
pub mod world;
