//! The Mistral-style language model with LoRA, cache and generation.
