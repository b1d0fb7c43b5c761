//! Controls that can fail a run: everything that works without the subject must be clearly worse than the learned subject.

use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    accuracy::{ExistenceAnswer, balanced_difference},
    bootstrap::Estimate,
};

/// A control and the answers that should be better than it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlCheck {
    /// The control's name.
    pub control: String,
    /// Balanced accuracy of the answers minus that of the control, paired; `None` when there is nothing to compare.
    pub margin: Option<Estimate>,
}

impl ControlCheck {
    /// Whether the whole interval of the margin is above zero.
    pub fn is_beaten(&self) -> bool {
        self.margin.is_some_and(|margin| margin.interval.low > 0.0)
    }
}

/// Whether answers beat every control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Every control.
    pub checks: Vec<ControlCheck>,
}

impl Verdict {
    /// Compares answers to those of controls on the same clips.
    ///
    /// # Errors
    /// [`Error::Unpaired`](crate::Error::Unpaired) for a control on other clips.
    pub fn of<'a>(
        answers: &[ExistenceAnswer],
        controls: impl IntoIterator<Item = (&'a str, &'a [ExistenceAnswer])>,
        resamples: usize,
        stream: &mut SeededStream,
    ) -> Result<Self> {
        let checks = controls
            .into_iter()
            .map(|(name, control)| {
                Ok(ControlCheck { control: name.into(), margin: balanced_difference(control, answers, resamples, stream)? })
            })
            .collect::<Result<_>>()?;
        Ok(Self { checks })
    }

    /// Whether there were controls and all of them are beaten.
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(ControlCheck::is_beaten)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.passed() {
            return write!(formatter, "passed: every control is beaten");
        }
        let names: Vec<&str> =
            self.checks.iter().filter(|check| !check.is_beaten()).map(|check| check.control.as_str()).collect();
        match names.as_slice() {
            [] => write!(formatter, "FAILED: there was no control"),
            names => write!(formatter, "FAILED: not clearly better than {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{accuracy::ClipClass, presence::Presence};

    fn answers(yes: impl Fn(usize) -> bool) -> Vec<ExistenceAnswer> {
        (0..60)
            .map(|number| ExistenceAnswer {
                subject: (number / 6).to_string(),
                clip: number.to_string(),
                class: [ClipClass::Positive, ClipClass::LookAlike, ClipClass::Random][number % 3],
                found: if yes(number) { Presence::Present } else { Presence::Absent },
            })
            .collect()
    }

    #[test]
    fn a_run_passes_only_when_it_beats_every_control() {
        let mut stream = SeededStream::new(1);
        let (learned, always_no) = (answers(|number| number % 3 == 0), answers(|_| false));
        let mut verdict = |learned: &[ExistenceAnswer], controls: &[(&str, &[ExistenceAnswer])]| {
            Verdict::of(learned, controls.iter().copied(), 200, &mut stream).unwrap()
        };
        assert!(verdict(&learned, &[("no video", &always_no)]).passed());
        let failed = verdict(&learned, &[("no video", &always_no), ("another name", &learned)]);
        assert_eq!(failed.to_string(), "FAILED: not clearly better than another name");
        assert!(!verdict(&always_no, &[("no video", &always_no)]).passed());
        assert_eq!(verdict(&learned, &[]).to_string(), "FAILED: there was no control");
        assert!(Verdict::of(&learned, [("no video", &always_no[1..])], 10, &mut SeededStream::new(2)).is_err());
    }
}
