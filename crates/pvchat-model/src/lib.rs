#![doc = include_str!("../README.md")]

pub mod adaptation;
pub mod answer;
pub mod bridge;
pub mod checkpoint;
pub mod compare;
pub mod error;
pub mod families;
pub mod llama;
mod module_enum;
pub mod parameters;
pub mod personal;
pub mod preprocess;
pub mod prompt;
pub mod qformer;
pub mod sight;
pub mod subject;
mod trains;
pub mod vilm;
pub mod vision;

pub use error::{Error, Result};
