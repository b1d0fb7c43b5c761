//! Answers about real people, and the parts that JSON objects share.

use pvchat::faces::{Bounds, Moment};
use serde::Serialize;

/// A box in pixels, rounded to tenths.
#[derive(Clone, Copy, Serialize)]
pub struct BoxOf {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl From<Bounds> for BoxOf {
    fn from(bounds: Bounds) -> Self {
        let tenths = |value: f32| (10.0 * f64::from(value)).round() / 10.0;
        let Bounds { left, top, right, bottom } = bounds;
        Self { left: tenths(left), top: tenths(top), right: tenths(right), bottom: tenths(bottom) }
    }
}

/// A stretch of a video.
#[derive(Serialize)]
pub struct MomentOf {
    start: f64,
    end: f64,
    best: f64,
    #[serde(rename = "box")]
    bounds: BoxOf,
    similarity: f32,
}

impl From<&Moment> for MomentOf {
    fn from(moment: &Moment) -> Self {
        let Moment { start, end, best, bounds, similarity } = *moment;
        Self { start, end, best, bounds: bounds.into(), similarity }
    }
}
