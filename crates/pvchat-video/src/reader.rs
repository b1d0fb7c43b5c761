//! Opening a video, describing it, and getting its frames.

use std::collections::BTreeSet;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use image::RgbImage;

use crate::damage::REORDERED;
use crate::demuxer::Demuxer;
use crate::frame::Frame;
use crate::index::{PacketIndex, Packets};
use crate::info::{Timeline, VideoInfo};
use crate::options::{Job, ReadOptions};
use crate::random::{RandomAccess, Stop};
use crate::sampling::Unfit;
use crate::source::Source;
use crate::{Clip, Damage, Error, Result, SamplingPlan, still};

mod frames;

pub use frames::Frames;
pub(crate) use frames::Passed;

/// An open video file or still image.
///
/// Frames are counted in the order of display. The decoder is drained at the end, so the last frames are not lost. Where a
/// stream changes the size of its pictures midway, they are scaled to that of its first.
///
/// Frames that are asked for by number, time or plan are decoded from the key frame before them, and come out as they do
/// when everything is decoded from the beginning. Where the packets of a file do not tell its frames apart (interlaced or
/// without times, GIF, codecs of which that is not known), the file is decoded from the beginning instead.
///
/// Images (PNG, JPEG and WebP, recognised by their content) are decoded by the `image` crate and turned as their Exif data
/// asks. Animated PNG and WebP have the times that their delays make; all their frames are decoded when they are opened, and
/// [`Limits::clip_bytes`](crate::Limits::clip_bytes) bounds them.
pub struct VideoReader {
    pub(crate) job: Arc<Job>,
    pub(crate) info: VideoInfo,
    pub(crate) content: Content,
    pub(crate) timeline: Option<Timeline>,
    /// The number of frames, once it is certain.
    pub(crate) count: Option<usize>,
    pub(crate) damage: Vec<Damage>,
}

pub(crate) enum Content {
    /// Images are decoded when they are opened.
    Still(Vec<RgbImage>),
    /// The demuxer that `open` opened, until something needs one.
    Opened(Option<Box<Demuxer>>),
    /// The packets tell the frames apart.
    Random(Box<RandomAccess>),
    /// They do not.
    Sequential,
}

impl VideoReader {
    /// Opens a file with the default [`ReadOptions`]. Nothing is decoded yet, except what FFmpeg needs to describe the stream.
    ///
    /// # Errors
    /// For files that are missing, empty, cut off, encrypted, too large, or no videos.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, ReadOptions::default())
    }

    /// Opens a file with options or [`Limits`](crate::Limits) of the caller's choice.
    ///
    /// # Errors
    /// Those of [`VideoReader::open`].
    pub fn open_with(path: impl AsRef<Path>, options: impl Into<ReadOptions>) -> Result<Self> {
        let name = path.as_ref().to_path_buf();
        Self::start(Job { source: Source::File(name.clone()), name, options: options.into() })
    }

    /// Opens a file that is in memory. Errors call it `memory`.
    ///
    /// # Errors
    /// Those of [`VideoReader::open`].
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>, options: impl Into<ReadOptions>) -> Result<Self> {
        Self::start(Job { source: Source::Memory(bytes.into()), name: PathBuf::from("memory"), options: options.into() })
    }

    /// Opens anything that can be read and sought, from its first byte on. Errors call it `stream`. Time is looked at
    /// between reads: one that never returns is not interrupted.
    ///
    /// # Errors
    /// Those of [`VideoReader::open`].
    pub fn from_reader(stream: impl Read + Seek + Send + 'static, options: impl Into<ReadOptions>) -> Result<Self> {
        let source = Source::Stream(Arc::new(Mutex::new(stream)));
        Self::start(Job { source, name: PathBuf::from("stream"), options: options.into() })
    }

    fn start(job: Job) -> Result<Self> {
        let job = Arc::new(job);
        if let Some((width, height)) = job.options.size
            && (width == 0 || height == 0 || u64::from(width) * u64::from(height) > job.options.limits.frame_pixels)
        {
            let remedy = "ask for one pixel or more each way, and no more than `Limits::frame_pixels`";
            let value = format!("{width}x{height}");
            return Err(Error::InvalidSetting { path: job.name.clone(), name: "frame size", value, remedy });
        }
        if let Some(still) = still::open(&job)? {
            let count = still.frames.len();
            let moves = count > 1;
            let info = VideoInfo {
                width: still.width,
                height: still.height,
                rotation: 0,
                codec: still.format.extensions_str().first().copied().unwrap_or("image").to_string(),
                container: "image".to_string(),
                frame_rate: if moves { count as f64 / still.end } else { 1.0 },
                stated_frames: Some(count),
                duration_seconds: moves.then_some(still.end),
                streams: Vec::new(),
            };
            let timeline = Some(Timeline { seconds: still.seconds, key_frames: vec![0], unit: 0.001 });
            let content = Content::Still(still.frames);
            return Ok(Self { job, info, content, timeline, count: Some(count), damage: Vec::new() });
        }
        let demuxer = Demuxer::open(&job)?;
        let (statement, orientation) = (&demuxer.statement, demuxer.orientation);
        let (_, swaps) = orientation.map(|orientation| orientation.filters()).unwrap_or_default();
        let (width, height) = (statement.width, statement.height);
        let (width, height) = if swaps { (height, width) } else { (width, height) };
        let info = VideoInfo {
            width,
            height,
            rotation: orientation.and_then(|orientation| orientation.degrees()).unwrap_or(0),
            codec: statement.codec.name().to_string(),
            container: statement.container.clone(),
            frame_rate: statement.frame_rate.unwrap_or(1.0),
            stated_frames: statement.frames,
            duration_seconds: statement.duration_seconds,
            streams: statement.streams.clone(),
        };
        Ok(Self { job, info, content: Content::Opened(Some(Box::new(demuxer))), timeline: None, count: None, damage: Vec::new() })
    }

    /// What the file says of itself.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.job.name
    }

    /// What was found damaged while the last call decoded, and left out ([`DamagePolicy::Skip`](crate::DamagePolicy::Skip));
    /// empty where nothing is damaged. Damage in frames that were not needed is not looked for.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// The number of frames that the decoder gives; what the container states is not trusted. Mostly it follows from the
    /// packets, which are read once but not decoded, in an mp4 not even that.
    ///
    /// # Errors
    /// For files that are damaged or exceed the limits.
    pub fn frame_count(&mut self) -> Result<usize> {
        match self.count {
            Some(count) => Ok(count),
            None => self.timeline().map(Timeline::len),
        }
    }

    /// When each frame is shown, and which are key frames. Costs what [`VideoReader::frame_count`] costs, once.
    ///
    /// # Errors
    /// For files that are damaged or exceed the limits.
    pub fn timeline(&mut self) -> Result<&Timeline> {
        self.prepare()?;
        let made = match (self.timeline.take(), &self.content) {
            (Some(timeline), _) => timeline,
            (None, Content::Random(random)) => random.index().timeline(),
            (None, _) => self.decode_timeline()?,
        };
        self.count = Some(made.len());
        Ok(self.timeline.insert(made))
    }

    /// One frame by its number, counted from 0.
    ///
    /// # Errors
    /// Those of [`VideoReader::sample`].
    pub fn frame(&mut self, index: usize) -> Result<Frame> {
        self.only_frame(&SamplingPlan::Indices(vec![index]))
    }

    /// The frame that is on the screen at a time in seconds.
    ///
    /// # Errors
    /// Those of [`VideoReader::sample`].
    pub fn frame_at(&mut self, seconds: f64) -> Result<Frame> {
        self.only_frame(&SamplingPlan::Times(vec![seconds]))
    }

    fn only_frame(&mut self, plan: &SamplingPlan) -> Result<Frame> {
        let Clip { frames, indices, times, source, .. } = self.sample(plan)?;
        let frame = frames.into_iter().zip(indices).zip(times).next();
        let ((image, index), seconds) = frame.ok_or(Error::NoFrames { path: source })?;
        Ok(Frame { index, seconds, image })
    }

    /// Decodes the frames that a plan picks, each once, and no more than they need. Damaged frames are missing from the clip
    /// where damage is skipped.
    ///
    /// # Errors
    /// For frames that do not exist, for damaged files, and where [`Limits`](crate::Limits) are exceeded. A plan that picks
    /// nothing is an error too.
    pub fn sample(&mut self, plan: &SamplingPlan) -> Result<Clip> {
        // Before anything is read: a count of this size would not fit whatever the file holds.
        match plan {
            SamplingPlan::Uniform(picked) => self.check_clip_size(*picked)?,
            SamplingPlan::Indices(picked) => self.check_clip_size(picked.len())?,
            SamplingPlan::Times(picked) => self.check_clip_size(picked.len())?,
            _ => {}
        }
        self.damage.clear();
        self.prepare()?;
        let indices = self.numbers(plan)?;
        self.check_clip_size(indices.len())?;
        let wanted: BTreeSet<usize> = indices.iter().copied().collect();
        let random = match &mut self.content {
            Content::Random(random) => {
                let sorted: Vec<usize> = wanted.iter().copied().collect();
                match random.pictures(&sorted, self.job.options.size.unwrap_or((self.info.width, self.info.height))) {
                    Ok(pictures) => Some(pictures),
                    Err(Stop::Error(error)) => return Err(error),
                    Err(Stop::Damaged) => {
                        let collected = self.collect(&wanted, 2 * REORDERED)?;
                        return self.arrange(collected, indices);
                    }
                    Err(Stop::Mismatch) => None,
                }
            }
            _ => None,
        };
        match random {
            Some(frames) => self.arrange(frames, indices),
            None => {
                if matches!(self.content, Content::Random(_)) {
                    self.index_is_wrong();
                }
                let indices = self.numbers(plan)?;
                let collected = self.collect(&indices.iter().copied().collect(), 0)?;
                self.arrange(collected, indices)
            }
        }
    }

    /// The numbers of the frames that a plan picks.
    fn numbers(&mut self, plan: &SamplingPlan) -> Result<Vec<usize>> {
        let path = self.job.name.clone();
        let timeline = self.timeline()?;
        plan.numbers(timeline).map_err(|unfit| match unfit {
            Unfit::Frame(index) => Error::FrameOutOfRange { path, index, count: timeline.len() },
            Unfit::Time(time) => {
                let remedy = "ask for a time between the first frame (0) and the end of the last";
                Error::InvalidSetting { path, name: "time in seconds", value: time.to_string(), remedy }
            }
            Unfit::Empty => {
                let remedy = "ask for one frame or more";
                Error::InvalidSetting { path, name: "sampling plan", value: format!("{plan:?}"), remedy }
            }
        })
    }

    /// Finds out whether the packets tell the frames apart.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        let Content::Opened(opened) = &mut self.content else { return Ok(()) };
        let mut demuxer = match opened.take() {
            Some(demuxer) => *demuxer,
            None => Demuxer::open(&self.job)?,
        };
        demuxer.begin();
        demuxer.watch.start();
        let packets = PacketIndex::build(&mut demuxer)?;
        demuxer.watch.stop();
        self.content = match packets {
            Packets::Indexed(index) => Content::Random(Box::new(RandomAccess::new(&self.job, demuxer, Arc::new(index))?)),
            Packets::Unpredictable => Content::Sequential,
        };
        Ok(())
    }

    /// From now on the file is decoded from the beginning.
    pub(crate) fn index_is_wrong(&mut self) {
        self.content = Content::Sequential;
        (self.timeline, self.count) = (None, None);
    }

    /// Decodes the whole file to learn of its frames.
    fn decode_timeline(&mut self) -> Result<Timeline> {
        let mut timeline = Timeline { unit: 0.001, ..Timeline::default() };
        let mut frames = self.frames();
        while let Some(passed) = frames.advance()? {
            if let Passed::Decoded(decoded) = passed {
                timeline.seconds.push(decoded.seconds.unwrap_or(0.0));
                timeline.key_frames.extend(decoded.is_key.then_some(decoded.index));
            }
        }
        Ok(timeline)
    }

    /// All frames one after another; only a few are in memory at a time.
    pub fn frames(&mut self) -> Frames<'_> {
        self.damage.clear();
        Frames::new(self)
    }

    /// One pass over the file that keeps the wanted frames, to the last of them and `more` behind it, which may show damage.
    fn collect(&mut self, wanted: &BTreeSet<usize>, more: usize) -> Result<Vec<Frame>> {
        let mut collected = Vec::with_capacity(wanted.len());
        let mut frames = self.frames();
        let last = wanted.last().copied().unwrap_or(0).saturating_add(more);
        while more > 0 || collected.len() < wanted.len() {
            let Some(passed) = frames.advance()? else { break };
            let index = passed.index();
            if wanted.contains(&index) {
                collected.push(frames.picture(passed)?);
            }
            if index >= last {
                break;
            }
        }
        Ok(collected)
    }

    /// Brings collected frames, which ascend, into the order of `indices`, repeats included.
    fn arrange(&self, collected: Vec<Frame>, mut indices: Vec<usize>) -> Result<Clip> {
        let numbers: Vec<usize> = collected.iter().map(|frame| frame.index).collect();
        if self.job.options.skips_damage() {
            indices.retain(|index| numbers.binary_search(index).is_ok());
            if indices.is_empty() {
                return Err(Error::NoFrames { path: self.job.name.clone() });
            }
        }
        let mut uses = vec![0usize; numbers.len()];
        let mut places = Vec::with_capacity(indices.len());
        for &index in &indices {
            let missing =
                |_| Error::FrameOutOfRange { path: self.job.name.clone(), index, count: self.count.unwrap_or(collected.len()) };
            let place = numbers.binary_search(&index).map_err(missing)?;
            uses[place] += 1;
            places.push(place);
        }
        let times = places.iter().map(|&place| collected[place].seconds).collect();
        let mut pictures: Vec<RgbImage> = collected.into_iter().map(|frame| frame.image).collect();
        let take = |place: usize| {
            uses[place] -= 1;
            if uses[place] == 0 { std::mem::take(&mut pictures[place]) } else { pictures[place].clone() }
        };
        let frames = places.into_iter().map(take).collect();
        Ok(Clip { frames, indices, times, frame_rate: self.info.frame_rate, source: self.job.name.clone() })
    }

    pub(crate) fn check_clip_size(&self, frames: usize) -> Result<()> {
        let (width, height) = self.job.options.size.unwrap_or((self.info.width, self.info.height));
        // A header may state no size at all.
        let bytes = u128::from(width.max(1)) * u128::from(height.max(1)) * 3 * frames as u128;
        if bytes > u128::from(self.job.options.limits.clip_bytes) {
            let what = format!("a clip of {frames} frames of {width}x{height} pixels");
            let allowed = format!("{} bytes", self.job.options.limits.clip_bytes);
            return Err(Error::limit(&self.job.name, "clip_bytes", what, allowed));
        }
        if frames > self.job.options.limits.frames {
            let allowed = format!("{} frames", self.job.options.limits.frames);
            return Err(Error::limit(&self.job.name, "frames", format!("a clip of {frames} frames"), allowed));
        }
        Ok(())
    }
}

impl Clip {
    /// Opens a file and keeps `segments` evenly spread frames ([`SamplingPlan::Uniform`]).
    ///
    /// # Errors
    /// Those of [`VideoReader::open`] and [`VideoReader::sample`].
    pub fn open(path: impl AsRef<Path>, segments: usize) -> Result<Self> {
        VideoReader::open(path)?.sample(&SamplingPlan::Uniform(segments))
    }
}

impl std::fmt::Debug for VideoReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("VideoReader").field("path", &self.job.name).field("info", &self.info).finish_non_exhaustive()
    }
}
