//! Which frames of a clip are looked at.

use crate::Timeline;

/// Which frames of a clip to keep.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SamplingPlan {
    /// This many frames, evenly spread, by [`uniform_indices`]. A clip that is shorter repeats frames.
    Uniform(usize),
    /// Every frame.
    All,
    /// Frames 0, n, 2n, ...
    Every(usize),
    /// The frames on the screen at 0, 1/n, 2/n, ... seconds, each of them once.
    PerSecond(f64),
    /// The frames that decode without any other.
    KeyFrames,
    /// These frames, counted from 0; the end is not one of them.
    Range(std::ops::Range<usize>),
    /// The frames on the screen at these seconds ([`Timeline::frame_at`]), in this order; repeats are allowed.
    Times(Vec<f64>),
    /// These frames in this order, counted from 0; repeats are allowed.
    Indices(Vec<usize>),
}

/// Why a plan cannot be carried out on a clip.
pub(crate) enum Unfit {
    /// This frame does not exist.
    Frame(usize),
    /// No frame is shown at this time.
    Time(f64),
    /// Nothing is picked, or the step is no step.
    Empty,
}

impl SamplingPlan {
    /// The numbers of the frames that the plan picks from a clip.
    pub(crate) fn numbers(&self, timeline: &Timeline) -> Result<Vec<usize>, Unfit> {
        let count = timeline.len();
        let exists = |&number: &usize| if number < count { Ok(number) } else { Err(Unfit::Frame(number)) };
        let numbers: Vec<usize> = match self {
            Self::Uniform(segments) => uniform_indices(count, *segments),
            Self::All => (0..count).collect(),
            Self::Every(0) => Vec::new(),
            Self::Every(step) => (0..count).step_by(*step).collect(),
            Self::PerSecond(rate) => per_second(*rate, timeline),
            Self::KeyFrames => timeline.key_frames.clone(),
            Self::Range(range) if range.is_empty() => Vec::new(),
            Self::Range(range) => exists(&(range.end - 1)).map(|_| range.clone().collect())?,
            Self::Times(times) => {
                times.iter().map(|&time| timeline.frame_at(time).ok_or(Unfit::Time(time))).collect::<Result<_, _>>()?
            }
            Self::Indices(indices) => indices.iter().map(exists).collect::<Result<_, _>>()?,
        };
        if numbers.is_empty() { Err(Unfit::Empty) } else { Ok(numbers) }
    }
}

/// The frames on the screen at one of the times k / rate.
fn per_second(rate: f64, timeline: &Timeline) -> Vec<usize> {
    let Some(grid) = Grid::new(rate) else { return Vec::new() };
    let seconds = &timeline.seconds;
    (0..seconds.len()).filter(|&number| grid.picks(seconds[number], seconds.get(number + 1).copied())).collect()
}

/// The times 0, 1 / rate, 2 / rate, ...
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    rate: f64,
    /// By how many steps a time may be off.
    rounding: f64,
}

impl Grid {
    /// `None` for an invalid rate.
    pub(crate) fn new(rate: f64) -> Option<Self> {
        // No file has times closer than a billionth of a second.
        (rate.is_normal() && rate > 0.0).then(|| Self { rate: rate.min(1e9), rounding: 1e-6f64.min(1e-4 * rate) })
    }

    /// Whether a frame is on the screen at one of the times, from its beginning until that of the next in seconds. Of the
    /// last frame only the beginning counts.
    pub(crate) fn picks(&self, begin: f64, next: Option<f64>) -> bool {
        let begin = begin * self.rate;
        let until = next.map_or(begin + 2.0 * self.rounding, |next| next * self.rate);
        (begin - self.rounding).ceil() < until - self.rounding
    }
}

/// The numbers of `segments` frames evenly spread over a clip of `frame_count` frames (specification, section 2).
///
/// With `seg = (frame_count - 1) / segments` as a double and `start = trunc(seg / 2)`, frame `i` is
/// `start + round(seg * i)`, ties to the even number. Every index is below `frame_count`. A clip without frames gives no
/// index.
///
/// ```
/// assert_eq!(pvchat_video::sampling::uniform_indices(250, 8), [15, 46, 77, 108, 139, 171, 202, 233]);
/// assert_eq!(pvchat_video::sampling::uniform_indices(1, 3), [0, 0, 0]);
/// ```
pub fn uniform_indices(frame_count: usize, segments: usize) -> Vec<usize> {
    let Some(last) = frame_count.checked_sub(1) else { return Vec::new() };
    let segment = last as f64 / segments as f64;
    let start = (segment / 2.0).trunc();
    (0..segments).map(|i| ((start + (segment * i as f64).round_ties_even()) as usize).min(last)).collect()
}

/// The times of frames in seconds as the prompt states them: index over `frame_rate` (frames per second) with one decimal,
/// the exact binary value rounded, ties to even.
///
/// ```
/// assert_eq!(pvchat_video::sampling::seconds(&[15, 46, 77], 25.0), ["0.6", "1.8", "3.1"]);
/// ```
pub fn seconds(indices: &[usize], frame_rate: f64) -> Vec<String> {
    indices.iter().map(|&index| format!("{:.1}", index as f64 / frame_rate)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(rate: f64, frames: usize) -> Timeline {
        let seconds = (0..frames).map(|number| number as f64 / rate).collect();
        Timeline { seconds, key_frames: vec![0, frames / 2], unit: 0.001 }
    }

    fn picked(plan: &SamplingPlan) -> Vec<usize> {
        plan.numbers(&timeline(10.0, 25)).unwrap_or_default()
    }

    #[test]
    fn plans_pick_their_frames() {
        assert_eq!(picked(&SamplingPlan::PerSecond(2.0)), [0, 5, 10, 15, 20]);
        assert_eq!(picked(&SamplingPlan::PerSecond(100.0)), (0..25).collect::<Vec<_>>());
        assert_eq!(picked(&SamplingPlan::PerSecond(3.0)), [0, 3, 6, 10, 13, 16, 20, 23]);
        assert_eq!(picked(&SamplingPlan::PerSecond(0.01)), [0]);
        assert_eq!(picked(&SamplingPlan::PerSecond(1e-200)), [0]);
        assert_eq!(picked(&SamplingPlan::PerSecond(f64::MAX)), (0..25).collect::<Vec<_>>());
        assert_eq!(picked(&SamplingPlan::KeyFrames), [0, 12]);
        assert_eq!(picked(&SamplingPlan::Range(22..25)), [22, 23, 24]);
        assert_eq!(picked(&SamplingPlan::Times(vec![0.25, 0.0, 2.4])), [2, 0, 24]);
        assert_eq!(picked(&SamplingPlan::Every(10)), [0, 10, 20]);
    }

    #[test]
    fn plans_that_do_not_fit_say_why() {
        let why = |plan: SamplingPlan| plan.numbers(&timeline(10.0, 25)).err();
        assert!(matches!(why(SamplingPlan::Range(20..26)), Some(Unfit::Frame(25))));
        assert!(matches!(why(SamplingPlan::Indices(vec![3, 25])), Some(Unfit::Frame(25))));
        assert!(matches!(why(SamplingPlan::Times(vec![9.0])), Some(Unfit::Time(_))));
        for plan in
            [SamplingPlan::Every(0), SamplingPlan::Range(3..3), SamplingPlan::PerSecond(f64::NAN), SamplingPlan::PerSecond(0.0)]
        {
            assert!(matches!(why(plan), Some(Unfit::Empty)));
        }
    }
}
