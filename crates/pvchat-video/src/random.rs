//! Frames out of order: jump to the key frame before, decode to the frame, stop.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use ffmpeg_next as ffmpeg;

use ffmpeg::util::frame::side_data::Type as FrameSideData;
use ffmpeg::{Packet, decoder, ffi, frame};

use crate::convert::ToRgb;
use crate::damage::{Excuses, is_marked, is_patched};
use crate::demuxer::{Demuxer, check_pixels};
use crate::frames::Frame;
use crate::index::{PacketIndex, marks_unreferenced};
use crate::options::Job;
use crate::orientation::Orientation;
use crate::pass::{Decoded, open_decoder};
use crate::units::Units;
use crate::{Error, Result};

/// Key frames that are tried for one group before everything is decoded.
const STEPS_BACK: usize = 4;
/// Packets that are rather read and dropped than jumped over.
const NEAR: usize = 16;
/// Decoded frames that may wait to be converted.
const WAITING: usize = 2;

/// Why random access stops.
pub(crate) enum Stop {
    Error(Error),
    /// A frame is damaged, or needs one that is: decoding all before it tells which.
    Damaged,
    /// The file does not do what its index says: only decoding all of it tells its frames.
    Mismatch,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Demuxer and decoder of a file whose packets are known.
pub(crate) struct RandomAccess {
    job: Arc<Job>,
    demuxer: Demuxer,
    decoder: decoder::Video,
    index: Arc<PacketIndex>,
    /// The place of the packet that is read next; `None` where it has to be found by a jump.
    next: Option<usize>,
    /// Packets decoded in this call.
    fed: usize,
    /// A packet that was read to find out where a jump went.
    landed: Option<Packet>,
    /// What the decoder may reject in the present group.
    excuses: Excuses,
    /// How the units of a packet are told apart, for H.264 and HEVC.
    units: Option<Units>,
}

/// Frames that are decoded in one go.
struct Group {
    /// The packet where decoding begins.
    key: usize,
    /// The packet where it ends.
    last: usize,
    /// Number of each wanted frame by the place of its packet.
    wanted: BTreeMap<usize, usize>,
}

impl RandomAccess {
    /// Takes over the demuxer that the index was made with, at an unknown position.
    pub(crate) fn new(job: &Arc<Job>, demuxer: Demuxer, index: Arc<PacketIndex>) -> Result<Self> {
        let decoder = open_decoder(job, &demuxer, job.options.thread_count())?;
        let excuses = Excuses::default();
        let units = demuxer.units();
        Ok(Self { job: Arc::clone(job), demuxer, decoder, index, next: None, fed: 0, landed: None, excuses, units })
    }

    pub(crate) fn index(&self) -> &Arc<PacketIndex> {
        &self.index
    }

    /// The pictures of frames, whose numbers ascend; not always in order, and without times. With more than one thread they
    /// are converted while the next are decoded.
    pub(crate) fn pictures(&mut self, frames: &[usize], size: (u32, u32)) -> std::result::Result<Vec<Frame>, Stop> {
        let (name, path) = (self.job.name.clone(), self.job.name.clone());
        let mut to_rgb = ToRgb::new(Some(size));
        let mut convert = move |decoded: Decoded| {
            let index = decoded.index;
            let failed = |error: ffmpeg::Error| Error::Decode { path: name.clone(), frame: index, reason: error.to_string() };
            to_rgb.convert(decoded).map(|image| Frame { index, seconds: 0.0, image }).map_err(failed)
        };
        if self.job.options.thread_count() == 1 {
            let mut pictures = Vec::with_capacity(frames.len());
            self.decode(frames, &mut |decoded| convert(decoded).map(|picture| pictures.push(picture)))?;
            return Ok(pictures);
        }
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(WAITING);
            let converter = scope.spawn(move || receiver.into_iter().map(convert).collect::<Result<Vec<Frame>>>());
            // Nobody takes frames any more only where converting one failed, which is what the user is told then.
            let decoded =
                self.decode(frames, &mut |decoded| sender.send(decoded).map_err(|_| Error::NoFrames { path: path.clone() }));
            drop(sender);
            let pictures = converter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            decoded.map(|()| pictures)
        })
    }

    /// Decodes frames, whose numbers ascend, and hands them over; not always in order.
    fn decode(&mut self, frames: &[usize], take: &mut dyn FnMut(Decoded) -> Result<()>) -> std::result::Result<(), Stop> {
        self.demuxer.begin();
        self.fed = 0;
        self.demuxer.watch.start();
        let decoded = self.groups(frames).into_iter().try_for_each(|group| self.decode_group(group, take));
        self.demuxer.watch.stop();
        decoded
    }

    /// Sorts frames by the key frame that they need. What follows closely is decoded on: a new start costs more.
    fn groups(&self, frames: &[usize]) -> Vec<Group> {
        let mut places: Vec<(usize, usize)> =
            frames.iter().filter_map(|&frame| self.index.place_of(frame).map(|place| (place, frame))).collect();
        places.sort_unstable();
        let mut groups: Vec<Group> = Vec::new();
        for (place, frame) in places {
            let key = self.index.key_for(place);
            match groups.last_mut() {
                Some(group) if key <= group.last + 1 => {
                    // A picture of an open group, decoded after a key frame, may need the one before.
                    group.key = group.key.min(key);
                    group.last = group.last.max(place);
                    group.wanted.insert(place, frame);
                }
                _ => groups.push(Group { key, last: place, wanted: [(place, frame)].into() }),
            }
        }
        groups
    }

    /// Decodes one group, from an earlier key frame where the first does not do: the pictures behind a key frame that is
    /// refreshed over several pictures are not complete at once.
    fn decode_group(&mut self, mut group: Group, take: &mut dyn FnMut(Decoded) -> Result<()>) -> std::result::Result<(), Stop> {
        for _ in 0..STEPS_BACK {
            self.decoder.flush();
            self.excuses = Excuses::default();
            let missing = match self.decode_range(&mut group, take) {
                Ok(()) if group.wanted.is_empty() => return Ok(()),
                Ok(()) => Stop::Mismatch,
                Err(Stop::Damaged) if !group.wanted.is_empty() => Stop::Damaged,
                Err(stop) => return Err(stop),
            };
            group.key = self.index.key_before(group.key).ok_or(missing)?;
        }
        Err(Stop::Damaged)
    }

    fn decode_range(&mut self, group: &mut Group, take: &mut dyn FnMut(Decoded) -> Result<()>) -> std::result::Result<(), Stop> {
        self.go_to(group.key)?;
        let skips = marks_unreferenced(self.demuxer.statement.codec);
        for place in group.key..=group.last {
            let packet = self.read()?;
            self.fed += 1;
            if self.fed > self.job.options.limits.frames {
                let allowed = format!("{} frames", self.job.options.limits.frames);
                return Err(Error::limit(&self.job.name, "frames", "the number of frames".to_string(), allowed).into());
            }
            if skips {
                let needed = group.wanted.contains_key(&place);
                let skip = if needed { ffi::AVDiscard::AVDISCARD_DEFAULT } else { ffi::AVDiscard::AVDISCARD_NONREF };
                // SAFETY: the decoder is open; the field may be written between two packets.
                unsafe { (*self.decoder.as_mut_ptr()).skip_frame = skip };
            }
            if is_marked(&packet) {
                return Err(Stop::Damaged);
            }
            // A decoder hands packets to its threads in turns, those included that it leaves out: where every second one is,
            // one thread would do all the work. That of HEVC does not leave any out.
            let unreferenced = |units: Units| packet.data().is_some_and(|data| units.is_unreferenced(data));
            if !group.wanted.contains_key(&place) && self.units.is_some_and(unreferenced) {
                continue;
            }
            self.excuses.sent(&packet);
            self.decoder.send_packet(&packet).or_else(|_| self.reject())?;
            self.receive(group, take)?;
            if group.wanted.is_empty() {
                break;
            }
        }
        // Pictures that the last wanted one refers to may come out after it: they too say whether they are damaged.
        self.decoder.send_eof().or_else(|_| self.reject())?;
        self.receive(group, take)
    }

    fn receive(&mut self, group: &mut Group, take: &mut dyn FnMut(Decoded) -> Result<()>) -> std::result::Result<(), Stop> {
        loop {
            let mut frame = frame::Video::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {}
                Err(ffmpeg::Error::Eof | ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => return Ok(()),
                Err(_) => {
                    self.reject()?;
                    continue;
                }
            }
            if is_patched(&frame) && !self.excuses.covers(frame.pts()) {
                return Err(Stop::Damaged);
            }
            let found = frame.pts().or(frame.timestamp()).and_then(|pts| self.index.frame_with(pts));
            let Some(place) = found.and_then(|number| self.index.place_of(number)) else { continue };
            let Some(number) = group.wanted.remove(&place) else { continue };
            check_pixels(&self.job.name, &self.job.options.limits, frame.width(), frame.height())?;
            let of_frame = frame.side_data(FrameSideData::DisplayMatrix).and_then(|data| Orientation::from_bytes(data.data()));
            let (orientation, is_key) = (of_frame.or(self.demuxer.orientation), frame.is_key());
            take(Decoded { index: number, seconds: None, is_key, orientation, frame })?;
        }
    }

    /// A rejected packet is damage, unless time is up or the packet refers to pictures before the jump.
    fn reject(&mut self) -> std::result::Result<(), Stop> {
        match (self.demuxer.is_up(), self.excuses.excuse()) {
            (true, _) => Err(self.demuxer.time_is_up().into()),
            (false, true) => Ok(()),
            (false, false) => Err(Stop::Damaged),
        }
    }

    /// The next packet, which must be the one that the index names.
    fn read(&mut self) -> std::result::Result<Packet, Stop> {
        let place = self.next.take().ok_or(Stop::Mismatch)?;
        let packet = match self.landed.take() {
            Some(packet) => packet,
            None => self.demuxer.next_packet()?.ok_or(Stop::Mismatch)?,
        };
        if !self.index.is_at(place, &packet) {
            return Err(Stop::Mismatch);
        }
        self.next = Some(place + 1);
        Ok(packet)
    }

    /// Moves to a key frame.
    fn go_to(&mut self, key: usize) -> std::result::Result<(), Stop> {
        let is_near = self.next.is_some_and(|next| next <= key && key - next <= NEAR);
        if !is_near && !self.jump(key)? {
            self.demuxer = Demuxer::open(&self.job)?;
            self.demuxer.watch.start();
            (self.next, self.landed) = (Some(0), None);
        }
        while self.next.is_some_and(|next| next < key) {
            self.read()?;
        }
        Ok(())
    }

    /// Jumps to a key frame or before it; `false` where the container cannot.
    fn jump(&mut self, key: usize) -> std::result::Result<bool, Stop> {
        // Matroska looks for times of display, the others for times of decoding.
        let by_display = self.demuxer.statement.container.contains("matroska");
        let earlier = self.index.key_before(key).and_then(|before| self.index.key_before(before));
        for target in [Some(key), earlier].into_iter().flatten() {
            let Some(entry) = self.index.entry(target) else { return Ok(false) };
            (self.next, self.landed) = (None, None);
            if !self.demuxer.seek(if by_display { entry.pts } else { entry.dts }) {
                return Ok(false);
            }
            let Some(packet) = self.demuxer.next_packet()? else { continue };
            if let Some(place) = self.index.find(&packet).filter(|place| *place <= key) {
                (self.next, self.landed) = (Some(place), Some(packet));
                return Ok(true);
            }
        }
        Ok(false)
    }
}
