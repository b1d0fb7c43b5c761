//! Where the joints of a figure are in a frame, for each of the actions.

use super::clip::{Action, Person};
use super::identity::HairStyle;

/// Heads are drawn larger than life, so that faces stay legible in 64 pixels.
pub(super) const HEAD: f32 = 1.15;
const LEGS: f32 = 9.0;
const LEGS_SITTING: f32 = 5.5;
const TORSO: f32 = 13.0;
const NECK: f32 = 8.2 * HEAD;
const JUMP: f32 = 9.0;
const WAVE: f32 = 4.2;
const SWAY: f32 = 3.0;
const HAND: f32 = 1.75;

/// What a hand or both hands hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Held {
    Nothing,
    /// A fruit in the hand with this index.
    Fruit(usize),
    Book,
}

/// The joints in body units: the origin is on the floor below the resting figure, y grows down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    pub(super) feet: [(f32, f32); 2],
    pub(super) hip: (f32, f32),
    pub(super) shoulder: f32,
    pub(super) head: (f32, f32),
    /// The hands on the left and on the right of the picture.
    pub(super) hands: [(f32, f32); 2],
    pub(super) held: Held,
}

impl Pose {
    pub(super) fn torso_centre(&self) -> (f32, f32) {
        (self.hip.0, (self.hip.1 + self.shoulder) / 2.0)
    }
}

/// How far the figure rises above its feet at most, in body units.
pub(super) fn height(person: &Person) -> f32 {
    let hair = match person.identity.hair_style {
        HairStyle::Bald => 0.0,
        HairStyle::Spiky => 4.6,
        HairStyle::Mohawk => 5.0,
        HairStyle::Curly => 3.7,
        HairStyle::Short | HairStyle::Bob | HairStyle::Long | HairStyle::Ponytail => 2.3,
    };
    let jump = if person.action == Action::Jumping { JUMP } else { 0.0 };
    LEGS + TORSO + NECK + (person.identity.face.radii().1 + hair) * HEAD + jump
}

/// How far the figure reaches to the left and to the right of its centre at most, in body units.
pub(super) fn reach(person: &Person) -> [f32; 2] {
    let (rx, _) = person.identity.face.radii();
    let hair = match person.identity.hair_style {
        HairStyle::Curly => 4.2,
        HairStyle::Long | HairStyle::Bob => 2.2,
        _ => 1.7,
    };
    let width = person.identity.build.half_width();
    let rest = ((rx + hair) * HEAD).max(width + 4.0 + HAND);
    let mut reach = [rest; 2];
    if person.identity.hair_style == HairStyle::Ponytail {
        reach[1] = reach[1].max((rx + 5.7) * HEAD);
    }
    let active = usize::from(person.side > 0.0);
    match person.action {
        Action::Waving => reach[active] = reach[active].max(raised(person) + WAVE + HAND),
        Action::Raising => reach[active] = reach[active].max(raised(person) + HAND),
        Action::Dancing => reach = reach.map(|side| (side + SWAY + 2.2).max(width + 5.5 + SWAY + HAND)),
        Action::Jumping => reach = reach.map(|side| side.max(width + 5.5 + HAND)),
        Action::Walking => reach = reach.map(|side| side.max(width + 5.0 + HAND)),
        _ => {}
    }
    reach
}

/// The distance from the body's centre where a raised hand is clear of the head.
fn raised(person: &Person) -> f32 {
    (person.identity.build.half_width() + 6.6).max(person.identity.face.radii().0 * HEAD + 3.0)
}

/// The pose in frame `frame` (0 to 7), without the walked distance.
pub(super) fn pose(person: &Person, frame: usize) -> Pose {
    let theta = person.phase + person.speed * frame as f32;
    let width = person.identity.build.half_width();
    let side = person.side;
    let active = usize::from(side > 0.0);

    let lift = if person.action == Action::Jumping { (0.75 * theta).sin().abs() } else { 0.0 };
    let floor = -JUMP * lift;
    let legs = if person.action == Action::Sitting { LEGS_SITTING } else { LEGS };
    let sway = if person.action == Action::Dancing { theta.sin() } else { 0.0 };
    let hip = (SWAY * sway, floor - legs);
    let shoulder = hip.1 - TORSO;
    let head = (hip.0 + 2.2 * sway, shoulder - NECK);
    let stance = 0.48 * width;
    let mut feet = [(-stance - 0.3, floor), (stance + 0.3, floor)];
    let mut hands = [(hip.0 - width - 2.8, shoulder + 11.2), (hip.0 + width + 2.8, shoulder + 11.2)];
    let mut held = Held::Nothing;
    match person.action {
        Action::Standing => {}
        Action::Waving => hands[active] = (side * raised(person) + WAVE * (1.25 * theta).sin(), shoulder - 6.5),
        Action::Raising => hands[active] = (side * raised(person), shoulder - 6.5),
        Action::Jumping => {
            for (hand, sign) in hands.iter_mut().zip([-1.0, 1.0]) {
                *hand = (sign * (width + 3.2 + 2.0 * lift), shoulder + 10.0 - 13.0 * lift);
            }
        }
        Action::Walking => {
            let swing = (1.2 * theta).sin();
            for (number, sign) in [(0, -1.0), (1, 1.0)] {
                let raise = (1.2 * theta).cos() * sign;
                feet[number] = (sign * 0.6 * stance + 4.0 * swing * sign, floor - 1.4 * raise.max(0.0));
                hands[number].0 -= 2.2 * swing * sign;
                hands[number].1 -= 1.0;
            }
        }
        Action::Sitting => {
            hands = [(-0.5 * width, hip.1 - 0.8), (0.5 * width, hip.1 - 0.8)];
            feet = [(-stance - 0.8, floor), (stance + 0.8, floor)];
        }
        Action::Eating => {
            let mouth = head.1 + 0.56 * person.identity.face.radii().1 * HEAD;
            let share = 0.5 + 0.5 * theta.sin();
            let belly = (side * 4.6, shoulder + 8.5);
            let to = (side * 2.4, mouth + 1.4);
            hands[active] = (belly.0 + (to.0 - belly.0) * share, belly.1 + (to.1 - belly.1) * share);
            held = Held::Fruit(active);
        }
        Action::Dancing => {
            for (hand, sign) in hands.iter_mut().zip([-1.0, 1.0]) {
                *hand = (hip.0 + sign * (width + 5.5), shoulder + 2.5 + 9.0 * sign * sway);
            }
        }
        Action::Reading => {
            hands = [(-4.6, shoulder + 8.8), (4.6, shoulder + 8.8)];
            held = Held::Book;
        }
        Action::Clapping => {
            let apart = 1.2 + 4.8 * (0.5 + 0.5 * (1.3 * theta).sin());
            hands = [(-apart, shoulder + 5.6), (apart, shoulder + 5.6)];
        }
    }
    Pose { feet, hip, shoulder, head, hands, held }
}
