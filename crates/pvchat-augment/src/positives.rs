//! Positives: other clips of the same person, made from the one reference clip.
//!
//! A positive is a list of random [`Step`]s carried out on the reference. The identity must not change; the caller checks this,
//! see [`PositiveMaker::positives`].

use image::{GrayImage, RgbImage, imageops};
use pvchat_data::random::SeededStream;
use rayon::prelude::*;
use serde::Serialize;

use crate::foreground::{check_sizes, person_masks, plausible};
use crate::pixels::{self, Movement};
use crate::{Error, Failure, PositiveConfig, Result};

/// One change on the way from the reference to a positive, with everything that is needed to repeat it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Other colours below half the person's height.
    Recoloured {
        /// Added to the hue, in degrees.
        hue: f32,
        /// Factor on the saturation.
        saturation: f32,
        /// Factor on the value.
        value: f32,
    },
    /// Played backwards.
    Reversed,
    /// One frame repeated.
    Frozen {
        /// The frame.
        frame: usize,
    },
    /// Some frames repeated, others left out.
    Resampled {
        /// The frame shown at each time, ascending.
        frames: Vec<usize>,
    },
    /// Left and right exchanged.
    Mirrored,
    /// Scaled about the centre and shifted, the edge repeated.
    Moved {
        /// Factor on the size.
        scale: f32,
        /// Shift to the right and down, in pixels.
        shift: [f32; 2],
    },
    /// The person in front of another background.
    Composited {
        /// Which of the scenes.
        scene: usize,
    },
    /// Other light.
    Toned {
        /// Factor on each of red, green and blue.
        factors: [f32; 3],
        /// Added afterwards, on the 0 to 255 scale.
        offset: f32,
    },
}

/// A clip of the learned person made from the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Positive {
    /// As many frames as the reference has, of its size.
    pub frames: Vec<RgbImage>,
    /// What was done, in this order.
    pub steps: Vec<Step>,
}

/// What [`PositiveMaker::positives`] made.
#[derive(Clone, Debug, PartialEq)]
pub struct Positives {
    /// The positives, as many as were asked for.
    pub positives: Vec<Positive>,
    /// How many first draws the self-check rejected.
    pub rejected: usize,
    /// How many places are taken by the reference with other light, which no check judged.
    pub last_resort: usize,
}

/// Makes positives of one reference clip.
pub struct PositiveMaker {
    reference: Vec<RgbImage>,
    /// One per frame of the reference; `None` when they are not plausible.
    masks: Option<Vec<GrayImage>>,
    scenes: Vec<Vec<RgbImage>>,
    config: PositiveConfig,
}

impl PositiveMaker {
    /// Finds the person in the reference and keeps the stock `scenes`: clips without people, of the reference's frame
    /// size. A scene with fewer frames than the reference is repeated. Without scenes nothing is composited.
    ///
    /// # Errors
    /// [`Error::NoFrames`], [`Error::EmptyFrame`], [`Error::FrameSize`], [`Error::Setting`].
    pub fn new(reference: &[RgbImage], scenes: &[Vec<RgbImage>], config: PositiveConfig) -> Result<Self> {
        config.check()?;
        let size = reference.first().map(RgbImage::dimensions);
        check_sizes(reference, "the reference", size)?;
        for (number, scene) in scenes.iter().enumerate() {
            check_sizes(scene, &format!("scene {number}"), size)?;
        }
        let masks = Some(person_masks(reference)?).filter(|masks| plausible(masks, config.area[0]..=config.area[1]));
        Ok(Self { reference: reference.to_vec(), masks, scenes: scenes.to_vec(), config })
    }

    /// Whether the person was found, so that clothes can be recoloured and backgrounds exchanged.
    pub fn found_person(&self) -> bool {
        self.masks.is_some()
    }

    /// Draws one positive.
    pub fn draw(&self, stream: &mut SeededStream) -> Positive {
        self.apply(self.steps(true, stream))
    }

    /// Makes `count` positives that `accept` agrees with.
    ///
    /// `accept` is shown positives and says for each whether it still shows the person (the miniature compares identity
    /// embeddings). What it rejects is drawn again without another background, for a broken mask is the usual cause, and
    /// shown again, up to [`PositiveConfig::redraws`] times; the reference with other light fills what is left.
    ///
    /// # Errors
    /// [`Error::SelfCheck`] when `accept` fails, [`Error::Verdicts`] when it returns another number of verdicts.
    pub fn positives(
        &self,
        count: usize,
        stream: &mut SeededStream,
        mut accept: impl FnMut(&[Positive]) -> std::result::Result<Vec<bool>, Failure>,
    ) -> Result<Positives> {
        let mut positives = self.apply_all((0..count).map(|_| self.steps(true, stream)).collect());
        let mut open = rejected(&positives, &mut accept)?;
        let first_rejected = open.len();
        for _ in 0..self.config.redraws {
            if open.is_empty() {
                break;
            }
            let redrawn = self.apply_all(open.iter().map(|_| self.steps(false, stream)).collect());
            let still = rejected(&redrawn, &mut accept)?;
            let mut next = Vec::with_capacity(still.len());
            for (number, (place, positive)) in open.into_iter().zip(redrawn).enumerate() {
                if still.contains(&number) {
                    next.push(place);
                } else {
                    positives[place] = positive;
                }
            }
            open = next;
        }
        for &place in &open {
            positives[place] = self.apply(vec![self.toned(stream)]);
        }
        Ok(Positives { positives, rejected: first_rejected, last_resort: open.len() })
    }

    /// Draws what to do.
    pub(crate) fn steps(&self, exchange_background: bool, stream: &mut SeededStream) -> Vec<Step> {
        let config = &self.config;
        let count = self.reference.len();
        let mut steps = Vec::new();
        if stream.chance(config.recolour) && self.masks.is_some() {
            let mut within = |[least, greatest]: [f32; 2]| stream.range(least, greatest);
            let (hue, saturation, value) = (within(config.hue), within(config.saturation), within(config.value));
            steps.push(Step::Recoloured { hue, saturation, value });
        }
        if stream.chance(config.reverse) {
            steps.push(Step::Reversed);
        }
        let pace = stream.unit();
        if pace < config.freeze {
            steps.push(Step::Frozen { frame: stream.below(count) });
        } else if pace < config.freeze + config.resample {
            let mut frames: Vec<usize> = (0..count).map(|_| stream.below(count)).collect();
            frames.sort_unstable();
            steps.push(Step::Resampled { frames });
        }
        if stream.chance(config.mirror) {
            steps.push(Step::Mirrored);
        }
        let (width, height) = self.reference[0].dimensions();
        let scale = stream.range(config.scale[0], config.scale[1]);
        let mut shift = |share: f32, side: u32| stream.range(-share, share) * side as f32;
        steps.push(Step::Moved { scale, shift: [shift(config.shift[0], width), shift(config.shift[1], height)] });
        let exchange_background = exchange_background && self.masks.is_some() && !self.scenes.is_empty();
        if exchange_background && stream.chance(config.composite) {
            steps.push(Step::Composited { scene: stream.below(self.scenes.len()) });
        }
        steps.push(self.toned(stream));
        steps
    }

    /// Draws other light.
    pub(crate) fn toned(&self, stream: &mut SeededStream) -> Step {
        let PositiveConfig { gain, tint, offset, .. } = self.config;
        let gain = stream.range(gain[0], gain[1]);
        let factors = std::array::from_fn(|_| gain * (1.0 + stream.range(-tint, tint)));
        Step::Toned { factors, offset: stream.range(-offset, offset) }
    }

    fn apply_all(&self, plans: Vec<Vec<Step>>) -> Vec<Positive> {
        plans.into_par_iter().map(|steps| self.apply(steps)).collect()
    }

    fn apply(&self, steps: Vec<Step>) -> Positive {
        Positive { frames: self.carry_out(&steps).0, steps }
    }

    /// Carries the steps out on the reference and its masks; those that need masks do nothing without them.
    pub(crate) fn carry_out(&self, steps: &[Step]) -> (Vec<RgbImage>, Vec<GrayImage>) {
        let mut frames = self.reference.clone();
        let mut masks = self.masks.clone().unwrap_or_default();
        let (width, height) = self.reference[0].dimensions();
        for step in steps {
            match step {
                &Step::Recoloured { hue, saturation, value } => {
                    for (frame, mask) in frames.iter_mut().zip(&masks) {
                        pixels::recolour(frame, mask, hue, saturation, value);
                    }
                }
                Step::Reversed => {
                    frames.reverse();
                    masks.reverse();
                }
                &Step::Frozen { frame } => {
                    let all = vec![frame; frames.len()];
                    (frames, masks) = (pick(&frames, &all), pick(&masks, &all));
                }
                Step::Resampled { frames: order } => (frames, masks) = (pick(&frames, order), pick(&masks, order)),
                Step::Mirrored => {
                    frames.iter_mut().for_each(imageops::flip_horizontal_in_place);
                    masks.iter_mut().for_each(imageops::flip_horizontal_in_place);
                }
                &Step::Moved { scale, shift } => {
                    let movement = Movement::new(width, height, scale, shift);
                    frames = frames.iter().map(|frame| movement.frame(frame)).collect();
                    masks = masks.iter().map(|mask| movement.mask(mask)).collect();
                }
                &Step::Composited { scene } => {
                    let scene = self.scenes[scene].iter().cycle();
                    for ((frame, mask), scene) in frames.iter_mut().zip(&masks).zip(scene) {
                        *frame = pixels::composite(frame, mask, scene);
                    }
                }
                &Step::Toned { factors, offset } => {
                    frames.iter_mut().for_each(|frame| pixels::tone(frame, factors, offset));
                }
            }
        }
        (frames, masks)
    }
}

/// One frame repeated `count` times, as the clips of the first training stage show it.
///
/// The middle frame is taken, so that clips of any length can be used; no frames give no clip.
pub fn image_clip(frames: &[RgbImage], count: usize) -> Vec<RgbImage> {
    frames.get(frames.len() / 2).map(|frame| vec![frame.clone(); count]).unwrap_or_default()
}

/// The items at these places; places beyond the end are left out.
fn pick<T: Clone>(items: &[T], places: &[usize]) -> Vec<T> {
    places.iter().filter_map(|&place| items.get(place).cloned()).collect()
}

/// The places of the positives that `accept` says no to.
fn rejected(
    positives: &[Positive],
    accept: &mut impl FnMut(&[Positive]) -> std::result::Result<Vec<bool>, Failure>,
) -> Result<Vec<usize>> {
    let verdicts = accept(positives).map_err(Error::SelfCheck)?;
    if verdicts.len() != positives.len() {
        return Err(Error::Verdicts { shown: positives.len(), returned: verdicts.len() });
    }
    Ok(verdicts.iter().enumerate().filter(|(_, good)| !**good).map(|(place, _)| place).collect())
}
