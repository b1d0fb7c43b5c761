//! How large a dataset is, and how large its clips are.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How many clips and questions, and their size. The defaults are the counts of the paper: 81 clips for training, 16 of them
/// with the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetOptions {
    /// What every random choice follows from.
    pub seed: u64,
    /// Width and height of a clip in pixels; even.
    pub size: u32,
    /// Frames per second of a clip.
    pub rate: u32,
    /// Frames of a clip.
    pub frames: usize,
    /// Clips for training that show the person.
    pub positives: usize,
    /// Clips for training that show others.
    pub negatives: usize,
    /// How many of the negatives show the most similar strangers; the others are drawn at random.
    pub hard: usize,
    /// How many of the most similar strangers there are.
    pub similar_people: usize,
    /// How many strangers are drawn at random, at most.
    pub random_people: usize,
    /// Clips for training with the person's head on a stranger's body, of those that show the person; as large a share of the
    /// others has a stranger's head on the person's body.
    pub exchanged: usize,
    /// Clips for testing that show the person.
    pub test_positives: usize,
    /// Clips for testing that show others.
    pub test_negatives: usize,
    /// Questions about existence for each clip.
    pub existence: usize,
    /// Questions of each other kind for each clip with the person, where something describes.
    pub descriptions: usize,
    /// Questions of each other kind for each clip of others, which are refused.
    pub refusals: usize,
    /// Whether questions about emotion are asked too, a fifth kind.
    pub emotion: bool,
    /// How often a clip that the identity gate refuses is drawn again.
    pub attempts: usize,
}

impl Default for DatasetOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            size: 320,
            rate: 8,
            frames: 16,
            positives: 16,
            negatives: 65,
            hard: 35,
            similar_people: 7,
            random_people: 30,
            exchanged: 2,
            test_positives: 4,
            test_negatives: 8,
            existence: 15,
            descriptions: 5,
            refusals: 1,
            emotion: false,
            attempts: 6,
        }
    }
}

impl DatasetOptions {
    /// Checks every option.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one that is out of range.
    pub fn check(&self) -> Result<()> {
        let most = super::WORDINGS;
        for (key, value, range, expected) in [
            ("size", self.size as usize, 64..=1024, "an even number from 64 to 1024"),
            ("rate", self.rate as usize, 1..=60, "a number from 1 to 60"),
            ("frames", self.frames, 1..=256, "a number from 1 to 256"),
            ("positives", self.positives, 2..=10_000, "a number from 2 to 10000"),
            ("negatives", self.negatives, 2..=10_000, "a number from 2 to 10000"),
            ("hard", self.hard, 0..=self.negatives, "at most the number of negatives"),
            ("similar_people", self.similar_people, 1..=1000, "a number from 1 to 1000"),
            ("random_people", self.random_people, 0..=1000, "a number from 0 to 1000"),
            ("exchanged", self.exchanged, 0..=10_000, "a number from 0 to 10000"),
            ("test_positives", self.test_positives, 0..=10_000, "a number from 0 to 10000"),
            ("test_negatives", self.test_negatives, 0..=10_000, "a number from 0 to 10000"),
            ("existence", self.existence, 1..=most, "a number from 1 to the number of wordings"),
            ("descriptions", self.descriptions, 0..=most, "a number from 0 to the number of wordings"),
            ("refusals", self.refusals, 0..=most, "a number from 0 to the number of wordings"),
            ("attempts", self.attempts, 1..=100, "a number from 1 to 100"),
        ] {
            if !range.contains(&value) || (key == "size" && value % 2 == 1) {
                return Err(Error::Setting { key, value: value.to_string(), expected });
            }
        }
        if (self.test_positives == 0) != (self.test_negatives == 0) {
            let (key, value) = match self.test_positives {
                0 => ("test_positives", 0),
                _ => ("test_negatives", 0),
            };
            let expected = "at least 1, because testing needs clips with the person and without, or 0 for both";
            return Err(Error::Setting { key, value: value.to_string(), expected });
        }
        Ok(())
    }

    /// The length of a clip in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.rate)
    }
}
