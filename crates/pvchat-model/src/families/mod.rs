//! Published model families, each with what it does differently from the others.

pub mod smolvlm2;
