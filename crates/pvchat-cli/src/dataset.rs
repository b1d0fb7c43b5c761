//! `pvchat dataset`: a dataset to train on, from a filmed clip of a person, or of each of several.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Instant,
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use pvchat::{
    DatasetPerson, DatasetRequest, Describer, Error, INDEX, Impression, Refiner, SeenPeople, SubjectName,
    augment::{
        filmed::{
            self, DatasetOptions, GeneratorUsed, Generators, Guess, Half, Made, NOT_NEEDED, Progress, Refine, Spared, Stage,
        },
        generator::{
            Generator,
            prompts::{AgeBand, Gender},
        },
    },
    data::QaKind,
    eval::judge::HttpTransport,
    faces::{self, EyeContours, Matte},
    nn::device,
};
use serde::Serialize;

use crate::{
    bases::Base,
    common::Common,
    dataset_file::Source,
    describer::{self, LazyBase},
    enrol::{Which, look},
    failure::{Exit, Failure, Outcome},
    interrupt::Stoppable,
    output::Output,
    progress::{Lines, spinner},
    words,
};

const MAKE_EXAMPLES: &str = "\
Examples:
  pvchat models get people selfie                    fetches the networks, once
  pvchat dataset make aa.mp4 --name Aa --corpus footage --out aa-data
  pvchat dataset make aa.mp4 --name Aa --corpus footage --out aa-data --base smolvlm2-256m
  pvchat dataset make aa.mp4 bb.mp4 --name Aa,Bb --corpus footage --out data
  pvchat dataset make party.mp4 --name Bb --person 2 --corpus footage --out bb-data --size 224
  pvchat dataset make party.mp4 --name Bb --person 2 --out bb-data
  pvchat dataset make aa.mp4 --name Aa --corpus ~/Videos --index ~/Videos/pvchat.index --out aa-data
  pvchat dataset make aa.mp4 --name Aa --corpus footage --out aa-data --base smolvlm2-256m \\
    --refine http://localhost:8000/v1 --refine-model NAME
  pvchat dataset make aa.mp4 --name Aa --corpus footage --out aa-data --generator consisid.json --age-band young

The person is cut out of the clip and put into the footage of the corpus; strangers of the corpus go through the same making.
Footage that may show the person is left out. Without a corpus, the strangers are the other people of the clip, each of whom it must
show alone for some seconds. With an index of the corpus (pvchat index) only footage of strangers who are chosen
is looked at; new files are put into the index. In the folder of the dataset, report.html shows what was made and what was
dropped; <Aa>.json, <Aa>_short_train.json and <Aa>test.json are the files that PVChat's published training reads. The same
command again goes on with an interrupted run, and makes anew only what other options change.

A dataset can be about two or three people, with a clip of each that shows none of the others: --name takes their names in the order
of the clips. Clips of each then serve the others as negatives, and some show all of them. Its files are called <Aa>_<Bb>.json,
<Aa>_<Bb>_short_train.json and <Aa>_<Bb>_test.json.

A generator is a program of others that makes clips from pictures of the person (ConsisID, PhotoMaker with LivePortrait), described
in a file. It is run as it is described, within limits, and makes clips of strangers too, in the same scenes and proportions:
docs/generators.md. It gets pictures of the person and of strangers of the corpus.

Exit codes: 0 made, 1 a generator fails, or something else goes wrong, 2 another number of names than of clips, 3 no person, several
people, one person in two clips, no look that is good enough, a clip that is too short, no strangers.";

const CHECK_EXAMPLES: &str = "\
Examples:
  pvchat dataset check aa-data

Exit codes: 0 it can be trained on, 3 something is missing, changed, or leads out of the folder.";

/// The commands about datasets.
#[derive(Subcommand)]
#[command(after_help = MAKE_EXAMPLES)]
pub enum Command {
    /// Makes a dataset of one person, or of two or three, from a filmed clip of each and footage of others.
    #[command(after_help = MAKE_EXAMPLES)]
    Make(Box<MakeArguments>),
    /// Checks a dataset: its files, its classes, its paths.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArguments),
}

/// What a dataset is made from.
#[derive(Args)]
pub struct MakeArguments {
    /// A video that shows the person alone for some seconds; of two or three people, one of each.
    #[arg(required = true, value_name = "CLIP")]
    clips: Vec<PathBuf>,
    /// The person's name in the dataset; of several people, their names with commas between, in the order of the clips.
    #[arg(long = "name", value_name = "NAME", value_delimiter = ',', required = true)]
    names: Vec<SubjectName>,
    /// A folder with footage of other people, and of empty places. Without it, others are whoever else is seen alone in the clip.
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// The index of the corpus; by default pvchat.index in it, where there is one. A file that does not exist is made. Not used
    /// without a corpus.
    #[arg(long, env = "PVCHAT_INDEX", hide_env_values = true, value_name = "FILE")]
    index: Option<PathBuf>,
    /// The folder of the dataset: a new one, or that of an earlier run.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    which: Which,
    /// The base that says what the person wears, does and where: a name of `pvchat base list`, or a folder. Without one, only
    /// existence is asked of clips with the person.
    #[arg(long, env = "PVCHAT_BASE", hide_env_values = true, value_name = "BASE")]
    base: Option<Base>,
    /// Keeps every sentence of the base; by default it is asked whether each is true, and those that it denies are left out.
    #[arg(long, requires = "base")]
    unchecked: bool,
    /// The address of a chat service (http://localhost:8000/v1) that rewrites what the base says, so that it calls the person by
    /// name. The sentences go there, pictures do not. Its key, if it wants one, is read from PVCHAT_REFINE_KEY.
    #[arg(long, value_name = "URL", requires = "refine_model")]
    refine: Option<String>,
    /// What the service calls the model.
    #[arg(long, value_name = "NAME", requires = "refine")]
    refine_model: Option<String>,
    /// Asks about emotion too, a fifth kind of questions.
    #[arg(long)]
    emotion: bool,
    /// A program that generates clips: the file that describes it. Repeat it for several.
    #[arg(long = "generator", value_name = "FILE")]
    generators: Vec<PathBuf>,
    /// The person's age in the prompts of generators: child, young, middle-aged, elderly, or ask: the base's guess. Without it they
    /// say none.
    #[arg(long, value_name = "BAND", requires = "generators")]
    age_band: Option<Said<AgeBand>>,
    /// The person's gender in the prompts of generators: female, male, or ask: the base's guess. Without it they say none.
    #[arg(long, value_name = "GENDER", requires = "generators")]
    gender: Option<Said<Gender>>,
    /// Seed of all random choices; the same seed gives the same dataset.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Width and height of the clips in pixels.
    #[arg(long, default_value_t = DatasetOptions::default().size, value_name = "N")]
    size: u32,
    /// Frames of a clip.
    #[arg(long, default_value_t = DatasetOptions::default().frames, value_name = "N")]
    frames: usize,
    /// Frames per second of a clip.
    #[arg(long, default_value_t = DatasetOptions::default().rate, value_name = "N")]
    rate: u32,
    /// Clips for training with the person.
    #[arg(long, default_value_t = DatasetOptions::default().positives, value_name = "N")]
    positives: usize,
    /// Clips for training of others.
    #[arg(long, default_value_t = DatasetOptions::default().negatives, value_name = "N")]
    negatives: usize,
    /// Of the clips for training with the person, those with a stranger's body; as large a share of the others has the person's.
    #[arg(long, default_value_t = DatasetOptions::default().exchanged, value_name = "N")]
    exchanged: usize,
    /// Clips for testing with the person.
    #[arg(long, default_value_t = DatasetOptions::default().test_positives, value_name = "N")]
    test_positives: usize,
    /// Clips for testing of others.
    #[arg(long, default_value_t = DatasetOptions::default().test_negatives, value_name = "N")]
    test_negatives: usize,
    /// Questions about appearance, action and location, of each kind, that each clip of others refuses.
    #[arg(long, default_value_t = DatasetOptions::default().refusals, value_name = "N")]
    refusals: usize,
}

/// What prompts say of the person: as given, or the base's guess.
#[derive(Clone, Copy, Debug)]
enum Said<T> {
    Given(T),
    Ask,
}

impl<T> Said<T> {
    fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Ask => None,
        }
    }
}

impl<T: FromStr<Err = String>> FromStr for Said<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ask" => Ok(Self::Ask),
            _ => Ok(Self::Given(text.parse().map_err(|error| format!("{error}, or `ask` for the base's guess"))?)),
        }
    }
}

/// What an option gives, or the guess of the base of that name, which is told with the option that corrects it.
fn given_or_guessed<T: std::fmt::Display>(
    said: Option<Said<T>>,
    option: &str,
    base: &str,
    output: &Output,
    guess: impl FnOnce() -> pvchat::Result<Option<T>>,
) -> Outcome<Option<T>> {
    let Some(Said::Ask) = said else { return Ok(said.and_then(Said::given)) };
    let guess = guess()?;
    output.note(match &guess {
        Some(word) => format!("{option}: {word}, by a guess of {base}; another word after --{option} corrects it"),
        None => format!("{option}: {base} does not say; prompts say none"),
    });
    Ok(guess)
}

/// Every dataset has it.
const MANIFEST: &str = "manifest.json";

/// What is checked.
#[derive(Args)]
pub struct CheckArguments {
    /// The folder of a dataset, or a file of the published schema.
    #[arg(value_name = "DATASET")]
    dataset: PathBuf,
}

impl Command {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        match self {
            Self::Make(arguments) => arguments.run(common),
            Self::Check(arguments) => arguments.run(common),
        }
    }
}

/// A dataset as JSON has it.
#[derive(Serialize)]
struct MadeBody<'a> {
    /// "Aa", or "Aa and Bb".
    name: String,
    people: Vec<PersonBody<'a>>,
    #[serde(serialize_with = "words::lossy")]
    folder: &'a Path,
    train: [usize; 2],
    test: [usize; 2],
    dropped: usize,
    left_out: Vec<LeftOutBody<'a>>,
    questions: Vec<Questions>,
    /// Descriptions that were asked for, and those that were kept.
    described: [usize; 2],
    spared: Option<Spared>,
    generators: &'a [GeneratorUsed],
    least_similarity: f32,
    nearest_other: f32,
    background: Guess,
    seams: Guess,
    /// The control.
    making: Option<Guess>,
    /// Another control: how well the seams say which of the strangers is seen, on average.
    strangers: Option<f64>,
    drawn: usize,
    seconds: Vec<(&'static str, f64)>,
    /// Clips that one core composes and writes in a second.
    per_core: Option<f64>,
    /// Seconds of all cores together.
    processor: Option<f64>,
    peak_memory: Option<u64>,
}

/// One of the people of a dataset.
#[derive(Serialize)]
struct PersonBody<'a> {
    name: &'a str,
    /// With the person, without.
    train: [usize; 2],
    test: [usize; 2],
    background: Guess,
    seams: Guess,
}

#[derive(Serialize)]
struct LeftOutBody<'a> {
    file: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Questions {
    kind: QaKind,
    positives: usize,
    negatives: usize,
}

impl MakeArguments {
    fn options(&self) -> DatasetOptions {
        let default = DatasetOptions::default();
        DatasetOptions {
            seed: self.seed,
            size: self.size,
            frames: self.frames,
            rate: self.rate,
            positives: self.positives,
            negatives: self.negatives,
            // The share of similar strangers stays.
            hard: default.hard * self.negatives / default.negatives,
            exchanged: self.exchanged,
            emotion: self.emotion,
            test_positives: self.test_positives,
            test_negatives: self.test_negatives,
            refusals: self.refusals,
            ..default
        }
    }

    /// Refuses names and clips that do not fit, before anything is looked at.
    fn check(&self) -> Outcome<()> {
        let usage = |message: String| Failure { exit: Exit::Usage, reason: "usage", ..Failure::failed(message) };
        let [clips, names] = [(self.clips.len(), "clip"), (self.names.len(), "name")];
        if clips.0 != names.0 {
            let counted = [clips, names].map(|(count, noun)| words::count(count, noun)).join(" and ");
            return Err(usage(format!("{counted}; give each clip a name, in the same order: --name Aa,Bb")));
        }
        filmed::check_names(&self.names)?;
        if self.asks_the_base() && self.base.as_ref().is_none_or(Base::is_empty) {
            let message = "the age band or gender `ask` is the base's guess; name one with --base, see `pvchat base list`";
            return Err(usage(message.into()));
        }
        if self.names.len() > 1 && self.which.choice().is_some() {
            let message =
                "--person, --at and --box choose somebody of one clip; for several people give clips that show each alone";
            return Err(usage(message.into()));
        }
        Ok(())
    }

    fn asks_the_base(&self) -> bool {
        matches!(self.age_band, Some(Said::Ask)) || matches!(self.gender, Some(Said::Ask))
    }

    /// What prompts say of the person: as given, or the base's guess where it is to be asked.
    fn said(
        &self,
        output: &Output,
        seen: &[SeenPeople],
        base: Option<&mut LazyBase>,
    ) -> Outcome<(Option<AgeBand>, Option<Gender>)> {
        let (true, [seen], Some(base)) = (self.asks_the_base(), seen, base) else {
            return Ok((self.age_band.and_then(Said::given), self.gender.and_then(Said::given)));
        };
        let name = base.name().to_string();
        let mut guess = match Impression::new(seen, self.which.choice(), base) {
            Ok(guess) => guess,
            Err(error) => return Err(self.failure(output, std::slice::from_ref(seen), error)?),
        };
        let age = given_or_guessed(self.age_band, "age-band", &name, output, || guess.age())?;
        let gender = given_or_guessed(self.gender, "gender", &name, output, || guess.gender())?;
        Ok((age, gender))
    }

    /// What went wrong in the words of this command.
    fn failure(&self, output: &Output, seen: &[SeenPeople], error: Error) -> Outcome<Failure> {
        if let ([seen], [_]) = (seen, self.names.as_slice()) {
            return self.which.explain(output, seen, error);
        }
        let Error::SeveralPeople { path, candidates } = &error else { return Ok(error.into()) };
        let place = seen.iter().position(|seen| seen.source == *path).unwrap_or(0);
        let (count, file) = (words::count(candidates.len(), "person"), words::shown(path));
        let message = format!("{count} in {file}; give a clip that shows {} alone", self.names[place].bare());
        Ok(Failure::refused("several_people", message))
    }

    fn run(&self, common: &Common) -> Outcome<Exit> {
        self.check()?;
        let options = self.options();
        options.check()?;
        let generators = self.generators.iter().map(|file| Generator::open(file)).collect::<Result<Vec<_>, _>>()?;
        let (people, output) = (common.people()?, common.output());
        let device = device::default_device().map_err(pvchat::Error::from)?;
        let models = common.models()?;
        let matte = Matte::open(&models, &device).map_err(|error| common.with_models(error.into()))?;
        // Whoever installed the models before there was this one can still make datasets.
        let eye_contours = match EyeContours::open(&models, &device) {
            Ok(eye_contours) => Some(eye_contours),
            Err(faces::Error::Models(error @ faces::models::Error::Absent { .. })) => {
                let absent = common.with_models(faces::Error::from(error).into());
                output.note(format!("Whether eyes are open is not measured: {}", absent.message));
                None
            }
            Err(error) => return Err(common.with_models(error.into())),
        };
        let mut base: Option<LazyBase> = match self.base.as_ref().filter(|base| !base.is_empty()) {
            Some(base) if base.is_miniature() => {
                let message = "the miniature describes drawn clips only; name another base, see `pvchat base list`";
                return Err(Failure::refused("base_refused", message));
            }
            Some(base) => describer::choose(common, Some(base))?,
            None => None,
        };
        let refiner = self.refiner()?;
        let in_corpus = || self.corpus.as_ref().map(|corpus| corpus.join(INDEX)).filter(|file| file.exists());
        let index = self.index.clone().filter(|file| !file.as_os_str().is_empty()).or_else(in_corpus);
        let begun = Instant::now();
        let seen = self.clips.iter().map(|clip| look(&people, common, clip)).collect::<Outcome<Vec<SeenPeople>>>()?;
        let everybody: Vec<DatasetPerson<'_>> =
            seen.iter().zip(&self.names).map(|(seen, name)| DatasetPerson { seen, choice: self.which.choice(), name }).collect();
        let (age, gender) = self.said(&output, &seen, base.as_mut())?;
        let stoppable = Stoppable::begin();
        let mut stages = Stages::new(&output, begun);
        let request = DatasetRequest {
            people: &everybody,
            corpus: self.corpus.as_deref(),
            index: index.as_deref(),
            out: &self.out,
            options: &options,
            is_checked: !self.unchecked,
            refiner: refiner.as_ref().map(|refiner| refiner as &dyn Refine),
            eye_contours: eye_contours.as_ref(),
            generators: Generators { list: &generators, age, gender },
        };
        let describer = base.as_mut().map(|base| base as &mut dyn Describer);
        let made = people.make_dataset(&request, &matte, describer, |progress| {
            stages.observe(progress);
            stoppable.flow()
        });
        let seconds = stages.finish();
        let made = match made {
            Ok(made) => made,
            Err(error) => return Err(self.failure(&output, &seen, error)?),
        };
        let body = self.body(&made, seconds);
        output.result("dataset", &body, self.told(&made, &body))?;
        Ok(Exit::Answered)
    }

    /// What rewrites descriptions.
    fn refiner(&self) -> Outcome<Option<Refiner<HttpTransport>>> {
        let (Some(address), Some(model)) = (&self.refine, &self.refine_model) else { return Ok(None) };
        let refused = |error: pvchat::eval::judge::HttpError| Failure::refused("refiner_refused", error.to_string());
        let transport = HttpTransport::new(address).map_err(refused)?;
        let transport = match std::env::var("PVCHAT_REFINE_KEY").ok().filter(|key| !key.is_empty()) {
            Some(key) => transport.with_key(&key).map_err(refused)?,
            None => transport,
        };
        Ok(Some(Refiner::new(transport, model)))
    }

    fn body<'a>(&'a self, made: &'a Made, seconds: Vec<(&'static str, f64)>) -> MadeBody<'a> {
        let manifest = &made.manifest;
        let count = |half: Half| {
            [true, false]
                .map(|positive| manifest.clips.iter().filter(|clip| clip.half == half && clip.positive == positive).count())
        };
        let positives = manifest.clips.iter().filter(|clip| clip.positive);
        let others = manifest.clips.iter().filter(|clip| self.names.iter().any(|name| !clip.shows(name)));
        let guessed = std::iter::once(manifest.blind).chain(manifest.others.iter().map(|person| person.blind));
        let person = |(name, blind): (&'a SubjectName, filmed::Blind)| {
            let count = |half: Half| {
                let of =
                    |shows: bool| manifest.clips.iter().filter(|clip| clip.half == half && clip.shows(name) == shows).count();
                [true, false].map(of)
            };
            let filmed::Blind { background, seams, .. } = blind;
            PersonBody { name: name.bare(), train: count(Half::Train), test: count(Half::Test), background, seams }
        };
        let bare: Vec<&str> = self.names.iter().map(SubjectName::bare).collect();
        MadeBody {
            name: words::list(&bare),
            people: self.names.iter().zip(guessed).map(person).collect(),
            folder: &self.out,
            train: count(Half::Train),
            test: count(Half::Test),
            dropped: manifest.dropped.len(),
            left_out: manifest
                .left_out
                .iter()
                .map(|left_out| LeftOutBody { file: &left_out.name, reason: &left_out.reason })
                .collect(),
            questions: made
                .questions
                .iter()
                .map(|(&kind, &[positives, negatives])| Questions { kind, positives, negatives })
                .collect(),
            described: made.described,
            spared: manifest.spared,
            generators: &manifest.generators,
            least_similarity: positives.map(|clip| clip.judged.similarity).fold(1.0, f32::min),
            nearest_other: others.map(|clip| clip.judged.to_subject).fold(-1.0, f32::max),
            background: manifest.blind.background,
            seams: manifest.blind.seams,
            making: manifest.blind.making,
            strangers: manifest.blind.strangers,
            drawn: made.drawn,
            seconds,
            per_core: (made.drawn > 0).then(|| words::millis(made.drawn as f64 / made.composing.max(1e-9))),
            processor: processor(),
            peak_memory: peak_memory(),
        }
    }

    fn told(&self, made: &Made, body: &MadeBody<'_>) -> String {
        let (manifest, name) = (&made.manifest, if self.names.len() > 1 { "anybody of them" } else { &body.name });
        let ([ours, theirs], [test_ours, test_theirs]) = (body.train, body.test);
        let asked: usize = body.questions.iter().map(|questions| questions.positives + questions.negatives).sum();
        let guessed = |guess: &Guess| match guess.is_chance() {
            true => format!("{:.2} (chance)", guess.accuracy),
            false => format!("{:.2} (more than chance, {:.2})", guess.accuracy, guess.chance),
        };
        let seconds: Vec<String> = body.seconds.iter().map(|(what, seconds)| format!("{what} {seconds:.1} s")).collect();
        let mut lines = vec![
            format!("{ours} clips with {name} and {theirs} of others for training, {test_ours} and {test_theirs} for testing."),
            format!("{asked} questions for training; dropped by the identity gate: {}.", words::count(body.dropped, "clip")),
            format!(
                "Least similarity of {}: {:.2} (from {:.2} on). Greatest of anybody else: {:.2} (below {:.2}).",
                body.name, body.least_similarity, manifest.thresholds.same, body.nearest_other, manifest.thresholds.other
            ),
        ];
        let is_several = body.people.len() > 1;
        for PersonBody { name, train: [with, without], test, background, seams } in &body.people {
            if is_several {
                let [test_with, test_without] = test;
                lines.push(format!(
                    "{name}: {with} clips with and {without} without for training, {test_with} and {test_without} for testing."
                ));
            }
            lines.push(format!(
                "Guessed without seeing {}: from the background {}, from the seams {}.",
                if is_several { name } else { "the person" },
                guessed(background),
                guessed(seams)
            ));
        }
        if let Some(strangers) = body.strangers {
            lines.push(format!("Control: which of the strangers is seen, guessed from the seams: {strangers:.2} on average."));
        }
        if let Some(making) = &body.making {
            lines.push(format!("Control: which clips are only cropped, guessed from the seams: {}.", guessed(making)));
        }
        for GeneratorUsed { name, asked, passed, used, .. } in &manifest.generators {
            lines.push(format!(
                "Generated by {name}: {} of {} clips of the person passed the identity gate and {} of {} of others; {} and {} are used.",
                passed[0], asked[0], passed[1], asked[1], used[0], used[1]
            ));
        }
        if let (Some(describer), [asked, kept]) = (&manifest.describer, body.described) {
            lines.push(format!("{kept} of {asked} descriptions were kept ({}).", words::clean(describer)));
        }
        if let Some(spared) = body.spared {
            lines.push(format!(
                "Of {} that the index knows, {} looked at.",
                words::count(spared.known, "file"),
                match spared.looked_at {
                    1 => "1 was".to_string(),
                    count => format!("{count} were"),
                }
            ));
        }
        if manifest.describer.is_none() {
            lines.push(
                "No base described the clips: about appearance, action and location there are refusals only (--base).".into(),
            );
        }
        let not_needed = body.left_out.iter().filter(|left_out| left_out.reason == NOT_NEEDED).count();
        let counts = [(body.left_out.len() - not_needed, "cannot be used"), (not_needed, "not needed")];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts.map(|(count, what)| format!("{} {what}", words::count(count, "file"))).collect();
        if !counts.is_empty() {
            lines.push(format!("{}, see the report.", counts.join(", ")));
        }
        let processor = body.processor.map(|seconds| format!("; {seconds:.1} s of processor time")).unwrap_or_default();
        let memory = body.peak_memory.map(|bytes| format!(", at most {} of memory", words::bytes(bytes))).unwrap_or_default();
        lines.push(format!("Took: {}{processor}{memory}.", seconds.join(", ")));
        if let Some(composed) = body.per_core {
            let clips = words::count(body.drawn, "clip");
            lines.push(format!("{clips} composed and written at {} pixels, {composed:.1} a second per core.", self.size));
        }
        let (shown, quoted) = (words::shown(&self.out), words::quoted(&self.out));
        lines.push(format!(
            "In {shown}: look at report.html, then: pvchat learn --dataset {quoted}. Its folder work/ holds strangers' faces and may be \
             deleted; only a further `dataset make` uses it."
        ));
        lines.join("\n")
    }
}

/// The stages of a run, and how long each took.
struct Stages {
    output: Output,
    bar: ProgressBar,
    lines: Lines,
    stage: Option<Stage>,
    since: Instant,
    took: Vec<(&'static str, f64)>,
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Looking => "looking for people",
        Stage::CuttingOut => "cutting people out",
        Stage::Generating => "having clips generated",
        Stage::Making => "making clips",
        Stage::Asking => "asking questions",
        Stage::Writing => "writing",
    }
}

impl Stages {
    fn new(output: &Output, since: Instant) -> Self {
        let lines = Lines::new(output);
        Self { output: *output, bar: ProgressBar::hidden(), lines, stage: None, since, took: Vec::new() }
    }

    fn observe(&mut self, progress: Progress) {
        if self.stage != Some(progress.stage) {
            // The first look, before the first stage, is looking too.
            if self.stage.is_some() {
                self.leave();
            }
            self.stage = Some(progress.stage);
            self.bar = spinner(&self.output, name(progress.stage));
            if let Ok(style) = ProgressStyle::with_template("{prefix}  {wide_bar} {pos}/{len}, {eta} left") {
                self.bar.set_style(style);
            }
            self.bar.set_prefix(name(progress.stage));
        }
        self.bar.set_length(progress.total as u64);
        self.bar.set_position(progress.done as u64);
        self.lines.tell(&self.bar, || format!("{}: {} of {}", name(progress.stage), progress.done, progress.total));
    }

    fn leave(&mut self) {
        self.bar.finish_and_clear();
        if let Some(stage) = self.stage.take() {
            self.took.push((name(stage), words::millis(self.since.elapsed().as_secs_f64())));
            self.since = Instant::now();
        }
    }

    fn finish(mut self) -> Vec<(&'static str, f64)> {
        self.leave();
        self.took
    }
}

/// The most memory that this process had, in bytes, where the system says it.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| 1024 * kilobytes)
}

/// The time that processors spent on this process, in seconds, where the system says it.
fn processor() -> Option<f64> {
    /// Of Linux, on every architecture that it reports this for.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may hold anything.
    let numbers: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |place: usize| numbers.get(place)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) as f64 / TICKS)
}

#[derive(Serialize)]
struct CheckedBody<'a> {
    #[serde(serialize_with = "words::lossy")]
    folder: &'a Path,
    name: String,
    train: usize,
    short_train: usize,
    test: usize,
    questions: usize,
}

impl CheckArguments {
    fn run(&self, common: &Common) -> Outcome<Exit> {
        let output = common.output();
        if self.dataset.is_file() && self.dataset.extension().is_some_and(|extension| extension == "json") {
            return self.published(&output);
        }
        Failure::unless_folder(&self.dataset)?;
        if !self.dataset.join(MANIFEST).exists() {
            return self.published(&output);
        }
        let verified = filmed::verify(&self.dataset);
        if let Err(pvchat::augment::Error::Unfit { problems, .. }) = &verified {
            problems.iter().skip(1).for_each(|problem| output.note(words::clean(problem)));
        }
        let verified = verified?;
        let videos = |dataset: &Option<pvchat::data::Dataset>| dataset.as_ref().map_or(0, |dataset| dataset.videos.len());
        let names = verified.manifest.names();
        let body = CheckedBody {
            folder: &self.dataset,
            name: words::list(&names.iter().map(SubjectName::bare).collect::<Vec<_>>()),
            train: verified.train.videos.len(),
            short_train: videos(&verified.short_train),
            test: videos(&verified.test),
            questions: verified.train.question_count(),
        };
        let text = format!(
            "{}: {} with {} about {}; {} for testing. Every file is there and intact.",
            words::shown(&self.dataset),
            words::count(body.train, "clip"),
            words::count(body.questions, "question"),
            body.name,
            words::count(body.test, "clip")
        );
        output.result("dataset_checked", &body, text)?;
        Ok(Exit::Answered)
    }

    /// Files of the published schema that `pvchat dataset make` did not write: whether they can be learned from.
    fn published(&self, output: &Output) -> Outcome<Exit> {
        let source = Source::find(&self.dataset, None)?;
        for name in &source.names {
            source.check(name, output)?;
        }
        let body = CheckedBody {
            folder: &source.file,
            name: words::list(&source.names.iter().map(SubjectName::bare).collect::<Vec<_>>()),
            train: source.dataset.videos.len(),
            short_train: 0,
            test: 0,
            questions: source.dataset.question_count(),
        };
        let text = format!(
            "{}: {} with {} about {}. Every clip can be opened, and there are clips with and without everybody.",
            words::shown(&source.file),
            words::count(body.train, "clip"),
            words::count(body.questions, "question"),
            body.name,
        );
        output.result("dataset_checked", &body, text)?;
        Ok(Exit::Answered)
    }
}
