//! The ResNet of dlib's face recognition (29 convolutions, public domain), scale layers folded into the convolutions.

use burn::{
    prelude::*,
    tensor::{activation::relu, module::avg_pool2d, ops::AvgPoolOptions},
};

use crate::{
    Result,
    layers::{Conv, Padding, Weights, max_pool},
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
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut y = self.conv2.forward(relu(self.conv1.forward(x.clone())));
        if !self.halves {
            return relu(x + y);
        }
        let mut shortcut = avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2]));
        let ([batch, wide, height, width], [_, narrow, shortcut_height, shortcut_width]) = (y.dims(), shortcut.dims());
        let device = shortcut.device();
        if wide > narrow {
            let zeros = Tensor::zeros([batch, wide - narrow, shortcut_height, shortcut_width], &device);
            shortcut = Tensor::cat(vec![shortcut, zeros], 1);
        }
        // The convolution pads nothing and may give one row and column less than the pooling.
        if shortcut_height > height {
            y = Tensor::cat(vec![y, Tensor::zeros([batch, wide, shortcut_height - height, width], &device)], 2);
        }
        if shortcut_width > width {
            y = Tensor::cat(vec![y, Tensor::zeros([batch, wide, shortcut_height, shortcut_width - width], &device)], 3);
        }
        relu(shortcut + y)
    }
}

/// Aligned faces of 150 pixels to vectors of 128 numbers, not normalised.
#[derive(Debug)]
pub(crate) struct DlibResNet {
    stem: Conv,
    blocks: Vec<Block>,
    fc: Tensor<2>,
}

impl DlibResNet {
    /// Side of the input in pixels.
    pub(crate) const SIDE: usize = 150;
    /// Numbers of the output.
    pub(crate) const WIDTH: usize = 128;
    /// What is subtracted from red, green and blue.
    pub(crate) const MEAN: [f32; 3] = [122.782, 117.001, 104.298];

    pub(crate) fn take(mut weights: Weights) -> Result<Self> {
        let stem = Conv::take(&mut weights, "stem", [32, 3, 7], 2, Padding::Valid)?;
        let mut blocks = Vec::with_capacity(BLOCKS.len());
        for (number, (input, output, halves)) in BLOCKS.into_iter().enumerate() {
            let (stride, padding) = if halves { (2, Padding::Valid) } else { (1, Padding::Same) };
            let name = |part: &str| format!("block{number:02}.{part}");
            blocks.push(Block {
                conv1: Conv::take(&mut weights, &name("conv1"), [output, input, 3], stride, padding)?,
                conv2: Conv::take(&mut weights, &name("conv2"), [output, output, 3], 1, Padding::Same)?,
                halves,
            });
        }
        let fc = weights.take("fc.weight", [256, Self::WIDTH])?;
        weights.finish()?;
        Ok(Self { stem, blocks, fc })
    }

    /// `[n, 3, 150, 150]`, RGB, `(value - MEAN) / 255`, to `[n, 128]`.
    pub(crate) fn forward(&self, faces: Tensor<4>) -> Tensor<2> {
        let x = max_pool(relu(self.stem.forward(faces)), 3, 2, Padding::Valid);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x: Tensor<2> = x.mean_dim(3).mean_dim(2).flatten(1, 3);
        x.matmul(self.fc.clone())
    }
}
