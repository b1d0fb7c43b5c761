//! Bicubic resizing as PyTorch does it: a = -0.75, half-pixel centres, clamped edges, no antialias, no clamping.
//!
//! Most image libraries widen the kernel when shrinking and use a = -0.5, which gives other
//! pixels than the published model was trained on.

/// The parameter of the cubic kernel.
const A: f64 = -0.75;

/// One channel of an image, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Pixels in a row.
    pub width: usize,
    /// All pixels; the length is a multiple of `width`.
    pub values: Vec<f32>,
}

/// Four source positions of an output position, and their weights.
struct Taps {
    indices: [usize; 4],
    weights: [f32; 4],
}

/// The taps of every output position when `from` positions become `to`.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    (0..to)
        .map(|index| {
            let source = (index as f64 + 0.5) * from as f64 / to as f64 - 0.5;
            let (base, t) = (source.floor(), source - source.floor());
            let clamped = |offset: f64| (base + offset).clamp(0.0, (from - 1) as f64) as usize;
            Taps {
                indices: [clamped(-1.0), clamped(0.0), clamped(1.0), clamped(2.0)],
                weights: [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)].map(|weight| weight as f32),
            }
        })
        .collect()
}

impl Plane {
    /// Rows of the plane.
    pub fn height(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// The plane stretched to another size; values may leave the range of the source (overshoot).
    /// An empty plane, or an empty size, gives zeros.
    pub fn resized(&self, width: usize, height: usize) -> Plane {
        if self.values.is_empty() || width == 0 || height == 0 {
            return Plane { width, values: vec![0.0; width * height] };
        }
        let columns = taps(self.width, width);
        let mut wide = Vec::with_capacity(self.height() * width);
        for row in self.values.chunks_exact(self.width) {
            wide.extend(columns.iter().map(|tap| {
                let [a, b, c, d] = tap.indices.map(|index| row[index]);
                let [wa, wb, wc, wd] = tap.weights;
                a * wa + b * wb + c * wc + d * wd
            }));
        }
        if height == self.height() {
            return Plane { width, values: wide };
        }
        let mut values = Vec::with_capacity(width * height);
        for tap in taps(self.height(), height) {
            let [a, b, c, d] = tap.indices.map(|row| &wide[row * width..(row + 1) * width]);
            let [wa, wb, wc, wd] = tap.weights;
            values.extend((0..width).map(|x| a[x] * wa + b[x] * wb + c[x] * wc + d[x] * wd));
        }
        Plane { width, values }
    }
}

/// Red, green and blue, and a fourth number without a meaning: processors mix four at once.
pub type Pixel = [f32; 4];

/// Mixes the four pixels that a function gives for the indices of a tap.
fn mixed(tap: &Taps, pixel: impl Fn(usize) -> Pixel) -> Pixel {
    let [a, b, c, d] = tap.indices.map(pixel);
    let [wa, wb, wc, wd] = tap.weights;
    std::array::from_fn(|lane| a[lane] * wa + b[lane] * wb + c[lane] * wc + d[lane] * wd)
}

/// Rows of pixels stretched from one width to another.
pub struct RowResize(Vec<Taps>);

impl RowResize {
    /// From a width to another, neither of them zero.
    pub fn new(from: usize, to: usize) -> Self {
        Self(taps(from, to))
    }

    /// Stretches a row that has the width that was given.
    pub fn apply(&self, row: &[Pixel], to: &mut [Pixel]) {
        to.iter_mut().zip(&self.0).for_each(|(to, tap)| *to = mixed(tap, |index| row[index]));
    }
}

/// The rows of a picture (bytes, three per pixel, `width` pixels a row) stretched to another size, each given to `take` with
/// its number. An empty picture, or an empty size, gives none.
///
/// The pixels are what [`Plane::resized`] gives for each channel, up to rounding, several times sooner: rows are mixed first,
/// while the three bytes of a pixel are adjacent, and only as many rows as come out are mixed along the other way.
pub fn resized_rows(pixels: &[u8], width: usize, to_width: usize, to_height: usize, mut take: impl FnMut(usize, &[Pixel])) {
    let row = width * 3;
    let height = pixels.len().checked_div(row).unwrap_or(0);
    if height == 0 || to_width == 0 || to_height == 0 {
        return;
    }
    let columns = taps(width, to_width);
    // One more, for the fourth number of the last pixel; that of the others is the red of the next.
    let mut line = vec![0.0; row + 1];
    let mut resized = vec![[0.0; 4]; to_width];
    for (y, tap) in taps(height, to_height).into_iter().enumerate() {
        let [a, b, c, d] = tap.indices.map(|line| &pixels[line * row..(line + 1) * row]);
        let [wa, wb, wc, wd] = tap.weights;
        for ((((to, a), b), c), d) in line.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *to = f32::from(*a) * wa + f32::from(*b) * wb + f32::from(*c) * wc + f32::from(*d) * wd;
        }
        let pixel = |index: usize| line[3 * index..].first_chunk().copied().unwrap_or_default();
        resized.iter_mut().zip(&columns).for_each(|(to, tap)| *to = mixed(tap, pixel));
        take(y, &resized);
    }
}

/// Red, green and blue of a picture, stretched as [`resized_rows`] does. An empty picture gives zeros.
pub fn resized_rgb(pixels: &[u8], width: usize, to_width: usize, to_height: usize) -> [Plane; 3] {
    let mut planes = [(); 3].map(|()| Plane { width: to_width, values: vec![0.0; to_width * to_height] });
    resized_rows(pixels, width, to_width, to_height, |y, row| {
        for (channel, plane) in planes.iter_mut().enumerate() {
            let line = &mut plane.values[y * to_width..(y + 1) * to_width];
            line.iter_mut().zip(row).for_each(|(to, pixel)| *to = pixel[channel]);
        }
    });
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_changes_nothing_and_a_constant_stays_constant() {
        let plane = Plane { width: 3, values: vec![1., 250., 3., 7., 0., 255.] };
        assert_eq!(plane.resized(3, 2), plane);
        let flat = Plane { width: 5, values: vec![17.0; 20] };
        assert!(flat.resized(9, 13).values.iter().all(|value| (value - 17.0).abs() < 1e-4));
    }

    #[test]
    fn channels_together_are_what_they_are_one_by_one() {
        let pixels: Vec<u8> = (0..37 * 23 * 3u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (width, height) in [(16, 8), (37, 23), (90, 11), (1, 50)] {
            for (channel, found) in resized_rgb(&pixels, 37, width, height).iter().enumerate() {
                let values = pixels.iter().skip(channel).step_by(3).map(|&value| f32::from(value)).collect();
                let expected = Plane { width: 37, values }.resized(width, height);
                assert_eq!((found.width, found.values.len()), (expected.width, expected.values.len()));
                let apart = found.values.iter().zip(&expected.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart < 1e-3, "{width}x{height}, channel {channel}: {apart}");
            }
        }
        assert!(resized_rgb(&[], 4, 2, 2).iter().all(|plane| plane.values == [0.0; 4]));
    }

    #[test]
    fn an_edge_overshoots_and_is_not_clamped() {
        let step = Plane { width: 4, values: vec![0., 0., 255., 255.] };
        let values = step.resized(16, 1).values;
        assert!(values.iter().any(|&value| value < -5.0) && values.iter().any(|&value| value > 260.0), "{values:?}");
    }

    #[test]
    fn shrinking_by_two_mixes_four_neighbours_without_antialias() {
        // Centres fall between two pixels: weights of t = 0.5 are (-3, 19, 19, -3) / 32.
        let plane = Plane { width: 4, values: vec![10., 20., 40., 80.] };
        let first = (-3. * 10. + 19. * 10. + 19. * 20. - 3. * 40.) / 32.;
        let second = (-3. * 20. + 19. * 40. + 19. * 80. - 3. * 80.) / 32.;
        assert_eq!(plane.resized(2, 1).values, [first, second]);
    }
}
