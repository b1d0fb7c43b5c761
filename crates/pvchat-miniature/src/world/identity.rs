//! Who a person is: the 11 attributes that stay the same in every clip, and look-alikes.

use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::canvas::Colour;
use super::values::values;

values!(
    /// Skin colour, from light to dark.
    Skin { Pale = "pale", Fair = "fair", Tan = "tan", Olive = "olive", Brown = "brown", Dark = "dark" }
);
values!(
    /// The outline of the face.
    FaceShape { Round = "round", Oval = "oval", Square = "square", Long = "long" }
);
values!(
    /// How the hair is cut.
    HairStyle {
        Bald = "bald", Short = "short", Spiky = "spiky", Bob = "bob", Long = "long", Curly = "curly",
        Ponytail = "ponytail", Mohawk = "mohawk",
    }
);
values!(
    /// The colour of hair and, darker, of facial hair.
    HairColour {
        Black = "black", Brown = "brown", Blond = "blond", Red = "red", Grey = "grey", Blue = "blue", Pink = "pink",
        Green = "green",
    }
    UNSEEN { White = "white", Teal = "teal", Violet = "violet" }
);
values!(
    /// Eyewear.
    Glasses { None = "none", Round = "round", Square = "square", Sunglasses = "sunglasses" }
);
values!(
    /// Hair of the face.
    FacialHair { None = "none", Moustache = "moustache", Beard = "beard", Goatee = "goatee" }
);
values!(
    /// The colour of the iris.
    EyeColour { Brown = "brown", Blue = "blue", Green = "green", Violet = "violet" }
);
values!(
    /// The form of the nose.
    Nose { Small = "small", Big = "big", Long = "long" }
);
values!(
    /// The form of the mouth.
    Mouth { Smiling = "smiling", Straight = "straight", Open = "open" }
);
values!(
    /// The width of the body.
    Build { Slim = "slim", Medium = "medium", Broad = "broad" }
);
values!(
    /// A distinguishing mark of the face.
    Mark { None = "none", Freckles = "freckles", Scar = "scar", Mole = "mole", RosyCheeks = "rosy cheeks" }
);

/// The number of values of each attribute, in the order of [`Identity::attributes`].
pub const ATTRIBUTE_SIZES: [usize; 11] = [
    Skin::ALL.len(),
    FaceShape::ALL.len(),
    HairStyle::ALL.len(),
    HairColour::ALL.len(),
    Glasses::ALL.len(),
    FacialHair::ALL.len(),
    EyeColour::ALL.len(),
    Nose::ALL.len(),
    Mouth::ALL.len(),
    Build::ALL.len(),
    Mark::ALL.len(),
];

const SKIN: usize = 0;
const HAIR_STYLE: usize = 2;
const HAIR_COLOUR: usize = 3;
const GLASSES: usize = 4;
const FACIAL_HAIR: usize = 5;
const EYES: usize = 6;
/// Face, eyes, nose, mouth, build and mark.
const WEAK: [usize; 6] = [1, EYES, 7, 8, 9, 10];

/// A person: everything that is the same in every clip that shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Skin colour.
    pub skin: Skin,
    /// Face shape.
    pub face: FaceShape,
    /// Hair style.
    pub hair_style: HairStyle,
    /// Hair colour; unseen on a bald and shaven person.
    pub hair_colour: HairColour,
    /// Eyewear.
    pub glasses: Glasses,
    /// Facial hair.
    pub facial_hair: FacialHair,
    /// Eye colour; unseen behind sunglasses.
    pub eyes: EyeColour,
    /// Nose.
    pub nose: Nose,
    /// Mouth.
    pub mouth: Mouth,
    /// Build of the body.
    pub build: Build,
    /// Distinguishing mark.
    pub mark: Mark,
}

impl Identity {
    /// Draws a person: uniform, then no facial hair with probability .35 and no glasses with .2.
    pub fn random(stream: &mut SeededStream) -> Self {
        let mut identity = Self {
            skin: Skin::random(stream),
            face: FaceShape::random(stream),
            hair_style: HairStyle::random(stream),
            hair_colour: HairColour::random(stream),
            glasses: Glasses::random(stream),
            facial_hair: FacialHair::random(stream),
            eyes: EyeColour::random(stream),
            nose: Nose::random(stream),
            mouth: Mouth::random(stream),
            build: Build::random(stream),
            mark: Mark::random(stream),
        };
        if stream.chance(0.35) {
            identity.facial_hair = FacialHair::None;
        }
        if stream.chance(0.2) {
            identity.glasses = Glasses::None;
        }
        identity
    }

    /// Whether this person is kept for examinations: one in sixteen of all who look different. No base is pretrained on
    /// them ([`unreserved`](Self::unreserved)), so that no base has seen the people of an examination.
    pub fn is_reserved(&self) -> bool {
        let digits = self.attributes().into_iter().zip(ATTRIBUTE_SIZES).zip(self.visible());
        let number =
            digits.fold(0, |number: u64, ((value, size), visible)| number * size as u64 + if visible { value as u64 } else { 0 });
        // Fibonacci hashing: the upper bits depend on every attribute, and no value of one is favoured.
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60 == 0
    }

    /// Draws until it is somebody who is kept for examinations.
    pub fn reserved(mut draw: impl FnMut() -> Self) -> Self {
        loop {
            let identity = draw();
            if identity.is_reserved() {
                return identity;
            }
        }
    }

    /// Draws until it is somebody whom a base may meet in its pretraining.
    pub fn unreserved(mut draw: impl FnMut() -> Self) -> Self {
        loop {
            let identity = draw();
            if !identity.is_reserved() {
                return identity;
            }
        }
    }

    /// A different person who differs in exactly `differences` attributes (at most 10).
    ///
    /// The first difference is a striking one (skin, hair style, hair colour, glasses or facial
    /// hair) that can be seen; the others are any attribute but hair colour, and not the eye colour
    /// behind sunglasses. Skin changes by 2 to 4 steps of the 6, so that the change shows.
    pub fn look_alike(&self, differences: usize, stream: &mut SeededStream) -> Self {
        let mut changed = *self;
        if differences == 0 {
            return changed;
        }
        let visible = self.visible();
        let mut striking = vec![SKIN, HAIR_STYLE, GLASSES, FACIAL_HAIR];
        if visible[HAIR_COLOUR] {
            striking.push(HAIR_COLOUR);
        }
        let first = striking[stream.below(striking.len())];
        let mut others: Vec<usize> = (0..ATTRIBUTE_SIZES.len())
            .filter(|&attribute| attribute != first && attribute != HAIR_COLOUR && visible[attribute])
            .collect();
        stream.shuffle(&mut others);
        others.truncate(differences - 1);
        others.insert(0, first);
        for attribute in others {
            let size = ATTRIBUTE_SIZES[attribute];
            let step = if attribute == SKIN { stream.range(2, 5) } else { stream.range(1, size) };
            let value = (self.attributes()[attribute] + step) % size;
            changed.set(attribute, value);
        }
        changed
    }

    /// A different person who differs in exactly `differences` attributes (at most 5), all of them weak: the form of the face,
    /// the colour of eyes that can be seen, nose, mouth, build, mark.
    pub fn weak_look_alike(&self, differences: usize, stream: &mut SeededStream) -> Self {
        let mut changed = *self;
        let mut weak: Vec<usize> = WEAK.into_iter().filter(|&attribute| self.visible()[attribute]).collect();
        stream.shuffle(&mut weak);
        for attribute in weak.into_iter().take(differences) {
            let size = ATTRIBUTE_SIZES[attribute];
            changed.set(attribute, (self.attributes()[attribute] + stream.range(1, size)) % size);
        }
        changed
    }

    /// The class numbers: skin, face, hair style, hair colour, glasses, facial hair, eyes, nose, mouth, build, mark.
    pub fn attributes(&self) -> [usize; 11] {
        [
            self.skin.index(),
            self.face.index(),
            self.hair_style.index(),
            self.hair_colour.index(),
            self.glasses.index(),
            self.facial_hair.index(),
            self.eyes.index(),
            self.nose.index(),
            self.mouth.index(),
            self.build.index(),
            self.mark.index(),
        ]
    }

    /// The person with these class numbers (the inverse of [`attributes`](Self::attributes)), each modulo its size.
    pub fn from_attributes(values: [usize; 11]) -> Self {
        let mut identity = Self {
            skin: Skin::Pale,
            face: FaceShape::Round,
            hair_style: HairStyle::Bald,
            hair_colour: HairColour::Black,
            glasses: Glasses::None,
            facial_hair: FacialHair::None,
            eyes: EyeColour::Brown,
            nose: Nose::Small,
            mouth: Mouth::Smiling,
            build: Build::Slim,
            mark: Mark::None,
        };
        for (attribute, value) in values.into_iter().enumerate() {
            identity.set(attribute, value % ATTRIBUTE_SIZES[attribute]);
        }
        identity
    }

    /// Which attributes can be seen, in the order of [`attributes`](Self::attributes): the eye colour
    /// is hidden by sunglasses, the hair colour does not show on a bald and shaven head.
    pub fn visible(&self) -> [bool; 11] {
        let mut visible = [true; 11];
        visible[EYES] = self.glasses != Glasses::Sunglasses;
        visible[HAIR_COLOUR] = self.hair_style != HairStyle::Bald || self.facial_hair != FacialHair::None;
        visible
    }

    fn set(&mut self, attribute: usize, value: usize) {
        match attribute {
            SKIN => self.skin = Skin::ALL[value],
            1 => self.face = FaceShape::ALL[value],
            HAIR_STYLE => self.hair_style = HairStyle::ALL[value],
            HAIR_COLOUR => self.hair_colour = HairColour::ALL[value],
            GLASSES => self.glasses = Glasses::ALL[value],
            FACIAL_HAIR => self.facial_hair = FacialHair::ALL[value],
            EYES => self.eyes = EyeColour::ALL[value],
            7 => self.nose = Nose::ALL[value],
            8 => self.mouth = Mouth::ALL[value],
            9 => self.build = Build::ALL[value],
            _ => self.mark = Mark::ALL[value],
        }
    }
}

impl Skin {
    pub(super) fn colour(self) -> Colour {
        match self {
            Self::Pale => Colour(255, 224, 196),
            Self::Fair => Colour(241, 194, 150),
            Self::Tan => Colour(214, 160, 110),
            Self::Olive => Colour(172, 116, 70),
            Self::Brown => Colour(136, 90, 58),
            Self::Dark => Colour(78, 48, 34),
        }
    }

    /// On these skins, details that are darker than the skin would be lost.
    pub(super) fn is_deep(self) -> bool {
        matches!(self, Self::Brown | Self::Dark)
    }
}

impl FaceShape {
    /// Half width and half height of the face, in head units.
    pub(super) fn radii(self) -> (f32, f32) {
        match self {
            Self::Round => (9.8, 9.2),
            Self::Oval => (8.3, 9.9),
            Self::Square => (9.3, 9.1),
            Self::Long => (7.2, 10.7),
        }
    }
}

impl HairColour {
    pub(super) fn colour(self) -> Colour {
        match self {
            Self::Black => Colour(28, 24, 24),
            Self::Brown => Colour(116, 66, 26),
            Self::Blond => Colour(236, 206, 96),
            Self::Red => Colour(196, 72, 28),
            Self::Grey => Colour(165, 165, 170),
            Self::Blue => Colour(50, 90, 220),
            Self::Pink => Colour(242, 110, 180),
            Self::Green => Colour(50, 165, 80),
            Self::White => Colour(240, 240, 236),
            Self::Teal => Colour(24, 148, 150),
            Self::Violet => Colour(118, 52, 170),
        }
    }
}

impl EyeColour {
    pub(super) fn colour(self) -> Colour {
        match self {
            Self::Brown => Colour(90, 50, 20),
            Self::Blue => Colour(40, 110, 240),
            Self::Green => Colour(30, 150, 60),
            Self::Violet => Colour(140, 40, 190),
        }
    }
}

impl Build {
    /// Half width of the torso, in body units.
    pub(super) fn half_width(self) -> f32 {
        match self {
            Self::Slim => 5.0,
            Self::Medium => 6.6,
            Self::Broad => 8.6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differing(one: &Identity, other: &Identity) -> Vec<usize> {
        let (one, other) = (one.attributes(), other.attributes());
        (0..11).filter(|&attribute| one[attribute] != other[attribute]).collect()
    }

    #[test]
    fn look_alike_differs_in_exactly_n_attributes_by_the_rules() {
        let mut stream = SeededStream::new(11);
        for round in 0..3000 {
            let original = Identity::random(&mut stream);
            let count = round % 5;
            let other = original.look_alike(count, &mut stream);
            let changed = differing(&original, &other);
            assert_eq!(changed.len(), count, "{original:?} {other:?}");
            if count > 0 {
                assert!(changed.iter().any(|c| [SKIN, HAIR_STYLE, HAIR_COLOUR, GLASSES, FACIAL_HAIR].contains(c)), "{changed:?}");
            }
            if changed.contains(&HAIR_COLOUR) {
                assert!(original.visible()[HAIR_COLOUR], "the hair colour of a bald shaven person must not change");
            }
            if changed.contains(&SKIN) {
                let step = (other.skin.index() + 6 - original.skin.index()) % 6;
                assert!((2..=4).contains(&step), "skin moved {step} steps");
            }
        }
    }

    #[test]
    fn one_difference_covers_all_five_striking_attributes_evenly() {
        let mut stream = SeededStream::new(4);
        let mut original = Identity::random(&mut stream);
        original.hair_style = HairStyle::Curly;
        let mut counts = [0_usize; 11];
        for _ in 0..2000 {
            counts[differing(&original, &original.look_alike(1, &mut stream))[0]] += 1;
        }
        for attribute in [SKIN, HAIR_STYLE, HAIR_COLOUR, GLASSES, FACIAL_HAIR] {
            assert!((320..480).contains(&counts[attribute]), "{counts:?}");
        }
        assert_eq!(counts.iter().sum::<usize>(), 2000);
    }

    #[test]
    fn random_people_follow_the_stated_frequencies() {
        let mut stream = SeededStream::new(2);
        let people: Vec<Identity> = (0..8000).map(|_| Identity::random(&mut stream)).collect();
        let share = |test: fn(&Identity) -> bool| people.iter().filter(|p| test(p)).count() as f32 / people.len() as f32;
        assert!((share(|p| p.facial_hair == FacialHair::None) - (0.35 + 0.65 * 0.25)).abs() < 0.02);
        assert!((share(|p| p.glasses == Glasses::None) - (0.2 + 0.8 * 0.25)).abs() < 0.02);
        assert!((share(|p| p.skin == Skin::Dark) - 1.0 / 6.0).abs() < 0.02);
    }

    #[test]
    fn one_in_sixteen_is_reserved_whatever_their_attributes_and_nobody_who_looks_like_an_unreserved_one() {
        let mut stream = SeededStream::new(5);
        let people: Vec<Identity> = (0..60_000).map(|_| Identity::random(&mut stream)).collect();
        let share =
            |people: &[&Identity]| people.iter().filter(|person| person.is_reserved()).count() as f32 / people.len() as f32;
        assert!((share(&people.iter().collect::<Vec<_>>()) - 1.0 / 16.0).abs() < 0.004);
        for (attribute, size) in ATTRIBUTE_SIZES.into_iter().enumerate() {
            for value in 0..size {
                let with: Vec<&Identity> = people.iter().filter(|person| person.attributes()[attribute] == value).collect();
                assert!((share(&with) - 1.0 / 16.0).abs() < 0.02, "attribute {attribute}, value {value}: {}", share(&with));
            }
        }
        for person in people.iter().filter(|person| !person.visible()[HAIR_COLOUR]).take(200) {
            for hair_colour in HairColour::ALL {
                assert_eq!(Identity { hair_colour, ..*person }.is_reserved(), person.is_reserved(), "{person:?}");
            }
        }
        assert!(Identity::reserved(|| Identity::random(&mut stream)).is_reserved());
        assert!(!Identity::unreserved(|| people[0].look_alike(1, &mut stream)).is_reserved());
    }

    #[test]
    fn attributes_count_13_million_people_and_invert() {
        assert_eq!(ATTRIBUTE_SIZES.iter().product::<usize>(), 13_271_040);
        let mut stream = SeededStream::new(3);
        for _ in 0..200 {
            let identity = Identity::random(&mut stream);
            assert_eq!(Identity::from_attributes(identity.attributes()), identity);
        }
    }
}
