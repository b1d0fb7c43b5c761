//! Reading and writing parameters under the names of the public checkpoints.
