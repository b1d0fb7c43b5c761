//! From a clip and a corpus to a dataset on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use pvchat_data::{QaKind, SubjectName, random::SeededStream};

use super::{
    ClipRecord, DatasetOptions, Describe, Eyes, Half, KnownFiles, LeftOut, Manifest, NOT_NEEDED, Refine, SourceRecord,
    ask::{Pair, described},
    asking::questions,
    blind::{Features, blind},
    casting::choose,
    footage::{Footage, Recent},
    generated::{Generators, Studio},
    looking::look_at_all,
    maker::{Drawn, Maker},
    manifest::{MANIFEST, Store, begin},
    plan::{Slot, plan},
    report,
    source::{Source, hash},
    strangers::strangers,
    subject::Subject,
    workers::{Monitor, in_parallel},
    writing::{licences, sweep, write_datasets},
};
use crate::{Error, Result};

/// What a dataset is made from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The person's name in the dataset.
    pub name: &'a SubjectName,
    /// The clip of the person.
    pub clip: &'a Path,
    /// The unit-length mean embedding of the person in it.
    pub template: &'a [f32],
    /// A folder with footage of others; folders in it are looked into, links are not followed.
    pub corpus: &'a Path,
    /// What an index says about the corpus. Files that it knows are looked at only where clips may be made of them.
    pub known: Option<&'a KnownFiles<'a>>,
    /// The folder of the dataset: a new one, or one that an earlier run began.
    pub out: &'a Path,
    /// How much is made.
    pub options: &'a DatasetOptions,
    /// What rewrites descriptions.
    pub refiner: Option<&'a dyn Refine>,
    /// Programs that generate clips, if any.
    pub generators: Generators<'a>,
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
    /// Having clips generated, and judging them.
    Generating,
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
    /// Descriptions that were asked for, and those that were kept.
    pub described: [usize; 2],
}

/// Makes a dataset. What an earlier run of the same request left is used; a run that was killed at any point and is started
/// again ends in the same bytes as one that was not.
///
/// # Errors
/// [`Error::Setting`] for an option, [`Error::PoorSubject`], [`Error::TooShort`] and [`Error::NotCutOut`] for a clip that gives
/// nothing, [`Error::NoFootage`] and [`Error::NobodyElse`] for the corpus, [`Error::OneClass`] where the identity gate drops too
/// much, [`Error::Generators`] and [`Error::Generator`] for the programs that generate, [`Error::NotADataset`] and [`Error::Inside`] for the folder, [`Error::Eyes`], [`Error::Describer`], [`Error::Video`],
/// [`Error::Io`], [`Error::Stopped`] when the observer stops it.
pub fn make(
    request: &Request<'_>,
    eyes: &dyn Eyes,
    describer: Option<&mut dyn Describe>,
    observe: &mut (dyn FnMut(Progress) -> ControlFlow<()> + Send),
) -> Result<Made> {
    let options = request.options;
    options.check()?;
    request.generators.check(options.positives)?;
    let corpus = fs::canonicalize(request.corpus).map_err(|source| Error::Io { path: request.corpus.into(), source })?;
    if whole(request.out)?.starts_with(&corpus) {
        return Err(Error::Inside { dataset: request.out.into(), corpus: request.corpus.into() });
    }
    begin(request.out)?;
    let out = fs::canonicalize(request.out).map_err(|source| Error::Io { path: request.out.into(), source })?;
    let (store, monitor) = (Store::new(&out), Monitor { observe: Mutex::new(observe), done: AtomicUsize::new(0) });
    let stream = SeededStream::new(options.seed);
    let models = hash(serde_json::to_string(&(eyes.models(), eyes.thresholds())).unwrap_or_default());

    let mut seen = look_at_all(request, eyes, &store, &monitor, &models, &stream)?;
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
    let studio =
        Studio { maker: &maker, request, stage: &stages[0], cast: &cast, stream: stream.derive("generators"), monitor: &monitor };
    let generated = studio.make()?;
    let [ours, theirs] = generated.counts();
    let mut slots: Vec<(Half, usize, Slot)> = Vec::new();
    for (half, stock) in halves.into_iter().zip(&stages) {
        let counts = match half {
            Half::Train => [options.positives - ours, options.negatives - theirs],
            Half::Test => [options.test_positives, options.test_negatives],
        };
        let hard = options.hard * counts[1] / options.negatives.max(1);
        let exchanged = options.exchanged.min(options.positives) * counts[0] / options.positives.max(1);
        let planned = plan(&stock.stock, counts, hard, exchanged, &stream.derive(format!("{half:?} plan")));
        if planned.is_empty() && half == Half::Train {
            return Err(Error::NotCutOut { clip: request.clip.into(), problem: "no place can be cleared of people".into() });
        }
        slots.extend(planned.into_iter().enumerate().map(|(number, slot)| (half, number, slot)));
    }
    monitor.begin(Stage::Making, slots.len())?;
    let made: Vec<Drawn> = in_parallel(&slots, request.threads, |(half, number, slot)| {
        let made = maker.clip(*half, *number, slot)?;
        monitor.step(Stage::Making, slots.len())?;
        Ok(made)
    })?;
    let drawn = maker.drawn.load(Ordering::SeqCst);
    let composing = maker.composing.load(Ordering::SeqCst) as f64 / 1e9;
    let (mut dropped, mut clips) = (generated.dropped, generated.clips);
    for (clip, refused) in made {
        dropped.extend(refused);
        clips.extend(clip);
    }
    // The order says nothing about who is there.
    clips.sort_by(|one, other| one.0.name.cmp(&other.0.name));
    clips.dedup_by(|one, other| one.0.name == other.0.name);
    for (clip, _) in &mut clips {
        // Of strangers who are all shown, none is more similar than others.
        let stage = &stages[usize::from(clip.half == Half::Test)];
        clip.hard &= stage.stock.hard.len() < stage.strangers;
    }
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
    let shown =
        |clip: &'_ ClipRecord| [Some(clip.figure.0.clone()), Some(clip.place.clone()), clip.body.clone().map(|body| body.0)];
    let used: BTreeSet<String> = records.iter().flat_map(shown).flatten().collect();
    let (others, rest): (Vec<&Source>, Vec<&Source>) =
        footage.sources.iter().skip(1).partition(|source| used.contains(&source.name));
    for source in rest {
        if !seen.left_out.iter().any(|left_out| left_out.name == source.name) {
            seen.left_out.push(LeftOut { name: source.name.clone(), reason: NOT_NEEDED.into() });
        }
    }
    seen.left_out.sort_by(|one, other| one.name.cmp(&other.name));
    let mut manifest = Manifest {
        format_version: 1,
        pvchat: env!("CARGO_PKG_VERSION").into(),
        ffmpeg: pvchat_video::ffmpeg_version(),
        subject: request.name.clone(),
        options: options.clone(),
        thresholds: eyes.thresholds(),
        models: eyes.models().into_iter().chain(eyes.eye_model()).collect(),
        describer: described_by,
        refiner: request.refiner.map(Refine::name),
        reference: record(&footage.sources[0], None),
        looks: subject.verdicts.clone(),
        spans: halves
            .into_iter()
            .zip(&stages)
            .flat_map(|(half, stage)| stage.spans.iter().map(move |span| (half, *span)))
            .collect(),
        corpus: others.into_iter().map(|source| record(source, licences.get(&source.name).cloned())).collect(),
        left_out: seen.left_out,
        spared: seen.spared,
        clips: records,
        dropped,
        blind,
        generators: generated.used,
        files,
    };
    let page = report::page(&manifest, &pairs, &out, request.clip, &subject.looked)?;
    pvchat_data::file::write_atomically(&out.join(report::REPORT), page.as_bytes())?;
    manifest.files.push((report::REPORT.into(), hash(page.as_bytes())));
    pvchat_data::file::write_json(&out.join(MANIFEST), &manifest)?;
    sweep(&out, &manifest)?;
    store.sweep()?;
    monitor.step(Stage::Writing, 1)?;
    let questions = count_questions(&manifest, &pairs);
    Ok(Made { questions, described: count_described(&manifest, &pairs), manifest, drawn, composing })
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

/// Descriptions of positives that were asked for, and those that were kept.
pub(super) fn count_described(manifest: &Manifest, pairs: &[Vec<Pair>]) -> [usize; 2] {
    if manifest.describer.is_none() {
        return [0, 0];
    }
    let positives = || manifest.clips.iter().zip(pairs).filter(|(clip, _)| clip.positive);
    let asked = positives().count() * described(&manifest.options).len() * manifest.options.descriptions;
    let kept = positives().flat_map(|(_, pairs)| pairs).filter(|(kind, _)| *kind != QaKind::Existence).count();
    [asked, kept]
}

/// Questions of each kind to positives and negatives for training.
fn count_questions(manifest: &Manifest, pairs: &[Vec<Pair>]) -> BTreeMap<QaKind, [usize; 2]> {
    let mut counts: BTreeMap<QaKind, [usize; 2]> = BTreeMap::new();
    for (clip, pairs) in manifest.clips.iter().zip(pairs).filter(|(clip, _)| clip.half == Half::Train) {
        pairs.iter().for_each(|(kind, _)| counts.entry(*kind).or_default()[usize::from(!clip.positive)] += 1);
    }
    counts
}
