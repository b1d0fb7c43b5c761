//! BlazeFace for 256 pixels (MediaPipe's back-camera model): 896 anchors in two grids.

use burn::{prelude::*, tensor::activation::relu};

use crate::{
    Result,
    layers::{Conv, Padding, Weights, max_pool},
};

/// Channels in, channels out and stride of the blocks with a shortcut.
fn blocks() -> impl Iterator<Item = (usize, usize, usize)> {
    let stages = [(24, 24, 7), (24, 24, 8), (24, 48, 8), (48, 96, 8)];
    stages.into_iter().enumerate().flat_map(|(stage, (input, output, count))| {
        (0..count).map(move |number| match number {
            0 if stage > 0 => (input, output, 2),
            _ => (output, output, 1),
        })
    })
}

/// One depthwise and one pointwise convolution.
#[derive(Debug)]
struct Separable {
    depthwise: Conv,
    pointwise: Conv,
    stride: usize,
    /// Channels of zeros that the shortcut gets.
    widened: usize,
}

impl Separable {
    fn take(weights: &mut Weights, number: usize, (input, output, stride): (usize, usize, usize)) -> Result<Self> {
        let name = format!("block{number:02}");
        Ok(Self {
            depthwise: Conv::take(weights, &format!("{name}.depthwise"), [input, 1, 3], stride, Padding::Same)?,
            pointwise: Conv::take(weights, &format!("{name}.pointwise"), [output, input, 1], 1, Padding::Valid)?,
            stride,
            widened: output - input,
        })
    }

    fn convolve(&self, x: Tensor<4>) -> Tensor<4> {
        self.pointwise.forward(self.depthwise.forward(x))
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.convolve(x.clone());
        let mut shortcut = if self.stride == 2 { max_pool(x, 2, 2, Padding::Same) } else { x };
        if self.widened > 0 {
            let [batch, _, height, width] = shortcut.dims();
            let zeros = Tensor::zeros([batch, self.widened, height, width], &shortcut.device());
            shortcut = Tensor::cat(vec![shortcut, zeros], 1);
        }
        relu(shortcut + y)
    }
}

/// Pictures of 256 pixels to the boxes, points and logits of 896 anchors.
#[derive(Debug)]
pub(crate) struct BlazeFace {
    stem: Conv,
    blocks: Vec<Separable>,
    last: Separable,
    score: [Conv; 2],
    boxes: [Conv; 2],
}

impl BlazeFace {
    /// Side of the input in pixels.
    pub(crate) const SIDE: usize = 256;

    pub(crate) fn take(mut weights: Weights) -> Result<Self> {
        let w = &mut weights;
        let stem = Conv::take(w, "conv00", [24, 3, 5], 2, Padding::Same)?;
        let blocks = blocks().enumerate().map(|(number, sizes)| Separable::take(w, number, sizes)).collect::<Result<Vec<_>>>()?;
        let last = Separable::take(w, blocks.len(), (96, 96, 2))?;
        let mut head = |name: &str, output: usize| Conv::take(w, name, [output, 96, 1], 1, Padding::Valid);
        let score = [head("score16", 2)?, head("score8", 6)?];
        let boxes = [head("boxes16", 32)?, head("boxes8", 96)?];
        weights.finish()?;
        Ok(Self { stem, blocks, last, score, boxes })
    }

    /// `[n, 3, 256, 256]`, RGB, `value / 127.5 - 1`, to boxes and points `[n, 896, 16]` and logits `[n, 896]`. Anchors are in
    /// rows of the 16 x 16 grid, two for a cell, then in rows of the 8 x 8 grid, six for a cell.
    pub(crate) fn forward(&self, picture: Tensor<4>) -> (Tensor<3>, Tensor<2>) {
        let fine = self.blocks.iter().fold(relu(self.stem.forward(picture)), |x, block| block.forward(x));
        let coarse = relu(self.last.convolve(fine.clone()));
        let rows = |x: Tensor<4>, width: usize| -> Tensor<3> {
            let [batch, channels, height, columns] = x.dims();
            x.permute([0, 2, 3, 1]).reshape([batch, height * columns * channels / width, width])
        };
        let both = |heads: &[Conv; 2], width: usize| {
            let [first, second] = heads;
            Tensor::cat(vec![rows(first.forward(fine.clone()), width), rows(second.forward(coarse.clone()), width)], 1)
        };
        (both(&self.boxes, 16), both(&self.score, 1).squeeze_dim(2))
    }
}
