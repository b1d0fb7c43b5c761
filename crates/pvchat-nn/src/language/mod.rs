//! The language model, a decoder of the Mistral and Llama kind: forward pass, LoRA, key-value cache, loss and generation.
//!
//! [`Decoder`] maps embeddings to hidden states and hidden states to logits. Everything that is
//! personal comes in from outside: [`LoraAdapter`]s are attached to and taken from the linear
//! layers, and the rows of a subject's token are handed to [`Decoder::embed_with`] and
//! [`Decoder::logits`] for that call only, so that one frozen model serves every subject.
//!
//! - [`config`], [`decoder`]: the configuration and the model; [`attention`], [`rope`]: its parts
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
pub mod decoder;
pub mod generate;
pub mod lora;
pub mod loss;
pub mod packed;
pub mod packing;
pub mod personal_rows;
pub mod rope;
pub mod routed;
pub mod sampling;
mod sequences;

pub use attention::SelfAttention;
pub use cache::KeyValueCache;
pub use config::DecoderConfig;
pub use decoder::{Decoder, DecoderLayer, DecoderMlp};
pub use generate::{FinishReason, Generated, GenerationOptions, Prompt, Strategy, generate, generate_batch};
pub use lora::{LoraAdapter, LoraConfig, LoraLinear};
pub use loss::{Labels, next_token_loss};
pub use packed::PackedDecoder;
pub use packing::Packing;
pub use personal_rows::PersonalRows;
pub use routed::{HeadRouter, RoutedHeadsConfig, RoutedOutput, TokenKind};
pub use sampling::Filters;

#[cfg(all(test, feature = "flex"))]
mod tests;
