//! The three networks of MTCNN (Zhang et al. 2016): a sliding window that proposes, one that refines, one that confirms
//! and finds five points. All take RGB, `(value - 127.5) / 128`, `[n, 3, height, width]`.

use burn::{prelude::*, tensor::activation::softmax};

use crate::{
    Result,
    layers::{Conv, Dense, PRelu, Padding, Weights, max_pool},
};

/// Proposes faces of 12 pixels at every second pixel of a picture.
#[derive(Debug)]
pub(crate) struct PNet {
    layers: [(Conv, PRelu); 3],
    score: Conv,
    boxes: Conv,
}

impl PNet {
    pub(crate) fn take(weights: &mut Weights) -> Result<Self> {
        let mut layer = |number: usize, output: usize, input: usize| -> Result<(Conv, PRelu)> {
            let conv = Conv::take(weights, &format!("pnet.conv{number}"), [output, input, 3], 1, Padding::Valid)?;
            Ok((conv, PRelu::take(weights, &format!("pnet.prelu{number}"), output)?))
        };
        Ok(Self {
            layers: [layer(1, 10, 3)?, layer(2, 16, 10)?, layer(3, 32, 16)?],
            score: Conv::take(weights, "pnet.score", [2, 32, 1], 1, Padding::Valid)?,
            boxes: Conv::take(weights, "pnet.boxes", [4, 32, 1], 1, Padding::Valid)?,
        })
    }

    /// For each window: how the box is to be moved `[n, 4, ..]` in sides of the window (left, top, right, bottom), and the
    /// probability of a face `[n, 2, ..]`, second channel.
    pub(crate) fn forward(&self, picture: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [(first, first_slope), (second, second_slope), (third, third_slope)] = &self.layers;
        let x = first_slope.forward(first.forward(picture));
        let x = max_pool(x, 2, 2, Padding::Same);
        let x = second_slope.forward(second.forward(x));
        let x = third_slope.forward(third.forward(x));
        (self.boxes.forward(x.clone()), softmax(self.score.forward(x), 1))
    }
}

/// Refines boxes of 24 pixels.
#[derive(Debug)]
pub(crate) struct RNet {
    layers: [(Conv, PRelu); 3],
    dense: (Dense, PRelu),
    score: Dense,
    boxes: Dense,
}

impl RNet {
    /// Side of the input in pixels.
    pub(crate) const SIDE: usize = 24;

    pub(crate) fn take(weights: &mut Weights) -> Result<Self> {
        let mut layer = |number: usize, output: usize, input: usize, kernel: usize| -> Result<(Conv, PRelu)> {
            let conv = Conv::take(weights, &format!("rnet.conv{number}"), [output, input, kernel], 1, Padding::Valid)?;
            Ok((conv, PRelu::take(weights, &format!("rnet.prelu{number}"), output)?))
        };
        Ok(Self {
            layers: [layer(1, 28, 3, 3)?, layer(2, 48, 28, 3)?, layer(3, 64, 48, 2)?],
            dense: (Dense::take(weights, "rnet.dense", 576, 128)?, PRelu::take(weights, "rnet.prelu4", 128)?),
            score: Dense::take(weights, "rnet.score", 128, 2)?,
            boxes: Dense::take(weights, "rnet.boxes", 128, 4)?,
        })
    }

    /// `[n, 3, 24, 24]` to moves of the box `[n, 4]` and probabilities `[n, 2]`.
    pub(crate) fn forward(&self, crops: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let [(first, first_slope), (second, second_slope), (third, third_slope)] = &self.layers;
        let x = max_pool(first_slope.forward(first.forward(crops)), 3, 2, Padding::Same);
        let x = max_pool(second_slope.forward(second.forward(x)), 3, 2, Padding::Valid);
        let x: Tensor<2> = third_slope.forward(third.forward(x)).flatten(1, 3);
        let x = self.dense.1.forward(self.dense.0.forward(x));
        (self.boxes.forward(x.clone()), softmax(self.score.forward(x), 1))
    }
}

/// Confirms boxes of 48 pixels and finds eyes, nose and corners of the mouth.
#[derive(Debug)]
pub(crate) struct ONet {
    layers: [(Conv, PRelu); 4],
    dense: (Dense, PRelu),
    score: Dense,
    boxes: Dense,
    landmarks: Dense,
}

impl ONet {
    /// Side of the input in pixels.
    pub(crate) const SIDE: usize = 48;

    pub(crate) fn take(weights: &mut Weights) -> Result<Self> {
        let mut layer = |number: usize, output: usize, input: usize, kernel: usize| -> Result<(Conv, PRelu)> {
            let conv = Conv::take(weights, &format!("onet.conv{number}"), [output, input, kernel], 1, Padding::Valid)?;
            Ok((conv, PRelu::take(weights, &format!("onet.prelu{number}"), output)?))
        };
        Ok(Self {
            layers: [layer(1, 32, 3, 3)?, layer(2, 64, 32, 3)?, layer(3, 64, 64, 3)?, layer(4, 128, 64, 2)?],
            dense: (Dense::take(weights, "onet.dense", 1152, 256)?, PRelu::take(weights, "onet.prelu5", 256)?),
            score: Dense::take(weights, "onet.score", 256, 2)?,
            boxes: Dense::take(weights, "onet.boxes", 256, 4)?,
            landmarks: Dense::take(weights, "onet.landmarks", 256, 10)?,
        })
    }

    /// `[n, 3, 48, 48]` to moves of the box `[n, 4]`, probabilities `[n, 2]` and points `[n, 10]`: five x, then five y, as
    /// shares of the box.
    pub(crate) fn forward(&self, crops: Tensor<4>) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
        let [(first, first_slope), (second, second_slope), (third, third_slope), (fourth, fourth_slope)] = &self.layers;
        let x = max_pool(first_slope.forward(first.forward(crops)), 3, 2, Padding::Same);
        let x = max_pool(second_slope.forward(second.forward(x)), 3, 2, Padding::Valid);
        let x = max_pool(third_slope.forward(third.forward(x)), 2, 2, Padding::Same);
        let x: Tensor<2> = fourth_slope.forward(fourth.forward(x)).flatten(1, 3);
        let x = self.dense.1.forward(self.dense.0.forward(x));
        (self.boxes.forward(x.clone()), softmax(self.score.forward(x.clone()), 1), self.landmarks.forward(x))
    }
}
