//! Golden tests of preprocess.
