//! Makes clips, and has the identity gate judge them.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use image::{GrayImage, RgbImage};
use pvchat_data::{SubjectName, random::SeededStream};
use pvchat_video::{Quality, VideoWriter};
use serde::Serialize;

use super::{
    ClipRecord, Dropped, Half, Judged, Making, Recipe, Request,
    assets::{Figure, Square},
    blind::Features,
    casting::HalfStage,
    compose::{Composed, compose, untouched},
    footage::{Footage, Setting, Someone, longest},
    gate,
    manifest::{MAKING_VERSION, Outcome, remove},
    plan::{Company, Room, Slot},
    report::strip,
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
    /// Than whose footage it is to be no sharper.
    #[serde(skip_serializing_if = "Option::is_none")]
    like: Option<String>,
    place: Option<String>,
    recipe: &'a Recipe,
    frames: usize,
    /// What else it follows from where the dataset is about several people.
    #[serde(skip_serializing_if = "Option::is_none")]
    several: Option<Several<'a>>,
    /// Whom it is meant to show.
    #[serde(skip)]
    shown: Vec<&'a [f32]>,
    /// The people of the dataset whom it is not meant to show.
    #[serde(skip)]
    absent: Vec<&'a [f32]>,
    /// Those whom it is meant to show, of several.
    #[serde(skip)]
    present: Vec<SubjectName>,
}

/// What a drawing follows from in a dataset of several people.
#[derive(Serialize)]
struct Several<'a> {
    people: Vec<&'a [f32]>,
    present: Vec<usize>,
    company: Vec<(String, &'a [f32])>,
}

/// Who takes part in a clip, and how it is made.
struct Cast<'a> {
    making: Making,
    who: &'a Someone,
    /// Whether that is one of the most similar strangers.
    is_hard: bool,
    /// On whose body the head is, if that is another's.
    body: Option<&'a Someone>,
    /// Who stands beside.
    company: Vec<&'a Someone>,
    /// Than whom all of them are to be no sharper: a stranger for one of the people, one of the people for a stranger, so that both
    /// are equally sharp and sharpness does not say who is seen.
    like: Option<&'a Someone>,
    /// Which of the people are among all of these.
    present: Vec<usize>,
}

impl Maker<'_> {
    /// Makes a clip, and draws it again if the gate refuses it.
    pub(super) fn clip(&self, half: Half, number: usize, slot: &Slot) -> Result<Drawn> {
        let (footage, stage) = (self.footage, &self.stages[usize::from(half == Half::Test)]);
        let stream = self.stream.derive(format!("{half:?} clip {number} {}", slot.shows.is_some()));
        let mut dropped = Vec::new();
        let attempts = self.request.options.attempts;
        for attempt in 0..attempts {
            let setting = match slot.room {
                Room::Own(person) => stage.people[person].own,
                Room::Other(room) => Some(stage.rooms[room]),
            };
            let Some(cast) = self.cast(stage, slot, attempt, &stream) else { break };
            let Cast { making, who, body, company, .. } = &cast;
            let recipe = Recipe::draw(&stream.derive(attempt));
            let recipe = if *making == Making::Untouched { recipe.untouched() } else { recipe };
            let place = match making {
                Making::Untouched | Making::Generated => None,
                Making::Composed | Making::Exchanged => match setting {
                    Some(setting) => Some(setting),
                    None => break,
                },
            };
            let shown: Vec<&Someone> = std::iter::once(*who).chain(company.iter().copied()).collect();
            let mut drawing = self.drawing(&shown, cast.present.clone(), half, &recipe);
            drawing.making = *making;
            drawing.figure = footage.figure_key(who);
            drawing.body = body.map(|body| footage.figure_key(body));
            drawing.like = cast.like.map(|like| footage.figure_key(like));
            drawing.place = place.map(|place| footage.place_key(&place));
            let kept = self.keep(&drawing, || self.frames(&cast, place, &recipe))?;
            let of = |who: &Someone| (footage.sources[who.source].name.clone(), who.span);
            let figure = of(who);
            let place = place.map_or_else(|| figure.0.clone(), |place| footage.sources[place.source].name.clone());
            if kept.outcome.judged.refused.is_some() {
                let (Outcome { judged, picture, .. }, present) = (kept.outcome, drawing.present);
                let (positive, figure, making) = (slot.shows.is_some(), figure.0, *making);
                dropped.push(Dropped { half, positive, present, making, figure, place, attempt, judged, picture });
                continue;
            }
            let (mut record, features) = kept.record(&drawing, cast.is_hard, figure, place, attempt);
            record.body = body.map(of);
            record.company = company.iter().map(|who| of(who)).collect();
            return Ok((Some((record, features)), dropped));
        }
        Ok((None, dropped))
    }

    /// Who takes part in a clip at an attempt. What the gate refuses too often is made in a simpler way.
    fn cast(&self, stage: &HalfStage, slot: &Slot, attempt: usize, stream: &SeededStream) -> Option<Cast<'_>> {
        let (stock, attempts) = (&stage.stock, self.request.options.attempts);
        let is_late = attempt >= attempts - attempts / 3;
        let making = match slot.making {
            Making::Exchanged if is_late => Making::Composed,
            making => making,
        };
        let company = if is_late { Company::Nobody } else { slot.company };
        let figure_of = |person: usize, span: usize| stage.people[person].figures.get(span).copied();
        let who = match (slot.shows, making) {
            (Some(person), _) => figure_of(person, slot.figure)?,
            (None, Making::Untouched) => {
                let Room::Other(room) = slot.room else { return None };
                stock.rooms[room]?
            }
            // What is generated is no slot.
            (None, Making::Generated) => return None,
            (None, Making::Exchanged) => {
                let heads = &stock.people[slot.body].heads;
                let first = heads.iter().position(|&who| who == slot.figure).unwrap_or(0);
                heads.get((first + attempt) % heads.len().max(1)).copied().unwrap_or(slot.figure)
            }
            (None, Making::Composed) if company != Company::Nobody => slot.figure,
            (None, Making::Composed) => {
                let figures = [&stock.hard, &stock.random];
                let pool = figures.into_iter().find(|pool| pool.contains(&slot.figure)).unwrap_or(&stock.hard);
                // After two refusals somebody else of the same kind is taken, so that the place keeps its share.
                let first = pool.iter().position(|&who| who == slot.figure).unwrap_or(0);
                pool.get((first + attempt / 2) % pool.len().max(1)).copied().unwrap_or(slot.figure)
            }
        };
        let body = match (making, slot.shows) {
            (Making::Exchanged, Some(person)) => {
                let bodies = &stock.people[person].bodies;
                let first = bodies.iter().position(|&stranger| stranger == slot.body).unwrap_or(0);
                bodies.get((first + attempt) % bodies.len().max(1)).map(|&stranger| &self.cast[stranger])
            }
            (Making::Exchanged, None) => figure_of(slot.body, 0).map(|figure| &self.cast[figure]),
            (Making::Untouched | Making::Composed | Making::Generated, _) => None,
        };
        let people = stage.people.len();
        let company: Vec<usize> = match company {
            Company::Nobody => Vec::new(),
            Company::Everybody => {
                let others = (0..people).filter(|&person| Some(person) != slot.shows);
                let span = |person: usize| stock.people[person].beside.get(attempt % stock.people[person].beside.len().max(1));
                others.filter_map(|person| figure_of(person, *span(person)?)).collect()
            }
            Company::Strangers(first) => {
                let all = (0..stock.beside.len()).map(|number| stock.beside[(first + attempt + number) % stock.beside.len()]);
                all.filter(|&stranger| stranger != who).take(people - 1).collect()
            }
        };
        let present = match slot.shows {
            Some(_) if slot.company == Company::Everybody && !company.is_empty() => (0..people).collect(),
            shows => shows.into_iter().collect(),
        };
        let is_hard = slot.shows.is_none() && stock.hard.contains(&who);
        let like: Vec<usize> = match (making, slot.shows) {
            (Making::Untouched | Making::Generated, _) => Vec::new(),
            (_, Some(_)) => stock.hard.iter().chain(&stock.random).copied().collect(),
            (_, None) => stage.people.iter().flat_map(|person| &person.figures).copied().collect(),
        };
        let mut stream = stream.derive(format!("like {attempt}"));
        let like = (!like.is_empty()).then(|| &self.cast[like[stream.below(like.len())]]);
        let company = company.into_iter().map(|who| &self.cast[who]).collect();
        Some(Cast { making, who: &self.cast[who], is_hard, body, company, like, present })
    }

    /// Everything that a drawing of these figures follows from, which is meant to show these of the people.
    pub(super) fn drawing<'a>(
        &'a self,
        shown: &[&'a Someone],
        present: Vec<usize>,
        half: Half,
        recipe: &'a Recipe,
    ) -> Drawing<'a> {
        let people: Vec<&[f32]> = self.request.people.iter().map(|person| person.template).collect();
        let absent = (0..people.len()).filter(|person| !present.contains(person)).map(|person| people[person]).collect();
        let names = present.iter().map(|&person| self.request.people[person].name.clone());
        let names = if people.len() > 1 { names.collect() } else { Vec::new() };
        let is_positive = !present.is_empty();
        let shown_of = |who: &&'a Someone| who.embedding.as_slice();
        let company = shown.iter().skip(1).map(|who| (self.footage.figure_key(who), shown_of(who))).collect();
        Drawing {
            version: MAKING_VERSION,
            ffmpeg: pvchat_video::ffmpeg_version(),
            models: &self.footage.models,
            meant: shown.first().map(shown_of).unwrap_or_default(),
            subject: people.first().copied().unwrap_or_default(),
            is_positive,
            is_for_training: half == Half::Train,
            making: Making::Untouched,
            figure: String::new(),
            body: None,
            like: None,
            place: None,
            recipe,
            frames: self.request.options.frames,
            shown: shown.iter().map(shown_of).collect(),
            absent,
            present: names,
            several: (people.len() > 1).then_some(Several { people, present, company }),
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

    /// The frames of a clip of somebody, with somebody else's body or company where they are given.
    fn frames(
        &self,
        Cast { who, body, company, like, .. }: &Cast<'_>,
        place: Option<Setting>,
        recipe: &Recipe,
    ) -> Result<Frames> {
        let (footage, options) = (self.footage, self.request.options);
        let unusable = |problem: String| Error::NotCutOut { clip: footage.sources[who.source].path.clone(), problem };
        let Some(setting) = place else {
            let (source, look) = (&footage.sources[who.source], &footage.looks[who.source]);
            let span = who.setting(longest(options)).span;
            let square = self.timed(|| Square::read(source, look, Some(who.person), span, footage.sizes()))?;
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
        let mut figures = vec![figure];
        for other in company {
            figures.push(footage.figure(other)?.map_err(unusable)?);
        }
        let like = match like {
            Some(like) => Some(footage.figure(like)?.map_err(unusable)?),
            None => None,
        };
        let place = footage.place(&setting)?.map_err(unusable)?;
        let figures: Vec<&Figure> = figures.iter().map(|figure| figure.as_ref()).collect();
        let composed = self.timed(|| compose(&figures, like.as_deref(), &place, recipe, footage.sizes(), options.frames));
        Ok(composed.map(|Composed { frames, matte }| (frames, Some(matte))))
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
                return Ok(Outcome::refused(judged, None));
            }
        };
        let rate = f64::from(options.rate);
        self.timed(|| write(file, &frames, rate, drawing.recipe.rate_factor))?;
        drop(frames);
        let (frames, seconds) = read_clip(file, rate, options.size)?;
        let judged = self.judge(drawing, &frames, &seconds)?;
        if judged.refused.is_some() {
            remove(file)?;
            return Ok(Outcome::refused(judged, Some(strip(&frames)?)));
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
        Ok(Outcome { judged, sha256: hash_file(file)?.0, still_sha256, features, picture: None })
    }

    fn judge(&self, drawing: &Drawing<'_>, frames: &[RgbImage], seconds: &[f64]) -> Result<Judged> {
        let eyes = self.footage.eyes;
        let count = GATE_FRAMES.min(frames.len());
        let places: Vec<usize> = (0..count).map(|number| (2 * number + 1) * frames.len() / (2 * count)).collect();
        let shown: Vec<RgbImage> = places.iter().filter_map(|&place| frames.get(place).cloned()).collect();
        let times: Vec<f64> = places.iter().filter_map(|&place| seconds.get(place).copied()).collect();
        let people = eyes.people(&shown, &times).map_err(Error::Eyes)?;
        Ok(gate::judge(&people, shown.len(), [&drawing.shown, &drawing.absent], eyes.thresholds()))
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
            present: drawing.present.clone(),
            hard,
            making: drawing.making,
            figure,
            body: None,
            company: Vec::new(),
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
