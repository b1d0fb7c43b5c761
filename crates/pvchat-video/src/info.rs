//! What a file holds, found out without decoding.

/// What a file says of itself in its header.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VideoInfo {
    /// Width of the upright frames in pixels.
    pub width: u32,
    /// Height of the upright frames in pixels.
    pub height: u32,
    /// By how many degrees the stored frames are turned clockwise to stand upright, 0 to 359. `width` and `height` are those
    /// after it.
    pub rotation: u16,
    /// FFmpeg's name of the codec, such as `h264`; for still images that of the format, such as `png`.
    pub codec: String,
    /// FFmpeg's name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2`; `image` for images.
    pub container: String,
    /// Average frames per second; 1 where the file gives none, as for still images.
    pub frame_rate: f64,
    /// The number of frames that the container states, which may be wrong; see
    /// [`VideoReader::frame_count`](crate::VideoReader::frame_count).
    pub stated_frames: Option<usize>,
    /// For how long there are frames in seconds, where the container states it.
    pub duration_seconds: Option<f64>,
    /// Everything in the file, in the order of the container; empty for images.
    pub streams: Vec<StreamInfo>,
}

/// One stream of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Its number in the file, counted from 0.
    pub index: usize,
    /// What is in it.
    pub kind: StreamKind,
    /// FFmpeg's name of its codec.
    pub codec: String,
}

/// What is in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamKind {
    /// Moving pictures.
    Video,
    /// One picture that goes with sound.
    Cover,
    /// Sound.
    Audio,
    /// Text or pictures of text.
    Subtitle,
    /// Anything else.
    Other,
}

/// When each frame of a video is shown, and which are key frames.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timeline {
    /// Time of display of each frame in seconds, 0 for the first, in the order of display.
    pub seconds: Vec<f64>,
    /// Numbers of the frames that decode without any other.
    pub key_frames: Vec<usize>,
    /// The unit of the file's times in seconds.
    pub(crate) unit: f64,
}

impl Timeline {
    /// The number of frames.
    pub fn len(&self) -> usize {
        self.seconds.len()
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.seconds.is_empty()
    }

    /// Whether frames are shown for different times, by more than the rounding of the file's unit of time.
    pub fn is_variable_rate(&self) -> bool {
        let steps = || self.seconds.windows(2).map(|pair| pair[1] - pair[0]);
        let (shortest, longest) = steps().fold((f64::INFINITY, 0.0f64), |(low, high), step| (low.min(step), high.max(step)));
        longest - shortest > 2.0 * self.unit + 1e-9
    }

    /// The number of the frame that is on the screen at a time in seconds: the last that began by then. The last frame stays
    /// for as long as frames stay on average. `None` before the first and after the last.
    pub fn frame_at(&self, seconds: f64) -> Option<usize> {
        let begun = self.seconds.partition_point(|time| *time <= seconds + 1e-9);
        let (number, last) = (begun.checked_sub(1)?, self.seconds.last()?);
        let stay = last / self.len().saturating_sub(1).max(1) as f64;
        (seconds <= last + stay + 1e-9).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::Timeline;

    fn timeline(seconds: &[f64]) -> Timeline {
        Timeline { seconds: seconds.to_vec(), key_frames: vec![0], unit: 0.001 }
    }

    #[test]
    fn rates_that_vary_are_told_from_rounding() {
        assert!(!timeline(&[]).is_variable_rate());
        assert!(!timeline(&[0.0]).is_variable_rate());
        assert!(!timeline(&[0.0, 0.033, 0.067, 0.1, 0.133]).is_variable_rate());
        assert!(timeline(&[0.0, 0.033, 0.1, 0.133]).is_variable_rate());
    }

    #[test]
    fn times_have_the_frame_that_is_on_the_screen() {
        let timeline = timeline(&[0.0, 0.1, 0.4]);
        let numbers: Vec<_> = [-0.1, 0.0, 0.05, 0.1, 0.39, 0.4, 0.59, 0.7, f64::NAN].map(|t| timeline.frame_at(t)).into();
        assert_eq!(numbers, [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2), None, None]);
    }
}
