//! The whole video language model.
