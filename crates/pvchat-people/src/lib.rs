//! Who is in a clip, where and when.

pub mod models;
