//! Damaged packets and frames: what a reader does about them, and how it reports them.

use std::collections::{BTreeMap, BTreeSet};

use ffmpeg_next as ffmpeg;

use ffmpeg::{Packet, frame, packet};

/// What happens where a file is damaged: a packet that the decoder rejects or the container marks, a picture that the
/// decoder patched up, a file that stops before its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DamagePolicy {
    /// Reading ends with an error that names the frame. Found is what the decoder notices: HEVC, VP9 and AV1 decode most
    /// noise inside of a picture without a complaint. With several threads FFmpeg now and then fails to mark a picture of
    /// H.264 or MPEG-4 that it patched up (the mark comes after the picture): one thread finds them all.
    #[default]
    Fail,
    /// Damaged frames are left out, and so are those that refer to them, up to the next key frame. All others keep their
    /// numbers where the packets tell the frames apart, and are what they are in the whole file.
    /// [`VideoReader::damage`](crate::VideoReader::damage) says what was left out. A file without one good frame is still an
    /// error. Decoding from the beginning runs in one thread.
    Skip,
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Damage {
    /// What is damaged.
    pub kind: DamageKind,
    /// Number of the packet in the video stream in the order of decoding, counted from 0; `None` for frames that only refer
    /// to a damaged one.
    pub packet: Option<u64>,
    /// Number of the frame that is left out, counted from 0; `None` where it is not known.
    pub frame: Option<usize>,
    /// Time of display in seconds, 0 for the first frame; `None` where it is not known.
    pub seconds: Option<f64>,
    /// What FFmpeg or the container says.
    pub reason: String,
}

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DamageKind {
    /// A packet, which gives no frame.
    Packet,
    /// A frame that the decoder patched up, or that refers to a damaged one.
    Frame,
    /// The end of the file, which is missing.
    End,
}

/// Whether the decoder itself says that a picture is not what was encoded.
pub(crate) fn is_patched(frame: &frame::Video) -> bool {
    // SAFETY: the frame is owned by the caller and its fields are plain numbers.
    frame.is_corrupt() || unsafe { (*frame.as_ptr()).decode_error_flags } != 0
}

/// Which rejected packets are no damage: pictures before the first key frame, and those decoded after it and shown before
/// it, refer to something that the decoder never saw.
#[derive(Default)]
pub(crate) struct Excuses {
    key: Option<i64>,
    key_seen: bool,
    left: usize,
}

impl Excuses {
    pub(crate) fn sent(&mut self, packet: &Packet) {
        if !self.key_seen && packet.is_key() {
            (self.key_seen, self.key) = (true, packet.pts());
            return;
        }
        let leads = matches!((packet.pts(), self.key), (Some(pts), Some(key)) if pts < key);
        self.left += usize::from(!self.key_seen || leads);
    }

    /// Whether one more rejection is not the file's fault.
    pub(crate) fn excuse(&mut self) -> bool {
        let excused = self.left > 0;
        self.left = self.left.saturating_sub(1);
        excused
    }

    /// Whether a picture is one of those that may look wrong.
    pub(crate) fn covers(&self, pts: Option<i64>) -> bool {
        !self.key_seen || matches!((pts, self.key), (Some(pts), Some(key)) if pts < key)
    }
}

/// Which pictures refer to damaged ones, found out from the order in which packets are sent.
#[derive(Default)]
pub(crate) struct Spread {
    /// Number, key frame or not, of the latest packets by the time of display.
    sent: BTreeMap<i64, (u64, bool)>,
    /// Whether the group of pictures that is being decoded is damaged.
    broken: bool,
    /// Display of the key frame behind a damaged group: pictures before it may refer to that group.
    key: Option<i64>,
    pictures: BTreeSet<i64>,
}

/// How many pictures a decoder may hold back to bring them into the order of display.
pub(crate) const REORDERED: usize = 16;
/// Packets that are remembered: those of pictures that may still come out, and threads.
const REMEMBERED: usize = 8 * REORDERED;

impl Spread {
    pub(crate) fn sent(&mut self, number: u64, packet: &Packet) {
        if packet.is_key() {
            self.key = if self.broken { packet.pts() } else { None };
            self.broken = false;
        }
        let Some(pts) = packet.pts() else { return };
        if self.broken || self.key.is_some_and(|key| pts < key) {
            self.pictures.insert(pts);
        }
        self.sent.insert(pts, (number, packet.is_key()));
        if self.sent.len() > 2 * REMEMBERED {
            self.sent.retain(|_, (sent, _)| *sent + REMEMBERED as u64 > number);
        }
    }

    /// The packet that was sent last is damaged, and with it what follows unless nothing refers to it.
    pub(crate) fn damaged(&mut self, packet: &Packet) {
        self.pictures.extend(packet.pts());
        self.broken |= packet.flags().bits() & ffmpeg::ffi::AV_PKT_FLAG_DISPOSABLE == 0;
    }

    /// A picture came out patched up: what was sent after it may refer to it, up to the next key frame. Gives the number of
    /// its packet.
    pub(crate) fn patched(&mut self, pts: Option<i64>) -> Option<u64> {
        let Some((pts, &(number, _))) = pts.and_then(|pts| self.sent.get(&pts).map(|sent| (pts, sent))) else {
            self.broken = true;
            return None;
        };
        let later = || self.sent.iter().filter(move |(_, (sent, _))| *sent > number);
        let next_key = later().filter(|(_, (_, is_key))| *is_key).map(|(&pts, &(sent, _))| (sent, pts)).min();
        let reached = |&(&pts, &(sent, _)): &(&i64, &(u64, bool))| next_key.is_none_or(|key| sent < key.0 || pts < key.1);
        let pictures: Vec<i64> = later().filter(reached).map(|(&pts, _)| pts).collect();
        self.pictures.extend(pictures);
        self.pictures.insert(pts);
        match next_key {
            None => self.broken = true,
            Some((_, pts)) => self.key = self.key.max(Some(pts)),
        }
        Some(number)
    }

    /// When the picture of a packet is shown, by the number of the packet.
    pub(crate) fn display_of(&self, packet: u64) -> Option<i64> {
        self.sent.iter().find(|(_, (number, _))| *number == packet).map(|(pts, _)| *pts)
    }

    /// How many pictures are shown between one and another.
    pub(crate) fn shown_between(&self, after: Option<i64>, before: i64) -> usize {
        self.sent.keys().filter(|&&pts| after.is_none_or(|after| pts > after) && pts < before).count()
    }

    pub(crate) fn reaches(&self, pts: Option<i64>) -> bool {
        pts.map_or(self.broken, |pts| self.pictures.contains(&pts))
    }
}

/// Whether the container marks a packet as incomplete.
pub(crate) fn is_marked(packet: &Packet) -> bool {
    packet.flags().contains(packet::Flags::CORRUPT)
}
