//! Video files to frames and back: open, probe, sample, decode, write.
