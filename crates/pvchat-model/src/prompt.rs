//! Prompts: pieces of text, visual tokens and subject tokens in one sequence.
