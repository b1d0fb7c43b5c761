//! How well people are recognised in a folder of pictures and clips with a `manifest.json`: verification of all pairs, and
//! existence from one item with the shipped thresholds. `--calibrate` fits a calibration to the folder instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
#[cfg(feature = "onnx")]
use pvchat::faces::onnx::Networks;
use pvchat::{
    data::{file::read_json, random::SeededStream},
    faces::{Calibration, EmbedderKind, FindOptions, Finder, Search, cosine, mean_embedding},
    nn::device,
    video::{DamagePolicy, ReadOptions, SamplingPlan, VideoReader},
};
use pvchat_examples::{
    exit_code, models_folder,
    progress::bar,
    truth::{KnownFile, KnownPeople},
};
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures recognition on a folder of pictures and clips of known people.
///
/// The folder holds `manifest.json` with an entry for each file: `file`, `identity` (the same word is the same person),
/// `kind` (`image` or `clip`), `several_people`, `grey`. Verification compares every two items; existence takes each item as
/// the only template of its person and asks whether the person is in each other item. Items with several people and grey
/// ones are left out of the main figures; grey ones are measured apart.
#[derive(Parser)]
#[command(name = "people_exam", version)]
struct Arguments {
    /// The folder with manifest.json.
    folder: PathBuf,
    /// Prints JSON alone.
    #[arg(long)]
    json: bool,
    /// Where the models are.
    #[arg(long, env = "PVCHAT_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// The embedder: mobilefacenet or dlib.
    #[arg(long, default_value = "mobilefacenet")]
    embedder: String,
    /// How faces are looked for: auto, fast or thorough.
    #[arg(long, default_value = "auto")]
    search: String,
    /// The description of a network of your own, NAME.json beside NAME.onnx, used in place of the shipped one (docs/people.md).
    /// May be given twice: for the network that finds faces and for the one that embeds them.
    #[cfg(feature = "onnx")]
    #[arg(long, value_name = "JSON")]
    onnx: Vec<PathBuf>,
    /// Prints a calibration that fits this folder, in place of the examination.
    #[arg(long)]
    calibrate: bool,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// An item with a face.
struct Item {
    identity: String,
    clip: bool,
    grey: bool,
    embedding: Vec<f32>,
}

/// A similarity of two items, and whether they show one person.
#[derive(Clone, Copy)]
struct Pair {
    similarity: f32,
    same: bool,
}

#[derive(Serialize)]
struct Report {
    eer: f64,
    #[serde(rename = "tpr_at_fpr_0.01")]
    tpr_at_1_percent: f64,
    #[serde(rename = "tpr_at_fpr_0.001")]
    tpr_at_1_permille: f64,
    existence_balanced: f64,
    /// 95 % over identities resampled 1000 times.
    existence_interval: [f64; 2],
    existence_true_accepts: f64,
    existence_false_accepts: f64,
    /// Shares of pairs that the program answers with "not sure": of the same person, of others.
    not_sure: [f64; 2],
    /// Where `dataset make` errs: pairs of one person below the bound of its negatives, and pairs of two who are not.
    beyond_bound: [usize; 2],
    /// Shares of what it answers with yes or no that is right.
    right_when_sure: [f64; 2],
    /// The threshold fitted on half of the identities, tested on the other half: the mean of 300 splits and the interval that holds 95 % of them.
    existence_split: [f64; 3],
    threshold: f32,
    /// The least similar pair of one person, and the most similar pair of two; of pictures and of clips.
    extremes: [[f32; 2]; 2],
    items: usize,
    items_without_face: usize,
    identities: usize,
    pairs: [usize; 2],
    /// Strangers taken for one of the enrolled people.
    open_set: Vec<OpenSet>,
    grey: Option<Grey>,
    without_face: Vec<PathBuf>,
}

/// What happens to strangers where several people are enrolled.
#[derive(Serialize)]
struct OpenSet {
    enrolled: usize,
    /// From which cosine on the answer is yes.
    threshold: f32,
    /// The share of strangers who are taken for somebody: counted, or extrapolated from the tail of the similarities where the
    /// folder has too few people.
    false_accepts: f64,
    extrapolated: bool,
    /// The share of pairs of one person at or above the threshold.
    found: f64,
}

/// Verification of grey pictures.
#[derive(Serialize)]
struct Grey {
    items: usize,
    eer: f64,
    #[serde(rename = "tpr_at_fpr_0.01")]
    tpr_at_1_percent: f64,
    #[serde(rename = "tpr_at_fpr_0.001")]
    tpr_at_1_permille: f64,
    pairs: [usize; 2],
}

fn main() -> ExitCode {
    exit_code(exam(&Arguments::parse()))
}

fn exam(arguments: &Arguments) -> Outcome<()> {
    // Not `println!`, which panics when nobody reads any more.
    let mut out = io::stdout().lock();
    let embedder = match arguments.embedder.as_str() {
        "mobilefacenet" => EmbedderKind::MobileFaceNet,
        "dlib" => EmbedderKind::Dlib,
        other => return Err(format!("--embedder is {other}; give mobilefacenet or dlib").into()),
    };
    let search = match arguments.search.as_str() {
        "auto" => Search::Auto,
        "fast" => Search::Fast,
        "thorough" => Search::Thorough,
        other => return Err(format!("--search is {other}; give auto, fast or thorough").into()),
    };
    let models = models_folder(arguments.models.clone());
    let (options, device) = (FindOptions { search, ..FindOptions::default() }, device::default_device()?);
    #[cfg(not(feature = "onnx"))]
    let finder = Finder::open(&models, embedder, options, &device)?;
    #[cfg(feature = "onnx")]
    let finder = {
        let own = arguments.onnx.iter().try_fold(Networks::new(), |own, description| own.with_file(description))?;
        Finder::open_with(&models, embedder, own, options, &device)?
    };
    let (items, without_face, count) = items(&finder, &arguments.folder)?;
    let colour: Vec<&Item> = items.iter().filter(|item| !item.grey).collect();
    let pairs = compare(&colour);
    if arguments.calibrate {
        // An embedder of the user's own has no calibration yet; its name there is its id.
        let name = finder.calibration().map_or_else(|_| finder.model().into(), |calibration| calibration.embedder);
        writeln!(out, "{}", serde_json::to_string_pretty(&fit(name, &colour, &pairs))?)?;
        return Ok(());
    }
    let calibration = finder.calibration()?;
    let verification = verify(&pairs).ok_or("the folder has no two items of one person, or of one person only")?;
    let (true_accepts, false_accepts) = accepts(&pairs, calibration.midpoint);
    let balanced = (true_accepts + 1.0 - false_accepts) / 2.0;
    let certain = calibration.certain_from(1);
    let share = |same: bool, test: &dyn Fn(f32) -> bool| {
        let of: Vec<_> = pairs.iter().filter(|pair| pair.same == same).collect();
        of.iter().filter(|pair| test(pair.similarity)).count() as f64 / of.len().max(1) as f64
    };
    let unsure = |similarity: f32| similarity >= calibration.possible && similarity < certain;
    let not_sure = [share(true, &unsure), share(false, &unsure)];
    let yes = |similarity: f32| similarity >= certain;
    let no = |similarity: f32| similarity < calibration.possible;
    let beyond = |same: bool| pairs.iter().filter(|pair| pair.same == same && no(pair.similarity) == same).count();
    let right_when_sure = [
        share(true, &yes) / (1.0 - not_sure[0]).max(f64::MIN_POSITIVE),
        share(false, &no) / (1.0 - not_sure[1]).max(f64::MIN_POSITIVE),
    ];
    let grey: Vec<&Item> = items.iter().filter(|item| item.grey).collect();
    let grey_pairs = compare(&grey);
    let grey = verify(&grey_pairs).map(|verification| Grey {
        items: grey.len(),
        eer: verification[0],
        tpr_at_1_percent: verification[1],
        tpr_at_1_permille: verification[2],
        pairs: counts(&grey_pairs),
    });
    let open_set = [1, 10, 64, 1000].map(|enrolled| open_set(&colour, &pairs, &calibration, enrolled));
    let report = Report {
        eer: verification[0],
        tpr_at_1_percent: verification[1],
        tpr_at_1_permille: verification[2],
        existence_balanced: balanced,
        existence_interval: interval(&colour, calibration.midpoint),
        existence_true_accepts: true_accepts,
        existence_false_accepts: false_accepts,
        not_sure,
        beyond_bound: [beyond(true), beyond(false)],
        right_when_sure,
        existence_split: split(&colour),
        threshold: calibration.midpoint,
        extremes: [false, true].map(|clips| extremes(&colour, clips)),
        items: count,
        items_without_face: without_face.len(),
        identities: colour.iter().map(|item| &item.identity).collect::<BTreeSet<_>>().len(),
        pairs: counts(&pairs),
        open_set: open_set.into(),
        grey,
        without_face,
    };
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    writeln!(out, "{} items of {} people, {} without a face", report.items, report.identities, report.items_without_face)?;
    writeln!(out, "verification, {} pairs of one person and {} of two:", report.pairs[0], report.pairs[1])?;
    writeln!(out, "  equal error rate {:.2} %", 100.0 * report.eer)?;
    writeln!(out, "  found at 1 % false accepts {:.2} %", 100.0 * report.tpr_at_1_percent)?;
    writeln!(out, "  found at 0.1 % false accepts {:.2} %", 100.0 * report.tpr_at_1_permille)?;
    let [low, high] = report.existence_interval;
    writeln!(out, "existence at {:.3}: balanced {balanced:.4} [{low:.4}, {high:.4}]", report.threshold)?;
    let [mean, low, high] = report.existence_split;
    writeln!(out, "existence, threshold from other people: balanced {mean:.4} [{low:.4}, {high:.4}]")?;
    for OpenSet { enrolled, threshold, false_accepts, extrapolated, found } in &report.open_set {
        let how = if *extrapolated { "extrapolated" } else { "counted" };
        let (wrong, found) = (100.0 * false_accepts, 100.0 * found);
        writeln!(
            out,
            "{enrolled} enrolled, yes from {threshold:.3}: {wrong:.3} % of strangers accepted ({how}), {found:.1} % found"
        )?;
    }
    let [missed, left_out] = report.beyond_bound;
    writeln!(
        out,
        "negatives of datasets are below {:.3}: {missed} of {} pairs of one person are, {left_out} of {} pairs of two are not",
        calibration.possible, report.pairs[0], report.pairs[1]
    )?;
    writeln!(out, "not sure of {:.2} % of the same person, {:.2} % of others", 100.0 * not_sure[0], 100.0 * not_sure[1])?;
    if let Some(Grey { items, eer, tpr_at_1_percent, tpr_at_1_permille, .. }) = &report.grey {
        let shares = [eer, tpr_at_1_percent, tpr_at_1_permille].map(|share| 100.0 * share);
        writeln!(
            out,
            "{items} grey items: equal error rate {:.2} %, found {:.2} % and {:.2} %",
            shares[0], shares[1], shares[2]
        )?;
    }
    Ok(())
}

/// The items with a face, the files without, and the number of files.
fn items(finder: &Finder, folder: &Path) -> Outcome<(Vec<Item>, Vec<PathBuf>, usize)> {
    const CLIP_FRAMES: usize = 10;
    let manifest: KnownPeople = read_json(&folder.join("manifest.json"), 64 << 20)?;
    let entries: Vec<KnownFile> = manifest.entries.into_iter().filter(|entry| !entry.several_people).collect();
    let progress = bar("looking for faces", entries.len());
    let (mut items, mut without) = (Vec::new(), Vec::new());
    let count = entries.len();
    for KnownFile { file, identity, kind, grey, .. } in entries {
        let Some(identity) = identity else { continue };
        // Some of the public clips are cut off.
        let mut options = ReadOptions::default();
        options.damage = DamagePolicy::Skip;
        let frames = if kind == "clip" { CLIP_FRAMES } else { 1 };
        let clip = VideoReader::open_with(folder.join(&file), options)?.sample(&SamplingPlan::Uniform(frames))?;
        let tracks = finder.find(&clip.frames, &clip.times)?;
        // The person who is meant is the one with the largest faces over all frames.
        let weight = |person: usize| -> f32 {
            let own = tracks.iter().filter(|track| track.person == person && track.embedding.is_some());
            own.flat_map(|track| &track.sightings).map(|sighting| sighting.face.bounds.area() * sighting.face.score).sum()
        };
        let people: BTreeSet<usize> = tracks.iter().filter(|track| track.embedding.is_some()).map(|track| track.person).collect();
        let person = people.into_iter().max_by(|&one, &other| weight(one).total_cmp(&weight(other)));
        match mean_embedding(tracks.iter().filter(|track| Some(track.person) == person)) {
            Some(embedding) => items.push(Item { identity, clip: kind == "clip", grey, embedding }),
            None => without.push(file),
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok((items, without, count))
}

/// Strangers against galleries of `enrolled` people with one item each, drawn 200 times for every item.
fn open_set(items: &[&Item], pairs: &[Pair], calibration: &Calibration, enrolled: usize) -> OpenSet {
    let threshold = calibration.certain_from(enrolled);
    let groups = by_identity(items);
    let (found, _) = accepts(pairs, threshold);
    let (false_accepts, extrapolated) = if groups.len() > enrolled {
        let mut stream = SeededStream::new(7).derive(format_args!("galleries of {enrolled}"));
        let (mut looks, mut wrong) = (0, 0);
        for probe in items {
            let others: Vec<&Vec<&Item>> = groups.iter().filter(|group| group[0].identity != probe.identity).collect();
            for _ in 0..200 {
                let gallery = stream.sample(others.len(), enrolled);
                looks += 1;
                let taken = gallery.into_iter().any(|person| {
                    let item = others[person][stream.below(others[person].len())];
                    cosine(&item.embedding, &probe.embedding) >= threshold
                });
                wrong += usize::from(taken);
            }
        }
        (f64::from(wrong as u32) / f64::from(looks.max(1) as u32), false)
    } else {
        let (hundredth, excess) = tail(pairs);
        let pair = 0.01 * f64::from(-(threshold - hundredth).max(0.0) / excess.max(1e-6)).exp();
        (1.0 - (1.0 - pair).powi(enrolled as i32), true)
    };
    OpenSet { enrolled, threshold, false_accepts, extrapolated, found }
}

/// Where the most similar hundredth of strangers begins, and how far above that they are on average.
fn tail(pairs: &[Pair]) -> (f32, f32) {
    let mut others: Vec<f32> = pairs.iter().filter(|pair| !pair.same).map(|pair| pair.similarity).collect();
    others.sort_by(f32::total_cmp);
    let begin = others.len() - others.len().div_ceil(100);
    let hundredth = others.get(begin).copied().unwrap_or(1.0);
    let above = &others[begin..];
    (hundredth, above.iter().map(|similarity| similarity - hundredth).sum::<f32>() / above.len().max(1) as f32)
}

/// The least similar pair of one person and the most similar pair of two, among clips or among pictures.
fn extremes(items: &[&Item], clips: bool) -> [f32; 2] {
    let pairs = compare(&items.iter().copied().filter(|item| item.clip == clips).collect::<Vec<_>>());
    let of = |same: bool| pairs.iter().filter(move |pair| pair.same == same).map(|pair| pair.similarity);
    [of(true).fold(1.0, f32::min), of(false).fold(-1.0, f32::max)]
}

fn compare(items: &[&Item]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (place, one) in items.iter().enumerate() {
        for other in &items[place + 1..] {
            let similarity = cosine(&one.embedding, &other.embedding);
            pairs.push(Pair { similarity, same: one.identity == other.identity });
        }
    }
    pairs
}

/// Pairs of one person, and of two.
fn counts(pairs: &[Pair]) -> [usize; 2] {
    let same = pairs.iter().filter(|pair| pair.same).count();
    [same, pairs.len() - same]
}

/// Shares of accepted pairs of one person, and of two, at a threshold.
fn accepts(pairs: &[Pair], threshold: f32) -> (f64, f64) {
    let [same, different] = counts(pairs);
    let accepted = |wanted: bool| pairs.iter().filter(|pair| pair.same == wanted && pair.similarity >= threshold).count() as f64;
    (accepted(true) / same.max(1) as f64, accepted(false) / different.max(1) as f64)
}

/// Equal error rate, and the share that is found at 1 % and at 0.1 % false accepts; `None` without pairs of both kinds.
fn verify(pairs: &[Pair]) -> Option<[f64; 3]> {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|one, other| other.similarity.total_cmp(&one.similarity));
    let [same, different] = counts(pairs).map(|count| count as f64);
    if same == 0.0 || different == 0.0 {
        return None;
    }
    let (mut found, mut wrong, mut equal, mut at) = (0.0, 0.0, 1.0f64, [0.0; 2]);
    for (place, pair) in sorted.iter().enumerate() {
        if pair.same {
            found += 1.0
        } else {
            wrong += 1.0
        }
        let tied = sorted.get(place + 1).is_some_and(|next| next.similarity == pair.similarity);
        if tied {
            continue;
        }
        let (missed, accepted) = (1.0 - found / same, wrong / different);
        equal = equal.min(missed.max(accepted));
        for (share, limit) in at.iter_mut().zip([0.01, 0.001]) {
            if accepted <= limit {
                *share = found / same;
            }
        }
    }
    Some([equal, at[0], at[1]])
}

fn balanced(pairs: &[Pair], threshold: f32) -> f64 {
    let (found, wrong) = accepts(pairs, threshold);
    (found + 1.0 - wrong) / 2.0
}

fn by_identity<'a>(items: &[&'a Item]) -> Vec<Vec<&'a Item>> {
    let mut groups: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
    items.iter().for_each(|item| groups.entry(&item.identity).or_default().push(item));
    groups.into_values().collect()
}

/// 95 % of the balanced accuracy when identities are resampled.
fn interval(items: &[&Item], threshold: f32) -> [f64; 2] {
    let groups = by_identity(items);
    let mut stream = SeededStream::new(7).derive("bootstrap");
    let mut values: Vec<f64> = (0..1000)
        .map(|_| {
            let drawn: Vec<usize> = (0..groups.len()).map(|_| stream.below(groups.len())).collect();
            let (mut found, mut same, mut wrong, mut different) = (0.0, 0.0, 0.0, 0.0);
            for (place, &one) in drawn.iter().enumerate() {
                for (number, first) in groups[one].iter().enumerate() {
                    for second in &groups[one][number + 1..] {
                        same += 1.0;
                        found += f64::from(cosine(&first.embedding, &second.embedding) >= threshold);
                    }
                    for &other in drawn[place + 1..].iter().filter(|&&other| other != one) {
                        for second in &groups[other] {
                            different += 1.0;
                            wrong += f64::from(cosine(&first.embedding, &second.embedding) >= threshold);
                        }
                    }
                }
            }
            (found / f64::max(same, 1.0) + 1.0 - wrong / f64::max(different, 1.0)) / 2.0
        })
        .collect();
    values.sort_by(f64::total_cmp);
    [values[25], values[974]]
}

/// The middle of the thresholds with the greatest balanced accuracy: their ends depend on single pairs.
fn best_threshold(pairs: &[Pair]) -> f32 {
    let thresholds = (200..1000).map(|threshold| threshold as f32 / 1000.0);
    let values: Vec<(f32, f64)> = thresholds.map(|threshold| (threshold, balanced(pairs, threshold))).collect();
    let best = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let equal: Vec<f32> = values.iter().filter(|(_, value)| *value >= best - 1e-9).map(|(threshold, _)| *threshold).collect();
    equal.iter().sum::<f32>() / equal.len().max(1) as f32
}

/// The threshold that is best for half of the identities, tested on the other half: the mean of 300 splits and the interval that holds 95 % of them.
fn split(items: &[&Item]) -> [f64; 3] {
    let groups = by_identity(items);
    let mut stream = SeededStream::new(7).derive("split");
    let mut values: Vec<f64> = (0..300)
        .map(|_| {
            let first: BTreeSet<usize> = stream.sample(groups.len(), groups.len() / 2).into_iter().collect();
            let half = |wanted: bool| -> Vec<Pair> {
                let chosen = (0..groups.len()).filter(|group| first.contains(group) == wanted);
                compare(&chosen.flat_map(|group| groups[group].iter().copied()).collect::<Vec<_>>())
            };
            balanced(&half(false), best_threshold(&half(true)))
        })
        .collect();
    values.sort_by(f64::total_cmp);
    [values.iter().sum::<f64>() / values.len() as f64, values[7], values[292]]
}

/// A calibration of these items. The probability is a logistic curve whose middle is the best threshold. Yes begins where
/// a stranger is taken for one of the enrolled people once in a thousand looks: for a hundred people that is once in a hundred
/// thousand comparisons, which no folder holds. The tail is extrapolated: above the most similar hundredth of strangers,
/// similarities are taken to fall off exponentially, with the mean excess that they have there.
fn fit(embedder: String, items: &[&Item], pairs: &[Pair]) -> Calibration {
    let (midpoint, slope) = (best_threshold(pairs), slope(pairs));
    let (hundredth, excess) = tail(pairs);
    // Strangers in clips of one room are more alike than those in pictures: what is certain must hold for them too.
    let room = extremes(items, true)[1];
    // Exceedances of the hundredth fall off exponentially: one in 100 k pairs is ln(k) mean excesses above.
    let rarer = |times: f32| hundredth + excess * times.ln();
    let certain = [1, 10, 64, 1000].map(|people| (people, rarer(10.0 * people as f32).max(midpoint + 0.02).max(room).min(0.99)));
    let possible = (midpoint - 2.2 / slope).min(certain[0].1 - 0.02);
    let round = |value: f32| (value * 1000.0).round() / 1000.0;
    Calibration {
        embedder,
        midpoint: round(midpoint),
        slope: round(slope),
        possible: round(possible),
        certain: certain.map(|(people, similarity)| (people, round(similarity))).into(),
    }
}

/// The slope of the logistic curve through the similarities, both kinds of pairs weighing the same, found by Newton's method with a little shrinkage, because pairs
/// that can be separated have no steepest curve.
fn slope(pairs: &[Pair]) -> f32 {
    let [same, different] = counts(pairs).map(|count| count.max(1) as f64);
    let (mut slope, mut offset) = (20.0f64, -10.0f64);
    for _ in 0..200 {
        let (mut gradient, mut hessian) = ([0.0f64; 2], [0.0f64; 3]);
        for pair in pairs {
            let (x, weight) = (f64::from(pair.similarity), if pair.same { 0.5 / same } else { 0.5 / different });
            let p = 1.0 / (1.0 + (-(slope * x + offset)).exp());
            let (error, curve) = (p - f64::from(pair.same), p * (1.0 - p));
            gradient[0] += weight * error * x;
            gradient[1] += weight * error;
            hessian[0] += weight * curve * x * x;
            hessian[1] += weight * curve * x;
            hessian[2] += weight * curve;
        }
        const SHRINKAGE: f64 = 2e-6;
        gradient[0] += SHRINKAGE * slope;
        hessian[0] += SHRINKAGE + 1e-12;
        hessian[2] += 1e-9;
        let determinant = hessian[0] * hessian[2] - hessian[1] * hessian[1];
        let step = [
            (hessian[2] * gradient[0] - hessian[1] * gradient[1]) / determinant,
            (hessian[0] * gradient[1] - hessian[1] * gradient[0]) / determinant,
        ];
        let scale = (5.0 / step[0].abs().max(1e-9)).min(1.0);
        slope -= scale * step[0];
        offset -= scale * step[1];
    }
    slope as f32
}
