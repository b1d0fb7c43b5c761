//! The Mistral-style language model: forward pass, LoRA, key-value cache, loss and generation.
//!
//! [`Mistral`] maps embeddings to hidden states and hidden states to logits. Everything that is
//! personal comes in from outside: [`LoraAdapter`]s are attached to and taken from the linear
//! layers, and the rows of a subject's token are handed to [`Mistral::embed_with`] and
//! [`Mistral::logits`] for that call only, so that one frozen model serves every subject.
//!
//! - [`config`], [`mistral`]: the configuration and the model; [`attention`], [`rope`]: its parts
//! - [`lora`]: low-rank adapters as a side path
//! - [`routed`]: routed heads that re-weight what text reads from a clip
//! - [`personal_rows`]: the rows of a subject's tokens
//! - [`cache`]: keys and values of the tokens already seen
//! - [`packed`]: the decoder with weights of two, one or half a byte
//! - [`packing`]: masks and positions for many questions behind one visual prefix
//! - [`loss`]: next-token cross entropy of the labelled positions only
//! - [`sampling`], [`mod@generate`], [`beams`]: from logits to an answer

pub mod attention;
pub mod beams;
pub mod cache;
pub mod config;
mod decoder;
pub mod generate;
pub mod lora;
pub mod loss;
pub mod mistral;
pub mod packed;
pub mod packing;
pub mod personal_rows;
pub mod rope;
pub mod routed;
pub mod sampling;

pub use attention::SelfAttention;
pub use cache::KeyValueCache;
pub use config::MistralConfig;
pub use generate::{FinishReason, Generated, GenerationOptions, Prompt, Strategy, generate, generate_batch};
pub use lora::{LoraAdapter, LoraConfig, LoraLinear};
pub use loss::{Labels, next_token_loss};
pub use mistral::{Mistral, MistralLayer, MistralMlp};
pub use packed::PackedDecoder;
pub use packing::Packing;
pub use personal_rows::PersonalRows;
pub use routed::{HeadRouter, RoutedHeadsConfig, RoutedOutput, TokenKind};
pub use sampling::Filters;

#[cfg(all(test, feature = "flex"))]
mod tests;
