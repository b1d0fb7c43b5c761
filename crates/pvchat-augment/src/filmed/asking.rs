//! Asks about all clips, and has the positives described.

use std::path::Path;

use image::{RgbImage, imageops};
use pvchat_data::{QaKind, random::SeededStream};

use super::{
    ClipRecord, Describe, Eyes, FaceSeen, PersonClip, PersonSeen, Refine, Request, ShownClip, Stage,
    ask::{Asked, Questions, ask, described},
    cosine,
    facts::is_faithful,
    maker::read_clip,
    manifest::{MAKING_VERSION, Store},
    workers::Monitor,
};
use crate::{Error, Result};

/// How often a sentence is rewritten until it says what it said.
const REFINED: usize = 3;

/// Asks about all clips, about one of the people after another.
#[expect(clippy::too_many_arguments, reason = "one call, of what the run has at hand")]
pub(super) fn questions(
    request: &Request<'_>,
    records: &[ClipRecord],
    eyes: &dyn Eyes,
    store: &Store,
    mut describer: Option<&mut dyn Describe>,
    stream: &SeededStream,
    monitor: &Monitor<'_>,
    out: &Path,
) -> Result<Vec<Questions>> {
    let options = request.options;
    let shown = |person: &PersonClip<'_>| records.iter().filter(|clip| clip.shows(person.name)).count();
    let total = match describer {
        Some(_) => described(options).len() * options.descriptions * request.people.iter().map(shown).sum::<usize>(),
        None => 1,
    };
    monitor.begin(Stage::Asking, total)?;
    // Among several people the template says who is meant.
    let is_several = request.people.len() > 1;
    let mut all = Vec::with_capacity(request.people.len());
    for (number, person) in request.people.iter().enumerate() {
        let clips: Vec<Asked<'_>> = records
            .iter()
            .map(|clip| Asked { name: &clip.name, half: clip.half, is_positive: clip.shows(person.name) })
            .collect();
        let subject = person.name.to_string();
        let stream = match number {
            0 => stream.derive("questions"),
            number => stream.derive(format!("questions {number}")),
        };
        let Some(describer) = describer.as_deref_mut() else {
            all.push(ask(&clips, &subject, options, &stream, None)?);
            continue;
        };
        let name = describer.name();
        let mut shown: Option<(usize, Vec<RgbImage>, Vec<f64>, RgbImage)> = None;
        let mut describe = |place: usize, kind: QaKind, question: &str| {
            let clip = &records[place];
            let key = format!("{MAKING_VERSION} {} {name} {subject} {kind} {question}", clip.key);
            let answer = store.get(
                "answers",
                &key,
                |_: &Option<String>| true,
                || {
                    if shown.as_ref().is_none_or(|(known, ..)| *known != place) {
                        let (frames, seconds) = read_clip(&out.join(&clip.file), f64::from(options.rate), options.size)?;
                        let alone = alone(&frames[frames.len() / 2], is_several.then_some(person.template), eyes)?;
                        shown = Some((place, frames, seconds, alone));
                    }
                    let Some((_, frames, seconds, person)) = &shown else { return Ok(None) };
                    let clip = ShownClip { key: &clip.key, frames, seconds, person };
                    let said = describer.describe(&clip, kind, question, &subject).map_err(Error::Describer)?;
                    // A sentence that does not name the person would teach nothing about it.
                    Ok(said.map(|said| said.trim().to_string()).filter(|said| said.contains(&subject)))
                },
            )?;
            let answer = match (request.refiner, answer) {
                (Some(refiner), Some(said)) => Some(refined(refiner, store, question, said, &subject)?),
                (_, answer) => answer,
            };
            monitor.step(Stage::Asking, total)?;
            Ok(answer)
        };
        all.push(ask(&clips, &subject, options, &stream, Some(&mut describe))?);
    }
    Ok(all)
}

/// A sentence as the refiner rewrote it; as it was, where every attempt says something else.
fn refined(refiner: &dyn Refine, store: &Store, question: &str, said: String, subject: &str) -> Result<String> {
    let key = format!("{MAKING_VERSION} {} {subject} {question} {said}", refiner.name());
    let rewritten = store.get(
        "refined",
        &key,
        |_: &Option<String>| true,
        || {
            for attempt in 0..REFINED {
                let rewritten = refiner.refine(question, &said, subject, attempt).map_err(Error::Describer)?;
                if is_faithful(&said, rewritten.trim(), subject) {
                    return Ok(Some(rewritten.trim().to_string()));
                }
            }
            Ok(None)
        },
    )?;
    Ok(rewritten.unwrap_or(said))
}

/// The part of a picture with the body below a face, which ends halfway to the faces beside it; left, top, right, bottom.
fn around([left, top, right, bottom]: [f32; 4], others: impl Iterator<Item = [f32; 4]>) -> [f32; 4] {
    let (across, down) = (right - left, bottom - top);
    let mut part = [left - 1.3 * across, top - 0.6 * down, right + 1.3 * across, bottom + 5.5 * down];
    for [begin, _, end, _] in others {
        if (begin + end) < (left + right) {
            part[0] = part[0].max((end + left) / 2.0).min(left);
        } else {
            part[2] = part[2].min((begin + right) / 2.0).max(right);
        }
    }
    part
}

/// The person of a picture alone, with the body: of several who are seen, the one most like the template, or the largest.
fn alone(frame: &RgbImage, template: Option<&[f32]>, eyes: &dyn Eyes) -> Result<RgbImage> {
    let people = eyes.people(std::slice::from_ref(frame), &[0.0]).map_err(Error::Eyes)?;
    let alike = |person: &PersonSeen| person.embedding.as_deref().zip(template).map_or(-1.0, |(seen, to)| cosine(seen, to));
    let largest = |person: &PersonSeen| person.faces.iter().map(FaceSeen::width).fold(0.0, f32::max);
    let order = |one: &&PersonSeen, other: &&PersonSeen| {
        alike(one).total_cmp(&alike(other)).then(largest(one).total_cmp(&largest(other)))
    };
    let Some(person) = people.iter().max_by(order) else { return Ok(frame.clone()) };
    let Some(face) = person.faces.iter().max_by(|a, b| a.width().total_cmp(&b.width())) else {
        return Ok(frame.clone());
    };
    let others = people.iter().filter(|other| !std::ptr::eq(*other, person)).flat_map(|other| &other.faces);
    let [left, top, right, bottom] = around(face.bounds, others.map(|other| other.bounds));
    let inside = |value: f32, most: u32| value.clamp(0.0, most as f32) as u32;
    let (left, right) = (inside(left, frame.width()), inside(right, frame.width()));
    let (top, bottom) = (inside(top, frame.height()), inside(bottom, frame.height()));
    Ok(imageops::crop_imm(frame, left, top, right.max(left + 1) - left, bottom.max(top + 1) - top).to_image())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_shown_up_to_halfway_to_the_next_face() {
        let face = [40.0, 20.0, 60.0, 44.0];
        let close = |part: [f32; 4], expected: [f32; 4]| part.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-3);
        assert!(close(around(face, [].into_iter()), [14.0, 5.6, 86.0, 176.0]));
        let beside = [[70.0, 18.0, 92.0, 44.0], [0.0, 20.0, 20.0, 44.0]];
        assert!(close(around(face, beside.into_iter()), [30.0, 5.6, 65.0, 176.0]));
        // Somebody far away cuts nothing off, and a face in front of this one leaves the whole face.
        assert!(close(around(face, [[150.0, 20.0, 170.0, 44.0]].into_iter()), [14.0, 5.6, 86.0, 176.0]));
        assert!(close(around(face, [[52.0, 30.0, 74.0, 50.0]].into_iter()), [14.0, 5.6, 60.0, 176.0]));
    }
}
