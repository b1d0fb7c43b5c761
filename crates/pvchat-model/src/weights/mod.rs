//! Whole models in files, under the names of the public checkpoints.
//!
//! - [`checkpoint`]: a model in a folder, in one file or in several with an index
//! - [`names`]: the table of the public checkpoints' names

pub mod checkpoint;
pub mod names;
