//! The network of MediaPipe Iris for one eye, without its branch for the iris: residual blocks with a bottleneck.

use crate::{
    Result,
    layers::{Conv, Maps, Padding, Weights},
};

/// Blocks behind the first convolution: how many for each size of the maps, and their channels between and out. The first one of
/// every size but the first halves the maps.
const BLOCKS: [(usize, [usize; 2]); 5] = [(4, [32, 64]), (5, [64, 128]), (3, [64, 128]), (3, [64, 128]), (3, [64, 128])];

/// Pointwise, depthwise, pointwise, and a shortcut around them.
#[derive(Debug)]
struct Block {
    squeeze: Conv,
    depthwise: Conv,
    expand: Conv,
    channels: usize,
    halves: bool,
}

impl Block {
    fn forward(&self, x: &Maps) -> Maps {
        let squeezed = self.squeeze.forward(x);
        match self.halves {
            // The new channels of the shortcut are zero.
            true => {
                let shortcut = x.max_pool(2, 2, Padding::Valid).widened(self.channels);
                self.depthwise.then(&self.expand, &squeezed, Some(&shortcut))
            }
            false => self.depthwise.then(&self.expand, &squeezed, Some(x)),
        }
    }
}

/// Pictures of eyes of 64 pixels to points on their outlines.
#[derive(Debug)]
pub(crate) struct EyeContour {
    stem: Conv,
    blocks: Vec<Block>,
    points: Conv,
}

impl EyeContour {
    /// Side of the input in pixels.
    pub(crate) const SIDE: usize = 64;
    /// Points of the output.
    pub(crate) const POINTS: usize = 71;

    pub(crate) fn take(mut weights: Weights) -> Result<Self> {
        let w = &mut weights;
        let mut convolutions = 0;
        let mut conv = |w: &mut Weights, sizes: [usize; 3], stride: usize, padding: Padding| -> Result<Conv> {
            let number = convolutions;
            convolutions += 1;
            Conv::take(w, &format!("conv{number:02}"), sizes, stride, padding)?.prelu(w, &format!("prelu{number:02}"))
        };
        let stem = conv(w, [64, 3, 3], 2, Padding::Same)?;
        let mut blocks = Vec::new();
        let mut channels = 64;
        for (size, (count, [between, output])) in BLOCKS.into_iter().enumerate() {
            for number in 0..count {
                let halves = size > 0 && number == 0;
                let side = if halves { 2 } else { 1 };
                let name = format!("depthwise{:02}", blocks.len());
                blocks.push(Block {
                    squeeze: conv(w, [between, channels, side], side, Padding::Valid)?,
                    depthwise: Conv::take(w, &name, [between, 1, 3], 1, Padding::Same)?,
                    expand: conv(w, [output, between, 1], 1, Padding::Valid)?,
                    channels: output,
                    halves,
                });
                channels = output;
            }
        }
        let last = format!("conv{:02}", 2 * blocks.len() + 1);
        let points = Conv::take(w, &last, [3 * Self::POINTS, 128, 2], 1, Padding::Valid)?;
        weights.finish()?;
        Ok(Self { stem, blocks, points })
    }

    /// `[n, 3, 64, 64]`, RGB, `value / 255`, the corner away from the nose on the left, to 71 points `[n, 71, 3]` in pixels: x,
    /// y, and the depth. The first 9 go along the lower lid from the left corner to the right one, the next 7 along the
    /// upper lid, also from left to right; the others are around the eye.
    ///
    /// # Errors
    /// [`Error::Device`] when the device cannot compute.
    pub(crate) fn forward(&self, eyes: &Maps) -> Result<Vec<f32>> {
        let x = self.blocks.iter().fold(self.stem.forward(eyes), |x, block| block.forward(&x));
        self.points.forward(&x).points("the outlines of eyes")
    }
}
