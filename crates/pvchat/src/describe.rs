//! What people in watched footage wear and do: a base is asked about the stretches in which somebody was recognised.
//!
//! Faces decide who is there before the base is asked. The base is not asked about a person who is absent or may be absent. It
//! sees the stretch and, as the last picture, the person alone; it does not learn the name. If the base has learned the person by
//! gradient, it is asked about the person by name instead, and sees only the stretch.

use std::{collections::VecDeque, path::PathBuf};

use image::RgbImage;
use pvchat_data::{SubjectName, text::tidy};
use pvchat_model::{sight::Sight, vilm::Vilm};
use pvchat_nn::{language::PackedDecoder, packed::Precision};
use pvchat_people::{Bounds, Moment, Verdict};
use sha2::{Digest, Sha256};

use crate::{
    Described, Error, Footage, Means, Part, People, PeopleAnswer, Presence, Result, SubjectFolder,
    looks::Looks,
    people_questions::{Asked, AskedKind, Context, Refusal, understand_clauses},
    people_scene::{NEEDS_DESCRIPTION, Scene},
    phrasebook,
};

/// Looks that a [`BaseDescriber`] keeps, for further questions about the same stretch.
const KEPT_LOOKS: usize = 4;
/// How far a person reaches beyond the face: to each side in widths of the face, above and below in heights.
const BODY: [f32; 3] = [1.3, 0.6, 5.5];

/// The licence of weights that are on no list.
pub(crate) const UNKNOWN_LICENCE: &str = "the user's own";

/// Pictures to be described.
#[derive(Clone, Copy, Debug)]
pub struct Pictures<'a> {
    /// Says what the frames are of, a file as it is now for example: with the times it says which frames these are.
    pub key: &'a str,
    /// Frames of the footage in the order of time.
    pub frames: &'a [RgbImage],
    /// The time of each frame in seconds.
    pub seconds: &'a [f64],
    /// The length of the footage in seconds.
    pub duration: f64,
    /// Whether it is one photo and not footage.
    pub is_photo: bool,
    /// One person of it alone.
    pub person: Option<&'a RgbImage>,
}

/// Which model answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUsed {
    /// Its name and its weights.
    pub id: String,
    /// The licence of the weights.
    pub licence: String,
}

/// Something that says what pictures show.
pub trait Describer: std::fmt::Debug + Send {
    /// What it is called, in [`Described::by`].
    fn name(&self) -> &str;

    /// Which model it is, without a path of the machine: whatever changes its answers changes the id.
    ///
    /// # Errors
    /// Whatever keeps its weights from being read.
    fn used(&mut self) -> Result<BaseUsed> {
        Ok(BaseUsed { id: self.name().into(), licence: UNKNOWN_LICENCE.into() })
    }

    /// How many frames of a stretch it looks at, at most.
    fn frames(&self) -> usize;

    /// How many frames it looks at of a stretch of that many seconds.
    fn frames_of(&self, _seconds: f64) -> usize {
        self.frames()
    }

    /// Whether it can look at a picture in addition to the frames.
    fn sees_pictures(&self) -> bool;

    /// Answers a question about pictures.
    ///
    /// # Errors
    /// Whatever keeps it from answering.
    fn describe(&mut self, pictures: &Pictures<'_>, question: &str) -> Result<String>;

    /// Whether it has learned this person by gradient: then it is asked by name ([`ask_learned`](Self::ask_learned)).
    fn has_learned(&self, _name: &SubjectName) -> bool {
        false
    }

    /// Answers a question about somebody whom it has learned; the name in the question is in angle brackets.
    ///
    /// # Errors
    /// [`Error::NotLearnedOn`] for anybody else, and whatever keeps it from answering.
    fn ask_learned(&mut self, _pictures: &Pictures<'_>, _question: &str, name: &SubjectName) -> Result<LearnedAnswer> {
        Err(Error::NotLearnedOn { name: name.bare().into(), base: self.name().into() })
    }
}

/// What a base says of somebody whom it has learned.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedAnswer {
    /// Its words, in which the person's name is in angle brackets.
    pub text: String,
    /// Its probability that the person is in the pictures: that of "yes" against "no". Nothing was calibrated.
    pub presence: f32,
}

/// A base that describes filmed footage.
#[derive(Debug)]
pub struct BaseDescriber {
    vilm: Vilm,
    name: String,
    learned: Option<SubjectFolder>,
    looks: VecDeque<(String, Sight)>,
    kept: Option<Looks>,
}

impl BaseDescriber {
    /// A describer of this base; `name` is what answers call it.
    ///
    /// # Errors
    /// [`pvchat_model::Error::Config`] for a base that was made for drawn clips.
    pub fn new(vilm: Vilm, name: impl Into<String>) -> Result<Self> {
        let family = vilm.config().family()?;
        if !family.filmed {
            return Err(pvchat_model::Error::Config {
                key: "base",
                value: family.name.into(),
                remedy: "it knows drawn clips only; use a base for filmed footage: pvchat base list".into(),
            }
            .into());
        }
        Ok(Self { vilm, name: name.into(), learned: None, looks: VecDeque::new(), kept: None })
    }

    /// Stores the base's encodings of pictures in a folder, for questions that another process asks: the latest, 256 MB
    /// at most. [`People::looks`] is the folder that forgetting somebody empties.
    pub fn keeping(self, folder: impl Into<PathBuf>) -> Self {
        Self { kept: Some(Looks::new(folder.into())), ..self }
    }

    /// With a folder of people who were learned on this base ([`SubjectFolder::learn_from`]). It is read when somebody asks.
    pub fn with_learned(self, folder: SubjectFolder) -> Self {
        Self { learned: Some(folder), ..self }
    }

    /// The precision that the weights of its language model are packed in; `None` where they are not packed.
    pub fn precision(&self) -> Option<Precision> {
        self.vilm.parameters().answer.lm.packed().map(PackedDecoder::precision)
    }

    /// The base's encodings of pictures; each is encoded once.
    fn look(&mut self, key: String, look: impl FnOnce(&Vilm) -> Result<Sight>) -> Result<Sight> {
        if let Some((_, sight)) = self.looks.iter().find(|(known, _)| *known == key) {
            return Ok(sight.clone());
        }
        // In another precision, of other pixels or by another version the same weights give other encodings.
        let (precision, config) = (self.precision(), self.vilm.config());
        let made_by = format!("{precision:?} {:?} {:?} {}", config.preprocess, config.vision, env!("CARGO_PKG_VERSION"));
        let lasting = format!("{} {made_by} {key}", self.vilm.fingerprint());
        let sight = match self.kept.as_ref().and_then(|kept| kept.read(&lasting, self.vilm.device())) {
            Some(sight) => sight,
            None => {
                let sight = look(&self.vilm)?;
                if let Some(kept) = &self.kept {
                    kept.keep(&lasting, &sight);
                }
                sight
            }
        };
        self.looks.truncate(KEPT_LOOKS - 1);
        self.looks.push_front((key, sight.clone()));
        Ok(sight)
    }
}

impl Describer for BaseDescriber {
    fn name(&self) -> &str {
        &self.name
    }

    fn used(&mut self) -> Result<BaseUsed> {
        let precision = self.precision().map(|precision| format!(" in {precision:?}")).unwrap_or_default();
        Ok(BaseUsed { id: format!("{} {}{precision}", self.name, self.vilm.fingerprint()), licence: UNKNOWN_LICENCE.into() })
    }

    fn frames(&self) -> usize {
        self.vilm.frames()
    }

    fn frames_of(&self, seconds: f64) -> usize {
        self.vilm.config().vision.frames_of(seconds)
    }

    fn sees_pictures(&self) -> bool {
        self.vilm.config().vision.most_frames().is_some()
    }

    fn describe(&mut self, pictures: &Pictures<'_>, question: &str) -> Result<String> {
        self.vilm.codec().check_question(question)?;
        let mut sight = if pictures.is_photo { self.photo(pictures)? } else { self.stretch(pictures)? };
        if let Some(person) = pictures.person.filter(|_| self.sees_pictures()) {
            let look = |vilm: &Vilm| Ok(vilm.look(&[std::slice::from_ref(person)])?);
            let alone = self.look(format!("{}, alone {}", pictures.key, digest(person)), look)?;
            sight = sight.join(&alone);
        }
        let view = self.vilm.with_subjects(&[]);
        let reading = view.read(&sight, &[])?;
        let said = view.generate(&reading, question, &view.default_options(), |_| std::ops::ControlFlow::Continue(()))?;
        Ok(tidy(&said.text))
    }

    fn has_learned(&self, name: &SubjectName) -> bool {
        self.learned.as_ref().is_some_and(|folder| folder.file(name).is_file())
    }

    fn ask_learned(&mut self, pictures: &Pictures<'_>, question: &str, name: &SubjectName) -> Result<LearnedAnswer> {
        self.vilm.codec().check_question(question)?;
        let Some(folder) = self.learned.as_ref().filter(|_| self.has_learned(name)) else {
            return Err(Error::NotLearnedOn { name: name.bare().into(), base: self.name.clone() });
        };
        let subject = [folder.load(name, &self.vilm)?];
        let sight = self.stretch(pictures)?;
        let view = self.vilm.with_subjects(&subject);
        let reading = view.read(&sight, &[&subject[0]])?;
        let answer = view.answer(&reading, question, &view.default_options(), |_| std::ops::ControlFlow::Continue(()))?;
        let presence = answer.presence.first().map_or(0.0, |(_, presence)| *presence);
        Ok(LearnedAnswer { text: answer.text, presence })
    }
}

/// The picture itself: which frame shows somebody best changes with who is enrolled.
fn digest(picture: &RgbImage) -> String {
    let mut hash = Sha256::new_with_prefix(format!("{:?}", picture.dimensions()));
    hash.update(picture.as_raw());
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Which moments a person is seen in changes with who is enrolled. An index that is read again has the last digits of its times
/// changed.
fn stretch_key(key: &str, seconds: &[f64], duration: f64) -> String {
    format!("{key} {seconds:.3?} {duration:.3}")
}

impl BaseDescriber {
    /// The base's encoding of a photo.
    fn photo(&mut self, pictures: &Pictures<'_>) -> Result<Sight> {
        let Pictures { key, frames: [photo], .. } = *pictures else { return self.stretch(pictures) };
        self.look(format!("{key}, a photo"), |vilm| Ok(vilm.look_at_image(photo)?))
    }

    /// The base's encoding of the frames of a stretch.
    fn stretch(&mut self, pictures: &Pictures<'_>) -> Result<Sight> {
        let Pictures { key, frames, seconds, duration, .. } = *pictures;
        // A base with a fixed number of frames sees the last one for those that are lacking.
        let wanted = if self.sees_pictures() { frames.len() } else { self.vilm.frames() };
        let all: Vec<RgbImage> =
            frames.iter().chain(std::iter::repeat(frames.last().unwrap_or(&RgbImage::new(0, 0)))).take(wanted).cloned().collect();
        let times: Vec<f64> = (0..wanted).map(|at| seconds.get(at).or(seconds.last()).copied().unwrap_or_default()).collect();
        self.look(stretch_key(key, seconds, duration), |vilm| Ok(vilm.look_at(&vilm.prepare(&all), &times, duration)?))
    }
}

impl People {
    /// As [`ask_after`](Self::ask_after), where `describer` answers what faces do not: what somebody wears, does, looks like,
    /// what place it is.
    ///
    /// # Errors
    /// As [`ask_after`](Self::ask_after), and whatever keeps the describer from answering.
    pub fn describe(
        &self,
        footage: &Footage,
        question: &str,
        context: &Context,
        describer: &mut dyn Describer,
    ) -> Result<(PeopleAnswer, Vec<Asked>)> {
        let (mut answer, asked) = self.ask_after(footage, question, context)?;
        if !answer.parts.iter().any(wants_description) {
            return Ok((answer, asked));
        }
        let names = self.gallery().names()?;
        let bare: Vec<&str> = names.iter().map(SubjectName::bare).collect();
        let clauses = understand_clauses(question, &bare, context)?.into_iter().map(|(_, words)| words);
        // What was answered stays, without the remark that a base is needed.
        for (mut part, words) in std::mem::take(&mut answer.parts).into_iter().zip(clauses) {
            let is_wanted = wants_description(&part);
            part.text = part.text.replace(NEEDS_DESCRIPTION, "").trim().to_string();
            let people = part.asked.people.clone();
            if !part.text.is_empty() {
                answer.parts.push(part);
            }
            if !is_wanted {
                continue;
            }
            let concerned: Vec<&SubjectName> =
                people.iter().filter_map(|one| names.iter().find(|name| name.bare() == one)).collect();
            if concerned.is_empty() {
                answer.parts.push(self.describe_footage(footage, &words, describer)?);
            }
            for name in concerned {
                let (part, presence) = self.describe_person(footage, &names, name, &words, describer)?;
                answer.verdict = match (answer.verdict, part.verdict) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
                answer.parts.push(part);
                if !answer.presence.iter().any(|known| known.name == presence.name) {
                    answer.presence.push(presence);
                }
            }
        }
        let mut said: Vec<&str> = Vec::new();
        for part in &answer.parts {
            if !said.contains(&part.text.as_str()) {
                said.push(&part.text);
            }
        }
        let whole = Scene::new(footage, self.calibration(), &names, None);
        let known: Vec<&SubjectName> = answer.presence.iter().map(|presence| &presence.name).collect();
        answer.others = whole.others(&known);
        let unfinished = whole.unfinished();
        said.extend(unfinished.as_deref());
        answer.text = said.join(" ");
        answer.refused = answer.parts.iter().find_map(|part| match &part.asked.kind {
            AskedKind::Refused(refusal) if *refusal != Refusal::NeedsDescription => Some(refusal.clone()),
            _ => None,
        });
        Ok((answer, asked))
    }

    fn describe_person(
        &self,
        footage: &Footage,
        names: &[SubjectName],
        name: &SubjectName,
        question: &str,
        describer: &mut dyn Describer,
    ) -> Result<(Part, Presence)> {
        let present = Asked {
            kind: AskedKind::Present,
            people: vec![name.bare().to_string()],
            negated: false,
            either: false,
            within: None,
        };
        self.check_known(footage, names, std::slice::from_ref(&present))?;
        let scene = Scene::new(footage, self.calibration(), names, None);
        let found = scene.concerned(&present).into_iter().find(|presence| presence.name == *name);
        let Some(presence) = found else {
            return Err(Error::UnknownPerson { name: name.bare().into(), known: name.bare().into() });
        };
        let asked = Asked { kind: AskedKind::Refused(Refusal::NeedsDescription), ..present.clone() };
        if presence.verdict != Verdict::Yes || presence.moments.is_empty() {
            // "No" and "not sure" are said by the faces; a base would describe somebody else.
            let (text, verdict) = scene.answer(&present);
            return Ok((Part { asked, text, verdict, described: None }, presence));
        }
        let is_learned = describer.has_learned(name);
        // It was learned from that many frames of each clip, however long.
        let count = if is_learned { describer.frames() } else { describer.frames_of(length(&presence.moments)) };
        let seconds = times(&presence.moments, count);
        let frames = self.frames_at(footage, &seconds)?;
        let person = match longest(&presence.moments) {
            Some(moment) if !is_learned && describer.sees_pictures() => {
                Some(body(&self.frame(footage, moment.best)?, &moment.bounds))
            }
            _ => None,
        };
        let (question, means) = match &person {
            _ if is_learned => (phrasebook::question_by_name(question, name.bare()), Means::Learned),
            Some(_) => (phrasebook::question(question, name.bare(), true), Means::Picture),
            None => (phrasebook::question(question, name.bare(), false), Means::Frames),
        };
        let pictures = Pictures {
            key: &key(footage),
            frames: &frames,
            seconds: &seconds,
            duration: footage.end(),
            is_photo: footage.is_photo(),
            person: person.as_ref(),
        };
        let text = match means {
            Means::Learned => phrasebook::answer_by_name(&describer.ask_learned(&pictures, &question, name)?.text, name.bare()),
            Means::Picture | Means::Frames => phrasebook::answer(&describer.describe(&pictures, &question)?, name.bare()),
        };
        let described = Some(Described { by: describer.name().into(), question, seconds, means });
        Ok((Part { asked, text, verdict: None, described }, presence))
    }

    /// A question that names nobody is about the footage as a whole.
    fn describe_footage(&self, footage: &Footage, question: &str, describer: &mut dyn Describer) -> Result<Part> {
        let duration = footage.end();
        let count = describer.frames_of(duration).max(1);
        let seconds: Vec<f64> = match duration > 0.0 {
            true => (0..count).map(|at| duration * (at as f64 + 0.5) / count as f64).collect(),
            false => vec![0.0],
        };
        let frames = self.frames_at(footage, &seconds)?;
        let is_photo = footage.is_photo();
        let pictures = Pictures { key: &key(footage), frames: &frames, seconds: &seconds, duration, is_photo, person: None };
        let text = describer.describe(&pictures, question)?;
        let asked = Asked {
            kind: AskedKind::Refused(Refusal::NeedsDescription),
            people: Vec::new(),
            negated: false,
            either: false,
            within: None,
        };
        let described = Some(Described { by: describer.name().into(), question: question.into(), seconds, means: Means::Frames });
        Ok(Part { asked, text, verdict: None, described })
    }

    fn frames_at(&self, footage: &Footage, seconds: &[f64]) -> Result<Vec<RgbImage>> {
        seconds.iter().map(|&second| self.frame(footage, second)).collect()
    }
}

/// Says which file it is, as it is now.
fn key(footage: &Footage) -> String {
    format!("{} {} {}", footage.source.display(), footage.bytes, footage.modified)
}

/// Whether a part says that a base is needed.
fn wants_description(part: &Part) -> bool {
    part.asked.kind == AskedKind::Refused(Refusal::NeedsDescription) || part.text.contains(NEEDS_DESCRIPTION)
}

/// How long the moments are together, in seconds.
fn length(moments: &[Moment]) -> f64 {
    moments.iter().map(|moment| (moment.end - moment.start).max(0.0)).sum()
}

fn longest(moments: &[Moment]) -> Option<&Moment> {
    moments.iter().max_by(|one, other| (one.end - one.start).total_cmp(&(other.end - other.start)))
}

/// `count` times in the moments, evenly over their whole length, in order; the best time of each where they have none.
fn times(moments: &[Moment], count: usize) -> Vec<f64> {
    let total = length(moments);
    if total <= 0.0 {
        return moments.iter().map(|moment| moment.best).take(count.max(1)).collect();
    }
    let at = |number: usize| {
        let mut rest = total * (number as f64 + 0.5) / count.max(1) as f64;
        for moment in moments {
            let length = (moment.end - moment.start).max(0.0);
            if rest <= length {
                return moment.start + rest;
            }
            rest -= length;
        }
        moments.last().map_or(0.0, |moment| moment.end)
    };
    (0..count.max(1)).map(at).collect()
}

/// The person with a face: the face with what is next to it and below it.
pub(crate) fn body(frame: &RgbImage, bounds: &Bounds) -> RgbImage {
    let [aside, above, below] = BODY;
    let (across, down) = (bounds.width(), bounds.height());
    let clamp = |value: f32, most: u32| value.clamp(0.0, most as f32) as u32;
    let (left, right) = (clamp(bounds.left - aside * across, frame.width()), clamp(bounds.right + aside * across, frame.width()));
    let (top, bottom) = (clamp(bounds.top - above * down, frame.height()), clamp(bounds.bottom + below * down, frame.height()));
    if right <= left || bottom <= top {
        return frame.clone();
    }
    image::imageops::crop_imm(frame, left, top, right - left, bottom - top).to_image()
}

#[cfg(test)]
mod tests {
    use super::*;
    fn moment(start: f64, end: f64) -> Moment {
        Moment { start, end, best: start, bounds: Bounds::new(40.0, 20.0, 60.0, 40.0), similarity: 0.9 }
    }

    #[test]
    fn times_lie_in_the_moments_and_in_order() {
        assert_eq!(times(&[moment(0.0, 2.0), moment(10.0, 12.0)], 4), [0.5, 1.5, 10.5, 11.5]);
        assert_eq!(times(&[moment(3.0, 3.0)], 8), [3.0]);
        assert_eq!(times(&[moment(5.0, 6.0)], 1), [5.5]);
    }

    #[test]
    fn a_person_is_cut_out_with_the_body() {
        let frame = RgbImage::new(200, 160);
        assert_eq!(body(&frame, &moment(0.0, 1.0).bounds).dimensions(), (72, 142));
        let outside = Bounds::new(900.0, 900.0, 950.0, 950.0);
        assert_eq!(body(&frame, &outside).dimensions(), (200, 160));
    }
}
