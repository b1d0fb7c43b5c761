//! The face: outline, facial hair, mark, eyes, nose, mouth, glasses. Lengths in head units around the head's centre.

use std::f32::consts::{PI, TAU};

use super::canvas::{Colour, Pen};
use super::identity::{FaceShape, FacialHair, Glasses, Identity, Mark, Mouth, Nose};

const EYE_HEIGHT: f32 = -1.3;

/// Draws everything between the back hair and the front hair.
pub(super) fn face(pen: &mut Pen<'_>, identity: &Identity) {
    let skin = identity.skin.colour();
    let (rx, ry) = identity.face.radii();
    pen.ellipse(-rx, 0.0, 1.7, 2.2).ellipse(rx, 0.0, 1.7, 2.2).fill(skin.times(0.86));
    pen.curve(rx.max(ry), 0.0, TAU, |angle| outline(identity.face, angle)).fill(skin);
    let mouth = 0.6 * ry;
    chin_hair(pen, identity, mouth);
    mark_below_glasses(pen, identity, mouth);
    eyes(pen, identity);
    scar(pen, identity);
    lips(pen, identity, mouth);
    if identity.facial_hair == FacialHair::Moustache {
        let y = mouth - 1.9;
        pen.ellipse(-1.9, y, 2.5, 1.1).ellipse(1.9, y, 2.5, 1.1).ellipse(-3.9, y + 0.6, 1.2, 0.8).ellipse(3.9, y + 0.6, 1.2, 0.8);
        pen.fill(facial_colour(identity));
    }
    // After the moustache, which would hide most noses.
    nose(pen, identity);
    glasses(pen, identity);
}

/// Facial hair is darker than the hair, unless that would be close to the colour of the skin.
fn facial_colour(identity: &Identity) -> Colour {
    let (hair, skin) = (identity.hair_colour.colour(), identity.skin.colour());
    let usual = hair.times(0.75);
    let others = [hair.times(0.45), hair.times(1.1)];
    if usual.distance(skin) >= 90 {
        return usual;
    }
    others.into_iter().fold(usual, |best, other| if other.distance(skin) > best.distance(skin) { other } else { best })
}

/// The point of the face's edge in the direction of `angle` (0 right, growing clockwise).
pub(super) fn outline(shape: FaceShape, angle: f32) -> (f32, f32) {
    let (rx, ry) = shape.radii();
    let (sin, cos) = angle.sin_cos();
    match shape {
        FaceShape::Round | FaceShape::Long => (rx * cos, ry * sin),
        // An egg with the point down.
        FaceShape::Oval => (rx * cos * (1.0 - 0.2 * sin.max(0.0)), ry * sin),
        FaceShape::Square => {
            let bulge = |value: f32| value.signum() * value.abs().powf(0.36);
            (rx * bulge(cos), ry * bulge(sin))
        }
    }
}

fn chin_hair(pen: &mut Pen<'_>, identity: &Identity, mouth: f32) {
    let (rx, ry) = identity.face.radii();
    let colour = facial_colour(identity);
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
    let skin = identity.skin.colour();
    // The brows have no hair colour: it must not show on a bald and shaven head.
    let brow = if identity.skin.is_deep() { Colour::INK } else { skin.times(0.4) };
    let height = EYE_HEIGHT - 3.5;
    pen.line((-apart - 1.5, height + 0.2), (-apart + 1.3, height - 0.2), 0.8);
    pen.line((apart - 1.3, height - 0.2), (apart + 1.5, height + 0.2), 0.8).fill(brow);
    // The glass lightens what is behind it, and a shine outside sets black rings off from dark skin.
    let glass = skin.mix(Colour(205, 232, 240), 0.6);
    let lens = lens_radius(apart);
    if identity.glasses == Glasses::Round && identity.skin.is_deep() {
        let rim = lens + 0.6;
        pen.ellipse(-apart, EYE_HEIGHT, rim, rim).ellipse(apart, EYE_HEIGHT, rim, rim).fill(Colour(176, 180, 190));
    }
    match identity.glasses {
        Glasses::None => {}
        Glasses::Round => pen.ellipse(-apart, EYE_HEIGHT, lens, lens).ellipse(apart, EYE_HEIGHT, lens, lens).fill(glass),
        Glasses::Square => {
            for x in [-apart, apart] {
                pen.rect(x - lens, EYE_HEIGHT - 2.6, x + lens, EYE_HEIGHT + 2.6);
            }
            pen.fill(glass);
        }
        Glasses::Sunglasses => return,
    }
    pen.ellipse(-apart, EYE_HEIGHT, 2.4, 2.3).ellipse(apart, EYE_HEIGHT, 2.4, 2.3).fill(Colour(250, 250, 250));
    pen.ellipse(-apart, EYE_HEIGHT, 1.75, 1.8).ellipse(apart, EYE_HEIGHT, 1.75, 1.8).fill(identity.eyes.colour());
    pen.ellipse(-apart, EYE_HEIGHT, 0.6, 0.65).ellipse(apart, EYE_HEIGHT, 0.6, 0.65).fill(Colour::INK);
}

fn eye_distance(identity: &Identity) -> f32 {
    (4.1 * identity.face.radii().0 / 9.0).max(3.9)
}

/// Lenses as wide as the eyes' distance allows, so that a bridge and the nose stay visible between them.
fn lens_radius(apart: f32) -> f32 {
    (apart - 0.8).min(3.6)
}

fn mark_below_glasses(pen: &mut Pen<'_>, identity: &Identity, mouth: f32) {
    let (rx, _) = identity.face.radii();
    let skin = identity.skin.colour();
    let deep = identity.skin.is_deep();
    match identity.mark {
        Mark::None | Mark::Scar => {}
        Mark::Freckles => {
            for (x, y) in [(0.42, 2.6), (0.58, 3.6), (0.74, 2.4), (0.32, 3.8)] {
                pen.ellipse(-x * rx, y, 0.75, 0.75).ellipse(x * rx, y, 0.75, 0.75);
            }
            pen.fill(if deep { skin.mix(Colour(255, 190, 130), 0.65) } else { skin.mix(Colour(120, 50, 10), 0.75) });
        }
        Mark::Mole => {
            pen.ellipse(0.56 * rx, mouth - 2.3, 1.3, 1.3).fill(if deep { Colour(14, 8, 6) } else { Colour(62, 32, 20) })
        }
        Mark::RosyCheeks => {
            let colour = if deep { Colour(205, 80, 84) } else { skin.mix(Colour(240, 70, 90), 0.62) };
            pen.ellipse(-0.64 * rx, 3.1, 2.4, 1.7).ellipse(0.64 * rx, 3.1, 2.4, 1.7).fill(colour);
        }
    }
}

fn scar(pen: &mut Pen<'_>, identity: &Identity) {
    if identity.mark == Mark::Scar {
        // Long enough to show above and below sunglasses.
        let x = eye_distance(identity);
        let colour = if identity.skin.is_deep() { Colour(238, 160, 150) } else { Colour(178, 48, 58) };
        pen.line((x + 1.9, -5.6), (x - 1.0, 4.4), 1.2).fill(colour);
    }
}

fn nose(pen: &mut Pen<'_>, identity: &Identity) {
    let skin = identity.skin.colour();
    // A shade on light skin, a highlight on dark skin.
    let colour = if identity.skin.is_deep() { skin.mix(Colour(255, 180, 130), 0.3) } else { skin.times(0.62) };
    match identity.nose {
        Nose::Small => pen.ellipse(0.0, 2.3, 0.95, 0.8),
        Nose::Big => pen.ellipse(0.0, 2.2, 2.7, 1.8),
        Nose::Long => pen.polygon(&[(-0.7, -2.6), (0.7, -2.6), (1.6, 3.7), (-1.6, 3.7)]),
    }
    .fill(colour);
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
                (across, y - 1.0 + if lower { 2.9 * bend + 0.5 } else { 1.25 * bend - 0.5 })
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
    let lens = lens_radius(apart);
    let y = EYE_HEIGHT;
    let bridge = apart - lens + 0.4;
    let frame = match identity.glasses {
        Glasses::None => return,
        Glasses::Round => {
            for x in [-apart, apart] {
                pen.ellipse(x, y, lens, lens).ellipse(x, y, lens - 0.9, lens - 0.9);
            }
            Colour::INK
        }
        Glasses::Square => {
            for x in [-apart, apart] {
                pen.rect(x - lens, y - 2.8, x + lens, y + 2.8).rect(x - lens + 0.95, y - 1.85, x + lens - 0.95, y + 1.85);
            }
            Colour(165, 16, 34)
        }
        Glasses::Sunglasses => {
            let black = Colour(12, 12, 16);
            for x in [-apart, apart] {
                pen.rect(x - lens, y - 2.5, x + lens, y + 0.8).ellipse(x, y + 0.7, lens, 2.1);
            }
            pen.rect(-rx, y - 2.5, rx, y - 1.3).fill(black);
            pen.line((-apart - 1.6, y + 0.2), (-apart - 0.4, y - 1.0), 0.6).line(
                (apart - 1.6, y + 0.2),
                (apart - 0.4, y - 1.0),
                0.6,
            );
            return pen.fill(Colour(120, 130, 150));
        }
    };
    pen.fill_holes(frame);
    let side = apart + lens - 0.4;
    pen.line((-side, y - 0.8), (-rx, y - 0.8), 0.7).line((side, y - 0.8), (rx, y - 0.8), 0.7);
    pen.line((-bridge, y - 1.0), (bridge, y - 1.0), 0.8).fill(frame);
}
