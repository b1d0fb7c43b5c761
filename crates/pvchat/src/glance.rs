//! Questions to a base alone about people who were learned on it: no face is looked for or compared.

use std::path::Path;

use image::RgbImage;
use pvchat_data::SubjectName;
use pvchat_people::Verdict;
use pvchat_video::Clip;

use crate::{
    Described, Describer, LearnedAnswer, Means, Part, PeopleAnswer, Pictures, Presence, Result,
    people_questions::{Asked, AskedKind, Context, Refusal, spelled, understand},
    phrasebook,
};

/// Frames of a clip for questions to a base by what it has learned of people; see [`Describer::ask_learned`].
///
/// It answers only what the base says. Whether somebody is there is the base's "yes" or "no", which nobody has calibrated; when and
/// where in the picture it does not measure.
#[derive(Clone, Debug)]
pub struct Glance {
    key: String,
    frames: Vec<RgbImage>,
    seconds: Vec<f64>,
}

impl Glance {
    /// Reads `frames` frames of a clip, evenly over its length; one of a picture.
    ///
    /// # Errors
    /// [`Error::Video`](crate::Error::Video), which names the file and what to do.
    pub fn open(clip: &Path, frames: usize) -> Result<Self> {
        let mut read = Clip::open(clip, frames)?;
        // A picture is one frame, however often it was sampled.
        if read.times.iter().all(|time| Some(time) == read.times.first()) {
            read.frames.truncate(1);
            read.times.truncate(1);
        }
        Ok(Self { key: clip.display().to_string(), frames: read.frames, seconds: read.times })
    }

    /// Asks the base about each of `names` whom the question names, or who was named before; nobody else is asked about.
    ///
    /// A question that asks nothing but whether somebody is there has a verdict, by the greater of the base's probabilities of "yes"
    /// and "no".
    ///
    /// # Errors
    /// [`Error::Question`](crate::Error::Question) for a question that cannot be read, and whatever keeps the describer from
    /// answering.
    pub fn ask(
        &self,
        question: &str,
        names: &[SubjectName],
        context: &Context,
        describer: &mut dyn Describer,
    ) -> Result<PeopleAnswer> {
        let bare: Vec<&str> = names.iter().map(SubjectName::bare).collect();
        let (question, mentioned) = spelled(question, &bare, context)?;
        let question = question.as_str();
        let asked = understand(question, &bare, context)?;
        let refers = mentioned.is_empty() && phrasebook::refers(question);
        let wanted = if refers { &context.people } else { &mentioned };
        let find = |one: &String| names.iter().find(|name| name.bare() == one).cloned();
        let concerned: Vec<SubjectName> = wanted.iter().filter_map(find).collect();
        if concerned.is_empty() {
            let known = if bare.is_empty() { "nobody yet".to_string() } else { bare.join(", ") };
            let text = format!("Who is meant? Learned on {}: {known}.", describer.name());
            return Ok(PeopleAnswer { text, refused: Some(Refusal::NobodyNamed), ..PeopleAnswer::default() });
        }
        let mut answer = PeopleAnswer::default();
        for name in &concerned {
            let (part, presence) = self.ask_about(question, name, &asked, describer)?;
            answer.verdict = match (answer.verdict, part.verdict) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            answer.parts.push(part);
            answer.presence.push(presence);
        }
        let said: Vec<&str> = answer.parts.iter().map(|part| part.text.as_str()).collect();
        answer.text = said.join(" ");
        Ok(answer)
    }

    fn ask_about(
        &self,
        question: &str,
        name: &SubjectName,
        understood: &[Asked],
        describer: &mut dyn Describer,
    ) -> Result<(Part, Presence)> {
        let pictures = Pictures {
            key: &self.key,
            frames: &self.frames,
            seconds: &self.seconds,
            duration: self.seconds.last().copied().unwrap_or(0.0),
            // People are learned from clips.
            is_photo: false,
            person: None,
        };
        let question = phrasebook::question_by_name(question, name.bare());
        let LearnedAnswer { text, presence } = describer.ask_learned(&pictures, &question, name)?;
        let is_there = if presence > 0.5 { Verdict::Yes } else { Verdict::No };
        let is_about_presence = |asked: &Asked| asked.kind == AskedKind::Present && !asked.negated && asked.within.is_none();
        let (kind, text, verdict) = match understood.iter().all(is_about_presence) {
            true if is_there == Verdict::Yes => (AskedKind::Present, format!("Yes, {} is in it.", name.bare()), Some(is_there)),
            true => (AskedKind::Present, format!("No, {} is not in it.", name.bare()), Some(is_there)),
            false => {
                let text = phrasebook::answer_by_name(&text, name.bare());
                (AskedKind::Refused(Refusal::NeedsDescription), text, None)
            }
        };
        let asked = Asked { kind, people: vec![name.bare().into()], negated: false, either: false, within: None };
        let described =
            Some(Described { by: describer.name().into(), question, seconds: self.seconds.clone(), means: Means::Learned });
        let presence =
            Presence { name: name.clone(), verdict: is_there, probability: presence, similarity: 0.0, moments: Vec::new() };
        Ok((Part { asked, text, verdict, described }, presence))
    }
}
