//! Answers to questions about people, from what was seen: no frame is decoded and no model runs.

use std::{fs, time::UNIX_EPOCH};

use image::RgbImage;
use pvchat_data::SubjectName;
use pvchat_people::{Calibration, Moment, Verdict};
use pvchat_video::VideoReader;
use serde::Serialize;

use crate::{
    Error, Footage, People, Presence, Result,
    people_questions::{Asked, AskedKind, Context, Refusal, understand},
    people_scene::{NEEDS_DESCRIPTION, Scene},
    people_wording::{capital, joined},
};

/// The answer to what somebody asked about people.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PeopleAnswer {
    /// The whole answer in words.
    pub text: String,
    /// The answer to each question, in their order; each is answered or refused.
    pub parts: Vec<Part>,
    /// The least of the parts' verdicts; `None` where none is about whether something is so.
    pub verdict: Option<Verdict>,
    /// Everybody the answer is about, each once.
    pub presence: Vec<Presence>,
    /// How many people are in the footage besides those in [`presence`](Self::presence), at least.
    pub others: usize,
    /// Why a question was not answered: of the first such part, `None` where all were answered.
    pub refused: Option<Refusal>,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// What was understood.
    pub asked: Asked,
    /// The answer, or why there is none.
    pub text: String,
    /// Whether it is so; `None` for a question that is not about that.
    pub verdict: Option<Verdict>,
    /// What a base said, and of what; `None` for what the faces say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub described: Option<Described>,
}

/// How a base knows whom a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// By nothing: the question is about the footage, or the base cannot look at a picture in addition to the frames.
    Frames,
    /// By a picture of the person alone.
    Picture,
    /// By parameters that it has learned for the person.
    Learned,
}

/// Where a described answer comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Described {
    /// The base.
    pub by: String,
    /// What it was asked.
    pub question: String,
    /// The times of the frames that it saw, in seconds.
    pub seconds: Vec<f64>,
    /// How it knows whom the question is about.
    pub means: Means,
}

/// Answers what was understood. `names` are those who are enrolled now: somebody who is in the footage's index but not among
/// them is a stranger, and questions about such a person are refused.
pub fn answer(footage: &Footage, calibration: &Calibration, names: &[SubjectName], asked: &[Asked]) -> PeopleAnswer {
    let mut answer = PeopleAnswer::default();
    let mut said: Vec<String> = Vec::new();
    let is_present = |asked: &&Asked| asked.kind == AskedKind::Present;
    let several = asked.iter().filter(is_present).any(|one| asked.iter().filter(is_present).any(|two| one.people != two.people));
    for asked in asked {
        let forgotten = asked.people.iter().find(|name| !names.iter().any(|known| known.bare() == **name));
        let asked = &match forgotten {
            Some(name) => Asked::refused(Refusal::UnknownPerson(name.clone())),
            None => asked.clone(),
        };
        let scene = Scene::new(footage, calibration, names, asked.within).naming(several);
        let (text, verdict) = match &asked.kind {
            AskedKind::Refused(refusal) => {
                answer.refused.get_or_insert_with(|| refusal.clone());
                (refusal_text(refusal, names), None)
            }
            _ => scene.answer(asked),
        };
        for presence in scene.concerned(asked) {
            if !answer.presence.iter().any(|known| known.name == presence.name) {
                answer.presence.push(presence);
            }
        }
        // "Is Aa in it, and when?" needs the times once.
        let told = answer.parts.iter().any(|part: &Part| {
            part.asked.kind == AskedKind::Present && part.asked.people == asked.people && part.asked.within == asked.within
        });
        let repeats = told && asked.kind == AskedKind::When && !asked.negated;
        if !repeats && !said.contains(&text) {
            said.push(text.clone());
        }
        answer.verdict = match (answer.verdict, verdict) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        answer.parts.push(Part { asked: asked.clone(), text, verdict, described: None });
    }
    let whole = Scene::new(footage, calibration, names, None);
    let named: Vec<&SubjectName> = answer.presence.iter().map(|presence| &presence.name).collect();
    answer.others = whole.others(&named);
    said.extend(whole.unfinished());
    answer.text = said.join(" ");
    answer
}

fn refusal_text(refusal: &Refusal, names: &[SubjectName]) -> String {
    let known = known(names);
    let somebody = names.first().map_or("Aa", SubjectName::bare);
    match refusal {
        Refusal::NeedsDescription => NEEDS_DESCRIPTION.into(),
        Refusal::UnknownPerson(name) => capital(&format!("{}.", Error::UnknownPerson { name: name.clone(), known })),
        Refusal::NobodyNamed => format!("Who is meant? Enrolled: {known}."),
        Refusal::NotUnderstood => format!(
            "I did not understand that. I can say whether somebody who is enrolled is in it, when, for how long and where in the \
             picture, whether two people are seen together, who is in it and how many people there are: \
             \"Is {somebody} in it, and when?\", \"Is {somebody} there before 1:00?\", \"How many people are there?\""
        ),
    }
}

/// Who is enrolled, in one line.
fn known(names: &[SubjectName]) -> String {
    const SHOWN: usize = 20;
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| name.bare().to_string()).collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    if shown.is_empty() { "nobody yet".into() } else { shown.join(", ") }
}

impl Context {
    /// Takes note of who was found: after "who is in it?", "they" are those.
    pub fn met(&mut self, answer: &PeopleAnswer) {
        if self.last.as_ref().is_some_and(|last| last.kind == AskedKind::Who) {
            let met = answer.presence.iter().filter(|presence| presence.verdict != Verdict::No && !presence.moments.is_empty());
            let met: Vec<String> = met.map(|presence| presence.name.bare().to_string()).collect();
            if !met.is_empty() {
                self.people = met;
            }
        }
    }
}

impl People {
    /// Answers a question in people's own words about who is in watched footage, when, for how long and where in the picture.
    /// What has no answer is refused in words, see [`PeopleAnswer::refused`].
    ///
    /// # Errors
    /// [`Error::Question`] for a question that cannot be read, [`Error::UnknownPerson`] where all it asks is about somebody who
    /// is not enrolled, [`Error::Outdated`] where somebody it asks about was enrolled or changed after the footage was watched,
    /// [`Error::People`] where the people cannot be read.
    pub fn ask(&self, footage: &Footage, question: &str) -> Result<PeopleAnswer> {
        Ok(self.ask_after(footage, question, &Context::default())?.0)
    }

    /// Answers a question that follows others; gives what was understood too.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_after(&self, footage: &Footage, question: &str, context: &Context) -> Result<(PeopleAnswer, Vec<Asked>)> {
        let names = self.gallery().names()?;
        let bare: Vec<&str> = names.iter().map(SubjectName::bare).collect();
        let asked = understand(question, &bare, context)?;
        self.check_known(footage, &names, &asked)?;
        let answer = answer(footage, self.calibration(), &names, &asked);
        let unknown = |part: &Part| match &part.asked.kind {
            AskedKind::Refused(Refusal::UnknownPerson(name)) => Some(name.clone()),
            _ => None,
        };
        let nothing_said = answer.parts.iter().all(|part| matches!(part.asked.kind, AskedKind::Refused(_)));
        match answer.parts.iter().find_map(unknown).filter(|_| nothing_said) {
            Some(name) => Err(Error::UnknownPerson { name, known: known(&names) }),
            None => Ok((answer, asked)),
        }
    }

    /// Whether everybody who is asked about was looked for as they are now.
    pub(crate) fn check_known(&self, footage: &Footage, names: &[SubjectName], asked: &[Asked]) -> Result<()> {
        let everybody = asked.iter().any(|asked| matches!(asked.kind, AskedKind::Who));
        let concerned =
            |name: &&SubjectName| everybody || asked.iter().any(|asked| asked.people.iter().any(|one| one == name.bare()));
        let mut changed = Vec::new();
        for name in names.iter().filter(concerned) {
            let fingerprint = self.gallery().load(name)?.fingerprint();
            if !footage.known.iter().any(|(known, before)| known == name && *before == fingerprint) {
                changed.push(name.bare().to_string());
            }
        }
        match changed.as_slice() {
            [] => Ok(()),
            _ => Err(Error::Outdated {
                path: footage.source.clone(),
                what: format!("{} {} enrolled or changed", joined(&changed), if changed.len() == 1 { "was" } else { "were" }),
            }),
        }
    }

    /// Decodes the frame that is on the screen at a time in seconds.
    ///
    /// # Errors
    /// [`Error::Outdated`] where the file is not the one that was watched, [`Error::Video`] where it cannot be decoded.
    pub fn frame(&self, footage: &Footage, seconds: f64) -> Result<RgbImage> {
        let path = &footage.source;
        let metadata = fs::metadata(path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        if (metadata.len(), modified.map_or(0, |time| time.as_secs())) != (footage.bytes, footage.modified) {
            return Err(Error::Outdated { path: path.clone(), what: "the file changed".into() });
        }
        Ok(VideoReader::open(path)?.frame_at(seconds)?.image)
    }

    /// Decodes the best face of a moment, with half its size around it.
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn thumbnail(&self, footage: &Footage, moment: &Moment) -> Result<RgbImage> {
        let frame = self.frame(footage, moment.best)?;
        Ok(cut(&frame, moment))
    }
}

/// The share of a face's size that is shown around it.
const MARGIN: f32 = 0.5;

/// The face of a moment; the whole frame where the box is outside of it.
fn cut(frame: &RgbImage, moment: &Moment) -> RgbImage {
    let bounds = &moment.bounds;
    let (across, down) = (MARGIN * bounds.width(), MARGIN * bounds.height());
    let clamp = |value: f32, most: u32| value.clamp(0.0, most as f32) as u32;
    let (left, right) = (clamp(bounds.left - across, frame.width()), clamp((bounds.right + across).ceil(), frame.width()));
    let (top, bottom) = (clamp(bounds.top - down, frame.height()), clamp((bounds.bottom + down).ceil(), frame.height()));
    if right <= left || bottom <= top {
        return frame.clone();
    }
    image::imageops::crop_imm(frame, left, top, right - left, bottom - top).to_image()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvchat_people::Bounds;

    #[test]
    fn a_thumbnail_stays_inside_the_frame() {
        let frame = RgbImage::from_fn(100, 80, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let moment = |bounds| Moment { start: 0.0, end: 0.0, best: 0.0, bounds, similarity: 0.0 };
        let face = cut(&frame, &moment(Bounds::new(40.0, 30.0, 60.0, 50.0)));
        assert_eq!((face.dimensions(), face.get_pixel(0, 0).0), ((40, 40), [30, 20, 0]));
        assert_eq!(cut(&frame, &moment(Bounds::new(90.0, -10.0, 110.0, 10.0))).dimensions(), (20, 20));
        for outside in [Bounds::new(200.0, 0.0, 220.0, 20.0), Bounds::new(f32::NAN, 0.0, f32::NAN, 5.0)] {
            assert_eq!(cut(&frame, &moment(outside)).dimensions(), (100, 80));
        }
    }
}
