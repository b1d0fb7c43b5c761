//! One pass over a file, from its first frame to its last: demuxer and decoder.

use std::sync::Arc;

use ffmpeg_next as ffmpeg;

use ffmpeg::util::frame::side_data::Type as FrameSideData;
use ffmpeg::{Dictionary, codec, decoder, frame};

use crate::demuxer::{Demuxer, check_pixels, max_pixels};
use crate::options::Job;
use crate::orientation::Orientation;
use crate::{Error, Result};

/// A frame as the decoder gives it, in its own pixel format and not yet turned.
pub(crate) struct Decoded {
    pub(crate) frame: frame::Video,
    /// Counted from 0.
    pub(crate) index: usize,
    /// Time of display, 0 for the first frame; `None` where the file gives no times.
    pub(crate) seconds: Option<f64>,
    pub(crate) is_key: bool,
    pub(crate) orientation: Option<Orientation>,
}

/// Demuxer and decoder of the best video stream of one file, moving forward only.
pub(crate) struct Pass {
    job: Arc<Job>,
    demuxer: Demuxer,
    decoder: decoder::Video,
    draining: bool,
    /// Frames given so far.
    index: usize,
    first_timestamp: Option<i64>,
    /// The last packet that the decoder rejected before it gave any frame.
    rejected: Option<ffmpeg::Error>,
}

impl Pass {
    pub(crate) fn open(job: &Arc<Job>) -> Result<Self> {
        let demuxer = Demuxer::open(job)?;
        let decoder = open_decoder(job, &demuxer)?;
        let (index, first_timestamp, rejected) = (0, None, None);
        Ok(Self { job: Arc::clone(job), demuxer, decoder, draining: false, index, first_timestamp, rejected })
    }

    /// The next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Decoded>> {
        self.demuxer.watch.start();
        let decoded = self.decode();
        self.demuxer.watch.stop();
        decoded
    }

    /// How many frames were given so far.
    pub(crate) fn frames_given(&self) -> usize {
        self.index
    }

    fn decode(&mut self) -> Result<Option<Decoded>> {
        let mut frame = frame::Video::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => return self.accept(frame).map(Some),
                Err(ffmpeg::Error::Eof) => return self.end(),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) if self.draining => return self.end(),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => self.feed()?,
                Err(error) => self.reject(error)?,
            }
        }
    }

    /// Gives the decoder one packet, or at the end of the file asks it for the frames it still holds.
    fn feed(&mut self) -> Result<()> {
        match self.demuxer.next_packet()? {
            Some(packet) => self.decoder.send_packet(&packet).or_else(|error| self.reject(error)),
            None => {
                self.draining = true;
                self.decoder.send_eof().or_else(|error| self.reject(error))
            }
        }
    }

    fn accept(&mut self, frame: frame::Video) -> Result<Decoded> {
        check_pixels(&self.job.name, &self.job.options.limits, frame.width(), frame.height())?;
        if self.index >= self.job.options.limits.frames {
            let allowed = format!("{} frames", self.job.options.limits.frames);
            return Err(Error::limit(&self.job.name, "frames", "the number of frames".to_string(), allowed));
        }
        let index = self.index;
        self.index += 1;
        let timestamp = frame.timestamp();
        let first = *self.first_timestamp.get_or_insert(timestamp.unwrap_or(0));
        let seconds = timestamp.map(|timestamp| timestamp.saturating_sub(first) as f64 * f64::from(self.demuxer.time_base));
        let of_frame = frame.side_data(FrameSideData::DisplayMatrix).and_then(|data| Orientation::from_bytes(data.data()));
        let is_key = frame.is_key();
        Ok(Decoded { index, seconds, is_key, orientation: of_frame.or(self.demuxer.orientation), frame })
    }

    /// A recording may begin in the middle of a stream, with packets that refer to pictures before it: those are passed
    /// over. After the first frame a rejected packet is damage.
    fn reject(&mut self, error: ffmpeg::Error) -> Result<()> {
        if self.demuxer.is_up() {
            return Err(self.demuxer.time_is_up());
        }
        if self.index > 0 {
            return Err(Error::Decode { path: self.job.name.clone(), frame: self.index, reason: error.to_string() });
        }
        self.rejected = Some(error);
        Ok(())
    }

    fn end(&mut self) -> Result<Option<Decoded>> {
        match (self.index, self.rejected) {
            (0, Some(error)) => Err(Error::Decode { path: self.job.name.clone(), frame: 0, reason: error.to_string() }),
            (0, None) => Err(Error::NoFrames { path: self.job.name.clone() }),
            _ => Ok(None),
        }
    }
}

pub(crate) fn open_decoder(job: &Job, demuxer: &Demuxer) -> Result<decoder::Video> {
    let id = demuxer.statement.codec;
    let unsupported = |reason: String| Error::UnsupportedCodec { path: job.name.clone(), codec: reason };
    let codec = decoder::find(id).ok_or_else(|| unsupported(id.name().to_string()))?;
    let failed = |error: ffmpeg::Error| unsupported(format!("{}: {error}", id.name()));
    let parameters = demuxer.parameters().ok_or_else(|| failed(ffmpeg::Error::StreamNotFound))?;
    let mut decoder = codec::Context::from_parameters(parameters).map_err(failed)?.decoder();
    decoder.set_packet_time_base(demuxer.time_base);
    let (pixels, threads) = (max_pixels(&job.options.limits), job.options.thread_count().to_string());
    let options: Dictionary = [("max_pixels", pixels.as_str()), ("threads", threads.as_str())].into_iter().collect();
    decoder.open_as_with(codec, options).and_then(|opened| opened.video()).map_err(failed)
}
