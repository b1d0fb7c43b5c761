//! BlazeFace for 256 pixels (MediaPipe's back-camera model): 896 anchors in two grids.

use crate::{
    Result,
    layers::{Conv, Maps, Padding, Weights},
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

/// One depthwise and one pointwise convolution, and a shortcut around both.
#[derive(Debug)]
struct Block {
    depthwise: Conv,
    pointwise: Conv,
    halves: bool,
}

impl Block {
    fn forward(&self, x: &Maps) -> Maps {
        match self.halves {
            // The new channels of the shortcut are zero.
            true => self.depthwise.then(&self.pointwise, x, None).sum_relu(&x.max_pool(2, 2, Padding::Same)),
            false => self.depthwise.then(&self.pointwise, x, Some(x)),
        }
    }
}

/// Pictures of 256 pixels to the boxes, points and logits of 896 anchors.
#[derive(Debug)]
pub(crate) struct BlazeFace {
    stem: Conv,
    blocks: Vec<Block>,
    last: [Conv; 2],
    score: [Conv; 2],
    boxes: [Conv; 2],
}

impl BlazeFace {
    /// Side of the input in pixels.
    pub(crate) const SIDE: usize = 256;

    pub(crate) fn take(mut weights: Weights) -> Result<Self> {
        let w = &mut weights;
        let stem = Conv::take(w, "conv00", [24, 3, 5], 2, Padding::Same)?.relu();
        let mut separable = |number: usize, (input, output, stride): (usize, usize, usize)| -> Result<[Conv; 2]> {
            let name = format!("block{number:02}");
            let depthwise = Conv::take(w, &format!("{name}.depthwise"), [input, 1, 3], stride, Padding::Same)?;
            let pointwise = Conv::take(w, &format!("{name}.pointwise"), [output, input, 1], 1, Padding::Valid)?;
            Ok([depthwise, pointwise])
        };
        let mut all = Vec::new();
        for (number, sizes) in blocks().enumerate() {
            let ([depthwise, pointwise], halves) = (separable(number, sizes)?, sizes.2 == 2);
            all.push(Block { depthwise, pointwise: if halves { pointwise } else { pointwise.relu() }, halves });
        }
        let [depthwise, pointwise] = separable(all.len(), (96, 96, 2))?;
        let last = [depthwise, pointwise.relu()];
        let mut head = |name: &str, output: usize| Conv::take(w, name, [output, 96, 1], 1, Padding::Valid);
        let score = [head("score16", 2)?, head("score8", 6)?];
        let boxes = [head("boxes16", 32)?, head("boxes8", 96)?];
        weights.finish()?;
        Ok(Self { stem, blocks: all, last, score, boxes })
    }

    /// `[n, 3, 256, 256]`, RGB, `value / 127.5 - 1`, to boxes and points `[n, 896, 16]` and logits `[n, 896]`. Anchors are in
    /// rows of the 16 x 16 grid, two for a cell, then in rows of the 8 x 8 grid, six for a cell.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device cannot compute.
    pub(crate) fn forward(&self, pictures: &Maps) -> Result<[Vec<f32>; 2]> {
        let count = pictures.shape()[0].max(1);
        let fine = self.blocks.iter().fold(self.stem.forward(pictures), |x, block| block.forward(&x));
        let [depthwise, pointwise] = &self.last;
        let coarse = depthwise.then(pointwise, &fine, None);
        let both = |heads: &[Conv; 2]| -> Result<Vec<f32>> {
            let [first, second] = heads;
            let (first, second) = (first.forward(&fine).points("BlazeFace")?, second.forward(&coarse).points("BlazeFace")?);
            let (firsts, seconds) = (first.chunks(first.len() / count), second.chunks(second.len() / count));
            Ok(firsts.zip(seconds).flat_map(|(first, second)| [first, second].concat()).collect())
        };
        Ok([both(&self.boxes)?, both(&self.score)?])
    }
}
