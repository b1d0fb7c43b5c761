//! `pvchat enrol` and `pvchat correct`: who somebody in a clip is, or is not.

use std::{io::Cursor, path::PathBuf};

use clap::Args;
use image::ImageFormat;
use pvchat::{
    Candidate, Choice, Enrolled, Error, People, SeenPeople, SubjectName,
    data::file::write_atomically,
    faces::{Bounds, Person, Template, Verdict, cosine},
};
use serde::Serialize;

use crate::{
    answer::BoxOf,
    bases::Base,
    common::Common,
    drawn,
    failure::{Exit, Failure, Outcome},
    folders::make_private,
    output::Output,
    progress::spinner,
    words,
};

const ENROL_EXAMPLES: &str = "\
Examples:
  pvchat enrol reference.mp4 --name Aa
  pvchat enrol passport.jpg --name Aa               a picture works too; a second look is added to the first
  pvchat enrol party.mp4 --name Bb --person 2       several people: the list gives their numbers
  pvchat enrol party.mp4 --name Bb --at 240,120     the person whose face is at that point, in pixels

Exit codes: 0 enrolled, 3 nobody found, several people, or no face that is good enough.";

/// Enrols a person from one clip or picture; adds another look if the person is enrolled already.
#[derive(Args)]
#[command(after_help = ENROL_EXAMPLES)]
pub struct EnrolArguments {
    /// A video or picture that shows the person.
    clip: PathBuf,
    /// The person's name: 1 to 40 letters, digits, spaces or hyphens.
    #[arg(long, value_name = "NAME")]
    name: SubjectName,
    /// Replaces all looks and corrections of that name, in place of adding a look.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    which: Which,
    /// For drawn characters: miniature. Real people are enrolled without a base.
    #[arg(long, env = "PVCHAT_BASE", hide_env_values = true, value_name = "BASE")]
    base: Option<Base>,
}

const CORRECT_EXAMPLES: &str = "\
Examples:
  pvchat correct street.mp4 --not Bb                the person in street.mp4 was taken for Bb by mistake
  pvchat correct party.mp4 --not Bb --person 2

From then on, a person who looks more like this one than like Bb is not reported as Bb. `pvchat subjects undo` reverts it.";

/// Records that the person in a clip or picture is not the named one.
#[derive(Args)]
#[command(after_help = CORRECT_EXAMPLES)]
pub struct CorrectArguments {
    /// A video or picture that shows the person.
    clip: PathBuf,
    /// The name of the person it is not.
    #[arg(long, value_name = "NAME")]
    not: SubjectName,
    #[command(flatten)]
    which: Which,
}

/// Which of several people is meant.
#[derive(Args)]
pub struct Which {
    /// The person's number, when there are several people.
    #[arg(long, value_name = "N", group = "which")]
    person: Option<usize>,
    /// A point in the person's face, in pixels.
    #[arg(long, value_name = "X,Y", value_parser = numbers::<2>, group = "which")]
    at: Option<[f32; 2]>,
    /// A box around the person's face, in pixels.
    #[arg(long = "box", value_name = "L,T,R,B", value_parser = numbers::<4>, group = "which")]
    around: Option<[f32; 4]>,
    /// The folder for pictures of the faces when there are several people; by default a new private temporary folder.
    #[arg(long, env = "PVCHAT_THUMBNAILS", hide_env_values = true, value_name = "DIR")]
    thumbnails: Option<PathBuf>,
}

/// Numbers between commas.
fn numbers<const COUNT: usize>(text: &str) -> Result<[f32; COUNT], String> {
    let read = |part: &str| part.trim().parse().ok().filter(|number: &f32| number.is_finite());
    let numbers: Option<Vec<f32>> = text.split(',').map(read).collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| format!("give {COUNT} numbers with commas between, in pixels"))
}

impl Which {
    pub fn choice(&self) -> Option<Choice> {
        let around = self.around.map(|[left, top, right, bottom]| Choice::Box(Bounds::new(left, top, right, bottom)));
        self.person.map(Choice::Number).or(self.at.map(Choice::Point)).or(around)
    }

    /// Says who there is when the choice failed for that.
    pub fn explain(&self, output: &Output, seen: &SeenPeople, error: Error) -> Outcome<Failure> {
        let (Error::SeveralPeople { candidates, .. } | Error::NotChosen { candidates, .. }) = &error else {
            return Ok(error.into());
        };
        let folder = self.portraits(seen, candidates)?;
        let number = words::count(candidates.len(), "person");
        let how = "choose one by --person N, --at X,Y or --box L,T,R,B";
        let file = words::shown(&seen.source);
        let failure = match &error {
            Error::SeveralPeople { .. } => Failure::refused("several_people", format!("{number} in {file}; {how}")),
            _ => Failure::refused("not_chosen", format!("that choice fits nobody in {file} ({number} found); {how}")),
        };
        let failure = Failure { is_in_json: true, ..failure };
        let body = Candidates {
            failure: &failure,
            file: &seen.source,
            thumbnails: &folder,
            candidates: candidates.iter().map(|candidate| Seen::of(candidate, Some(picture(candidate)))).collect(),
        };
        output.result("candidates", &body, listed(seen, candidates, &words::shown(&folder)))?;
        Ok(failure)
    }

    /// Writes pictures of the candidates and gives their folder.
    fn portraits(&self, seen: &SeenPeople, candidates: &[Candidate]) -> Outcome<PathBuf> {
        let folder = match &self.thumbnails {
            Some(folder) => {
                make_private(folder)?;
                folder.clone()
            }
            None => {
                let parent = std::env::temp_dir();
                let made = tempfile::Builder::new().prefix("pvchat-candidates-").tempdir_in(&parent);
                made.map_err(|error| Failure::file(&parent, &error))?.keep()
            }
        };
        for candidate in candidates {
            let Some(portrait) = &candidate.portrait else { continue };
            let mut png = Cursor::new(Vec::new());
            portrait.write_to(&mut png, ImageFormat::Png).map_err(|error| {
                Failure::failed(format!("{}: a face cannot be written as PNG: {error}", words::shown(&seen.source)))
            })?;
            write_atomically(&folder.join(picture(candidate)), png.get_ref())?;
        }
        Ok(folder)
    }
}

/// The file name of a candidate's picture.
fn picture(candidate: &Candidate) -> String {
    format!("person-{}.png", candidate.number)
}

/// Somebody who was seen, as JSON has it.
#[derive(Serialize)]
struct Seen {
    number: usize,
    start: f64,
    end: f64,
    faces: usize,
    good_faces: usize,
    face_width: f32,
    sharpness: f32,
    best: f64,
    #[serde(rename = "box")]
    bounds: BoxOf,
    flaws: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail: Option<String>,
}

impl Seen {
    fn of(candidate: &Candidate, thumbnail: Option<String>) -> Self {
        Self {
            number: candidate.number,
            start: words::millis(candidate.span.0),
            end: words::millis(candidate.span.1),
            faces: candidate.faces,
            good_faces: candidate.good_faces,
            face_width: candidate.size,
            sharpness: candidate.sharpness,
            best: words::millis(candidate.best.1),
            bounds: BoxOf::from(candidate.best.0),
            flaws: candidate.flaws.iter().map(ToString::to_string).collect(),
            thumbnail: thumbnail.filter(|_| candidate.portrait.is_some()),
        }
    }
}

#[derive(Serialize)]
struct Candidates<'a> {
    #[serde(flatten)]
    failure: &'a Failure,
    #[serde(serialize_with = "words::lossy")]
    file: &'a PathBuf,
    #[serde(serialize_with = "words::lossy")]
    thumbnails: &'a PathBuf,
    candidates: Vec<Seen>,
}

/// The candidates as a table.
fn listed(seen: &SeenPeople, candidates: &[Candidate], folder: &str) -> String {
    let row = |candidate: &Candidate| {
        let (start, end) = candidate.span;
        let [x, y] = candidate.best.0.centre();
        let when = if seen.is_picture { String::new() } else { words::span(start, end) };
        let faces = words::count(candidate.good_faces, "good face");
        let file = if candidate.portrait.is_some() { picture(candidate) } else { "no picture".into() };
        vec![
            format!("  {}", candidate.number),
            when,
            format!("around {x:.0},{y:.0}"),
            format!("{:.0} px", candidate.size),
            faces,
            file,
        ]
    };
    let rows: Vec<Vec<String>> = candidates.iter().map(row).collect();
    format!("{}\nPictures of them are in {folder}; delete it when you have chosen.", words::table(&rows))
}

/// Looks for people in a clip.
pub fn look(people: &People, common: &Common, clip: &std::path::Path) -> Outcome<SeenPeople> {
    let spinner = spinner(&common.output(), format!("looking for people in {}", words::shown(clip)));
    let seen = people.look(clip);
    spinner.finish_and_clear();
    Ok(seen?)
}

#[derive(Serialize)]
struct EnrolledBody<'a> {
    name: &'a str,
    #[serde(serialize_with = "words::lossy")]
    file: &'a PathBuf,
    is_picture: bool,
    seen: Seen,
    others: usize,
    added: bool,
    templates: usize,
    model: &'a str,
    #[serde(serialize_with = "words::lossy")]
    kept_in: &'a PathBuf,
}

impl EnrolArguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        // A base that describes has no part in recognising people.
        if self.base.as_ref().is_some_and(Base::is_miniature) {
            return drawn::enrol(common, &self.clip, &self.name);
        }
        if let Some(base) = self.base.as_ref().filter(|base| !base.is_empty()) {
            base.key()?;
        }
        let (people, output) = (common.people()?, common.output());
        let seen = look(&people, common, &self.clip)?;
        let enrolled = if self.replace {
            people.enrol_anew(&seen, self.which.choice(), &self.name)
        } else {
            people.enrol(&seen, self.which.choice(), &self.name)
        };
        let enrolled = match enrolled {
            Ok(enrolled) => enrolled,
            Err(error) => return Err(self.which.explain(&output, &seen, error)?),
        };
        let body = EnrolledBody {
            name: self.name.bare(),
            file: &seen.source,
            is_picture: seen.is_picture,
            seen: Seen::of(&enrolled.candidate, None),
            others: enrolled.others,
            added: enrolled.added,
            templates: enrolled.person.templates.len(),
            model: &enrolled.person.model,
            kept_in: &enrolled.file,
        };
        output.result("enrolled", &body, told(&seen, &enrolled))?;
        if let Some(warning) = readable_by_others(people.gallery().path()) {
            output.note(warning);
        }
        for doubt in doubts(&people, &enrolled)? {
            output.note(doubt);
        }
        Ok(Exit::Answered)
    }
}

/// What was seen of whom: "One person, 0:00 to 0:11; 12 good faces of 96 px."
fn described(seen: &SeenPeople, candidate: &Candidate, others: usize) -> String {
    let who = match others {
        0 => "one person".to_string(),
        others => format!("person {} of {}", candidate.number, others + 1),
    };
    let faces = format!("{:.0} px", candidate.size);
    if seen.is_picture {
        return format!("One picture, {who}; a face of {faces}.");
    }
    let who = if others == 0 { "One person".to_string() } else { format!("Person {}", &who["person ".len()..]) };
    let (start, end) = candidate.span;
    format!("{who}, {}; {} of {faces}.", words::span(start, end), words::count(candidate.good_faces, "good face"))
}

fn told(seen: &SeenPeople, enrolled: &Enrolled) -> String {
    let Enrolled { person, candidate, others, added, .. } = enrolled;
    let (name, network) = (person.name.bare(), words::network(&person.model));
    let what = match added {
        false => format!("Enrolled as {name} ({network})."),
        true => format!("Added to {name}, known from {} now ({network}).", words::count(person.templates.len(), "look")),
    };
    format!("{} {what}", described(seen, candidate, *others))
}

/// Folders that the program makes are private; one that was there before keeps its mode.
#[cfg(unix)]
fn readable_by_others(folder: &std::path::Path) -> Option<String> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&folder.metadata().ok()?.permissions());
    let folder = words::quoted(folder);
    (mode & 0o077 != 0).then(|| format!("note: other users can look into {folder}; chmod 700 {folder} prevents it"))
}

#[cfg(not(unix))]
fn readable_by_others(_: &std::path::Path) -> Option<String> {
    None
}

/// What does not fit: somebody else who looks the same, or looks of one person that differ.
fn doubts(people: &People, enrolled: &Enrolled) -> Outcome<Vec<String>> {
    let Some((Template { embedding, .. }, before)) = enrolled.person.templates.split_last() else { return Ok(Vec::new()) };
    let (calibration, name) = (people.calibration(), enrolled.person.name.bare());
    let nearest = before.iter().map(|template| cosine(&template.embedding, embedding)).reduce(f32::max);
    if nearest.is_some_and(|nearest| calibration.verdict(nearest, 1) == Verdict::No) {
        // Whom it is like instead says nothing about the person.
        return Ok(vec![format!(
            "note: this face is unlike the other looks of {name}; if it is somebody else, take it back: pvchat subjects undo"
        )]);
    }
    let mut doubts = Vec::new();
    let names = people.gallery().names()?;
    for other in names.iter().filter(|other| **other != enrolled.person.name) {
        // A person whose file cannot be read is reported when somebody asks for that person.
        let Ok(other) = people.gallery().load(other) else { continue };
        let is_like = |other: &Person| calibration.verdict(other.similarity(embedding), names.len()) == Verdict::Yes;
        if other.model == enrolled.person.model && is_like(&other) {
            let other = other.name.bare();
            let merge = format!("pvchat subjects merge {} {}", words::argument(name), words::argument(other));
            doubts.push(format!("note: this face is like {other}; if they are one person: {merge}"));
        }
    }
    Ok(doubts)
}

#[derive(Serialize)]
struct CorrectedBody<'a> {
    not: &'a str,
    #[serde(serialize_with = "words::lossy")]
    file: &'a PathBuf,
    seen: usize,
    corrections: usize,
}

impl CorrectArguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let (people, output) = (common.people()?, common.output());
        // Before a long look: somebody who is not known cannot be corrected.
        people.gallery().load(&self.not)?;
        let seen = look(&people, common, &self.clip)?;
        let person = match people.correct(&seen, self.which.choice(), &self.not) {
            Ok(person) => person,
            Err(error) => return Err(self.which.explain(&output, &seen, error)?),
        };
        let (name, corrections) = (self.not.bare(), person.not.len());
        let body = CorrectedBody { not: name, file: &seen.source, seen: seen.candidates().len(), corrections };
        let noted = words::count(corrections, "correction");
        let text = format!("Recorded: the person in {} is not {name} ({noted} in all).", words::shown(&seen.source));
        output.result("corrected", &body, text)?;
        Ok(Exit::Answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_boxes_are_numbers_in_pixels() {
        assert_eq!(numbers::<2>("240, 120.5"), Ok([240.0, 120.5]));
        for wrong in ["", "1", "1,2,3", "a,b", "1,NaN", "inf,1"] {
            assert!(numbers::<2>(wrong).is_err(), "{wrong}");
        }
    }
}
