//! Makes clips, and has the identity gate judge them.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use image::{GrayImage, RgbImage};
use pvchat_data::random::SeededStream;
use pvchat_video::{Quality, VideoWriter};
use serde::Serialize;

use super::{
    ClipRecord, Dropped, Half, Judged, Making, Recipe, Request,
    assets::Square,
    blind::Features,
    casting::HalfStage,
    compose::{Composed, compose, untouched},
    footage::{Footage, Setting, Someone},
    gate,
    manifest::{MAKING_VERSION, Outcome, remove},
    plan::{Room, Slot},
    source::{Bound, hash, hash_file, read},
    workers::busy,
};
use crate::{Error, Result};

/// Frames of a clip that the gate looks at.
const GATE_FRAMES: usize = 4;
/// Frames and frames per second of the clips that repeat one frame, as published.
const STILL: (usize, f64) = (8, 30.0);

/// Makes clips.
pub(super) struct Maker<'a> {
    pub(super) footage: &'a Footage<'a>,
    pub(super) request: &'a Request<'a>,
    pub(super) out: &'a Path,
    pub(super) cast: &'a [Someone],
    pub(super) stages: &'a [HalfStage; 2],
    pub(super) stream: &'a SeededStream,
    pub(super) drawn: AtomicUsize,
    /// In nanoseconds.
    pub(super) composing: AtomicU64,
}

/// A clip, if one was made that the gate lets pass, and those that it refused before.
pub(super) type Drawn = (Option<(ClipRecord, Features)>, Vec<Dropped>);

/// Everything that one drawing of a clip follows from.
#[derive(Serialize)]
struct Drawing<'a> {
    version: u32,
    ffmpeg: String,
    models: &'a str,
    meant: &'a [f32],
    subject: &'a [f32],
    is_positive: bool,
    is_for_training: bool,
    making: Making,
    figure: String,
    place: Option<String>,
    recipe: &'a Recipe,
    frames: usize,
}

impl Maker<'_> {
    /// Makes a clip; drawn anew where the gate refuses it.
    pub(super) fn clip(&self, half: Half, number: usize, slot: &Slot) -> Result<Drawn> {
        let (footage, stage) = (self.footage, &self.stages[usize::from(half == Half::Test)]);
        let stream = self.stream.derive(format!("{half:?} clip {number} {}", slot.positive));
        let mut dropped = Vec::new();
        for attempt in 0..self.request.options.attempts {
            let recipe = Recipe::draw(&stream.derive(attempt));
            let figures = [&stage.stock.hard, &stage.stock.random];
            let setting = match slot.room {
                Room::Own => stage.own,
                Room::Other(room) => Some(stage.rooms[room]),
            };
            let (who, is_hard) = match (slot.positive, slot.making) {
                (true, _) => (stage.figures[slot.figure], false),
                (false, Making::Untouched) => {
                    let Room::Other(room) = slot.room else { break };
                    let Some(who) = stage.at_home[room] else { break };
                    (who, stage.stock.hard.contains(&who))
                }
                (false, Making::Composed) => {
                    let pool = figures.into_iter().find(|pool| pool.contains(&slot.figure)).unwrap_or(&stage.stock.hard);
                    // After two refusals somebody else of the same kind is taken, so that the place keeps its share.
                    let first = pool.iter().position(|&who| who == slot.figure).unwrap_or(0);
                    let who = pool.get((first + attempt / 2) % pool.len().max(1)).copied().unwrap_or(slot.figure);
                    (who, stage.stock.hard.contains(&who))
                }
            };
            let who = &self.cast[who];
            let place = match slot.making {
                Making::Untouched => None,
                Making::Composed => match setting {
                    Some(setting) => Some(setting),
                    None => break,
                },
            };
            let drawing = Drawing {
                version: MAKING_VERSION,
                ffmpeg: pvchat_video::ffmpeg_version(),
                models: &footage.models,
                meant: &who.embedding,
                subject: self.request.template,
                is_positive: slot.positive,
                is_for_training: half == Half::Train,
                making: slot.making,
                figure: footage.figure_key(who),
                place: place.map(|place| footage.place_key(&place)),
                recipe: &recipe,
                frames: self.request.options.frames,
            };
            let key = hash(serde_json::to_vec(&drawing).map_err(|error| Error::Eyes(error.into()))?);
            let name = key[..16].to_string();
            let (file, still) =
                (format!("clips/{name}.mp4"), (half == Half::Train).then(|| format!("stills/{}.mp4", &key[16..32])));
            let is_whole = |file: &str, sha256: &str| hash_file(&self.out.join(file)).is_ok_and(|(found, _)| found == sha256);
            let fits = |outcome: &Outcome| {
                let whole = is_whole(&file, &outcome.sha256);
                let still =
                    still.as_ref().zip(outcome.still_sha256.as_ref()).is_none_or(|(still, sha256)| is_whole(still, sha256));
                outcome.judged.refused.is_some() || (whole && still)
            };
            let outcome = footage.store.get("clips", &key, fits, || {
                self.drawn.fetch_add(1, Ordering::SeqCst);
                self.draw(slot, who, place, &recipe, &self.out.join(&file), still.as_ref().map(|still| self.out.join(still)))
            })?;
            let figure = footage.sources[who.source].name.clone();
            let place = place.map_or_else(|| figure.clone(), |place| footage.sources[place.source].name.clone());
            if outcome.judged.refused.is_some() {
                dropped.push(Dropped { half, positive: slot.positive, figure, place, attempt, judged: outcome.judged });
                continue;
            }
            let record = ClipRecord {
                name,
                file,
                sha256: outcome.sha256,
                still,
                still_sha256: outcome.still_sha256,
                half,
                positive: slot.positive,
                hard: is_hard,
                making: slot.making,
                figure: (figure, who.span),
                place,
                judged: outcome.judged,
                attempt,
                recipe: Some(recipe),
                key,
            };
            return Ok((Some((record, outcome.features)), dropped));
        }
        Ok((None, dropped))
    }

    /// Makes one clip, and looks at what was written.
    fn draw(
        &self,
        slot: &Slot,
        who: &Someone,
        place: Option<Setting>,
        recipe: &Recipe,
        file: &Path,
        still: Option<PathBuf>,
    ) -> Result<Outcome> {
        let (footage, options) = (self.footage, self.request.options);
        let unusable = |problem: String| Error::NotCutOut { clip: footage.sources[who.source].path.clone(), problem };
        let assets = match place {
            Some(setting) => Some((footage.figure(who)?.map_err(unusable)?, footage.place(&setting)?.map_err(unusable)?)),
            None => None,
        };
        let begun = busy();
        let (frames, matte) = match assets {
            None => {
                let (source, look) = (&footage.sources[who.source], &footage.looks[who.source]);
                let span = who.setting().span;
                let square = Square::read(source, look, Some(who.person), span, footage.sizes())?;
                if square.frames.is_empty() {
                    return Err(unusable("no frame can be read".into()));
                }
                (untouched(&square, recipe.start, footage.sizes(), options.frames), None)
            }
            Some((figure, place)) => {
                let Composed { frames, matte } = compose(&figure, &place, recipe, footage.sizes(), options.frames);
                (frames, Some(matte))
            }
        };
        let rate = f64::from(options.rate);
        write(file, &frames, rate, recipe.rate_factor)?;
        drop(frames);
        self.composing.fetch_add(busy().saturating_sub(begun), Ordering::SeqCst);
        let (frames, seconds) = read_clip(file, rate, options.size)?;
        let judged = self.judge(slot, who, &frames, &seconds)?;
        if judged.refused.is_some() {
            remove(file)?;
            return Ok(Outcome { judged, sha256: String::new(), still_sha256: None, features: Features::default() });
        }
        let middle = &frames[frames.len() / 2];
        let matte: GrayImage = match matte {
            Some(matte) => matte,
            None => footage.eyes.matte(middle).map_err(Error::Eyes)?,
        };
        let features = Features::of(middle, &matte);
        let still_sha256 = match still {
            Some(still) => {
                write(&still, &vec![middle.clone(); STILL.0], STILL.1, 18)?;
                Some(hash_file(&still)?.0)
            }
            None => None,
        };
        Ok(Outcome { judged, sha256: hash_file(file)?.0, still_sha256, features })
    }

    fn judge(&self, slot: &Slot, who: &Someone, frames: &[RgbImage], seconds: &[f64]) -> Result<Judged> {
        let eyes = self.footage.eyes;
        let count = GATE_FRAMES.min(frames.len());
        let places: Vec<usize> = (0..count).map(|number| (2 * number + 1) * frames.len() / (2 * count)).collect();
        let shown: Vec<RgbImage> = places.iter().filter_map(|&place| frames.get(place).cloned()).collect();
        let times: Vec<f64> = places.iter().filter_map(|&place| seconds.get(place).copied()).collect();
        let people = eyes.people(&shown, &times).map_err(Error::Eyes)?;
        Ok(gate::judge(&people, shown.len(), [&who.embedding, self.request.template], slot.positive, eyes.thresholds()))
    }
}

fn write(file: &Path, frames: &[RgbImage], rate: f64, rate_factor: u8) -> Result<()> {
    let (width, height) = frames.first().map_or((0, 0), RgbImage::dimensions);
    let mut writer = VideoWriter::create(file, width, height, rate, Quality::RateFactor(rate_factor))?;
    for frame in frames {
        writer.write(frame)?;
    }
    Ok(writer.finish()?)
}

/// All frames of a made clip.
pub(super) fn read_clip(file: &Path, rate: f64, size: u32) -> Result<(Vec<RgbImage>, Vec<f64>)> {
    let (mut frames, mut times) = (Vec::new(), Vec::new());
    read(file, rate, [0.0, f64::INFINITY], Bound::Longest(size), |frame, seconds| {
        frames.push(frame);
        times.push(seconds);
        Ok(())
    })?;
    if frames.is_empty() {
        return Err(Error::NoFrames { clip: file.display().to_string() });
    }
    Ok((frames, times))
}
