//! Answers about real people, and the parts that JSON objects share.

use std::path::Path;

use pvchat::{
    Described, Means, Part, PeopleAnswer, Presence,
    faces::{Bounds, Moment, Verdict},
    questions::{AskedKind, Refusal},
};
use serde::Serialize;

use crate::{
    bases::hub,
    failure::{Exit, Failure},
    words,
};

/// The base that answers name where one is needed.
const USUAL_BASE: &str = "smolvlm2-256m";

/// By what it is known who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// By comparing faces; a base is asked only about whoever was recognised. In drawn clips by comparing embeddings of the
    /// characters.
    Faces,
    /// By what the base has learned of the person (`pvchat learn`): it alone is asked, and no face is compared. In drawn clips by
    /// the tokens of the character.
    Learned,
}

/// A box in pixels, rounded to tenths.
#[derive(Clone, Copy, Serialize)]
pub struct BoxOf {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl From<Bounds> for BoxOf {
    fn from(bounds: Bounds) -> Self {
        let tenths = |value: f32| (10.0 * f64::from(value)).round() / 10.0;
        let Bounds { left, top, right, bottom } = bounds;
        Self { left: tenths(left), top: tenths(top), right: tenths(right), bottom: tenths(bottom) }
    }
}

/// A stretch of a video.
#[derive(Serialize)]
pub struct MomentOf {
    start: f64,
    end: f64,
    best: f64,
    #[serde(rename = "box")]
    bounds: BoxOf,
    similarity: f32,
}

impl From<&Moment> for MomentOf {
    fn from(moment: &Moment) -> Self {
        let Moment { start, end, best, bounds, similarity } = *moment;
        let [start, end, best] = [start, end, best].map(words::millis);
        Self { start, end, best, bounds: bounds.into(), similarity }
    }
}

/// An answer, as JSON has it.
#[derive(Serialize)]
pub struct AnswerBody<'a> {
    #[serde(serialize_with = "words::lossy")]
    file: &'a Path,
    question: &'a str,
    /// By what it is known who is there: `faces`, or `learned`, and then no face was compared.
    by: By,
    text: String,
    /// Whether it is so, for questions about that.
    verdict: Option<Verdict>,
    presence: Vec<PresenceBody<'a>>,
    /// How many others are in it, at least.
    others: usize,
    /// Why a part of the question was not answered.
    refused: Option<&'static str>,
    /// What a base said, and of what; nothing where the faces say everything.
    described: Vec<&'a Described>,
}

#[derive(Serialize)]
struct PresenceBody<'a> {
    subject: &'a str,
    verdict: Verdict,
    /// Nothing where no face says whether it is so.
    probability: Option<f32>,
    /// Nothing where no face was compared.
    similarity: Option<f32>,
    moments: Vec<MomentOf>,
}

impl<'a> AnswerBody<'a> {
    pub fn of(file: &'a Path, question: &'a str, answer: &'a PeopleAnswer, by: By) -> Self {
        // "Not sure", and nobody who is similar: the faces say nothing.
        let is_told =
            |presence: &Presence| by == By::Learned || presence.verdict != Verdict::NotSure || !presence.moments.is_empty();
        let presence = answer.presence.iter().map(|presence| PresenceBody {
            subject: presence.name.bare(),
            verdict: presence.verdict,
            probability: is_told(presence).then_some(presence.probability),
            similarity: (by == By::Faces && is_told(presence)).then_some(presence.similarity),
            moments: presence.moments.iter().map(MomentOf::from).collect(),
        });
        let PeopleAnswer { verdict, others, refused, .. } = answer;
        let refused = refused.as_ref().map(reason);
        let described = described(answer);
        let text = text(answer);
        Self { file, question, by, text, verdict: *verdict, presence: presence.collect(), others: *others, refused, described }
    }
}

/// What is answered, the command that fetches a base in the form that works here.
fn text(answer: &PeopleAnswer) -> String {
    answer.text.replace(&format!("pvchat base get {USUAL_BASE}"), &hub::get_command(USUAL_BASE))
}

fn described(answer: &PeopleAnswer) -> Vec<&Described> {
    answer.parts.iter().filter_map(|part| part.described.as_ref()).collect()
}

/// An answer in words, with the base that described something.
pub fn told(answer: &PeopleAnswer, known_by: By) -> String {
    let mut lines = vec![words::clean(&text(answer))];
    for Described { by, seconds, means, .. } in described(answer) {
        let (first, last) = (seconds.first().copied().unwrap_or_default(), seconds.last().copied().unwrap_or_default());
        let learned = if *means == Means::Learned { ", which has learned the person," } else { "" };
        let frames = format!("{} at {}", words::count(seconds.len(), "frame"), words::span(first, last));
        let line = match known_by {
            By::Faces => format!("  (described by {by}{learned} from {frames})"),
            By::Learned => format!("  (said by {by} alone, from {frames})"),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if known_by == By::Learned {
        for presence in &answer.presence {
            let (name, percent) = (presence.name.bare(), words::percent(presence.probability));
            lines.push(format!("  (that {name} is there: {percent} by what the base has learned; no face was compared)"));
        }
    }
    lines.join("\n")
}

/// Why a question is not answered, in a word for scripts.
fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NeedsDescription => "needs_base",
        Refusal::UnknownPerson(_) => "unknown_person",
        Refusal::NobodyNamed => "nobody_named",
        _ => "not_understood",
    }
}

/// With which exit code an answer ends; an answer that only refuses is a failure.
pub fn exit(answer: &PeopleAnswer) -> Result<Exit, Failure> {
    let is_refused = |part: &Part| part.described.is_none() && matches!(part.asked.kind, AskedKind::Refused(_));
    match (&answer.refused, answer.verdict) {
        (Some(refusal), None) if answer.parts.iter().all(is_refused) => {
            Err(Failure::refused(reason(refusal), words::clean(&text(answer))))
        }
        (Some(_), _) => Ok(Exit::Refused),
        (None, Some(Verdict::NotSure)) => Ok(Exit::NotSure),
        (None, _) => Ok(Exit::Answered),
    }
}
