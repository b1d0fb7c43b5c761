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
    source::{Bound, Span, hash, hash_file, read},
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

/// The frames of a clip, and how much of the middle one is the person's where that is known; or why there are none, in words.
pub(super) type Frames = std::result::Result<(Vec<RgbImage>, Option<GrayImage>), String>;

/// Everything that one drawing of a clip follows from.
#[derive(Serialize)]
pub(super) struct Drawing<'a> {
    version: u32,
    ffmpeg: String,
    models: &'a str,
    meant: &'a [f32],
    subject: &'a [f32],
    is_positive: bool,
    is_for_training: bool,
    pub(super) making: Making,
    pub(super) figure: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    place: Option<String>,
    recipe: &'a Recipe,
    frames: usize,
}

impl Maker<'_> {
    /// Makes a clip, and draws it again if the gate refuses it.
    pub(super) fn clip(&self, half: Half, number: usize, slot: &Slot) -> Result<Drawn> {
        let (footage, stage) = (self.footage, &self.stages[usize::from(half == Half::Test)]);
        let stream = self.stream.derive(format!("{half:?} clip {number} {}", slot.positive));
        let mut dropped = Vec::new();
        let attempts = self.request.options.attempts;
        for attempt in 0..attempts {
            let recipe = Recipe::draw(&stream.derive(attempt));
            let figures = [&stage.stock.hard, &stage.stock.random];
            let setting = match slot.room {
                Room::Own => stage.own,
                Room::Other(room) => Some(stage.rooms[room]),
            };
            // Heads that the gate refuses too often stay on their bodies.
            let making = match slot.making {
                Making::Exchanged if attempt >= attempts - attempts / 3 => Making::Composed,
                making => making,
            };
            let (who, is_hard) = match (slot.positive, making) {
                (true, _) => (stage.figures[slot.figure], false),
                (false, Making::Untouched) => {
                    let Room::Other(room) = slot.room else { break };
                    let Some(who) = stage.at_home[room] else { break };
                    (who, stage.stock.hard.contains(&who))
                }
                // What is generated is no slot.
                (false, Making::Generated) => break,
                (false, Making::Exchanged) => {
                    let heads = &stage.stock.heads;
                    let first = heads.iter().position(|&who| who == slot.figure).unwrap_or(0);
                    let who = heads.get((first + attempt) % heads.len().max(1)).copied().unwrap_or(slot.figure);
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
            let body = match making {
                Making::Exchanged if slot.positive => {
                    let bodies = &stage.stock.bodies;
                    let first = bodies.iter().position(|&stranger| stranger == slot.body).unwrap_or(0);
                    bodies.get((first + attempt) % bodies.len().max(1)).map(|&stranger| &self.cast[stranger])
                }
                Making::Exchanged => stage.figures.first().map(|&figure| &self.cast[figure]),
                Making::Untouched | Making::Composed | Making::Generated => None,
            };
            let place = match making {
                Making::Untouched | Making::Generated => None,
                Making::Composed | Making::Exchanged => match setting {
                    Some(setting) => Some(setting),
                    None => break,
                },
            };
            let mut drawing = self.drawing(who, slot.positive, half, &recipe);
            drawing.making = making;
            drawing.figure = footage.figure_key(who);
            drawing.body = body.map(|body| footage.figure_key(body));
            drawing.place = place.map(|place| footage.place_key(&place));
            let kept = self.keep(&drawing, || self.frames((who, body), place, &recipe))?;
            let figure = footage.sources[who.source].name.clone();
            let place = place.map_or_else(|| figure.clone(), |place| footage.sources[place.source].name.clone());
            if kept.outcome.judged.refused.is_some() {
                let judged = kept.outcome.judged;
                dropped.push(Dropped { half, positive: slot.positive, making, figure, place, attempt, judged });
                continue;
            }
            let (mut record, features) = kept.record(&drawing, is_hard, (figure, who.span), place, attempt);
            record.body = body.map(|body| (footage.sources[body.source].name.clone(), body.span));
            return Ok((Some((record, features)), dropped));
        }
        Ok((None, dropped))
    }

    /// Everything that a drawing follows from.
    pub(super) fn drawing<'a>(&'a self, meant: &'a Someone, is_positive: bool, half: Half, recipe: &'a Recipe) -> Drawing<'a> {
        Drawing {
            version: MAKING_VERSION,
            ffmpeg: pvchat_video::ffmpeg_version(),
            models: &self.footage.models,
            meant: &meant.embedding,
            subject: self.request.template,
            is_positive,
            is_for_training: half == Half::Train,
            making: Making::Untouched,
            figure: String::new(),
            body: None,
            place: None,
            recipe,
            frames: self.request.options.frames,
        }
    }

    /// Writes what was drawn and has the gate judge it; what an earlier run wrote of the same drawing is used.
    pub(super) fn keep(&self, drawing: &Drawing<'_>, frames: impl FnOnce() -> Result<Frames>) -> Result<Kept> {
        let key = hash(serde_json::to_vec(drawing).map_err(|error| Error::Eyes(error.into()))?);
        let name = key[..16].to_string();
        let file = format!("clips/{name}.mp4");
        let still = drawing.is_for_training.then(|| format!("stills/{}.mp4", &key[16..32]));
        let is_whole = |file: &str, sha256: &str| hash_file(&self.out.join(file)).is_ok_and(|(found, _)| found == sha256);
        let fits = |outcome: &Outcome| {
            let whole = is_whole(&file, &outcome.sha256);
            let still = still.as_ref().zip(outcome.still_sha256.as_ref()).is_none_or(|(still, sha256)| is_whole(still, sha256));
            outcome.judged.refused.is_some() || (whole && still)
        };
        let outcome = self.footage.store.get("clips", &key, fits, || {
            self.drawn.fetch_add(1, Ordering::SeqCst);
            self.write(drawing, frames()?, &self.out.join(&file), still.as_ref().map(|still| self.out.join(still)))
        })?;
        Ok(Kept { key, name, file, still, outcome })
    }

    /// The frames of a clip of somebody, with somebody else's body where one is given.
    fn frames(&self, (who, body): (&Someone, Option<&Someone>), place: Option<Setting>, recipe: &Recipe) -> Result<Frames> {
        let (footage, options) = (self.footage, self.request.options);
        let unusable = |problem: String| Error::NotCutOut { clip: footage.sources[who.source].path.clone(), problem };
        let Some(setting) = place else {
            let (source, look) = (&footage.sources[who.source], &footage.looks[who.source]);
            let square = self.timed(|| Square::read(source, look, Some(who.person), who.setting().span, footage.sizes()))?;
            if square.frames.is_empty() {
                return Err(unusable("no frame can be read".into()));
            }
            return Ok(Ok((self.timed(|| untouched(&square, recipe.start, footage.sizes(), options.frames)), None)));
        };
        let figure = match body {
            Some(body) => match footage.exchanged(who, body)? {
                Ok(figure) => figure,
                Err(problem) => return Ok(Err(problem)),
            },
            None => footage.figure(who)?.map_err(unusable)?,
        };
        let place = footage.place(&setting)?.map_err(unusable)?;
        let Composed { frames, matte } = self.timed(|| compose(&figure, &place, recipe, footage.sizes(), options.frames));
        Ok(Ok((frames, Some(matte))))
    }

    /// Work that counts as composing.
    pub(super) fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = busy();
        let done = work();
        self.composing.fetch_add(busy().saturating_sub(begun), Ordering::SeqCst);
        done
    }

    /// Writes a clip, and looks at what was written.
    fn write(&self, drawing: &Drawing<'_>, frames: Frames, file: &Path, still: Option<PathBuf>) -> Result<Outcome> {
        let (footage, options) = (self.footage, self.request.options);
        let (frames, matte) = match frames {
            Ok(drawn) => drawn,
            Err(problem) => {
                let judged = Judged { similarity: -1.0, to_subject: -1.0, frames: 0, seen: 0, refused: Some(problem) };
                return Ok(Outcome { judged, sha256: String::new(), still_sha256: None, features: Features::default() });
            }
        };
        let rate = f64::from(options.rate);
        self.timed(|| write(file, &frames, rate, drawing.recipe.rate_factor))?;
        drop(frames);
        let (frames, seconds) = read_clip(file, rate, options.size)?;
        let judged = self.judge(drawing, &frames, &seconds)?;
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

    fn judge(&self, drawing: &Drawing<'_>, frames: &[RgbImage], seconds: &[f64]) -> Result<Judged> {
        let eyes = self.footage.eyes;
        let count = GATE_FRAMES.min(frames.len());
        let places: Vec<usize> = (0..count).map(|number| (2 * number + 1) * frames.len() / (2 * count)).collect();
        let shown: Vec<RgbImage> = places.iter().filter_map(|&place| frames.get(place).cloned()).collect();
        let times: Vec<f64> = places.iter().filter_map(|&place| seconds.get(place).copied()).collect();
        let people = eyes.people(&shown, &times).map_err(Error::Eyes)?;
        let compared = [drawing.meant, drawing.subject];
        Ok(gate::judge(&people, shown.len(), compared, drawing.is_positive, eyes.thresholds()))
    }
}

/// A drawing that was written and judged.
pub(super) struct Kept {
    key: String,
    name: String,
    file: String,
    still: Option<String>,
    pub(super) outcome: Outcome,
}

impl Kept {
    /// What is written down about it.
    pub(super) fn record(
        self,
        drawing: &Drawing<'_>,
        hard: bool,
        figure: (String, Span),
        place: String,
        attempt: usize,
    ) -> (ClipRecord, Features) {
        let Self { key, name, file, still, outcome } = self;
        let record = ClipRecord {
            name,
            file,
            sha256: outcome.sha256,
            still,
            still_sha256: outcome.still_sha256,
            half: if drawing.is_for_training { Half::Train } else { Half::Test },
            positive: drawing.is_positive,
            hard,
            making: drawing.making,
            figure,
            body: None,
            place,
            judged: outcome.judged,
            attempt,
            recipe: Some(drawing.recipe.clone()),
            generated: None,
            key,
        };
        (record, outcome.features)
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
