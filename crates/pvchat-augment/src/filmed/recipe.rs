//! How a clip is made: every random choice, drawn once and written down.

use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

/// The slowest and fastest tempo of a clip, see [`Recipe::tempo`].
pub(super) const SLOWEST: f64 = 0.85;
pub(super) const FASTEST: f64 = 1.2;

/// Everything that is drawn for one clip. Positives and negatives draw from the same distributions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Where the figure's footage begins, as a share of what there is to begin at.
    pub start: f32,
    /// The same for the place.
    pub place_start: f32,
    /// How much faster than filmed the person moves, slower where the footage would end before the clip. Never backwards: what
    /// somebody does stays true.
    pub tempo: f32,
    /// Whether the person is mirrored.
    pub mirror: bool,
    /// Whether the place is mirrored.
    pub place_mirror: bool,
    /// Factor on the size that the place's own person had.
    pub scale: f32,
    /// Moves the person from where the place's own person was, in shares of the picture.
    pub shift: [f32; 2],
    /// The share of the place that is seen.
    pub place_zoom: f32,
    /// Which part of it, 0 to 1 across and down.
    pub place_shift: [f32; 2],
    /// The camera comes closer by this share from the first frame to the last, or goes away where it is negative.
    pub approach: f32,
    /// How far the person's light follows the place's, 0 to 1.
    pub light: f32,
    /// Factors on the colours of the clothes.
    pub clothes: Option<[f32; 3]>,
    /// Factors on the colours of the whole picture.
    pub gain: [f32; 3],
    /// The exponent of its brightness.
    pub gamma: f32,
    /// Whether it is grey.
    pub grey: bool,
    /// How often it is blurred a little.
    pub blur: u32,
    /// The standard deviation of noise in levels.
    pub noise: f32,
    /// Something in front of the person.
    pub occluder: Option<Occluder>,
    /// Black bars above and below (`true`) or beside the picture, each as a share of it.
    pub bars: Option<(bool, f32)>,
    /// The rate factor of H.264: the greater, the worse.
    pub rate_factor: u8,
    /// The seed of the noise.
    pub seed: u64,
}

/// Something in front of the person.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Occluder {
    /// From which side it comes: 0 left, 1 right, 2 below.
    pub side: usize,
    /// How much of the picture it covers.
    pub share: f32,
    /// Its colour.
    pub colour: [u8; 3],
}

impl Recipe {
    /// Draws a recipe. Each choice has a stream of its own, so that one more choice changes no other.
    pub(super) fn draw(stream: &SeededStream) -> Self {
        let of = |label: &str| stream.derive(label);
        let between = |label: &str, low: f32, high: f32| of(label).range(low, high);
        let chance = |label: &str, probability: f32| of(label).chance(probability);
        let brightness = between("gain", 0.85, 1.15);
        let tint = |label: &str| between(label, 0.95, 1.05);
        let dye = |label: &str| between(label, 0.55, 1.3);
        let occluder = || {
            let mut draw = of("occluder");
            let (side, share, dark) = (draw.below(3), draw.range(0.1, 0.22), draw.range(20.0, 140.0f32));
            let colour = std::array::from_fn(|_| (dark * draw.range(0.8, 1.2f32)) as u8);
            Occluder { side, share, colour }
        };
        Self {
            start: of("start").unit(),
            place_start: of("place start").unit(),
            tempo: between("tempo", SLOWEST as f32, FASTEST as f32),
            mirror: chance("mirror", 0.4),
            place_mirror: chance("place mirror", 0.3),
            scale: between("scale", 0.85, 1.2),
            shift: [between("shift across", -0.1, 0.1), between("shift down", -0.06, 0.06)],
            place_zoom: between("place zoom", 0.75, 1.0),
            place_shift: [of("place across").unit(), of("place down").unit()],
            approach: if chance("approaches", 0.3) { between("approach", -0.1, 0.1) } else { 0.0 },
            light: between("light", 0.3, 0.7),
            clothes: chance("clothes", 0.4).then(|| [dye("red dye"), dye("green dye"), dye("blue dye")]),
            gain: [brightness * tint("red"), brightness * tint("green"), brightness * tint("blue")],
            gamma: between("gamma", 0.88, 1.14),
            grey: chance("grey", 0.06),
            blur: u32::from(chance("blur", 0.2)),
            noise: if chance("noisy", 0.3) { between("noise", 1.0, 4.0) } else { 0.0 },
            occluder: chance("occluded", 0.15).then(occluder),
            bars: chance("bars", 0.1).then(|| (chance("bars lie", 0.7), between("bar", 0.05, 0.12))),
            rate_factor: of("rate factor").range(20, 31),
            seed: of("noise seed").next_seed() >> 12,
        }
    }
}

impl Recipe {
    /// The same for a clip that is only cropped and compressed: what else was drawn does not happen to it.
    pub(super) fn untouched(self) -> Self {
        Self {
            place_start: 0.0,
            tempo: 1.0,
            mirror: false,
            place_mirror: false,
            scale: 1.0,
            shift: [0.0; 2],
            place_zoom: 1.0,
            place_shift: [0.0; 2],
            approach: 0.0,
            light: 0.0,
            clothes: None,
            gain: [1.0; 3],
            gamma: 1.0,
            grey: false,
            blur: 0,
            noise: 0.0,
            occluder: None,
            bars: None,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_follows_from_its_stream_and_survives_json() {
        let root = SeededStream::new(3);
        let all: Vec<Recipe> = (0..200).map(|number| Recipe::draw(&root.derive(number))).collect();
        assert_eq!(all[7], Recipe::draw(&root.derive(7)));
        assert_ne!(all[7], all[8]);
        let back: Recipe = serde_json::from_str(&serde_json::to_string(&all[7]).unwrap()).unwrap();
        assert_eq!(back, all[7]);
        let share = |has: fn(&Recipe) -> bool| all.iter().filter(|recipe| has(recipe)).count() as f32 / 200.0;
        assert!((0.05..0.3).contains(&share(|recipe| recipe.occluder.is_some())));
        assert!((0.3..0.5).contains(&share(|recipe| recipe.clothes.is_some())));
        assert!(all.iter().all(|recipe| recipe.tempo > 0.0));
    }
}
