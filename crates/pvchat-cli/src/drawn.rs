//! The drawn laboratory behind the same commands: the base `miniature`.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

use pvchat::{Answer, LearnOptions, Obtained, Pvchat, Subject, SubjectFolder, SubjectName};
use serde::Serialize;

use crate::{
    answer::By,
    common::Common,
    conversation::converse,
    failure::{Exit, Failure, Outcome},
    folders::make_private,
    interrupt::Stoppable,
    learned,
    output::Output,
    progress::LearnBars,
    words,
};

#[derive(Serialize)]
struct KeptBody<'a> {
    name: &'a str,
    #[serde(serialize_with = "words::lossy")]
    file: &'a Path,
    base: &'static str,
    #[serde(serialize_with = "words::lossy")]
    kept_in: PathBuf,
    /// Shares of right answers on clips held back, before and after training.
    #[serde(skip_serializing_if = "Option::is_none")]
    right: Option<[f64; 2]>,
    /// The same on frames of the clip that no clip was made of, and on strangers.
    #[serde(skip_serializing_if = "Option::is_none")]
    untouched: Option<[f64; 2]>,
    /// Whether what was learned is kept, and not the first look.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_learned: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

/// One look at a clip.
pub fn enrol(common: &Common, clip: &Path, name: &SubjectName) -> Outcome<Exit> {
    let (pvchat, folder) = (Pvchat::miniature()?, common.drawn_subjects()?);
    let subject = pvchat.enrol(&pvchat.clip(clip)?, name)?;
    make_private(folder.path())?;
    let kept_in = folder.save(&subject)?;
    let text = format!("Enrolled as {name} by one look (miniature: drawn clips only), kept in {}.", words::shown(&kept_in));
    let body = KeptBody {
        name: name.bare(),
        file: clip,
        base: "miniature",
        kept_in,
        right: None,
        untouched: None,
        kept_learned: None,
        data: None,
    };
    common.output().result("enrolled_drawn", &body, text)?;
    Ok(Exit::Answered)
}

/// Learns by training.
pub fn learn(common: &Common, file: &Path, name: &SubjectName, options: &LearnOptions, keep_data: bool) -> Outcome<Exit> {
    let (started, output, folder) = (Instant::now(), common.output(), common.drawn_subjects()?);
    let pvchat = Pvchat::miniature()?;
    let clip = pvchat.clip(file)?;
    make_private(folder.path())?;
    let (stoppable, mut bars) = (Stoppable::begin(), LearnBars::new(&output));
    let learned = folder.learn(&pvchat, &clip, name, options, |event| {
        bars.observe(&event);
        stoppable.flow()
    });
    bars.finish();
    let learned = learned.map_err(|error| {
        let mut failure = Failure::from(error);
        if failure.exit == Exit::Interrupted {
            failure.message = format!("stopped learning {name}; run the same command again to resume");
        }
        failure
    })?;
    let data = if keep_data { Some(folder.keep_data(&learned.set)?) } else { None };
    let right = [learned.report.before, learned.report.after].map(|check| f64::from(check.balanced_accuracy));
    let kept_in = folder.file(name);
    let mut text = format!(
        "{name} learned in {:.0} s (miniature: drawn clips only), kept in {}\nright on clips held back: {:.0} % before training, \
         {:.0} % after it",
        started.elapsed().as_secs_f64(),
        words::shown(&kept_in),
        100.0 * right[0],
        100.0 * right[1]
    );
    let untouched = learned.report.real.map(|checks| checks.map(|check| f64::from(check.balanced_accuracy)));
    if let Some([before, after]) = untouched {
        let shares = format!("\nright on untouched frames and strangers: {:.0} %, {:.0} %", 100.0 * before, 100.0 * after);
        text.push_str(&shares);
    }
    if !learned.report.kept_learned {
        text.push_str(match untouched {
            Some(_) => "\ntraining did not raise the first share, or lowered the second, so the first look was kept",
            None => "\ntraining did not help, so the first look was kept",
        });
    }
    if let Some(data) = &data {
        text.push_str(&format!("\nwhat it was learned from is in {}", words::shown(data)));
    }
    let body = KeptBody {
        name: name.bare(),
        file,
        base: "miniature",
        kept_in,
        right: Some(right),
        untouched,
        kept_learned: Some(learned.report.kept_learned),
        data: data.map(|data| data.to_string_lossy().into_owned()),
    };
    output.result("learned", &body, text)?;
    Ok(Exit::Answered)
}

#[derive(Serialize)]
struct AnswerBody<'a> {
    #[serde(serialize_with = "words::lossy")]
    file: &'a Path,
    question: &'a str,
    base: &'static str,
    /// By what it is known who is there.
    by: By,
    text: String,
    presence: Vec<PresenceBody<'a>>,
    obtained: Obtained,
}

#[derive(Serialize)]
struct PresenceBody<'a> {
    subject: &'a str,
    probability: f32,
}

/// Templates say of one person where it is; a sentence about two needs their tokens.
fn by_one_alone() -> Failure {
    let message = "--by faces answers about one character at a time; ask about each, or leave --by out";
    Failure::refused("question", message)
}

/// A character, known by what is to decide.
fn load(pvchat: &Pvchat, folder: &SubjectFolder, name: &SubjectName, by: By) -> Result<Subject, pvchat::Error> {
    let subject = folder.load(name, pvchat.vilm())?;
    match by {
        By::Faces => pvchat.by_template(subject),
        By::Learned => Ok(subject),
    }
}

/// One question, word by word as the answer is made.
pub fn ask(common: &Common, file: &Path, question: &str, by: By) -> Outcome<Exit> {
    let (output, folder) = (common.output(), common.drawn_subjects()?);
    let pvchat = Pvchat::miniature()?;
    let names = named(question);
    if by == By::Faces && names.len() > 1 {
        return Err(by_one_alone());
    }
    let subjects = names.iter().map(|name| load(&pvchat, &folder, name, by)).collect::<Result<Vec<_>, _>>()?;
    let clip = pvchat.clip(file)?;
    let mut written = Ok(());
    let answer = pvchat.ask_streaming(&subjects, &clip, question, |word| {
        if !output.json {
            let mut out = io::stdout().lock();
            written = write!(out, "{word}").and_then(|()| out.flush());
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    if !output.json {
        output.text("")?;
    }
    say(&output, (file, question, by), &answer, false)?;
    Ok(Exit::Answered)
}

/// Questions from standard input until it ends.
pub fn chat(common: &Common, file: &Path, by: By) -> Outcome<Exit> {
    let (output, folder) = (common.output(), common.drawn_subjects()?);
    let pvchat = Pvchat::miniature()?;
    let mut subjects = Vec::new();
    for name in folder.names()? {
        match load(&pvchat, &folder, &name, by) {
            Ok(subject) => subjects.push(subject),
            Err(error) => output.note(format!("{name} is left out: {}", Failure::from(error).message)),
        }
    }
    let clip = pvchat.clip(file)?;
    let mut conversation = pvchat.chat(&subjects, &clip);
    let known: Vec<String> = subjects.iter().map(|subject| subject.info.name.to_string()).collect();
    converse(&output, &known, |question| {
        let names = named(question);
        if by == By::Faces && names.len() > 1 {
            return Err(by_one_alone());
        }
        for name in names {
            folder.load(&name, pvchat.vilm())?;
        }
        let answer = conversation.ask(question)?;
        say(&output, (file, question, by), answer, true)
    })
}

/// Says an answer, and how sure the model is that the people of the question are there.
fn say(output: &Output, (file, question, by): (&Path, &str, By), answer: &Answer, with_text: bool) -> Outcome<()> {
    let text = answer.text.clone();
    let rests_on = match answer.obtained {
        Obtained::Remembered => "known from a remembered look",
        Obtained::Enrolled => "known from one look",
        Obtained::Learned => "known from training",
        Obtained::General => "answered without a known person",
    };
    let mut lines = if with_text { vec![text.clone()] } else { Vec::new() };
    for (name, probability) in &answer.presence {
        lines.push(format!("  {name} is there with a probability of {:.0} % ({rests_on})", 100.0 * probability));
    }
    if answer.presence.is_empty() {
        lines.push(format!("  ({rests_on})"));
    }
    let presence =
        answer.presence.iter().map(|(name, probability)| PresenceBody { subject: name.bare(), probability: *probability });
    let body =
        AnswerBody { file, question, base: "miniature", by, text, presence: presence.collect(), obtained: answer.obtained };
    output.result("answer_drawn", &body, lines.join("\n"))
}

/// The names in angle brackets of a question, each once.
fn named(question: &str) -> Vec<SubjectName> {
    let mut names: Vec<SubjectName> = Vec::new();
    for name in question.split('<').skip(1).filter_map(|rest| rest.split_once('>')?.0.parse().ok()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What is kept of drawn characters, in words, for lists: name, how it came about, bytes.
pub fn list(folder: &SubjectFolder) -> Outcome<Vec<(SubjectName, String, PathBuf)>> {
    let unfinished = folder.unfinished()?.into_iter().flat_map(|learning| {
        let about = format!("being learned: {}", learned::not_finished(&learning));
        let one = move |name: SubjectName| (name, about.clone(), learning.folder.clone());
        learning.names.clone().into_iter().map(one)
    });
    let unfinished: Vec<_> = unfinished.collect();
    let names = folder.names()?;
    if names.is_empty() {
        return Ok(unfinished);
    }
    let pvchat = Pvchat::miniature()?;
    let about = |name: &SubjectName| match folder.load(name, pvchat.vilm()) {
        Ok(subject) => {
            let origin = match subject.info.origin {
                pvchat::model::subject::Origin::Enrolled => "by one look",
                pvchat::model::subject::Origin::Learned => "by training",
                pvchat::model::subject::Origin::Remembered => "remembered",
            };
            let alone = if subject.is_composable() { "" } else { ", to be asked about alone" };
            format!("{origin}{alone}")
        }
        Err(error) => format!("cannot be used: {}", Failure::from(error).message),
    };
    Ok(names.into_iter().map(|name| (name.clone(), about(&name), folder.file(&name))).chain(unfinished).collect())
}
