//! Vision encoders behind one trait.
