//! Frames to tensors.
