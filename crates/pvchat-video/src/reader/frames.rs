//! The frames of a video one by one, and as a clip.

use std::sync::Arc;

use super::{Content, VideoReader};
use crate::convert::ToRgb;
use crate::frame::Frame;
use crate::pass::{Decoded, Pass};
use crate::{Error, Result};

/// The frames of a [`VideoReader`], from first to last. After an error it ends.
pub struct Frames<'a> {
    pub(crate) reader: &'a mut VideoReader,
    pass: Option<Box<Pass>>,
    to_rgb: ToRgb,
    finished: bool,
    /// Images given so far.
    images: usize,
    /// Number and time of the last frame that has a time.
    timed: (usize, f64),
}

/// A frame that went by and was not converted yet.
pub(crate) enum Passed {
    /// Number and time of an image, which is there.
    Still(usize, f64),
    Decoded(Decoded),
}

impl Passed {
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Still(index, _) => *index,
            Self::Decoded(decoded) => decoded.index,
        }
    }

    /// Its time of display.
    pub(crate) fn seconds(&self) -> f64 {
        match self {
            Self::Still(_, seconds) => *seconds,
            Self::Decoded(decoded) => decoded.seconds.unwrap_or(0.0),
        }
    }
}

impl<'a> Frames<'a> {
    /// Begins before the first frame.
    pub(crate) fn new(reader: &'a mut VideoReader) -> Self {
        let size = reader.job.options.size.unwrap_or((reader.info.width, reader.info.height));
        Self { reader, pass: None, to_rgb: ToRgb::new(Some(size)), finished: false, images: 0, timed: (0, 0.0) }
    }

    /// Gives the next frames the whole time that the limits allow.
    pub(crate) fn restart_watch(&mut self) {
        self.pass.iter_mut().for_each(|pass| pass.restart_watch());
    }

    /// Decodes one frame without converting it. At the end the reader learns its exact number of frames.
    pub(crate) fn advance(&mut self) -> Result<Option<Passed>> {
        if self.finished {
            return Ok(None);
        }
        let pass = match (&mut self.pass, &self.reader.content) {
            (_, Content::Still(_)) => {
                let index = self.images;
                self.images += 1;
                let seconds = self.reader.timeline.as_ref().and_then(|timeline| timeline.seconds.get(index));
                self.finished = seconds.is_none();
                return Ok(seconds.map(|seconds| Passed::Still(index, *seconds)));
            }
            (Some(pass), _) => pass,
            (empty, _) => {
                let mut numbers = None;
                if self.reader.job.options.skips_damage() {
                    self.reader.prepare()?;
                    if let Content::Random(random) = &self.reader.content {
                        numbers = Some(Arc::clone(random.index()));
                    }
                }
                empty.insert(Box::new(Pass::open(&self.reader.job, numbers)?))
            }
        };
        let decoded = pass.next();
        self.reader.damage.extend(pass.take_damage());
        let mut decoded = decoded?;
        if let Some(decoded) = &mut decoded {
            // Files that tell no times of display lack those of the last frames, which are counted on.
            let (index, seconds) = self.timed;
            match decoded.seconds {
                Some(seconds) => self.timed = (decoded.index, seconds),
                None => {
                    let more = decoded.index.saturating_sub(index) as f64 / self.reader.info.frame_rate;
                    decoded.seconds = Some(seconds + more);
                }
            }
        } else {
            self.finished = true;
            // Where damage is skipped and the packets tell the frames apart, those tell how many there are.
            if !matches!(self.reader.content, Content::Random(_)) {
                self.reader.count = Some(pass.frames_given());
            }
        }
        Ok(decoded.map(Passed::Decoded))
    }

    /// Converts a frame.
    pub(crate) fn picture(&mut self, passed: Passed) -> Result<Frame> {
        match (passed, &self.reader.content) {
            (Passed::Decoded(decoded), _) => self.to_rgb.frame(decoded, &self.reader.job.name),
            (Passed::Still(index, seconds), Content::Still(images)) if index < images.len() => {
                Ok(Frame { index, seconds, image: images[index].clone() })
            }
            (Passed::Still(..), _) => Err(Error::NoFrames { path: self.reader.job.name.clone() }),
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
