//! Where the people of a picture are, pixel by pixel.

use std::path::Path;

use burn::prelude::*;
use image::{GrayImage, RgbImage};

use crate::{
    Bounds, Error, Result,
    layers::{Maps, Weights},
    models,
    networks::SelfieSegmentation,
    resize::crop,
};

/// Tells people from what is behind them: MediaPipe's selfie segmentation.
///
/// It was trained on people who fill a good part of the picture. Small people are found where [`of_part`](Self::of_part) is
/// given the part of the picture around them.
#[derive(Debug)]
pub struct Matte {
    network: SelfieSegmentation,
    device: Device,
    model: String,
}

impl Matte {
    /// The network's name in the catalogue of models.
    pub const NAME: &'static str = "selfie";

    /// Opens the network in a folder of models, see [`models::get`].
    ///
    /// # Errors
    /// [`Error::Models`] where the file is absent or damaged, [`Error::Weights`] for one of another network.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let bytes = models::open(Self::NAME, folder)?;
        let weights = Weights::from_bytes(&folder.join(format!("{}.safetensors", Self::NAME)), &bytes, device)?;
        let network = SelfieSegmentation::take(weights)?;
        Ok(Self { network, device: device.clone(), model: models::find(Self::NAME)?.id() })
    }

    /// Identifies the network and its weights.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// How much of each pixel belongs to a person, 0 to 255, in the picture's size.
    ///
    /// # Errors
    /// [`Error::Device`] when the device cannot compute.
    pub fn of(&self, picture: &RgbImage) -> Result<GrayImage> {
        let [width, height] = [picture.width(), picture.height()].map(|side| side as f32);
        self.of_part(picture, &Bounds::new(0.0, 0.0, width, height))
    }

    /// As [`of`](Self::of), looking at a part of the picture only, in pixels; 0 outside of it.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_part(&self, picture: &RgbImage, part: &Bounds) -> Result<GrayImage> {
        const SIDE: usize = SelfieSegmentation::SIDE;
        let (width, height) = picture.dimensions();
        let mut matte = GrayImage::new(width, height);
        let inside = |value: f32, most: u32| if value.is_finite() { value.round().clamp(0.0, most as f32) as u32 } else { 0 };
        let (left, right) = (inside(part.left, width), inside(part.right, width));
        let (top, bottom) = (inside(part.top, height), inside(part.bottom, height));
        let edges = Bounds::new(left as f32, top as f32, right as f32, bottom as f32);
        let Some(values) = crop(picture, &edges, [SIDE, SIDE], |value| value / 255.0) else { return Ok(matte) };
        let seen = self.network.forward(&Maps::of_points(values, [1, SIDE, SIDE, 3], &self.device))?;
        let (columns, rows) = (taps(right - left), taps(bottom - top));
        for (row, [above, below, down]) in rows.into_iter().enumerate() {
            let begin = (top as usize + row) * width as usize + left as usize;
            let (above, below) = (&seen[above as usize * SIDE..][..SIDE], &seen[below as usize * SIDE..][..SIDE]);
            for (to, [one, other, across]) in matte.iter_mut().skip(begin).zip(&columns) {
                let mixed = |row: &[f32]| row[*one as usize] * (1.0 - across) + row[*other as usize] * across;
                *to = (255.0 * (mixed(above) * (1.0 - down) + mixed(below) * down) + 0.5) as u8;
            }
        }
        Ok(matte)
    }

    /// Runs the network by itself: to hold it against another implementation, or to time it. `values` are those of
    /// `[n, 3, 256, 256]` divided by 255; the result is `[n, 256, 256]`, probabilities.
    ///
    /// # Errors
    /// [`Error::Setting`] for values that are not those of whole pictures, [`Error::Device`].
    pub fn compute(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        const SIDE: usize = SelfieSegmentation::SIDE;
        let (count, whole) = (values.len() / (3 * SIDE * SIDE), values.len().is_multiple_of(3 * SIDE * SIDE));
        if count == 0 || !whole {
            let value = values.len().to_string();
            return Err(Error::Setting { key: "values", value, remedy: "give n x 3 x 256 x 256 values".into() });
        }
        self.network.forward(&Maps::of_planes(values, [count, 3, SIDE, SIDE], &self.device))
    }
}

/// For each of `size` points the two points of the network's output that it is between, and the share of the second.
fn taps(size: u32) -> Vec<[f32; 3]> {
    let last = (SelfieSegmentation::SIDE - 1) as f32;
    let scale = SelfieSegmentation::SIDE as f32 / size.max(1) as f32;
    let tap = |place: u32| {
        let from = ((place as f32 + 0.5) * scale - 0.5).clamp(0.0, last);
        [from.floor(), (from.floor() + 1.0).min(last), from.fract()]
    };
    (0..size).map(tap).collect()
}
