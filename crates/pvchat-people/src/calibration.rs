//! What a similarity means: a probability, and yes, not sure or no.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, networks::EmbedderKind};

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nobody similar is there.
    No,
    /// Somebody similar is there, or the faces do not say enough.
    NotSure,
    /// The person is there.
    Yes,
}

/// What similarities of one embedding model mean, measured by `examples/people_exam.rs --calibrate` on pictures and clips of
/// known people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The embedding model's name in the catalogue.
    pub embedder: String,
    /// The cosine where the same person and somebody else are equally likely, one person asked about.
    pub midpoint: f32,
    /// The slope of the logistic curve there, per unit of cosine.
    pub slope: f32,
    /// Below this cosine the answer is no.
    pub possible: f32,
    /// From which cosine on the answer is yes, for a number of enrolled people: the more there are, the more likely one of
    /// them looks like a stranger.
    pub certain: Vec<(usize, f32)>,
}

impl Calibration {
    /// The shipped calibration of an embedder.
    ///
    /// # Errors
    /// [`Error::Setting`] when the shipped file is broken, which a test rules out.
    pub fn shipped(embedder: EmbedderKind) -> Result<Self> {
        let text = match embedder {
            EmbedderKind::MobileFaceNet => include_str!("calibration/mobilefacenet.json"),
            EmbedderKind::Dlib => include_str!("calibration/dlib.json"),
        };
        serde_json::from_str(text).map_err(|error| Error::Setting {
            key: "calibration",
            value: error.to_string(),
            remedy: "install the program again".into(),
        })
    }

    /// The probability that two faces of this cosine are of one person, when each is as likely as not; 0 to 1.
    pub fn probability(&self, similarity: f32) -> f32 {
        1.0 / (1.0 + (-self.slope * (similarity - self.midpoint)).exp())
    }

    /// The cosine from which on the answer is yes, with this many people enrolled: between the measured numbers it grows with
    /// the logarithm of the number.
    pub fn certain_from(&self, enrolled: usize) -> f32 {
        let after = self.certain.iter().position(|(people, _)| *people >= enrolled);
        match (after, self.certain.last()) {
            (Some(0), _) => self.certain[0].1,
            (Some(after), _) => {
                let ((fewer, low), (more, high)) = (self.certain[after - 1], self.certain[after]);
                let share = (enrolled as f32 / fewer as f32).ln() / (more as f32 / fewer as f32).ln();
                low + share * (high - low)
            }
            (None, Some((_, highest))) => *highest,
            (None, None) => 1.0,
        }
    }

    /// What a similarity says, with this many people enrolled.
    pub fn verdict(&self, similarity: f32, enrolled: usize) -> Verdict {
        match similarity {
            similarity if similarity >= self.certain_from(enrolled) => Verdict::Yes,
            similarity if similarity >= self.possible => Verdict::NotSure,
            _ => Verdict::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_calibrations_are_in_order() {
        for embedder in [EmbedderKind::MobileFaceNet, EmbedderKind::Dlib] {
            let calibration = Calibration::shipped(embedder).unwrap();
            assert_eq!(calibration.embedder, embedder.name());
            let thresholds: Vec<f32> = [1, 2, 10, 30, 64, 1000, 5000].map(|people| calibration.certain_from(people)).into();
            assert!(thresholds.is_sorted() && calibration.possible < thresholds[0], "{thresholds:?}");
            assert_eq!(thresholds[5], thresholds[6]);
            assert!((calibration.probability(calibration.midpoint) - 0.5).abs() < 1e-6);
            assert_eq!(calibration.verdict(calibration.possible - 0.01, 1), Verdict::No);
            assert_eq!(calibration.verdict(calibration.possible, 1), Verdict::NotSure);
            assert_eq!(calibration.verdict(thresholds[0], 1), Verdict::Yes);
            assert_eq!(calibration.verdict(thresholds[0], 1000), Verdict::NotSure);
        }
    }
}
