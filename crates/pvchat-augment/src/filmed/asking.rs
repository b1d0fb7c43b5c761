//! Asks about all clips, and has the positives described.

use std::path::Path;

use image::{RgbImage, imageops};
use pvchat_data::random::SeededStream;

use super::{
    ClipRecord, Describe, Eyes, Refine, Request, ShownClip, Stage,
    ask::{Asked, Pair, ask, described},
    facts::is_faithful,
    maker::read_clip,
    manifest::{MAKING_VERSION, Store},
    workers::Monitor,
};
use crate::{Error, Result};

/// How often a sentence is rewritten until it says what it said.
const REFINED: usize = 3;

/// Asks about all clips.
#[expect(clippy::too_many_arguments, reason = "one call, of what the run has at hand")]
pub(super) fn questions(
    request: &Request<'_>,
    records: &[ClipRecord],
    eyes: &dyn Eyes,
    store: &Store,
    describer: Option<&mut dyn Describe>,
    stream: &SeededStream,
    monitor: &Monitor<'_>,
    out: &Path,
) -> Result<Vec<Vec<Pair>>> {
    let options = request.options;
    let clips: Vec<Asked<'_>> =
        records.iter().map(|clip| Asked { name: &clip.name, half: clip.half, is_positive: clip.positive }).collect();
    let subject = request.name.to_string();
    let stream = stream.derive("questions");
    let Some(describer) = describer else {
        monitor.begin(Stage::Asking, 1)?;
        return ask(&clips, &subject, options, &stream, None);
    };
    let total = described(options).len() * options.descriptions * records.iter().filter(|clip| clip.positive).count();
    monitor.begin(Stage::Asking, total)?;
    let name = describer.name();
    let mut shown: Option<(usize, Vec<RgbImage>, Vec<f64>, RgbImage)> = None;
    let mut describe = |place: usize, question: &str| {
        let clip = &records[place];
        let key = format!("{MAKING_VERSION} {} {name} {subject} {question}", clip.key);
        let answer = store.get(
            "answers",
            &key,
            |_: &Option<String>| true,
            || {
                if shown.as_ref().is_none_or(|(known, ..)| *known != place) {
                    let (frames, seconds) = read_clip(&out.join(&clip.file), f64::from(options.rate), options.size)?;
                    let person = alone(&frames[frames.len() / 2], eyes)?;
                    shown = Some((place, frames, seconds, person));
                }
                let Some((_, frames, seconds, person)) = &shown else { return Ok(None) };
                let clip = ShownClip { key: &clip.key, frames, seconds, person };
                let said = describer.describe(&clip, question, &subject).map_err(Error::Describer)?;
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
    ask(&clips, &subject, options, &stream, Some(&mut describe))
}

/// A sentence as the refiner rewrote it; as it was, where every attempt says something else.
fn refined(refiner: &dyn Refine, store: &Store, question: &str, said: String, subject: &str) -> Result<String> {
    let key = format!("{} {subject} {question} {said}", refiner.name());
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

/// The person of a picture alone, with the body.
fn alone(frame: &RgbImage, eyes: &dyn Eyes) -> Result<RgbImage> {
    let people = eyes.people(std::slice::from_ref(frame), &[0.0]).map_err(Error::Eyes)?;
    let Some(face) = people.iter().flat_map(|person| &person.faces).max_by(|a, b| a.width().total_cmp(&b.width())) else {
        return Ok(frame.clone());
    };
    let [left, top, right, bottom] = face.bounds;
    let (across, down) = (right - left, bottom - top);
    let inside = |value: f32, most: u32| value.clamp(0.0, most as f32) as u32;
    let (left, right) = (inside(left - 1.3 * across, frame.width()), inside(right + 1.3 * across, frame.width()));
    let (top, bottom) = (inside(top - 0.6 * down, frame.height()), inside(bottom + 5.5 * down, frame.height()));
    Ok(imageops::crop_imm(frame, left, top, right.max(left + 1) - left, bottom.max(top + 1) - top).to_image())
}
