//! Which frames of a clip are shown, and when they were on the screen.

use crate::{Error, Result};

/// The rate of a clip that states none, in frames per second.
pub const DEFAULT_RATE: f64 = 24.0;
/// The most frames that can be asked for.
pub const MOST_FRAMES: usize = 1 << 16;

/// A longer clip loses this much at both ends, in seconds.
const SKIPPED: f64 = 1.0;

/// How many frames of a clip are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameSampling {
    /// Frames for each second of a clip.
    pub per_second: f64,
    /// The most frames.
    pub most: usize,
}

impl FrameSampling {
    /// The published one: a frame for each second, at most 64.
    pub const PUBLISHED: Self = Self { per_second: 1.0, most: 64 };

    /// Checks that the numbers can work.
    ///
    /// # Errors
    /// [`Error::Config`] with the value at fault.
    pub fn validate(&self) -> Result<()> {
        positive("video_sampling.fps", self.per_second)?;
        if !(1..=MOST_FRAMES).contains(&self.most) {
            let remedy = format!("use 1 to {MOST_FRAMES}");
            return Err(Error::Config { key: "video_sampling.max_frames", value: self.most.to_string(), remedy });
        }
        Ok(())
    }

    /// How many frames are shown of a clip of that many seconds, if it has them: at least one.
    pub fn count(&self, duration: f64) -> usize {
        // A length that is not a number becomes 0 here.
        ((self.per_second * duration).round_ties_even() as usize).clamp(1, self.most.max(1))
    }

    /// The frames that are shown of a clip of `frames` frames, `rate` of them in a second, that lasts `duration` seconds: at
    /// least one, in order, evenly spread from the first to the last; without a second at both ends when the clip is longer
    /// than `most * per_second` and two seconds. A clip with fewer frames than asked for gives each of them once.
    ///
    /// That is the choice of transformers 5.24, which multiplies there where a division is meant.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and [`Error::Config`] for a clip without frames, or an invalid rate or duration.
    pub fn choose(&self, frames: usize, rate: f64, duration: f64) -> Result<Vec<usize>> {
        self.validate()?;
        positive("rate", rate)?;
        if !(duration >= 0.0 && duration.is_finite()) {
            let remedy = "use a number of seconds".into();
            return Err(Error::Config { key: "duration", value: duration.to_string(), remedy });
        }
        let Some(last) = frames.checked_sub(1) else {
            return Err(Error::Config { key: "frames", value: "0".into(), remedy: "show a clip that has frames".into() });
        };
        let (most, count) = (self.most as f64, self.count(duration));
        let (mut start, mut end) = (0, last);
        if duration - 2.0 * SKIPPED > most * self.per_second {
            start = ((SKIPPED * rate) as usize).min(last);
            end = ((frames as f64 - SKIPPED * rate) as usize).min(last);
            if start >= end {
                (start, end) = (0, last);
            }
        }
        let step = (end - start) as f64 / (count.max(2) - 1) as f64;
        let mut chosen: Vec<usize> = (0..count).map(|number| (number as f64 * step + start as f64) as usize).collect();
        if let [_, .., last] = chosen.as_mut_slice() {
            *last = end;
        }
        chosen.dedup();
        Ok(chosen)
    }
}

/// When frames are on the screen, in seconds from the beginning of a clip; [`DEFAULT_RATE`] where the rate is not known.
///
/// # Errors
/// [`Error::Config`] for an invalid rate.
pub fn frame_times(indices: &[usize], rate: Option<f64>) -> Result<Vec<f64>> {
    let rate = rate.unwrap_or(DEFAULT_RATE);
    positive("rate", rate)?;
    Ok(indices.iter().map(|&index| index as f64 / rate).collect())
}

fn positive(key: &'static str, value: f64) -> Result<()> {
    match value > 0.0 && value.is_finite() {
        true => Ok(()),
        false => Err(Error::Config { key, value: value.to_string(), remedy: "use a number of frames per second".into() }),
    }
}
