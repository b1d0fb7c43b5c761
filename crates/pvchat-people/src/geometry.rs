//! Boxes and points in a picture, in pixels, x to the right and y down.

use serde::{Deserialize, Serialize};

/// A point: x, y.
pub type Point = [f32; 2];

/// A box in a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The left edge.
    pub left: f32,
    /// The upper edge.
    pub top: f32,
    /// The right edge.
    pub right: f32,
    /// The lower edge.
    pub bottom: f32,
}

impl Bounds {
    /// From left, top, right, bottom.
    pub fn new(left: f32, top: f32, right: f32, bottom: f32) -> Self {
        Self { left, top, right, bottom }
    }

    /// Width in pixels, 0 where the edges are exchanged.
    pub fn width(&self) -> f32 {
        (self.right - self.left).max(0.0)
    }

    /// Height in pixels, 0 where the edges are exchanged.
    pub fn height(&self) -> f32 {
        (self.bottom - self.top).max(0.0)
    }

    /// Area in square pixels.
    pub fn area(&self) -> f32 {
        self.width() * self.height()
    }

    /// The centre.
    pub fn centre(&self) -> Point {
        [(self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0]
    }

    /// Whether a point is inside.
    pub fn contains(&self, [x, y]: Point) -> bool {
        (self.left..=self.right).contains(&x) && (self.top..=self.bottom).contains(&y)
    }

    /// The area that two boxes share.
    pub fn intersection(&self, other: &Self) -> f32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }

    /// Intersection over union, 0 to 1.
    pub fn overlap(&self, other: &Self) -> f32 {
        let shared = self.intersection(other);
        shared / (self.area() + other.area() - shared + 1e-9)
    }

    /// The share of the smaller box that is in the other, 0 to 1.
    pub(crate) fn covered(&self, other: &Self) -> f32 {
        self.intersection(other) / (self.area().min(other.area()) + 1e-9)
    }

    /// The square with the same centre and the longer side.
    pub(crate) fn square(&self) -> Self {
        let [x, y] = self.centre();
        Self::around(x, y, self.width().max(self.height()))
    }

    /// A square around a centre.
    pub(crate) fn around(x: f32, y: f32, side: f32) -> Self {
        Self::new(x - side / 2.0, y - side / 2.0, x + side / 2.0, y + side / 2.0)
    }

    /// Each edge rounded toward zero.
    pub(crate) fn truncated(&self) -> Self {
        Self::new(self.left.trunc(), self.top.trunc(), self.right.trunc(), self.bottom.trunc())
    }

    /// Each edge moved by a share of the width or height.
    pub(crate) fn moved(&self, by: [f32; 4]) -> Self {
        let (width, height) = (self.right - self.left, self.bottom - self.top);
        Self::new(self.left + by[0] * width, self.top + by[1] * height, self.right + by[2] * width, self.bottom + by[3] * height)
    }

    /// Every edge multiplied.
    pub(crate) fn scaled(&self, factor: f32) -> Self {
        Self::new(self.left * factor, self.top * factor, self.right * factor, self.bottom * factor)
    }
}

/// Non-maximum suppression: the numbers of the boxes that stay, best score first. A box goes when `shared` with a better one
/// is above the limit. At most `most` boxes stay.
pub(crate) fn suppress(boxes: &[(Bounds, f32)], limit: f32, most: usize, shared: impl Fn(&Bounds, &Bounds) -> f32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&one, &other| boxes[other].1.total_cmp(&boxes[one].1).then(one.cmp(&other)));
    let mut kept: Vec<usize> = Vec::new();
    for candidate in order {
        if kept.len() == most {
            break;
        }
        if kept.iter().all(|&better| shared(&boxes[better].0, &boxes[candidate].0) <= limit) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_of_two_overlapping_boxes_stays() {
        let boxes = [
            (Bounds::new(0.0, 0.0, 10.0, 10.0), 0.8),
            (Bounds::new(1.0, 0.0, 11.0, 10.0), 0.9),
            (Bounds::new(20.0, 0.0, 30.0, 10.0), 0.7),
        ];
        assert_eq!(suppress(&boxes, 0.5, 9, Bounds::overlap), [1, 2]);
        assert_eq!(suppress(&boxes, 0.95, 9, Bounds::overlap), [1, 0, 2]);
        assert_eq!(suppress(&boxes, 0.95, 1, Bounds::overlap), [1]);
    }

    #[test]
    fn a_box_inside_another_is_covered() {
        let (outer, inner) = (Bounds::new(0.0, 0.0, 10.0, 10.0), Bounds::new(2.0, 2.0, 4.0, 4.0));
        assert!((outer.covered(&inner) - 1.0).abs() < 1e-6);
        assert!((outer.overlap(&inner) - 0.04).abs() < 1e-6);
        assert_eq!(outer.overlap(&Bounds::new(11.0, 0.0, 12.0, 5.0)), 0.0);
    }
}
