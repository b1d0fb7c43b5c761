//! `pvchat subjects`: manages the stored people. Real people and drawn characters share the folder.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pvchat::{
    Error, Pvchat, SubjectFolder, SubjectName,
    faces::{Person, Template},
};
use serde::Serialize;

use crate::{
    common::Common,
    drawn, exchange,
    failure::{Exit, Failure, Outcome},
    kept::{Kinds, kinds, resolved},
    learned::{self, Learned},
    words,
};

const EXAMPLES: &str = "\
Examples:
  pvchat subjects list
  pvchat subjects show Aa                         the origin and quality of each look
  pvchat subjects merge Bb Aa                     Bb is Aa: all looks of Bb become Aa's
  pvchat subjects split Aa --look 2 --to Cc       the second look of Aa shows somebody else
  pvchat subjects undo                            undoes the last change
  pvchat subjects export Aa aa.person             one file, to be imported elsewhere
  pvchat subjects forget Aa                       deletes what is kept under the name, and lists it

An index of a folder (pvchat index DIR) keeps the faces of everybody in its footage, without names, and `forget` leaves it as it is:
`pvchat index DIR --delete` deletes it.";

/// The commands about people.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// Lists enrolled people.
    #[command(after_help = EXAMPLES)]
    List,
    /// Shows the looks by which a person is recognised.
    #[command(after_help = EXAMPLES)]
    Show(One),
    /// Renames a person.
    #[command(after_help = EXAMPLES)]
    Rename(FromTo),
    /// Merges two people: the looks of the first are added to the second.
    #[command(after_help = EXAMPLES)]
    Merge(FromTo),
    /// Moves some looks of a person to a new person.
    #[command(after_help = EXAMPLES)]
    Split(SplitArguments),
    /// Undoes the last change of a real person: enrolled, corrected, renamed, merged, split, imported.
    #[command(after_help = EXAMPLES)]
    Undo,
    /// Exports a person to a file.
    #[command(after_help = EXAMPLES)]
    Export(exchange::ExportArguments),
    /// Imports a person from a file.
    #[command(after_help = EXAMPLES)]
    Import(exchange::ImportArguments),
    /// Deletes what is kept under a person's name and lists the deleted files; does not ask for confirmation.
    ///
    /// Indices of folders keep faces without names.
    #[command(after_help = EXAMPLES)]
    Forget(One),
}

/// One person.
#[derive(Args)]
pub struct One {
    /// The name.
    pub name: SubjectName,
}

/// Two people.
#[derive(Args)]
pub struct FromTo {
    /// The person to rename or to merge.
    from: SubjectName,
    /// The new name, or the person who receives the looks.
    to: SubjectName,
}

#[derive(Args)]
pub struct SplitArguments {
    /// The person to split.
    from: SubjectName,
    /// The number of a look, as `show` lists it, that belongs to the new person; may be repeated.
    #[arg(long, value_name = "N", required = true)]
    look: Vec<usize>,
    /// The name of the new person.
    #[arg(long, value_name = "NAME")]
    to: SubjectName,
}

#[derive(Serialize)]
struct SubjectBody<'a> {
    name: &'a str,
    /// `face`, `learned` or `drawn`.
    by: &'static str,
    about: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    looks: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corrections: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(serialize_with = "words::lossy")]
    file: PathBuf,
    usable: bool,
}

#[derive(Serialize)]
struct SubjectsBody<'a> {
    #[serde(serialize_with = "words::lossy")]
    folder: PathBuf,
    subjects: Vec<SubjectBody<'a>>,
}

#[derive(Serialize)]
struct ChangeBody<'a> {
    change: &'a str,
}

impl Command {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        match self {
            Self::List => list(common),
            Self::Show(one) => show(common, &resolved(common, &one.name)?),
            Self::Rename(FromTo { from, to }) => rename(common, &resolved(common, from)?, to),
            Self::Merge(FromTo { from, to }) => {
                let merged = common.gallery()?.merge(from, to)?;
                let looks = words::count(merged.templates.len(), "look");
                changed(common, &format!("{} is {} now, known from {looks}", from.bare(), to.bare()))
            }
            Self::Split(arguments) => split(common, arguments),
            Self::Undo => {
                let undone = common.gallery()?.undo()?;
                let what = undone.ok_or_else(|| Failure::refused("nothing_to_undo", "there is no change to undo"))?;
                changed(common, &format!("undone: {}", words::clean(&what)))
            }
            Self::Export(arguments) => arguments.run(common),
            Self::Import(arguments) => arguments.run(common),
            Self::Forget(one) => exchange::forget(common, &resolved(common, &one.name)?),
        }
    }
}

fn changed(common: &Common, change: &str) -> Outcome<Exit> {
    common.output().result("change", &ChangeBody { change }, change)?;
    Ok(Exit::Answered)
}

fn list(common: &Common) -> Outcome<Exit> {
    let (gallery, drawn) = (common.gallery()?, common.drawn_subjects()?);
    let (names, drawn, learned) = (gallery.names()?, drawn::list(&drawn)?, common.learned()?);
    let real = |name| {
        let person = gallery.load(name);
        let about = match &person {
            Ok(person) => about(person),
            Err(error) => format!("cannot be used: {error}"),
        };
        let person = person.ok();
        SubjectBody {
            name: name.bare(),
            by: "face",
            about,
            looks: person.as_ref().map(|person| person.templates.len()),
            corrections: person.as_ref().map(|person| person.not.len()),
            usable: person.is_some(),
            model: person.map(|person| person.model),
            file: gallery.file(name),
        }
    };
    let drawn = drawn.iter().map(|(name, about, file)| drawn_body(name, about.clone(), file.clone()));
    let learned = learned.iter().map(|learned| SubjectBody {
        name: learned.name.bare(),
        by: "learned",
        about: learned.about.clone(),
        looks: None,
        corrections: None,
        model: Some(learned.base.clone()),
        file: learned.file.clone(),
        usable: learned.usable,
    });
    let subjects = names.iter().map(real).chain(learned).chain(drawn);
    let body = SubjectsBody { folder: gallery.path().to_path_buf(), subjects: subjects.collect() };
    let rows = body.subjects.iter().map(|subject| {
        let about = if subject.by == "drawn" { format!("drawn character, {}", subject.about) } else { subject.about.clone() };
        vec![subject.name.to_string(), words::clean(&about)]
    });
    let text = match body.subjects.is_empty() {
        true => format!("nobody in {} yet; pvchat enrol CLIP --name Aa makes somebody known", words::shown(gallery.path())),
        false => words::table(&rows.collect::<Vec<_>>()),
    };
    common.output().result("subjects", &body, text)?;
    Ok(Exit::Answered)
}

fn drawn_body(name: &SubjectName, about: String, file: PathBuf) -> SubjectBody<'_> {
    let usable = !about.starts_with("cannot") && !about.starts_with("being");
    SubjectBody {
        name: name.bare(),
        by: "drawn",
        about,
        looks: None,
        corrections: None,
        model: Some("miniature".into()),
        file,
        usable,
    }
}

/// A person in a line.
fn about(person: &Person) -> String {
    let mut about = words::count(person.templates.len(), "look");
    if !person.not.is_empty() {
        about.push_str(&format!(", {}", words::count(person.not.len(), "correction")));
    }
    let last = person.templates.iter().map(|template| template.added).max().unwrap_or(0);
    about.push_str(&format!(", {}, last {}", words::network(&person.model), words::day(last)));
    if !words::is_current(&person.model) {
        about.push_str("; of another version of the network: enrol again");
    }
    about
}

#[derive(Serialize)]
struct LookBody<'a> {
    number: usize,
    added: u64,
    start: f64,
    end: f64,
    good_faces: usize,
    face_width: f32,
    sharpness: f32,
    /// SHA-256 of the file that it comes from.
    source: &'a str,
}

impl<'a> LookBody<'a> {
    fn of((place, template): (usize, &'a Template)) -> Self {
        Self {
            number: place + 1,
            added: template.added,
            start: words::millis(template.span.0),
            end: words::millis(template.span.1),
            good_faces: template.faces,
            face_width: template.size,
            sharpness: template.sharpness,
            source: &template.source,
        }
    }
}

#[derive(Serialize)]
struct ShownBody<'a> {
    name: &'a str,
    model: &'a str,
    #[serde(serialize_with = "words::lossy")]
    file: PathBuf,
    bytes: u64,
    looks: Vec<LookBody<'a>>,
    corrections: Vec<LookBody<'a>>,
    learned: &'a [Learned],
}

#[derive(Serialize)]
struct LearnedBody<'a> {
    name: &'a str,
    learned: &'a [Learned],
}

fn show(common: &Common, name: &SubjectName) -> Outcome<Exit> {
    let gallery = common.gallery()?;
    let Kinds { is_real, is_drawn, .. } = kinds(common, name)?;
    let mut learned = common.learned()?;
    learned.retain(|learned| learned.name == *name);
    let line = |learned: &Learned| format!("{}; {}", words::clean(&learned.about), words::shown(&learned.file));
    let lines: Vec<String> = learned.iter().map(line).collect();
    if !is_real && !is_drawn {
        let text = format!("{}: {}", name.bare(), lines.join("\n"));
        common.output().result("subject_learned", &LearnedBody { name: name.bare(), learned: &learned }, text)?;
        return Ok(Exit::Answered);
    }
    if !is_real {
        let folder = common.drawn_subjects()?;
        let kept = drawn::list(&folder)?.into_iter().find(|(other, ..)| other == name);
        let (_, about, file) = kept.ok_or_else(|| Failure::failed(format!("{name} cannot be read; forget it")))?;
        let mut text = format!("{}: drawn character, {about}; {}", name.bare(), words::shown(&file));
        lines.iter().for_each(|line| text.push_str(&format!("\n  {line}")));
        let body = drawn_body(name, about, file);
        common.output().result("subject_drawn", &body, text)?;
        return Ok(Exit::Answered);
    }
    let (person, file) = (gallery.load(name)?, gallery.file(name));
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    let rows = |title: &str, templates: &[Template]| -> Vec<Vec<String>> {
        let row = |(place, template): (usize, &Template)| {
            let (start, end) = template.span;
            let faces = format!("{} of {:.0} px", words::count(template.faces, "good face"), template.size);
            let source: String = template.source.chars().take(12).collect();
            let number = format!("  {title} {}", place + 1);
            vec![number, words::day(template.added), words::span(start, end), faces, format!("file {}", words::clean(&source))]
        };
        templates.iter().enumerate().map(row).collect()
    };
    let mut table = rows("look", &person.templates);
    table.extend(rows("not", &person.not));
    let size = words::bytes(bytes);
    let mut text = format!("{}: {}; {}, {size}\n{}", name.bare(), about(&person), words::shown(&file), words::table(&table));
    lines.iter().for_each(|line| text.push_str(&format!("\n  {line}")));
    let body = ShownBody {
        name: name.bare(),
        model: &person.model,
        bytes,
        looks: person.templates.iter().enumerate().map(LookBody::of).collect(),
        corrections: person.not.iter().enumerate().map(LookBody::of).collect(),
        learned: &learned,
        file,
    };
    common.output().result("subject", &body, text)?;
    Ok(Exit::Answered)
}

fn rename(common: &Common, from: &SubjectName, to: &SubjectName) -> Outcome<Exit> {
    let Kinds { is_real, is_drawn, learned } = kinds(common, from)?;
    // Everything that could refuse comes first, so that nobody has two names.
    let drawn = common.drawn_subjects()?;
    for folder in learned.iter().map(|on| &on.folder).chain(is_drawn.then_some(&drawn)) {
        check_rename(folder, from, to)?;
    }
    if is_real {
        common.gallery()?.rename(from, to)?;
    }
    for on in &learned {
        on.folder.rename_any(from, to)?;
    }
    if is_drawn {
        common.drawn_subjects()?.rename(from, to, Pvchat::miniature()?.vilm())?;
    }
    changed(common, &format!("{} is {} now", from.bare(), to.bare()))
}

/// Refuses to rename somebody who is being learned, and a name that is taken.
fn check_rename(folder: &SubjectFolder, from: &SubjectName, to: &SubjectName) -> Outcome<()> {
    if let Some(learning) = folder.unfinished()?.into_iter().find(|learning| learning.names.contains(from)) {
        return Err(Error::Unfinished { name: from.to_string(), folder: learning.folder }.into());
    }
    if learned::holds(folder, to)? {
        return Err(Error::NameTaken { name: to.to_string(), folder: folder.path().to_path_buf() }.into());
    }
    Ok(())
}

fn split(common: &Common, arguments: &SplitArguments) -> Outcome<Exit> {
    let SplitArguments { from, look, to } = arguments;
    // Numbers are counted from 1 here; 0 is nobody's.
    let places: Vec<usize> = look.iter().map(|number| number.wrapping_sub(1)).collect();
    if places.contains(&usize::MAX) {
        let message = format!("there is no look 0; pvchat subjects show {} numbers them from 1", words::argument(from.bare()));
        return Err(Failure::refused("refused", message));
    }
    let other = common.gallery()?.split(from, &places, to)?;
    let looks = words::count(other.templates.len(), "look");
    changed(common, &format!("{} has {looks} now, moved from {}", to.bare(), from.bare()))
}
