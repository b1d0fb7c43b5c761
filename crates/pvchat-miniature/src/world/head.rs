//! The face: outline, facial hair, mark, eyes, nose, mouth, glasses. Lengths in head units around the head's centre.

use std::f32::consts::{PI, TAU};

use super::canvas::{Colour, Pen};
use super::identity::{FaceShape, FacialHair, Glasses, Identity, Mark, Mouth, Nose};

const EYE_HEIGHT: f32 = -0.7;

/// Draws everything between the back hair and the front hair.
pub(super) fn face(pen: &mut Pen<'_>, identity: &Identity) {
    let skin = identity.skin.colour();
    let (rx, ry) = identity.face.radii();
    pen.ellipse(-rx, 0.4, 1.7, 2.2).ellipse(rx, 0.4, 1.7, 2.2).fill(skin.times(0.86));
    pen.curve(rx.max(ry), 0.0, TAU, |angle| outline(identity.face, angle)).fill(skin);
    let mouth = 0.56 * ry;
    chin_hair(pen, identity, mouth);
    eyes(pen, identity);
    mark(pen, identity, mouth);
    nose(pen, identity);
    lips(pen, identity, mouth);
    if identity.facial_hair == FacialHair::Moustache {
        let y = mouth - 2.1;
        pen.ellipse(-1.9, y, 2.5, 1.15).ellipse(1.9, y, 2.5, 1.15).ellipse(-3.9, y + 0.6, 1.2, 0.8).ellipse(3.9, y + 0.6, 1.2, 0.8);
        pen.fill(identity.hair_colour.colour().times(0.75));
    }
    glasses(pen, identity);
}

/// The point of the face's edge in the direction of `angle` (0 right, growing clockwise).
fn outline(shape: FaceShape, angle: f32) -> (f32, f32) {
    let (rx, ry) = shape.radii();
    let (sin, cos) = angle.sin_cos();
    match shape {
        FaceShape::Round | FaceShape::Long => (rx * cos, ry * sin),
        // An egg with the point down.
        FaceShape::Oval => (rx * cos * (1.0 - 0.2 * sin.max(0.0)), ry * sin),
        FaceShape::Square => {
            let bulge = |value: f32| value.signum() * value.abs().powf(0.45);
            (rx * bulge(cos), ry * bulge(sin))
        }
    }
}

fn chin_hair(pen: &mut Pen<'_>, identity: &Identity, mouth: f32) {
    let (rx, ry) = identity.face.radii();
    let colour = identity.hair_colour.colour().times(0.75);
    match identity.facial_hair {
        FacialHair::None | FacialHair::Moustache => {}
        FacialHair::Goatee => pen.ellipse(0.0, ry - 0.9, 2.9, 2.3).fill(colour),
        FacialHair::Beard => {
            // Down from the ears, with the mouth kept free so that its form and colour still show.
            let start = 0.22;
            let cheek = mouth - 2.2;
            pen.curve(rx, 0.0, PI, |angle| {
                let (x, y) = outline(identity.face, start + (PI - 2.0 * start) * angle / PI);
                (x * 1.04, y * 1.08 + 0.3)
            })
            .fill(colour);
            pen.ellipse(0.0, cheek - 1.4, 0.62 * rx, 2.9).ellipse(0.0, mouth, 3.7, 2.4).fill(identity.skin.colour());
        }
    }
}

fn eyes(pen: &mut Pen<'_>, identity: &Identity) {
    let apart = eye_distance(identity);
    // The brows have no hair colour: it must not show on a bald and shaven head.
    let brow = if identity.skin.is_deep() { Colour::INK } else { identity.skin.colour().times(0.4) };
    let height = EYE_HEIGHT - 3.5;
    pen.line((-apart - 1.5, height + 0.2), (-apart + 1.3, height - 0.2), 0.8);
    pen.line((apart - 1.3, height - 0.2), (apart + 1.5, height + 0.2), 0.8).fill(brow);
    if identity.glasses == Glasses::Sunglasses {
        return;
    }
    pen.ellipse(-apart, EYE_HEIGHT, 2.5, 2.4).ellipse(apart, EYE_HEIGHT, 2.5, 2.4).fill(Colour(250, 250, 250));
    pen.ellipse(-apart, EYE_HEIGHT, 1.75, 1.85).ellipse(apart, EYE_HEIGHT, 1.75, 1.85).fill(identity.eyes.colour());
    pen.ellipse(-apart, EYE_HEIGHT, 0.6, 0.65).ellipse(apart, EYE_HEIGHT, 0.6, 0.65).fill(Colour::INK);
}

fn eye_distance(identity: &Identity) -> f32 {
    (3.9 * identity.face.radii().0 / 9.0).max(3.3)
}

fn mark(pen: &mut Pen<'_>, identity: &Identity, mouth: f32) {
    let (rx, _) = identity.face.radii();
    let skin = identity.skin.colour();
    let deep = identity.skin.is_deep();
    match identity.mark {
        Mark::None => {}
        Mark::Freckles => {
            for (x, y) in [(0.42, 2.5), (0.58, 3.5), (0.72, 2.3), (0.3, 3.6)] {
                pen.ellipse(-x * rx, y, 0.68, 0.68).ellipse(x * rx, y, 0.68, 0.68);
            }
            pen.fill(if deep { skin.mix(Colour(255, 190, 130), 0.45) } else { skin.mix(Colour(120, 50, 10), 0.72) });
        }
        Mark::Scar => {
            // Long enough to show above and below sunglasses.
            let x = eye_distance(identity);
            let colour = if deep { Colour(238, 160, 150) } else { Colour(178, 48, 58) };
            pen.line((x + 1.9, -5.6), (x - 1.2, 4.4), 1.15).fill(colour);
        }
        Mark::Mole => pen.ellipse(0.56 * rx, mouth - 2.3, 1.3, 1.3).fill(if deep { Colour(18, 10, 8) } else { Colour(62, 32, 20) }),
        Mark::RosyCheeks => {
            let colour = if deep { Colour(205, 80, 84) } else { skin.mix(Colour(240, 70, 90), 0.62) };
            pen.ellipse(-0.64 * rx, 3.0, 2.4, 1.7).ellipse(0.64 * rx, 3.0, 2.4, 1.7).fill(colour);
        }
    }
}

fn nose(pen: &mut Pen<'_>, identity: &Identity) {
    let shade = if identity.skin.is_deep() { identity.skin.colour().times(0.58) } else { identity.skin.colour().times(0.7) };
    match identity.nose {
        Nose::Small => pen.ellipse(0.0, 1.9, 0.9, 0.75),
        Nose::Big => pen.ellipse(0.0, 1.7, 2.6, 1.9),
        Nose::Long => pen.polygon(&[(-0.75, -2.8), (0.75, -2.8), (1.5, 2.9), (-1.5, 2.9)]),
    }
    .fill(shade);
}

fn lips(pen: &mut Pen<'_>, identity: &Identity, y: f32) {
    let red = if identity.skin.is_deep() { Colour(216, 72, 84) } else { Colour(150, 30, 40) };
    match identity.mouth {
        Mouth::Smiling => {
            // A crescent with thick corners.
            let lip = |angle: f32| {
                let across = -3.3 * angle.cos();
                let bend = 1.0 - (across / 3.3).powi(2);
                let lower = angle > PI;
                (across, y - 1.2 + if lower { 2.9 * bend + 0.5 } else { 1.25 * bend - 0.5 })
            };
            pen.curve(3.3, 0.0, TAU, lip).fill(red);
        }
        Mouth::Straight => pen.line((-2.5, y), (2.5, y), 1.2).fill(red),
        Mouth::Open => {
            pen.ellipse(0.0, y + 0.2, 2.3, 2.0).fill(red);
            pen.ellipse(0.0, y, 1.5, 1.2).fill(Colour(60, 8, 16));
        }
    }
}

fn glasses(pen: &mut Pen<'_>, identity: &Identity) {
    let (rx, _) = identity.face.radii();
    let apart = eye_distance(identity);
    let y = EYE_HEIGHT;
    match identity.glasses {
        Glasses::None => {}
        Glasses::Round => {
            for x in [-apart, apart] {
                pen.ellipse(x, y, 3.4, 3.4).ellipse(x, y, 2.45, 2.45).fill_holes(Colour::INK);
            }
            pen.line((-apart - 3.0, y - 0.5), (-rx, y - 0.8), 0.7).line((apart + 3.0, y - 0.5), (rx, y - 0.8), 0.7);
            pen.fill(Colour::INK);
        }
        Glasses::Square => {
            let red = Colour(160, 18, 34);
            for x in [-apart, apart] {
                pen.rect(x - 3.3, y - 2.9, x + 3.3, y + 2.9).rect(x - 2.25, y - 1.9, x + 2.25, y + 1.9).fill_holes(red);
            }
            pen.line((-apart - 3.0, y - 1.0), (-rx, y - 1.0), 0.7).line((apart + 3.0, y - 1.0), (rx, y - 1.0), 0.7).fill(red);
        }
        Glasses::Sunglasses => {
            let black = Colour(12, 12, 16);
            for side in [-1.0, 1.0] {
                let x = side * apart;
                pen.rect(x - 3.3, y - 2.4, x + 3.3, y + 0.8).ellipse(x, y + 0.7, 3.3, 2.1);
            }
            pen.rect(-rx, y - 2.4, rx, y - 1.2).fill(black);
            pen.line((-apart - 1.6, y + 0.2), (-apart - 0.4, y - 1.0), 0.6).line((apart - 1.6, y + 0.2), (apart - 0.4, y - 1.0), 0.6);
            pen.fill(Colour(120, 130, 150));
        }
    }
}
