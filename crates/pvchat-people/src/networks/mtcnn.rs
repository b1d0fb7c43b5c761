//! The three networks of MTCNN (Zhang et al. 2016): a sliding window that proposes, one that refines, one that confirms
//! and finds five points. All take RGB, `(value - 127.5) / 128`, `[n, 3, height, width]`.

use crate::{
    Result,
    layers::{Conv, Maps, Padding, Weights},
};

/// Proposes faces of 12 pixels at every second pixel of a picture.
#[derive(Debug)]
pub(crate) struct PNet {
    layers: [Conv; 3],
    score: Conv,
    boxes: Conv,
}

impl PNet {
    pub(crate) fn take(weights: &mut Weights) -> Result<Self> {
        let mut layer = |number: usize, output: usize, input: usize| -> Result<Conv> {
            let conv = Conv::take(weights, &format!("pnet.conv{number}"), [output, input, 3], 1, Padding::Valid)?;
            conv.prelu(weights, &format!("pnet.prelu{number}"))
        };
        Ok(Self {
            layers: [layer(1, 10, 3)?, layer(2, 16, 10)?, layer(3, 32, 16)?],
            score: Conv::take(weights, "pnet.score", [2, 32, 1], 1, Padding::Valid)?,
            boxes: Conv::take(weights, "pnet.boxes", [4, 32, 1], 1, Padding::Valid)?,
        })
    }

    /// For each window: how the box is to be moved `[n, 4, ..]` in sides of the window (left, top, right, bottom), and the
    /// probability of a face `[n, 2, ..]`, second channel.
    pub(crate) fn forward(&self, picture: &Maps) -> [Maps; 2] {
        let [first, second, third] = &self.layers;
        let x = first.forward(picture).max_pool(2, 2, Padding::Same);
        let x = third.forward(&second.forward(&x));
        [self.boxes.forward(&x), self.score.forward(&x).softmax()]
    }
}

/// Refines boxes of 24 pixels.
#[derive(Debug)]
pub(crate) struct RNet {
    layers: [Conv; 3],
    dense: Conv,
    score: Conv,
    boxes: Conv,
}

impl RNet {
    /// Side of the input in pixels.
    pub(crate) const SIDE: usize = 24;

    pub(crate) fn take(weights: &mut Weights) -> Result<Self> {
        let mut layer = |number: usize, output: usize, input: usize, kernel: usize| -> Result<Conv> {
            let conv = Conv::take(weights, &format!("rnet.conv{number}"), [output, input, kernel], 1, Padding::Valid)?;
            conv.prelu(weights, &format!("rnet.prelu{number}"))
        };
        Ok(Self {
            layers: [layer(1, 28, 3, 3)?, layer(2, 48, 28, 3)?, layer(3, 64, 48, 2)?],
            dense: Conv::take_dense(weights, "rnet.dense", [128, 64, 3])?.prelu(weights, "rnet.prelu4")?,
            score: Conv::take_dense(weights, "rnet.score", [2, 128, 1])?,
            boxes: Conv::take_dense(weights, "rnet.boxes", [4, 128, 1])?,
        })
    }

    /// `[n, 3, 24, 24]` to moves of the box `[n, 4, 1, 1]` and probabilities `[n, 2, 1, 1]`.
    pub(crate) fn forward(&self, crops: &Maps) -> [Maps; 2] {
        let [first, second, third] = &self.layers;
        let x = first.forward(crops).max_pool(3, 2, Padding::Same);
        let x = second.forward(&x).max_pool(3, 2, Padding::Valid);
        let x = self.dense.forward(&third.forward(&x));
        [self.boxes.forward(&x), self.score.forward(&x).softmax()]
    }
}

/// Confirms boxes of 48 pixels and finds eyes, nose and corners of the mouth.
#[derive(Debug)]
pub(crate) struct ONet {
    layers: [Conv; 4],
    dense: Conv,
    score: Conv,
    boxes: Conv,
    landmarks: Conv,
}

impl ONet {
    /// Side of the input in pixels.
    pub(crate) const SIDE: usize = 48;

    pub(crate) fn take(weights: &mut Weights) -> Result<Self> {
        let mut layer = |number: usize, output: usize, input: usize, kernel: usize| -> Result<Conv> {
            let conv = Conv::take(weights, &format!("onet.conv{number}"), [output, input, kernel], 1, Padding::Valid)?;
            conv.prelu(weights, &format!("onet.prelu{number}"))
        };
        Ok(Self {
            layers: [layer(1, 32, 3, 3)?, layer(2, 64, 32, 3)?, layer(3, 64, 64, 3)?, layer(4, 128, 64, 2)?],
            dense: Conv::take_dense(weights, "onet.dense", [256, 128, 3])?.prelu(weights, "onet.prelu5")?,
            score: Conv::take_dense(weights, "onet.score", [2, 256, 1])?,
            boxes: Conv::take_dense(weights, "onet.boxes", [4, 256, 1])?,
            landmarks: Conv::take_dense(weights, "onet.landmarks", [10, 256, 1])?,
        })
    }

    /// `[n, 3, 48, 48]` to moves of the box `[n, 4, 1, 1]`, probabilities `[n, 2, 1, 1]` and points `[n, 10, 1, 1]`: five x,
    /// then five y, as shares of the box.
    pub(crate) fn forward(&self, crops: &Maps) -> [Maps; 3] {
        let [first, second, third, fourth] = &self.layers;
        let x = first.forward(crops).max_pool(3, 2, Padding::Same);
        let x = second.forward(&x).max_pool(3, 2, Padding::Valid);
        let x = third.forward(&x).max_pool(2, 2, Padding::Same);
        let x = self.dense.forward(&fourth.forward(&x));
        [self.boxes.forward(&x), self.score.forward(&x).softmax(), self.landmarks.forward(&x)]
    }
}
