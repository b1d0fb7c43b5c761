//! The boxes of an mp4, read far enough to say whether the file is complete.

use std::io::{self, Read, Seek, SeekFrom};

/// Says what is missing from an mp4 that was cut off; `None` for a whole one and for any other format.
///
/// FFmpeg plays a cut file up to the cut, and calls one without an index plain invalid. Both cost the user a wrong answer
/// instead of a second download.
pub(crate) fn missing_part(file: &mut (impl Read + Seek)) -> io::Result<Option<String>> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut offset = 0;
    let (mut is_mp4, mut has_index) = (false, false);
    // A whole file has a handful of boxes, a fragmented one two per fragment.
    for _ in 0..100_000 {
        if offset + 8 > length {
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
        assert_eq!(
            check(whole[..whole.len() - 1].to_vec()).unwrap(),
            "its \"mdat\" part goes to byte 172, the file has 171"
        );
        assert!(check([part(b"ftyp", 8), part(b"mdat", 100)].concat()).unwrap().contains("moov"));
        assert_eq!(check(b"plain text, renamed".to_vec()), None);
        assert_eq!(check(b"abc".to_vec()), None);
    }

    #[test]
    fn sizes_of_64_bits_and_sizes_that_lie_end_well() {
        let mut long = b"\0\0\0\x01mdat".to_vec();
        long.extend_from_slice(&u64::MAX.to_be_bytes());
        let mut bytes = part(b"ftyp", 8);
        bytes.extend_from_slice(&long);
        assert!(check(bytes).unwrap().contains("moov")); // an impossible size ends the walk
        assert_eq!(check([part(b"ftyp", 8), part(b"moov", 8), b"\0\0\0\0mdat123".to_vec()].concat()), None);
    }
}
