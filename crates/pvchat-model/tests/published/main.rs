//! The published model: its names and shapes, and all of its parts at work at sizes that fit into a test.
#![cfg(feature = "flex")]

mod bad_folders;
mod compare;
mod decoder_subjects;
mod families;
mod hostile;
mod names;
mod pickled;
mod precision;
mod questions;
mod small;
mod smolvlm2;
mod tiny_smolvlm2;
