//! The index of a stream: when each packet is decoded and shown, and where decoding can begin.

use ffmpeg_next as ffmpeg;

use ffmpeg::codec::Id;
use ffmpeg::{Packet, packet};

use crate::Result;
use crate::demuxer::Demuxer;
use crate::info::Timeline;

/// One packet.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Entry {
    /// Time of decoding and of display, in the unit of the stream.
    pub(crate) dts: i64,
    pub(crate) pts: i64,
    pub(crate) is_key: bool,
    /// Decoded because others need it, but not shown.
    pub(crate) is_hidden: bool,
}

/// All packets of a stream, each of which gives one frame unless it is hidden.
///
/// That holds for the streams that cameras and encoders make, and is what makes it possible to know the number of a frame
/// without decoding all before it. [`PacketIndex::build`] refuses every stream for which it might not hold.
pub(crate) struct PacketIndex {
    /// In the order of decoding.
    entries: Vec<Entry>,
    /// Places in `entries` in the order of display: the packet of each frame.
    shown: Vec<usize>,
    /// Places of the key frames, ascending.
    keys: Vec<usize>,
    unit: f64,
}

/// What is known of the packets of a stream.
pub(crate) enum Packets {
    /// Frames can be numbered without decoding.
    Indexed(PacketIndex),
    /// They cannot.
    Unpredictable,
}

impl PacketIndex {
    /// Finds out about the packets of a freshly opened file. Where the container is an mp4 whose tables tell everything, one
    /// packet is read, otherwise all.
    pub(crate) fn build(demuxer: &mut Demuxer) -> Result<Packets> {
        let predictable = demuxer.statement.progressive && has_one_frame_per_packet(demuxer.statement.codec);
        let mut entries = Vec::new();
        let mut usable = predictable;
        let Some(first) = demuxer.next_packet()? else { return Ok(Packets::Unpredictable) };
        match from_tables(demuxer, &first).filter(|_| predictable) {
            Some(found) => entries = found,
            None => {
                let mut next = Some(first);
                while let Some(packet) = next {
                    usable &= is_one_frame(demuxer.statement.codec, &packet);
                    let (dts, pts) = (packet.dts().or(packet.pts()), packet.pts());
                    usable &= pts.is_some();
                    let is_hidden = packet.flags().bits() & DISCARD != 0;
                    let (dts, pts) = (dts.unwrap_or(0), pts.unwrap_or(0));
                    entries.push(Entry { dts, pts, is_key: packet.is_key(), is_hidden });
                    next = demuxer.next_packet()?;
                }
            }
        }
        let unit = f64::from(demuxer.time_base);
        let index = Self::of(entries, unit).filter(|_| usable);
        Ok(index.map_or(Packets::Unpredictable, Packets::Indexed))
    }

    /// `None` for packets whose frames cannot be distinguished or might not all come out.
    fn of(entries: Vec<Entry>, unit: f64) -> Option<Self> {
        let first = entries.first().filter(|first| first.is_key)?;
        // Pictures shown before the first key frame refer to something that is not there.
        let complete = entries.iter().all(|entry| entry.is_hidden || entry.pts >= first.pts);
        let ascending = entries.windows(2).all(|pair| pair[0].dts < pair[1].dts);
        let mut shown: Vec<usize> = (0..entries.len()).filter(|&place| !entries[place].is_hidden).collect();
        shown.sort_by_key(|&place| entries[place].pts);
        let distinct = shown.windows(2).all(|pair| entries[pair[0]].pts < entries[pair[1]].pts);
        let keys = (0..entries.len()).filter(|&place| entries[place].is_key).collect();
        (complete && ascending && distinct && !shown.is_empty()).then_some(Self { entries, shown, keys, unit })
    }

    pub(crate) fn entry(&self, place: usize) -> Option<Entry> {
        self.entries.get(place).copied()
    }

    /// The place of a frame's packet.
    pub(crate) fn place_of(&self, frame: usize) -> Option<usize> {
        self.shown.get(frame).copied()
    }

    /// The number of the frame that is shown at a time in the unit of the stream.
    pub(crate) fn frame_with(&self, pts: i64) -> Option<usize> {
        self.shown.binary_search_by_key(&pts, |&place| self.entries[place].pts).ok()
    }

    /// The place of a packet that was read after a jump.
    pub(crate) fn find(&self, packet: &Packet) -> Option<usize> {
        let (pts, dts) = (packet.pts()?, packet.dts().or(packet.pts())?);
        let place = self.entries.binary_search_by_key(&dts, |entry| entry.dts).ok()?;
        (self.entries[place].pts == pts).then_some(place)
    }

    /// Whether a packet is the one at a place.
    pub(crate) fn is_at(&self, place: usize, packet: &Packet) -> bool {
        self.entry(place).is_some_and(|entry| packet.pts() == Some(entry.pts) && packet.dts().is_none_or(|dts| dts == entry.dts))
    }

    /// The last key frame from which a packet can be decoded: decoded no later, and shown no later. A picture that is decoded
    /// after a key frame and shown before it may refer to pictures before that key frame (an open group of pictures).
    pub(crate) fn key_for(&self, place: usize) -> usize {
        let until = self.keys.partition_point(|&key| key <= place);
        let shown = self.entries.get(place).map_or(i64::MIN, |entry| entry.pts);
        self.keys[..until].iter().rev().copied().find(|&key| self.entries[key].pts <= shown).unwrap_or(0)
    }

    /// The key frame before one.
    pub(crate) fn key_before(&self, key: usize) -> Option<usize> {
        let before = self.keys.partition_point(|&other| other < key);
        before.checked_sub(1).map(|before| self.keys[before])
    }

    /// The key frame after one.
    pub(crate) fn key_after(&self, key: usize) -> Option<usize> {
        self.keys.get(self.keys.partition_point(|&other| other <= key)).copied()
    }

    /// The number of frames.
    pub(crate) fn len(&self) -> usize {
        self.shown.len()
    }

    /// When a frame is shown in seconds, 0 for the first.
    pub(crate) fn seconds(&self, frame: usize) -> Option<f64> {
        let pts = self.entry(self.place_of(frame)?)?.pts;
        Some(pts.saturating_sub(self.first_time()?) as f64 * self.unit)
    }

    /// When the first frame is shown, in the unit of the stream.
    pub(crate) fn first_time(&self) -> Option<i64> {
        self.shown.first().map(|&place| self.entries[place].pts)
    }

    /// When each frame is shown.
    pub(crate) fn timeline(&self) -> Timeline {
        let seconds = (0..self.len()).filter_map(|frame| self.seconds(frame)).collect();
        let key_frames = (0..self.shown.len()).filter(|&frame| self.entries[self.shown[frame]].is_key).collect();
        Timeline { seconds, key_frames, unit: self.unit }
    }
}

/// The flag of a packet whose frame is not shown.
const DISCARD: i32 = ffmpeg::ffi::AV_PKT_FLAG_DISCARD;

/// The index of an mp4 without reading it: FFmpeg's own index says when packets are decoded, the table of offsets when they are
/// shown. The offsets lack a constant, which the first packet gives. `None` where the two do not belong together, as in
/// fragmented files and under some edit lists.
fn from_tables(demuxer: &mut Demuxer, first: &Packet) -> Option<Vec<Entry>> {
    let offsets = demuxer.display_offsets.take()?;
    let index = demuxer.container_index();
    let start = index.first()?.0;
    if offsets.len() != index.len() || first.dts()? != start {
        return None;
    }
    let constant = first.pts()?.checked_sub(start.checked_add(i64::from(*offsets.first()?))?)?;
    let entry = |(&(dts, is_key, is_hidden), &offset): (&(i64, bool, bool), &i32)| {
        let pts = dts.checked_add(i64::from(offset))?.checked_add(constant)?;
        Some(Entry { dts, pts, is_key, is_hidden })
    };
    index.iter().zip(&offsets).map(entry).collect()
}

/// Codecs whose packets give one frame each, decoded from a key frame on as they are from the beginning.
fn has_one_frame_per_packet(codec: Id) -> bool {
    matches!(codec, Id::H264 | Id::HEVC | Id::AV1 | Id::VP8 | Id::VP9 | Id::MPEG4 | Id::MPEG2VIDEO | Id::MPEG1VIDEO | Id::H263)
        || is_intra_only(codec)
}

/// Codecs without pictures that refer to others.
fn is_intra_only(codec: Id) -> bool {
    matches!(
        codec,
        Id::MJPEG
            | Id::PRORES
            | Id::DNXHD
            | Id::PNG
            | Id::RAWVIDEO
            | Id::HUFFYUV
            | Id::FFVHUFF
            | Id::UTVIDEO
            | Id::DVVIDEO
            | Id::JPEG2000
            | Id::FFV1
    )
}

/// Codecs whose decoders find out that no other packet refers to one, and can leave it out.
pub(crate) fn marks_unreferenced(codec: Id) -> bool {
    matches!(codec, Id::H264 | Id::MPEG4 | Id::MPEG2VIDEO | Id::MPEG1VIDEO)
}

/// Whether the content of a packet, too, speaks for one frame that is shown.
fn is_one_frame(codec: Id, packet: &Packet) -> bool {
    if packet.flags().contains(packet::Flags::CORRUPT) {
        return false;
    }
    let Some(data) = packet.data().filter(|data| !data.is_empty()) else { return false };
    match codec {
        // The bit "show frame".
        Id::VP8 => data[0] & 0x10 != 0,
        // Several frames in one packet end with one that is shown; alone, the bit "show frame" decides. It comes after the
        // marker, two bits of profile and a bit each for "show existing" and the type of frame.
        Id::VP9 => {
            let is_superframe = data.last().is_some_and(|last| last & 0xe0 == 0xc0);
            let (profile_3, existing) = (data[0] & 0x30 == 0x30, data[0] & 0x08 != 0);
            is_superframe || !profile_3 && (existing || data[0] & 0x02 != 0)
        }
        // The last picture repeated is a packet of a few bytes, and gives no frame.
        Id::MPEG4 => data.len() > 16,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets by the time they are shown, key frames negative.
    fn index(shown: &[i64]) -> Option<PacketIndex> {
        let entry = |(place, &pts): (usize, &i64)| Entry { dts: place as i64, pts: pts.abs(), is_key: pts < 0, is_hidden: false };
        PacketIndex::of(shown.iter().enumerate().map(entry).collect(), 0.1)
    }

    #[test]
    fn frames_are_numbered_as_they_are_shown() {
        let index = index(&[-10, 13, 11, 12, -14, 16, 15]).unwrap();
        assert_eq!(
            (0..8).map(|frame| index.place_of(frame)).collect::<Vec<_>>(),
            [0, 2, 3, 1, 4, 6, 5].map(Some).into_iter().chain([None]).collect::<Vec<_>>()
        );
        assert_eq!((index.frame_with(13), index.frame_with(17)), (Some(3), None));
        let timeline = index.timeline();
        assert_eq!((timeline.len(), timeline.key_frames.as_slice()), (7, [0, 4].as_slice()));
        assert!(!timeline.is_variable_rate());
    }

    #[test]
    fn pictures_of_open_groups_need_the_key_frame_before() {
        // 13 and 14 come after the second key frame, 15, and are shown before it.
        let index = index(&[-10, 12, 11, -15, 13, 14, 17, 16]).unwrap();
        assert_eq!((0..8).map(|place| index.key_for(place)).collect::<Vec<_>>(), [0, 0, 0, 3, 0, 0, 3, 3]);
        assert_eq!((index.key_before(3), index.key_before(0)), (Some(0), None));
    }

    #[test]
    fn streams_that_cannot_be_predicted_are_refused() {
        assert!(index(&[]).is_none());
        assert!(index(&[10, -11]).is_none(), "begins without a key frame");
        assert!(index(&[-10, 9, 11]).is_none(), "a picture before the first key frame");
        assert!(index(&[-10, 11, 11]).is_none(), "two pictures at a time");
        assert!(index(&[-10, 11, 12]).is_some());
    }
}
