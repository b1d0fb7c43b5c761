//! The one source of randomness: a seeded stream that every random draw of the project comes from.

use rand::{Rng, RngExt, SeedableRng, distr::uniform::SampleUniform};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A reproducible stream of random numbers (ChaCha8), the same on every machine and backend.
///
/// A stream is split with [`derive`](Self::derive): the child depends on the parent's seed and on
/// the label only, never on how much was drawn before, so adding a draw in one place does not
/// change what happens in another.
///
/// ```
/// use pvchat_data::random::SeededStream;
/// let root = SeededStream::new(7);
/// let mut clothes = root.derive("clothes");
/// assert_eq!(clothes.below(8), root.derive("clothes").below(8));
/// ```
#[derive(Clone, Debug)]
pub struct SeededStream {
    seed: [u8; 32],
    generator: ChaCha8Rng,
}

impl SeededStream {
    /// Starts a stream from a seed.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self::from_bytes(bytes)
    }

    fn from_bytes(seed: [u8; 32]) -> Self {
        Self { seed, generator: ChaCha8Rng::from_seed(seed) }
    }

    /// An independent stream named by `label`, a function of this stream's seed and the label.
    pub fn derive(&self, label: impl std::fmt::Display) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(label.to_string());
        Self::from_bytes(hash.finalize().into())
    }

    /// The position in the stream, to be stored in a checkpoint and given to [`seek`](Self::seek).
    pub fn position(&self) -> u128 {
        self.generator.get_word_pos()
    }

    /// Continues the stream from a stored position.
    pub fn seek(&mut self, position: u128) {
        self.generator.set_word_pos(position);
    }

    /// A uniform number in `0.0..1.0`.
    pub fn unit(&mut self) -> f32 {
        self.generator.random::<f32>()
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// A uniform number in `low..high`; `low` when the range is empty.
    pub fn range<T: SampleUniform + PartialOrd + Copy>(&mut self, low: T, high: T) -> T {
        if low < high { self.generator.random_range(low..high) } else { low }
    }

    /// A uniform index in `0..count`; 0 when `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        self.range(0, count)
    }

    /// A normal number with mean 0 and standard deviation 1 (Box-Muller).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.generator.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.generator.random::<f64>();
        (radius * angle.cos()) as f32
    }

    /// A random 64-bit number, for seeding something else.
    pub fn next_seed(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// One of the items, or `None` when there are none.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len())) }
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }

    /// `count` different indices below `total` in random order (all of them when `count` is larger).
    pub fn sample(&mut self, total: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..total).collect();
        let count = count.min(total);
        for place in 0..count {
            let other = self.range(place, total);
            all.swap(place, other);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_draws_and_derived_streams_ignore_earlier_draws() {
        let mut first = SeededStream::new(3);
        let second = SeededStream::new(3);
        first.unit();
        assert_eq!(first.derive("x").next_seed(), second.derive("x").next_seed());
        assert_ne!(first.derive("x").next_seed(), second.derive("y").next_seed());
    }

    #[test]
    fn seek_continues_where_position_was_taken() {
        let mut stream = SeededStream::new(5);
        for _ in 0..7 {
            stream.normal();
        }
        let position = stream.position();
        let expected: Vec<u64> = (0..5).map(|_| stream.next_seed()).collect();
        let mut resumed = SeededStream::new(5);
        resumed.seek(position);
        assert_eq!(expected, (0..5).map(|_| resumed.next_seed()).collect::<Vec<_>>());
    }

    #[test]
    fn normal_has_mean_zero_and_deviation_one() {
        let mut stream = SeededStream::new(1);
        let draws: Vec<f32> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / draws.len() as f32;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn sample_has_no_repetition() {
        let mut picked = SeededStream::new(2).sample(30, 30);
        picked.sort_unstable();
        assert_eq!(picked, (0..30).collect::<Vec<_>>());
    }
}
