//! `pvchat learn`: learning a person by gradient, from a dataset on a base for footage, or in the laboratory of drawn characters.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use pvchat::{
    Error, LearnOptions, LearnedFrom, Pvchat, Shot, Subject, SubjectFolder, SubjectName,
    train::personal::{LearnConfig, Trains},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    bases::Base,
    common::Common,
    dataset::peak_memory,
    dataset_file::Source,
    describer::{self, LazyBase},
    drawn,
    failure::{Exit, Failure, Outcome},
    folders::make_private,
    interrupt::Stoppable,
    output::Output,
    progress::{LearnBars, spinner},
    words,
};

const EXAMPLES: &str = "\
Examples:
  pvchat dataset make aa.mp4 --name Aa --corpus footage --out aa-data
  pvchat learn --dataset aa-data                     on the smallest base that is installed
  pvchat learn --dataset aa-data --base smolvlm2-500m --trains composable
  pvchat learn --dataset data                        everybody whom the dataset is about, one after another
  pvchat learn --dataset data --name Bb              one of them
  pvchat ask lunch.mp4 \"What is Aa doing?\"           the base is asked by what it has learned
  pvchat ask lunch.mp4 \"Is Aa in it?\" --by learned   no face is compared
  pvchat learn fixtures/clips/clip-00.mp4 --name Aa --base miniature

On a base for footage a person is learned from clips with the person and clips of others, which `pvchat dataset make` makes from
one clip; it takes long (docs/dataset.md). Ctrl-C stops it, and the same command resumes. The miniature learns drawn characters
from one drawn clip. Recognising people needs none of this: `pvchat enrol`.

Exit codes: 0 learned, 3 a dataset that cannot be learned from, no base, a result no better than chance.";

/// Bytes of what the encoder made of the clips that stay in memory: one clip takes 25 MB on the smallest base.
const FEATURE_MEMORY: usize = 512 << 20;

/// Learns a person by gradient: from a dataset on a base for footage, or a drawn character from one clip.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A video that shows one drawn character.
    #[arg(conflicts_with = "dataset")]
    clip: Option<PathBuf>,
    /// A folder that `pvchat dataset make` wrote, or a file of the published schema.
    #[arg(long, value_name = "DATASET")]
    dataset: Option<PathBuf>,
    /// The name: 1 to 40 letters, digits, spaces or hyphens. Of a dataset of several people only this one is learned; without a name
    /// one after another is. What was learned under that name on that base is replaced.
    #[arg(long, value_name = "NAME")]
    name: Option<SubjectName>,
    /// The base that learns: a name of `pvchat base list`, or a folder; by default the smallest SmolVLM2 that is installed. For
    /// drawn clips: miniature.
    #[arg(long, env = "PVCHAT_BASE", hide_env_values = true, value_name = "BASE")]
    base: Option<Base>,
    /// Seed of all random choices; the same seed gives the same result.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// What is trained: composable, personal, personal-and-bridge or personal-bridge-and-vision. People of the first kind can be
    /// asked about together. By default personal on a base for footage, which takes the first two, and composable on the
    /// miniature.
    #[arg(long, value_parser = trains, value_name = "WHAT")]
    trains: Option<Trains>,
    /// A JSON file with settings of the training (`LearnConfig` in the library), such as {"clip_steps": 60}; the others are the
    /// usual ones. For datasets only.
    #[arg(long, value_name = "FILE", conflicts_with = "clip")]
    training: Option<PathBuf>,
    /// Learns a drawn character for clips that look other than this one: dark, partly hidden, drawn in another style. It takes five
    /// times as long, and ordinary clips are judged slightly worse.
    #[arg(long, conflicts_with = "dataset")]
    other_looks: bool,
    /// Also keeps the clips and questions that a drawn character was learned from.
    #[arg(long, conflicts_with = "dataset")]
    keep_data: bool,
}

/// A choice by its name, as in configurations.
fn trains(text: &str) -> Result<Trains, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// Starts the program again as the same process, with an allocator that keeps freed pages. A step of training frees and takes
/// hundreds of megabytes, and giving their pages back costs a quarter of the processor time. The allocator reads the setting
/// before `main`.
#[cfg(unix)]
fn keep_pages() {
    use std::os::unix::process::CommandExt;
    const SETTING: &str = "MIMALLOC_PURGE_DELAY";
    if let (None, Ok(program)) = (std::env::var_os(SETTING), std::env::current_exe()) {
        // Returns only if it fails; learning then works, slower.
        let _ = std::process::Command::new(program).args(std::env::args_os().skip(1)).env(SETTING, "-1").exec();
    }
}

#[cfg(not(unix))]
fn keep_pages() {}

impl Arguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let is_miniature = self.base.as_ref().is_some_and(Base::is_miniature);
        match (&self.dataset, &self.clip, &self.name) {
            (Some(_), ..) if is_miniature => {
                let message = "the miniature learns from one drawn clip; name a base for footage, see `pvchat base list`";
                Err(Failure::refused("base_refused", message))
            }
            (Some(dataset), ..) => self.learn_from(common, dataset),
            (None, Some(clip), Some(name)) if is_miniature => {
                let usual = if self.other_looks { LearnOptions::other_looks() } else { LearnOptions::default() };
                let mut options = LearnOptions { seed: self.seed, ..usual };
                options.training.trains = self.trains.unwrap_or_default();
                drawn::learn(common, clip, name, &options, self.keep_data)
            }
            (None, Some(clip), Some(name)) => Err(two_commands(clip, name, self.base.as_ref())),
            (None, Some(_), None) => Err(wrong("give the name too: --name Aa; see `pvchat learn --help`")),
            (None, None, _) => Err(wrong(
                "give --dataset DATASET (made by `pvchat dataset make`), or for a drawn character CLIP --name Aa --base miniature; \
                 see `pvchat learn --help`",
            )),
        }
    }

    fn learn_from(&self, common: &Common, dataset: &Path) -> Outcome<Exit> {
        keep_pages();
        let (mut started, output) = (Instant::now(), common.output());
        let Some(base) = describer::choose(common, self.base.as_ref())? else { return Err(describer::none()) };
        let source = Source::find(dataset, self.name.as_ref())?;
        let training = self.training_of(&base)?;
        source.names.iter().try_for_each(|name| source.check_file(name, &output))?;
        let folder = base.learned();
        let names = to_learn(&source.names, folder, &output);
        let shots_of = |name: &SubjectName| -> Outcome<(Vec<Shot>, (&'static str, f64))> {
            let reading = Instant::now();
            let shots = Shot::from_dataset(&source.file, name, base.folder().frames()).map_err(Error::from)?;
            Ok((shots, ("reading clips", words::millis(reading.elapsed().as_secs_f64()))))
        };
        // What is wrong with the clips is said before the base is opened.
        let mut first = names.first().map(shots_of).transpose()?;
        let opening = Instant::now();
        let pvchat = base.open_to_learn(training.trains)?;
        let mut opened = Some(("opening the base", words::millis(opening.elapsed().as_secs_f64())));

        make_private(folder.path())?;
        // Whose folder is there is still to be learned.
        for folder in names.iter().map(|name| folder.learning(name)).filter(|_| source.names.len() > 1) {
            fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
        }
        let options = LearnOptions { seed: self.seed, training, feature_memory: Some(FEATURE_MEMORY), ..LearnOptions::default() };
        let (stoppable, mut exit) = (Stoppable::begin(), Exit::Answered);
        for name in names {
            let (shots, reading) = match first.take() {
                Some(read) => read,
                None => shots_of(&name)?,
            };
            let mut took: Vec<(&'static str, f64)> = std::iter::once(reading).chain(opened.take()).collect();
            let mut bars = LearnBars::new(&output);
            let learned = folder.learn_from(&pvchat, &shots, &name, &options, |event| {
                bars.observe(&event);
                stoppable.flow()
            });
            took.extend(bars.finish());
            let learned = match learned {
                Ok(learned) => learned,
                // Whoever could not be learned keeps nobody else from being learned.
                Err(error @ Error::NotLearned { .. }) if source.names.len() > 1 => {
                    output.error(&failure(error, &name))?;
                    (started, exit) = (Instant::now(), Exit::Refused);
                    continue;
                }
                Err(error) => return Err(failure(error, &name)),
            };
            let judging = Instant::now();
            let tested = match source.test_file() {
                Some(file) => tested(&pvchat, &learned.subject, (&file, base.folder().frames()), &stoppable, &output),
                None => None,
            };
            if tested.is_some() {
                took.push(("judging clips for testing", words::millis(judging.elapsed().as_secs_f64())));
            }
            let body = LearnedBody {
                name: name.bare(),
                file: &source.file,
                base: base.key(),
                kept_in: folder.file(&name),
                trains: options.training.trains,
                clips: [true, false].map(|present| shots.iter().filter(|shot| shot.present == present).count()),
                right: right(&learned, &shots),
                tested,
                kept_learned: learned.report.kept_learned,
                steps: learned.report.steps.len(),
                seconds: took,
                all_seconds: words::millis(started.elapsed().as_secs_f64()),
                peak_memory: peak_memory(),
            };
            output.result("learned", &body, body.told())?;
            started = Instant::now();
        }
        Ok(exit)
    }

    /// The usual training of the base, with what the user chose.
    fn training_of(&self, base: &LazyBase) -> Outcome<LearnConfig> {
        let mut training = base.folder().learn_config();
        if let Some(file) = &self.training {
            let unfit = |problem: String| {
                wrong(&format!("{}: {problem}; give an object of settings, see docs/dataset.md", words::shown(file)))
            };
            let bytes = fs::read(file).map_err(|error| Failure::file(file, &error))?;
            let chosen: Value = serde_json::from_slice(&bytes).map_err(|error| unfit(error.to_string()))?;
            let mut all = serde_json::to_value(&training)?;
            put(&mut all, chosen);
            training = serde_json::from_value(all).map_err(|error| unfit(error.to_string()))?;
        }
        if let Some(trains) = self.trains {
            training.trains = trains;
        }
        if !base.folder().can_ask(training.trains) {
            let message = format!(
                "{} cannot be asked on {} as the program opens it; use --trains personal or composable",
                training.trains,
                base.key()
            );
            return Err(Failure::refused("refused", message));
        }
        Ok(training)
    }
}

/// Wrong usage.
fn wrong(message: &str) -> Failure {
    Failure { exit: Exit::Usage, reason: "usage", ..Failure::failed(message) }
}

/// Puts the values of one document into another, objects key by key.
fn put(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| put(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}

/// What filmed footage takes.
fn two_commands(clip: &Path, name: &SubjectName, base: Option<&Base>) -> Failure {
    let (clip, bare, name) = (words::quoted(clip), name.bare(), words::argument(name.bare()));
    let data = words::argument(&format!("{}-data", bare.to_lowercase()));
    let base = base.filter(|base| !base.is_empty()).map(|base| format!(" --base {}", base.quoted())).unwrap_or_default();
    let message = format!(
        "learning by gradient from filmed footage takes two commands: pvchat dataset make {clip} --name {name} --corpus FOOTAGE \
         --out {data}, then pvchat learn --dataset {data}{base}; to recognise {bare}, this is enough: pvchat enrol {clip} --name \
         {name}. Drawn characters are learned with --base miniature"
    );
    Failure::refused("needs_dataset", message)
}

/// Who of the people of a dataset is to be learned. A run that was interrupted is resumed: who was learned by then stays.
fn to_learn(names: &[SubjectName], folder: &SubjectFolder, output: &Output) -> Vec<SubjectName> {
    let is_begun = |name: &SubjectName| folder.learning(name).exists();
    let resumes = names.len() > 1 && names.iter().any(is_begun);
    let is_done = |name: &&SubjectName| resumes && !is_begun(name) && folder.file(name).exists();
    for name in names.iter().filter(is_done) {
        let (bare, argument) = (name.bare(), words::argument(name.bare()));
        output.note(format!("{bare} is learned already and stays; to learn {bare} again, give --name {argument}"));
    }
    names.iter().filter(|name| !is_done(name)).cloned().collect()
}

/// What went wrong with somebody in the words of this command.
fn failure(error: Error, name: &SubjectName) -> Failure {
    let name = name.bare();
    let chance = if let Error::NotLearned { accuracy, .. } = &error { Some(100.0 * accuracy) } else { None };
    let mut failure = Failure::from(error);
    if let Some(right) = chance {
        failure.message = format!(
            "{name} was not learned: {right:.0} % of the clips that were held back are judged rightly, and guessing gives \
             50 %; look at the clips (report.html), make more of them, or train longer (--training)"
        );
    }
    if failure.exit == Exit::Interrupted {
        failure.message = format!("stopped learning {name}; run the same command again to resume");
    }
    failure
}

/// The shares of held-back clips that are judged rightly before and after training; nothing where too few clips are there to hold
/// some of both kinds back.
fn right(learned: &LearnedFrom, shots: &[Shot]) -> Option<[f64; 2]> {
    /// As the learner holds back: one in four of each kind.
    const LEAST: usize = 4;
    let enough = [true, false].iter().all(|present| shots.iter().filter(|shot| shot.present == *present).count() >= LEAST);
    enough.then(|| [learned.report.before, learned.report.after].map(|check| f64::from(check.balanced_accuracy)))
}

/// Clips that were judged rightly, and all.
#[derive(Clone, Copy, Default, Serialize)]
struct Tested {
    with: [usize; 2],
    without: [usize; 2],
}

/// Judges the clips for testing, of which nothing was learned, until the user interrupts; nothing but a note where they cannot be
/// used.
fn tested(
    pvchat: &Pvchat,
    subject: &Subject,
    (file, frames): (&Path, usize),
    stoppable: &Stoppable,
    output: &Output,
) -> Option<Tested> {
    let judge = || -> pvchat::Result<Tested> {
        let shots = Shot::for_testing(file, &subject.info.name, frames)?;
        let mut tested = Tested::default();
        for shot in shots.iter().take_while(|_| !stoppable.is_stopped()) {
            let is_seen = pvchat.presence(subject, &pvchat.see_shot(shot)?)? > 0.5;
            let [right, all] = if shot.present { &mut tested.with } else { &mut tested.without };
            *right += usize::from(is_seen == shot.present);
            *all += 1;
        }
        Ok(tested)
    };
    let spinner = spinner(output, "judging the clips for testing");
    let judged = judge();
    spinner.finish_and_clear();
    // The person is learned and kept, whatever becomes of this.
    judged.inspect_err(|error| output.note(words::clean(&format!("the clips for testing are not judged: {error}")))).ok()
}

#[derive(Serialize)]
struct LearnedBody<'a> {
    name: &'a str,
    #[serde(serialize_with = "words::lossy")]
    file: &'a Path,
    base: &'a str,
    #[serde(serialize_with = "words::lossy")]
    kept_in: PathBuf,
    trains: Trains,
    /// With the person, of others.
    clips: [usize; 2],
    /// Shares of right answers on clips held back, before and after training; nothing where none of a kind were.
    right: Option<[f64; 2]>,
    /// What was judged rightly of the clips for testing, if there are any.
    tested: Option<Tested>,
    kept_learned: bool,
    steps: usize,
    seconds: Vec<(&'static str, f64)>,
    all_seconds: f64,
    peak_memory: Option<u64>,
}

impl LearnedBody<'_> {
    fn told(&self) -> String {
        let ([ours, theirs], name) = (self.clips, self.name);
        let steps: Vec<String> = self.seconds.iter().map(|(what, seconds)| format!("{what} {seconds:.1} s")).collect();
        let memory = self.peak_memory.map(|bytes| format!("; at most {} of memory", words::bytes(bytes))).unwrap_or_default();
        let right = match self.right {
            Some([before, after]) => {
                format!("Right on clips held back: {:.0} % before training, {:.0} % after it.", 100.0 * before, 100.0 * after)
            }
            None => "Fewer than four clips of a kind: none were held back, so nobody knows how well it was learned.".into(),
        };
        let tested = self.tested.map_or_else(String::new, |Tested { with, without }| {
            format!(
                "\nRight on clips for testing, which it did not learn from: {} of {} with {name}, {} of {} of others.",
                with[0], with[1], without[0], without[1]
            )
        });
        format!(
            "{name} learned on {} from {ours} clips with {name} and {theirs} of others, in {}.\n{right}{tested}\nTook {:.0} s: \
             {}{memory}.\nKept in {}.",
            self.base,
            words::count(self.steps, "step"),
            self.all_seconds,
            steps.join(", "),
            words::shown(&self.kept_in)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_settings_take_the_place_of_the_usual_ones() {
        let mut all = serde_json::json!({ "clip_steps": 30, "adaptation": { "lora_rate": 1.0, "router_rate": 2.0 } });
        put(&mut all, serde_json::json!({ "adaptation": { "router_rate": 3.0 }, "batch": 2 }));
        let expected =
            serde_json::json!({ "clip_steps": 30, "batch": 2, "adaptation": { "lora_rate": 1.0, "router_rate": 3.0 } });
        assert_eq!(all, expected);
    }
}
