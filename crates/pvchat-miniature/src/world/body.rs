//! The figure: legs, clothes, arms and what the hands hold, with the head between them.

use super::canvas::{Colour, Pen};
use super::clip::{Action, ClothColour, Garment, Pattern, Person};
use super::pose::{HEAD, Held, Pose};
use super::{hair, head};

/// Draws a person; the pen's origin is on the floor below them and its lengths are body units.
pub(super) fn draw(pen: &mut Pen<'_>, person: &Person, pose: &Pose) {
    let width = person.identity.build.half_width();
    pen.ellipse(pose.hip.0 * 0.5, 0.8, width + 2.4, 1.7).glaze(Colour(0, 0, 0), 60);
    if person.action == Action::Sitting {
        chair(pen, width, pose);
    }
    let identity = &person.identity;
    hair::back(&mut pen.at(pose.head.0, pose.head.1, HEAD), identity);
    legs(pen, person, pose);
    torso(&mut pen.at(pose.hip.0, pose.shoulder, 1.0), person, pose.hip.1 - pose.shoulder);
    let mut at_head = pen.at(pose.head.0, pose.head.1, HEAD);
    head::face(&mut at_head, identity);
    hair::front(&mut at_head, identity);
    arms(pen, person, pose);
}

fn chair(pen: &mut Pen<'_>, width: f32, pose: &Pose) {
    let (wood, half) = (Colour(110, 70, 40), width + 3.0);
    let seat = pose.hip.1;
    pen.rect(-half, pose.shoulder + 2.0, half, seat + 1.6).fill(wood.times(0.8));
    pen.rect(-half - 0.6, seat - 0.4, half + 0.6, seat + 1.8).rect(-half, seat, -half + 1.8, 0.8).rect(
        half - 1.8,
        seat,
        half,
        0.8,
    );
    pen.fill(wood);
}

fn legs(pen: &mut Pen<'_>, person: &Person, pose: &Pose) {
    let stance = 0.48 * person.identity.build.half_width();
    let colour = match person.clothing.garment {
        Garment::Dress => person.identity.skin.colour(),
        _ => person.clothing.trousers.colour(),
    };
    for (foot, sign) in pose.feet.into_iter().zip([-1.0, 1.0]) {
        pen.line((pose.hip.0 + sign * stance, pose.hip.1 - 1.0), (foot.0, foot.1 - 1.2), 3.8);
    }
    pen.fill(colour);
    for (foot, sign) in pose.feet.into_iter().zip([-1.0, 1.0]) {
        pen.ellipse(foot.0 + 0.5 * sign, foot.1 - 0.2, 2.7, 1.6);
    }
    pen.fill(Colour(44, 34, 34));
}

/// The cut of a garment: how the half width runs from the shoulder (y 0) to the hem.
struct Cut {
    top: f32,
    hem: f32,
    shoulder: f32,
    bottom: f32,
}

impl Cut {
    fn half_width(&self, y: f32) -> f32 {
        let straight = self.shoulder + (self.bottom - self.shoulder) * (y / self.hem).clamp(0.0, 1.0);
        // The sloping shoulders of the hexagon.
        straight.min(self.shoulder * 0.62 + 1.25 * y.max(0.0))
    }

    fn band(&self, pen: &mut Pen<'_>, from: f32, to: f32) {
        let (from, to) = (from.max(self.top), to.min(self.hem));
        if from < to {
            let (upper, lower) = (self.half_width(from), self.half_width(to));
            pen.polygon(&[(-upper, from), (upper, from), (lower, to), (-lower, to)]);
        }
    }

    fn whole(&self, pen: &mut Pen<'_>) {
        let slope = self.shoulder * 0.38 / 1.25 * 1.1;
        self.band(pen, self.top, slope);
        self.band(pen, slope.max(self.top), self.hem);
    }
}

/// The torso with its clothes; the pen's origin is between the shoulders, `length` is the way to the hip.
fn torso(pen: &mut Pen<'_>, person: &Person, length: f32) {
    let width = person.identity.build.half_width();
    let skin = person.identity.skin.colour();
    let clothing = person.clothing;
    let cloth = clothing.colour.colour();
    let (drop, flare) = match clothing.garment {
        Garment::Dress => (4.5, 3.0),
        Garment::Coat => (5.0, 1.2),
        _ => (0.6, 0.0),
    };
    let mut cut = Cut { top: 0.0, hem: length + drop, shoulder: 0.92 * width, bottom: width + flare };
    // A seated lap leaves no room for a hanging hem.
    if person.action == Action::Sitting {
        cut.hem = cut.hem.min(length + 2.5);
    }
    let dark = cloth.times(0.62);
    let line = if clothing.colour == ClothColour::Black { Colour(120, 120, 128) } else { dark };

    if clothing.garment == Garment::Hoodie {
        pen.ellipse(0.0, 0.4, 0.92 * width, 3.4).fill(dark);
    }
    if clothing.garment == Garment::Vest {
        cut.whole(pen);
        pen.fill(skin);
        cut.top = 5.0;
        cut.whole(pen);
        let strap = 0.5 * width;
        pen.line((-strap, 0.8), (-strap, 5.4), 2.0).line((strap, 0.8), (strap, 5.4), 2.0).fill(cloth);
    } else {
        cut.whole(pen);
        pen.fill(cloth);
    }
    pattern(pen, person, &cut);

    match clothing.garment {
        Garment::Shirt => pen.polygon(&[(-3.0, 0.0), (3.0, 0.0), (0.0, 4.6)]).fill(skin.times(0.9)),
        Garment::Vest => {}
        Garment::Hoodie => {
            pen.polygon(&[
                (-0.5 * width, length - 1.0),
                (0.5 * width, length - 1.0),
                (0.36 * width, length - 4.6),
                (-0.36 * width, length - 4.6),
            ]);
            pen.fill(line);
            pen.line((-1.5, 1.5), (-1.5, 6.4), 0.7).line((1.5, 1.5), (1.5, 6.4), 0.7).fill(contrast(cloth));
        }
        Garment::Dress => {
            let belt = 0.66 * length;
            cut.band(pen, belt - 0.8, belt + 0.8);
            pen.fill(line);
        }
        Garment::Suit => {
            pen.polygon(&[(-3.6, 0.0), (3.6, 0.0), (0.0, 8.6)]).fill(Colour(250, 250, 250));
            let tie = if clothing.colour == ClothColour::Red { Colour(30, 40, 110) } else { Colour(190, 25, 35) };
            pen.polygon(&[(-0.9, 0.5), (0.9, 0.5), (1.1, 6.0), (0.0, 7.6), (-1.1, 6.0)]).fill(tie);
            pen.line((0.0, 8.6), (0.0, cut.hem - 0.4), 0.7).fill(line);
        }
        Garment::Coat => {
            pen.line((0.0, 3.0), (0.0, cut.hem - 0.4), 0.9);
            pen.polygon(&[(-3.8, 0.0), (0.0, 5.4), (-4.6, 4.4)]).polygon(&[(3.8, 0.0), (0.0, 5.4), (4.6, 4.4)]).fill(line);
            for y in [7.4, 10.6, 13.8] {
                if y < cut.hem - 1.0 {
                    pen.ellipse(1.8, y, 0.8, 0.8);
                }
            }
            pen.fill(contrast(cloth));
        }
    }
}

/// Near white, or dark on light cloth.
fn contrast(cloth: Colour) -> Colour {
    if cloth.brightness() > 170.0 { Colour(50, 45, 50) } else { Colour::WHITE }
}

fn pattern(pen: &mut Pen<'_>, person: &Person, cut: &Cut) {
    match person.clothing.pattern {
        Pattern::Plain => return,
        Pattern::Striped => {
            let mut y = 1.6;
            while y < cut.hem {
                cut.band(pen, y, y + 1.5);
                y += 3.6;
            }
        }
        Pattern::Dotted => {
            let (mut y, mut row) = (2.0, 0);
            while y < cut.hem - 0.7 {
                let half = cut.half_width(y) - 0.9;
                let shift = if row % 2 == 0 { 0.0 } else { 1.9 };
                for column in -3..=3 {
                    let x = shift + 3.8 * column as f32;
                    if x.abs() <= half && y > cut.top {
                        pen.ellipse(x, y, 1.05, 1.05);
                    }
                }
                (y, row) = (y + 3.1, row + 1);
            }
        }
    }
    pen.fill(contrast(person.clothing.colour.colour()));
}

fn arms(pen: &mut Pen<'_>, person: &Person, pose: &Pose) {
    let width = person.identity.build.half_width();
    let skin = person.identity.skin.colour();
    let sleeve = match person.clothing.colour {
        ClothColour::Black => Colour(62, 62, 70),
        other => other.colour().times(0.72),
    };
    if pose.held == Held::Book {
        book(pen, pose);
    }
    for (number, sign) in [(0, -1.0), (1, 1.0)] {
        let hand = pose.hands[number];
        let joint = (pose.hip.0 + sign * (0.86 * width - 0.2), pose.shoulder + 2.0);
        let middle = ((joint.0 + hand.0) / 2.0, (joint.1 + hand.1) / 2.0);
        let elbow = (middle.0 + sign * 1.5, middle.1 + 1.0);
        match person.clothing.garment {
            Garment::Hoodie | Garment::Suit | Garment::Coat => pen.line(joint, elbow, 3.2).line(elbow, hand, 3.2).fill(sleeve),
            Garment::Shirt | Garment::Dress => {
                pen.line(joint, elbow, 2.7).line(elbow, hand, 2.7).fill(skin.times(0.92));
                let end = (joint.0 + 0.8 * (elbow.0 - joint.0), joint.1 + 0.8 * (elbow.1 - joint.1));
                pen.line(joint, end, 3.3).fill(sleeve);
            }
            Garment::Vest => pen.line(joint, elbow, 2.7).line(elbow, hand, 2.7).fill(skin.times(0.92)),
        }
        if pose.held == Held::Fruit(number) {
            pen.ellipse(hand.0, hand.1 - 1.6, 2.2, 2.1).fill(Colour(225, 35, 35));
            pen.line((hand.0, hand.1 - 3.4), (hand.0 + 0.9, hand.1 - 4.6), 0.8).fill(Colour(60, 140, 50));
        }
        pen.ellipse(hand.0, hand.1, 1.75, 1.75).fill(skin);
    }
}

fn book(pen: &mut Pen<'_>, pose: &Pose) {
    let y = pose.shoulder + 7.6;
    pen.rect(-5.4, y - 3.2, 5.4, y + 3.0).fill(Colour(120, 40, 36));
    pen.polygon(&[(-4.9, y - 3.6), (-0.3, y - 2.7), (-0.3, y + 2.6), (-4.9, y + 2.0)]);
    pen.polygon(&[(4.9, y - 3.6), (0.3, y - 2.7), (0.3, y + 2.6), (4.9, y + 2.0)]).fill(Colour(250, 248, 238));
    for row in [-1.4, 0.2] {
        pen.line((-3.9, y + row - 0.4), (-1.4, y + row), 0.5).line((1.4, y + row), (3.9, y + row - 0.4), 0.5);
    }
    pen.fill(Colour(150, 150, 155));
}
