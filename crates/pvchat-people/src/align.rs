//! A face turned, scaled and moved so that eyes, nose and mouth are where the embedders expect them.

use image::{Rgb, RgbImage};

use crate::geometry::Point;

/// Eyes, nose and corners of the mouth in a face of 112 pixels (the template of ArcFace).
const TEMPLATE: [Point; 5] = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];
/// The template's centre of scaling, and where dlib's network of 150 pixels wants it, larger by `DLIB_SCALE`.
const CENTRE: Point = [55.9132, 51.5989];
const DLIB_CENTRE: Point = [74.0, 47.13];
const DLIB_SCALE: f32 = 1.491;

/// Where the five points go in an aligned face of `side` pixels: dlib's place for 150, ArcFace's for every other side.
fn template(side: usize) -> [Point; 5] {
    match side {
        150 => TEMPLATE.map(|point| [0, 1].map(|axis| (point[axis] - CENTRE[axis]) * DLIB_SCALE + DLIB_CENTRE[axis])),
        _ => TEMPLATE.map(|point| point.map(|value| value * side as f32 / 112.0)),
    }
}

/// Rotation with scale, and shift: `x' = a x - b y + c`, `y' = b x + a y + d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Similarity {
    a: f64,
    b: f64,
    shift: [f64; 2],
}

impl Similarity {
    /// The least-squares fit that takes the first points to the second (Umeyama 1991 without reflection, which has this
    /// closed form in the plane); `None` for points that coincide.
    pub(crate) fn fit<const COUNT: usize>(from: &[Point; COUNT], to: &[Point; COUNT]) -> Option<Self> {
        let mean = |points: &[Point; COUNT]| {
            [0, 1].map(|axis| points.iter().map(|point| f64::from(point[axis])).sum::<f64>() / COUNT as f64)
        };
        let (from_mean, to_mean) = (mean(from), mean(to));
        let (mut dot, mut cross, mut square) = (0.0, 0.0, 0.0);
        for (source, target) in from.iter().zip(to) {
            let [x, y] = [0, 1].map(|axis| f64::from(source[axis]) - from_mean[axis]);
            let [u, v] = [0, 1].map(|axis| f64::from(target[axis]) - to_mean[axis]);
            dot += x * u + y * v;
            cross += x * v - y * u;
            square += x * x + y * y;
        }
        let (a, b) = (dot / square, cross / square);
        if !(a.is_finite() && b.is_finite()) || a * a + b * b < 1e-12 {
            return None;
        }
        let shift = [to_mean[0] - a * from_mean[0] + b * from_mean[1], to_mean[1] - b * from_mean[0] - a * from_mean[1]];
        Some(Self { a, b, shift })
    }

    /// Where a point comes from.
    fn inverse(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let ([x, y], size) = ([x - self.shift[0], y - self.shift[1]], self.a * self.a + self.b * self.b);
        [(self.a * x + self.b * y) / size, (self.a * y - self.b * x) / size]
    }

    /// A picture of `side` pixels whose points come from where the inverse says, mixed from four neighbours, black outside the
    /// picture.
    pub(crate) fn sampled(&self, picture: &RgbImage, side: usize) -> RgbImage {
        let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
        let bytes = picture.as_raw();
        RgbImage::from_fn(side as u32, side as u32, |x, y| {
            let [x, y] = self.inverse([f64::from(x), f64::from(y)]);
            let (left, top) = (x.floor(), y.floor());
            let (right_share, lower_share) = ((x - left) as f32, (y - top) as f32);
            // Far outside, and out of the range of integers, everything is black.
            if !(left > -2.0 && top > -2.0 && left < width as f64 && top < height as f64) {
                return Rgb([0; 3]);
            }
            let (left, top) = (left as i64, top as i64);
            let mut sum = [0.0f32; 3];
            for (row, vertical) in [(top, 1.0 - lower_share), (top + 1, lower_share)] {
                for (column, horizontal) in [(left, 1.0 - right_share), (left + 1, right_share)] {
                    if (0..height).contains(&row) && (0..width).contains(&column) {
                        let at = 3 * (row * width + column) as usize;
                        let weight = vertical * horizontal;
                        sum.iter_mut().zip(&bytes[at..at + 3]).for_each(|(sum, value)| *sum += weight * f32::from(*value));
                    }
                }
            }
            Rgb(sum.map(|value| value.round() as u8))
        })
    }
}

/// The aligned face of `side` pixels, mixed from four neighbours, black outside the picture; `None` for points that coincide.
pub fn align(picture: &RgbImage, landmarks: &[Point; 5], side: usize) -> Option<RgbImage> {
    Some(Similarity::fit(landmarks, &template(side))?.sampled(picture, side))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fit_finds_rotation_scale_and_shift() {
        let turned = TEMPLATE.map(|[x, y]| [2.0 * (0.6 * x - 0.8 * y) + 30.0, 2.0 * (0.8 * x + 0.6 * y) - 7.0]);
        let fit = Similarity::fit(&turned, &TEMPLATE).unwrap();
        let [x, y] = fit.inverse(TEMPLATE[2].map(f64::from));
        assert!((x - f64::from(turned[2][0])).abs() < 1e-3 && (y - f64::from(turned[2][1])).abs() < 1e-3, "{x} {y}");
        assert!(Similarity::fit(&[[3.0, 3.0]; 5], &TEMPLATE).is_none());
    }

    #[test]
    fn points_that_are_already_in_place_change_nothing() {
        let picture = RgbImage::from_fn(112, 112, |x, y| Rgb([x as u8, y as u8, 9]));
        let aligned = align(&picture, &TEMPLATE, 112).unwrap();
        assert_eq!(aligned.get_pixel(20, 90), picture.get_pixel(20, 90));
    }

    #[test]
    fn points_of_a_hostile_detector_give_black_or_nothing() {
        let picture = RgbImage::from_pixel(8, 8, Rgb([255; 3]));
        assert!(align(&picture, &[[f32::NAN; 2]; 5], 112).is_none());
        let far = TEMPLATE.map(|[x, y]| [x * 1e12, y * 1e12]);
        assert!(align(&picture, &far, 112).is_none_or(|face| face.dimensions() == (112, 112)));
    }
}
