//! The first act: somebody is learned from one clip and looked for in others, and the answers are compared with the truth.

use std::{
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

use image::RgbImage;
use pvchat::{
    Enrolled, Footage, People, PeopleAnswer, PeopleOptions, SubjectName,
    faces::{
        Bounds, Person, SeenFace, Verdict,
        models::{self, State},
    },
    nn::device,
    video::{SamplingPlan, VideoReader},
};
use serde::Serialize;

use super::{
    Outcome,
    clips::{self, DemoClip},
    clock, stretches,
};
use crate::{progress::bar, shown, wrap};

/// Who is learned.
pub const NAME: &str = "Aa";
/// Frames of a clip that are shown.
const SHOWN: usize = 6;
/// How far a time may be off, in seconds: a clip is looked at twice a second.
const TOLERANCE: f64 = 1.0;
/// Widths of question and answer, in characters.
const WIDTHS: [usize; 2] = [30, 52];

/// Where the models and the published clips are, and where to write.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The models that find people.
    pub models: PathBuf,
    /// The published clips.
    pub clips: PathBuf,
    /// What the demo writes.
    pub output: PathBuf,
}

impl Folders {
    /// Refuses folders without models or clips.
    ///
    /// # Errors
    /// What is absent, and the command that fetches it.
    pub fn check(&self) -> Outcome<()> {
        let models = models::list(&self.models)?;
        let needed = models::select(["people"])?;
        let model = models
            .iter()
            .find(|status| status.state != State::Installed && needed.iter().any(|needed| needed.name == status.model.name));
        let clips = models::clips().iter().flat_map(|fixture| fixture.members).map(|member| self.clips.join(member.file_name()));
        let absent = model.map(|status| status.file.clone()).into_iter().chain(clips.filter(|clip| !clip.exists())).next();
        match absent {
            None => Ok(()),
            Some(file) => Err(format!(
                "{} is absent or damaged; run `make models`, which fetches models and clips once (50 MB)",
                file.display()
            )
            .into()),
        }
    }
}

/// All that came of the first act.
pub struct Act {
    /// Who was learned.
    pub enrolled: Enrolled,
    /// Frames of the clip that the person was learned from.
    pub reference: Vec<ShownFrame>,
    /// What was asked about.
    pub clips: Vec<AskedClip>,
    /// The figures.
    pub figures: Figures,
}

/// A clip with the questions about it.
pub struct AskedClip {
    /// The clip and its truth.
    pub clip: DemoClip,
    /// What was seen.
    pub footage: Footage,
    /// How long watching took, in seconds.
    pub watch_seconds: f64,
    /// The questions.
    pub answers: Vec<Answered>,
    /// Frames with what was found in them.
    pub frames: Vec<ShownFrame>,
}

/// A question with its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answered {
    /// The question.
    pub question: &'static str,
    /// The answer.
    pub answer: String,
    /// What is true.
    pub truth: String,
    /// Whether the answer says so.
    pub right: bool,
}

/// A frame of a clip.
pub struct ShownFrame {
    /// Its time, as it is shown.
    pub time: String,
    /// The frame.
    pub image: RgbImage,
    /// The faces in it.
    pub faces: Vec<ShownFace>,
}

/// A face in a frame.
pub struct ShownFace {
    /// Its box.
    pub bounds: Bounds,
    /// Whether this face alone is the person.
    pub verdict: Verdict,
    /// Who it is, with its similarity, or why it says nothing.
    pub label: String,
}

/// What the first act measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Opening the models, in seconds.
    pub open_models: f64,
    /// Looking for the person in the reference and enrolling, in seconds.
    pub learn: f64,
    /// From the start of the demo to the first answer, in seconds.
    pub first_answer: f64,
    /// Frames that were watched.
    pub frames: usize,
    /// Watching one of them, in seconds.
    pub watch_frame: f64,
    /// The longest time that a question took, in seconds.
    pub ask: f64,
    /// The size of the person's file in bytes.
    pub person_bytes: u64,
    /// The least similar appearance of the person, and the most similar of anybody else.
    pub similarities: [f32; 2],
    /// From which similarity on the answer is yes.
    pub certain_from: f32,
    /// The clips with their questions.
    pub clips: Vec<ClipFigures>,
}

/// What was measured of one clip.
#[derive(Clone, Debug, Serialize)]
pub struct ClipFigures {
    /// The file.
    pub file: String,
    /// Frames that were watched.
    pub frames: usize,
    /// How long that took, in seconds.
    pub watch: f64,
    /// The questions.
    pub answers: Vec<Answered>,
}

impl Act {
    /// The questions whose answers are wrong, as `file: question`.
    pub fn wrong(&self) -> Vec<String> {
        let clips = self.clips.iter();
        clips
            .flat_map(|asked| asked.answers.iter().map(move |answer| (asked.clip.name(), answer)))
            .filter(|(_, answer)| !answer.right)
            .map(|(file, answer)| format!("{file}: {}", answer.question))
            .collect()
    }
}

/// Learns the person of the reference and asks about the other clips.
///
/// # Errors
/// When models or clips are absent, and what looking and writing report.
pub fn act(folders: &Folders, out: &mut impl Write) -> Outcome<Act> {
    let started = Instant::now();
    let name: SubjectName = NAME.parse()?;
    let people =
        People::open(&folders.models, folders.output.join("people"), PeopleOptions::default(), &device::default_device()?)?;
    // What an earlier run kept would be added to.
    if people.gallery().names()?.contains(&name) {
        people.forget(&name)?;
    }
    let open_models = started.elapsed().as_secs_f64();

    let reference = folders.clips.join(clips::REFERENCE);
    let learning = Instant::now();
    let enrolled = people.enrol(&people.look(&reference)?, None, &name)?;
    let learn = learning.elapsed().as_secs_f64();
    let person_bytes = std::fs::metadata(&enrolled.file).map_or(0, |metadata| metadata.len());
    let candidate = &enrolled.candidate;
    writeln!(
        out,
        "Learned {NAME} from {} in {learn:.1} s: {} faces, {} of them good.",
        clips::REFERENCE,
        candidate.faces,
        candidate.good_faces
    )?;
    writeln!(out, "All that is kept is {} ({:.0} kB).\n", shown(&enrolled.file), person_bytes as f64 / 1e3)?;

    let mut asked = Vec::new();
    let mut first_answer = 0.0;
    for clip in clips::prepare(&folders.clips, &folders.output)? {
        let (footage, watch_seconds) = watch(&people, &clip.file)?;
        let length = footage.duration.unwrap_or_default();
        writeln!(out, "{}: {}", clip.name(), clip.shows)?;
        writeln!(out, "  {length:.0} s long, watched in {watch_seconds:.1} s")?;
        let mut answers = Vec::new();
        for question in questions(&clip) {
            let answer = people.ask(&footage, question.words())?;
            if first_answer == 0.0 {
                first_answer = started.elapsed().as_secs_f64();
            }
            let right = question.is_right(&answer, &clip);
            say(out, question.words(), &answer.text, right)?;
            answers.push(Answered { question: question.words(), answer: answer.text, truth: question.truth(&clip), right });
        }
        writeln!(out)?;
        let times = if clip.name() == "film.mp4" { clips::film_shots() } else { spread(length) };
        let frames = show(&people, &clip.file, &times, &enrolled.person)?;
        asked.push(AskedClip { clip, footage, watch_seconds, answers, frames });
    }

    let slowest = slowest_question(&people, &asked)?;
    let length = VideoReader::open(&reference)?.info().duration_seconds.unwrap_or_default();
    let reference = show(&people, &reference, &spread(length), &enrolled.person)?;
    let frames = asked.iter().map(|asked| asked.footage.timeline.frames).sum::<usize>();
    let watched: f64 = asked.iter().map(|asked| asked.watch_seconds).sum();
    let figures = Figures {
        open_models,
        learn,
        first_answer,
        frames,
        watch_frame: watched / frames.max(1) as f64,
        ask: slowest,
        person_bytes,
        similarities: similarities(&asked),
        certain_from: people.calibration().certain_from(1),
        clips: asked
            .iter()
            .map(|asked| ClipFigures {
                file: asked.clip.name(),
                frames: asked.footage.timeline.frames,
                watch: asked.watch_seconds,
                answers: asked.answers.clone(),
            })
            .collect(),
    };
    Ok(Act { enrolled, reference, clips: asked, figures })
}

/// What is asked about a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    IsIn,
    When,
    HowMany,
    Who,
}

/// Times are asked for where there are any.
fn questions(clip: &DemoClip) -> Vec<Question> {
    let when = (!clip.aa.is_empty()).then_some(Question::When);
    [Some(Question::IsIn), when, Some(Question::HowMany), Some(Question::Who)].into_iter().flatten().collect()
}

impl Question {
    fn words(self) -> &'static str {
        match self {
            Self::IsIn => "Is Aa in it?",
            Self::When => "When does Aa appear?",
            Self::HowMany => "How many people are there?",
            Self::Who => "Who is in it?",
        }
    }

    fn truth(self, clip: &DemoClip) -> String {
        let others = clip.people - usize::from(!clip.aa.is_empty());
        match self {
            Self::IsIn => if clip.aa.is_empty() { "no" } else { "yes" }.into(),
            Self::When => stretches(&clip.aa),
            Self::HowMany => clip.people.to_string(),
            Self::Who => match (clip.aa.is_empty(), others) {
                (true, 0) => "nobody".into(),
                (true, others) => strangers(others),
                (false, 0) => NAME.into(),
                (false, others) => format!("{NAME} and {}", strangers(others)),
            },
        }
    }

    fn is_right(self, answer: &PeopleAnswer, clip: &DemoClip) -> bool {
        let is_there = !clip.aa.is_empty();
        let found: Vec<_> = answer.presence.iter().filter(|presence| !presence.moments.is_empty()).collect();
        let sure = found.iter().all(|presence| presence.verdict == Verdict::Yes);
        match self {
            // Where no face is seen at all, the answer says that, and leaves open who is behind the camera.
            Self::IsIn if clip.people == 0 => answer.verdict != Some(Verdict::Yes) && found.is_empty() && answer.others == 0,
            Self::IsIn => {
                let (verdict, word) = if is_there { (Verdict::Yes, "Yes") } else { (Verdict::No, "No") };
                answer.verdict == Some(verdict) && answer.text.starts_with(word)
            }
            Self::When => {
                let moments = found.iter().flat_map(|presence| &presence.moments).map(|moment| (moment.start, moment.end));
                sure && agree(&moments.collect::<Vec<_>>(), &clip.aa)
            }
            Self::HowMany => sure && found.len() + answer.others == clip.people,
            Self::Who => sure && found.len() == usize::from(is_there) && found.len() + answer.others == clip.people,
        }
    }
}

fn strangers(count: usize) -> String {
    if count == 1 { "1 stranger".into() } else { format!("{count} strangers") }
}

/// Whether two lists of stretches are the same, but for what looking twice a second cannot see.
fn agree(found: &[(f64, f64)], truth: &[(f64, f64)]) -> bool {
    let near = |one: f64, other: f64| (one - other).abs() <= TOLERANCE;
    found.len() == truth.len() && found.iter().zip(truth).all(|(found, truth)| near(found.0, truth.0) && near(found.1, truth.1))
}

fn say(out: &mut impl Write, question: &str, answer: &str, right: bool) -> std::io::Result<()> {
    let [question_width, answer_width] = WIDTHS;
    for (number, line) in wrap(answer, answer_width).iter().enumerate() {
        match number {
            0 => {
                let verdict = if right { "right" } else { "WRONG" };
                writeln!(out, "    {question:<question_width$}{line:<answer_width$}  {verdict}")?;
            }
            _ => writeln!(out, "    {:<question_width$}{line}", "")?,
        }
    }
    Ok(())
}

fn watch(people: &People, file: &Path) -> Outcome<(Footage, f64)> {
    let started = Instant::now();
    let progress = bar("watching, in seconds of the clip", 0);
    let footage = people.watch(file, |watched| {
        progress.set_length(watched.duration.unwrap_or(watched.seconds) as u64);
        progress.set_position(watched.seconds as u64);
        ControlFlow::Continue(())
    });
    progress.finish_and_clear();
    Ok((footage?, started.elapsed().as_secs_f64()))
}

/// Times that are spread evenly over a clip.
fn spread(length: f64) -> Vec<f64> {
    (0..SHOWN).map(|number| length * (number as f64 + 0.5) / SHOWN as f64).collect()
}

/// Frames at these times with the faces in them, each by itself.
fn show(people: &People, file: &Path, times: &[f64], person: &Person) -> Outcome<Vec<ShownFrame>> {
    let clip = VideoReader::open(file)?.sample(&SamplingPlan::Times(times.to_vec()))?;
    let pictures: Vec<&RgbImage> = clip.frames.iter().collect();
    let seen = people.finder().faces_of(&pictures)?;
    let face = |face: SeenFace| {
        let (verdict, label) = match (&face.embedding, face.flaws.first()) {
            (Some(embedding), _) => {
                let similarity = person.similarity(embedding);
                let verdict = people.calibration().verdict(similarity, 1);
                let who = match verdict {
                    Verdict::Yes => NAME.into(),
                    Verdict::NotSure => format!("{NAME}?"),
                    Verdict::No => String::from("stranger"),
                };
                // As on the timeline: below 0 says no more than 0.
                (verdict, format!("{who} {:.2}", similarity.max(0.0)))
            }
            (None, flaw) => (Verdict::NotSure, flaw.map_or_else(|| "?".into(), ToString::to_string)),
        };
        ShownFace { bounds: face.face.bounds, verdict, label }
    };
    // Seconds are too coarse for a clip of four.
    let is_short = times.last().is_some_and(|last| *last < 10.0);
    let time = |seconds: f64| if is_short { format!("{seconds:.1} s") } else { clock(seconds) };
    let frames = clip.frames.into_iter().zip(&clip.times).zip(seen);
    Ok(frames
        .map(|((image, &seconds), faces)| ShownFrame { time: time(seconds), image, faces: faces.into_iter().map(face).collect() })
        .collect())
}

/// The longest time in seconds that a question takes.
fn slowest_question(people: &People, asked: &[AskedClip]) -> Outcome<f64> {
    let mut slowest: f64 = 0.0;
    for asked in asked {
        for answer in &asked.answers {
            let started = Instant::now();
            people.ask(&asked.footage, answer.question)?;
            slowest = slowest.max(started.elapsed().as_secs_f64());
        }
    }
    Ok(slowest)
}

/// The similarity of the least similar appearance of the person, and of the most similar one of anybody else.
fn similarities(asked: &[AskedClip]) -> [f32; 2] {
    let people = || asked.iter().flat_map(|asked| &asked.footage.timeline.people);
    let of = |known: bool| people().filter(move |person| person.subject.is_some() == known).map(|person| person.similarity);
    [of(true).fold(1.0, f32::min), of(false).fold(-1.0, f32::max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_agree_within_a_second() {
        let truth = [(5.0, 12.0), (18.0, 25.0)];
        assert!(agree(&[(5.5, 11.5), (18.0, 24.5)], &truth));
        assert!(!agree(&[(5.5, 11.5)], &truth));
        assert!(!agree(&[(3.5, 11.5), (18.0, 24.5)], &truth));
        assert!(!agree(&[(5.0, 25.0)], &truth));
        assert!(agree(&[], &[]));
    }
}
