//! What varies from clip to clip: clothes, action, place, position, camera; and how it is drawn at random.

use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::canvas::Colour;
use super::identity::Identity;
use super::pose;
use super::render::FRAMES;
use super::values::values;

values!(
    /// A kind of clothing.
    Garment { Shirt = "shirt", Hoodie = "hoodie", Dress = "dress", Suit = "suit", Vest = "vest", Coat = "coat" }
);
values!(
    /// The colour of the clothes.
    ClothColour {
        Red = "red", Blue = "blue", Green = "green", Yellow = "yellow", Purple = "purple", Orange = "orange",
        Black = "black", White = "white",
    }
);
values!(
    /// The pattern of the clothes.
    Pattern { Plain = "plain", Striped = "striped", Dotted = "dotted" }
);
values!(
    /// The colour of the trousers, which no question asks for.
    Trousers { Navy = "navy", Grey = "grey", Brown = "brown", Moss = "moss", Charcoal = "charcoal" }
);
values!(
    /// What a person does during the whole clip.
    Action {
        Standing = "standing", Waving = "waving", Raising = "raising", Jumping = "jumping", Walking = "walking",
        Sitting = "sitting", Eating = "eating", Dancing = "dancing", Reading = "reading", Clapping = "clapping",
    }
);
values!(
    /// Where a clip takes place.
    Place {
        Kitchen = "kitchen", Park = "park", Office = "office", Beach = "beach", Bedroom = "bedroom",
        Hospital = "hospital", Street = "street", Classroom = "classroom",
    }
);

/// The width of the world that a camera can pan over, in units; a frame shows 64.
pub(super) const WORLD_WIDTH: f32 = 88.0;
/// Where the camera's left edge is without panning.
const CAMERA_REST: f32 = 12.0;
/// The free space to keep around a figure, in units.
const MARGIN: f32 = 1.0;

/// What a person wears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Clothing {
    /// Kind of clothing.
    pub garment: Garment,
    /// Its colour.
    pub colour: ClothColour,
    /// Its pattern; suits are always plain.
    pub pattern: Pattern,
    /// Trousers below it (unseen below a dress).
    pub trousers: Trousers,
}

impl Clothing {
    /// Draws clothes: half of them plain, a quarter striped, a quarter dotted; suits are plain.
    pub fn random(stream: &mut SeededStream) -> Self {
        let garment = Garment::random(stream);
        let colour = ClothColour::random(stream);
        let mut pattern = [Pattern::Plain, Pattern::Plain, Pattern::Striped, Pattern::Dotted][stream.below(4)];
        if garment == Garment::Suit {
            pattern = Pattern::Plain;
        }
        Self { garment, colour, pattern, trousers: Trousers::random(stream) }
    }
}

/// A person as one clip shows them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// Who it is.
    pub identity: Identity,
    /// What they wear.
    pub clothing: Clothing,
    /// What they do.
    pub action: Action,
    /// Centre of the body in the middle of the clip, in units of the world (0 to 88).
    pub x: f32,
    /// Height of the soles, in units of the world.
    pub feet: f32,
    /// Size of the figure; 1 is a height of about 40 units.
    pub scale: f32,
    /// The side of the active hand, or the walking direction: -1 left, 1 right.
    pub side: f32,
    /// Steps of a walking person, in units per frame.
    pub pace: f32,
    /// Where in its cycle the motion starts, in radians.
    pub phase: f32,
    /// How fast the cycle runs, in radians per frame.
    pub speed: f32,
}

/// How a clip is filmed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Left edge of the frame in the middle of the clip, in units of the world.
    pub x: f32,
    /// Top edge of the frame, in units of the world.
    pub y: f32,
    /// Panning, in units per frame.
    pub pan: f32,
    /// Amplitude of the shake, in units.
    pub shake: f32,
    /// Factor on every pixel.
    pub gain: f32,
    /// Factor on each of red, green and blue.
    pub tint: [f32; 3],
    /// Added to every pixel, on the 0 to 255 scale.
    pub offset: f32,
    /// Standard deviation of the pixel noise, on the 0 to 255 scale.
    pub noise: f32,
}

/// What [`Scene::random`] does not draw at random.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SceneOptions {
    /// The place.
    pub place: Option<Place>,
    /// The action of the first of the given people.
    pub action: Option<Action>,
    /// The clothes of the first of the given people.
    pub clothing: Option<Clothing>,
}

/// A whole clip before it is drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// The people from left to right.
    pub people: Vec<Person>,
    /// Where they are.
    pub place: Place,
    /// The line where floor and wall meet, in units of the world.
    pub ground: f32,
    /// How it is filmed.
    pub camera: Camera,
    /// Seeds what is too small to be named: furniture positions, colour jitter, shake, noise.
    pub seed: u64,
}

impl Scene {
    /// Draws a clip of one or two people (further ones are left out); who is on the left is random.
    pub fn random(people: &[Identity], options: SceneOptions, stream: &mut SeededStream) -> Self {
        let people = &people[..people.len().min(2)];
        let pair = people.len() > 1;
        let camera = Camera::random(pair, stream);
        let ground = stream.range(47.0, 53.0);
        let swapped = stream.chance(0.5);
        let mut placed: Vec<Person> = people
            .iter()
            .enumerate()
            .map(|(number, &identity)| {
                let x = match (pair, (number == 0) != swapped) {
                    (false, _) => stream.range(33.0, 55.0),
                    (true, true) => stream.range(28.0, 32.0),
                    (true, false) => stream.range(57.0, 61.0),
                };
                let clothing = Clothing::random(stream);
                let action = Action::random(stream);
                let first = number == 0;
                Person {
                    identity,
                    clothing: options.clothing.filter(|_| first).unwrap_or(clothing),
                    action: options.action.filter(|_| first).unwrap_or(action),
                    x,
                    feet: ground + stream.range(6.0, 10.0),
                    scale: stream.range(0.92, 1.2) * if pair { 0.86 } else { 1.0 },
                    side: if stream.chance(0.5) { 1.0 } else { -1.0 },
                    pace: if pair { 1.0 } else { 2.0 },
                    phase: stream.range(0.0, std::f32::consts::TAU),
                    speed: stream.range(1.3, 2.1),
                }
                .within(&camera)
            })
            .collect();
        placed.sort_by(|one, other| one.x.total_cmp(&other.x));
        let drawn = Place::random(stream);
        Self { people: placed, place: options.place.unwrap_or(drawn), ground, camera, seed: stream.next_seed() }
    }

    /// The same clip with `others` too: all stand side by side in a random order, smaller, in other clothes.
    pub fn with_others(mut self, others: &[Identity], stream: &mut SeededStream) -> Self {
        let mut identities: Vec<Identity> =
            self.people.iter().map(|person| person.identity).chain(others.iter().copied()).collect();
        stream.shuffle(&mut identities);
        let width = 64.0 / identities.len() as f32;
        let place = |(place, identity): (usize, Identity)| {
            Person {
                identity,
                clothing: Clothing::random(stream),
                action: Action::random(stream),
                x: self.camera.x + (place as f32 + 0.5) * width,
                feet: self.ground + stream.range(6.0, 10.0),
                scale: stream.range(0.92, 1.2) * width / 26.0,
                side: if stream.chance(0.5) { 1.0 } else { -1.0 },
                pace: 0.5,
                phase: stream.range(0.0, std::f32::consts::TAU),
                speed: stream.range(1.3, 2.1),
            }
            .within(&self.camera)
        };
        self.people = identities.into_iter().enumerate().map(place).collect();
        self
    }

    /// The place of a person in [`people`](Self::people): 0 is the left one (or the only one).
    pub fn position_of(&self, identity: &Identity) -> Option<usize> {
        self.people.iter().position(|person| person.identity == *identity)
    }
}

impl Person {
    /// Shrinks and moves the figure as little as is needed to keep it inside every frame.
    fn within(mut self, camera: &Camera) -> Self {
        let rise = pose::height(&self);
        // Shoes and their shadow.
        let soles = 2.6;
        self.scale = self.scale.min((64.0 - 2.0 * MARGIN - 2.0 * camera.shake) / (rise + soles));
        let highest = camera.y + camera.shake + MARGIN + rise * self.scale;
        let lowest = camera.y + 64.0 - camera.shake - MARGIN - soles * self.scale;
        self.feet = self.feet.max(highest).min(lowest);

        let half = (FRAMES - 1) as f32 / 2.0;
        let walked = if self.action == Action::Walking { self.pace * self.side } else { 0.0 };
        let drift = (walked - camera.pan).abs() * half + camera.shake;
        let reach = pose::reach(&self);
        let left = camera.x + MARGIN + drift + reach[0] * self.scale;
        let right = camera.x + 64.0 - MARGIN - drift - reach[1] * self.scale;
        self.x = if left < right { self.x.clamp(left, right) } else { (left + right) / 2.0 };
        self
    }
}

impl Camera {
    fn random(pair: bool, stream: &mut SeededStream) -> Self {
        // A pair fills the frame, so the camera has less room than for one person.
        let (start, speed) = if pair { (0.3, 0.3) } else { (0.5, 1.0) };
        let pan = stream.range(-8.0, 8.0) * start;
        let moving = stream.chance(0.6);
        let velocity = stream.range(-0.8, 0.8) * speed;
        let shaken = stream.chance(0.3);
        Self {
            x: CAMERA_REST + pan,
            y: stream.range(-1.0, 4.0),
            pan: if moving { velocity } else { 0.0 },
            shake: if shaken { 0.35 } else { 0.0 },
            gain: stream.range(0.78, 1.12),
            tint: std::array::from_fn(|_| stream.range(0.94, 1.06)),
            offset: stream.range(-12.0, 12.0),
            noise: stream.range(0.0, 4.0),
        }
    }
}

impl ClothColour {
    pub(super) fn colour(self) -> Colour {
        match self {
            Self::Red => Colour(215, 40, 40),
            Self::Blue => Colour(45, 80, 215),
            Self::Green => Colour(40, 150, 60),
            Self::Yellow => Colour(240, 215, 50),
            Self::Purple => Colour(130, 50, 175),
            Self::Orange => Colour(245, 140, 30),
            Self::Black => Colour(35, 35, 40),
            Self::White => Colour(242, 242, 242),
        }
    }
}

impl Trousers {
    pub(super) fn colour(self) -> Colour {
        match self {
            Self::Navy => Colour(48, 56, 92),
            Self::Grey => Colour(112, 112, 118),
            Self::Brown => Colour(98, 70, 50),
            Self::Moss => Colour(78, 86, 58),
            Self::Charcoal => Colour(56, 54, 58),
        }
    }
}
