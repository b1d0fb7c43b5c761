//! Hair: the part behind the head and the part before it. Lengths in head units around the head's centre.

use std::f32::consts::PI;

use super::canvas::Pen;
use super::head::outline;
use super::identity::{HairStyle, Identity};

/// The lower edge of a fringe, just above the eyes.
const FRINGE: f32 = -4.0;

/// What hangs or grows behind the head.
pub(super) fn back(pen: &mut Pen<'_>, identity: &Identity) {
    let (rx, ry) = identity.face.radii();
    let colour = identity.hair_colour.colour();
    match identity.hair_style {
        HairStyle::Long => {
            pen.ellipse(0.0, -0.6, rx + 2.2, ry + 1.6).rect(-rx - 2.2, 0.0, rx + 2.2, ry + 5.5);
            pen.ellipse(-rx, ry + 5.3, 2.2, 1.3).ellipse(rx, ry + 5.3, 2.2, 1.3).fill(colour.times(0.82));
        }
        HairStyle::Bob => {
            pen.ellipse(0.0, -0.6, rx + 2.2, ry + 1.2).rect(-rx - 2.2, 0.0, rx + 2.2, ry - 2.2);
            pen.fill(colour.times(0.82));
        }
        HairStyle::Curly => {
            for number in 0..8 {
                let angle = PI * (0.96 + 1.08 * number as f32 / 7.0);
                pen.ellipse((rx - 0.4) * angle.cos(), -1.0 + (ry - 1.6) * angle.sin(), 4.2, 4.2);
            }
            pen.fill(colour.times(0.86));
        }
        HairStyle::Ponytail => {
            pen.ellipse(rx + 2.4, 0.6, 3.2, 6.5).ellipse(rx + 0.6, -4.6, 2.2, 2.2).fill(colour.times(0.82));
        }
        HairStyle::Bald | HairStyle::Short | HairStyle::Spiky | HairStyle::Mohawk => {}
    }
}

/// What covers the skull and the forehead.
pub(super) fn front(pen: &mut Pen<'_>, identity: &Identity) {
    let (rx, ry) = identity.face.radii();
    let colour = identity.hair_colour.colour();
    match identity.hair_style {
        HairStyle::Bald => {}
        HairStyle::Short => {
            cap(pen, identity, 0.6, FRINGE);
            pen.rect(-rx - 0.4, FRINGE - 0.2, -rx + 1.5, -1.8).rect(rx - 1.5, FRINGE - 0.2, rx + 0.4, -1.8).fill(colour);
        }
        HairStyle::Ponytail => {
            cap(pen, identity, 0.6, FRINGE);
            pen.fill(colour);
        }
        HairStyle::Bob => {
            cap(pen, identity, 1.2, FRINGE);
            pen.rect(-rx - 1.9, FRINGE - 0.2, -rx + 1.3, 4.5).rect(rx - 1.3, FRINGE - 0.2, rx + 1.9, 4.5).fill(colour);
        }
        HairStyle::Long => {
            // Two curtains with a parting in the middle.
            cap(pen, identity, 1.2, FRINGE + 0.8);
            pen.fill(colour);
            let brow = FRINGE + 1.0;
            pen.polygon(&[(0.0, -ry + 1.8), (0.66 * rx, brow), (-0.66 * rx, brow)]).fill(identity.skin.colour());
        }
        HairStyle::Curly => {
            for number in -2_i32..=2 {
                let x = number as f32 * 0.4 * rx;
                pen.ellipse(x, -ry + 1.2 + 0.5 * (number * number) as f32, 3.0, 2.8);
            }
            pen.fill(colour);
        }
        HairStyle::Spiky => {
            cap(pen, identity, 0.2, FRINGE - 1.0);
            for number in -2_i32..=2 {
                let x = number as f32 * 0.42 * rx;
                let base = -ry + 3.0 + 0.5 * (number * number) as f32;
                let tip = -ry - 4.6 + 0.85 * (number * number) as f32;
                pen.polygon(&[(x - 2.4, base), (x * 1.25, tip), (x + 2.4, base)]);
            }
            pen.fill(colour);
        }
        HairStyle::Mohawk => {
            let (left, right) = ([(-2.4, 3.4), (-3.0, -4.2), (-1.5, -5.0)], [(1.5, -5.0), (3.0, -4.2), (2.4, 3.4)]);
            let points: Vec<_> = left.into_iter().chain(right).map(|(x, y)| (x, y - ry)).collect();
            pen.polygon(&points).fill(colour);
        }
    }
}

/// The skull's outline, grown by `grow`, down to the height `bottom`, with a shadow below it on the
/// forehead that sets hair off from skin of a similar colour.
fn cap(pen: &mut Pen<'_>, identity: &Identity, grow: f32, bottom: f32) {
    let (rx, ry) = identity.face.radii();
    let half = rx * (1.0 - (bottom / ry).powi(2)).max(0.0).sqrt();
    pen.rect(-half, bottom - 0.2, half, bottom + 0.7).fill(identity.skin.colour().times(0.7));
    pen.curve(rx, PI, PI, |angle| {
        let (x, y) = outline(identity.face, angle);
        (x * (1.0 + grow / rx), (y * (1.0 + grow / ry)).min(bottom))
    });
}
