//! Frames and images to what the encoder sees: squares of bytes, and the same normalised.
//!
//! ```text
//! frame ── longest edge to L ── squashed to M x M
//! image ── longest edge to L ── both edges to multiples of M ─┬─ tiles of M x M, row by row
//!                                                             └─ the whole, squashed to M x M
//! ```
//!
//! Both resizes are LANCZOS, each rounded to bytes. A frame gives up its aspect ratio: nothing is
//! padded. The result of transformers 5.24 for the same pixels is equal byte for byte.

use std::borrow::Cow;

use image::RgbImage;
use rayon::prelude::*;

use super::lanczos::{Size, resize};
use crate::{Error, Result};

/// The longest edge that a frame or image is resized to, in pixels; that of the reference.
pub const LARGEST_EDGE: usize = 4096;
/// The longest edge of a frame or image that is accepted, in pixels.
pub const LARGEST_INPUT: usize = 1 << 15;

/// How frames or images are brought to the squares that the encoder sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquaresConfig {
    /// The longest edge after the first resize (L above). For frames the published models were trained with the square's
    /// side; transformers 5.24 by accident takes that of images, four times as long.
    pub longest_edge: usize,
    /// Height and width of a square (M above).
    pub side: usize,
}

/// The squares of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTiles {
    /// Rows of tiles; 0 when the image is one square.
    pub rows: usize,
    /// Tiles in a row; 0 when the image is one square.
    pub columns: usize,
    /// `[rows * columns + 1, 3, side, side]`: the tiles row by row, then the whole image.
    pub pixels: Vec<u8>,
}

impl SquaresConfig {
    /// Checks that the numbers can work.
    ///
    /// # Errors
    /// [`Error::Config`] for an edge of 0 or over [`LARGEST_EDGE`].
    pub fn validate(&self) -> Result<()> {
        let edges = [("longest_edge", self.longest_edge), ("side", self.side)];
        match edges.into_iter().find(|(_, edge)| !(1..=LARGEST_EDGE).contains(edge)) {
            None => Ok(()),
            Some((key, edge)) => {
                let remedy = format!("use a length of 1 to {LARGEST_EDGE} pixels");
                Err(Error::Config { key, value: edge.to_string(), remedy })
            }
        }
    }

    /// One square of a frame, or of an image that is not cut into tiles, `[3, side, side]`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and [`Error::Shape`] for a frame that is empty or has an edge over [`LARGEST_INPUT`].
    pub fn frame_pixels(&self, frame: &RgbImage) -> Result<Vec<u8>> {
        let (pixels, size) = self.fitted(frame)?;
        Ok(planes(&resize(&pixels, size, Size::square(self.side))))
    }

    /// One square of each frame, `[frames, 3, side, side]`. The frames may have different sizes.
    ///
    /// # Errors
    /// As [`frame_pixels`](Self::frame_pixels).
    pub fn clip_pixels(&self, frames: &[RgbImage]) -> Result<Vec<u8>> {
        let squares: Vec<Vec<u8>> = frames.par_iter().map(|frame| self.frame_pixels(frame)).collect::<Result<_>>()?;
        Ok(squares.concat())
    }

    /// An image in tiles and as a whole.
    ///
    /// # Errors
    /// As [`frame_pixels`](Self::frame_pixels).
    pub fn image_tiles(&self, image: &RgbImage) -> Result<ImageTiles> {
        let side = self.side;
        let (pixels, size) = self.fitted(image)?;
        let canvas = self.canvas(size);
        let pixels = resize(&pixels, size, canvas);
        let (rows, columns) = (canvas.height / side, canvas.width / side);
        let whole = planes(&resize(&pixels, canvas, Size::square(side)));
        if (rows, columns) == (1, 1) {
            return Ok(ImageTiles { rows: 0, columns: 0, pixels: whole });
        }
        let tile = |number: usize| {
            let (top, left) = (number / columns * side, number % columns * side);
            let row = |y: usize| &pixels[(y * canvas.width + left) * 3..][..side * 3];
            planes(&(top..top + side).map(row).collect::<Vec<_>>().concat())
        };
        let mut squares: Vec<Vec<u8>> = (0..rows * columns).into_par_iter().map(tile).collect();
        squares.push(whole);
        Ok(ImageTiles { rows, columns, pixels: squares.concat() })
    }

    /// Rows and columns of tiles that [`image_tiles`](Self::image_tiles) makes of an image; both 0 when it is one square.
    ///
    /// # Errors
    /// As [`frame_pixels`](Self::frame_pixels).
    pub fn tiling(&self, width: usize, height: usize) -> Result<(usize, usize)> {
        let canvas = self.canvas(self.fitted_size(Size { width, height })?);
        let (rows, columns) = (canvas.height / self.side, canvas.width / self.side);
        Ok(if (rows, columns) == (1, 1) { (0, 0) } else { (rows, columns) })
    }

    /// The pixels after the first resize, and their size.
    fn fitted<'a>(&self, frame: &'a RgbImage) -> Result<(Cow<'a, [u8]>, Size)> {
        let from = Size { width: frame.width() as usize, height: frame.height() as usize };
        let to = self.fitted_size(from)?;
        // A buffer may be longer than its picture.
        let pixels = &frame.as_raw()[..from.width * from.height * 3];
        Ok((resize(pixels, from, to), to))
    }

    /// The size after the first resize: the longest edge to L, the other in proportion, cut to whole pixels and made even.
    fn fitted_size(&self, Size { width, height }: Size) -> Result<Size> {
        self.validate()?;
        if !(1..=LARGEST_INPUT).contains(&width) || !(1..=LARGEST_INPUT).contains(&height) {
            let expected = format!("[height, width, 3] with edges of 1 to {LARGEST_INPUT} pixels");
            return Err(Error::Shape { what: "frame", found: vec![height, width, 3], expected });
        }
        let (long, ratio) = (self.longest_edge, width as f64 / height as f64);
        let even = |edge: f64| (edge as usize).next_multiple_of(2).max(1);
        Ok(match width >= height {
            true => Size { width: long, height: even(long as f64 / ratio) },
            false => Size { width: even(long as f64 * ratio), height: long },
        })
    }

    /// The size that is cut into tiles: the longer edge to the next multiple of M, the other in proportion and then to the
    /// next multiple.
    fn canvas(&self, Size { width, height }: Size) -> Size {
        let ratio = width as f64 / height as f64;
        let multiple = |edge: usize| edge.max(1).next_multiple_of(self.side);
        match width >= height {
            true => {
                let width = multiple(width);
                Size { width, height: multiple((width as f64 / ratio) as usize) }
            }
            false => {
                let height = multiple(height);
                Size { width: multiple((height as f64 * ratio) as usize), height }
            }
        }
    }
}

/// Bytes as the encoder takes them: `(x - 127.5) / 127.5`, -1 to 1.
pub fn normalised(pixels: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; pixels.len()];
    // Large pieces: a byte is too little work for a thread.
    const PIECE: usize = 1 << 16;
    values.par_chunks_mut(PIECE).zip(pixels.par_chunks(PIECE)).for_each(|(values, pixels)| {
        values.iter_mut().zip(pixels).for_each(|(value, pixel)| *value = (f32::from(*pixel) - 127.5) / 127.5);
    });
    values
}

/// Red, green and blue one after the other, from pixels.
fn planes(pixels: &[u8]) -> Vec<u8> {
    let pixels = pixels.as_chunks::<3>().0;
    let mut planes = vec![0; pixels.len() * 3];
    for (channel, plane) in planes.chunks_exact_mut(pixels.len().max(1)).enumerate() {
        plane.iter_mut().zip(pixels).for_each(|(byte, pixel)| *byte = pixel[channel]);
    }
    planes
}
