//! Golden tests of vision.
