//! Training the base model of the miniature world from scratch: first the encoder, then the bridge
//! and the language model on the frozen encoder's features.

pub mod answer;
pub mod answer_run;
pub mod clips;
pub mod encoder;
pub mod encoder_run;
pub mod encoder_task;
pub mod validation;

/// Time between checkpoints.
const CHECKPOINT_EVERY: std::time::Duration = std::time::Duration::from_secs(30);
