//! What further looks at a person gain over one look: the examination of subjects that are the mean of several looks, at clips
//! made from the one clip, as learning sees them, and at further clips of the person, which learning never sees.

use std::{error::Error, ops::ControlFlow, process::ExitCode};

use clap::Parser;
use pvchat::{
    LearnOptions, Pvchat, Subject, SubjectName,
    data::random::SeededStream,
    eval::{
        accuracy::{balanced_difference, balanced_estimate},
        table::{Table, with_interval},
    },
    miniature::{
        exam::through_mp4,
        level::Level,
        world::{Scene, SceneOptions},
    },
    model::subject::IDENTITY,
};
use pvchat_examples::{
    at,
    examination::{Candidate, Exam, Outcome, enrolled, existence},
    exit_code,
    progress::bar,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Prints a table of the examination after one look and after several.
#[derive(Parser)]
struct Arguments {
    /// Characters.
    #[arg(long, default_value_t = 20)]
    characters: usize,
    /// Seed of the characters.
    #[arg(long, default_value_t = 2027)]
    exam: u64,
}

/// Further clips of each person.
const FURTHER: [usize; 3] = [1, 3, 7];

fn main() -> ExitCode {
    exit_code(run().map_err(|error| error as Box<dyn Error>))
}

fn run() -> Outcome<()> {
    let arguments = Arguments::parse();
    let pvchat = Pvchat::miniature()?;
    let name: SubjectName = "Aa".parse()?;
    let exam = Exam { characters: arguments.characters, seed: arguments.exam, level: Level::Standard };
    let candidates = exam.candidates(&pvchat)?;
    let once = enrolled(&pvchat, &candidates, &name)?;
    let (mut made, mut further) = (Vec::new(), FURTHER.map(|_| Vec::new()));
    let progress = bar("looking at clips", candidates.len());
    for (candidate, once) in candidates.iter().zip(&once) {
        made.push(mean(once, &made_looks(&pvchat, candidate, &name)?));
        let looks = further_looks(&pvchat, candidate, &name, exam.seed)?;
        for (count, subjects) in FURTHER.iter().zip(&mut further) {
            subjects.push(mean(once, &looks[..*count]));
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let mut rows = vec![("one look".to_string(), once), ("and 31 clips made from it".into(), made)];
    let more =
        FURTHER.iter().zip(further).map(|(count, subjects)| (format!("and {count} further clips of the person"), subjects));
    rows.extend(more);

    let mut table = Table::new(["subjects", "existence, balanced [95 %]", "against one look [95 %]"]);
    let first = existence(&pvchat, &candidates, &rows[0].1)?;
    for (label, subjects) in &rows {
        let answers = existence(&pvchat, &candidates, subjects)?;
        let mut stream = SeededStream::new(7);
        let difference = with_interval(balanced_difference(&first, &answers, 1000, &mut stream)?);
        table.row([label.clone(), with_interval(balanced_estimate(&answers, 1000, &mut stream)), difference]);
    }
    println!("{}", table.to_markdown());
    Ok(())
}

/// The person in each of the clips that learning makes from the reference.
fn made_looks(pvchat: &Pvchat, candidate: &Candidate, name: &SubjectName) -> Outcome<Vec<Subject>> {
    let mut options = LearnOptions::default();
    (options.training.image_steps, options.training.clip_steps) = (0, 1);
    let set = pvchat.learn(&candidate.reference, name, &options, |_| ControlFlow::Continue(()))?.set;
    // The first is the reference itself.
    let positives = set.clips.iter().filter(|clip| clip.positive).skip(1);
    positives.map(|clip| Ok(pvchat.enrol(&pvchat.see(&clip.frames)?, name)?)).collect()
}

/// The person alone in other clips, of other clothes, places and actions.
fn further_looks(pvchat: &Pvchat, candidate: &Candidate, name: &SubjectName, seed: u64) -> Outcome<Vec<Subject>> {
    let folder = std::env::temp_dir().join(format!("pvchat-looks-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    let identity = candidate.character.identity;
    let mut stream = SeededStream::new(seed).derive(format_args!("further {identity:?}"));
    let looks = (0..FURTHER[FURTHER.len() - 1])
        .map(|_| {
            let scene = Scene::random(&[identity], SceneOptions::default(), &mut stream);
            Ok(pvchat.enrol(&pvchat.see(&through_mp4(&scene, &folder, "look")?)?, name)?)
        })
        .collect();
    std::fs::remove_dir_all(&folder).map_err(at(&folder))?;
    looks
}

/// The mean of looks at one person, the identity brought back to unit length.
fn mean(first: &Subject, others: &[Subject]) -> Subject {
    let all: Vec<&Subject> = std::iter::once(first).chain(others).collect();
    let mut subject = first.clone();
    for (name, tensor) in &mut subject.tensors {
        for (place, value) in tensor.values.iter_mut().enumerate() {
            *value = all.iter().map(|one| one.values(name)[place]).sum::<f32>() / all.len() as f32;
        }
    }
    if let Some(identity) = subject.tensors.get_mut(IDENTITY) {
        let length = identity.values.iter().map(|value| value * value).sum::<f32>().sqrt();
        identity.values.iter_mut().for_each(|value| *value /= length.max(f32::MIN_POSITIVE));
    }
    subject
}
