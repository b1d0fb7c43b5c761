//! Whether a file ends where it says it ends: the boxes of an mp4 and the segment of a Matroska or WebM file.

use std::io::{self, Read, Seek, SeekFrom};

/// Says what is missing from an mp4 or Matroska file that was cut off; `None` for a whole one and for any other format.
///
/// FFmpeg plays a cut file up to the cut, and calls an mp4 without an index plain invalid. Both cost the user a wrong answer
/// instead of a second download.
pub(crate) fn missing_part(file: &mut (impl Read + Seek)) -> io::Result<Option<String>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut start = Vec::new();
    file.take(128).read_to_end(&mut start)?;
    match start.strip_prefix(&MATROSKA) {
        Some(rest) => Ok(missing_segment(rest, length)),
        None => missing_box(file, length),
    }
}

/// The identifiers of the head and of the segment, the two elements that a Matroska file consists of.
const MATROSKA: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];

/// `rest` is what follows the identifier of the head in the first bytes of the file.
fn missing_segment(rest: &[u8], length: u64) -> Option<String> {
    let (head, bytes) = variable_number(rest)?;
    let segment = bytes.checked_add(usize::try_from(head?).ok()?)?;
    let (size, bytes) = variable_number(rest.get(segment..)?.strip_prefix(&SEGMENT)?)?;
    // Live recordings do not know their size.
    let end = size?.checked_add((MATROSKA.len() + segment + SEGMENT.len() + bytes) as u64)?;
    (end > length).then(|| format!("its segment goes to byte {end}, the file has {length}"))
}

/// A number of Matroska, whose leading zero bits tell its length: the value, `None` if all bits are set for "unknown", and
/// how many bytes it takes.
fn variable_number(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let value = bytes.get(..length).filter(|_| length <= 8)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let mask = (1u64 << (7 * length)) - 1;
    Some(((value & mask != mask).then_some(value & mask), length))
}

fn missing_box(file: &mut (impl Read + Seek), length: u64) -> io::Result<Option<String>> {
    let mut offset = 0;
    let (mut is_mp4, mut has_index) = (false, false);
    // A whole file has a handful of boxes, a fragmented one two per fragment.
    for _ in 0..100_000 {
        if length.saturating_sub(offset) < 8 {
            break;
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut header = [0; 8];
        file.read_exact(&mut header)?;
        let [a, b, c, d, kind @ ..] = header;
        let mut size = u64::from(u32::from_be_bytes([a, b, c, d]));
        if offset == 0 && !matches!(&kind, b"ftyp" | b"styp" | b"moov" | b"mdat" | b"wide") {
            return Ok(None);
        }
        is_mp4 |= &kind == b"ftyp";
        has_index |= &kind == b"moov";
        match size {
            0 => break, // to the end of the file
            1 if offset + 16 <= length => {
                file.read_exact(&mut header)?;
                size = u64::from_be_bytes(header);
            }
            _ => {}
        }
        let Some(end) = offset.checked_add(size).filter(|_| size >= 8) else { break };
        // Anything else at the end may be padding that only looks like a box.
        if end > length && matches!(&kind, b"ftyp" | b"moov" | b"moof" | b"mdat") {
            let kind = String::from_utf8_lossy(&kind).into_owned();
            return Ok(Some(format!("its {kind:?} part goes to byte {end}, the file has {length}")));
        }
        offset = end;
    }
    Ok((is_mp4 && !has_index).then(|| "its index (\"moov\") is missing, the recording or download did not finish".to_string()))
}

#[cfg(test)]
mod tests {
    use super::missing_part;
    use std::io::Cursor;

    fn part(kind: &[u8; 4], payload: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(payload + 8).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(kind);
        bytes.resize(payload + 8, 7);
        bytes
    }

    fn check(bytes: Vec<u8>) -> Option<String> {
        missing_part(&mut Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn whole_cut_and_foreign_files_are_told_apart() {
        let whole = [part(b"ftyp", 8), part(b"moov", 40), part(b"mdat", 100)].concat();
        assert_eq!(check(whole.clone()), None);
        assert_eq!(check([whole.clone(), vec![0; 5]].concat()), None);
        assert_eq!(check([whole.clone(), b"\xff\xff\xff\xffjunk".to_vec()].concat()), None);
        assert_eq!(check(whole[..whole.len() - 1].to_vec()).unwrap(), "its \"mdat\" part goes to byte 172, the file has 171");
        assert!(check([part(b"ftyp", 8), part(b"mdat", 100)].concat()).unwrap().contains("moov"));
        assert_eq!(check(b"plain text, renamed".to_vec()), None);
        assert_eq!(check(b"abc".to_vec()), None);
    }

    #[test]
    fn segments_of_known_and_unknown_size() {
        let matroska = |size: &[u8], payload: usize| {
            let mut bytes = vec![0x1a, 0x45, 0xdf, 0xa3, 0x83, 1, 2, 3, 0x18, 0x53, 0x80, 0x67];
            bytes.extend_from_slice(size);
            bytes.resize(bytes.len() + payload, 0);
            check(bytes)
        };
        assert_eq!(matroska(&[0x40, 200], 200), None);
        assert_eq!(matroska(&[0x40, 200], 199).unwrap(), "its segment goes to byte 214, the file has 213");
        assert_eq!(matroska(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 9), None); // unknown
        assert_eq!(matroska(&[0x00, 0xff], 9), None); // no number
    }

    #[test]
    fn sizes_of_64_bits_and_sizes_that_lie_end_well() {
        let mut long = b"\0\0\0\x01mdat".to_vec();
        long.extend_from_slice(&u64::MAX.to_be_bytes());
        let mut bytes = part(b"ftyp", 8);
        bytes.extend_from_slice(&long);
        assert!(check(bytes).unwrap().contains("moov")); // an impossible size ends the walk
        assert_eq!(check([part(b"ftyp", 8), part(b"moov", 8), b"\0\0\0\0mdat123".to_vec()].concat()), None);
        let mut far = [part(b"ftyp", 8), part(b"moov", 8), b"\0\0\0\x01free".to_vec()].concat();
        far.extend_from_slice(&(u64::MAX - 40).to_be_bytes()); // just short of overflow
        assert_eq!(check(far), None);
    }
}
