//! The ResNet of dlib's face recognition (29 convolutions, public domain), scale layers folded into the convolutions.

use crate::{
    Result,
    layers::{Conv, Maps, Padding, Weights},
};

/// Channels in, channels out, whether the block halves the picture.
const BLOCKS: [(usize, usize, bool); 14] = [
    (32, 32, false),
    (32, 32, false),
    (32, 32, false),
    (32, 64, true),
    (64, 64, false),
    (64, 64, false),
    (64, 64, false),
    (64, 128, true),
    (128, 128, false),
    (128, 128, false),
    (128, 256, true),
    (256, 256, false),
    (256, 256, false),
    (256, 256, true),
];

#[derive(Debug)]
struct Block {
    conv1: Conv,
    conv2: Conv,
    halves: bool,
}

impl Block {
    fn forward(&self, x: &Maps) -> Maps {
        let y = self.conv1.forward(x);
        match self.halves {
            // The convolution pads nothing and may give one row and column less than the pooling, which has fewer channels;
            // what is missing is zero.
            true => self.conv2.forward(&y).sum_relu(&x.halved()),
            false => self.conv2.forward_onto(&y, Some(x)),
        }
    }
}

/// Aligned faces of 150 pixels to vectors of 128 numbers, not normalised.
#[derive(Debug)]
pub(crate) struct DlibResNet {
    stem: Conv,
    blocks: Vec<Block>,
    fc: Conv,
}

impl DlibResNet {
    /// Side of the input in pixels.
    pub(crate) const SIDE: usize = 150;
    /// Numbers of the output.
    pub(crate) const WIDTH: usize = 128;
    /// What is subtracted from red, green and blue.
    pub(crate) const MEAN: [f32; 3] = [122.782, 117.001, 104.298];

    pub(crate) fn take(mut weights: Weights) -> Result<Self> {
        let stem = Conv::take(&mut weights, "stem", [32, 3, 7], 2, Padding::Valid)?.relu();
        let mut blocks = Vec::with_capacity(BLOCKS.len());
        for (number, (input, output, halves)) in BLOCKS.into_iter().enumerate() {
            let (stride, padding) = if halves { (2, Padding::Valid) } else { (1, Padding::Same) };
            let name = |part: &str| format!("block{number:02}.{part}");
            let conv2 = Conv::take(&mut weights, &name("conv2"), [output, output, 3], 1, Padding::Same)?;
            blocks.push(Block {
                conv1: Conv::take(&mut weights, &name("conv1"), [output, input, 3], stride, padding)?.relu(),
                conv2: if halves { conv2 } else { conv2.relu() },
                halves,
            });
        }
        let fc = Conv::take_dense(&mut weights, "fc", [Self::WIDTH, 256, 1])?;
        weights.finish()?;
        Ok(Self { stem, blocks, fc })
    }

    /// `[n, 3, 150, 150]`, RGB, `(value - MEAN) / 255`, to `[n, 128]`.
    pub(crate) fn forward(&self, faces: &Maps) -> Maps {
        let x = self.stem.forward(faces).max_pool(3, 2, Padding::Valid);
        self.fc.forward(&self.blocks.iter().fold(x, |x, block| block.forward(&x)).mean())
    }
}
