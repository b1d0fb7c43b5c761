//! `pvchat who`: everybody in a video or picture.

use std::path::{Path, PathBuf};

use pvchat::{
    Error, Footage, People,
    faces::{Appearance, Verdict, least_face},
    times,
};
use serde::Serialize;

use crate::{
    answer::MomentOf,
    common::Common,
    failure::{Exit, Failure, Outcome},
    interrupt::Stoppable,
    output::Output,
    progress::WatchBar,
    words,
};

const EXAMPLES: &str = "\
Examples:
  pvchat who lunch.mp4
  pvchat who group.jpg --json

People who match nobody enrolled are called person 1, 2, ...; \"maybe Aa\" is a person who may be Aa.
Exit codes: 0 somebody was found, 3 nobody.";

/// Lists who is in a video or picture, and when.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A video or picture.
    file: PathBuf,
}

/// A watched video, as JSON has it.
#[derive(Serialize)]
pub struct WatchedBody<'a> {
    #[serde(serialize_with = "words::lossy")]
    file: &'a Path,
    duration: Option<f64>,
    width: u32,
    height: u32,
    frames: usize,
    faces: usize,
}

impl<'a> WatchedBody<'a> {
    /// `file` is named as the user did.
    pub fn of(file: &'a Path, footage: &Footage) -> Self {
        let [width, height] = footage.size;
        let (frames, faces) = (footage.timeline.frames, footage.timeline.faces);
        Self { file, duration: footage.duration, width, height, frames, faces }
    }
}

#[derive(Serialize)]
struct WhoBody<'a> {
    #[serde(flatten)]
    watched: WatchedBody<'a>,
    /// The most people in one frame.
    together: usize,
    people: Vec<PersonBody>,
}

#[derive(Serialize)]
struct PersonBody {
    /// A name, or `person 1`.
    subject: String,
    known: bool,
    verdict: Verdict,
    /// Nothing for somebody who is like nobody.
    probability: Option<f32>,
    /// Nothing where no face was good enough to be compared.
    similarity: Option<f32>,
    faces: usize,
    good_faces: usize,
    flaw: Option<String>,
    moments: Vec<MomentOf>,
}

/// Watches a video, with a bar. An interruption stops it where it can resume.
pub fn watch(people: &People, output: &Output, file: &Path) -> Outcome<Footage> {
    let stoppable = Stoppable::begin();
    let mut bar = WatchBar::new(output, file);
    let watched = people.watch(file, |progress| {
        bar.observe(progress);
        stoppable.flow()
    });
    match watched {
        Ok(footage) => {
            bar.finish();
            Ok(footage)
        }
        Err(error) => {
            bar.abandon();
            let stopped = match &error {
                Error::Stopped { seconds, .. } => Some(words::clock(*seconds)),
                _ => None,
            };
            let mut failure = Failure::from(error);
            if let Some(at) = stopped {
                let file = words::shown(file);
                failure.message =
                    format!("stopped at {at} of {file}; run the same command again; what was seen until then is kept");
            }
            Err(failure)
        }
    }
}

/// The name of somebody in a video, or `person 1`.
pub fn subject(appearance: &Appearance) -> String {
    match &appearance.subject {
        Some(name) => name.bare().into(),
        None => format!("person {}", appearance.stranger),
    }
}

/// How likely it is that it is the subject; nothing for strangers.
pub fn confidence(appearance: &Appearance) -> Option<f32> {
    appearance.subject.as_ref().map(|_| appearance.probability)
}

impl Arguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let (people, output) = (common.people()?, common.output());
        let footage = watch(&people, &output, &self.file)?;
        let found = &footage.timeline.people;
        if found.is_empty() {
            let file = words::shown(&self.file);
            let frames = match footage.is_photo() {
                true => "1 picture".to_string(),
                false => words::count(footage.timeline.frames, "frame"),
            };
            let least = least_face(footage.size);
            let message =
                format!("nobody found in {file} ({frames} looked at, no face); faces of {least} pixels or more are seen");
            return Err(Failure::refused("nobody_found", message));
        }
        let body = WhoBody {
            watched: WatchedBody::of(&self.file, &footage),
            together: footage.timeline.together,
            people: found.iter().map(person).collect(),
        };
        output.result("who", &body, told(&footage))?;
        Ok(Exit::Answered)
    }
}

/// Whether nothing can be said about who somebody is: a face that says nothing is no stranger's.
fn is_untold(appearance: &Appearance) -> bool {
    appearance.subject.is_none() && appearance.telling_faces == 0
}

fn person(appearance: &Appearance) -> PersonBody {
    PersonBody {
        subject: subject(appearance),
        known: appearance.subject.is_some(),
        verdict: if is_untold(appearance) { Verdict::NotSure } else { appearance.verdict },
        probability: confidence(appearance),
        similarity: (appearance.good_faces > 0).then_some(appearance.similarity),
        faces: appearance.faces,
        good_faces: appearance.good_faces,
        flaw: appearance.flaw.map(|flaw| flaw.to_string()),
        moments: appearance.moments.iter().map(MomentOf::from).collect(),
    }
}

/// The people as a table.
fn told(footage: &Footage) -> String {
    let row = |appearance: &Appearance| {
        let maybe = if appearance.verdict == Verdict::NotSure { "maybe " } else { "" };
        let when = match footage.is_photo() {
            true => {
                let place = appearance.moments.first().map(|moment| moment.bounds.centre());
                place.map(|[x, y]| format!("around {x:.0},{y:.0}")).unwrap_or_default()
            }
            false => moments(appearance),
        };
        vec![format!("{maybe}{}", subject(appearance)), when, remark(appearance)]
    };
    words::table(&footage.timeline.people.iter().map(row).collect::<Vec<_>>())
}

/// When somebody is seen: "0:00 to 0:03, 0:10 and 3 times more".
fn moments(appearance: &Appearance) -> String {
    const SHOWN: usize = 6;
    let mut spans: Vec<String> =
        appearance.moments.iter().take(SHOWN).map(|moment| times::span(moment.start, moment.end)).collect();
    if let Some(more) = appearance.moments.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        spans.push(format!("{} more", words::count(more, "time")));
    }
    words::list(&spans)
}

/// How sure it is, or why nothing can be said.
fn remark(appearance: &Appearance) -> String {
    if let Some(probability) = confidence(appearance) {
        return words::percent(probability);
    }
    match (is_untold(appearance), appearance.flaw) {
        (true, Some(flaw)) => format!("cannot be told: {flaw}"),
        (true, None) => "cannot be told".into(),
        (false, _) => "nobody who is enrolled".into(),
    }
}
