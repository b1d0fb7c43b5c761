//! What the sample tables of an mp4 say, read without FFmpeg: how many samples it claims, whether they are encrypted, and
//! how far the display of each is behind its decoding.
//!
//! FFmpeg allocates what the tables claim before it looks at the first sample, and does not expose the display times.

use std::io::{self, Read, Seek, SeekFrom};

/// The tracks of an mp4.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tables {
    pub(crate) tracks: Vec<Track>,
    /// Samples that all tracks and fragments claim together.
    pub(crate) samples: u64,
}

/// One track.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Track {
    pub(crate) id: u32,
    /// Samples that the sample table claims.
    pub(crate) samples: u64,
    /// Whether its pictures are encrypted.
    pub(crate) encrypted: bool,
    /// Runs of samples with the same offset from decoding to display: length and offset in units of the track's time.
    pub(crate) display: Vec<(u32, i32)>,
}

impl Track {
    /// The offset of every sample in the order of decoding; `None` if the table is for another number of samples.
    pub(crate) fn display_offsets(&self) -> Option<Vec<i32>> {
        let described: u64 = self.display.iter().map(|(length, _)| u64::from(*length)).sum();
        let samples = usize::try_from(self.samples).ok()?;
        if self.display.is_empty() {
            return Some(vec![0; samples]);
        }
        (described == self.samples)
            .then(|| self.display.iter().flat_map(|&(n, offset)| std::iter::repeat_n(offset, n as usize)).collect())
    }
}

/// Boxes that are looked at in one file. A whole file has a few hundred, a fragmented one a few per fragment.
const BOXES: usize = 2_000_000;
/// The deepest nesting of the boxes of interest: moov, trak, mdia, minf, stbl.
const DEPTH: usize = 6;

/// Reads the tables; an empty result for files that are no mp4. Runs that describe more than `most` samples are not kept.
pub(crate) fn read(file: &mut (impl Read + Seek), most: u64) -> io::Result<Tables> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut walk = Walk { file, most, boxes: 0, tables: Tables::default() };
    walk.children(0, length, 0)?;
    Ok(walk.tables)
}

struct Walk<'a, F> {
    file: &'a mut F,
    most: u64,
    boxes: usize,
    tables: Tables,
}

impl<F: Read + Seek> Walk<'_, F> {
    fn children(&mut self, mut start: u64, end: u64, depth: usize) -> io::Result<()> {
        while end.saturating_sub(start) >= 8 && self.boxes < BOXES {
            self.boxes += 1;
            self.file.seek(SeekFrom::Start(start))?;
            let (size, kind) = (u64::from(self.u32()?), self.four()?);
            if depth == 0 && start == 0 && !matches!(&kind, b"ftyp" | b"styp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip") {
                return Ok(());
            }
            let (header, size) = match size {
                0 => (8, end - start),
                1 if end - start >= 16 => (16, u64::from(self.u32()?) << 32 | u64::from(self.u32()?)),
                size => (8, size),
            };
            if size < header {
                return Ok(());
            }
            // A box that claims to reach past its parent ends with it.
            let next = start.saturating_add(size).min(end);
            self.visit(kind, start + header, next, depth)?;
            start = next;
        }
        Ok(())
    }

    fn visit(&mut self, kind: [u8; 4], start: u64, end: u64, depth: usize) -> io::Result<()> {
        let length = end.saturating_sub(start);
        match &kind {
            b"trak" => {
                self.tables.tracks.push(Track::default());
                self.children(start, end, depth + 1)
            }
            b"moov" | b"mdia" | b"minf" | b"stbl" | b"moof" | b"traf" if depth < DEPTH => self.children(start, end, depth + 1),
            b"tkhd" if length >= 24 => {
                let version = self.four()?[0];
                self.skip(if version == 1 { 16 } else { 8 })?;
                let id = self.u32()?;
                self.track(|track| track.id = id);
                Ok(())
            }
            b"stsd" if length >= 16 => {
                self.skip(12)?; // version, number of entries, size of the first
                let entry = self.four()?;
                self.track(|track| track.encrypted = &entry == b"encv");
                Ok(())
            }
            b"stsz" | b"stz2" if length >= 12 => {
                self.skip(8)?;
                let samples = u64::from(self.u32()?);
                self.tables.samples = self.tables.samples.saturating_add(samples);
                self.track(|track| track.samples = samples);
                Ok(())
            }
            b"trun" if length >= 8 => {
                self.skip(4)?;
                let samples = u64::from(self.u32()?);
                self.tables.samples = self.tables.samples.saturating_add(samples);
                Ok(())
            }
            b"ctts" if length >= 8 => self.display(length - 8),
            _ => Ok(()),
        }
    }

    fn display(&mut self, room: u64) -> io::Result<()> {
        self.skip(4)?;
        let runs = u64::from(self.u32()?).min(room / 8).min(self.most);
        let mut bytes = Vec::new();
        self.file.by_ref().take(runs * 8).read_to_end(&mut bytes)?;
        let mut described = 0u64;
        let mut display = Vec::with_capacity(bytes.len() / 8);
        for run in bytes.as_chunks::<8>().0 {
            let [a, b, c, d, e, f, g, h] = *run;
            let (length, offset) = (u32::from_be_bytes([a, b, c, d]), i32::from_be_bytes([e, f, g, h]));
            described = described.saturating_add(u64::from(length));
            if described > self.most {
                return Ok(());
            }
            display.push((length, offset));
        }
        self.track(|track| track.display = display);
        Ok(())
    }

    fn track(&mut self, change: impl FnOnce(&mut Track)) {
        if let Some(track) = self.tables.tracks.last_mut() {
            change(track);
        }
    }

    fn four(&mut self) -> io::Result<[u8; 4]> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.four().map(u32::from_be_bytes)
    }

    fn skip(&mut self, bytes: i64) -> io::Result<()> {
        self.file.seek(SeekFrom::Current(bytes)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn part(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(payload.len() + 8).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn file(samples: u32, entry: &[u8; 4], display: &[u32]) -> Vec<u8> {
        let head = part(b"tkhd", &words(&[0, 0, 0, 7, 0, 0]));
        let kinds = part(b"stsd", &[words(&[0, 1, 16]), entry.to_vec(), vec![0; 8]].concat());
        let sizes = part(b"stsz", &words(&[0, 5, samples]));
        let display = part(b"ctts", &[words(&[0, display.len() as u32 / 2]), words(display)].concat());
        let table = part(b"stbl", &[kinds, sizes, display].concat());
        let track = part(b"trak", &[head, part(b"mdia", &part(b"minf", &table))].concat());
        [part(b"ftyp", b"isom"), part(b"moov", &track)].concat()
    }

    #[test]
    fn tables_are_read() {
        let tables = read(&mut Cursor::new(file(5, b"avc1", &[2, 10, 3, u32::MAX])), 100).unwrap();
        assert_eq!((tables.samples, tables.tracks.len()), (5, 1));
        let track = &tables.tracks[0];
        assert_eq!((track.id, track.samples, track.encrypted), (7, 5, false));
        assert_eq!(track.display_offsets(), Some(vec![10, 10, -1, -1, -1]));
        assert!(read(&mut Cursor::new(file(5, b"encv", &[])), 100).unwrap().tracks[0].encrypted);
    }

    #[test]
    fn claims_are_counted_and_not_believed() {
        let tables = read(&mut Cursor::new(file(1_000_000_000, b"avc1", &[u32::MAX, 1])), 100).unwrap();
        assert_eq!(tables.samples, 1_000_000_000);
        assert!(tables.tracks[0].display.is_empty(), "more runs than allowed");
        // A table for another number of samples than there are describes nothing.
        let tables = read(&mut Cursor::new(file(5, b"avc1", &[4, 1])), 100).unwrap();
        assert_eq!(tables.tracks[0].display_offsets(), None);
    }

    #[test]
    fn nonsense_ends_well() {
        for bytes in [b"".to_vec(), b"plain text that is no mp4 at all".to_vec(), vec![0; 64], vec![255; 64]] {
            assert_eq!(read(&mut Cursor::new(bytes), 100).unwrap(), Tables::default());
        }
        let whole = file(5, b"avc1", &[2, 10, 3, 4]);
        for cut in 0..whole.len() {
            drop(read(&mut Cursor::new(&whole[..cut]), 100)); // an error or a part, never a panic
        }
        // A box inside itself, by a size of zero, ends at the depth of interest.
        let nested = b"\0\0\0\0moov".repeat(1000);
        assert_eq!(read(&mut Cursor::new(nested), 100).unwrap(), Tables::default());
    }
}
