//! The display matrix of a stream: how its pictures must be turned to stand upright.

/// A 3x3 matrix in 16.16 and 2.30 fixed point, row by row, as mp4 and FFmpeg's side data store it. Only the rotation and
/// reflection in the upper left 2x2 part are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Orientation([i32; 9]);

impl Orientation {
    /// Reads FFmpeg's side data: nine integers in the byte order of the machine.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (values, _) = bytes.as_chunks::<4>();
        let values: [i32; 9] = values.iter().take(9).map(|b| i32::from_ne_bytes(*b)).collect::<Vec<_>>().try_into().ok()?;
        Some(Self(values))
    }

    /// Clockwise turn in whole degrees, 0 to 359; `None` for a matrix without a direction.
    pub(crate) fn degrees(&self) -> Option<u16> {
        let m = self.0.map(f64::from);
        let (scale_x, scale_y) = (m[0].hypot(m[3]), m[1].hypot(m[4]));
        if scale_x == 0.0 || scale_y == 0.0 {
            return None;
        }
        let degrees = (m[1] / scale_y).atan2(m[0] / scale_x).to_degrees().round();
        Some(degrees.rem_euclid(360.0) as u16)
    }

    /// The filters that turn a picture upright, exact permutations for quarter turns and reflections, and whether width and
    /// height change places. The same choice as the ffmpeg program makes; turning comes before the conversion of colours
    /// because chroma sits differently along the two axes.
    pub(crate) fn filters(&self) -> (Vec<String>, bool) {
        let m = self.0;
        let filters: &[&str] = match self.degrees() {
            Some(89..=91) => &[if m[3] > 0 { "transpose=cclock_flip" } else { "transpose=clock" }],
            Some(269..=271) => &[if m[3] < 0 { "transpose=clock_flip" } else { "transpose=cclock" }],
            Some(179..=181) => match (m[0] < 0, m[4] < 0) {
                (true, true) => &["hflip", "vflip"],
                (true, false) => &["hflip"],
                (false, true) => &["vflip"],
                (false, false) => &[],
            },
            None | Some(0 | 1 | 359) => {
                if m[4] < 0 {
                    &["vflip"]
                } else {
                    &[]
                }
            }
            Some(degrees) => return (vec![format!("rotate={degrees}*PI/180")], false),
        };
        (filters.iter().map(ToString::to_string).collect(), filters.iter().any(|f| f.starts_with("transpose")))
    }
}

#[cfg(test)]
mod tests {
    use super::Orientation;

    #[test]
    fn the_eight_upright_orientations_have_their_filters() {
        let one = 1 << 16;
        let cases: [([i32; 4], u16, &[&str], bool); 8] = [
            ([one, 0, 0, one], 0, &[], false),
            ([0, one, -one, 0], 90, &["transpose=clock"], true),
            ([-one, 0, 0, -one], 180, &["hflip", "vflip"], false),
            ([0, -one, one, 0], 270, &["transpose=cclock"], true),
            ([-one, 0, 0, one], 180, &["hflip"], false),
            ([one, 0, 0, -one], 0, &["vflip"], false),
            ([0, one, one, 0], 90, &["transpose=cclock_flip"], true),
            ([0, -one, -one, 0], 270, &["transpose=clock_flip"], true),
        ];
        for ([a, b, c, d], degrees, filters, swaps) in cases {
            let matrix = [a, b, 0, c, d, 0, 0, 0, 1 << 30];
            let bytes: Vec<u8> = matrix.iter().flat_map(|v: &i32| v.to_ne_bytes()).collect();
            let orientation = Orientation::from_bytes(&bytes).unwrap();
            assert_eq!(orientation.degrees(), Some(degrees), "{matrix:?}");
            let (found, found_swaps) = orientation.filters();
            assert_eq!((found, found_swaps), (filters.iter().map(ToString::to_string).collect(), swaps), "{matrix:?}");
        }
    }

    #[test]
    fn short_or_flat_matrices_turn_nothing() {
        assert_eq!(Orientation::from_bytes(&[0; 35]), None);
        let flat = Orientation::from_bytes(&[0; 36]).unwrap();
        assert_eq!(flat.degrees(), None);
        assert_eq!(flat.filters(), (vec![], false));
    }
}
