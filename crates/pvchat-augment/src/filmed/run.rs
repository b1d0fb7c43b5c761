//! From a clip and a corpus to a dataset on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use image::{GrayImage, RgbImage, imageops};
use pvchat_data::{Dataset, QaKind, SubjectName, Video, random::SeededStream};
use pvchat_video::{Quality, VideoWriter};
use serde::{Deserialize, Serialize};

use super::{
    ClipRecord, DatasetOptions, Describe, Dropped, Eyes, FrameVerdict, Half, LeftOut, Making, Manifest, Recipe, ShownClip,
    SourceRecord,
    ask::{Asked, Pair, ask},
    assets::{Figure, Place, Square},
    blind::{Features, blind},
    compose::{Composed, compose, untouched},
    cosine, gate,
    manifest::{MAKING_VERSION, MANIFEST, Outcome, Store, begin, entries, remove},
    plan::{Room, Slot, Stock, plan},
    quality, report,
    source::{Bound, Look, Source, Span, footage_in, hash, hash_file, look, read},
};
use crate::{Error, Result};

/// The first seconds of the person's clip and of others that are looked at.
const LOOKED_AT: [f64; 2] = [60.0, 20.0];
/// The longest stretch of the person that is used, and of others and of places, in seconds.
const LONGEST: [f64; 2] = [16.0, 4.0];
/// Stretches of the person, at most.
const MOST_SPANS: usize = 4;
/// Frames of a clip that the gate looks at.
const GATE_FRAMES: usize = 4;
/// The fastest and slowest tempo of a clip, see [`Recipe::tempo`].
const SLOWEST: f64 = 0.85;
/// Frames and frames per second of the clips that repeat one frame, as published.
const STILL: (usize, f64) = (8, 30.0);
/// Figures that are kept in memory, and places.
const MOST_IN_MEMORY: usize = 12;
/// With fewer strangers than this, none is held back for testing.
const LEAST_STRANGERS: usize = 6;
/// Of this many strangers one is held back for testing.
const HELD_BACK: usize = 5;
/// More than this share of a place without faces is hidden by people, where somebody is seen from behind.
const SOMEBODY_BEHIND: f32 = 0.03;
/// The file beside a corpus that says the licences of its files: a JSON object of names and licences.
const LICENCES: &str = "licences.json";

/// What a dataset is made from.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The person's name in the dataset.
    pub name: &'a SubjectName,
    /// The clip of the person.
    pub clip: &'a Path,
    /// The unit-length mean embedding of the person in it.
    pub template: &'a [f32],
    /// A folder with footage of others; folders in it are looked into, links are not followed.
    pub corpus: &'a Path,
    /// The folder of the dataset: a new one, or one that an earlier run began.
    pub out: &'a Path,
    /// How much is made.
    pub options: &'a DatasetOptions,
    /// Files and clips that are worked on side by side; 0 for one per core. The result does not depend on it.
    pub threads: usize,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Looking for people in the footage.
    Looking,
    /// Cutting people out, and clearing places of people.
    CuttingOut,
    /// Making clips and judging them.
    Making,
    /// Asking questions, and having positives described.
    Asking,
    /// Writing datasets, report and manifest.
    Writing,
}

/// How far a stage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// Steps that are done.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
}

/// A dataset that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// What is in it.
    pub manifest: Manifest,
    /// Clips that this run made, those that were dropped included; the others were there.
    pub drawn: usize,
    /// What composing and writing them took, without looking at them again, in seconds of one core.
    pub composing: f64,
    /// Questions of each kind, to positives and to negatives, for training.
    pub questions: BTreeMap<QaKind, [usize; 2]>,
}

/// Somebody in a stretch of footage.
#[derive(Clone, Debug)]
struct Someone {
    /// The place of the file among the sources; the reference is the first.
    source: usize,
    person: usize,
    span: Span,
    /// To the person, as a cosine.
    similarity: f32,
    embedding: Vec<f32>,
}

/// A place of somebody, or of nobody.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Setting {
    source: usize,
    person: Option<usize>,
    span: Span,
}

impl Someone {
    fn setting(&self) -> Setting {
        Setting { source: self.source, person: Some(self.person), span: shortened(self.span, LONGEST[1]) }
    }
}

/// The middle of a span, if it is longer than `most`; rounded, because it is part of names.
fn shortened([from, to]: Span, most: f64) -> Span {
    let rest = (to - from - most).max(0.0) / 2.0;
    [from + rest, to - rest].map(|seconds| (1000.0 * seconds).round() / 1000.0)
}

/// What was made last, a few of it: pictures of all strangers at once would fill the memory.
struct Recent<T> {
    /// By their keys, with when they were wanted last.
    known: Mutex<(u64, BTreeMap<String, Wanted<T>>)>,
}

/// When something was wanted last, and the thing once it is made.
type Wanted<T> = (u64, Arc<Mutex<Option<Arc<T>>>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<T> Recent<T> {
    /// Looks something up, or makes it; others who want the same wait.
    fn get(
        &self,
        key: String,
        make: impl FnOnce() -> Result<std::result::Result<T, String>>,
    ) -> Result<std::result::Result<Arc<T>, String>> {
        let entry = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.0 += 1;
            let now = known.0;
            let wanted = known.1.entry(key).or_default();
            wanted.0 = now;
            let entry = wanted.1.clone();
            if known.1.len() > MOST_IN_MEMORY
                && let Some(oldest) = known.1.iter().min_by_key(|(_, (when, _))| *when).map(|(key, _)| key.clone())
            {
                known.1.remove(&oldest);
            }
            entry
        };
        let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = entry.as_ref() {
            return Ok(Ok(made.clone()));
        }
        Ok(make()?.map(|made| entry.insert(Arc::new(made)).clone()))
    }
}

/// The footage, and what was cut out of it so far.
struct Footage<'a> {
    sources: Vec<Source>,
    looks: Vec<Look>,
    eyes: &'a dyn Eyes,
    store: &'a Store,
    options: &'a DatasetOptions,
    models: String,
    figures: Recent<Figure>,
    places: Recent<Place>,
}

/// Whether a figure or place can be used.
#[derive(Debug, Serialize, Deserialize)]
struct Checked {
    problem: Option<String>,
}

impl Footage<'_> {
    fn sizes(&self) -> [u32; 2] {
        [self.options.rate, self.options.size]
    }

    /// What a figure or place follows from, as text.
    fn key(&self, what: &str, source: usize, person: Option<usize>, [from, to]: Span) -> String {
        let ([rate, size], sha256) = (self.sizes(), &self.sources[source].sha256);
        format!("{what} {MAKING_VERSION} {} {sha256} {person:?} {from:.3} {to:.3} {rate} {size}", self.models)
    }

    fn figure_key(&self, who: &Someone) -> String {
        self.key("figure", who.source, Some(who.person), who.span)
    }

    fn place_key(&self, setting: &Setting) -> String {
        self.key("place", setting.source, setting.person, setting.span)
    }

    /// Somebody's figure, cut out once.
    fn figure(&self, who: &Someone) -> Result<std::result::Result<Arc<Figure>, String>> {
        self.figures.get(self.figure_key(who), || {
            let (source, look) = (&self.sources[who.source], &self.looks[who.source]);
            Figure::cut(source, look, who.person, who.span, self.sizes(), self.eyes)
        })
    }

    /// A place, cleared once.
    fn place(&self, setting: &Setting) -> Result<std::result::Result<Arc<Place>, String>> {
        self.places.get(self.place_key(setting), || {
            let (source, look) = (&self.sources[setting.source], &self.looks[setting.source]);
            Place::clear(source, look, setting.person, setting.span, self.sizes(), self.eyes)
        })
    }

    /// Why somebody cannot be used, if so.
    fn figure_problem(&self, who: &Someone) -> Result<Option<String>> {
        let check = || Ok(Checked { problem: self.figure(who)?.err() });
        self.store.get("figures", &self.figure_key(who), |_: &Checked| true, check).map(|checked| checked.problem)
    }

    /// Why a place cannot be used, if so.
    fn place_problem(&self, setting: &Setting) -> Result<Option<String>> {
        let check = || Ok(Checked { problem: self.place(setting)?.err() });
        self.store.get("places", &self.place_key(setting), |_: &Checked| true, check).map(|checked| checked.problem)
    }

    /// Whether somebody is in footage without faces.
    fn hides_somebody(&self, setting: &Setting) -> Result<bool> {
        let from = setting.span[0];
        let mut hidden = 0.0f32;
        read(&self.sources[setting.source].path, 1.0, [from, from + 0.5], Bound::Shortest(self.options.size), |frame, _| {
            let matte = self.eyes.matte(&frame).map_err(Error::Eyes)?;
            hidden = hidden.max(matte.iter().filter(|value| **value >= 128).count() as f32 / matte.len().max(1) as f32);
            Ok(())
        })?;
        Ok(hidden > SOMEBODY_BEHIND)
    }
}

/// Tells the caller how far it is, and stops where the caller wants that.
struct Monitor<'a> {
    observe: Mutex<&'a mut (dyn FnMut(Progress) -> ControlFlow<()> + Send)>,
    done: AtomicUsize,
}

impl Monitor<'_> {
    fn begin(&self, stage: Stage, total: usize) -> Result<()> {
        self.done.store(0, Ordering::SeqCst);
        self.tell(Progress { stage, done: 0, total })
    }

    fn step(&self, stage: Stage, total: usize) -> Result<()> {
        let done = self.done.fetch_add(1, Ordering::SeqCst) + 1;
        self.tell(Progress { stage, done, total })
    }

    fn tell(&self, progress: Progress) -> Result<()> {
        let mut observe = self.observe.lock().unwrap_or_else(PoisonError::into_inner);
        if observe(progress).is_break() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// Makes a dataset. What an earlier run of the same request left is used; a run that was killed at any point and is started
/// again ends in the same bytes as one that was not.
///
/// # Errors
/// [`Error::Setting`] for an option, [`Error::PoorSubject`], [`Error::TooShort`] and [`Error::NotCutOut`] for a clip that gives
/// nothing, [`Error::NoFootage`] and [`Error::NobodyElse`] for the corpus, [`Error::OneClass`] where the identity gate drops too
/// much, [`Error::NotADataset`] and [`Error::Inside`] for the folder, [`Error::Eyes`], [`Error::Describer`], [`Error::Video`],
/// [`Error::Io`], [`Error::Stopped`] when the observer stops it.
pub fn make(
    request: &Request<'_>,
    eyes: &dyn Eyes,
    describer: Option<&mut dyn Describe>,
    observe: &mut (dyn FnMut(Progress) -> ControlFlow<()> + Send),
) -> Result<Made> {
    let options = request.options;
    options.check()?;
    let corpus = fs::canonicalize(request.corpus).map_err(|source| Error::Io { path: request.corpus.into(), source })?;
    if whole(request.out)?.starts_with(&corpus) {
        return Err(Error::Inside { dataset: request.out.into(), corpus: request.corpus.into() });
    }
    begin(request.out)?;
    let out = fs::canonicalize(request.out).map_err(|source| Error::Io { path: request.out.into(), source })?;
    let (store, monitor) = (Store::new(&out), Monitor { observe: Mutex::new(observe), done: AtomicUsize::new(0) });
    let stream = SeededStream::new(options.seed);
    let models = hash(serde_json::to_string(&(eyes.models(), eyes.thresholds())).unwrap_or_default());

    let mut seen = look_at_all(request, eyes, &store, &monitor, &models)?;
    let subject = Subject::choose(request, &seen.looks[0], eyes)?;
    let people = strangers(request, eyes, &mut seen)?;
    let footage = Footage {
        sources: seen.sources,
        looks: seen.looks,
        eyes,
        store: &store,
        options,
        models,
        figures: Recent::default(),
        places: Recent::default(),
    };
    let halves = [Half::Train, Half::Test];
    let (cast, stages) = choose(request, &footage, &subject, &people, &mut seen.left_out, &stream, &monitor)?;
    let mut slots: Vec<(Half, usize, Slot)> = Vec::new();
    for (half, stock) in halves.into_iter().zip(&stages) {
        let counts = match half {
            Half::Train => [options.positives, options.negatives],
            Half::Test => [options.test_positives, options.test_negatives],
        };
        let hard = options.hard * counts[1] / options.negatives.max(1);
        let planned = plan(&stock.stock, counts, hard, &stream.derive(format!("{half:?} plan")));
        if planned.is_empty() && half == Half::Train {
            return Err(Error::NotCutOut { clip: request.clip.into(), problem: "no place can be cleared of people".into() });
        }
        slots.extend(planned.into_iter().enumerate().map(|(number, slot)| (half, number, slot)));
    }
    monitor.begin(Stage::Making, slots.len())?;
    let maker = Maker {
        footage: &footage,
        request,
        out: &out,
        cast: &cast,
        stages: &stages,
        stream: &stream,
        drawn: AtomicUsize::new(0),
        composing: AtomicU64::new(0),
    };
    let made: Vec<Drawn> = in_parallel(&slots, request.threads, |(half, number, slot)| {
        let made = maker.clip(*half, *number, slot)?;
        monitor.step(Stage::Making, slots.len())?;
        Ok(made)
    })?;
    let drawn = maker.drawn.load(Ordering::SeqCst);
    let composing = maker.composing.load(Ordering::SeqCst) as f64 / 1e9;
    let mut dropped: Vec<Dropped> = Vec::new();
    let mut clips: Vec<(ClipRecord, Features)> = Vec::new();
    for (clip, refused) in made {
        dropped.extend(refused);
        clips.extend(clip);
    }
    // The order says nothing about who is there.
    clips.sort_by(|one, other| one.0.name.cmp(&other.0.name));
    clips.dedup_by(|one, other| one.0.name == other.0.name);
    let count = |positive: bool| clips.iter().filter(|(clip, _)| clip.half == Half::Train && clip.positive == positive).count();
    let [positives, negatives] = [true, false].map(count);
    if positives < 2 || negatives < 2 {
        return Err(Error::OneClass { positives, negatives, dropped: dropped.len() });
    }
    let train: Vec<(&Features, bool)> =
        clips.iter().filter(|(clip, _)| clip.half == Half::Train).map(|(clip, features)| (features, clip.positive)).collect();
    let blind = blind(&train, options.seed);

    let records: Vec<ClipRecord> = clips.iter().map(|(clip, _)| clip.clone()).collect();
    let described_by = describer.as_ref().map(|describer| describer.name());
    let pairs = questions(request, &records, eyes, &store, describer, &stream, &monitor, &out)?;
    monitor.begin(Stage::Writing, 1)?;
    let files = write_datasets(request.name, &records, &pairs, &out)?;
    let licences = licences(&corpus);
    let record = |source: &Source, licence: Option<String>| SourceRecord {
        name: source.name.clone(),
        sha256: source.sha256.clone(),
        bytes: source.bytes,
        licence,
    };
    let used: BTreeSet<&str> = records.iter().flat_map(|clip| [clip.figure.0.as_str(), clip.place.as_str()]).collect();
    let others = footage.sources.iter().skip(1).filter(|source| used.contains(source.name.as_str()));
    seen.left_out.sort_by(|one, other| one.name.cmp(&other.name));
    let mut manifest = Manifest {
        format_version: 1,
        pvchat: env!("CARGO_PKG_VERSION").into(),
        ffmpeg: pvchat_video::ffmpeg_version(),
        subject: request.name.clone(),
        options: options.clone(),
        thresholds: eyes.thresholds(),
        models: eyes.models(),
        describer: described_by,
        reference: record(&footage.sources[0], None),
        looks: subject.verdicts.clone(),
        spans: halves
            .into_iter()
            .zip(&stages)
            .flat_map(|(half, stage)| stage.spans.iter().map(move |span| (half, *span)))
            .collect(),
        corpus: others.map(|source| record(source, licences.get(&source.name).cloned())).collect(),
        left_out: seen.left_out,
        clips: records,
        dropped,
        blind,
        files,
    };
    let page = report::page(&manifest, &pairs, &out, request.clip, &subject.looked)?;
    pvchat_data::file::write_atomically(&out.join(report::REPORT), page.as_bytes())?;
    manifest.files.push((report::REPORT.into(), hash(page.as_bytes())));
    pvchat_data::file::write_json(&out.join(MANIFEST), &manifest)?;
    sweep(&out, &manifest)?;
    store.sweep()?;
    monitor.step(Stage::Writing, 1)?;
    Ok(Made { questions: count_questions(&manifest, &pairs), manifest, drawn, composing })
}

/// Works on items side by side. Threads of their own and not a pool's: who waits for a network there takes up the next clip
/// meanwhile, and the next, until the memory is full.
fn in_parallel<I: Sync, T: Send>(items: &[I], threads: usize, work: impl Fn(&I) -> Result<T> + Sync) -> Result<Vec<T>> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let (following, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let one_thread = || {
        let mut done: Vec<(usize, Result<T>)> = Vec::new();
        while !has_failed.load(Ordering::SeqCst) {
            let number = following.fetch_add(1, Ordering::SeqCst);
            let Some(item) = items.get(number) else { break };
            let made = work(item);
            has_failed.fetch_or(made.is_err(), Ordering::SeqCst);
            done.push((number, made));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len()).max(1)).map(|_| scope.spawn(one_thread)).collect();
        let mut done = one_thread();
        for other in others {
            match other.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, made)| made).collect()
}

/// How long this thread has computed, in nanoseconds, whatever else the machine does; where the system does not say it, how
/// long it has been since the first call.
fn busy() -> u64 {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let computed = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
    computed.unwrap_or_else(|| FIRST.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}

/// The whole path of a folder that need not exist.
fn whole(folder: &Path) -> Result<PathBuf> {
    let io = |source| Error::Io { path: folder.to_path_buf(), source };
    let absolute = std::path::absolute(folder).map_err(io)?;
    for existing in absolute.ancestors() {
        if let Ok(found) = fs::canonicalize(existing) {
            return Ok(found.join(absolute.strip_prefix(existing).unwrap_or(Path::new(""))));
        }
    }
    Ok(absolute)
}

/// Questions of each kind to positives and negatives for training.
fn count_questions(manifest: &Manifest, pairs: &[Vec<Pair>]) -> BTreeMap<QaKind, [usize; 2]> {
    let mut counts: BTreeMap<QaKind, [usize; 2]> = BTreeMap::new();
    for (clip, pairs) in manifest.clips.iter().zip(pairs).filter(|(clip, _)| clip.half == Half::Train) {
        pairs.iter().for_each(|(kind, _)| counts.entry(*kind).or_default()[usize::from(!clip.positive)] += 1);
    }
    counts
}

/// What was seen in all footage.
struct Seen {
    sources: Vec<Source>,
    looks: Vec<Look>,
    left_out: Vec<LeftOut>,
}

/// Looks at the reference and at the corpus. The reference comes first; files of the corpus that cannot be read are left out.
fn look_at_all(request: &Request<'_>, eyes: &dyn Eyes, store: &Store, monitor: &Monitor<'_>, models: &str) -> Result<Seen> {
    let name = request.clip.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let reference = Source::new(name, request.clip)?;
    let files = footage_in(request.corpus)?;
    if files.is_empty() {
        return Err(Error::NoFootage { folder: request.corpus.into() });
    }
    let total = files.len() + 1;
    monitor.begin(Stage::Looking, total)?;
    let seen = |source: &Source, most: f64| {
        let key = format!("{MAKING_VERSION} {models} {} {most}", source.sha256);
        store.get("looks", &key, |_: &Look| true, || look(&source.path, most, eyes))
    };
    let first = seen(&reference, LOOKED_AT[0])?;
    monitor.step(Stage::Looking, total)?;
    let found: Vec<std::result::Result<(Source, Look), LeftOut>> = in_parallel(&files, request.threads, |(name, path)| {
        let name = name.clone();
        let looked = Source::new(name.clone(), path).and_then(|source| {
            let look = seen(&source, LOOKED_AT[1])?;
            Ok((source, look))
        });
        monitor.step(Stage::Looking, total)?;
        match looked {
            Ok(looked) => Ok(Ok(looked)),
            // A broken file is no reason to make nothing; a broken network is.
            Err(error @ (Error::Video(_) | Error::Io { .. })) => {
                // The message begins with the whole path, which is nobody's business in a dataset that is passed on.
                let reason = error.to_string().replace(&path.display().to_string(), "the file");
                Ok(Err(LeftOut { name, reason }))
            }
            Err(error) => Err(error),
        }
    })?;
    let mut all = Seen { sources: vec![reference], looks: vec![first], left_out: Vec::new() };
    for found in found {
        match found {
            Ok((source, look)) => match all.sources.iter().position(|known| known.sha256 == source.sha256) {
                Some(0) => all.left_out.push(LeftOut { name: source.name, reason: "it is the clip of the person".into() }),
                Some(same) => {
                    let reason = format!("it is the same file as {}", all.sources[same].name);
                    all.left_out.push(LeftOut { name: source.name, reason });
                }
                None => {
                    all.sources.push(source);
                    all.looks.push(look);
                }
            },
            Err(left_out) => all.left_out.push(left_out),
        }
    }
    Ok(all)
}

/// The person in the reference.
struct Subject {
    verdicts: Vec<FrameVerdict>,
    /// Width and height of the frames that the verdicts are about.
    looked: [u32; 2],
    train: Vec<(usize, Span)>,
    test: Vec<(usize, Span)>,
}

/// The shortest span that a clip can be made of.
fn needed(options: &DatasetOptions) -> f64 {
    SLOWEST * (options.seconds() - 1.0 / f64::from(options.rate))
}

impl Subject {
    fn choose(request: &Request<'_>, look: &Look, eyes: &dyn Eyes) -> Result<Self> {
        let same = eyes.thresholds().same;
        let alike =
            |person: &super::PersonSeen| person.embedding.as_deref().map_or(-1.0, |known| cosine(known, request.template));
        let people: Vec<usize> = (0..look.people.len()).filter(|&person| alike(&look.people[person]) >= same).collect();
        let verdict = |(frame, &seconds): (usize, &f64)| {
            let mut found = people.iter().flat_map(|&person| {
                look.people[person].faces.iter().zip(&look.details[person]).filter(|(face, _)| face.frame == frame)
            });
            match found.next() {
                Some((face, detail)) => quality::judge(face, *detail, seconds),
                None => FrameVerdict { seconds, bounds: None, score: 0.0, reasons: vec!["the face is not seen".into()] },
            }
        };
        let verdicts: Vec<FrameVerdict> = look.seconds.iter().enumerate().map(verdict).collect();
        let good = |[from, to]: Span| {
            let inside = verdicts.iter().filter(|verdict| (from..=to).contains(&verdict.seconds));
            let (all, good) =
                inside.fold((0, 0), |(all, good), verdict| (all + 1, good + usize::from(verdict.reasons.is_empty())));
            good * 2 >= all && good > 0
        };
        if !verdicts.iter().any(|verdict| verdict.reasons.is_empty()) {
            let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
            for reason in verdicts.iter().flat_map(|verdict| &verdict.reasons) {
                *reasons.entry(reason.split(" (").next().unwrap_or(reason)).or_default() += 1;
            }
            let reasons: Vec<String> = reasons.into_iter().map(|(reason, count)| format!("{reason} in {count}")).collect();
            return Err(Error::PoorSubject { clip: request.clip.into(), frames: verdicts.len(), reasons: reasons.join(", ") });
        }
        let mut spans: Vec<(usize, Span)> =
            people.iter().flat_map(|&person| look.spans(person).into_iter().map(move |span| (person, span))).collect();
        spans.sort_by(|(_, one), (_, other)| {
            (other[1] - other[0]).total_cmp(&(one[1] - one[0])).then(one[0].total_cmp(&other[0]))
        });
        let longest = spans.first().map_or(0.0, |(_, span)| span[1] - span[0]);
        let needed = needed(request.options);
        spans.retain(|(_, span)| span[1] - span[0] >= needed && good(*span));
        spans.truncate(MOST_SPANS);
        let Some(&(person, [from, to])) = spans.first() else {
            return Err(Error::TooShort { clip: request.clip.into(), longest, needed });
        };
        let rounded = |span: Span| span.map(|seconds| (1000.0 * seconds).round() / 1000.0);
        // What is tested is not what was trained on, where there is enough: another stretch, or the end of the only one.
        let (train, test) = match spans.len() {
            1 if to - from >= 2.5 * needed => {
                let held_back = ((to - from) / 4.0).clamp(needed, LONGEST[1].max(needed));
                (vec![(person, [from, to - held_back - 0.25])], vec![(person, [to - held_back, to])])
            }
            1 => (spans.clone(), spans.clone()),
            count => (spans[..count - 1].to_vec(), spans[count - 1..].to_vec()),
        };
        let cut = |spans: Vec<(usize, Span)>, most: f64| -> Vec<(usize, Span)> {
            spans.into_iter().map(|(person, [from, to])| (person, rounded([from, to.min(from + most)]))).collect()
        };
        Ok(Self { verdicts, looked: look.size, train: cut(train, LONGEST[0]), test: cut(test, LONGEST[0]) })
    }
}

/// Everybody in the corpus who is surely not the person, the most similar first, one entry for each appearance, and the places
/// without people.
struct Strangers {
    /// Each person's appearances.
    people: Vec<Vec<Someone>>,
    empty: Vec<Setting>,
}

fn strangers(request: &Request<'_>, eyes: &dyn Eyes, seen: &mut Seen) -> Result<Strangers> {
    let (thresholds, needed) = (eyes.thresholds(), needed(request.options));
    let mut all: Vec<Someone> = Vec::new();
    let mut empty = Vec::new();
    for source in 1..seen.sources.len() {
        let (look, name) = (&seen.looks[source], seen.sources[source].name.clone());
        let similarity =
            |person: &super::PersonSeen| person.embedding.as_deref().map_or(-1.0, |known| cosine(known, request.template));
        let nearest = look.people.iter().map(similarity).fold(-1.0f32, f32::max);
        if nearest >= thresholds.other {
            let reason = format!("it may show the person (similarity {nearest:.2}, others are below {:.2})", thresholds.other);
            seen.left_out.push(LeftOut { name, reason });
            continue;
        }
        let length = look.seconds.last().copied().unwrap_or(0.0);
        if look.people.is_empty() {
            if length >= needed {
                empty.push(Setting { source, person: None, span: shortened([0.0, length], LONGEST[1]) });
            } else {
                seen.left_out.push(LeftOut { name, reason: format!("{length:.1} s are too short for a clip") });
            }
            continue;
        }
        let mut found = false;
        for (person, who) in look.people.iter().enumerate() {
            let span = look.spans(person).into_iter().find(|span| span[1] - span[0] >= needed);
            if let (Some(embedding), Some(span), true) = (&who.embedding, span, who.good_faces() >= 2) {
                found = true;
                let span = shortened(span, LONGEST[1]);
                all.push(Someone { source, person, span, similarity: similarity(who), embedding: embedding.clone() });
            }
        }
        if !found {
            let reason = format!("nobody is seen alone and well for {needed:.1} s");
            seen.left_out.push(LeftOut { name, reason });
        }
    }
    if all.is_empty() {
        let reasons = seen.left_out.iter().take(3).map(|left_out| format!("{}: {}", left_out.name, left_out.reason));
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        return Err(Error::NobodyElse {
            folder: request.corpus.into(),
            files: seen.sources.len() - 1 + seen.left_out.len(),
            reasons,
        });
    }
    all.sort_by(|one, other| other.similarity.total_cmp(&one.similarity).then(one.source.cmp(&other.source)));
    let mut people: Vec<Vec<Someone>> = Vec::new();
    for someone in all {
        let same =
            |known: &&mut Vec<Someone>| known.iter().any(|one| cosine(&one.embedding, &someone.embedding) >= thresholds.same);
        match people.iter_mut().find(same) {
            Some(known) => known.push(someone),
            None => people.push(vec![someone]),
        }
    }
    Ok(Strangers { people, empty })
}

/// What one half is made from.
struct HalfStage {
    stock: Stock,
    /// The person's spans, as numbers of the cast.
    figures: Vec<usize>,
    spans: Vec<Span>,
    own: Option<Setting>,
    rooms: Vec<Setting>,
    /// Who of the cast is at home in each room.
    at_home: Vec<Option<usize>>,
}

/// Chooses who and which places take part: those that can be cut out and cleared. Gives the cast, and what each half is made
/// from.
fn choose(
    request: &Request<'_>,
    footage: &Footage<'_>,
    subject: &Subject,
    people: &Strangers,
    left_out: &mut Vec<LeftOut>,
    stream: &SeededStream,
    monitor: &Monitor<'_>,
) -> Result<(Vec<Someone>, [HalfStage; 2])> {
    let options = request.options;
    let total = people.people.len() + 4;
    monitor.begin(Stage::CuttingOut, total)?;
    let mut cast: Vec<Someone> = Vec::new();
    let mut own = Vec::new();
    for spans in [&subject.train, &subject.test] {
        let mut figures = Vec::new();
        let mut problem = String::new();
        for &(person, span) in spans {
            let who = Someone { source: 0, person, span, similarity: 1.0, embedding: request.template.to_vec() };
            match footage.figure_problem(&who)? {
                None => {
                    figures.push(cast.len());
                    cast.push(who);
                }
                Some(found) => problem = found,
            }
        }
        if figures.is_empty() {
            return Err(Error::NotCutOut { clip: request.clip.into(), problem });
        }
        let mut setting = None;
        for &figure in &figures {
            let at = cast[figure].setting();
            if setting.is_none() && footage.place_problem(&at)?.is_none() {
                setting = Some(at);
            }
        }
        own.push((figures, setting));
        monitor.step(Stage::CuttingOut, total)?;
    }
    // Every stranger who is held back for testing is one that training does not see.
    let hold_back = people.people.len() >= LEAST_STRANGERS && options.test_negatives > 0;
    let is_held_back = |number: usize| hold_back && number % HELD_BACK == HELD_BACK / 2;
    let mut halves: Vec<HalfStage> = Vec::new();
    for (place, (figures, setting)) in own.into_iter().enumerate() {
        let is_test = place == 1;
        let (counts, most) = match is_test {
            false => (options.positives, [options.similar_people, options.random_people]),
            true => (options.test_positives, [options.similar_people.div_ceil(3), options.random_people.div_ceil(5)]),
        };
        let mut pool: Vec<usize> = (0..people.people.len()).filter(|&who| !hold_back || is_held_back(who) == is_test).collect();
        let mut stock =
            Stock { spans: figures.len(), own_place: setting.is_some(), rooms: Vec::new(), hard: Vec::new(), random: Vec::new() };
        let mut at_home: Vec<(Setting, Option<usize>)> = Vec::new();
        let mut take = |who: usize, cast: &mut Vec<Someone>| -> Result<Option<usize>> {
            for someone in &people.people[who] {
                match footage.figure_problem(someone)? {
                    None => {
                        at_home.push((someone.setting(), Some(cast.len())));
                        cast.push(someone.clone());
                        return Ok(Some(cast.len() - 1));
                    }
                    Some(reason) => {
                        let name = footage.sources[someone.source].name.clone();
                        if !left_out.iter().any(|known| known.name == name) {
                            left_out.push(LeftOut { name, reason });
                        }
                    }
                }
            }
            Ok(None)
        };
        let mut random = Vec::new();
        for who in std::mem::take(&mut pool) {
            if stock.hard.len() < most[0] {
                stock.hard.extend(take(who, &mut cast)?);
                monitor.step(Stage::CuttingOut, total)?;
            } else {
                random.push(who);
            }
        }
        stream.derive(format!("strangers {place}")).shuffle(&mut random);
        for who in random {
            if stock.random.len() < most[1] {
                stock.random.extend(take(who, &mut cast)?);
                monitor.step(Stage::CuttingOut, total)?;
            }
        }
        if stock.hard.is_empty() && stock.random.is_empty() && !is_test {
            let reasons = left_out.iter().take(3).map(|left_out| format!("{}: {}", left_out.name, left_out.reason));
            let reasons = reasons.collect::<Vec<_>>().join("; ");
            return Err(Error::NobodyElse { folder: request.corpus.into(), files: footage.sources.len() - 1, reasons });
        }
        let empty = people.empty.iter().enumerate().filter(|(number, _)| people.empty.len() < 2 || (number % 2 == 1) == is_test);
        at_home.extend(empty.map(|(_, setting)| (*setting, None)));
        stream.derive(format!("places {place}")).shuffle(&mut at_home);
        let mut rooms: Vec<(Setting, Option<usize>)> = Vec::new();
        for (setting, who) in at_home {
            if rooms.len() >= (counts / 2).max(1) {
                break;
            }
            if rooms.iter().any(|(known, _)| known.source == setting.source) {
                continue;
            }
            let problem = match who {
                None if footage.hides_somebody(&setting)? => Some("somebody is seen in it without a face".to_string()),
                _ => footage.place_problem(&setting)?,
            };
            match (problem, who) {
                (None, _) => rooms.push((setting, who)),
                (Some(reason), None) => left_out.push(LeftOut { name: footage.sources[setting.source].name.clone(), reason }),
                (Some(_), Some(_)) => {}
            }
        }
        stock.rooms = rooms.iter().map(|(_, who)| who.is_some()).collect();
        let spans = figures.iter().map(|&figure| cast[figure].span).collect();
        let (rooms, at_home) = rooms.into_iter().unzip();
        halves.push(HalfStage { stock, figures, spans, own: setting, rooms, at_home });
        monitor.step(Stage::CuttingOut, total)?;
    }
    match <[HalfStage; 2]>::try_from(halves) {
        Ok(halves) => Ok((cast, halves)),
        Err(_) => Err(Error::Stopped),
    }
}

/// Makes clips.
struct Maker<'a> {
    footage: &'a Footage<'a>,
    request: &'a Request<'a>,
    out: &'a Path,
    cast: &'a [Someone],
    stages: &'a [HalfStage; 2],
    stream: &'a SeededStream,
    drawn: AtomicUsize,
    /// In nanoseconds.
    composing: AtomicU64,
}

/// A clip, if one was made that the gate lets pass, and those that it refused before.
type Drawn = (Option<(ClipRecord, Features)>, Vec<Dropped>);

/// Everything that one drawing of a clip follows from.
#[derive(Serialize)]
struct Drawing<'a> {
    version: u32,
    ffmpeg: String,
    models: &'a str,
    meant: &'a [f32],
    subject: &'a [f32],
    is_positive: bool,
    is_for_training: bool,
    making: Making,
    figure: String,
    place: Option<String>,
    recipe: &'a Recipe,
    frames: usize,
}

impl Maker<'_> {
    /// Makes a clip; drawn anew where the gate refuses it.
    fn clip(&self, half: Half, number: usize, slot: &Slot) -> Result<Drawn> {
        let (footage, stage) = (self.footage, &self.stages[usize::from(half == Half::Test)]);
        let stream = self.stream.derive(format!("{half:?} clip {number} {}", slot.positive));
        let mut dropped = Vec::new();
        for attempt in 0..self.request.options.attempts {
            let recipe = Recipe::draw(&stream.derive(attempt));
            let figures = [&stage.stock.hard, &stage.stock.random];
            let setting = match slot.room {
                Room::Own => stage.own,
                Room::Other(room) => Some(stage.rooms[room]),
            };
            let (who, is_hard) = match (slot.positive, slot.making) {
                (true, _) => (stage.figures[slot.figure], false),
                (false, Making::Untouched) => {
                    let Room::Other(room) = slot.room else { break };
                    let Some(who) = stage.at_home[room] else { break };
                    (who, stage.stock.hard.contains(&who))
                }
                (false, Making::Composed) => {
                    let pool = figures.into_iter().find(|pool| pool.contains(&slot.figure)).unwrap_or(&stage.stock.hard);
                    // After two refusals somebody else of the same kind is taken, so that the place keeps its share.
                    let first = pool.iter().position(|&who| who == slot.figure).unwrap_or(0);
                    let who = pool.get((first + attempt / 2) % pool.len().max(1)).copied().unwrap_or(slot.figure);
                    (who, stage.stock.hard.contains(&who))
                }
            };
            let who = &self.cast[who];
            let place = match slot.making {
                Making::Untouched => None,
                Making::Composed => match setting {
                    Some(setting) => Some(setting),
                    None => break,
                },
            };
            let drawing = Drawing {
                version: MAKING_VERSION,
                ffmpeg: pvchat_video::ffmpeg_version(),
                models: &footage.models,
                meant: &who.embedding,
                subject: self.request.template,
                is_positive: slot.positive,
                is_for_training: half == Half::Train,
                making: slot.making,
                figure: footage.figure_key(who),
                place: place.map(|place| footage.place_key(&place)),
                recipe: &recipe,
                frames: self.request.options.frames,
            };
            let key = hash(serde_json::to_vec(&drawing).map_err(|error| Error::Eyes(error.into()))?);
            let name = key[..16].to_string();
            let (file, still) =
                (format!("clips/{name}.mp4"), (half == Half::Train).then(|| format!("stills/{}.mp4", &key[16..32])));
            let is_whole = |file: &str, sha256: &str| hash_file(&self.out.join(file)).is_ok_and(|(found, _)| found == sha256);
            let fits = |outcome: &Outcome| {
                let whole = is_whole(&file, &outcome.sha256);
                let still =
                    still.as_ref().zip(outcome.still_sha256.as_ref()).is_none_or(|(still, sha256)| is_whole(still, sha256));
                outcome.judged.refused.is_some() || (whole && still)
            };
            let outcome = footage.store.get("clips", &key, fits, || {
                self.drawn.fetch_add(1, Ordering::SeqCst);
                self.draw(slot, who, place, &recipe, &self.out.join(&file), still.as_ref().map(|still| self.out.join(still)))
            })?;
            let figure = footage.sources[who.source].name.clone();
            let place = place.map_or_else(|| figure.clone(), |place| footage.sources[place.source].name.clone());
            if outcome.judged.refused.is_some() {
                dropped.push(Dropped { half, positive: slot.positive, figure, place, attempt, judged: outcome.judged });
                continue;
            }
            let record = ClipRecord {
                name,
                file,
                sha256: outcome.sha256,
                still,
                still_sha256: outcome.still_sha256,
                half,
                positive: slot.positive,
                hard: is_hard,
                making: slot.making,
                figure: (figure, who.span),
                place,
                judged: outcome.judged,
                attempt,
                recipe: Some(recipe),
                key,
            };
            return Ok((Some((record, outcome.features)), dropped));
        }
        Ok((None, dropped))
    }

    /// Makes one clip, and looks at what was written.
    fn draw(
        &self,
        slot: &Slot,
        who: &Someone,
        place: Option<Setting>,
        recipe: &Recipe,
        file: &Path,
        still: Option<PathBuf>,
    ) -> Result<Outcome> {
        let (footage, options) = (self.footage, self.request.options);
        let unusable = |problem: String| Error::NotCutOut { clip: footage.sources[who.source].path.clone(), problem };
        let assets = match place {
            Some(setting) => Some((footage.figure(who)?.map_err(unusable)?, footage.place(&setting)?.map_err(unusable)?)),
            None => None,
        };
        let begun = busy();
        let (frames, matte) = match assets {
            None => {
                let (source, look) = (&footage.sources[who.source], &footage.looks[who.source]);
                let span = who.setting().span;
                let square = Square::read(source, look, Some(who.person), span, footage.sizes())?;
                if square.frames.is_empty() {
                    return Err(unusable("no frame can be read".into()));
                }
                (untouched(&square, recipe.start, footage.sizes(), options.frames), None)
            }
            Some((figure, place)) => {
                let Composed { frames, matte } = compose(&figure, &place, recipe, footage.sizes(), options.frames);
                (frames, Some(matte))
            }
        };
        let rate = f64::from(options.rate);
        write(file, &frames, rate, recipe.rate_factor)?;
        drop(frames);
        self.composing.fetch_add(busy().saturating_sub(begun), Ordering::SeqCst);
        let (frames, seconds) = read_clip(file, rate, options.size)?;
        let judged = self.judge(slot, who, &frames, &seconds)?;
        if judged.refused.is_some() {
            remove(file)?;
            return Ok(Outcome { judged, sha256: String::new(), still_sha256: None, features: Features::default() });
        }
        let middle = &frames[frames.len() / 2];
        let matte: GrayImage = match matte {
            Some(matte) => matte,
            None => footage.eyes.matte(middle).map_err(Error::Eyes)?,
        };
        let features = Features::of(middle, &matte);
        let still_sha256 = match still {
            Some(still) => {
                write(&still, &vec![middle.clone(); STILL.0], STILL.1, 18)?;
                Some(hash_file(&still)?.0)
            }
            None => None,
        };
        Ok(Outcome { judged, sha256: hash_file(file)?.0, still_sha256, features })
    }

    fn judge(&self, slot: &Slot, who: &Someone, frames: &[RgbImage], seconds: &[f64]) -> Result<super::Judged> {
        let eyes = self.footage.eyes;
        let count = GATE_FRAMES.min(frames.len());
        let places: Vec<usize> = (0..count).map(|number| (2 * number + 1) * frames.len() / (2 * count)).collect();
        let shown: Vec<RgbImage> = places.iter().filter_map(|&place| frames.get(place).cloned()).collect();
        let times: Vec<f64> = places.iter().filter_map(|&place| seconds.get(place).copied()).collect();
        let people = eyes.people(&shown, &times).map_err(Error::Eyes)?;
        Ok(gate::judge(&people, shown.len(), [&who.embedding, self.request.template], slot.positive, eyes.thresholds()))
    }
}

fn write(file: &Path, frames: &[RgbImage], rate: f64, rate_factor: u8) -> Result<()> {
    let (width, height) = frames.first().map_or((0, 0), RgbImage::dimensions);
    let mut writer = VideoWriter::create(file, width, height, rate, Quality::RateFactor(rate_factor))?;
    for frame in frames {
        writer.write(frame)?;
    }
    Ok(writer.finish()?)
}

/// All frames of a made clip.
pub(super) fn read_clip(file: &Path, rate: f64, size: u32) -> Result<(Vec<RgbImage>, Vec<f64>)> {
    let (mut frames, mut times) = (Vec::new(), Vec::new());
    read(file, rate, [0.0, f64::INFINITY], Bound::Longest(size), |frame, seconds| {
        frames.push(frame);
        times.push(seconds);
        Ok(())
    })?;
    if frames.is_empty() {
        return Err(Error::NoFrames { clip: file.display().to_string() });
    }
    Ok((frames, times))
}

/// Asks about all clips.
#[expect(clippy::too_many_arguments, reason = "one call, of what the run has at hand")]
fn questions(
    request: &Request<'_>,
    records: &[ClipRecord],
    eyes: &dyn Eyes,
    store: &Store,
    describer: Option<&mut dyn Describe>,
    stream: &SeededStream,
    monitor: &Monitor<'_>,
    out: &Path,
) -> Result<Vec<Vec<Pair>>> {
    let options = request.options;
    let clips: Vec<Asked<'_>> =
        records.iter().map(|clip| Asked { name: &clip.name, half: clip.half, is_positive: clip.positive }).collect();
    let subject = request.name.to_string();
    let stream = stream.derive("questions");
    let Some(describer) = describer else {
        monitor.begin(Stage::Asking, 1)?;
        return ask(&clips, &subject, options, &stream, None);
    };
    let total = 3 * options.descriptions * records.iter().filter(|clip| clip.positive).count();
    monitor.begin(Stage::Asking, total)?;
    let name = describer.name();
    let mut shown: Option<(usize, Vec<RgbImage>, Vec<f64>, RgbImage)> = None;
    let mut describe = |place: usize, question: &str| {
        let clip = &records[place];
        let key = format!("{MAKING_VERSION} {} {name} {subject} {question}", clip.key);
        let answer = store.get(
            "answers",
            &key,
            |_: &Option<String>| true,
            || {
                if shown.as_ref().is_none_or(|(known, ..)| *known != place) {
                    let (frames, seconds) = read_clip(&out.join(&clip.file), f64::from(options.rate), options.size)?;
                    let person = alone(&frames[frames.len() / 2], eyes)?;
                    shown = Some((place, frames, seconds, person));
                }
                let Some((_, frames, seconds, person)) = &shown else { return Ok(None) };
                let clip = ShownClip { key: &clip.key, frames, seconds, person };
                let said = describer.describe(&clip, question, &subject).map_err(Error::Describer)?;
                // A sentence that does not name the person would teach nothing about it.
                Ok(said.map(|said| said.trim().to_string()).filter(|said| said.contains(&subject)))
            },
        )?;
        monitor.step(Stage::Asking, total)?;
        Ok(answer)
    };
    ask(&clips, &subject, options, &stream, Some(&mut describe))
}

/// The person of a picture alone, with the body.
fn alone(frame: &RgbImage, eyes: &dyn Eyes) -> Result<RgbImage> {
    let people = eyes.people(std::slice::from_ref(frame), &[0.0]).map_err(Error::Eyes)?;
    let Some(face) = people.iter().flat_map(|person| &person.faces).max_by(|a, b| a.width().total_cmp(&b.width())) else {
        return Ok(frame.clone());
    };
    let [left, top, right, bottom] = face.bounds;
    let (across, down) = (right - left, bottom - top);
    let inside = |value: f32, most: u32| value.clamp(0.0, most as f32) as u32;
    let (left, right) = (inside(left - 1.3 * across, frame.width()), inside(right + 1.3 * across, frame.width()));
    let (top, bottom) = (inside(top - 0.6 * down, frame.height()), inside(bottom + 5.5 * down, frame.height()));
    Ok(imageops::crop_imm(frame, left, top, right.max(left + 1) - left, bottom.max(top + 1) - top).to_image())
}

/// Writes the datasets under the names of the published files; gives the files and their SHA-256.
fn write_datasets(name: &SubjectName, records: &[ClipRecord], pairs: &[Vec<Pair>], out: &Path) -> Result<Vec<(String, String)>> {
    let video = |file: &str, clip: &ClipRecord, pairs: &[Pair]| {
        let pairs = pairs.iter().map(|(_, pair)| pair.clone()).collect();
        Video::of(name, file, clip.positive, pairs)
    };
    let of = |half: Half| records.iter().zip(pairs).filter(move |(clip, _)| clip.half == half);
    let train = Dataset { videos: of(Half::Train).map(|(clip, pairs)| video(&clip.file, clip, pairs)).collect() };
    let test = Dataset { videos: of(Half::Test).map(|(clip, pairs)| video(&clip.file, clip, pairs)).collect() };
    let mut stills: Vec<Video> = of(Half::Train)
        .filter_map(|(clip, pairs)| {
            // A single frame says who is there and how somebody looks, and no more.
            let kept: Vec<Pair> =
                pairs.iter().filter(|(kind, _)| matches!(kind, QaKind::Existence | QaKind::Appearance)).cloned().collect();
            Some(video(clip.still.as_deref()?, clip, &kept))
        })
        .collect();
    stills.sort_by(|one, other| one.path.cmp(&other.path));
    let mut files = Vec::new();
    for (file, dataset) in dataset_files(name).into_iter().zip([train, Dataset { videos: stills }, test]) {
        let path = out.join(&file);
        if dataset.videos.is_empty() {
            remove(&path)?;
            continue;
        }
        dataset.write(&path)?;
        files.push((file, hash_file(&path)?.0));
    }
    Ok(files)
}

/// The names of the published files: training, its single frames, testing.
pub(super) fn dataset_files(name: &SubjectName) -> [String; 3] {
    [format!("{name}.json"), format!("{name}_short_train.json"), format!("{name}test.json")]
}

/// The licences beside a corpus, if it has them.
fn licences(corpus: &Path) -> BTreeMap<String, String> {
    pvchat_data::file::read_json(&corpus.join(LICENCES), pvchat_data::file::LARGEST).unwrap_or_default()
}

/// Deletes clips and datasets that are not part of the dataset: those of other options, and half-made ones.
fn sweep(out: &Path, manifest: &Manifest) -> Result<()> {
    let clips = manifest.clips.iter().flat_map(|clip| std::iter::once(&clip.file).chain(&clip.still));
    let known: BTreeSet<PathBuf> = clips.map(|file| out.join(file)).collect();
    for folder in ["clips", "stills"] {
        for file in entries(&out.join(folder))? {
            if !known.contains(&file) {
                remove(&file)?;
            }
        }
    }
    let ours: BTreeSet<&str> = manifest.files.iter().map(|(file, _)| file.as_str()).chain([MANIFEST]).collect();
    for file in entries(out)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if file.is_file() && name.starts_with('<') && name.ends_with(".json") && !ours.contains(name.as_str()) {
            remove(&file)?;
        }
    }
    Ok(())
}
