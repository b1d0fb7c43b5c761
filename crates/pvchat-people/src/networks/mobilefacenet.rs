//! MobileFaceNet with 192 outputs (sirius-ai/MobileFaceNet_TF), batch norms folded into the convolutions.

use crate::{
    Result,
    layers::{Conv, Maps, Padding, Weights},
};

/// Inverted residual blocks: expanded channels, output channels, stride. A block of stride 1 between equal widths adds its
/// input.
const BLOCKS: [(usize, usize, usize); 15] = [
    (128, 64, 2),
    (128, 64, 1),
    (128, 64, 1),
    (128, 64, 1),
    (128, 64, 1),
    (256, 128, 2),
    (256, 128, 1),
    (256, 128, 1),
    (256, 128, 1),
    (256, 128, 1),
    (256, 128, 1),
    (256, 128, 1),
    (512, 128, 2),
    (256, 128, 1),
    (256, 128, 1),
];

/// Aligned faces of 112 pixels to vectors of 192 numbers, not normalised.
#[derive(Debug)]
pub(crate) struct MobileFaceNet {
    stem: [Conv; 3],
    blocks: Vec<([Conv; 3], bool)>,
    end: [Conv; 4],
}

impl MobileFaceNet {
    /// Side of the input in pixels.
    pub(crate) const SIDE: usize = 112;
    /// Numbers of the output.
    pub(crate) const WIDTH: usize = 192;

    pub(crate) fn take(mut weights: Weights) -> Result<Self> {
        let mut number = 0;
        let mut layer = |output: usize, input: usize, kernel: usize, stride: usize, padding: Padding| -> Result<Conv> {
            number += 1;
            let conv = Conv::take(&mut weights, &format!("conv{number:02}"), [output, input, kernel], stride, padding)?;
            let slope = format!("prelu{number:02}");
            match weights.has(&format!("{slope}.weight")) {
                true => conv.prelu(&mut weights, &slope),
                false => Ok(conv),
            }
        };
        let stem = [layer(64, 3, 3, 2, Padding::Same)?, layer(64, 1, 3, 1, Padding::Same)?, layer(64, 64, 1, 1, Padding::Valid)?];
        let mut width = 64;
        let mut blocks = Vec::with_capacity(BLOCKS.len());
        for (expanded, output, stride) in BLOCKS {
            let three = [
                layer(expanded, width, 1, 1, Padding::Valid)?,
                layer(expanded, 1, 3, stride, Padding::Same)?,
                layer(output, expanded, 1, 1, Padding::Valid)?,
            ];
            blocks.push((three, stride == 1 && width == output));
            width = output;
        }
        let end = [
            layer(512, width, 1, 1, Padding::Valid)?,
            layer(512, 1, 7, 1, Padding::Valid)?,
            layer(512, 512, 1, 1, Padding::Valid)?,
            layer(Self::WIDTH, 512, 1, 1, Padding::Valid)?,
        ];
        weights.finish()?;
        Ok(Self { stem, blocks, end })
    }

    /// `[n, 3, 112, 112]`, RGB, `(value - 127.5) / 128`, to `[n, 192]`.
    pub(crate) fn forward(&self, faces: &Maps) -> Maps {
        let [first, depthwise, pointwise] = &self.stem;
        let mut x = depthwise.then(pointwise, &first.forward(faces), None);
        for ([expand, depthwise, project], adds) in &self.blocks {
            x = depthwise.then(project, &expand.forward(&x), adds.then_some(&x));
        }
        self.end.iter().fold(x, |x, layer| layer.forward(&x))
    }
}
