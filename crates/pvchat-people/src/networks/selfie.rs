//! MediaPipe's selfie segmentation for 256 pixels: a small encoder with squeezed and excited channels, and a decoder that
//! brings its maps back to the size of the picture.

use crate::{
    Result,
    layers::{Conv, Maps, Padding, Weights},
};

/// Residual blocks on 16 x 16 points: expanded channels, and channels between the two layers of the gates.
const BLOCKS: [(usize, usize); 4] = [(128, 32), (128, 32), (96, 24), (96, 24)];

/// Gates for channels, from the mean of each.
#[derive(Debug)]
struct Gates([Conv; 2]);

impl Gates {
    fn of(&self, maps: &Maps) -> Maps {
        let [squeeze, excite] = &self.0;
        excite.forward(&squeeze.forward(&maps.mean())).sigmoid()
    }
}

/// Expand, depthwise, gates, project; hard swish behind the first two.
#[derive(Debug)]
struct Inverted {
    expand: Conv,
    depthwise: Conv,
    gates: Gates,
    project: Conv,
}

impl Inverted {
    fn forward(&self, x: &Maps) -> Maps {
        let x = self.depthwise.forward(&self.expand.forward(x).hard_swish()).hard_swish();
        self.project.forward(&x.gated(&self.gates.of(&x)))
    }
}

/// Maps of twice the size, joined with those of the encoder.
#[derive(Debug)]
struct Decoder {
    narrow: Conv,
    gates: Gates,
    mix: Conv,
    depthwise: Conv,
}

impl Decoder {
    fn forward(&self, x: &Maps, skipped: &Maps) -> Maps {
        // Published in the other order, which gives the same and costs four times as much.
        let x = self.narrow.forward(x).doubled();
        let gates = self.gates.of(&skipped.plus(&x));
        let mixed = self.mix.forward(&skipped.gated(&gates).plus(&x));
        mixed.plus(&self.depthwise.forward(&mixed))
    }
}

/// Pictures of 256 pixels to the probability that a point belongs to a person.
#[derive(Debug)]
pub(crate) struct SelfieSegmentation {
    stem: Conv,
    first: Conv,
    first_depthwise: Conv,
    first_gates: Gates,
    first_project: Conv,
    second: [Conv; 3],
    third: [Conv; 3],
    fourth: Inverted,
    blocks: Vec<Inverted>,
    top: Conv,
    top_gates: Conv,
    decoders: [Decoder; 3],
    segment: Conv,
}

impl SelfieSegmentation {
    /// Side of the input and of the output in pixels.
    pub(crate) const SIDE: usize = 256;

    pub(crate) fn take(mut weights: Weights) -> Result<Self> {
        let mut take = Taking { weights: &mut weights, pointwise: 0, depthwise: 0 };
        let stem = take.conv([16, 3, 3], 2)?;
        let first = take.conv([16, 16, 1], 1)?.relu();
        let first_depthwise = take.depthwise(16, 3, 2)?.relu();
        let first_gates = take.gates(16, 8, 16)?;
        let first_project = take.conv([16, 16, 1], 1)?;
        let second = [take.conv([72, 16, 1], 1)?.relu(), take.depthwise(72, 3, 2)?.relu(), take.conv([24, 72, 1], 1)?];
        let third = [take.conv([88, 24, 1], 1)?.relu(), take.depthwise(88, 3, 1)?.relu(), take.conv([24, 88, 1], 1)?];
        let fourth = take.inverted(24, 96, 24, 2)?;
        let blocks = BLOCKS.map(|(expanded, squeezed)| take.inverted(32, expanded, squeezed, 1));
        let blocks = blocks.into_iter().collect::<Result<Vec<_>>>()?;
        let top = take.conv([128, 32, 1], 1)?.relu();
        let top_gates = take.conv([128, 32, 1], 1)?;
        let decoders = [take.decoder(24, 128)?, take.decoder(16, 24)?, take.decoder(16, 16)?];
        let segment = Conv::take(&mut weights, "segment", [4, 16, 1], 1, Padding::Valid)?;
        weights.finish()?;
        Ok(Self {
            stem,
            first,
            first_depthwise,
            first_gates,
            first_project,
            second,
            third,
            fourth,
            blocks,
            top,
            top_gates,
            decoders,
            segment,
        })
    }

    /// `[n, 3, 256, 256]`, RGB, `value / 255`, to probabilities `[n, 256, 256]`.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device cannot compute.
    pub(crate) fn forward(&self, pictures: &Maps) -> Result<Vec<f32>> {
        let stem = self.stem.forward(pictures).hard_swish();
        let x = self.first_depthwise.forward(&self.first.forward(&stem));
        let quarter = self.first_project.forward(&x.gated(&self.first_gates.of(&x)));
        let [expand, depthwise, project] = &self.second;
        let x = depthwise.then(project, &expand.forward(&quarter), None);
        let [expand, depthwise, project] = &self.third;
        let eighth = depthwise.then(project, &expand.forward(&x), Some(&x));
        let x = self.blocks.iter().fold(self.fourth.forward(&eighth), |x, block| block.forward(&x).plus(&x));
        let x = self.top.forward(&x).gated(&self.top_gates.forward(&x.mean()).sigmoid());
        let skipped = [&eighth, &quarter, &stem];
        let x = self.decoders.iter().zip(skipped).fold(x, |x, (decoder, skipped)| decoder.forward(&x, skipped));
        // Each point becomes a square of two by two: four channels, row by row.
        let squares = self.segment.forward(&x).sigmoid().points("the person matte")?;
        let half = Self::SIDE / 2;
        let mut probabilities = vec![0.0; squares.len()];
        for (number, square) in squares.chunks_exact(4).enumerate() {
            let (row, x) = (number / half, number % half);
            for (place, value) in square.iter().enumerate() {
                probabilities[(2 * row + place / 2) * Self::SIDE + 2 * x + place % 2] = *value;
            }
        }
        Ok(probabilities)
    }
}

/// Takes layers in the order in which the published file has them.
struct Taking<'a> {
    weights: &'a mut Weights,
    pointwise: usize,
    depthwise: usize,
}

impl Taking<'_> {
    fn conv(&mut self, sizes: [usize; 3], stride: usize) -> Result<Conv> {
        let name = format!("conv{:02}", self.pointwise);
        self.pointwise += 1;
        Conv::take(self.weights, &name, sizes, stride, Padding::Same)
    }

    fn depthwise(&mut self, channels: usize, kernel: usize, stride: usize) -> Result<Conv> {
        let name = format!("depthwise{:02}", self.depthwise);
        self.depthwise += 1;
        Conv::take(self.weights, &name, [channels, 1, kernel], stride, Padding::Same)
    }

    fn gates(&mut self, input: usize, squeezed: usize, output: usize) -> Result<Gates> {
        Ok(Gates([self.conv([squeezed, input, 1], 1)?.relu(), self.conv([output, squeezed, 1], 1)?]))
    }

    fn inverted(&mut self, input: usize, expanded: usize, squeezed: usize, stride: usize) -> Result<Inverted> {
        let expand = self.conv([expanded, input, 1], 1)?;
        let depthwise = self.depthwise(expanded, 5, stride)?;
        let gates = self.gates(expanded, squeezed, expanded)?;
        Ok(Inverted { expand, depthwise, gates, project: self.conv([32, expanded, 1], 1)? })
    }

    fn decoder(&mut self, width: usize, input: usize) -> Result<Decoder> {
        let narrow = self.conv([width, input, 1], 1)?;
        let gates = self.gates(width, width, width)?;
        let mix = self.conv([width, width, 1], 1)?.relu();
        Ok(Decoder { narrow, gates, mix, depthwise: self.depthwise(width, 3, 1)?.relu() })
    }
}
