//! Does what `pvchat dataset make` does, for many people: a small dataset of everybody in some folders of clips, with all the
//! other clips as the corpus, and a line about each.

use std::{
    error::Error,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use pvchat::{
    Choice, DatasetPerson, DatasetRequest, People, PeopleOptions,
    augment::filmed::{ClipRecord, DatasetOptions, Dropped, Generators, Made, Making},
    data::file::files_in,
    faces::{EyeContours, Matte},
    nn::device,
};
use pvchat_examples::{at, exit_code, models_folder, progress::bar, shown};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Makes a small dataset of everybody in some folders of clips and prints a table of tab-separated values.
#[derive(Parser)]
struct Arguments {
    /// Folders of clips.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Where the models are.
    #[arg(long, env = "PVCHAT_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// Where the last dataset is kept, to be looked at; by default none is.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Only people of clips whose name contains this.
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Clips with the person.
    #[arg(long, default_value_t = 8)]
    positives: usize,
    /// Clips of others.
    #[arg(long, default_value_t = 16)]
    negatives: usize,
    /// Clips with the person that have somebody else's body.
    #[arg(long, default_value_t = 0)]
    exchanged: usize,
    /// Width and height of the clips in pixels.
    #[arg(long, default_value_t = 224)]
    size: u32,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Outcome<()> {
    let arguments = Arguments::parse();
    let (device, models) = (device::default_device()?, models_folder(arguments.models.clone()));
    let folder = tempfile::tempdir()?;
    let people = People::open(&models, folder.path().join("people"), PeopleOptions::default(), &device)?;
    let (matte, eye_contours) = (Matte::open(&models, &device)?, EyeContours::open(&models, &device)?);
    let corpus = folder.path().join("corpus");
    fs::create_dir(&corpus)?;
    for (number, from) in arguments.folders.iter().enumerate() {
        for (name, path) in files_in(from, &["mp4", "mkv", "webm", "mov"])? {
            let to = corpus.join(format!("{number} {}", name.replace('/', " ")));
            fs::copy(&path, &to).map_err(at(&path))?;
        }
    }
    let clips = files_in(&corpus, &["mp4", "mkv", "webm", "mov"])?;
    println!(
        "clip\tperson\tseconds\tlooks used\teyes closed\tnearest other\tpositives kept\tleast\tnegatives kept\texchanged kept\tbackground\tseams\tmaking from the seams\tstrangers from the seams"
    );
    let progress = bar("making datasets", clips.len());
    // One folder for all: who was seen in the corpus is kept there.
    let out = arguments.keep.clone().unwrap_or_else(|| folder.path().join("data"));
    for (name, path) in clips.iter().filter(|(name, _)| name.contains(&arguments.only)) {
        for line in lines(&arguments, &people, (&matte, &eye_contours), (name, path), &corpus, &out) {
            progress.suspend(|| println!("{line}"));
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
}

/// A line about everybody in a clip.
fn lines(
    arguments: &Arguments,
    people: &People,
    (matte, eye_contours): (&Matte, &EyeContours),
    (name, path): (&str, &Path),
    corpus: &Path,
    out: &Path,
) -> Vec<String> {
    let seen = match people.look(path) {
        Ok(seen) => seen,
        Err(error) => return vec![format!("{name}\t-\t{error}")],
    };
    let options = DatasetOptions {
        size: arguments.size,
        positives: arguments.positives,
        negatives: arguments.negatives,
        hard: arguments.negatives / 2,
        exchanged: arguments.exchanged,
        test_positives: 0,
        test_negatives: 0,
        ..DatasetOptions::default()
    };
    let one = |number: usize| -> Outcome<String> {
        let person = "Aa".parse()?;
        let request = DatasetRequest {
            people: &[DatasetPerson { seen: &seen, choice: Some(Choice::Number(number)), name: &person }],
            corpus: Some(corpus),
            index: None,
            out,
            options: &options,
            is_checked: false,
            refiner: None,
            eye_contours: Some(eye_contours),
            generators: Generators::default(),
        };
        let made = people.make_dataset(&request, matte, None, |_| ControlFlow::Continue(()))?;
        Ok(row(&made))
    };
    let candidates = seen.candidates();
    let line = |candidate: &pvchat::Candidate| match one(candidate.number) {
        Ok(row) => format!("{name}\t{}\t{row}", candidate.number),
        // The path is long and always the same.
        Err(error) => format!("{name}\t{}\t{}", candidate.number, error.to_string().replace(&shown(path), "the clip")),
    };
    match candidates.is_empty() {
        true => vec![format!("{name}\t-\tnobody is seen")],
        false => candidates.iter().map(line).collect(),
    }
}

/// What was made of one person.
fn row(made: &Made) -> String {
    let manifest = &made.manifest;
    let used = manifest.looks.iter().filter(|look| look.reasons.is_empty()).count();
    let closed = manifest.looks.iter().flat_map(|look| &look.reasons).filter(|reason| reason.starts_with("eyes closed")).count();
    let spans: f64 = manifest.spans.iter().map(|(_, [from, to])| to - from).sum();
    let kept = |fits: &dyn Fn(bool, Making) -> bool| {
        let kept = manifest.clips.iter().filter(|ClipRecord { positive, making, .. }| fits(*positive, *making)).count();
        let dropped = manifest.dropped.iter().filter(|Dropped { positive, making, .. }| fits(*positive, *making)).count();
        format!("{kept} of {}", kept + dropped)
    };
    let nearest = manifest.clips.iter().filter(|clip| !clip.positive && clip.body.is_none());
    let nearest = nearest.max_by(|one, other| one.judged.to_subject.total_cmp(&other.judged.to_subject));
    let nearest = nearest.map_or_else(String::new, |clip| format!("{:.2} {}", clip.judged.to_subject, clip.figure.0));
    let least = manifest.clips.iter().filter(|clip| clip.positive).map(|clip| clip.judged.similarity).fold(1.0, f32::min);
    let guessed = |guess: pvchat::augment::filmed::Guess| format!("{:.2}/{:.2}", guess.accuracy, guess.chance);
    [
        format!("{spans:.1}"),
        format!("{used} of {}", manifest.looks.len()),
        closed.to_string(),
        nearest,
        kept(&|positive, _| positive),
        format!("{least:.2}"),
        kept(&|positive, _| !positive),
        format!(
            "{} + {}",
            kept(&|positive, making| positive && making == Making::Exchanged),
            kept(&|positive, making| !positive && making == Making::Exchanged)
        ),
        guessed(manifest.blind.background),
        guessed(manifest.blind.seams),
        manifest.blind.making.map_or_else(String::new, guessed),
        manifest.blind.strangers.map_or_else(String::new, |accuracy| format!("{accuracy:.2}")),
    ]
    .join("\t")
}
