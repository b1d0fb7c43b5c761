//! Criterion benchmarks of pvchat; see the files beside this package.
