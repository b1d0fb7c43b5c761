//! Frames of long footage one after another, a few per second, with memory that does not grow with its length.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::convert::ToRgb;
use crate::frame::Frame;
use crate::options::Job;
use crate::pass::{Decoded, Pass};
use crate::random::Stop;
use crate::reader::{Content, Frames, Passed, VideoReader};
use crate::sampling::Grid;
use crate::{Error, Result};

/// Which frames a [`FrameStream`] gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamPlan {
    /// Frames per second: those on the screen at 0, 1/n, 2/n, ... seconds, each once. Above the frame rate of the file, that
    /// is every frame.
    pub per_second: f64,
    /// Of these frames only those whose time of display is this or later, in seconds. A stream that begins at the time of a
    /// frame gives what one from the beginning gives from that frame on.
    pub from_seconds: f64,
}

impl StreamPlan {
    /// This many frames per second, from the beginning.
    pub fn per_second(per_second: f64) -> Self {
        Self { per_second, from_seconds: 0.0 }
    }
}

/// Frames of a [`VideoReader`] in the order of display ([`VideoReader::stream`]). After an error it ends.
pub struct FrameStream<'a> {
    frames: Frames<'a>,
    grid: Grid,
    /// Earlier frames are not given.
    from: f64,
    way: Way,
    converter: Converter,
    /// What is said when everything decoded so far was given: an error or nothing.
    end: Option<Result<()>>,
    given: usize,
    /// Damage in frames before this one was reported.
    reported: usize,
}

/// How frames are decoded.
enum Way {
    /// From key frame to key frame, no more than is needed.
    Random,
    /// The same, but these frames one by one, because something is damaged among them.
    Damaged { pass: Box<Pass>, wanted: VecDeque<usize> },
    /// Everything one by one, and what was decoded before that: until the next frame it is not known whether it is wanted.
    Sequential { before: Option<Passed> },
}

/// Frames that are converted before the first of them is asked for.
const AHEAD: usize = 2;

/// What turns frames into RGB.
enum Converter {
    /// The caller's thread.
    Here { to_rgb: Box<ToRgb>, waiting: Option<Decoded> },
    /// Another thread, while the next frames are decoded.
    There { to: Option<Sender<Decoded>>, from: Receiver<Result<Frame>>, waiting: usize, thread: Option<JoinHandle<()>> },
}

impl VideoReader {
    /// The frames that a plan picks, one after another. At most a few pictures are in memory at a time, and per packet of the
    /// file some 60 bytes of its index.
    ///
    /// No more is decoded than the frames need: not what comes before the key frame of the first, and no pictures that
    /// neither are wanted nor others refer to. The frames are those that [`VideoReader::sample`] gives for
    /// [`SamplingPlan::PerSecond`](crate::SamplingPlan::PerSecond). Where the packets of a file do not tell its frames apart,
    /// everything is decoded from the beginning, and only what is wanted is converted. Behind the last frame the stream is
    /// empty.
    ///
    /// [`Limits::time`](crate::Limits::time) and [`Limits::clip_bytes`](crate::Limits::clip_bytes) hold for each frame and not
    /// for all of them together.
    ///
    /// # Errors
    /// For a rate that is not a positive number, a time that is negative or no number, and for files that are damaged or
    /// exceed the limits. Damage that is met later is an item of the stream.
    pub fn stream(&mut self, plan: StreamPlan) -> Result<FrameStream<'_>> {
        let invalid = |name, value: f64, remedy| {
            let (path, value) = (self.job.name.clone(), value.to_string());
            Error::InvalidSetting { path, name, value, remedy }
        };
        let StreamPlan { per_second, from_seconds: from } = plan;
        let remedy = "ask for a positive number of frames per second";
        let grid = Grid::new(per_second).ok_or_else(|| invalid("frames per second", per_second, remedy))?;
        if !(from.is_finite() && from >= 0.0) {
            return Err(invalid("start in seconds", from, "start at 0 or later"));
        }
        self.check_clip_size(1)?;
        self.damage.clear();
        self.prepare()?;
        let way = match &mut self.content {
            Content::Random(random) => {
                let index = random.index();
                let seconds = |number: usize| index.seconds(number).unwrap_or(f64::INFINITY);
                let next = |number: usize| (number + 1 < index.len()).then(|| seconds(number + 1));
                let wanted = |number: &usize| seconds(*number) >= from && grid.picks(seconds(*number), next(*number));
                let wanted: Vec<usize> = (0..index.len()).filter(wanted).collect();
                random.begin(&wanted);
                Way::Random
            }
            _ => Way::Sequential { before: None },
        };
        let size = self.job.options.size.unwrap_or((self.info.width, self.info.height));
        let converter = Converter::new(&self.job, size);
        Ok(FrameStream { frames: Frames::new(self), grid, from, way, converter, end: None, given: 0, reported: 0 })
    }
}

impl FrameStream<'_> {
    fn advance(&mut self) -> Option<Result<Frame>> {
        while self.end.is_none() && self.converter.has_room() {
            match self.decode() {
                Ok(Some(Passed::Decoded(decoded))) => {
                    (self.from, self.given) = (decoded.seconds.unwrap_or(0.0).next_up(), self.given + 1);
                    self.converter.send(decoded);
                }
                Ok(Some(still)) => return Some(self.frames.picture(still)),
                Ok(None) => self.end = Some(self.nothing_more()),
                Err(error) => self.end = Some(Err(error)),
            }
        }
        let converted = self.converter.receive(&self.frames.reader.job);
        converted.or_else(|| match self.end.replace(Ok(())) {
            Some(Err(error)) => Some(Err(error)),
            _ => None,
        })
    }

    /// A file of which damage left nothing is an error; a request for no frames is not.
    fn nothing_more(&self) -> Result<()> {
        let is_lost = self.given == 0 && self.from == 0.0 && !self.frames.reader.damage.is_empty();
        if is_lost { Err(Error::NoFrames { path: self.frames.reader.job.name.clone() }) } else { Ok(()) }
    }

    /// Decodes the next wanted frame; `None` behind the last.
    fn decode(&mut self) -> Result<Option<Passed>> {
        loop {
            match (&mut self.way, &mut self.frames.reader.content) {
                (Way::Random, Content::Random(random)) => {
                    random.restart_watch();
                    self.way = match random.next() {
                        Ok(decoded) => return Ok(decoded.map(Passed::Decoded)),
                        Err(Stop::Error(error)) => return Err(error),
                        Err(Stop::Mismatch) => Way::Sequential { before: None },
                        Err(Stop::Damaged) => match random.pass() {
                            Ok((pass, wanted)) => Way::Damaged { pass: Box::new(pass), wanted },
                            Err(Stop::Error(error)) => return Err(error),
                            Err(_) => Way::Sequential { before: None },
                        },
                    };
                    if matches!(self.way, Way::Sequential { .. }) {
                        self.frames.reader.index_is_wrong();
                    }
                }
                (Way::Damaged { pass, wanted }, _) => {
                    pass.restart_watch();
                    let next = if wanted.is_empty() { Ok(None) } else { pass.next() };
                    let reported = self.reported;
                    let is_new = |damage: &crate::Damage| damage.frame.is_none_or(|frame| frame >= reported);
                    self.frames.reader.damage.extend(pass.take_damage().into_iter().filter(is_new));
                    let next = next?;
                    let reached = next.as_ref().map_or(usize::MAX, |decoded| decoded.index);
                    while let Some(lost) = wanted.pop_front_if(|number| *number < reached) {
                        self.reported = lost + 1;
                        if !self.frames.reader.job.options.skips_damage() {
                            let path = self.frames.reader.job.name.clone();
                            let reason = "the decoder gives no picture for it".to_string();
                            return Err(Error::Decode { path, frame: lost, reason });
                        }
                    }
                    match next {
                        Some(decoded) if wanted.pop_front_if(|number| *number == reached).is_some() => {
                            self.reported = reached + 1;
                            return Ok(Some(Passed::Decoded(decoded)));
                        }
                        Some(_) if !wanted.is_empty() => {}
                        _ => self.way = Way::Random,
                    }
                }
                (Way::Sequential { before }, _) => {
                    self.frames.restart_watch();
                    let next = self.frames.advance()?;
                    let end = next.as_ref().map(Passed::seconds);
                    let is_last = next.is_none();
                    let passed = std::mem::replace(before, next);
                    match passed {
                        Some(passed) if passed.seconds() >= self.from && self.grid.picks(passed.seconds(), end) => {
                            return Ok(Some(passed));
                        }
                        _ if is_last => return Ok(None),
                        _ => {}
                    }
                }
                (Way::Random, _) => self.way = Way::Sequential { before: None },
            }
        }
    }
}

impl Iterator for FrameStream<'_> {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if matches!(next, Some(Err(_))) {
            self.end = Some(Ok(()));
            self.converter.clear();
        }
        next
    }
}

impl std::iter::FusedIterator for FrameStream<'_> {}

impl Converter {
    fn new(job: &Job, size: (u32, u32)) -> Self {
        let mut to_rgb = Box::new(ToRgb::new(Some(size)));
        if job.options.thread_count() == 1 {
            return Self::Here { to_rgb, waiting: None };
        }
        let (to, decoded) = channel::<Decoded>();
        let (converted, from) = channel();
        let path = job.name.clone();
        let convert = move || {
            for decoded in decoded {
                if converted.send(to_rgb.frame(decoded, &path)).is_err() {
                    return;
                }
            }
        };
        Self::There { to: Some(to), from, waiting: 0, thread: Some(std::thread::spawn(convert)) }
    }

    fn has_room(&self) -> bool {
        match self {
            Self::Here { waiting, .. } => waiting.is_none(),
            Self::There { waiting, .. } => *waiting < AHEAD,
        }
    }

    fn send(&mut self, decoded: Decoded) {
        match self {
            Self::Here { waiting, .. } => *waiting = Some(decoded),
            // That nobody takes it is found out when it is received.
            Self::There { to, waiting, .. } => {
                *waiting += 1;
                drop(to.as_ref().map(|to| to.send(decoded)));
            }
        }
    }

    /// The first frame that waits; `None` where none does.
    fn receive(&mut self, job: &Job) -> Option<Result<Frame>> {
        match self {
            Self::Here { to_rgb, waiting } => waiting.take().map(|decoded| to_rgb.frame(decoded, &job.name)),
            Self::There { from, waiting, .. } => {
                *waiting = waiting.checked_sub(1)?;
                Some(from.recv().unwrap_or_else(|_| Err(Error::NoFrames { path: job.name.clone() })))
            }
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Here { waiting, .. } => *waiting = None,
            Self::There { waiting, .. } => *waiting = 0,
        }
    }
}

impl Drop for Converter {
    fn drop(&mut self) {
        if let Self::There { to, thread, .. } = self {
            drop(to.take());
            // A panic in it was met by `receive`.
            thread.take().into_iter().for_each(|thread| drop(thread.join()));
        }
    }
}
