//! Clips that a character is learned from.

use image::RgbImage;
use pvchat::{
    Pvchat, Shot, SubjectName,
    augment::{
        exchange::{ExchangeConfig, ExchangeMaker, Exchanged, Strangers},
        questions::{self, Aspect},
    },
    data::{QaKind, QaPair, random::SeededStream},
};
use pvchat_examples::examination::Outcome;

use crate::seen::{cosine, read_outs};

/// What every character is called.
pub const NAME: &str = "<Aa>";
/// Clips of one person and of these strangers.
pub fn made_with(
    strangers: &Strangers,
    reference: &[RgbImage],
    config: ExchangeConfig,
    count: usize,
    stream: &SeededStream,
) -> Outcome<Vec<Exchanged>> {
    let maker = ExchangeMaker::new(reference, strangers, config)?.ok_or("nobody stands out in the reference")?;
    Ok(maker.make(count, stream)?)
}

/// What clips of a character are drawn from.
pub fn made_stream(character: usize) -> SeededStream {
    SeededStream::new(character as u64).derive("made")
}

/// What is learned from: made clips with the character that still resemble the reference, and all without. The second number is
/// how many were dropped.
pub fn gated(pvchat: &Pvchat, reference: &[RgbImage], made: Vec<Exchanged>, least: f32) -> Outcome<(Vec<Shot>, usize)> {
    let own = read_outs(&pvchat.see(reference)?.memory).swap_remove(0);
    let (mut shots, mut dropped) = (Vec::with_capacity(made.len()), 0);
    for clip in made {
        if clip.present {
            let seen = read_outs(&pvchat.see(&clip.frames)?.memory);
            if seen.iter().map(|other| cosine(&own, other)).fold(f32::NEG_INFINITY, f32::max) < least {
                dropped += 1;
                continue;
            }
        }
        shots.push(shot(clip));
    }
    Ok((shots, dropped))
}

fn shot(made: Exchanged) -> Shot {
    let pairs = asked(NAME, made.present);
    Shot { frames: made.frames, seconds: Vec::new(), duration: 1.0, present: made.present, pairs }
}

fn asked(name: &str, present: bool) -> Vec<QaPair> {
    let (question, answer) = (questions::question(Aspect::Existence, 0, name), questions::existence_answer(name, present));
    vec![QaPair::new(QaKind::Existence, question, answer)]
}

/// What one of several people is learned from: the own clips, and some with each of the others, in which the person is not.
pub fn about(person: usize, own: &[Vec<Shot>], names: &[SubjectName]) -> Vec<Shot> {
    let name = names[person].to_string();
    let mut shots: Vec<Shot> = own[person].clone();
    for others in own.iter().enumerate().filter(|(other, _)| *other != person).map(|(_, shots)| shots) {
        let present = || others.iter().filter(|shot| shot.present);
        let every = present().count() * 4 * (own.len() - 1) / own[person].len().max(1);
        shots.extend(present().step_by(every.max(1)).map(|shot| Shot { present: false, ..shot.clone() }));
    }
    shots.iter_mut().for_each(|shot| shot.pairs = asked(&name, shot.present));
    shots
}
