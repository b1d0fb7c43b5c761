//! Whether the eyes of a face are open.

use std::path::Path;

use burn::prelude::*;
use image::{RgbImage, imageops::flip_horizontal};

use crate::{
    Error, Point, Result,
    align::Similarity,
    layers::{Maps, Weights},
    models,
    networks::EyeContour,
};

/// How far the eyes are from each other at the scale of the pictures that the network sees, in pixels: an eye is then about as
/// wide as in the published pipeline, where a picture is 2.3 times as wide as the eye in it.
const APART: f32 = 66.0;
/// Points on the outline: the corners, and two pairs of opposite points of the lids. These are the points 33, 133, 160 and 144,
/// 158 and 153 of MediaPipe's face mesh, and those of the other eye.
const CORNERS: [usize; 2] = [0, 8];
const LIDS: [[usize; 2]; 2] = [[11, 3], [13, 5]];

/// Finds the outlines of eyes: the eye network of MediaPipe Iris.
#[derive(Debug)]
pub struct EyeContours {
    network: EyeContour,
    device: Device,
    model: String,
}

impl EyeContours {
    /// The network's name in the catalogue of models.
    pub const NAME: &'static str = "eyes";

    /// Opens the network in a folder of models, see [`models::get`].
    ///
    /// # Errors
    /// [`Error::Models`] where the file is absent or damaged, [`Error::Weights`] for one of another network.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let bytes = models::open(Self::NAME, folder)?;
        let weights = Weights::from_bytes(&folder.join(format!("{}.safetensors", Self::NAME)), &bytes, device)?;
        Ok(Self { network: EyeContour::take(weights)?, device: device.clone(), model: models::find(Self::NAME)?.id() })
    }

    /// Identifies the network and its weights.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// How open the eyes of a face are, given its five points ([`Face::landmarks`](crate::Face::landmarks)): the aspect ratio
    /// of an eye, `(|p1 - p5| + |p2 - p4|) / (2 |p0 - p3|)` with the corners `p0` and `p3` (Soukupova and Cech, 2016), the mean
    /// of both. About 0.3 for open eyes, below 0.1 for closed ones. `None` where the eyes are in one point.
    ///
    /// # Errors
    /// [`Error::Device`] when the device cannot compute.
    pub fn openness(&self, picture: &RgbImage, points: &[Point; 5]) -> Result<Option<f32>> {
        const SIDE: usize = EyeContour::SIDE;
        let [left, right, ..] = *points;
        let middle = (SIDE as f32 - 1.0) / 2.0;
        let Some(to_left) = Similarity::fit(&[left, right], &[[middle; 2], [middle + APART, middle]]) else { return Ok(None) };
        let Some(to_right) = Similarity::fit(&[left, right], &[[middle - APART, middle], [middle; 2]]) else { return Ok(None) };
        // The network knows the eye on the left of a picture; the other one is mirrored.
        let eyes = [to_left.sampled(picture, SIDE), flip_horizontal(&to_right.sampled(picture, SIDE))];
        let values = eyes.iter().flat_map(|eye| eye.as_raw()).map(|value| f32::from(*value) / 255.0).collect();
        let outlines = self.network.forward(&Maps::of_points(values, [2, SIDE, SIDE, 3], &self.device))?;
        let ratios = outlines.chunks_exact(3 * EyeContour::POINTS).map(aspect_ratio);
        Ok(Some(ratios.sum::<f32>() / 2.0))
    }

    /// Runs the network by itself: to hold it against another implementation, or to time it. `values` are those of
    /// `[n, 3, 64, 64]` divided by 255; the result is `[n, 71, 3]`, points in pixels and their depth.
    ///
    /// # Errors
    /// [`Error::Setting`] for values that are not those of whole pictures, [`Error::Device`].
    pub fn compute(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        const SIDE: usize = EyeContour::SIDE;
        let (count, whole) = (values.len() / (3 * SIDE * SIDE), values.len().is_multiple_of(3 * SIDE * SIDE));
        if count == 0 || !whole {
            let value = values.len().to_string();
            return Err(Error::Setting { key: "values", value, remedy: "give n x 3 x 64 x 64 values".into() });
        }
        self.network.forward(&Maps::of_planes(values, [count, 3, SIDE, SIDE], &self.device))
    }
}

/// The height of an eye as a share of its width, from points x, y, depth.
fn aspect_ratio(outline: &[f32]) -> f32 {
    let apart =
        |[one, other]: [usize; 2]| (outline[3 * one] - outline[3 * other]).hypot(outline[3 * one + 1] - outline[3 * other + 1]);
    LIDS.into_iter().map(apart).sum::<f32>() / (2.0 * apart(CORNERS)).max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_height_by_width() {
        let mut outline = vec![0.0; 3 * EyeContour::POINTS];
        // An eye from (10, 30) to (40, 30), 9 pixels high, and depths that do not count.
        for (point, [x, y]) in [(0, [10.0, 30.0]), (8, [40.0, 30.0]), (11, [20.0, 25.0]), (3, [20.0, 34.0])]
            .into_iter()
            .chain([(13, [30.0, 25.0]), (5, [30.0, 34.0])])
        {
            outline[3 * point..3 * point + 3].copy_from_slice(&[x, y, 7.0 * point as f32]);
        }
        assert!((aspect_ratio(&outline) - 0.3).abs() < 1e-6);
        assert_eq!(aspect_ratio(&vec![3.0; 3 * EyeContour::POINTS]), 0.0);
    }
}
