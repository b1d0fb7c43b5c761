//! Frames out of order: jump to the key frame before, decode to the frame, stop.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, mpsc};

use ffmpeg_next as ffmpeg;

use ffmpeg::util::frame::side_data::Type as FrameSideData;
use ffmpeg::{Packet, decoder, ffi, frame};

use crate::convert::ToRgb;
use crate::damage::{Excuses, REORDERED, is_marked, is_patched};
use crate::demuxer::{Demuxer, check_pixels};
use crate::frame::Frame;
use crate::index::{PacketIndex, marks_unreferenced};
use crate::options::Job;
use crate::orientation::Orientation;
use crate::pass::{Decoded, Pass, open_decoder};
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
    /// A frame is damaged, or needs one that is: decoding all before it shows which.
    Damaged,
    /// The file does not match its index: only decoding all of it shows its frames.
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
    /// How the units of a packet are separated, for H.264 and HEVC.
    units: Option<Units>,
    /// Groups that are decoded later.
    groups: VecDeque<Group>,
    /// The group that is being decoded.
    run: Option<Run>,
}

/// Frames that are decoded in one go.
struct Group {
    /// The packet where decoding begins.
    key: usize,
    /// The packet where it ends.
    last: usize,
    /// Numbers of the wanted frames in ascending order, each with the place of its packet.
    wanted: VecDeque<(usize, usize)>,
    /// The places of their packets.
    places: BTreeSet<usize>,
}

/// How far a group is decoded.
struct Run {
    group: Group,
    /// The key frame where this try begins: that of the group or one before it.
    from: usize,
    tries: usize,
    /// The packet that is sent next; `None` before the first.
    place: Option<usize>,
    /// Whether the decoder has nothing more to give.
    is_over: bool,
    /// Frames that came out.
    out: usize,
    /// Wanted frames that may still turn out to refer to a damaged one, each with the value of `out` when it came.
    held: VecDeque<(usize, Decoded)>,
}

impl Run {
    fn new(group: Group) -> Self {
        Self { from: group.key, group, tries: 0, place: None, is_over: false, out: 0, held: VecDeque::new() }
    }

    /// The next frame that refers to no damage: the decoder gives what it refers to at most [`REORDERED`] frames later.
    fn release(&mut self) -> Option<Decoded> {
        let (out, _) = self.held.front()?;
        if !self.is_over && self.out - out < REORDERED {
            return None;
        }
        self.held.pop_front().map(|(_, decoded)| decoded)
    }
}

impl RandomAccess {
    /// Takes over the demuxer that the index was made with, at an unknown position.
    pub(crate) fn new(job: &Arc<Job>, demuxer: Demuxer, index: Arc<PacketIndex>) -> Result<Self> {
        let decoder = open_decoder(job, &demuxer, job.options.thread_count())?;
        let excuses = Excuses::default();
        let units = demuxer.units();
        Ok(Self {
            job: Arc::clone(job),
            demuxer,
            decoder,
            index,
            next: None,
            fed: 0,
            landed: None,
            excuses,
            units,
            groups: VecDeque::new(),
            run: None,
        })
    }

    pub(crate) fn index(&self) -> &Arc<PacketIndex> {
        &self.index
    }

    /// The pictures of frames, whose numbers ascend, in order. With more than one thread they are converted while the next are
    /// decoded.
    pub(crate) fn pictures(&mut self, frames: &[usize], size: (u32, u32)) -> std::result::Result<Vec<Frame>, Stop> {
        self.begin(frames);
        let path = self.job.name.clone();
        let mut to_rgb = ToRgb::new(Some(size));
        let mut convert = move |decoded| to_rgb.frame(decoded, &path);
        if self.job.options.thread_count() == 1 {
            let mut pictures = Vec::with_capacity(frames.len());
            while let Some(decoded) = self.next()? {
                pictures.push(convert(decoded)?);
            }
            return Ok(pictures);
        }
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(WAITING);
            let converter = scope.spawn(move || receiver.into_iter().map(convert).collect::<Result<Vec<Frame>>>());
            let decoded = loop {
                match self.next() {
                    Ok(None) => break Ok(()),
                    Err(stop) => break Err(stop),
                    // The receiver is gone only if converting a frame failed; the user gets that error.
                    Ok(Some(decoded)) => {
                        if sender.send(decoded).is_err() {
                            break Ok(());
                        }
                    }
                }
            };
            drop(sender);
            let pictures = converter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            decoded.map(|()| pictures)
        })
    }

    /// Begins to decode frames, whose numbers ascend: [`RandomAccess::next`] gives them.
    pub(crate) fn begin(&mut self, frames: &[usize]) {
        self.demuxer.begin();
        self.fed = 0;
        self.groups = self.groups_of(frames);
        self.run = None;
    }

    /// The next frame; `None` behind the last.
    pub(crate) fn next(&mut self) -> std::result::Result<Option<Decoded>, Stop> {
        self.demuxer.watch.start();
        let next = self.decode();
        self.demuxer.watch.stop();
        next
    }

    /// Gives the next frames the whole time that the limits allow.
    pub(crate) fn restart_watch(&mut self) {
        self.demuxer.watch.reset();
    }

    /// After [`Stop::Damaged`]: a pass from the key frame of the first frame that is missing, and the numbers of the frames
    /// to take from it. Those behind the next two key frames are left to [`RandomAccess::next`].
    pub(crate) fn pass(&mut self) -> std::result::Result<(Pass, VecDeque<usize>), Stop> {
        let mut wanted: VecDeque<usize> =
            self.run.take().into_iter().flat_map(|run| run.group.wanted).map(|(number, _)| number).collect();
        let first = wanted.front().and_then(|first| self.index.place_of(*first)).ok_or(Stop::Mismatch)?;
        let key = self.index.key_for(first);
        let end = self.index.key_after(key).and_then(|key| self.index.key_after(key));
        let later = end.and_then(|end| self.index.frame_with(self.index.entry(end)?.pts)).unwrap_or(usize::MAX);
        let later = wanted.split_off(wanted.partition_point(|number| *number < later));
        let mut groups = self.groups_of(later.into_iter().collect::<Vec<_>>().as_slice());
        groups.append(&mut self.groups);
        self.groups = groups;
        self.demuxer.watch.start();
        self.go_to(key)?;
        let another = Demuxer::open(&self.job)?;
        let mut demuxer = std::mem::replace(&mut self.demuxer, another);
        demuxer.watch.stop();
        let first = self.landed.take();
        self.next = Some(0);
        Ok((Pass::of(&self.job, demuxer, Some(Arc::clone(&self.index)), first)?.beginning_at(key), wanted))
    }

    /// Sorts frames by the key frame that they need. What follows closely is decoded on: a new start costs more.
    fn groups_of(&self, frames: &[usize]) -> VecDeque<Group> {
        let mut places: Vec<(usize, usize)> =
            frames.iter().filter_map(|&frame| self.index.place_of(frame).map(|place| (place, frame))).collect();
        places.sort_unstable();
        let mut groups: VecDeque<Group> = VecDeque::new();
        for (place, frame) in places {
            let key = self.index.key_for(place);
            match groups.back_mut() {
                Some(group) if key <= group.last + 1 => {
                    // A picture of an open group, decoded after a key frame, may need the one before.
                    group.key = group.key.min(key);
                    group.last = group.last.max(place);
                    group.wanted.push_back((frame, place));
                }
                _ => groups.push_back(Group { key, last: place, wanted: [(frame, place)].into(), places: BTreeSet::new() }),
            }
        }
        for group in &mut groups {
            group.wanted.make_contiguous().sort_unstable();
            group.places = group.wanted.iter().map(|(_, place)| *place).collect();
        }
        groups
    }

    fn decode(&mut self) -> std::result::Result<Option<Decoded>, Stop> {
        loop {
            let Some(mut run) = self.run.take() else {
                let Some(group) = self.groups.pop_front() else { return Ok(None) };
                self.run = Some(Run::new(group));
                continue;
            };
            let released = run.release();
            if released.is_some() {
                self.run = Some(run);
                return Ok(released);
            }
            if run.is_over && run.group.wanted.is_empty() {
                continue;
            }
            let missing = match self.step(&mut run) {
                Ok(true) => None,
                Ok(false) => Some(Stop::Mismatch),
                Err(Stop::Damaged) => Some(Stop::Damaged),
                Err(stop) => return Err(stop),
            };
            let again = missing.map_or(Ok(()), |missing| self.step_back(&mut run, missing));
            self.run = Some(run);
            again?;
        }
    }

    /// Sends the next packet of a group, behind the last one the end, and receives what comes out; `false` where a wanted
    /// frame does not.
    fn step(&mut self, run: &mut Run) -> std::result::Result<bool, Stop> {
        let place = match run.place {
            Some(place) => place,
            None => {
                self.decoder.flush();
                self.excuses = Excuses::default();
                self.go_to(run.from)?;
                run.from
            }
        };
        run.place = Some(place + 1);
        if place > run.group.last || run.group.wanted.is_empty() {
            // Pictures that the last wanted one refers to may come out after it: they too say whether they are damaged.
            self.decoder.send_eof().or_else(|_| self.reject())?;
            run.is_over = true;
            return Ok(self.receive(run)? && run.group.wanted.is_empty());
        }
        let packet = self.read()?;
        let is_wanted = run.group.places.contains(&place);
        if marks_unreferenced(self.demuxer.statement.codec) {
            let skip = if is_wanted { ffi::AVDiscard::AVDISCARD_DEFAULT } else { ffi::AVDiscard::AVDISCARD_NONREF };
            // SAFETY: the decoder is open; the field may be written between two packets.
            unsafe { (*self.decoder.as_mut_ptr()).skip_frame = skip };
        }
        if is_marked(&packet) {
            return Err(Stop::Damaged);
        }
        // A decoder hands packets to its threads in turns, those included that it leaves out: where every second one is,
        // one thread would do all the work. That of HEVC does not leave any out.
        let unreferenced = |units: Units| packet.data().is_some_and(|data| units.is_unreferenced(data));
        if !is_wanted && self.units.is_some_and(unreferenced) {
            return Ok(true);
        }
        self.fed += 1;
        if self.fed > self.job.options.limits.frames {
            let allowed = format!("{} frames", self.job.options.limits.frames);
            return Err(Error::limit(&self.job.name, "frames", "the number of frames".to_string(), allowed).into());
        }
        self.excuses.sent(&packet);
        self.decoder.send_packet(&packet).or_else(|_| self.reject())?;
        self.receive(run)
    }

    fn receive(&mut self, run: &mut Run) -> std::result::Result<bool, Stop> {
        loop {
            let mut frame = frame::Video::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {}
                Err(ffmpeg::Error::Eof | ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => return Ok(true),
                Err(_) => {
                    self.reject()?;
                    continue;
                }
            }
            if is_patched(&frame) && !self.excuses.covers(frame.pts()) {
                return Err(Stop::Damaged);
            }
            run.out += 1;
            let Some(number) = frame.pts().or(frame.timestamp()).and_then(|pts| self.index.frame_with(pts)) else { continue };
            match run.group.wanted.front() {
                Some((wanted, _)) if *wanted == number => {}
                // Frames come out in the order of display: one before this does not.
                Some(_) if run.group.wanted.binary_search_by_key(&number, |(wanted, _)| *wanted).is_ok() => return Ok(false),
                _ => continue,
            }
            run.group.wanted.pop_front();
            check_pixels(&self.job.name, &self.job.options.limits, frame.width(), frame.height())?;
            let of_frame = frame.side_data(FrameSideData::DisplayMatrix).and_then(|data| Orientation::from_bytes(data.data()));
            let (orientation, is_key) = (of_frame.or(self.demuxer.orientation), frame.is_key());
            let seconds = self.index.seconds(number);
            run.held.push_back((run.out, Decoded { index: number, seconds, is_key, orientation, frame }));
        }
    }

    /// Prepares another try from an earlier key frame where the first does not do: the pictures behind a key frame that is
    /// refreshed over several pictures are not complete at once. Frames that were not given yet are decoded again.
    fn step_back(&self, run: &mut Run, missing: Stop) -> std::result::Result<(), Stop> {
        for (_, decoded) in run.held.drain(..).rev() {
            if let Some(place) = self.index.place_of(decoded.index) {
                run.group.wanted.push_front((decoded.index, place));
            }
        }
        run.tries += 1;
        if run.tries == STEPS_BACK {
            return Err(Stop::Damaged);
        }
        // What needs a later key frame was just decoded from an earlier one.
        if !run.group.wanted.iter().any(|(_, place)| self.index.key_for(*place) <= run.group.key) {
            return Err(missing);
        }
        run.from = self.index.key_before(run.from).ok_or(missing)?;
        (run.place, run.is_over, run.out) = (None, false, 0);
        Ok(())
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
