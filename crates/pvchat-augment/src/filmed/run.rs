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
    ClipRecord, DatasetOptions, Describe, Eyes, Half, KnownFiles, LeftOut, Making, Manifest, NOT_NEEDED, PersonRecord, Refine,
    SourceRecord,
    ask::{Questions, described},
    asking::questions,
    blind::{Seen, blind},
    casting::choose,
    cosine,
    footage::{Footage, Recent},
    generated::{Generators, Studio},
    looking::Looking,
    maker::{Drawn, Maker},
    manifest::{MANIFEST, Store, begin},
    plan::{Slot, plan},
    report,
    source::{Look, Source, hash},
    strangers::strangers,
    subject::Subject,
    workers::{Monitor, in_parallel},
    writing::{datasets, json, licences, sweep, write_together},
};
use crate::{Error, Result};

/// The most people that a dataset can be about: the published files know no more.
pub const MOST_PEOPLE: usize = 3;

/// Somebody whom a dataset is about.
#[derive(Clone, Copy, Debug)]
pub struct PersonClip<'a> {
    /// The person's name in the dataset.
    pub name: &'a SubjectName,
    /// The clip of the person, which shows no other person of the dataset.
    pub clip: &'a Path,
    /// From when on the person is seen in it, in seconds: there the look at the clip begins, which is limited.
    pub from: f64,
    /// The unit-length mean embedding of the person in it.
    pub template: &'a [f32],
}

/// What a dataset is made from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The people, one to [`MOST_PEOPLE`]. Each has as many clips as the options say; the clips of strangers serve all.
    pub people: &'a [PersonClip<'a>],
    /// A folder with footage of others; folders in it are looked into, links are not followed. Without one, strangers are whoever
    /// else is seen in the clips of the people, each alone for some seconds.
    pub corpus: Option<&'a Path>,
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

impl Request<'_> {
    /// Who of the people somebody is most like, and how similar.
    pub(super) fn nearest(&self, embedding: &[f32]) -> (usize, f32) {
        let similarities = self.people.iter().map(|person| cosine(embedding, person.template)).enumerate();
        similarities.fold((0, -1.0), |best, one| if one.1 > best.1 { one } else { best })
    }

    /// What one of the people is called in reasons: by name, if there are several.
    pub(super) fn called(&self, person: usize) -> String {
        match self.people {
            [_] => "the person".into(),
            people => people[person].name.bare().into(),
        }
    }

    /// Refuses people who cannot be in one dataset, as far as can be said without looking at their clips.
    fn check_people(&self, other: f32) -> Result<()> {
        let people = self.people;
        check_names(people.iter().map(|person| person.name))?;
        for (number, second) in people.iter().enumerate() {
            for first in &people[..number] {
                let similarity = cosine(first.template, second.template);
                if similarity >= other {
                    let [first, second] = [first, second].map(|person| person.name.bare().to_string());
                    return Err(Error::SamePerson { first, second, similarity, bound: other });
                }
            }
        }
        if people.len() > 1 && !self.generators.list.is_empty() {
            let problem =
                "generators make clips for datasets of one person; make a dataset of each person, or leave generators out";
            return Err(Error::Generators { problem: problem.into() });
        }
        Ok(())
    }

    /// Why there are no strangers: what is wrong with those in the corpus, or in the clips of the people where there is no corpus.
    pub(super) fn nobody_else(&self, files: usize, left_out: &[LeftOut], problem: &str) -> Error {
        let Some(folder) = self.corpus else {
            let clips = self.people.iter().map(|person| person.clip.into()).collect();
            return Error::NoCorpus { clips, problem: problem.into() };
        };
        let reasons = left_out.iter().take(3).map(|left_out| format!("{}: {}", left_out.name, left_out.reason));
        Error::NobodyElse { folder: folder.into(), files, reasons: reasons.collect::<Vec<_>>().join("; ") }
    }

    /// Refuses clips in which another of the people may be seen.
    fn check_looks(&self, looks: &[Look], other: f32) -> Result<()> {
        for ((number, person), look) in self.people.iter().enumerate().zip(looks) {
            let embeddings = || look.people.iter().filter_map(|seen| seen.embedding.as_deref());
            for (second, stranger) in self.people.iter().enumerate().filter(|(second, _)| *second != number) {
                let similarity = embeddings().map(|seen| cosine(seen, stranger.template)).fold(-1.0, f32::max);
                if similarity >= other {
                    return Err(Error::InBothClips {
                        name: self.people[second].name.bare().into(),
                        clip: person.clip.into(),
                        of: person.name.bare().into(),
                        similarity,
                        bound: other,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Checks the names of the people of one dataset.
///
/// # Errors
/// [`Error::PeopleCount`] for nobody or more than [`MOST_PEOPLE`], [`Error::NameTwice`].
pub fn check_names<'a>(names: impl IntoIterator<Item = &'a SubjectName>) -> Result<()> {
    let names: Vec<&SubjectName> = names.into_iter().collect();
    if !(1..=MOST_PEOPLE).contains(&names.len()) {
        return Err(Error::PeopleCount { people: names.len(), most: MOST_PEOPLE });
    }
    match names.iter().enumerate().find(|(number, name)| names[..*number].contains(name)) {
        Some((_, name)) => Err(Error::NameTwice { name: name.bare().into() }),
        None => Ok(()),
    }
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
/// [`Error::Setting`] for an option, [`Error::PeopleCount`], [`Error::NameTwice`], [`Error::SamePerson`] and
/// [`Error::InBothClips`] for people who cannot be in one dataset, [`Error::PoorSubject`], [`Error::TooShort`] and
/// [`Error::NotCutOut`] for a clip that gives nothing, [`Error::NoFootage`] and [`Error::NobodyElse`] for the corpus,
/// [`Error::NoCorpus`] where there is none and the clips show nobody else, [`Error::OneClass`] where the identity gate drops too much, [`Error::Generators`] and [`Error::Generator`] for the programs that
/// generate, [`Error::NotADataset`] and [`Error::Inside`] for the folder, [`Error::Eyes`], [`Error::Describer`],
/// [`Error::Video`], [`Error::Io`], [`Error::Stopped`] when the observer stops it.
pub fn make(
    request: &Request<'_>,
    eyes: &dyn Eyes,
    describer: Option<&mut dyn Describe>,
    observe: &mut (dyn FnMut(Progress) -> ControlFlow<()> + Send),
) -> Result<Made> {
    let options = request.options;
    options.check()?;
    request.generators.check(options.positives)?;
    let other = eyes.thresholds().other;
    request.check_people(other)?;
    if let Some(folder) = request.corpus {
        let corpus = fs::canonicalize(folder).map_err(|source| Error::Io { path: folder.into(), source })?;
        if whole(request.out)?.starts_with(&corpus) {
            return Err(Error::Inside { dataset: request.out.into(), corpus: folder.into() });
        }
    }
    // Before anything takes time.
    let stated = request.corpus.map(licences).transpose()?.unwrap_or_default();
    begin(request.out)?;
    let out = fs::canonicalize(request.out).map_err(|source| Error::Io { path: request.out.into(), source })?;
    let (store, monitor) = (Store::new(&out), Monitor { observe: Mutex::new(observe), done: AtomicUsize::new(0) });
    let stream = SeededStream::new(options.seed);
    let models = hash(serde_json::to_string(&(eyes.models(), eyes.thresholds())).unwrap_or_default());

    let looking = Looking { request, eyes, store: &store, monitor: &monitor, models: &models };
    let references = looking.at_references()?;
    request.check_looks(&references.looks, other)?;
    let subjects =
        request.people.iter().zip(&references.looks).map(|(person, look)| Subject::choose(person, options, look, eyes));
    let subjects = subjects.collect::<Result<Vec<Subject>>>()?;
    // A large corpus takes hours: whatever is wrong with the clips of the people was said before.
    let mut seen = looking.at_corpus(references, &stream)?;
    let people = strangers(request, eyes, &mut seen)?;
    let footage = Footage {
        sources: seen.sources,
        looks: seen.looks,
        eyes,
        store: &store,
        options,
        models: models.clone(),
        figures: Recent::default(),
        places: Recent::default(),
    };
    let halves = [Half::Train, Half::Test];
    let (cast, stages) = choose(request, &footage, &subjects, &people, &mut seen.left_out, &stream, &monitor)?;
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
            let clip = request.people[0].clip.into();
            return Err(Error::NotCutOut { clip, problem: "no place can be cleared of people".into() });
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
    let names: Vec<SubjectName> = request.people.iter().map(|person| person.name.clone()).collect();
    let mut blinds = Vec::with_capacity(names.len());
    for name in &names {
        let train: Vec<Seen<'_>> = clips
            .iter()
            .filter(|(clip, _)| clip.half == Half::Train)
            .map(|(clip, features)| Seen {
                features,
                shows: clip.shows(name),
                is_untouched: clip.making == Making::Untouched,
                stranger: (!clip.positive && clip.company.is_empty()).then(|| format!("{:?}", clip.figure)),
            })
            .collect();
        let [positives, negatives] = [true, false].map(|wanted| train.iter().filter(|clip| clip.shows == wanted).count());
        if positives < 2 || negatives < 2 {
            return Err(Error::OneClass { positives, negatives, dropped: dropped.len() });
        }
        blinds.push(blind(&train, options.seed));
    }

    let records: Vec<ClipRecord> = clips.iter().map(|(clip, _)| clip.clone()).collect();
    let described_by = describer.as_ref().map(|describer| (describer.name(), describer.model()));
    let asked = questions(request, &records, eyes, &store, describer, &stream, &monitor, &out)?;
    monitor.begin(Stage::Writing, 1)?;
    let mut written = datasets(&names, &records, &asked)?;
    let record = |source: &Source, licence: Option<String>| SourceRecord {
        name: source.name.clone(),
        sha256: source.sha256.clone(),
        bytes: source.bytes,
        licence,
    };
    let used: BTreeSet<String> = records.iter().flat_map(ClipRecord::footage).map(str::to_string).collect();
    let (others, rest): (Vec<&Source>, Vec<&Source>) =
        footage.sources.iter().skip(names.len()).partition(|source| used.contains(&source.name));
    for source in rest {
        if !seen.left_out.iter().any(|left_out| left_out.name == source.name) {
            seen.left_out.push(LeftOut { name: source.name.clone(), reason: NOT_NEEDED.into() });
        }
    }
    // What is used in one way may be no use in another.
    seen.left_out.retain(|left_out| !used.contains(&left_out.name));
    seen.left_out.sort_by(|one, other| one.name.cmp(&other.name));
    seen.left_out.dedup_by(|one, other| one.name == other.name);
    let mut people: Vec<PersonRecord> = Vec::with_capacity(names.len());
    for (number, (subject, blind)) in subjects.iter().zip(blinds).enumerate() {
        let spans = halves.into_iter().zip(&stages);
        people.push(PersonRecord {
            subject: names[number].clone(),
            reference: record(&footage.sources[number], None),
            looks: subject.verdicts.clone(),
            spans: spans.flat_map(|(half, stage)| stage.people[number].spans.iter().map(move |span| (half, *span))).collect(),
            blind,
        });
    }
    let PersonRecord { subject, reference, looks, spans, blind } = people.remove(0);
    let mut manifest = Manifest {
        format_version: 1,
        pvchat: env!("CARGO_PKG_VERSION").into(),
        ffmpeg: pvchat_video::ffmpeg_version(),
        subject,
        options: options.clone(),
        thresholds: eyes.thresholds(),
        models: eyes.models().into_iter().chain(eyes.eye_model()).chain(described_by.clone().map(|(_, model)| model)).collect(),
        describer: described_by.map(|(name, _)| name),
        refiner: request.refiner.map(Refine::name),
        reference,
        looks,
        spans,
        others: people,
        corpus: others.into_iter().map(|source| record(source, stated.get(&source.name).cloned())).collect(),
        left_out: seen.left_out,
        spared: seen.spared,
        clips: records,
        dropped,
        blind,
        generators: generated.used,
        files: written.iter().map(|(name, bytes)| (name.clone(), hash(bytes))).collect(),
    };
    let shown: Vec<(&Path, [u32; 2])> =
        request.people.iter().zip(&subjects).map(|(person, subject)| (person.clip, subject.looked)).collect();
    let page = report::page(&manifest, &asked, &out, &shown)?;
    manifest.files.push((report::REPORT.into(), hash(page.as_bytes())));
    written.push((report::REPORT.into(), page.into_bytes()));
    // The manifest is the last: it says what the others are.
    written.push((MANIFEST.into(), json(MANIFEST, &manifest)?));
    write_together(&out, &written)?;
    sweep(&out, &manifest)?;
    store.sweep()?;
    monitor.step(Stage::Writing, 1)?;
    let questions = count_questions(&manifest, &asked);
    Ok(Made { questions, described: count_described(&manifest, &asked), manifest, drawn, composing })
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
pub(super) fn count_described(manifest: &Manifest, asked: &[Questions]) -> [usize; 2] {
    let (mut positives, mut kept) = (0, 0);
    for (name, pairs) in manifest.names().iter().zip(asked).filter(|_| manifest.describer.is_some()) {
        for (_, pairs) in manifest.clips.iter().zip(pairs).filter(|(clip, _)| clip.shows(name)) {
            positives += 1;
            kept += pairs.iter().filter(|(kind, _)| *kind != QaKind::Existence).count();
        }
    }
    [positives * described(&manifest.options).len() * manifest.options.descriptions, kept]
}

/// Questions of each kind to positives and negatives of each person for training.
fn count_questions(manifest: &Manifest, asked: &[Questions]) -> BTreeMap<QaKind, [usize; 2]> {
    let mut counts: BTreeMap<QaKind, [usize; 2]> = BTreeMap::new();
    for (name, pairs) in manifest.names().iter().zip(asked) {
        for (clip, pairs) in manifest.clips.iter().zip(pairs).filter(|(clip, _)| clip.half == Half::Train) {
            let place = usize::from(!clip.shows(name));
            pairs.iter().for_each(|(kind, _)| counts.entry(*kind).or_default()[place] += 1);
        }
    }
    counts
}
