//! Real people in real footage: who is there, when and where in the picture. No language model is used.

use std::{
    fs,
    io::Read,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use burn::prelude::*;
use image::RgbImage;
use pvchat_data::{SubjectName, file::write_json};
#[cfg(feature = "onnx")]
use pvchat_people::onnx::Networks;
use pvchat_people::{
    Appearance, Calibration, EmbedderKind, FindOptions, Finder, Gallery, Person, Point, SeenFace, Template, Timeline, Track,
    Watch, WatchOptions, cosine,
};
use pvchat_video::{Clip, DamagePolicy, ReadOptions, SamplingPlan, StreamPlan, VideoReader};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Candidate, Error, Result};

/// Frames of a clip that somebody is enrolled from, at most.
const ENROL_FRAMES: usize = 60;
/// Frames per second of a clip that somebody is enrolled from, at most.
const ENROL_RATE: f64 = 4.0;
/// Frames per second of a video that is watched; short clips are looked at more closely.
const WATCH_RATE: f64 = 2.0;
/// A short clip gets about this many frames.
const SHORT_FRAMES: f64 = 40.0;
/// The highest rate for short clips, in frames per second.
const SHORT_RATE: f64 = 6.0;
/// Frames that are looked at between two calls of the observer.
pub(crate) const BATCH: usize = 8;
/// Strangers who are recognised again when watching resumes: a frame is decoded for each.
const MOST_KNOWN_AGAIN: usize = 100;
/// The version of the index file.
const INDEX_VERSION: u32 = 3;
/// The largest index file that is read, in bytes.
const LARGEST_INDEX: u64 = 256 << 20;

/// How people are looked for and compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeopleOptions {
    /// Which network embeds faces.
    pub embedder: EmbedderKind,
    /// How faces are looked for.
    pub find: FindOptions,
    /// How long videos are divided.
    pub watch: WatchOptions,
}

/// Knows people by their faces: enrols them from a clip and says who is in other footage.
///
/// ```no_run
/// use pvchat::{People, PeopleOptions, nn::device};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let people = People::open("models".as_ref(), "subjects", PeopleOptions::default(), &device::default_device()?)?;
/// let seen = people.look("reference.mp4".as_ref())?;
/// people.enrol(&seen, None, &"Aa".parse()?)?;
/// let footage = people.watch("lunch.mp4".as_ref(), |_| std::ops::ControlFlow::Continue(()))?;
/// println!("{}", people.ask(&footage, "Is Aa in it, and when?")?.text);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct People {
    finder: Finder,
    calibration: Calibration,
    gallery: Gallery,
    options: PeopleOptions,
}

/// A clip or picture that people were looked for in, to enrol one of them.
#[derive(Clone, Debug)]
pub struct SeenPeople {
    /// The file.
    pub source: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The number of each frame that was looked at, in the file.
    pub indices: Vec<usize>,
    /// The time of each frame in seconds.
    pub times: Vec<f64>,
    /// The length of the clip in seconds, where that is known.
    pub duration: Option<f64>,
    /// Width and height of the frames in pixels.
    pub size: [u32; 2],
    /// Whether the file is a still picture.
    pub is_picture: bool,
    /// The faces, linked.
    pub tracks: Vec<Track>,
}

/// Which of several people is meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// By number, counted from 1, see [`Candidate::number`].
    Number(usize),
    /// The person whose face contains this point at some time; x and y in pixels.
    Point(Point),
    /// The person whose face overlaps this box most.
    Box(pvchat_people::Bounds),
}

/// Somebody who was enrolled.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The person, as saved.
    pub person: Person,
    /// The person's file.
    pub file: PathBuf,
    /// What was seen.
    pub candidate: Candidate,
    /// How many others are in the clip.
    pub others: usize,
    /// Whether a person of that name was there before and got a further template.
    pub added: bool,
}

/// How far watching has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WatchProgress {
    /// Up to where, in seconds of the video.
    pub seconds: f64,
    /// The length of the video in seconds, if the file states it.
    pub duration: Option<f64>,
    /// Frames that were looked at.
    pub frames: usize,
}

/// A watched video: everything that questions about it need. Kept as the video's index file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footage {
    format_version: u32,
    /// The file.
    #[serde(serialize_with = "lossy")]
    pub source: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was changed last, in seconds since 1970.
    pub modified: u64,
    /// Frames per second that were looked at.
    pub per_second: f64,
    /// Its length in seconds, if the file states it.
    pub duration: Option<f64>,
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// The embedding model.
    pub model: String,
    /// Who was enrolled when it was watched, with fingerprints of their templates.
    pub known: Vec<(SubjectName, String)>,
    /// Who is in it.
    pub timeline: Timeline,
    /// Whether it was watched to the end.
    pub finished: bool,
}

impl Footage {
    /// Whether it is a photo, and not a video whose file states no length.
    pub fn is_photo(&self) -> bool {
        self.duration.is_none() && self.timeline.frames == 1
    }

    /// Its length in seconds, by the last moment in which somebody is seen where the file states none; 0 for a photo.
    pub(crate) fn end(&self) -> f64 {
        let seen = self.timeline.people.iter().flat_map(|person| &person.moments).map(|moment| moment.end);
        self.duration.unwrap_or_else(|| seen.fold(0.0, f64::max))
    }
}

impl People {
    /// Opens the models in a folder ([`pvchat_people::models::get`] puts them there) and the people in another.
    ///
    /// With the feature `onnx`, networks of the user's own in the folder `onnx` of the models are used in place of the shipped
    /// ones, see `pvchat_people::onnx`.
    ///
    /// # Errors
    /// [`Error::People`] for models that are absent or damaged.
    pub fn open(models: &Path, subjects: impl Into<PathBuf>, options: PeopleOptions, device: &Device) -> Result<Self> {
        #[cfg(not(feature = "onnx"))]
        let finder = Finder::open(models, options.embedder, options.find.clone(), device)?;
        #[cfg(feature = "onnx")]
        let finder = {
            let own = match models.join("onnx") {
                folder if folder.is_dir() => Networks::open(&folder)?,
                _ => Networks::new(),
            };
            Finder::open_with(models, options.embedder, own, options.find.clone(), device)?
        };
        Self::with_finder(finder, subjects, options)
    }

    /// As [`open`](Self::open), with a finder that is open; of the options, only [`PeopleOptions::watch`] is used.
    ///
    /// # Errors
    /// [`Error::People`] for an embedder without a calibration.
    pub fn with_finder(finder: Finder, subjects: impl Into<PathBuf>, options: PeopleOptions) -> Result<Self> {
        let calibration = finder.calibration()?;
        Ok(Self { finder, calibration, gallery: Gallery::new(subjects), options })
    }

    /// The networks.
    pub fn finder(&self) -> &Finder {
        &self.finder
    }

    /// What similarities mean.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// How people are looked for and watched.
    pub fn options(&self) -> &PeopleOptions {
        &self.options
    }

    /// The people who are enrolled.
    pub fn gallery(&self) -> &Gallery {
        &self.gallery
    }

    /// Looks for people in a clip or picture, in order to enrol one of them: at most 60 frames, evenly spread.
    ///
    /// # Errors
    /// [`Error::Video`] for a file that cannot be read, [`Error::People`] when the device cannot compute.
    pub fn look(&self, path: &Path) -> Result<SeenPeople> {
        let mut reader = open_video(path)?;
        let count = reader.frame_count()?;
        // Animated ones have times.
        let is_picture = reader.info().container == "image" && count <= 1;
        let length = count as f64 / reader.info().frame_rate.max(1e-3);
        let duration = reader.info().duration_seconds;
        let frames = ((length * ENROL_RATE).ceil() as usize).clamp(1, ENROL_FRAMES).min(count.max(1));
        let Clip { frames, indices, times, .. } = reader.sample(&SamplingPlan::Uniform(frames))?;
        let size = frames.first().map_or([0, 0], |frame| [frame.width(), frame.height()]);
        let mut tracks = self.finder.find(&frames, &times)?;
        self.finder.mark_upside_down(&mut tracks, |_| true)?;
        Ok(SeenPeople { source: path.to_path_buf(), sha256: sha256(path)?, indices, times, duration, size, is_picture, tracks })
    }

    /// Enrols the person in a clip, or the chosen one of several. Somebody of that name who was enrolled before gets a further
    /// template.
    ///
    /// # Errors
    /// [`Error::NobodyFound`], [`Error::SeveralPeople`] without a choice among several, [`Error::NotChosen`] for a choice
    /// that is nobody, [`Error::PoorFaces`] where no face of the person is good enough, [`Error::People`].
    pub fn enrol(&self, seen: &SeenPeople, choice: Option<Choice>, name: &SubjectName) -> Result<Enrolled> {
        self.enrol_as(seen, choice, name, false)
    }

    /// As [`enrol`](Self::enrol), in place of all looks and corrections of somebody of that name: for another embedder, or after
    /// years.
    ///
    /// # Errors
    /// As [`enrol`](Self::enrol).
    pub fn enrol_anew(&self, seen: &SeenPeople, choice: Option<Choice>, name: &SubjectName) -> Result<Enrolled> {
        self.enrol_as(seen, choice, name, true)
    }

    fn enrol_as(&self, seen: &SeenPeople, choice: Option<Choice>, name: &SubjectName, anew: bool) -> Result<Enrolled> {
        let candidates = seen.candidates();
        let others = candidates.len().saturating_sub(1);
        let candidate = seen.choose(candidates, choice, "enrol from footage that shows a face")?;
        let template = seen.template(&candidate)?;
        let model = self.finder.model();
        let names = self.gallery.names()?;
        if let Some(other) = names.iter().find(|other| *other != name && other.bare().eq_ignore_ascii_case(name.bare())) {
            // Some file systems take both for one.
            let problem = format!("differs from {} only in capitals", other.bare());
            let remedy = format!("use {} or another name", other.bare());
            return Err(pvchat_people::Error::Person { name: name.bare().into(), problem, remedy }.into());
        }
        let (person, added) = match names.contains(name) && !anew {
            true => {
                let mut person = self.gallery.load(name)?;
                // Whoever enrols a face after "not Aa" has changed their mind.
                let certain = self.calibration.certain_from(1);
                person.not.retain(|not| cosine(&not.embedding, &template.embedding) < certain);
                person.check_model(model)?;
                // The same look again replaces itself.
                let is_near = |one: f64, other: f64| (one - other).abs() < 1e-3;
                // Older looks end with their last face.
                let ends_near = |one: f64, other: f64| (one - other).abs() < 1.5;
                let spans = |other: &Template| (other.span, template.span);
                let is_same = |other: &Template| {
                    let ((start, end), (new_start, new_end)) = spans(other);
                    other.source == template.source && is_near(start, new_start) && ends_near(end, new_end)
                };
                person.templates.retain(|other| !is_same(other));
                person.add(template, model, false)?;
                (person, true)
            }
            false => (Person::new(name.clone(), model.into(), template), false),
        };
        let what = if added { "added a look to" } else { "enrolled" };
        let file = self.gallery.save(&person, &format!("{what} {}", name.bare()))?;
        Ok(Enrolled { person, file, candidate, others, added })
    }

    /// Corrects: the person in a clip, or the chosen one of several, is not `name`. Kept in that person's file, and obeyed
    /// whenever footage is watched again.
    ///
    /// # Errors
    /// As [`enrol`](Self::enrol), and [`Error::People`] for a name that nobody has.
    pub fn correct(&self, seen: &SeenPeople, choice: Option<Choice>, name: &SubjectName) -> Result<Person> {
        let remedy = format!("give footage that shows whoever is not {}, with a face", name.bare());
        let candidate = seen.choose(seen.candidates(), choice, &remedy)?;
        let template = seen.template(&candidate)?;
        let mut person = self.gallery.load(name)?;
        let name = &person.name.clone();
        let embedding = template.embedding.clone();
        person.add(template, self.finder.model(), true)?;
        if !person.refuses(&embedding) {
            // The look that it was enrolled with would win.
            return Err(Error::EnrolledSo { path: seen.source.clone(), name: name.bare().into() });
        }
        self.gallery.save(&person, &format!("corrected who is not {}", name.bare()))?;
        Ok(person)
    }

    /// Watches a video and stores its index in the folder of people, so that the next question about it decodes nothing. A video
    /// that was watched before with the same people is not watched again; interrupted watching resumes.
    ///
    /// # Errors
    /// [`Error::Video`], [`Error::People`], [`Error::Stopped`] when the observer stops it; what was watched until then is kept.
    pub fn watch(&self, path: &Path, mut observe: impl FnMut(WatchProgress) -> ControlFlow<()>) -> Result<Footage> {
        let subjects = self.gallery.load_all()?;
        let index = self.index_file(path)?;
        let mut footage = self.begin(path, &subjects)?;
        if let Some(known) = read_index(&index).filter(|known| known.is_of(&footage)) {
            footage = Footage { source: footage.source, ..known };
            if footage.finished {
                return Ok(footage);
            }
        }
        let mut reader = open_video(path)?;
        let step = Lasting::step(footage.per_second, reader.info().frame_rate);
        let mut last = timeline_end(&footage.timeline);
        let timeline = std::mem::take(&mut footage.timeline);
        let plan = StreamPlan { per_second: footage.per_second, from_seconds: timeline.until };
        let mut watch = Watch::resume(&self.finder, &subjects, &self.calibration, self.options.watch, timeline)?;
        let strangers: Vec<Appearance> = watch.timeline().people.iter().filter(|one| one.stranger > 0).cloned().collect();
        for (number, face) in self.strangers_of(path, &strangers)? {
            watch.know_again(number, face);
        }
        let (mut frames, mut seconds) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let mut look = |frames: &mut Vec<RgbImage>, seconds: &mut Vec<f64>, watch: &mut Watch<'_>| -> Result<()> {
            let ended = watch.push(frames, seconds)?;
            let at = seconds.last().copied().unwrap_or(0.0);
            frames.clear();
            seconds.clear();
            let progress = WatchProgress { seconds: at, duration: footage.duration, frames: watch.frames() };
            let stopped = observe(progress).is_break();
            if ended || stopped {
                footage.timeline = watch.timeline().clone();
                self.keep(&index, &footage)?;
            }
            if stopped { Err(Error::Stopped { path: path.to_path_buf(), seconds: at }) } else { Ok(()) }
        };
        for frame in reader.stream(plan)? {
            let frame = frame?;
            last = frame.seconds;
            seconds.push(frame.seconds);
            frames.push(frame.image);
            if frames.len() == BATCH {
                look(&mut frames, &mut seconds, &mut watch)?;
            }
        }
        if !frames.is_empty() {
            look(&mut frames, &mut seconds, &mut watch)?;
        }
        footage.timeline = watch.finish()?;
        footage.finished = true;
        if footage.timeline.frames > 1 {
            let lasting = Lasting { step, last, duration: footage.duration };
            let moments = footage.timeline.people.iter_mut().flat_map(|person| &mut person.moments);
            moments.for_each(|moment| moment.end = exact(lasting.end(moment.end)));
        }
        self.keep(&index, &footage)?;
        Ok(footage)
    }

    /// The folder of what bases made of watched footage, see [`BaseDescriber::keeping`](crate::BaseDescriber::keeping).
    pub fn looks(&self) -> PathBuf {
        looks(&self.gallery)
    }

    /// Embeddings of strangers who were seen before watching was interrupted, with their numbers: they are in no file, and the
    /// frames of their best faces are looked at again.
    fn strangers_of(&self, path: &Path, strangers: &[Appearance]) -> Result<Vec<(usize, Vec<f32>)>> {
        let mut known = Vec::new();
        for stranger in strangers.iter().take(MOST_KNOWN_AGAIN) {
            let Some(moment) = stranger.moments.iter().max_by(|one, other| one.bounds.area().total_cmp(&other.bounds.area()))
            else {
                continue;
            };
            let frame = open_video(path)?.frame_at(moment.best)?.image;
            let overlap = |seen: &SeenFace| seen.face.bounds.overlap(&moment.bounds);
            let faces = self.finder.faces(&frame)?;
            let face = faces.into_iter().max_by(|one, other| overlap(one).total_cmp(&overlap(other)));
            known.extend(face.and_then(|face| face.embedding).map(|embedding| (stranger.stranger, embedding)));
        }
        Ok(known)
    }

    /// Deletes everything stored about a person: file, old versions, every index that names the person, and bases' encodings of
    /// any footage. Gives the files with their sizes in bytes.
    ///
    /// # Errors
    /// [`Error::People`], [`Error::Io`] when something cannot be deleted.
    pub fn forget(&self, name: &SubjectName) -> Result<Vec<(PathBuf, u64)>> {
        forget_person(&self.gallery, name)
    }

    /// What a video is before it is watched.
    fn begin(&self, path: &Path, subjects: &[Person]) -> Result<Footage> {
        let reader = open_video(path)?;
        let info = reader.info();
        let metadata = fs::metadata(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let duration = info.duration_seconds.map(exact);
        let per_second = rate(duration);
        Ok(Footage {
            format_version: INDEX_VERSION,
            source: path.to_path_buf(),
            bytes: metadata.len(),
            modified: modified.map_or(0, |time| time.as_secs()),
            per_second: exact(per_second),
            duration,
            size: [info.width, info.height],
            model: self.finder.model().into(),
            known: subjects.iter().map(|subject| (subject.name.clone(), subject.fingerprint())).collect(),
            timeline: Timeline::default(),
            finished: false,
        })
    }

    /// The index file of a video: named by the hash of its whole path.
    fn index_file(&self, path: &Path) -> Result<PathBuf> {
        let whole = fs::canonicalize(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
        let digest = Sha256::digest(whole.as_os_str().as_encoded_bytes());
        let name: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(indices(&self.gallery).join(format!("{name}.json")))
    }

    fn keep(&self, index: &Path, footage: &Footage) -> Result<()> {
        let folder = indices(&self.gallery);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(|source| Error::Io { path: folder, source })?;
        Ok(write_json(index, footage)?)
    }
}

/// Numbers that JSON gives back exactly, because those that are read again are compared.
fn exact(number: f64) -> f64 {
    (1e6 * number).round() / 1e6
}

/// The end of the last moment, in seconds.
fn timeline_end(timeline: &Timeline) -> f64 {
    timeline.people.iter().flat_map(|person| &person.moments).map(|moment| moment.end).fold(0.0, f64::max)
}

/// For how long a face stands that was seen once: until the next look, or the end of the footage.
pub(crate) struct Lasting {
    /// Seconds between two looks.
    pub(crate) step: f64,
    /// When the last look was, in seconds.
    pub(crate) last: f64,
    /// The length of the footage in seconds, where that is known.
    pub(crate) duration: Option<f64>,
}

impl Lasting {
    /// Seconds between two samples: of the sampling rate, or of the footage where it has fewer frames.
    pub(crate) fn step(per_second: f64, frame_rate: f64) -> f64 {
        1.0 / if frame_rate > 0.0 { per_second.min(frame_rate) } else { per_second }
    }

    /// Until when a stretch lasts whose last face was seen then; seconds.
    pub(crate) fn end(&self, seen: f64) -> f64 {
        // A length that is far from the last frame is that of footage that was cut off.
        let until = |duration: f64| seen >= self.last - 1e-6 && duration - seen <= 4.0 * self.step;
        match self.duration {
            Some(duration) if until(duration) => duration.max(seen),
            Some(duration) => (seen + self.step).min(duration).max(seen),
            None => seen + self.step,
        }
    }
}

/// Any path as text: JSON holds no other names.
fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// As [`People::forget`], where no models are installed.
///
/// # Errors
/// As [`People::forget`].
pub fn forget_person(gallery: &Gallery, name: &SubjectName) -> Result<Vec<(PathBuf, u64)>> {
    let related = gallery.related(name)?;
    let mut deleted = gallery.forget(name)?;
    // Nothing in a look says who is seen in it.
    let mut paths = if deleted.is_empty() { Vec::new() } else { crate::looks::files(&looks(gallery)) };
    let folder = indices(gallery);
    let entries: Vec<PathBuf> = match fs::read_dir(&folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(Error::Io { path: folder, source }),
    };
    let names = |footage: Footage| footage.known.iter().any(|(known, _)| related.contains(known));
    paths.extend(entries.into_iter().filter(|path| read_index(path).is_none_or(names)));
    for path in paths {
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        fs::remove_file(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        deleted.push((path, bytes));
    }
    Ok(deleted)
}

fn looks(gallery: &Gallery) -> PathBuf {
    indices(gallery).join("looks")
}

/// The folder of the index files.
fn indices(gallery: &Gallery) -> PathBuf {
    gallery.path().join("footage")
}

impl Footage {
    /// Whether this is what would be watched: the same file, people, model and rate.
    fn is_of(&self, wanted: &Self) -> bool {
        let Self { format_version, source: _, bytes, modified, per_second, duration, size, model, known, .. } = self;
        (format_version, bytes, modified, model, known, size)
            == (&wanted.format_version, &wanted.bytes, &wanted.modified, &wanted.model, &wanted.known, &wanted.size)
            && (per_second, duration) == (&wanted.per_second, &wanted.duration)
    }
}

/// An index that is absent, damaged or of another version is made again.
fn read_index(index: &Path) -> Option<Footage> {
    pvchat_data::file::read_json(index, LARGEST_INDEX).ok()
}

impl SeenPeople {
    /// The people in the clip, those with the most good faces first.
    pub fn candidates(&self) -> Vec<Candidate> {
        let count = self.tracks.iter().map(|track| track.person + 1).max().unwrap_or(0);
        let mut candidates: Vec<Candidate> = (0..count).filter_map(|person| self.candidate(person)).collect();
        candidates.sort_by_key(|candidate| std::cmp::Reverse((candidate.good_faces, candidate.faces)));
        candidates.iter_mut().enumerate().for_each(|(place, candidate)| candidate.number = place + 1);
        candidates
    }

    fn candidate(&self, person: usize) -> Option<Candidate> {
        let tracks: Vec<&Track> = self.tracks.iter().filter(|track| track.person == person).collect();
        let all: Vec<_> = tracks.iter().flat_map(|track| &track.sightings).collect();
        let good: Vec<_> = all.iter().copied().filter(|sighting| sighting.flaws.is_empty()).collect();
        let measured = if good.is_empty() { &all } else { &good };
        let mean = |value: fn(&pvchat_people::Quality) -> f32| {
            measured.iter().map(|sighting| value(&sighting.quality)).sum::<f32>() / measured.len().max(1) as f32
        };
        let best = measured.iter().max_by(|one, other| one.quality.rank().total_cmp(&other.quality.rank()))?;
        let mut flaws: Vec<(pvchat_people::Flaw, usize)> = Vec::new();
        for flaw in all.iter().flat_map(|sighting| &sighting.flaws) {
            match flaws.iter_mut().find(|(known, _)| std::mem::discriminant(known) == std::mem::discriminant(flaw)) {
                Some((_, count)) => *count += 1,
                None => flaws.push((*flaw, 1)),
            }
        }
        flaws.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        // Whoever was learned from such faces would be like many.
        let is_faint = !good.is_empty() && good.iter().all(|sighting| !sighting.quality.is_telling());
        if is_faint {
            flaws.insert(0, (pvchat_people::Flaw::Faint(mean(|quality| quality.strength)), good.len()));
        }
        let seconds = |sighting: Option<&&pvchat_people::Sighting>| sighting.map_or(0.0, |sighting| sighting.seconds);
        Some(Candidate {
            number: 0,
            span: (seconds(all.first()), self.lasting(seconds(all.last()))),
            faces: all.len(),
            good_faces: good.len(),
            size: mean(|quality| quality.size),
            sharpness: mean(|quality| quality.sharpness),
            best: (best.face.bounds, best.seconds),
            flaws: flaws.into_iter().map(|(flaw, _)| flaw).collect(),
            portrait: tracks.iter().max_by_key(|track| track.good_faces).and_then(|track| track.portrait.clone()),
            embedding: pvchat_people::mean_embedding(tracks).filter(|_| !is_faint),
        })
    }

    /// Until when a face stands that was seen then: until the next look, or the end of the clip; seconds.
    fn lasting(&self, seen: f64) -> f64 {
        let following = self.times.iter().copied().find(|time| *time > seen);
        let end = following.or(self.duration.filter(|_| !self.is_picture)).unwrap_or(seen);
        // A length that is far from the last frame is that of a clip that was cut off.
        let step = self.times.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max);
        end.min(seen + 2.0 * step).max(seen)
    }

    /// One of the candidates; `remedy` says what to do where there is none, before the size that a face has to have.
    pub(crate) fn choose(&self, mut candidates: Vec<Candidate>, choice: Option<Choice>, remedy: &str) -> Result<Candidate> {
        if candidates.is_empty() {
            return Err(Error::NobodyFound {
                path: self.source.clone(),
                frames: self.times.len(),
                seen: "no face",
                remedy: format!("{remedy} of {} pixels or more", pvchat_people::least_face(self.size)),
            });
        }
        let found = match choice {
            None if candidates.len() == 1 => Some(0),
            None => {
                // Somebody who passes by in the background is no second candidate: they have few good faces.
                let clearly = candidates[0].good_faces >= 5 && candidates[1].good_faces * 8 <= candidates[0].good_faces;
                if !clearly {
                    return Err(Error::SeveralPeople { path: self.source.clone(), candidates });
                }
                Some(0)
            }
            Some(Choice::Number(number)) => number.checked_sub(1).filter(|place| *place < candidates.len()),
            Some(Choice::Point(point)) => self.best_place(&candidates, |bounds| f32::from(bounds.contains(point))),
            Some(Choice::Box(wanted)) => self.best_place(&candidates, |bounds| bounds.overlap(&wanted)),
        };
        match found {
            Some(place) => Ok(candidates.swap_remove(place)),
            None => Err(Error::NotChosen { path: self.source.clone(), candidates }),
        }
    }

    /// The candidate whose best face suits most.
    fn best_place(&self, candidates: &[Candidate], suits: impl Fn(&pvchat_people::Bounds) -> f32) -> Option<usize> {
        let value = |candidate: &Candidate| suits(&candidate.best.0);
        let place = (0..candidates.len()).max_by(|&a, &b| value(&candidates[a]).total_cmp(&value(&candidates[b])))?;
        (value(&candidates[place]) > 0.0).then_some(place)
    }

    pub(crate) fn template(&self, candidate: &Candidate) -> Result<Template> {
        let Some(embedding) = candidate.embedding.clone() else {
            return Err(Error::PoorFaces {
                path: self.source.clone(),
                faces: candidate.faces,
                flaws: candidate.flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            });
        };
        let added = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Ok(Template {
            embedding,
            added,
            source: self.sha256.clone(),
            span: candidate.span,
            faces: candidate.good_faces,
            size: candidate.size,
            sharpness: candidate.sharpness,
        })
    }
}

/// Frames per second that are looked at, of footage of a length in seconds.
pub(crate) fn rate(duration: Option<f64>) -> f64 {
    match duration {
        Some(seconds) if seconds > 0.0 => (SHORT_FRAMES / seconds).clamp(WATCH_RATE, SHORT_RATE),
        _ => WATCH_RATE,
    }
}

/// Opens footage as people have it: of a file that is cut off or damaged in places, the rest is looked at.
pub(crate) fn open_video(path: &Path) -> Result<VideoReader> {
    let mut options = ReadOptions::default();
    options.damage = DamagePolicy::Skip;
    Ok(VideoReader::open_with(path, options)?)
}

/// SHA-256 of a file, in hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let (mut file, mut hash, mut buffer) = (fs::File::open(path).map_err(io)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hash.update(&buffer[..read]),
        }
    }
}
