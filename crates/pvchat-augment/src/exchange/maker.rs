//! A training set from one clip in which clips with the person and clips without are made by the same steps.

use image::RgbImage;
use pvchat_data::random::SeededStream;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Cast, Figure, Part, Treatment, compose};
use crate::{Error, PositiveConfig, PositiveMaker, Result};

/// Where the middle of the left one of two people is, as a share of the width; the right one mirrors it.
const LEFT: [f32; 2] = [0.25, 0.31];
/// Factor on the size of either of two people.
const PAIR_SCALE: [f32; 2] = [0.78, 0.95];
/// The L1 distance in red, green and blue beyond which a pixel has changed.
const CHANGED: i32 = 60;
/// What a treatment draws from.
const TREATMENT: &str = "treatment";
/// How often a look-alike is drawn again that hardly differs, before a stranger takes its place.
const REDRAWS: usize = 60;

/// How clips are made. Shares are of the clips with the person and of those without, each of which is half of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExchangeConfig {
    /// Share of clips that are somebody's own clip, varied as positives are.
    pub own_clip: f32,
    /// Share of clips of the person's head on the person's body, and of strangers' heads on that body.
    pub own_body: f32,
    /// Share, of the clips without, of strangers' heads on other strangers' bodies. What is left are look-alikes: the person's
    /// head with a part of a stranger's; with the person, the rest are the person's head on strangers' bodies.
    pub strangers: f32,
    /// Probability of company in a clip that is composed.
    pub company: f32,
    /// The share of pixels that a look-alike has to differ in.
    pub least_change: f32,
    /// How a clip is varied after it was composed; backgrounds are exchanged already.
    pub variation: PositiveConfig,
}

impl Default for ExchangeConfig {
    fn default() -> Self {
        let variation = PositiveConfig { recolour: 0.5, composite: 0.0, ..PositiveConfig::default() };
        Self { own_clip: 0.22, own_body: 0.25, strangers: 0.1, company: 0.3, least_change: 0.01, variation }
    }
}

/// How a clip was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Making {
    /// Somebody's own clip, varied.
    OwnClip,
    /// The person's body with the person's head, or a stranger's.
    OwnBody,
    /// A stranger's body with the person's head, or another stranger's.
    OtherBody,
    /// The person's head with this part of a stranger's.
    LookAlike(Part),
}

/// What kind of composition is made.
#[derive(Clone, Copy)]
enum Kind {
    OwnClip,
    OwnBody,
    OtherBody,
    LookAlike,
}

/// A made clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchanged {
    /// As many frames as the body's clip has.
    pub frames: Vec<RgbImage>,
    /// Whether the person is in it.
    pub present: bool,
    /// How it was made.
    pub making: Making,
    /// Whether a stranger is in the clip too.
    pub company: bool,
    /// What makes it look other than the reference.
    pub treatment: Option<Treatment>,
}

/// Strangers, each alone in a clip, and empty places.
#[derive(Clone, Debug, Default)]
pub struct Strangers {
    figures: Vec<Figure>,
    scenes: Vec<Vec<RgbImage>>,
}

impl Strangers {
    /// Finds the people of `clips`; those that show nobody clearly are left out. All frames of clips and `scenes` are of one size.
    ///
    /// # Errors
    /// Those of [`Figure::find`]; [`Error::NoStrangers`] with fewer than two people or without scenes.
    pub fn find(clips: &[Vec<RgbImage>], scenes: Vec<Vec<RgbImage>>) -> Result<Self> {
        let found: Result<Vec<Option<Figure>>> = clips.par_iter().map(|clip| Figure::find(clip)).collect();
        let figures: Vec<Figure> = found?.into_iter().flatten().collect();
        if figures.len() < 2 || scenes.iter().all(Vec::is_empty) {
            return Err(Error::NoStrangers { clips: clips.len(), ceiling: 1.0 });
        }
        Ok(Self { figures, scenes })
    }

    /// People.
    pub fn len(&self) -> usize {
        self.figures.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.figures.is_empty()
    }
}

/// Makes clips of one person and of strangers alike.
pub struct ExchangeMaker<'a> {
    own: Figure,
    strangers: &'a Strangers,
    config: ExchangeConfig,
}

impl<'a> ExchangeMaker<'a> {
    /// Finds the person of `reference`, whose frames have the size of the strangers'; `None` where nobody stands out clearly.
    ///
    /// # Errors
    /// Those of [`Figure::find`]; [`Error::Setting`] for settings out of range.
    pub fn new(reference: &[RgbImage], strangers: &'a Strangers, config: ExchangeConfig) -> Result<Option<Self>> {
        let shares = [
            ("own_clip", config.own_clip),
            ("own_clip + own_body + strangers", config.own_clip + config.own_body + config.strangers),
            ("company", config.company),
            ("least_change", config.least_change),
        ];
        if let Some((key, value)) = shares.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(Error::Setting { key, value: value.to_string(), expected: "a number from 0 to 1" });
        }
        config.variation.check()?;
        Ok(Figure::find(reference)?.map(|own| Self { own, strangers, config }))
    }

    /// Makes `count` clips, every second one with the person; the `n`-th depends on `stream` and `n` only.
    ///
    /// # Errors
    /// [`Error::FrameSize`] when reference, strangers and scenes are not of one size.
    pub fn make(&self, count: usize, stream: &SeededStream) -> Result<Vec<Exchanged>> {
        self.treat(&(0..count).map(|number| (number, None)).collect::<Vec<_>>(), stream)
    }

    /// Makes the clips of these numbers of [`make`](Self::make) again, each with a treatment or with none.
    ///
    /// # Errors
    /// As [`make`](Self::make).
    pub fn treat(&self, clips: &[(usize, Option<Treatment>)], stream: &SeededStream) -> Result<Vec<Exchanged>> {
        let one = |&(number, treatment): &(usize, Option<Treatment>)| {
            self.clip(number.is_multiple_of(2), treatment, &mut stream.derive(format_args!("clip {number}")))
        };
        clips.par_iter().map(one).collect()
    }

    /// Makes one clip with the person or without. What kind it is of is drawn once, so that a look-alike that does not differ
    /// enough is followed by another look-alike, and the kinds keep their shares.
    fn clip(&self, present: bool, treatment: Option<Treatment>, stream: &mut SeededStream) -> Result<Exchanged> {
        let config = &self.config;
        let mut left = stream.unit();
        let mut falls = |share: f32| {
            left -= share;
            left < 0.0
        };
        let kind = match (falls(config.own_clip), falls(config.own_body), present || falls(config.strangers)) {
            (true, ..) if treatment.is_some_and(Treatment::is_composed) => Kind::OwnClip,
            (true, ..) => return self.own_clip(present, treatment, stream),
            (_, true, _) => Kind::OwnBody,
            (.., true) => Kind::OtherBody,
            _ => Kind::LookAlike,
        };
        let company = stream.chance(config.company);
        for _ in 0..REDRAWS {
            if let Some(made) = self.draw(present, kind, company, treatment, stream)? {
                return Ok(made);
            }
        }
        // No stranger differs enough in any part.
        Ok(match self.draw(present, Kind::OtherBody, company, treatment, stream)? {
            Some(made) => made,
            None => self.own_clip(present, treatment, stream)?,
        })
    }

    /// The person's own clip or a stranger's.
    fn own_clip(&self, present: bool, treatment: Option<Treatment>, stream: &mut SeededStream) -> Result<Exchanged> {
        let figure = if present { &self.own } else { self.stranger(stream) };
        let mut frames =
            PositiveMaker::new(&figure.frames, &self.strangers.scenes, PositiveConfig::default())?.draw(stream).frames;
        if let Some(treatment) = treatment {
            treatment.finish(&mut frames, &mut stream.derive(TREATMENT));
        }
        Ok(Exchanged { frames, present, making: Making::OwnClip, company: false, treatment })
    }

    /// Draws a composed clip; `None` where a part of the head would change too little.
    fn draw(
        &self,
        present: bool,
        kind: Kind,
        company: bool,
        treatment: Option<Treatment>,
        stream: &mut SeededStream,
    ) -> Result<Option<Exchanged>> {
        let config = &self.config;
        // What a treatment draws changes nothing of what the clip shows without it.
        let mut own_stream = stream.derive(TREATMENT);
        let (one, two) = (self.stranger(stream), self.stranger(stream));
        let (body, head, other) = match (kind, present) {
            (Kind::OwnClip | Kind::OwnBody, true) => (&self.own, &self.own, None),
            (Kind::OwnClip, false) => (one, one, None),
            (Kind::OwnBody, false) => (&self.own, one, None),
            (Kind::OtherBody, true) => (two, &self.own, None),
            (Kind::OtherBody, false) => (two, one, None),
            (Kind::LookAlike, _) => {
                let part = Part::ALL[stream.below(Part::ALL.len())];
                (if stream.chance(0.5) { &self.own } else { two }, &self.own, Some((part, one)))
            }
        };
        let making = match (other, kind) {
            (Some((part, _)), _) => Making::LookAlike(part),
            (None, Kind::OwnClip) => Making::OwnClip,
            (None, Kind::OwnBody) => Making::OwnBody,
            (None, _) => Making::OtherBody,
        };
        let scene = &self.strangers.scenes[stream.below(self.strangers.scenes.len())];
        let place = stream.range(LEFT[0], LEFT[1]);
        let place = if stream.chance(0.5) { place } else { 1.0 - place };
        let mut scale = stream.range(PAIR_SCALE[0], PAIR_SCALE[1]);
        // Where the others stand, and how large.
        let mut beside = Vec::new();
        let placed = match treatment {
            Some(Treatment::Crowd) => {
                let mut places = Treatment::places(&mut own_stream);
                scale = places.scale;
                let own = places.middles.pop().unwrap_or(0.5);
                beside.extend(places.middles.into_iter().map(|middle| (scale, middle)));
                Some(body.standing(scale, own))
            }
            Some(Treatment::Small) => {
                let factor = Treatment::size(&mut own_stream);
                scale = if company { scale * factor } else { factor };
                let own = if company { place } else { own_stream.range(0.3, 0.7) };
                beside.extend(company.then(|| (own_stream.range(PAIR_SCALE[0], PAIR_SCALE[1]) * factor, 1.0 - place)));
                Some(body.standing(scale, own))
            }
            _ if company => Some(body.placed(scale, place)),
            _ => {
                scale = 1.0;
                None
            }
        };
        let standing = treatment.is_some_and(|treatment| matches!(treatment, Treatment::Crowd | Treatment::Small));
        let body = placed.as_ref().unwrap_or(body);
        let cast = Cast { body, head, other };
        let Some(mut frames) = compose(cast, scene) else { return Ok(None) };
        if other.is_some() {
            let whole = compose(Cast { other: None, ..cast }, scene).unwrap_or_default();
            // A head that is smaller has fewer pixels.
            if changed(&frames, &whole) < config.least_change * scale * scale {
                return Ok(None);
            }
        }
        let cover = |frames: &mut [RgbImage], body: &Figure, stream: &mut SeededStream| {
            if treatment == Some(Treatment::Covered) {
                body.cover(frames, stream);
            }
        };
        cover(&mut frames, body, &mut own_stream);
        let mut variation = config.variation.clone();
        if company && !standing {
            beside.push((0.0, 1.0 - place));
        }
        for (size, middle) in beside {
            let (body, head) = (self.stranger(stream), self.stranger(stream));
            let beside = match standing {
                true => body.standing(size, middle),
                false => body.placed(stream.range(PAIR_SCALE[0], PAIR_SCALE[1]), middle),
            };
            let Some(both) = compose(Cast { body: &beside, head, other: None }, &frames) else { return Ok(None) };
            frames = both;
            cover(&mut frames, &beside, &mut own_stream);
            // Clothes are looked for on the lone person of a clip, and there is no room to move.
            variation.recolour = 0.0;
            variation.shift = config.variation.shift.map(|share| share / 3.0);
        }
        if treatment == Some(Treatment::Half) {
            for place in Treatment::empty(frames.len(), &mut own_stream) {
                frames[place] = scene[place % scene.len()].clone();
            }
            // A frame without anybody could become the whole clip.
            (variation.recolour, variation.reverse, variation.freeze, variation.resample) = (0.0, 0.0, 0.0, 0.0);
        }
        let mut frames = PositiveMaker::new(&frames, &[], variation)?.draw(stream).frames;
        if let Some(treatment) = treatment {
            treatment.finish(&mut frames, &mut own_stream);
        }
        Ok(Some(Exchanged { frames, present, making, company, treatment }))
    }

    fn stranger(&self, stream: &mut SeededStream) -> &'a Figure {
        &self.strangers.figures[stream.below(self.strangers.figures.len())]
    }
}

/// The share of pixels that differ clearly.
fn changed(one: &[RgbImage], other: &[RgbImage]) -> f32 {
    let pairs = || one.iter().zip(other).flat_map(|(one, other)| one.pixels().zip(other.pixels()));
    let apart = |a: &image::Rgb<u8>, b: &image::Rgb<u8>| a.0.iter().zip(b.0).map(|(&a, b)| i32::from(a.abs_diff(b))).sum::<i32>();
    pairs().filter(|(a, b)| apart(a, b) > CHANGED).count() as f32 / pairs().count().max(1) as f32
}
