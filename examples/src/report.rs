//! The figures that the demo writes to `report.json`.

use pvchat::{
    eval::{accuracy::ExistenceScore, bootstrap::Share},
    train::personal::SelfCheck,
};
use serde::Serialize;

use crate::progress::LearnSeconds;

/// Everything that the demo measured in the drawn laboratory.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The learned name.
    pub subject: String,
    /// Seed of learning.
    pub seed: u64,
    /// Threads of the training.
    pub threads: usize,
    /// Which subject was kept: `learned`, or `enrolled` where training did not help.
    pub kept: &'static str,
    /// How well held-back clips were judged before training.
    pub self_check_before: SelfCheck,
    /// The same after training.
    pub self_check_after: SelfCheck,
    /// Positives that the self-check of the augmentation drew again.
    pub redrawn_positives: usize,
    /// Balanced existence accuracy of the kept subject.
    pub balanced_existence_accuracy: f64,
    /// The same of the subject that was enrolled in one look.
    pub balanced_existence_accuracy_enrolled: f64,
    /// The right answers by kind of clip.
    pub existence: ExistenceScore,
    /// The right answers to the other questions.
    pub descriptions: DescriptionScore,
    /// Where the time went.
    pub seconds: Seconds,
}

/// Right answers to questions that ask for a description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DescriptionScore {
    /// Garment, colour and pattern all right.
    pub clothing: Share,
    /// Single details of face and hair.
    pub face_details: Share,
    /// The action.
    pub action: Share,
    /// The place.
    pub place: Share,
    /// Questions about the absent subject that were refused.
    pub refusals: Share,
}

/// Where the time went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// Opening the base model.
    pub open_base: f64,
    /// From the start of the act to the first answer, with an enrolled subject.
    pub first_answer: f64,
    /// Learning in all.
    pub learn: f64,
    /// The parts of learning.
    pub learn_parts: LearnSeconds,
    /// Opening a clip, on average.
    pub open_clip: f64,
    /// Answering a question about an opened clip, on average.
    pub ask: f64,
    /// The whole act.
    pub total: f64,
}

/// The most memory that this process has held, in MiB; `None` where the system does not say.
pub fn peak_memory_mib() -> Option<f64> {
    status_mib("VmHWM:")
}

/// The resident memory of this process in MiB, where the system says it.
pub fn resident_memory_mib() -> Option<f64> {
    status_mib("VmRSS:")
}

fn status_mib(key: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Bytes that all threads together read and write in a second when they copy memory, the best of five: what the speed of reading
/// weights is measured against.
pub fn copied_bytes_per_second() -> f64 {
    const WORDS: usize = 1 << 25;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = WORDS.div_ceil(threads);
    let (from, mut to) = (vec![1_u64; WORDS], vec![0_u64; WORDS]);
    let mut shortest = f64::INFINITY;
    for _ in 0..5 {
        let start = std::time::Instant::now();
        std::thread::scope(|scope| {
            for (to, from) in to.chunks_mut(part).zip(from.chunks(part)) {
                scope.spawn(|| to.copy_from_slice(from));
            }
        });
        shortest = shortest.min(start.elapsed().as_secs_f64());
    }
    2.0 * size_of_val(to.as_slice()) as f64 / shortest
}

/// A share as `5 of 6 (83 %)`.
pub fn in_words(share: Share) -> String {
    match share.rate() {
        Some(rate) => format!("{} of {} ({:.0} %)", share.right, share.total, 100.0 * rate),
        None => "none asked".to_string(),
    }
}
