//! Golden tests of remoh.
