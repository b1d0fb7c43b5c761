#![doc = include_str!("../README.md")]

pub mod checkpoint;
pub mod error;
pub mod features;
pub mod gradients;
pub mod objective;
pub mod personal;
pub mod run;

pub use error::{Error, Result};
