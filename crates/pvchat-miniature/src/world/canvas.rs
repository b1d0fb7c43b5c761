//! A pixel canvas and the pen that draws plain shapes on it in units.

use std::f32::consts::{PI, TAU};

use tiny_skia::{FillRule, Paint, PathBuilder, PixmapMut, Transform};

/// An opaque RGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    pub(super) const WHITE: Self = Self(245, 245, 245);
    pub(super) const INK: Self = Self(25, 22, 24);

    fn map(self, change: impl Fn(f32) -> f32) -> Self {
        let channel = |value: u8| change(f32::from(value)).round().clamp(0.0, 255.0) as u8;
        Self(channel(self.0), channel(self.1), channel(self.2))
    }

    /// Darker (`factor` below 1) or lighter.
    pub(super) fn times(self, factor: f32) -> Self {
        self.map(|value| value * factor)
    }

    /// Towards `other` by `share` in `0..=1`.
    pub(super) fn mix(self, other: Self, share: f32) -> Self {
        let channel = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * share).round() as u8;
        Self(channel(self.0, other.0), channel(self.1, other.1), channel(self.2, other.2))
    }

    /// The sum of the channels' distances.
    pub(super) fn distance(self, other: Self) -> u16 {
        let channel = |a: u8, b: u8| u16::from(a.abs_diff(b));
        channel(self.0, other.0) + channel(self.1, other.1) + channel(self.2, other.2)
    }

    pub(super) fn brightness(self) -> f32 {
        0.3 * f32::from(self.0) + 0.59 * f32::from(self.1) + 0.11 * f32::from(self.2)
    }
}

/// RGBA pixels and a path whose memory is used again for every shape.
pub(super) struct Canvas {
    pub(super) pixels: Vec<u8>,
    pub(super) width: usize,
    pub(super) height: usize,
    path: PathBuilder,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { pixels: vec![255; width * height * 4], width, height, path: PathBuilder::new() }
    }

    /// A pen whose origin is at pixel `(x, y)` and whose lengths are multiplied by `scale`.
    pub(super) fn pen(&mut self, x: f32, y: f32, scale: f32) -> Pen<'_> {
        Pen { canvas: self, x, y, scale }
    }

    fn fill(&mut self, colour: Colour, alpha: u8, rule: FillRule) {
        let Some(path) = std::mem::take(&mut self.path).finish() else { return };
        if let Some(mut pixmap) = PixmapMut::from_bytes(&mut self.pixels, self.width as u32, self.height as u32) {
            let mut paint = Paint::default();
            paint.set_color_rgba8(colour.0, colour.1, colour.2, alpha);
            pixmap.fill_path(&path, &paint, rule, Transform::identity(), None);
        }
        self.path = path.clear();
    }
}

/// Collects shapes, then fills them in one go: `pen.ellipse(..).ellipse(..).fill(colour)`.
///
/// Every shape turns the same way round, so that overlapping shapes of one fill form a union.
pub(super) struct Pen<'canvas> {
    canvas: &'canvas mut Canvas,
    x: f32,
    y: f32,
    scale: f32,
}

impl Pen<'_> {
    /// A pen at `(x, y)` of this one, with lengths multiplied by `factor`.
    pub(super) fn at(&mut self, x: f32, y: f32, factor: f32) -> Pen<'_> {
        Pen { x: self.x + x * self.scale, y: self.y + y * self.scale, scale: self.scale * factor, canvas: self.canvas }
    }

    pub(super) fn fill(&mut self, colour: Colour) {
        self.canvas.fill(colour, 255, FillRule::Winding);
    }

    /// Fills with an opacity of `alpha` / 255.
    pub(super) fn glaze(&mut self, colour: Colour, alpha: u8) {
        self.canvas.fill(colour, alpha, FillRule::Winding);
    }

    /// Fills what an odd number of shapes covers: a shape in a shape is a hole.
    pub(super) fn fill_holes(&mut self, colour: Colour) {
        self.canvas.fill(colour, 255, FillRule::EvenOdd);
    }

    fn to(&mut self, x: f32, y: f32, first: bool) {
        let (x, y) = (self.x + x * self.scale, self.y + y * self.scale);
        if first { self.canvas.path.move_to(x, y) } else { self.canvas.path.line_to(x, y) }
    }

    /// The line count that keeps an arc within a tenth of a pixel of the true curve.
    fn steps(&self, radius: f32, span: f32) -> usize {
        let full = 7.0 * (radius * self.scale).max(1.0).sqrt();
        (full * span / TAU).ceil().clamp(2.0, 512.0) as usize
    }

    fn arc(&mut self, centre: (f32, f32), radii: (f32, f32), from: f32, span: f32, first: bool) {
        let steps = self.steps(radii.0.max(radii.1), span);
        let (turn_sin, turn_cos) = (span / steps as f32).sin_cos();
        let (mut sin, mut cos) = from.sin_cos();
        for step in 0..=steps {
            self.to(centre.0 + radii.0 * cos, centre.1 + radii.1 * sin, first && step == 0);
            (sin, cos) = (sin * turn_cos + cos * turn_sin, cos * turn_cos - sin * turn_sin);
        }
    }

    pub(super) fn ellipse(&mut self, x: f32, y: f32, rx: f32, ry: f32) -> &mut Self {
        self.arc((x, y), (rx, ry), 0.0, TAU, true);
        self.canvas.path.close();
        self
    }

    /// The part of an ellipse above its horizontal diameter.
    pub(super) fn dome(&mut self, x: f32, y: f32, rx: f32, ry: f32) -> &mut Self {
        self.arc((x, y), (rx, ry), PI, PI, true);
        self.canvas.path.close();
        self
    }

    /// A line with round caps.
    pub(super) fn line(&mut self, from: (f32, f32), to: (f32, f32), width: f32) -> &mut Self {
        let angle = (to.1 - from.1).atan2(to.0 - from.0);
        let half = width / 2.0;
        self.arc(to, (half, half), angle - PI / 2.0, PI, true);
        self.arc(from, (half, half), angle + PI / 2.0, PI, false);
        self.canvas.path.close();
        self
    }

    pub(super) fn rect(&mut self, left: f32, top: f32, right: f32, bottom: f32) -> &mut Self {
        self.polygon(&[(left, top), (right, top), (right, bottom), (left, bottom)])
    }

    pub(super) fn polygon(&mut self, points: &[(f32, f32)]) -> &mut Self {
        let next = points.iter().cycle().skip(1);
        let area: f32 = points.iter().zip(next).map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum();
        let mut first = true;
        for place in 0..points.len() {
            let (x, y) = points[if area < 0.0 { points.len() - 1 - place } else { place }];
            self.to(x, y, first);
            first = false;
        }
        if !first {
            self.canvas.path.close();
        }
        self
    }

    /// A closed curve through `points(angle)` for angles of `from..from + span`, turning clockwise as seen.
    pub(super) fn curve(&mut self, radius: f32, from: f32, span: f32, points: impl Fn(f32) -> (f32, f32)) -> &mut Self {
        let steps = self.steps(radius, span);
        for step in 0..=steps {
            let (x, y) = points(from + span * step as f32 / steps as f32);
            self.to(x, y, step == 0);
        }
        self.canvas.path.close();
        self
    }
}
