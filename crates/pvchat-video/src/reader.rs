//! Opening a video, asking what is in it, and getting its frames.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::convert::ToRgb;
use crate::pass::{Decoded, Pass};
use crate::{Clip, Error, Limits, Result, SamplingPlan, sampling, still};

/// What a file holds.
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
    /// FFmpeg's name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2`; `image` for still images.
    pub container: String,
    /// Average frames per second; 1 where the file gives none, as for still images.
    pub frame_rate: f64,
    /// The number of frames that the container states, which may be wrong; see [`VideoReader::frame_count`].
    pub stated_frames: Option<usize>,
    /// Duration in seconds, where the container states it.
    pub duration_seconds: Option<f64>,
}

/// One frame of a video.
#[derive(Clone, PartialEq)]
pub struct Frame {
    /// Its number, counted from 0.
    pub index: usize,
    /// Its time of display in seconds, 0 for the first frame.
    pub seconds: f64,
    /// Its upright picture.
    pub image: RgbImage,
}

impl std::fmt::Debug for Frame {
    /// The size of the picture in place of its pixels.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.image.dimensions();
        formatter.debug_struct("Frame").field("index", &self.index).field("seconds", &self.seconds).field("image", &size).finish()
    }
}

/// An open video file or still image.
///
/// Frames are counted in the order of display. The decoder is drained at the end, so the last frames are not lost. Each
/// call of a method that gives frames is one pass over the file from its beginning. Where a stream changes the size of its
/// pictures midway, they are scaled to that of its first.
///
/// Still images (PNG, JPEG and WebP, recognised by their content) are decoded by the `image` crate and turned as their Exif
/// data asks.
pub struct VideoReader {
    path: PathBuf,
    limits: Limits,
    info: VideoInfo,
    content: Content,
    /// The number of frames, once it is certain.
    count: Option<usize>,
}

enum Content {
    Still(RgbImage),
    /// The pass that `open` began, for the first that needs one.
    Video(Option<Box<Pass>>),
}

impl VideoReader {
    /// Opens a file with the default [`Limits`] and decodes its first frame.
    ///
    /// # Errors
    /// For files that are missing, empty, cut off, damaged at the beginning, too large, or no videos.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, Limits::default())
    }

    /// Opens a file with limits of the caller's choice.
    ///
    /// # Errors
    /// Those of [`VideoReader::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: Limits) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        if let Some((format, image)) = still::open(&path, &limits)? {
            let info = VideoInfo {
                width: image.width(),
                height: image.height(),
                rotation: 0,
                codec: format.extensions_str().first().copied().unwrap_or("image").to_string(),
                container: "image".to_string(),
                frame_rate: 1.0,
                stated_frames: Some(1),
                duration_seconds: None,
            };
            return Ok(Self { path, limits, info, content: Content::Still(image), count: Some(1) });
        }
        let mut pass = Pass::open(&path, &limits)?;
        let statement = pass.statement();
        let Some(first) = pass.peek()? else { return Err(Error::NoFrames { path }) };
        let (_, swaps) = first.orientation.map(|orientation| orientation.filters()).unwrap_or_default();
        let (width, height) = (first.frame.width(), first.frame.height());
        let (width, height) = if swaps { (height, width) } else { (width, height) };
        let info = VideoInfo {
            width,
            height,
            rotation: first.orientation.and_then(|orientation| orientation.degrees()).unwrap_or(0),
            codec: statement.codec,
            container: statement.container,
            frame_rate: statement.frame_rate.unwrap_or(1.0),
            stated_frames: statement.frames,
            duration_seconds: statement.duration_seconds,
        };
        Ok(Self { path, limits, info, content: Content::Video(Some(Box::new(pass))), count: None })
    }

    /// What the file holds.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The exact number of frames that the decoder gives. The first call decodes the whole file, unless it was read to its
    /// end before; what the container states is not trusted.
    ///
    /// # Errors
    /// For files that are damaged or exceed the limits.
    pub fn frame_count(&mut self) -> Result<usize> {
        match self.count {
            Some(count) => Ok(count),
            None => self.collect(&Wanted::These(BTreeSet::new()), true).map(|collected| collected.seen),
        }
    }

    /// Decodes the frames that a plan picks.
    ///
    /// Where the plan needs the number of frames, the file is decoded to its end to make sure of it, and once more in the
    /// rare case that the container stated another.
    ///
    /// # Errors
    /// For frames that do not exist, for damaged files, and where [`Limits`] are exceeded. A plan that picks nothing is an
    /// error too.
    pub fn sample(&mut self, plan: &SamplingPlan) -> Result<Clip> {
        let picked = match plan {
            SamplingPlan::Uniform(segments) => *segments,
            SamplingPlan::Every(step) => *step,
            SamplingPlan::Indices(indices) => indices.len(),
            SamplingPlan::All => 1,
        };
        if picked == 0 {
            let remedy = "ask for one frame or more";
            return Err(Error::InvalidSetting {
                path: self.path.clone(),
                name: "sampling plan",
                value: format!("{plan:?}"),
                remedy,
            });
        }
        match plan {
            SamplingPlan::Uniform(segments) => {
                self.check_clip_size(*segments)?;
                self.sample_uniform(*segments)
            }
            SamplingPlan::Indices(indices) => {
                self.check_clip_size(indices.len())?;
                let collected = self.collect(&Wanted::These(indices.iter().copied().collect()), false)?;
                self.arrange(collected, indices.clone())
            }
            SamplingPlan::All => self.sample_every(1),
            SamplingPlan::Every(step) => self.sample_every(*step),
        }
    }

    /// All frames one after another; only a few are in memory at a time.
    pub fn frames(&mut self) -> Frames<'_> {
        Frames { reader: self, pass: None, to_rgb: ToRgb::default(), finished: false }
    }

    fn sample_uniform(&mut self, segments: usize) -> Result<Clip> {
        let mut count = match self.count.or(self.info.stated_frames) {
            Some(count) => count,
            // Only a guess as well, but nearly always right, and far cheaper than decoding everything twice.
            None => Pass::open(&self.path, &self.limits)?.count_packets()?,
        };
        loop {
            let indices = sampling::uniform_indices(count, segments);
            let certain = self.count.is_some();
            let collected = self.collect(&Wanted::These(indices.iter().copied().collect()), !certain)?;
            if certain || collected.seen == count {
                return self.arrange(collected, indices);
            }
            count = collected.seen;
        }
    }

    fn sample_every(&mut self, step: usize) -> Result<Clip> {
        let collected = self.collect(&Wanted::Every(step), true)?;
        let indices = collected.frames.iter().map(|frame| frame.index).collect();
        self.arrange(collected, indices)
    }

    /// One pass over the file that keeps the wanted frames, to the last of them or to the end.
    fn collect(&mut self, wanted: &Wanted, to_end: bool) -> Result<Collected> {
        let mut collected = Collected { frames: Vec::new(), seen: 0 };
        let mut frames = self.frames();
        while to_end || !wanted.is_complete(collected.seen) {
            let Some(decoded) = frames.advance()? else { break };
            collected.seen += 1;
            if wanted.contains(decoded.index()) {
                frames.reader.check_clip_size(collected.frames.len() + 1)?;
                collected.frames.push(frames.picture(decoded)?);
            }
        }
        Ok(collected)
    }

    /// Brings collected frames, which ascend, into the order of `indices`, repeats included.
    fn arrange(&self, collected: Collected, indices: Vec<usize>) -> Result<Clip> {
        let numbers: Vec<usize> = collected.frames.iter().map(|frame| frame.index).collect();
        let mut uses = vec![0usize; numbers.len()];
        let mut places = Vec::with_capacity(indices.len());
        for &index in &indices {
            let missing = |_| Error::FrameOutOfRange { path: self.path.clone(), index, count: collected.seen };
            let place = numbers.binary_search(&index).map_err(missing)?;
            uses[place] += 1;
            places.push(place);
        }
        let times = places.iter().map(|&place| collected.frames[place].seconds).collect();
        let mut pictures: Vec<RgbImage> = collected.frames.into_iter().map(|frame| frame.image).collect();
        let take = |place: usize| {
            uses[place] -= 1;
            if uses[place] == 0 { std::mem::take(&mut pictures[place]) } else { pictures[place].clone() }
        };
        let frames = places.into_iter().map(take).collect();
        Ok(Clip { frames, indices, times, frame_rate: self.info.frame_rate, source: self.path.clone() })
    }

    fn check_clip_size(&self, frames: usize) -> Result<()> {
        let bytes = u128::from(self.info.width) * u128::from(self.info.height) * 3 * frames as u128;
        if bytes <= u128::from(self.limits.clip_bytes) {
            return Ok(());
        }
        let what = format!("a clip of {frames} frames of {}x{} pixels", self.info.width, self.info.height);
        Err(Error::limit(&self.path, "clip_bytes", what, format!("{} bytes", self.limits.clip_bytes)))
    }
}

impl std::fmt::Debug for VideoReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("VideoReader").field("path", &self.path).field("info", &self.info).finish_non_exhaustive()
    }
}

/// Which frames a pass keeps.
enum Wanted {
    These(BTreeSet<usize>),
    Every(usize),
}

impl Wanted {
    fn contains(&self, index: usize) -> bool {
        match self {
            Self::These(indices) => indices.contains(&index),
            Self::Every(step) => index.is_multiple_of(*step),
        }
    }

    /// Whether nothing is wanted after the first `seen` frames.
    fn is_complete(&self, seen: usize) -> bool {
        match self {
            Self::These(indices) => indices.last().is_none_or(|last| *last < seen),
            Self::Every(_) => false,
        }
    }
}

/// What a pass kept.
struct Collected {
    /// In the order of display.
    frames: Vec<Frame>,
    /// How many frames went by.
    seen: usize,
}

/// The frames of a [`VideoReader`], from first to last. After an error it ends.
pub struct Frames<'a> {
    reader: &'a mut VideoReader,
    pass: Option<Box<Pass>>,
    to_rgb: ToRgb,
    finished: bool,
}

/// A frame that went by and was not converted yet.
enum Passed {
    Still,
    Decoded(Decoded),
}

impl Passed {
    fn index(&self) -> usize {
        match self {
            Self::Still => 0,
            Self::Decoded(decoded) => decoded.index,
        }
    }
}

impl Frames<'_> {
    /// Decodes one frame without converting it. At the end the reader learns its exact number of frames.
    fn advance(&mut self) -> Result<Option<Passed>> {
        if self.finished {
            return Ok(None);
        }
        let pass = match (&mut self.pass, &mut self.reader.content) {
            (_, Content::Still(_)) => {
                self.finished = true;
                return Ok(Some(Passed::Still));
            }
            (Some(pass), _) => pass,
            (empty, Content::Video(begun)) => empty.insert(match begun.take() {
                Some(begun) => begun,
                None => Box::new(Pass::open(&self.reader.path, &self.reader.limits)?),
            }),
        };
        let decoded = pass.next()?;
        if decoded.is_none() {
            self.finished = true;
            self.reader.count = Some(pass.frames_given());
        }
        Ok(decoded.map(Passed::Decoded))
    }

    fn picture(&mut self, passed: Passed) -> Result<Frame> {
        match (passed, &self.reader.content) {
            (Passed::Decoded(decoded), _) => {
                let index = decoded.index;
                let seconds = decoded.seconds.unwrap_or(index as f64 / self.reader.info.frame_rate);
                let failed = |error: ffmpeg_next::Error| Error::Decode {
                    path: self.reader.path.clone(),
                    frame: index,
                    reason: error.to_string(),
                };
                Ok(Frame { index, seconds, image: self.to_rgb.convert(decoded).map_err(failed)? })
            }
            (Passed::Still, Content::Still(image)) => Ok(Frame { index: 0, seconds: 0.0, image: image.clone() }),
            (Passed::Still, Content::Video(_)) => Err(Error::NoFrames { path: self.reader.path.clone() }),
        }
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = match self.advance() {
            Ok(passed) => passed.map(|passed| self.picture(passed)),
            Err(error) => Some(Err(error)),
        };
        self.finished |= matches!(frame, Some(Err(_)));
        frame
    }
}
