//! Hair: the part behind the head and the part before it. Lengths in head units around the head's centre.

use super::canvas::Pen;
use super::identity::{HairStyle, Identity};

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
                let angle = std::f32::consts::PI * (0.96 + 1.08 * number as f32 / 7.0);
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

/// What lies on the skull and the forehead.
pub(super) fn front(pen: &mut Pen<'_>, identity: &Identity) {
    let (rx, ry) = identity.face.radii();
    let colour = identity.hair_colour.colour();
    match identity.hair_style {
        HairStyle::Bald => {}
        HairStyle::Short => {
            pen.dome(0.0, -3.4, rx + 0.5, ry - 1.8).rect(-rx - 0.4, -3.6, -rx + 1.5, -1.4).rect(rx - 1.5, -3.6, rx + 0.4, -1.4);
            pen.fill(colour);
        }
        HairStyle::Ponytail => pen.dome(0.0, -3.4, rx + 0.5, ry - 1.8).fill(colour),
        HairStyle::Bob => {
            pen.dome(0.0, -3.4, rx + 0.6, ry - 1.6);
            pen.rect(-rx - 1.9, -3.6, -rx + 1.3, 4.5).rect(rx - 1.3, -3.6, rx + 1.9, 4.5).fill(colour);
        }
        HairStyle::Long => {
            // A middle parting: two curtains.
            for side in [-1.0, 1.0] {
                let curtain = [(0.0, -ry - 1.4), (0.0, -ry + 2.4), (0.62 * rx, -3.6), (0.9 * rx, -2.6), (rx + 0.4, -2.6)];
                let crown = [(rx + 0.4, -4.6), (0.88 * rx, -ry + 3.2), (0.6 * rx, -ry + 0.2), (0.3 * rx, -ry - 1.1)];
                let points: Vec<_> = curtain.into_iter().chain(crown).map(|(x, y)| (side * x, y)).collect();
                pen.polygon(&points);
            }
            pen.fill(colour);
        }
        HairStyle::Curly => {
            for number in -2_i32..=2 {
                let x = number as f32 * 0.4 * rx;
                pen.ellipse(x, -ry + 1.4 + 0.55 * (number * number) as f32, 3.0, 2.8);
            }
            pen.fill(colour);
        }
        HairStyle::Spiky => {
            pen.dome(0.0, -4.6, rx - 0.2, ry - 3.6);
            for number in -2_i32..=2 {
                let x = number as f32 * 0.42 * rx;
                let base = -ry + 3.0 + 0.5 * (number * number) as f32;
                let tip = -ry - 4.6 + 0.85 * (number * number) as f32;
                pen.polygon(&[(x - 2.4, base), (x * 1.25, tip), (x + 2.4, base)]);
            }
            pen.fill(colour);
        }
        HairStyle::Mohawk => {
            pen.polygon(&[(-2.4, -ry + 3.4), (-3.0, -ry - 4.2), (-1.5, -ry - 5.0), (1.5, -ry - 5.0), (3.0, -ry - 4.2), (2.4, -ry + 3.4)]);
            pen.fill(colour);
        }
    }
}
