//! The units that a packet of H.264 consists of (ITU-T H.264, 7.3.1): which packets no other refers to.

/// How the units of a packet are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each follows its length, a number of so many bytes (mp4, Matroska).
    Lengths(usize),
    /// Each follows the bytes 0 0 1 (transport streams, raw H.264).
    StartCodes,
}

impl Framing {
    /// Reads the decoder's description of a stream (ISO/IEC 14496-15, 5.3.3.1).
    pub(crate) fn of(description: &[u8]) -> Self {
        match description {
            [1, _, _, _, lengths, ..] => Self::Lengths(usize::from(lengths & 3) + 1),
            _ => Self::StartCodes,
        }
    }

    /// Whether a packet holds slices of a picture that no other picture refers to, and nothing else that outlives it.
    pub(crate) fn is_unreferenced(self, packet: &[u8]) -> bool {
        let mut slices = 0;
        let unreferenced = self.heads(packet, |head| {
            let (refers, kind) = (head >> 5 & 3, head & 31);
            slices += usize::from(kind == SLICE);
            matches!((kind, refers), (SLICE, 0) | (INFORMATION | DELIMITER | FILLER, _))
        });
        unreferenced && slices > 0
    }

    /// Whether something holds for the first byte of every unit; `false` for a packet that is not well formed.
    fn heads(self, packet: &[u8], mut holds: impl FnMut(u8) -> bool) -> bool {
        match self {
            Self::Lengths(bytes) => {
                let mut rest = packet;
                while !rest.is_empty() {
                    let Some((length, unit)) = rest.split_at_checked(bytes) else { return false };
                    let length = length.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
                    let (Some(head), Some(next)) = (unit.first(), unit.get(length..)) else { return false };
                    if length == 0 || !holds(*head) {
                        return false;
                    }
                    rest = next;
                }
                true
            }
            Self::StartCodes => packet
                .windows(4)
                .filter(|window| window.starts_with(&[0, 0, 1]))
                .all(|window| window.last().is_some_and(|head| holds(*head))),
        }
    }
}

/// Kinds of units (table 7-1): a slice of a picture that is no key frame, supplemental information, the start of a picture,
/// and bytes without a meaning.
const SLICE: u8 = 1;
const INFORMATION: u8 = 6;
const DELIMITER: u8 = 9;
const FILLER: u8 = 12;

#[cfg(test)]
mod tests {
    use super::Framing;

    /// Units of three bytes with these first bytes.
    fn lengths(heads: &[u8]) -> Vec<u8> {
        heads.iter().flat_map(|head| [0, 3, *head, 7, 7]).collect()
    }

    fn codes(heads: &[u8]) -> Vec<u8> {
        heads.iter().flat_map(|head| [0, 0, 0, 1, *head, 7, 7]).collect()
    }

    #[test]
    fn packets_that_others_refer_to_are_told_apart() {
        assert_eq!(Framing::of(&[1, 100, 0, 31, 0xff, 0xe1]), Framing::Lengths(4));
        assert_eq!(Framing::of(&[0, 0, 0, 1, 0x67]), Framing::StartCodes);
        assert_eq!(Framing::of(&[]), Framing::StartCodes);
        for (heads, expected) in [
            (&[0x01][..], true),
            (&[0x09, 0x06, 0x01, 0x01], true),
            (&[0x01, 0x41], false), // a slice that others refer to
            (&[0x65], false),       // a key frame
            (&[0x67, 0x01], false), // parameters for later pictures
            (&[0x06], false),       // no picture
            (&[0x02], false),       // a picture in several parts
            (&[], false),
        ] {
            assert_eq!(Framing::Lengths(2).is_unreferenced(&lengths(heads)), expected, "{heads:x?}");
            assert_eq!(Framing::StartCodes.is_unreferenced(&codes(heads)), expected, "{heads:x?}");
        }
    }

    #[test]
    fn packets_that_are_not_well_formed_are_left_to_the_decoder() {
        let whole = lengths(&[0x01, 0x01]);
        for cut in (1..whole.len()).filter(|cut| cut % 5 != 0) {
            assert!(!Framing::Lengths(2).is_unreferenced(&whole[..cut]), "{cut}");
        }
        assert!(!Framing::Lengths(2).is_unreferenced(&[0, 0, 1]));
        assert!(!Framing::Lengths(4).is_unreferenced(&[255, 255, 255, 255, 1]));
    }
}
