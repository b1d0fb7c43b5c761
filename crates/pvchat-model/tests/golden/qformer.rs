//! Golden tests of qformer.
