//! Two people, each from their own clip, side by side in one clip.

use image::{GrayImage, RgbImage};
use pvchat_data::random::SeededStream;

use crate::foreground::centre_column;
use crate::pixels::{self, Movement};
use crate::positives::{PositiveMaker, Step};

/// A clip with two people who were never filmed together.
#[derive(Clone, Debug, PartialEq)]
pub struct Together {
    /// As many frames as the references have, of their size.
    pub frames: Vec<RgbImage>,
    /// Which of the two makers' people is on the left: 0 or 1.
    pub left: usize,
    /// What was done with either person before they were put together, in the order of the makers.
    pub steps: [Vec<Step>; 2],
    /// Which of the scenes they are in.
    pub scene: usize,
}

/// Where the left person's middle is, as a share of the width; the right one mirrors it.
const LEFT: [f32; 2] = [0.25, 0.31];
/// Factor on the size of either person: two fill a frame that was made for one.
const SCALE: [f32; 2] = [0.8, 1.0];
/// Greatest shift up or down, as a share of the height.
const RISE: f32 = 2.0 / 64.0;

/// Puts the people of two references side by side in front of one of `scenes`, each changed as a positive of its own would
/// be; the light is drawn for both together. The references and scenes are of one size.
///
/// `None` when one of the people was not found in its reference, or there is no scene.
pub fn side_by_side(makers: [&PositiveMaker; 2], scenes: &[Vec<RgbImage>], stream: &mut SeededStream) -> Option<Together> {
    let scene = (!scenes.is_empty()).then(|| stream.below(scenes.len()))?;
    let left = stream.below(2);
    let place = stream.range(LEFT[0], LEFT[1]);
    let mut steps: [Vec<Step>; 2] = Default::default();
    let mut people: Vec<(Vec<RgbImage>, Vec<GrayImage>)> = Vec::with_capacity(2);
    for (number, maker) in makers.into_iter().enumerate() {
        let mut its = maker.steps(false, stream);
        its.retain(|step| !matches!(step, Step::Moved { .. } | Step::Toned { .. }));
        let (frames, masks) = maker.carry_out(&its);
        if masks.is_empty() {
            return None;
        }
        let (width, height) = frames.first()?.dimensions();
        let middle = masks.iter().map(centre_column).sum::<f32>() / masks.len() as f32;
        let target = if number == left { place } else { 1.0 - place } * width as f32;
        let scale = stream.range(SCALE[0], SCALE[1]);
        // The movement scales about the frame's centre and shifts then.
        let centre = (width as f32 - 1.0) / 2.0;
        let shift = [target - (centre + (middle - centre) * scale), stream.range(-RISE, RISE) * height as f32];
        let movement = Movement::new(width, height, scale, shift);
        people.push((
            frames.iter().map(|frame| movement.frame(frame)).collect(),
            masks.iter().map(|mask| movement.mask(mask)).collect(),
        ));
        its.push(Step::Moved { scale, shift });
        steps[number] = its;
    }
    let [(first, first_masks), (second, second_masks)] = people.as_slice() else { return None };
    let light = makers[0].toned(stream);
    let frames = scenes[scene]
        .iter()
        .cycle()
        .zip(first.iter().zip(first_masks))
        .zip(second.iter().zip(second_masks))
        .map(|((behind, (one, one_mask)), (other, other_mask))| {
            let mut frame = pixels::composite(other, other_mask, &pixels::composite(one, one_mask, behind));
            if let Step::Toned { factors, offset } = light {
                pixels::tone(&mut frame, factors, offset);
            }
            frame
        })
        .collect();
    steps.iter_mut().for_each(|its| its.push(light.clone()));
    Some(Together { frames, left, steps, scene })
}
