//! The limits on the cost of a file, and the clock that enforces the time limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a file may cost before reading it stops with [`Error::LimitExceeded`](crate::Error::LimitExceeded).
///
/// The defaults let through every clip that a phone or a camera makes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Width times height of one frame. Default 2^26 (8192 x 8192).
    pub frame_pixels: u64,
    /// Frames decoded in one pass over the file, those that are skipped not included. Default one million (over nine hours at
    /// 30 frames per second).
    pub frames: usize,
    /// Packets read in one pass over the file, and packets that its header may claim. Default ten million.
    pub packets: u64,
    /// Duration that the file may state, `None` for no limit. Default one day.
    pub duration: Option<Duration>,
    /// Bytes of all frames of one [`Clip`](crate::Clip). Default 4 GiB.
    pub clip_bytes: u64,
    /// Time spent reading and decoding in one pass over the file, in a [`FrameStream`](crate::FrameStream) for each frame;
    /// `None` for no limit. Default ten minutes. It is looked at before each packet and each read of the file.
    pub time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_pixels: 1 << 26,
            frames: 1_000_000,
            packets: 10_000_000,
            duration: Some(Duration::from_secs(24 * 60 * 60)),
            clip_bytes: 4 << 30,
            time: Some(Duration::from_secs(600)),
        }
    }
}

/// A stopwatch with an end that another thread of FFmpeg can look at. Time only counts between `start` and `stop`, so that a
/// caller who takes long over each frame of an iterator is not punished.
pub(crate) struct Stopwatch {
    origin: Instant,
    limit: Option<Duration>,
    spent: Duration,
    started: Instant,
    /// Nanoseconds after `origin` when time is up.
    end: std::sync::Arc<AtomicU64>,
}

impl Stopwatch {
    /// A stopwatch that runs.
    pub(crate) fn start_new(limit: Option<Duration>) -> Self {
        let now = Instant::now();
        let mut watch =
            Self { origin: now, limit, spent: Duration::ZERO, started: now, end: std::sync::Arc::new(AtomicU64::new(u64::MAX)) };
        watch.start();
        watch
    }

    pub(crate) fn start(&mut self) {
        self.started = Instant::now();
        if let Some(limit) = self.limit {
            let end = (self.started - self.origin) + limit.saturating_sub(self.spent);
            self.end.store(u64::try_from(end.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Starts again with nothing spent.
    pub(crate) fn reset(&mut self) {
        self.spent = Duration::ZERO;
    }

    pub(crate) fn stop(&mut self) {
        self.spent += self.started.elapsed();
        self.end.store(u64::MAX, Ordering::Relaxed);
    }

    /// Says whether time is up; for FFmpeg's interrupt callback and for the decoding loop.
    pub(crate) fn is_up(&self) -> impl Fn() -> bool + Send + 'static {
        let (origin, end) = (self.origin, std::sync::Arc::clone(&self.end));
        move || origin.elapsed().as_nanos() >= u128::from(end.load(Ordering::Relaxed))
    }
}
