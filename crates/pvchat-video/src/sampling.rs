//! Which frames of a clip are looked at.

/// Which frames of a clip to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SamplingPlan {
    /// This many frames, evenly spread, by [`uniform_indices`]. A clip that is shorter repeats frames.
    Uniform(usize),
    /// Every frame.
    All,
    /// Frames 0, n, 2n, ...
    Every(usize),
    /// These frames in this order, counted from 0; repeats are allowed.
    Indices(Vec<usize>),
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
