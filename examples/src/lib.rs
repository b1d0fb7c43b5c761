//! Runnable examples of pvchat; see the files beside this package.
