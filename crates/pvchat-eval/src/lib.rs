#![doc = include_str!("../README.md")]

pub mod accuracy;
#[cfg(feature = "plots")]
pub mod bars;
pub mod bert_score;
pub mod bleu;
pub mod bootstrap;
pub mod controls;
pub mod curve;
pub mod error;
pub mod judge;
#[cfg(feature = "plots")]
pub mod plot;
pub mod presence;
pub mod table;

pub use error::{Error, Failure, Result};
