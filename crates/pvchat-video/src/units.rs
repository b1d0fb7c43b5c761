//! The units that a packet of H.264 or HEVC consists of (ITU-T H.264, 7.3.1; H.265, 7.3.1): which packets no other refers to.

use ffmpeg_next::codec::Id;

/// How the units of a stream are separated, and what their first bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Units {
    framing: Framing,
    coding: Coding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Each follows its length, a number of this many bytes (mp4, Matroska).
    Lengths(usize),
    /// Each follows the bytes 0 0 1 (transport streams, raw H.264).
    StartCodes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    H264,
    /// With the number of temporal layers: a picture may refer to those of lower layers, whatever they say of themselves.
    Hevc(u8),
}

/// What a unit means for later pictures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A part of a picture that no other refers to.
    Unreferenced,
    /// Supplemental information, the start or the end of a picture, bytes without a meaning.
    Passing,
    /// Anything else.
    Lasting,
}

impl Units {
    /// Reads the decoder's description of a stream (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1). `None` for other codecs, and
    /// where it does not tell what is needed.
    pub(crate) fn of(codec: Id, description: &[u8]) -> Option<Self> {
        let lengths = |byte: u8| Framing::Lengths(usize::from(byte & 3) + 1);
        match (codec, description) {
            (Id::H264, [1, _, _, _, byte, ..]) => Some(Self { framing: lengths(*byte), coding: Coding::H264 }),
            (Id::H264, _) => Some(Self { framing: Framing::StartCodes, coding: Coding::H264 }),
            (Id::HEVC, [1, ..]) => {
                let byte = *description.get(21)?;
                let layers = byte >> 3 & 7;
                (layers > 0).then_some(Self { framing: lengths(byte), coding: Coding::Hevc(layers) })
            }
            _ => None,
        }
    }

    /// Whether a packet holds slices of a picture that no other picture refers to, and nothing else that outlives it.
    pub(crate) fn is_unreferenced(self, packet: &[u8]) -> bool {
        let mut slices = 0;
        let unreferenced = self.all(packet, |unit| {
            let kind = self.coding.kind(unit);
            slices += usize::from(kind == Kind::Unreferenced);
            kind != Kind::Lasting
        });
        unreferenced && slices > 0
    }

    /// Whether something holds for every unit, from its first byte on; `false` for a packet that is not well formed.
    fn all(self, packet: &[u8], mut holds: impl FnMut(&[u8]) -> bool) -> bool {
        match self.framing {
            Framing::Lengths(bytes) => {
                let mut rest = packet;
                while !rest.is_empty() {
                    let Some((length, unit)) = rest.split_at_checked(bytes) else { return false };
                    let length = length.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
                    let Some((unit, next)) = unit.split_at_checked(length).filter(|_| length > 0) else { return false };
                    if !holds(unit) {
                        return false;
                    }
                    rest = next;
                }
                true
            }
            Framing::StartCodes => {
                let starts = |place: &usize| packet[*place..].starts_with(&[0, 0, 1]);
                (0..packet.len().saturating_sub(3)).filter(starts).all(|place| holds(&packet[place + 3..]))
            }
        }
    }
}

impl Coding {
    /// Table 7-1 of either recommendation; with fields and extension layers, `Lasting`.
    fn kind(self, unit: &[u8]) -> Kind {
        match (self, unit) {
            (Self::H264, [head, ..]) => match (head & 31, head >> 5 & 3) {
                (1, 0) => Kind::Unreferenced,
                (6 | 9 | 12, _) => Kind::Passing,
                _ => Kind::Lasting,
            },
            // Six bits of type between one of zero and the layer, then three bits of temporal layer, counted from 1. Even
            // types up to 8 are pictures that no other of their temporal layer refers to.
            (Self::Hevc(layers), [head, second, ..]) if head & 1 == 0 && second >> 3 == 0 => match head >> 1 {
                0 | 2 | 4 | 6 | 8 if second & 7 == layers => Kind::Unreferenced,
                35 | 38 | 39 | 40 => Kind::Passing,
                _ => Kind::Lasting,
            },
            _ => Kind::Lasting,
        }
    }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::codec::Id;

    use super::{Coding, Framing, Units};

    fn h264(framing: Framing) -> Units {
        Units { framing, coding: Coding::H264 }
    }

    /// Units of three bytes with these first bytes.
    fn lengths(heads: &[u8]) -> Vec<u8> {
        heads.iter().flat_map(|head| [0, 3, *head, 7, 7]).collect()
    }

    fn codes(heads: &[u8]) -> Vec<u8> {
        heads.iter().flat_map(|head| [0, 0, 0, 1, *head, 7, 7]).collect()
    }

    #[test]
    fn packets_that_others_refer_to_are_told_apart() {
        assert_eq!(Units::of(Id::H264, &[1, 100, 0, 31, 0xff, 0xe1]), Some(h264(Framing::Lengths(4))));
        assert_eq!(Units::of(Id::H264, &[0, 0, 0, 1, 0x67]), Some(h264(Framing::StartCodes)));
        assert_eq!(Units::of(Id::H264, &[]), Some(h264(Framing::StartCodes)));
        assert_eq!(Units::of(Id::AV1, &[1, 100, 0, 31, 0xff, 0xe1]), None);
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
            assert_eq!(h264(Framing::Lengths(2)).is_unreferenced(&lengths(heads)), expected, "{heads:x?}");
            assert_eq!(h264(Framing::StartCodes).is_unreferenced(&codes(heads)), expected, "{heads:x?}");
        }
    }

    #[test]
    fn packets_that_are_not_well_formed_are_left_to_the_decoder() {
        let whole = lengths(&[0x01, 0x01]);
        for cut in (1..whole.len()).filter(|cut| cut % 5 != 0) {
            assert!(!h264(Framing::Lengths(2)).is_unreferenced(&whole[..cut]), "{cut}");
        }
        assert!(!h264(Framing::Lengths(2)).is_unreferenced(&[0, 0, 1]));
        assert!(!h264(Framing::Lengths(4)).is_unreferenced(&[255, 255, 255, 255, 1]));
    }

    #[test]
    fn pictures_of_hevc_are_judged_by_their_temporal_layer() {
        let description = |byte: u8| [&[1][..], &[0; 20], &[byte, 3]].concat();
        let of = |layers: u8| Units::of(Id::HEVC, &description(layers << 3 | 1)).unwrap();
        assert_eq!(of(2), Units { framing: Framing::Lengths(2), coding: Coding::Hevc(2) });
        assert_eq!(Units::of(Id::HEVC, &description(1)), None, "the number of layers is not known");
        assert_eq!(Units::of(Id::HEVC, &[0, 0, 0, 1, 0x40]), None);
        let unit = |kind: u8, layer: u8| [0, 3, kind << 1, layer, 7];
        for (units, expected) in [
            (&[unit(0, 1)][..], true),
            (&[unit(35, 1), unit(39, 1), unit(8, 1), unit(8, 1)], true),
            (&[unit(1, 1)], false),              // a picture that others refer to
            (&[unit(0, 1), unit(1, 1)], false),  // the like
            (&[unit(20, 1)], false),             // a key frame
            (&[unit(10, 1)], false),             // reserved
            (&[unit(33, 1), unit(0, 1)], false), // parameters for later pictures
            (&[unit(39, 1)], false),             // no picture
            (&[[0, 3, 1, 1, 7]], false),         // a picture of another view
            (&[[0, 1, 0, 0, 1]], false),         // cut off
        ] {
            assert_eq!(of(1).is_unreferenced(&units.concat()), expected, "{units:x?}");
        }
        let lower = [unit(0, 1)].concat();
        assert!(!of(2).is_unreferenced(&lower) && of(2).is_unreferenced(&[unit(0, 2)].concat()));
    }
}
