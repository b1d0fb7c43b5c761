//! Existence accuracy: how often a model knows whether the subject is in the clip.

use crate::{
    Error, Result,
    bootstrap::{Estimate, Resampler, Share},
    presence::Presence,
};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who is in a clip, seen from the subject that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClipClass {
    /// The subject.
    Positive,
    /// Somebody who resembles the subject.
    LookAlike,
    /// Somebody else.
    Random,
}

impl ClipClass {
    /// All classes.
    pub const ALL: [Self; 3] = [Self::Positive, Self::LookAlike, Self::Random];
}

impl fmt::Display for ClipClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Positive => "positives",
            Self::LookAlike => "look-alikes",
            Self::Random => "random people",
        })
    }
}

/// What a model answered to one existence question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistenceAnswer {
    /// The person who was asked about. All answers about one person are resampled together: they resemble each other, and those
    /// of several trainings are not more people.
    pub subject: String,
    /// The clip, so that two models can be paired.
    pub clip: String,
    /// Who is in it.
    pub class: ClipClass,
    /// What the answer says.
    pub found: Presence,
}

impl ExistenceAnswer {
    /// What two models have to have been asked for their answers to be a pair.
    fn pair(&self) -> (&str, &str, ClipClass) {
        (&self.subject, &self.clip, self.class)
    }

    /// Whether the answer is right. An answer that leaves it open is wrong.
    pub fn is_right(&self) -> bool {
        self.found == if self.class == ClipClass::Positive { Presence::Present } else { Presence::Absent }
    }
}

/// Right answers per class of clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistenceScore {
    /// On clips of the subject.
    pub positives: Share,
    /// On clips of look-alikes.
    pub look_alikes: Share,
    /// On clips of random people.
    pub random: Share,
}

impl ExistenceScore {
    /// Counts answers.
    pub fn of<'a>(answers: impl IntoIterator<Item = &'a ExistenceAnswer>) -> Self {
        let mut score = Self::default();
        for answer in answers {
            let share = match answer.class {
                ClipClass::Positive => &mut score.positives,
                ClipClass::LookAlike => &mut score.look_alikes,
                ClipClass::Random => &mut score.random,
            };
            share.add(answer.is_right());
        }
        score
    }

    /// The answers of one class.
    pub fn class(&self, class: ClipClass) -> Share {
        match class {
            ClipClass::Positive => self.positives,
            ClipClass::LookAlike => self.look_alikes,
            ClipClass::Random => self.random,
        }
    }

    /// All answers together.
    pub fn all(&self) -> Share {
        let sum = |part: fn(&Share) -> usize| part(&self.positives) + part(&self.look_alikes) + part(&self.random);
        Share { right: sum(|share| share.right), total: sum(|share| share.total) }
    }

    /// Existence accuracy (Acc of the paper): right answers out of all. `None` without answers.
    pub fn accuracy(&self) -> Option<f64> {
        self.all().rate()
    }

    /// Balanced existence accuracy: `(right on positives + mean(right on look-alikes, right on random people)) / 2`.
    ///
    /// Saying yes always, or no always, gives 0.5. Without one kind of negatives the other counts for both;
    /// `None` without positives or without negatives.
    pub fn balanced(&self) -> Option<f64> {
        let negatives = match (self.look_alikes.rate(), self.random.rate()) {
            (Some(look_alikes), Some(random)) => (look_alikes + random) / 2.0,
            (one, other) => one.or(other)?,
        };
        Some((self.positives.rate()? + negatives) / 2.0)
    }
}

/// Balanced existence accuracy with its bootstrap interval over subjects.
pub fn balanced_estimate(answers: &[ExistenceAnswer], resamples: usize, stream: &mut SeededStream) -> Option<Estimate> {
    let statistic = |items: &[usize]| ExistenceScore::of(items.iter().map(|&index| &answers[index])).balanced();
    resampler(answers).estimate(statistic, resamples, stream)
}

/// How much better the second model is than the first in balanced existence accuracy, on the same questions:
/// a paired bootstrap, both models scored on the same resampled subjects.
///
/// # Errors
/// [`Error::Unpaired`] if the answers do not belong to the same subjects and clips in the same order.
pub fn balanced_difference(
    first: &[ExistenceAnswer],
    second: &[ExistenceAnswer],
    resamples: usize,
    stream: &mut SeededStream,
) -> Result<Option<Estimate>> {
    check_paired(first, second)?;
    let score =
        |answers: &[ExistenceAnswer], items: &[usize]| ExistenceScore::of(items.iter().map(|&index| &answers[index])).balanced();
    let difference = |items: &[usize]| Some(score(second, items)? - score(first, items)?);
    Ok(resampler(first).estimate(difference, resamples, stream))
}

fn check_paired(first: &[ExistenceAnswer], second: &[ExistenceAnswer]) -> Result<()> {
    let describe = |answer: Option<&ExistenceAnswer>| match answer {
        Some(answer) => format!("{}, {}, {}", answer.subject, answer.clip, answer.class),
        None => "none".into(),
    };
    for index in 0..first.len().max(second.len()) {
        let (one, other) = (first.get(index), second.get(index));
        if one.map(ExistenceAnswer::pair) != other.map(ExistenceAnswer::pair) {
            return Err(Error::Unpaired { index, first: describe(one), second: describe(other) });
        }
    }
    Ok(())
}

fn resampler(answers: &[ExistenceAnswer]) -> Resampler {
    Resampler::new(answers.iter().map(|answer| ((), &answer.subject)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `right` of 10 answers right in each class, two of them about each of five people.
    fn answers(right: [usize; 3]) -> Vec<ExistenceAnswer> {
        let mut answers = Vec::new();
        for (class, right) in ClipClass::ALL.into_iter().zip(right) {
            for index in 0..10 {
                let truth = if class == ClipClass::Positive { Presence::Present } else { Presence::Absent };
                let found = if index < right { truth } else { Presence::Unknown };
                let (subject, clip) = ((index / 2).to_string(), format!("{class} {index}"));
                answers.push(ExistenceAnswer { subject, clip, class, found });
            }
        }
        answers
    }

    #[test]
    fn accuracy_and_balance_are_their_formulas() {
        let score = ExistenceScore::of(&answers([9, 4, 8]));
        assert!((score.accuracy().unwrap() - 0.7).abs() < 1e-12);
        assert!((score.balanced().unwrap() - 0.75).abs() < 1e-12);
        assert_eq!(score.class(ClipClass::LookAlike), Share { right: 4, total: 10 });
    }

    #[test]
    fn a_constant_answer_is_worth_a_half() {
        for found in [Presence::Present, Presence::Absent] {
            let constant: Vec<_> = answers([0, 0, 0]).into_iter().map(|answer| ExistenceAnswer { found, ..answer }).collect();
            assert_eq!(ExistenceScore::of(&constant).balanced(), Some(0.5));
        }
        assert_eq!(ExistenceScore::of(&answers([0, 0, 0])).balanced(), Some(0.0), "unknown is wrong everywhere");
    }

    #[test]
    fn several_trainings_are_not_more_people() {
        let once = answers([7, 5, 9]);
        let width = |answers: &[ExistenceAnswer]| {
            let interval = balanced_estimate(answers, 2000, &mut SeededStream::new(3)).unwrap().interval;
            interval.high - interval.low
        };
        let [one, four] = [width(&once), width(&[once.clone(), once.clone(), once.clone(), once.clone()].concat())];
        assert!((one - four).abs() < 0.01, "{one} {four}");
    }

    #[test]
    fn missing_classes_are_not_guessed() {
        let all = answers([8, 4, 6]);
        let without = |class| ExistenceScore::of(all.iter().filter(|answer| answer.class != class)).balanced();
        assert!((without(ClipClass::LookAlike).unwrap() - 0.7).abs() < 1e-12);
        assert_eq!(without(ClipClass::Positive), None);
        assert_eq!(ExistenceScore::of(&all[..10]).balanced(), None);
        assert_eq!(ExistenceScore::default().accuracy(), None);
    }

    #[test]
    fn intervals_hold_the_value_and_narrow_to_nothing_without_errors() {
        let estimate = balanced_estimate(&answers([7, 5, 9]), 1000, &mut SeededStream::new(1)).unwrap();
        assert!((estimate.value - 0.7).abs() < 1e-12);
        assert!(estimate.interval.low < 0.65 && estimate.interval.high > 0.75, "{estimate:?}");
        let perfect = balanced_estimate(&answers([10, 10, 10]), 100, &mut SeededStream::new(1)).unwrap();
        assert_eq!((perfect.interval.low, perfect.interval.high), (1.0, 1.0));
    }

    #[test]
    fn a_paired_difference_is_judged_on_the_same_clips_and_needs_pairs() {
        let (worse, better) = (answers([6, 4, 6]), answers([8, 6, 8]));
        let difference = balanced_difference(&worse, &better, 1000, &mut SeededStream::new(2)).unwrap().unwrap();
        assert!((difference.value - 0.2).abs() < 1e-12);
        // The answers about two people of five differ (6 and 7 of the positives, 4 and 5 of the look-alikes), so a resample misses both
        // with probability 0.6^5.
        let expected = 1.0 - 0.6f64.powi(5) / 2.0;
        assert!(difference.interval.low >= 0.0 && (difference.above_zero - expected).abs() < 0.015, "{difference:?}");
        let same = balanced_difference(&worse, &worse, 50, &mut SeededStream::new(2)).unwrap().unwrap();
        assert_eq!((same.value, same.above_zero), (0.0, 0.5));
        let error = balanced_difference(&worse, &better[..29], 10, &mut SeededStream::new(2)).unwrap_err();
        assert!(matches!(error, Error::Unpaired { index: 29, .. }), "{error}");
    }
}
