//! The laboratory of the method: can a person be learned from one clip, by gradient, in a base that knows people in general
//! and nobody in particular?
//!
//! `learn` learns the characters of an examination in the ways that are asked for and writes every answer into a file, from
//! which `table` makes the tables; answers that are already in the file are not computed again.

mod answers;
mod curve;
mod made;
mod seen;
mod settings;
mod variants;

use std::{error::Error, ops::ControlFlow, path::Path, process::ExitCode, time::Instant};

use answers::{
    ANOTHERS, ANOTHERS_ROWS, ANOTHERS_TOKENS, AnswerFile, BLANK, BRIDGE, DESCRIBED, POOLED, READ_OUTS, Row, ZEROED, is_there,
    rows, table,
};
use clap::Parser;
use curve::Steps;
use image::{RgbImage, imageops};
use made::{about, gated, made_stream, made_with};
use pvchat::{
    LearnEvent, LearnOptions, Pvchat, SeenClip, Shot, Subject, SubjectName,
    augment::{
        Nobody,
        exchange::{ExchangeConfig, Exchanged, Making, Strangers},
    },
    data::random::SeededStream,
    miniature::{
        corpus::{self, empty_scenes},
        exam::{self, Cast, Character, Counts},
    },
    model::{sight::Sight, vilm::Vilm},
    nn::device::default_device,
};
use pvchat_examples::{
    controls::{Description, with_rows_of, with_tokens_alone_of, with_tokens_of, zeroed},
    examination::Outcome,
    exit_code,
    progress::bar,
};
use seen::{cosine, pooled, read_outs};
use settings::{Arguments, Command, Data, Learning, Mode, digest, learned, options, short};
use variants::{USUAL, Variant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Side of the frames that clips are made in; the base sees half of it.
const SIDE: u32 = 128;
/// Strangers that clips are made with.
const STRANGERS: usize = 240;
/// Seed of the strangers and of the empty places.
const STRANGERS_SEED: u64 = 99;
/// How often more clips with the character are made where many were dropped.
const MORE_ROUNDS: usize = 2;
/// Strangers who look most alike, from whom [`Data::Retrieved`] draws.
const RETRIEVED: usize = 24;
/// Newly made clips that controls are asked about.
const NEW_CLIPS: usize = 64;

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()).map_err(|error| error as Box<dyn Error>))
}

fn run(arguments: &Arguments) -> Outcome<()> {
    match &arguments.command {
        Command::Sheet { output } => Laboratory::new()?.sheet(arguments, output),
        Command::Learn(learning) => Laboratory::new()?.learn(arguments, learning),
        Command::Together { group, vary, learning } => {
            let variants: Vec<Variant> = std::iter::once(USUAL).chain(vary.iter().flat_map(|vary| vary.variants())).collect();
            Laboratory::new()?.together(arguments, learning, *group, &variants)
        }
        Command::Newcomers { founders, founders_exam, own_image_steps, own_clip_steps, own_rate, learning } => {
            let own = Learning {
                trains: vec![Mode::Tokens],
                image_steps: *own_image_steps,
                clip_steps: *own_clip_steps,
                rate: *own_rate,
                ..learning.clone()
            };
            Laboratory::new()?.newcomers(arguments, learning, &own, (*founders, *founders_exam))
        }
        Command::Table { against, controls } => {
            let verdicts = table(&rows(&arguments.answers)?, arguments.exam, against.as_deref())?;
            match verdicts.iter().find(|(_, verdict)| !verdict.passed()) {
                _ if !controls => Ok(()),
                Some((way, verdict)) => Err(format!("{way}: {verdict}").into()),
                None if verdicts.is_empty() => Err("there are no answers of anybody who was learned".into()),
                None => Ok(()),
            }
        }
    }
}

struct Laboratory {
    /// Clips of one stranger each.
    clips: Vec<Vec<RgbImage>>,
    strangers: Strangers,
    folder: tempfile::TempDir,
}

impl Laboratory {
    fn new() -> Outcome<Self> {
        let clips: Vec<Vec<RgbImage>> = (0..)
            .map(|number| corpus::scene(STRANGERS_SEED, number))
            .filter(|scene| scene.people.len() == 1 && !scene.people[0].identity.is_reserved())
            .take(STRANGERS)
            .map(|scene| scene.render(SIDE).frames)
            .collect();
        let strangers = Strangers::find(&clips, empty_scenes(40, SIDE, STRANGERS_SEED))?;
        Ok(Self { clips, strangers, folder: tempfile::tempdir()? })
    }

    fn reference(&self, character: &Character) -> Outcome<Vec<RgbImage>> {
        let frames = exam::through_mp4(&character.reference, self.folder.path(), "reference")?;
        Ok(frames.iter().map(|frame| imageops::resize(frame, SIDE, SIDE, imageops::FilterType::Triangle)).collect())
    }

    fn make(
        &self,
        reference: &[RgbImage],
        config: ExchangeConfig,
        count: usize,
        stream: &SeededStream,
    ) -> Outcome<Vec<Exchanged>> {
        made_with(&self.strangers, reference, config, count, stream)
    }

    /// The strangers who look most like the reference, to the encoder.
    fn retrieved(&self, pvchat: &Pvchat, reference: &[RgbImage]) -> Outcome<Strangers> {
        let own = read_outs(&pvchat.see(reference)?.memory).swap_remove(0);
        let alike = |clip: &Vec<RgbImage>| -> Outcome<f32> {
            Ok(read_outs(&pvchat.see(clip)?.memory).iter().map(|other| cosine(&own, other)).fold(f32::NEG_INFINITY, f32::max))
        };
        let mut ranked = self.clips.iter().map(|clip| Ok((alike(clip)?, clip))).collect::<Outcome<Vec<_>>>()?;
        ranked.sort_by(|one, other| other.0.total_cmp(&one.0));
        let nearest: Vec<Vec<RgbImage>> = ranked.into_iter().take(RETRIEVED).map(|(_, clip)| clip.clone()).collect();
        Ok(Strangers::find(&nearest, empty_scenes(40, SIDE, STRANGERS_SEED))?)
    }

    fn sheet(&self, arguments: &Arguments, output: &Path) -> Outcome<()> {
        const COLUMNS: usize = 23;
        let mut sheet = RgbImage::new(SIDE * (COLUMNS as u32 + 1), SIDE * arguments.characters as u32);
        for number in 0..arguments.characters {
            let reference = self.reference(&Character::draw(number, arguments.exam, Counts::default()))?;
            let mut made = self.make(&reference, ExchangeConfig::default(), 2 * COLUMNS, &made_stream(number))?;
            made.sort_by_key(|made| !made.present);
            let pictures = std::iter::once(&reference[3]).chain(made.iter().step_by(2).map(|made| &made.frames[3]));
            for (column, picture) in pictures.enumerate() {
                imageops::replace(&mut sheet, picture, i64::from(SIDE) * column as i64, i64::from(SIDE) * number as i64);
            }
        }
        Ok(sheet.save(output)?)
    }

    fn learn(&self, arguments: &Arguments, learning: &Learning) -> Outcome<()> {
        let pvchat = Pvchat::new(Vilm::open(&arguments.base, &default_device()?)?, Box::new(Nobody));
        let done = rows(&arguments.answers)?;
        let of_base = short(pvchat.vilm().fingerprint());
        let mut file = AnswerFile::open(&arguments.answers)?;
        for number in 0..arguments.characters {
            let mut open = Vec::new();
            for (mode, seed) in learning.trains.iter().flat_map(|mode| (0..learning.seeds).map(move |seed| (*mode, seed))) {
                let settings = digest(pvchat.vilm(), arguments.clips, (mode, &USUAL), learning)?;
                // The row that is written last says that all are there.
                let last = format!("{}{ZEROED}", learned(mode, learning));
                if !is_there(&done, &last, (arguments.exam, number, seed), &settings)? {
                    open.push((mode, seed, settings));
                }
            }
            // Nothing is trained for these, so that they are computed again where in doubt; the cosine of read-outs is written last.
            let is_plain = |row: &Row| (row.exam, row.character) == (arguments.exam, number) && row.settings == of_base;
            let plain = !done.iter().any(|row| row.way == READ_OUTS && is_plain(row));
            if open.is_empty() && !plain {
                continue;
            }
            let character = Character::draw(number, arguments.exam, Counts::default());
            let reference = self.reference(&character)?;
            let examination = self.examination(&pvchat, (arguments.exam, number), &character)?;
            if plain {
                for row in self.without_learning(&pvchat, &examination, &reference)? {
                    file.add(&row)?;
                }
            }
            if open.is_empty() {
                continue;
            }
            let started = Instant::now();
            let shots = self.shots(&pvchat, &reference, number, arguments.clips, learning)?;
            let new = self.make(&reference, ExchangeConfig::default(), NEW_CLIPS, &made_stream(number).derive("new"))?;
            let making = started.elapsed().as_secs_f64();
            for (mode, seed, settings) in open {
                let started = Instant::now();
                let way = learned(mode, learning);
                let learned = learned_alone(
                    &pvchat,
                    &shots,
                    &options(mode, learning, seed, &USUAL),
                    &format!("character {number}, {way}"),
                )?;
                let Learned { subject, steps, refused } = learned;
                let seconds = making + started.elapsed().as_secs_f64();
                let last_loss = steps.last_loss(20);
                let row = |way: String, subject: &Subject, curve| -> Outcome<Row> {
                    let clips = examination.asked(|seen| Ok(pvchat.presence(subject, seen)?))?;
                    let made: Outcome<Vec<(Making, bool, f32)>> = new
                        .iter()
                        .map(|made| {
                            Ok((made.making, made.present, rounded(pvchat.presence(subject, &pvchat.see(&made.frames)?)?)))
                        })
                        .collect();
                    let (exam, character) = (arguments.exam, number);
                    let settings = settings.clone();
                    Ok(Row { way, exam, character, seed, clips, made: made?, seconds, last_loss, refused, curve, settings })
                };
                file.add(&row(way.clone(), &subject, steps.curve())?)?;
                let blank = with_tokens_of(&subject, &blank(&pvchat)?)?;
                file.add(&row(format!("{way}{BLANK}"), &blank, Vec::new())?)?;
                file.add(&row(format!("{way}{ZEROED}"), &zeroed(&subject)?, Vec::new())?)?;
            }
        }
        Ok(())
    }

    /// Clips to learn a character from: those made with the character that resemble the reference enough, and all without; where
    /// many were dropped, more are made.
    fn shots(
        &self,
        pvchat: &Pvchat,
        reference: &[RgbImage],
        number: usize,
        clips: usize,
        learning: &Learning,
    ) -> Outcome<Vec<Shot>> {
        let config = match learning.data {
            Data::Composed => ExchangeConfig::default(),
            Data::Random | Data::Retrieved => {
                ExchangeConfig { own_clip: 1.0, own_body: 0.0, strangers: 0.0, ..Default::default() }
            }
        };
        let least = learning.least_similarity;
        let mut made = self.make(reference, config.clone(), clips, &made_stream(number))?;
        if learning.data == Data::Retrieved {
            let alike = self.retrieved(pvchat, reference)?;
            let mut of_those = made_with(&alike, reference, config.clone(), clips, &made_stream(number).derive("retrieved"))?;
            of_those.retain(|made| !made.present);
            let all = made.iter_mut().filter(|made| !made.present);
            all.step_by(2).zip(of_those).for_each(|(made, alike)| *made = alike);
        }
        let (mut shots, mut dropped) = gated(pvchat, reference, made, least)?;
        for round in 1..=MORE_ROUNDS {
            if shots.len() >= clips * 9 / 10 {
                break;
            }
            let stream = made_stream(number).derive(format_args!("round {round}"));
            let mut more = self.make(reference, config.clone(), clips, &stream)?;
            more.retain(|made| made.present);
            let (more, also_dropped) = gated(pvchat, reference, more, least)?;
            dropped += also_dropped;
            shots.extend(more.into_iter().take(clips - shots.len()));
        }
        let kept = shots.iter().filter(|shot| shot.present).count();
        eprintln!("{number}: {kept} made clips with the character, {dropped} dropped");
        Ok(shots)
    }

    /// The characters of these numbers, what they are called, and made clips of each.
    fn group(
        &self,
        pvchat: &Pvchat,
        arguments: &Arguments,
        learning: &Learning,
        (exam, numbers): (u64, &[usize]),
    ) -> Outcome<Group> {
        let mut group = Group::default();
        for (place, &number) in numbers.iter().enumerate() {
            let character = Character::draw(number, exam, Counts::default());
            let reference = self.reference(&character)?;
            group.own.push(self.shots(pvchat, &reference, number, arguments.clips, learning)?);
            let letter = char::from(b'A' + (place % 26) as u8);
            group.names.push(format!("{letter}{}", letter.to_ascii_lowercase()).parse::<SubjectName>()?);
            group.characters.push(character);
        }
        Ok(group)
    }

    /// The clips of a character's examination, seen.
    fn examination<'c>(
        &self,
        pvchat: &Pvchat,
        (seed, number): (u64, usize),
        character: &'c Character,
    ) -> Outcome<Examination<'c>> {
        let see = |clip: &exam::ExamClip| Ok(pvchat.see(&exam::through_mp4(&clip.scene, self.folder.path(), "clip")?)?);
        let clips: Outcome<Vec<SeenClip>> = character.clips.iter().map(see).collect();
        Ok(Examination { number, seed, character, clips: clips? })
    }

    /// Learns characters by tokens and rows alone, on the base with a bridge that was learned over others.
    fn newcomers(
        &self,
        arguments: &Arguments,
        learning: &Learning,
        own: &Learning,
        (founders, founders_exam): (usize, u64),
    ) -> Outcome<()> {
        let pvchat = Pvchat::new(Vilm::open(&arguments.base, &default_device()?)?, Box::new(Nobody));
        let mode = *learning.trains.first().ok_or("say what is trained")?;
        let way = format!("{}, on a bridge of {founders} others", learned(Mode::Tokens, own));
        let mut file = AnswerFile::open(&arguments.answers)?;
        for seed in 0..learning.seeds {
            let bridge = self.bridge(&pvchat, arguments, (learning, mode, seed), (founders, founders_exam))?;
            let merged = Pvchat::new(pvchat.vilm().merged(&bridge)?, Box::new(Nobody));
            // The control needs the character before, and so all are learned again unless the last one is done.
            let last = format!("{way}{}", if arguments.characters > 1 { ANOTHERS } else { ZEROED });
            let settings = digest(merged.vilm(), arguments.clips, (Mode::Tokens, &USUAL), own)?;
            let of_last = (arguments.exam, arguments.characters.saturating_sub(1), seed);
            if is_there(&rows(&arguments.answers)?, &last, of_last, &settings)? {
                continue;
            }
            let mut before: Option<Subject> = None;
            for number in 0..arguments.characters {
                let started = Instant::now();
                let Group { own: shots, characters, .. } = self.group(&merged, arguments, own, (arguments.exam, &[number]))?;
                let making = started.elapsed().as_secs_f64();
                let examination = self.examination(&merged, (arguments.exam, number), &characters[0])?;
                let started = Instant::now();
                let what = format!("character {number}, {way}");
                let learned = learned_alone(&merged, &shots[0], &options(Mode::Tokens, own, seed, &USUAL), &what)?;
                let Learned { subject, steps, refused } = learned;
                let seconds = making + started.elapsed().as_secs_f64();
                let last_loss = steps.last_loss(40);
                let none = zeroed(&subject)?;
                let controls = [(ZEROED, Some(&none)), (ANOTHERS, before.as_ref())];
                for (what, subject) in [("", Some(&subject))].into_iter().chain(controls) {
                    let Some(subject) = subject else { continue };
                    let clips = examination.asked(|seen| Ok(merged.presence(subject, seen)?))?;
                    let (way, exam, character) = (format!("{way}{what}"), arguments.exam, number);
                    let curve = if what.is_empty() { steps.curve() } else { Vec::new() };
                    let (made, settings) = (Vec::new(), settings.clone());
                    file.add(&Row { way, exam, character, seed, clips, made, seconds, last_loss, refused, curve, settings })?;
                }
                before = Some(subject);
            }
        }
        Ok(())
    }

    /// One of the subjects that a bridge was learned over, which holds the bridge; stored next to the answers.
    fn bridge(
        &self,
        pvchat: &Pvchat,
        arguments: &Arguments,
        (learning, mode, seed): (&Learning, Mode, u64),
        (founders, founders_exam): (usize, u64),
    ) -> Outcome<Subject> {
        let settings = digest(pvchat.vilm(), arguments.clips, (mode, &USUAL), learning)?;
        let name = format!("bridge-{founders_exam}-{founders}-{settings}-{seed}");
        let path = arguments.answers.with_file_name(format!("{name}.subject.safetensors"));
        if path.exists() {
            return Ok(Subject::load(&path, pvchat.vilm().fingerprint())?);
        }
        let numbers: Vec<usize> = (0..founders).collect();
        let Group { names, own, .. } = self.group(pvchat, arguments, learning, (founders_exam, &numbers))?;
        let (subjects, _) = learned_together(pvchat, &names, &own, &options(mode, learning, seed, &USUAL))?;
        let subject = subjects.into_iter().next().ok_or("no founders")?;
        subject.save(&path)?;
        Ok(subject)
    }

    /// Learns characters in groups, in each variant. Among the clips without somebody are clips with the others of the group, so
    /// that what is trained in common cannot answer without looking at whose tokens it was given.
    fn together(&self, arguments: &Arguments, learning: &Learning, group: usize, variants: &[Variant]) -> Outcome<()> {
        let vilm = Vilm::open(&arguments.base, &default_device()?)?;
        let pvchat = Pvchat::new(vilm, Box::new(Nobody));
        let mut file = AnswerFile::open(&arguments.answers)?;
        let numbers: Vec<usize> = (0..arguments.characters).collect();
        let group = group.max(2);
        if !numbers.len().is_multiple_of(group) {
            return Err(format!("{} characters are no groups of {group}; choose a multiple", numbers.len()).into());
        }
        let way = |(mode, variant): (Mode, &Variant)| format!("{}, {group} {BRIDGE}{}", learned(mode, learning), variant.name);
        let changes = || learning.trains.iter().flat_map(|mode| variants.iter().map(move |variant| (*mode, variant)));
        for numbers in numbers.chunks(group) {
            let done = rows(&arguments.answers)?;
            let mut open = Vec::new();
            for (change, seed) in (0..learning.seeds).flat_map(|seed| changes().map(move |change| (change, seed))) {
                let settings = digest(pvchat.vilm(), arguments.clips, change, learning)?;
                let last = format!("{}{ANOTHERS}", way(change));
                let there = |number: &usize| is_there(&done, &last, (arguments.exam, *number, seed), &settings);
                if !numbers.iter().map(there).collect::<Outcome<Vec<bool>>>()?.into_iter().all(|there| there) {
                    open.push((change, seed, settings));
                }
            }
            if open.is_empty() {
                continue;
            }
            let started = Instant::now();
            let Group { names, own, characters } = self.group(&pvchat, arguments, learning, (arguments.exam, numbers))?;
            let making = started.elapsed().as_secs_f64();
            let mut examinations = Vec::new();
            for (&number, character) in numbers.iter().zip(&characters) {
                examinations.push(self.examination(&pvchat, (arguments.exam, number), character)?);
            }
            for ((mode, variant), seed, settings) in open {
                let started = Instant::now();
                let way = way((mode, variant));
                eprintln!("{numbers:?}, seed {seed}: {way}");
                let pvchat = Pvchat::new(variant.base(pvchat.vilm(), seed)?, Box::new(Nobody));
                let learned = learned_together(&pvchat, &names, &own, &options(mode, learning, seed, variant));
                let (subjects, steps, refused) = match learned {
                    Ok((subjects, steps)) => (subjects, steps, false),
                    Err(error) => (refused(&pvchat, &names, seed, &way, error)?, Steps::default(), true),
                };
                let seconds = (making + started.elapsed().as_secs_f64()) / numbers.len() as f64;
                let last_loss = steps.last_loss(40);
                for (place, examination) in examinations.iter().enumerate() {
                    let others = &subjects[(place + 1) % subjects.len()];
                    let (mine, none) = (&subjects[place], zeroed(&subjects[place])?);
                    let swapped = [with_tokens_alone_of(mine, others)?, with_rows_of(mine, others)?];
                    let controls = [(ZEROED, &none), (ANOTHERS_TOKENS, &swapped[0]), (ANOTHERS_ROWS, &swapped[1])];
                    // The row that is written last says that all are there.
                    for (what, subject) in [("", mine)].into_iter().chain(controls).chain([(ANOTHERS, others)]) {
                        let clips = examination.asked(|seen| Ok(pvchat.presence(subject, seen)?))?;
                        let (way, exam, character) = (format!("{way}{what}"), arguments.exam, examination.number);
                        let curve = if what.is_empty() { steps.curve() } else { Vec::new() };
                        let (made, settings) = (Vec::new(), settings.clone());
                        file.add(&Row { way, exam, character, seed, clips, made, seconds, last_loss, refused, curve, settings })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What can be said without learning: by the cosine of what the frozen encoder sees, and by the base's own description of the
    /// reference in the prompt.
    fn without_learning(&self, pvchat: &Pvchat, examination: &Examination<'_>, reference: &[RgbImage]) -> Outcome<Vec<Row>> {
        let (exam, character, settings) = (examination.seed, examination.number, short(pvchat.vilm().fingerprint()));
        let row =
            |way: &str, clips| Row { way: way.into(), exam, character, clips, settings: settings.clone(), ..Row::default() };
        let seen = pvchat.see(reference)?;
        let description = Description::of(pvchat, &seen)?;
        // Not rounded: where a base nearly always says yes, a threshold may lie between numbers close to one.
        let described = examination.clips.iter().zip(&examination.character.clips);
        let described = described.map(|(seen, clip)| Ok((clip.cast, description.presence(pvchat, seen)?)));
        let described = described.collect::<Outcome<Vec<(Cast, f32)>>>()?;
        let start = blank(pvchat)?;
        let blank = examination.asked(|clip| Ok(pvchat.presence(&start, clip)?))?;
        let mut rows = vec![row(DESCRIBED, described), row("before learning", blank)];
        for (way, pool) in [(POOLED, pooled as fn(&Sight) -> Vec<Vec<f32>>), (READ_OUTS, read_outs)] {
            let own = pool(&seen.memory).swap_remove(0);
            let near = |clip: &SeenClip| {
                Ok(pool(&clip.memory).iter().map(|other| cosine(&own, other)).fold(f32::NEG_INFINITY, f32::max))
            };
            rows.push(row(way, examination.asked(near)?));
        }
        Ok(rows)
    }
}

/// Characters that are learned in one run.
#[derive(Default)]
struct Group {
    names: Vec<SubjectName>,
    own: Vec<Vec<Shot>>,
    characters: Vec<Character>,
}

/// A character that was learned.
struct Learned {
    subject: Subject,
    steps: Steps,
    refused: bool,
}

/// What is left where the self-check refuses what was learned of people: nobody in particular. Leaving them out would count only
/// those who were learned well.
fn refused(pvchat: &Pvchat, names: &[SubjectName], seed: u64, what: &str, error: pvchat::Error) -> Outcome<Vec<Subject>> {
    if !matches!(error, pvchat::Error::NotLearned { .. }) {
        return Err(error.into());
    }
    eprintln!("{what}: {error}");
    names.iter().map(|name| Ok(pvchat.vilm().blank_subject(name, &SeededStream::new(seed))?)).collect()
}

/// A subject that nothing was learned of.
fn blank(pvchat: &Pvchat) -> Outcome<Subject> {
    Ok(pvchat.vilm().blank_subject(&"Aa".parse::<SubjectName>()?, &SeededStream::new(0))?)
}

/// Learns one character.
fn learned_alone(pvchat: &Pvchat, shots: &[Shot], options: &LearnOptions, what: &str) -> Outcome<Learned> {
    let bar = bar("learning", options.training.steps());
    bar.set_message(what.to_string());
    let mut steps = Steps::default();
    let name: SubjectName = "Aa".parse()?;
    let learned = pvchat.learn_from(shots, &name, options, |event| {
        if let LearnEvent::Training(progress) = event {
            bar.set_position(progress.step as u64);
            steps.add(progress);
        }
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    match learned {
        Ok(learned) => Ok(Learned { subject: learned.subject, steps, refused: false }),
        Err(error) => {
            let subject = refused(pvchat, &[name], options.seed, what, error)?.swap_remove(0);
            Ok(Learned { subject, steps, refused: true })
        }
    }
}

/// Learns a group with one bridge; returns the subjects and how it went.
fn learned_together(
    pvchat: &Pvchat,
    names: &[SubjectName],
    own: &[Vec<Shot>],
    options: &LearnOptions,
) -> Result<(Vec<Subject>, Steps), pvchat::Error> {
    let shots: Vec<Vec<Shot>> = (0..own.len()).map(|person| about(person, own, names)).collect();
    let people: Vec<(&SubjectName, &[Shot])> = names.iter().zip(shots.iter().map(Vec::as_slice)).collect();
    let bar = bar("learning", options.training.steps());
    let mut steps = Steps::default();
    let (subjects, report) = pvchat.learn_from_each(&people, options, |event| {
        if let LearnEvent::Training(progress) = event {
            bar.set_position(progress.step as u64);
            steps.add(progress);
            if progress.step.is_multiple_of(40) {
                eprintln!("step {}: loss {:.3}", progress.step, steps.last_loss(40));
            }
        }
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    eprintln!("held-back clips: {:.3} before, {:.3} after", report.before.balanced_accuracy, report.after.balanced_accuracy);
    Ok((subjects, steps))
}

/// A character and its clips, seen.
struct Examination<'a> {
    number: usize,
    seed: u64,
    character: &'a Character,
    clips: Vec<SeenClip>,
}

impl Examination<'_> {
    fn asked(&self, presence: impl Fn(&SeenClip) -> Outcome<f32>) -> Outcome<Vec<(Cast, f32)>> {
        self.clips.iter().zip(&self.character.clips).map(|(seen, clip)| Ok((clip.cast, rounded(presence(seen)?)))).collect()
    }
}

/// To five decimals, which keep the file of answers small.
fn rounded(presence: f32) -> f32 {
    (presence * 1e5).round() / 1e5
}
