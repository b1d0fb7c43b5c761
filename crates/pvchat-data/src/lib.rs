//! The dataset of personalised video chat: schema, validation, splits, seeded random streams.
//!
//! This crate knows nothing of tensors or models. [`random::SeededStream`] is the one source of
//! randomness of the whole project.

pub mod random;
