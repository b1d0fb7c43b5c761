//! The program `pvchat`.

fn main() {}
