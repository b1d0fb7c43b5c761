//! How a file is read: limits, the size of the frames, threads.

use std::path::PathBuf;

use crate::source::Source;
use crate::{DamagePolicy, Limits};

/// How a file is read.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// What the file may cost.
    pub limits: Limits,
    /// Width and height of the frames in pixels, stretched by the scaler of FFmpeg (bicubic) in the step that turns them
    /// into RGB; `None` for the size of the file.
    pub size: Option<(u32, u32)>,
    /// Decoding threads, 0 for one per core and eight at most. The frames do not depend on it.
    pub threads: usize,
    /// What happens where the file is damaged.
    pub damage: DamagePolicy,
}

impl ReadOptions {
    /// Whether damaged frames are left out.
    pub(crate) fn skips_damage(&self) -> bool {
        self.damage == DamagePolicy::Skip
    }

    /// How many threads are meant.
    pub(crate) fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(8),
            threads => threads.min(64),
        }
    }
}

impl From<Limits> for ReadOptions {
    fn from(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}

/// A file to be read, and how.
pub(crate) struct Job {
    /// What errors call it.
    pub(crate) name: PathBuf,
    pub(crate) source: Source,
    pub(crate) options: ReadOptions,
}
