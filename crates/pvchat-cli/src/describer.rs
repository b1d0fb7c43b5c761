//! The base that answers what faces do not: chosen at the start, opened when a question needs it.

use std::{path::PathBuf, time::Instant};

use clap::ValueEnum;
use pvchat::{
    BaseDescriber, BaseFolder, BaseUsed, Describer, Error, LearnedAnswer, Pictures, Pvchat, SubjectFolder, SubjectName,
    nn::{device, packed::Precision},
    train::personal::Trains,
};

use crate::{
    bases::{
        Base, Known, Origin,
        hub::{self, Hub, State},
    },
    common::Common,
    failure::{Failure, Outcome},
    output::Output,
    progress::{byte_bar, spinner},
    words,
};

/// A base in a folder.
#[derive(Debug)]
pub struct LazyBase {
    name: String,
    folder: BaseFolder,
    /// The name under which people who were learned on it are kept, and where.
    key: String,
    learned: SubjectFolder,
    /// A base of the list, whose files are checked before they are used for the first time.
    listed: Option<Listed>,
    output: Output,
    opened: Option<BaseDescriber>,
    bits: Bits,
    /// Where it keeps its encodings of pictures.
    looks: Option<PathBuf>,
}

/// Bits of a weight.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Bits {
    /// As published.
    #[default]
    #[value(name = "16")]
    Sixteen,
    /// Whole numbers with a scale.
    #[value(name = "8")]
    Eight,
    /// The same, of half the size.
    #[value(name = "4")]
    Four,
}

impl From<Bits> for Precision {
    fn from(bits: Bits) -> Self {
        match bits {
            Bits::Sixteen => Self::Bf16,
            Bits::Eight => Self::Int8,
            Bits::Four => Self::Int4,
        }
    }
}

#[derive(Debug)]
struct Listed {
    hub: Hub,
    known: Known,
    origin: Origin,
    record: PathBuf,
}

/// The base of a name or folder; without one the smallest that is installed, if there is any.
pub fn choose(common: &Common, base: Option<&Base>) -> Outcome<Option<LazyBase>> {
    let output = common.output();
    let Some(base) = base.filter(|base| !base.is_empty()) else { return automatic(common, &output) };
    let Some(known) = base.known()? else {
        let (path, key) = (base.folder()?, base.key()?);
        return Ok(Some(LazyBase {
            name: words::shown(path),
            folder: BaseFolder::read(path)?,
            learned: common.learned_on(&key)?,
            key,
            listed: None,
            output,
            opened: None,
            bits: Bits::default(),
            looks: None,
        }));
    };
    let hub = Hub::from_environment()?;
    match known.origin.clone() {
        None => Err(known.folder_only()),
        Some(origin) => match hub.state(&origin) {
            State::Installed => LazyBase::listed(common, hub, known, origin).map(Some),
            state => Err(known.absent(state)),
        },
    }
}

/// There is no base where one is needed.
pub fn none() -> Failure {
    let get = hub::get_command("smolvlm2-256m");
    let message = format!("this needs a base for footage, and none is installed: {get} (1.0 GB, Apache-2.0), or --base FOLDER");
    Failure::refused("needs_base", message)
}

/// The smallest base that is installed. One that cannot be read is no reason to refuse questions that need none.
fn automatic(common: &Common, output: &Output) -> Outcome<Option<LazyBase>> {
    let hub = Hub::from_environment()?;
    let with_origin = |known: Known| known.origin.clone().map(|origin| (known, origin));
    let mut installed: Vec<(Known, Origin)> = Known::all()?.into_iter().filter_map(with_origin).collect();
    installed.retain(|(_, origin)| hub.state(origin) == State::Installed);
    installed.sort_by_key(|(_, origin)| origin.bytes());
    for (known, origin) in installed {
        let name = known.name.clone();
        match LazyBase::listed(common, hub.clone(), known, origin) {
            Ok(base) => return Ok(Some(base)),
            Err(failure) => output.note(format!("{name} is left out: {}", failure.message)),
        }
    }
    Ok(None)
}

impl LazyBase {
    fn listed(common: &Common, hub: Hub, known: Known, origin: Origin) -> Outcome<Self> {
        let folder = BaseFolder::read(hub.folder(&origin))?;
        let (name, record, output) = (known.name.clone(), known.record()?, common.output());
        let (key, learned) = (name.clone(), common.learned_on(&name)?);
        let listed = Some(Listed { hub, known, origin, record });
        Ok(Self { name, folder, key, learned, listed, output, opened: None, bits: Bits::default(), looks: None })
    }

    /// Keeps its encodings of pictures in a folder, for the next question.
    pub fn keeping(self, folder: PathBuf) -> Self {
        Self { looks: Some(folder), ..self }
    }

    /// Opens its weights in this number of bits.
    pub fn in_bits(self, bits: Bits) -> Self {
        Self { bits, ..self }
    }

    /// Its folder, before anything of the weights is read.
    pub fn folder(&self) -> &BaseFolder {
        &self.folder
    }

    /// The name under which people who were learned on it are kept.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where they are kept.
    pub fn learned(&self) -> &SubjectFolder {
        &self.learned
    }

    /// Reads the weights to ask.
    fn open(&self) -> pvchat::Result<BaseDescriber> {
        let packed = |precision, device: &_| self.folder.open_packed(self.name.clone(), precision, device);
        let opened = self.reading(|device| match self.bits {
            Bits::Sixteen => self.folder.open(self.name.clone(), device),
            bits @ (Bits::Eight | Bits::Four) => packed(bits.into(), device),
        })?;
        let opened = opened.with_learned(self.learned.clone());
        Ok(match &self.looks {
            Some(looks) => opened.keeping(looks),
            None => opened,
        })
    }

    /// Reads the weights to learn somebody.
    pub fn open_to_learn(&self, trains: Trains) -> pvchat::Result<Pvchat> {
        self.reading(|device| self.folder.open_to_learn(trains, device))
    }

    /// Reads the weights, which are checked before they are read for the first time.
    fn reading<T>(&self, read: impl FnOnce(&pvchat::burn::prelude::Device) -> pvchat::Result<T>) -> pvchat::Result<T> {
        if let Some(Listed { hub, known, origin, record }) = &self.listed {
            let refused = |problem: String, remedy: String| Error::Base { folder: self.folder.path().into(), problem, remedy };
            let bar = byte_bar(&self.output);
            let checked = hub.check_once(known, origin, record, &bar);
            bar.finish_and_clear();
            let checked =
                checked.map_err(|failure| refused(format!("cannot be checked ({})", failure.message), "try again".into()));
            checked?.map_err(|damage| {
                let name = damage.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let remedy = format!("fetch it again: `{}`", hub::get_command(&self.name));
                refused(format!("is damaged: {name} {}", damage.problem), remedy)
            })?;
        }
        let (started, spinner) = (Instant::now(), spinner(&self.output, format!("opening {}", self.name)));
        let opened = read(&device::default_device()?);
        spinner.finish_and_clear();
        let opened = opened?;
        let bits = match self.bits {
            Bits::Sixteen => "",
            Bits::Eight => ", with weights of 8 bits",
            Bits::Four => ", with weights of 4 bits",
        };
        self.output.note(format!("{}: opened in {:.1} s{bits}", self.name, started.elapsed().as_secs_f64()));
        Ok(opened)
    }

    /// Has the opened base look at pictures.
    fn looking<T>(
        &mut self,
        pictures: &Pictures<'_>,
        ask: impl FnOnce(&mut BaseDescriber) -> pvchat::Result<T>,
    ) -> pvchat::Result<T> {
        let mut opened = match self.opened.take() {
            Some(opened) => opened,
            None => self.open()?,
        };
        let shown = words::count(pictures.frames.len() + usize::from(pictures.person.is_some()), "picture");
        let (started, spinner) = (Instant::now(), spinner(&self.output, format!("{} looks at {shown}", self.name)));
        let answer = ask(&mut opened);
        spinner.finish_and_clear();
        self.opened = Some(opened);
        let answer = answer?;
        self.output.note(format!("{}: answered from {shown} in {:.1} s", self.name, started.elapsed().as_secs_f64()));
        Ok(answer)
    }
}

impl Describer for LazyBase {
    fn name(&self) -> &str {
        &self.name
    }

    fn used(&mut self) -> pvchat::Result<BaseUsed> {
        let licence = self.listed.as_ref().map_or_else(|| "the user's own".into(), |listed| listed.known.licence.clone());
        let bits = match self.bits {
            Bits::Sixteen => "",
            Bits::Eight => " in 8 bits",
            Bits::Four => " in 4 bits",
        };
        Ok(BaseUsed { id: format!("{} {}{bits}", self.key, self.folder.fingerprint()?), licence })
    }

    fn frames(&self) -> usize {
        self.folder.frames()
    }

    fn frames_of(&self, seconds: f64) -> usize {
        self.folder.frames_of(seconds)
    }

    fn sees_pictures(&self) -> bool {
        self.folder.sees_pictures()
    }

    fn describe(&mut self, pictures: &Pictures<'_>, question: &str) -> pvchat::Result<String> {
        self.looking(pictures, |base| base.describe(pictures, question))
    }

    fn has_learned(&self, name: &SubjectName) -> bool {
        self.learned.file(name).is_file()
    }

    fn ask_learned(&mut self, pictures: &Pictures<'_>, question: &str, name: &SubjectName) -> pvchat::Result<LearnedAnswer> {
        if !self.has_learned(name) {
            return Err(Error::NotLearnedOn { name: name.bare().into(), base: self.name.clone() });
        }
        self.looking(pictures, |base| base.ask_learned(pictures, question, name))
    }
}
