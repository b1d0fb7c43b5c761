//! One pass over a file, from its first frame to its last: demuxer and decoder.

use std::collections::VecDeque;
use std::sync::Arc;

use ffmpeg_next as ffmpeg;

use ffmpeg::util::frame::side_data::Type as FrameSideData;
use ffmpeg::{Dictionary, Packet, codec, decoder, frame};

use crate::damage::{Damage, DamageKind, Excuses, REORDERED, Spread, is_marked, is_patched};
use crate::demuxer::{Demuxer, check_pixels, max_pixels};
use crate::index::PacketIndex;
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
    /// Frames that came out so far, those included that were left out.
    index: usize,
    /// Display of the last of them.
    last_out: Option<i64>,
    /// Frames given so far.
    given: usize,
    first_timestamp: Option<i64>,
    /// Display of the first packet.
    first_sent: Option<i64>,
    /// A packet that was read before.
    first: Option<Packet>,
    /// Packets sent so far, those before the pass included, and the last of them.
    sent: u64,
    last: Option<Packet>,
    /// What the decoder said when it first rejected a packet.
    rejected: Option<String>,
    excuses: Excuses,
    /// Where damage is skipped: the numbers of the frames, how far the damage reaches, and the report.
    numbers: Option<Arc<PacketIndex>>,
    spread: Spread,
    damage: Vec<Damage>,
    /// Frames that may still turn out to refer to a damaged one.
    held: VecDeque<(Option<i64>, Decoded)>,
}

impl Pass {
    /// Opens the file again. With `numbers`, frames that are left out leave a gap in the numbers.
    pub(crate) fn open(job: &Arc<Job>, numbers: Option<Arc<PacketIndex>>) -> Result<Self> {
        Self::of(job, Demuxer::open(job)?, numbers, None)
    }

    /// Goes on with what a demuxer gives, after a packet that was read before.
    pub(crate) fn of(job: &Arc<Job>, demuxer: Demuxer, numbers: Option<Arc<PacketIndex>>, first: Option<Packet>) -> Result<Self> {
        // With more threads a packet is rejected only after others were sent, and it is not known which it was.
        let threads = if job.options.skips_damage() { 1 } else { job.options.thread_count() };
        let decoder = open_decoder(job, &demuxer, threads)?;
        Ok(Self {
            job: Arc::clone(job),
            demuxer,
            decoder,
            draining: false,
            index: 0,
            last_out: None,
            given: 0,
            first_timestamp: None,
            first_sent: None,
            first,
            sent: 0,
            last: None,
            rejected: None,
            excuses: Excuses::default(),
            numbers,
            spread: Spread::default(),
            damage: Vec::new(),
            held: VecDeque::new(),
        })
    }

    /// Begins in the middle of a file, at the packet with this number. That no frame comes out is no error there.
    pub(crate) fn beginning_at(self, number: usize) -> Self {
        Self { sent: number as u64, given: 1, ..self }
    }

    /// Gives the next frames the whole time that the limits allow.
    pub(crate) fn restart_watch(&mut self) {
        self.demuxer.watch.reset();
    }

    /// The next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Decoded>> {
        self.demuxer.watch.start();
        let decoded = self.decode();
        self.demuxer.watch.stop();
        decoded
    }

    /// How many frames came out so far.
    pub(crate) fn frames_given(&self) -> usize {
        self.index
    }

    /// The damage found since the last call.
    pub(crate) fn take_damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damage)
    }

    fn decode(&mut self) -> Result<Option<Decoded>> {
        if !self.job.options.skips_damage() {
            return self.decode_one();
        }
        while self.held.len() <= REORDERED {
            let Some(decoded) = self.decode_one()? else { break };
            let pts = decoded.frame.pts().or(decoded.frame.timestamp());
            self.held.push_back((pts, decoded));
        }
        let next = self.held.pop_front().map(|(_, decoded)| decoded);
        self.given += usize::from(next.is_some());
        if next.is_some() { Ok(next) } else { self.end() }
    }

    fn decode_one(&mut self) -> Result<Option<Decoded>> {
        loop {
            let mut frame = frame::Video::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    if let Some(decoded) = self.accept(frame)? {
                        return Ok(Some(decoded));
                    }
                }
                Err(ffmpeg::Error::Eof) => return self.drained(),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) if self.draining => return self.drained(),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => self.feed()?,
                Err(error) => self.reject(error.to_string())?,
            }
        }
    }

    /// Gives the decoder one packet, or at the end of the file asks it for the frames it still holds.
    fn feed(&mut self) -> Result<()> {
        let packet = match self.first.take() {
            Some(packet) => Some(packet),
            None => self.demuxer.next_packet()?,
        };
        let Some(packet) = packet else {
            self.draining = true;
            if let Some(reason) = self.demuxer.cut.take() {
                self.report(DamageKind::End, None, None, None, reason);
                // Half of the last packet may have been read as if it were whole.
                if let Some(last) = &self.last {
                    self.spread.damaged(last);
                    self.leave_out_held();
                }
            }
            return self.decoder.send_eof().or_else(|error| self.reject(error.to_string()));
        };
        self.sent += 1;
        self.first_sent = self.first_sent.or(packet.pts());
        self.excuses.sent(&packet);
        self.spread.sent(self.sent - 1, &packet);
        let sent = if is_marked(&packet) {
            Err("the container marks the packet as incomplete".to_string())
        } else {
            self.decoder.send_packet(&packet).map_err(|error| error.to_string())
        };
        self.last = Some(packet);
        sent.or_else(|reason| self.reject(reason))
    }

    /// Numbers a frame, and leaves it out where it is damaged and that is wanted.
    fn accept(&mut self, frame: frame::Video) -> Result<Option<Decoded>> {
        check_pixels(&self.job.name, &self.job.options.limits, frame.width(), frame.height())?;
        if self.index >= self.job.options.limits.frames {
            let allowed = format!("{} frames", self.job.options.limits.frames);
            return Err(Error::limit(&self.job.name, "frames", "the number of frames".to_string(), allowed));
        }
        let timestamp = frame.timestamp();
        let numbered = self.numbers.as_ref().zip(frame.pts().or(timestamp)).and_then(|(numbers, pts)| numbers.frame_with(pts));
        let index = numbered.unwrap_or(self.index);
        self.index = self.index.max(index) + 1;
        self.last_out = frame.pts().or(timestamp);
        let seconds = timestamp.and_then(|timestamp| self.seconds(timestamp));
        let patched = is_patched(&frame) && !self.excuses.covers(frame.pts());
        if patched && !self.job.options.skips_damage() {
            let reason = format!("the decoder patched it up{}", about(seconds));
            return Err(Error::Decode { path: self.job.name.clone(), frame: index, reason });
        }
        let pts = frame.pts().or(timestamp);
        if patched {
            let packet = self.spread.patched(pts);
            self.report(DamageKind::Frame, packet, Some(index), seconds, "the decoder patched it up".to_string());
            self.leave_out_held();
            return Ok(None);
        }
        if self.spread.reaches(pts) {
            self.refers(index, seconds);
            return Ok(None);
        }
        self.given += usize::from(!self.job.options.skips_damage());
        let of_frame = frame.side_data(FrameSideData::DisplayMatrix).and_then(|data| Orientation::from_bytes(data.data()));
        let is_key = frame.is_key();
        Ok(Some(Decoded { index, seconds, is_key, orientation: of_frame.or(self.demuxer.orientation), frame }))
    }

    /// The time of a frame that comes out: 0 for the first.
    fn seconds(&mut self, timestamp: i64) -> Option<f64> {
        let start = self.numbers.as_ref().and_then(|numbers| numbers.first_time());
        let first = *self.first_timestamp.get_or_insert(start.unwrap_or(timestamp));
        Some(timestamp.saturating_sub(first) as f64 * f64::from(self.demuxer.time_base))
    }

    /// A recording may begin in the middle of a stream, with packets that refer to pictures before it: those are passed
    /// over. Every other rejected packet is damage.
    fn reject(&mut self, reason: String) -> Result<()> {
        if self.demuxer.is_up() {
            return Err(self.demuxer.time_is_up());
        }
        if self.excuses.excuse() {
            self.rejected.get_or_insert(reason);
            return Ok(());
        }
        let start = self.numbers.as_ref().and_then(|numbers| numbers.first_time()).or(self.first_timestamp).or(self.first_sent);
        let unit = f64::from(self.demuxer.time_base);
        let seconds = |pts: Option<i64>| pts.zip(start).map(|(pts, first)| pts.saturating_sub(first) as f64 * unit);
        if !self.job.options.skips_damage() {
            let (frame, pts) = self.rejected_frame();
            let reason = format!("{reason}{}", about(seconds(pts)));
            return Err(Error::Decode { path: self.job.name.clone(), frame, reason });
        }
        let pts = self.last.as_ref().and_then(Packet::pts);
        let seconds = seconds(pts);
        self.rejected.get_or_insert(reason.clone());
        if let Some(packet) = &self.last {
            self.spread.damaged(packet);
        }
        let frame = self.numbers.as_ref().zip(pts).and_then(|(numbers, pts)| numbers.frame_with(pts));
        self.report(DamageKind::Packet, self.sent.checked_sub(1), frame, seconds, reason);
        Ok(())
    }

    /// Number and display of the frame whose packet was rejected; where that is not known, the first frame that is missing.
    /// Nothing is decoded afterwards.
    fn rejected_frame(&mut self) -> (usize, Option<i64>) {
        // SAFETY: the decoder is open, and its fields are plain numbers.
        let (kind, threads) = unsafe { ((*self.decoder.as_ptr()).active_thread_type, (*self.decoder.as_ptr()).thread_count) };
        let is_marked = self.last.as_ref().is_some_and(is_marked);
        // Threads that each decode a frame speak in turns: with the last packet, about the first of those that they have.
        let later = if kind & ffmpeg::ffi::FF_THREAD_FRAME != 0 && !is_marked { threads.max(1) as u64 - 1 } else { 0 };
        let packet = self.sent.checked_sub(1 + later).filter(|_| !self.draining);
        let Some(pts) = packet.and_then(|packet| self.spread.display_of(packet)) else { return (self.index, None) };
        if let Some(number) = self.numbers.as_ref().and_then(|numbers| numbers.frame_with(pts)) {
            return (number, Some(pts));
        }
        // Frames that are shown before it may be decoded after it.
        for number in self.sent..self.sent + REORDERED as u64 {
            let Ok(Some(packet)) = self.demuxer.next_packet() else { break };
            self.spread.sent(number, &packet);
        }
        let before = self.spread.shown_between(self.last_out, pts);
        (self.index + before, Some(pts))
    }

    /// Leaves out the frames that are held and turned out to be damaged.
    fn leave_out_held(&mut self) {
        let (left_out, held): (VecDeque<_>, _) =
            std::mem::take(&mut self.held).into_iter().partition(|(pts, _)| self.spread.reaches(*pts));
        self.held = held;
        left_out.iter().for_each(|(_, decoded)| self.refers(decoded.index, decoded.seconds));
    }

    fn refers(&mut self, frame: usize, seconds: Option<f64>) {
        self.report(DamageKind::Frame, None, Some(frame), seconds, "it refers to a damaged one".to_string());
    }

    fn report(&mut self, kind: DamageKind, packet: Option<u64>, frame: Option<usize>, seconds: Option<f64>, reason: String) {
        self.damage.push(Damage { kind, packet, frame, seconds, reason });
    }

    /// Nothing more comes out.
    fn drained(&mut self) -> Result<Option<Decoded>> {
        if self.job.options.skips_damage() { Ok(None) } else { self.end() }
    }

    fn end(&mut self) -> Result<Option<Decoded>> {
        match (self.given, self.rejected.take()) {
            (0, Some(reason)) => Err(Error::Decode { path: self.job.name.clone(), frame: 0, reason }),
            (0, None) => Err(Error::NoFrames { path: self.job.name.clone() }),
            _ => Ok(None),
        }
    }
}

/// A time as a part of a sentence.
fn about(seconds: Option<f64>) -> String {
    seconds.map(|seconds| format!(", at about {seconds:.2} s")).unwrap_or_default()
}

pub(crate) fn open_decoder(job: &Job, demuxer: &Demuxer, threads: usize) -> Result<decoder::Video> {
    let id = demuxer.statement.codec;
    let unsupported = |reason: String| Error::UnsupportedCodec { path: job.name.clone(), codec: reason };
    let codec = decoder::find(id).ok_or_else(|| unsupported(id.name().to_string()))?;
    let failed = |error: ffmpeg::Error| unsupported(format!("{}: {error}", id.name()));
    let parameters = demuxer.parameters().ok_or_else(|| failed(ffmpeg::Error::StreamNotFound))?;
    let mut decoder = codec::Context::from_parameters(parameters).map_err(failed)?.decoder();
    decoder.set_packet_time_base(demuxer.time_base);
    let (pixels, threads) = (max_pixels(&job.options.limits), threads.to_string());
    // "explode": what is damaged is rejected and not patched up. Only where FFmpeg survives it: with MPEG-4 and several
    // threads it ends the process (an assertion in decode.c of FFmpeg 5.1); there the patched picture is marked.
    let rejects = matches!(id, codec::Id::H264 | codec::Id::HEVC | codec::Id::FFV1);
    let errors = if rejects { "crccheck+explode" } else { "crccheck" };
    let options: Dictionary =
        [("max_pixels", pixels.as_str()), ("threads", threads.as_str()), ("err_detect", errors)].into_iter().collect();
    decoder.open_as_with(codec, options).and_then(|opened| opened.video()).map_err(failed)
}
