//! Golden tests of language.
