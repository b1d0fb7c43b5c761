//! Clips from generators: of the person, and of strangers by the same programs in the same scenes and proportions.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use image::{RgbImage, imageops};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::{
    ClipRecord, Dropped, Generated, GeneratorUsed, Half, Making, Recipe, Request, Stage,
    assets::Square,
    blind::Features,
    casting::HalfStage,
    compose::untouched,
    cosine,
    footage::Someone,
    maker::Maker,
    manifest::{MAKING_VERSION, Outcome},
    plan::share,
    quality,
    source::{Bound, LOOK_RATE, Source, hash, hash_file, look, read},
    workers::{Monitor, in_parallel},
};
use crate::{
    Error, Result,
    generator::{
        Fault, Generator, Kind, Order, Provenance, Shape,
        prompts::{self, AgeBand, Gender, NEGATIVE, Prompt},
        still,
    },
};

/// How often a clip is generated at most if the identity gate refuses it: a generator is slow.
const ATTEMPTS: usize = 3;
/// One in this many animated portraits is the best look at the person, the others are stills where something makes stills: one
/// look and a picture of each of six scenes, as published.
const SOURCES: usize = 7;
/// Pictures of a person that a generator gets, at most, and how far apart in seconds they are at least.
const REFERENCES: usize = 3;
const APART: f64 = 0.5;
/// The least side of such a picture and of a still in pixels, and how much larger than the face it is.
const REFERENCE_SIDE: u32 = 512;
const AROUND_FACE: f32 = 2.4;
/// The longest side of the frames that they are cut from.
const READ_SIDE: u32 = 1920;
/// The first seconds of a generated clip that are looked at.
const LOOKED_AT: f64 = 20.0;
/// Where generated files are kept.
const STAGE: &str = "generated";

/// The generators of a dataset, and what their prompts may say of the person.
#[derive(Clone, Copy, Debug, Default)]
pub struct Generators<'a> {
    /// The generators; those of stills serve those that animate portraits.
    pub list: &'a [Generator],
    /// The person's age, if prompts may name it and take its scenes.
    pub age: Option<AgeBand>,
    /// The person's gender, if prompts may name it and take its scenes.
    pub gender: Option<Gender>,
}

impl Generators<'_> {
    /// Checks that the generators fit together and leave clips to be made otherwise, at least one of each kind.
    pub(super) fn check(&self, positives: usize) -> Result<()> {
        let refuse = |problem: String| Err(Error::Generators { problem });
        let has = |kind: Kind| self.list.iter().any(|generator| generator.description().kind == kind);
        if has(Kind::PortraitStills) && !has(Kind::PortraitAnimation) {
            return refuse("stills are no clips; give a generator of kind portrait_animation too, which animates them".into());
        }
        for (place, generator) in self.list.iter().enumerate() {
            let name = &generator.description().name;
            if self.list[..place].iter().any(|other| other.description().name == *name) {
                return refuse(format!("two generators are called {name}; give one of them another name"));
            }
        }
        let clips: usize = self.list.iter().map(|generator| generator.description().clips()).sum();
        if clips >= positives && !self.list.is_empty() {
            return refuse(format!(
                "generators are to make {clips} clips of the person, {positives} are wanted in all; lower `clips` in their \
                 descriptions, or raise the number of positives"
            ));
        }
        Ok(())
    }
}

/// What generators made that is part of the dataset.
#[derive(Default)]
pub(super) struct FromGenerators {
    pub(super) clips: Vec<(ClipRecord, Features)>,
    pub(super) dropped: Vec<Dropped>,
    pub(super) used: Vec<GeneratorUsed>,
}

impl FromGenerators {
    /// Clips with the person, and of others.
    pub(super) fn counts(&self) -> [usize; 2] {
        [0, 1].map(|kind| self.used.iter().map(|used| used.used[kind]).sum())
    }
}

/// A clip that is to be generated.
#[derive(Clone, Copy)]
struct Item {
    /// Whom of the cast it is to show.
    who: usize,
    positive: bool,
    hard: bool,
    /// Which of the scenes of this generator.
    scene: usize,
    /// The number among the clips of its kind.
    number: usize,
}

/// A file that a generator made, in half-done work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    provenance: Provenance,
    /// The file's name in the folder of the stage, its SHA-256.
    sha256: String,
}

/// One file that is wanted of a generator, in full.
struct Task {
    who: usize,
    noun: String,
    prompt: String,
    seed: u64,
    driving: Option<PathBuf>,
    /// The still that is animated, in place of looks at the person.
    still: Option<(Product, Generated)>,
}

/// Has clips generated and judged.
pub(super) struct Studio<'a> {
    pub(super) maker: &'a Maker<'a>,
    pub(super) request: &'a Request<'a>,
    pub(super) stage: &'a HalfStage,
    pub(super) cast: &'a [Someone],
    pub(super) stream: SeededStream,
    pub(super) monitor: &'a Monitor<'a>,
}

impl Studio<'_> {
    /// Runs all generators.
    pub(super) fn make(&self) -> Result<FromGenerators> {
        let (generators, options) = (&self.request.generators, self.request.options);
        let mut all = FromGenerators::default();
        let clips: Vec<&Generator> =
            generators.list.iter().filter(|generator| generator.description().kind != Kind::PortraitStills).collect();
        if clips.is_empty() {
            return Ok(all);
        }
        let items: Vec<Vec<Item>> = clips.iter().map(|generator| self.items(generator)).collect();
        let others: usize = items.iter().flatten().filter(|item| !item.positive).count();
        if others >= options.negatives {
            return Err(Error::Generators {
                problem: format!(
                    "in the same proportion generators are to make {others} clips of others, {} are wanted in all; raise the number \
                     of negatives, or lower `clips` in their descriptions",
                    options.negatives
                ),
            });
        }
        let total = items.iter().map(Vec::len).sum();
        self.monitor.begin(Stage::Generating, total)?;
        for (generator, items) in clips.into_iter().zip(items) {
            self.of_one(generator, items, total, &mut all)?;
        }
        Ok(all)
    }

    /// The clips of the person and of others that a generator is to make. Both have the same scenes equally often.
    fn items(&self, generator: &Generator) -> Vec<Item> {
        let (options, stock) = (self.request.options, &self.stage.stock);
        // Generators make clips for datasets of one person.
        let figures = self.stage.people.first().map(|person| person.figures.as_slice()).unwrap_or_default();
        let count = generator.description().clips();
        let others = share(options.negatives, count, options.positives).max(1);
        let similar = share(others, options.hard.min(options.negatives), options.negatives);
        let mut items: Vec<Item> = (0..count)
            .filter_map(|number| {
                let who = *figures.get(number % figures.len().max(1))?;
                Some(Item { who, positive: true, hard: false, scene: number, number })
            })
            .collect();
        let mut strangers: Vec<(usize, bool)> = Vec::with_capacity(others);
        for number in 0..others {
            let from_hard = (number < similar && !stock.hard.is_empty()) || stock.random.is_empty();
            let (pool, place) = if from_hard { (&stock.hard, number) } else { (&stock.random, number.saturating_sub(similar)) };
            strangers.extend(pool.get(place % pool.len().max(1)).map(|&who| (who, from_hard)));
        }
        // Who is in which scene does not follow from the similarity.
        self.stream.derive(format!("strangers {}", generator.description().name)).shuffle(&mut strangers);
        items.extend(strangers.into_iter().enumerate().map(|(number, (who, hard))| Item {
            who,
            positive: false,
            hard,
            scene: number % count.max(1),
            number,
        }));
        items
    }

    /// Makes the clips of one generator, again if the gate refuses them, and keeps the same proportion of both kinds.
    fn of_one(&self, generator: &Generator, items: Vec<Item>, total: usize, all: &mut FromGenerators) -> Result<()> {
        let (description, stream) = (generator.description(), self.stream.derive(&generator.description().name));
        let generators = &self.request.generators;
        let (ours, theirs) =
            (prompts::of(generators.age, generators.gender), prompts::of_strangers(generators.age, generators.gender));
        let scenes = prompts::choose(ours.len(), description.clips(), &stream);
        let asked = [true, false].map(|positive| items.iter().filter(|item| item.positive == positive).count());
        let mut kept: [Vec<(ClipRecord, Features)>; 2] = Default::default();
        let mut open = items;
        for attempt in 0..ATTEMPTS {
            if open.is_empty() {
                break;
            }
            let scene = |item: &Item| -> Prompt {
                let of = if item.positive { &ours } else { &theirs };
                scenes.get(item.scene).and_then(|&scene| of.get(scene)).cloned().unwrap_or_else(|| Prompt {
                    text: String::new(),
                    noun: "person".into(),
                    theme: String::new(),
                    place: String::new(),
                    activity: String::new(),
                })
            };
            let tasks = self.tasks(generator, &open, &stream.derive(attempt), &scene, total)?;
            let products = self.products(generator, &tasks, total)?;
            let numbers: Vec<usize> = (0..open.len()).collect();
            let judged = in_parallel(&numbers, self.request.threads, |&place| {
                let made = self.judged(generator, &open[place], &tasks[place], &products[place], attempt)?;
                if made.is_ok() || attempt + 1 == ATTEMPTS {
                    self.monitor.step(Stage::Generating, total)?;
                }
                Ok(made)
            })?;
            let mut refused = Vec::new();
            for (item, judged) in open.iter().zip(judged) {
                match judged {
                    Ok(clip) => kept[usize::from(!item.positive)].push(clip),
                    Err(dropped) => {
                        all.dropped.push(dropped);
                        refused.push(*item);
                    }
                }
            }
            open = refused;
        }
        let passed = [kept[0].len(), kept[1].len()];
        let used = balanced(asked, passed);
        for (mut clips, count) in kept.into_iter().zip(used) {
            clips.truncate(count);
            all.clips.extend(clips);
        }
        all.used.push(GeneratorUsed { name: description.name.clone(), kind: description.kind, asked, passed, used });
        Ok(())
    }

    /// What is asked of a generator for each item. Stills that it animates are generated first.
    fn tasks(
        &self,
        generator: &Generator,
        items: &[Item],
        stream: &SeededStream,
        scene: &dyn Fn(&Item) -> Prompt,
        total: usize,
    ) -> Result<Vec<Task>> {
        // Programs take signed numbers of 32 bits.
        let seed = |item: &Item, what: &str| {
            stream.derive(format!("{what} {} {}", item.positive, item.number)).next_seed() & 0x7fff_ffff
        };
        let animates = generator.description().kind == Kind::PortraitAnimation;
        let driving = generator.driving();
        let makers: Vec<&Generator> = match animates {
            true => {
                self.request.generators.list.iter().filter(|maker| maker.description().kind == Kind::PortraitStills).collect()
            }
            false => Vec::new(),
        };
        let mut stills: BTreeMap<usize, (Product, Generated)> = BTreeMap::new();
        for (number, maker) in makers.iter().enumerate() {
            let places: Vec<usize> = (0..items.len())
                .filter(|&place| {
                    let scene = items[place].scene % SOURCES;
                    scene != 0 && (scene - 1) % makers.len() == number
                })
                .collect();
            let wanted: Vec<Task> = places
                .iter()
                .map(|&place| {
                    let (item, prompt) = (&items[place], scene(&items[place]));
                    let seed = seed(item, "still");
                    Task { who: item.who, noun: prompt.noun, prompt: prompt.text, seed, driving: None, still: None }
                })
                .collect();
            for ((place, task), product) in places.iter().zip(&wanted).zip(self.products(maker, &wanted, total)?) {
                let generated = generated(maker, task, &product);
                stills.insert(*place, (product, generated));
            }
        }
        let task = |(place, item): (usize, &Item)| {
            let prompt = scene(item);
            Task {
                who: item.who,
                noun: prompt.noun,
                // An animation has its movements from a clip and nothing from words.
                prompt: if animates { String::new() } else { prompt.text },
                seed: seed(item, "clip"),
                driving: (!driving.is_empty()).then(|| driving[item.scene % driving.len()].clone()),
                still: stills.remove(&place),
            }
        };
        Ok(items.iter().enumerate().map(task).collect())
    }

    /// The files of tasks: those of an earlier run, and those that the generator makes now.
    fn products(&self, generator: &Generator, tasks: &[Task], total: usize) -> Result<Vec<Product>> {
        let (store, options) = (self.maker.footage.store, self.request.options);
        let is_still = generator.description().kind == Kind::PortraitStills;
        let side = if is_still { self.reference_side() } else { options.size };
        let shape = Shape { size: [side; 2], seconds: options.seconds(), fps: f64::from(options.rate) };
        let keys = tasks.iter().map(|task| self.key(generator, task, &shape)).collect::<Result<Vec<String>>>()?;
        let mut products: Vec<Option<Product>> = keys
            .iter()
            .map(|key| {
                let known: Product = store.known(STAGE, key)?;
                let file = store.file(STAGE, &known.sha256);
                hash_file(&file).is_ok_and(|(found, _)| found == known.sha256).then_some(known)
            })
            .collect();
        let missing: Vec<usize> = (0..tasks.len()).filter(|&place| products[place].is_none()).collect();
        for batch in missing.chunks(generator.description().batch) {
            let mut pictures: Vec<Vec<RgbImage>> = Vec::with_capacity(batch.len());
            for &place in batch {
                pictures.push(self.pictures(generator, &tasks[place])?);
            }
            let orders: Vec<Order<'_>> = batch
                .iter()
                .zip(&pictures)
                .map(|(&place, references)| {
                    let Task { noun, prompt, seed, driving, .. } = &tasks[place];
                    Order { references, noun, prompt, negative_prompt: NEGATIVE, seed: *seed, driving: driving.as_deref() }
                })
                .collect();
            let mut go_on = || self.monitor.wait(Stage::Generating, total);
            let run = generator.run(&orders, &shape, &store.running(), &mut go_on)?;
            for (&place, file) in batch.iter().zip(&run.files) {
                let bytes = fs::read(file).map_err(|source| Error::Io { path: file.clone(), source })?;
                let product = Product { provenance: run.provenance.clone(), sha256: hash(&bytes) };
                let kept = store.file(STAGE, &product.sha256);
                let folder = kept.parent().map(Path::to_path_buf).unwrap_or_default();
                fs::create_dir_all(&folder).map_err(|source| Error::Io { path: folder, source })?;
                pvchat_data::file::write_atomically(&kept, &bytes)?;
                products[place] = Some(store.put(STAGE, &keys[place], &product)?);
            }
        }
        Ok(products.into_iter().flatten().collect())
    }

    /// Everything that a file of a generator follows from.
    fn key(&self, generator: &Generator, task: &Task, shape: &Shape) -> Result<String> {
        let of = match &task.still {
            Some((still, _)) => still.sha256.clone(),
            None => self.maker.footage.figure_key(&self.cast[task.who]),
        };
        let driving = task.driving.as_deref().map(hash_file).transpose()?.map(|(sha256, _)| sha256);
        let Shape { size, seconds, fps } = shape;
        let followed = (MAKING_VERSION, generator.identity(), of, &task.noun, &task.prompt, NEGATIVE, task.seed, driving);
        let text = serde_json::to_string(&(followed, size, seconds, fps)).map_err(|error| Error::Eyes(error.into()))?;
        Ok(format!("generated {text}"))
    }

    /// The pictures for a task: the still, or the best looks at the person.
    fn pictures(&self, generator: &Generator, task: &Task) -> Result<Vec<RgbImage>> {
        let Some((product, made)) = &task.still else { return self.looks(&self.cast[task.who]) };
        let picture = still(&self.maker.footage.store.file(STAGE, &product.sha256));
        picture.map(|picture| vec![picture]).map_err(|problem| {
            generator.blame(Fault::Unreadable { path: format!("a still of {}", made.generator), problem }, String::new())
        })
    }

    fn reference_side(&self) -> u32 {
        REFERENCE_SIDE.max(self.request.options.size)
    }

    /// The best looks at somebody, the best first: squares around the face, with head and shoulders.
    fn looks(&self, who: &Someone) -> Result<Vec<RgbImage>> {
        let (source, look) = (&self.maker.footage.sources[who.source], &self.maker.footage.looks[who.source]);
        let (Some(person), Some(measured)) = (look.people.get(who.person), look.measured.get(who.person)) else {
            return Err(Error::NoFrames { clip: source.name.clone() });
        };
        let mut scored: Vec<(f32, f64, [f32; 4])> = Vec::new();
        for (face, measured) in person.faces.iter().zip(measured) {
            let Some(&seconds) = look.seconds.get(face.frame) else { continue };
            if (who.span[0]..=who.span[1]).contains(&seconds) {
                let verdict = quality::judge(face, measured, seconds);
                // One that the filter refuses is better than none.
                let malus = if verdict.reasons.is_empty() { 0.0 } else { 100.0 };
                scored.push((verdict.score - malus, seconds, face.bounds));
            }
        }
        scored.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.total_cmp(&other.1)));
        let mut chosen: Vec<(f64, [f32; 4])> = Vec::new();
        for (_, seconds, bounds) in scored {
            if chosen.len() < REFERENCES && chosen.iter().all(|(other, _)| (other - seconds).abs() >= APART) {
                chosen.push((seconds, bounds));
            }
        }
        let first = chosen.iter().map(|(seconds, _)| *seconds).fold(f64::INFINITY, f64::min);
        let last = chosen.iter().map(|(seconds, _)| *seconds).fold(0.0, f64::max);
        let mut pictures: Vec<Option<RgbImage>> = vec![None; chosen.len()];
        read(&source.path, LOOK_RATE, [first, last], Bound::Longest(READ_SIDE), |frame, seconds| {
            if let Some(place) = chosen.iter().position(|(wanted, _)| *wanted == seconds) {
                let scale = frame.width() as f32 / look.size[0].max(1) as f32;
                pictures[place] = Some(portrait(&frame, chosen[place].1.map(|edge| edge * scale), self.reference_side()));
            }
            Ok(())
        })?;
        let pictures: Vec<RgbImage> = pictures.into_iter().flatten().collect();
        if pictures.is_empty() {
            return Err(Error::NoFrames { clip: source.name.clone() });
        }
        Ok(pictures)
    }

    /// Crops and compresses a generated clip like any other, and has the gate judge it.
    fn judged(
        &self,
        generator: &Generator,
        item: &Item,
        task: &Task,
        product: &Product,
        attempt: usize,
    ) -> Result<std::result::Result<(ClipRecord, Features), Dropped>> {
        let (footage, options) = (self.maker.footage, self.request.options);
        let who = &self.cast[item.who];
        let name = &generator.description().name;
        let stream = self.stream.derive(format!("{name} {} {} {attempt}", item.positive, item.number));
        let recipe = Recipe::draw(&stream).untouched();
        let present = if item.positive { vec![0] } else { Vec::new() };
        let mut drawing = self.maker.drawing(&[who], present, Half::Train, &recipe);
        drawing.making = Making::Generated;
        drawing.figure = format!("{} {:?}", product.sha256, footage.sizes());
        let file = footage.store.file(STAGE, &product.sha256);
        let kept = self.maker.keep(&drawing, || {
            let source = Source { name: name.clone(), path: file.clone(), sha256: product.sha256.clone(), bytes: 0 };
            let look = look(&file, [0.0, LOOKED_AT], footage.eyes)?;
            let alike = |person: usize| {
                look.people[person].embedding.as_deref().map_or(-1.0, |embedding| cosine(embedding, &who.embedding))
            };
            let person = (0..look.people.len()).max_by(|&one, &other| alike(one).total_cmp(&alike(other)));
            let end = look.seconds.last().copied().unwrap_or(0.0).max(options.seconds());
            let square = self.maker.timed(|| Square::read(&source, &look, person, [0.0, end], footage.sizes()))?;
            if square.frames.is_empty() {
                return Err(Error::NoFrames { clip: format!("a clip of {name}") });
            }
            Ok(Ok((self.maker.timed(|| untouched(&square, recipe.start, footage.sizes(), options.frames)), None)))
        })?;
        let figure = footage.sources[who.source].name.clone();
        let place = format!("generated by {name}");
        if kept.outcome.judged.refused.is_some() {
            let Outcome { judged, picture, .. } = kept.outcome;
            let (half, making) = (Half::Train, Making::Generated);
            return Ok(Err(Dropped {
                half,
                positive: item.positive,
                present: Vec::new(),
                making,
                figure,
                place,
                attempt,
                judged,
                picture,
            }));
        }
        let (mut record, features) = kept.record(&drawing, item.hard, (figure, who.span), place, attempt);
        record.generated = Some(generated(generator, task, product));
        Ok(Ok((record, features)))
    }
}

/// How many clips of the person and of others are used: of both the share of which the fewer passed.
fn balanced(asked: [usize; 2], passed: [usize; 2]) -> [usize; 2] {
    let share = |kind: usize| passed[kind] as f64 / asked[kind].max(1) as f64;
    let both = share(0).min(share(1));
    [0, 1].map(|kind| ((both * asked[kind] as f64).round() as usize).min(passed[kind]))
}

/// What a file was generated of, for the manifest.
fn generated(generator: &Generator, task: &Task, product: &Product) -> Generated {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Generated {
        generator: generator.description().name.clone(),
        provenance: product.provenance.clone(),
        prompt: task.prompt.clone(),
        negative_prompt: NEGATIVE.into(),
        seed: task.seed,
        driving: task.driving.as_deref().map(name),
        still: task.still.as_ref().map(|(_, still)| Box::new(still.clone())),
    }
}

/// A square around a face, a little more of it below than above, in this size.
fn portrait(frame: &RgbImage, [left, top, right, bottom]: [f32; 4], side: u32) -> RgbImage {
    let (width, height) = frame.dimensions();
    let around = AROUND_FACE * (right - left).max(bottom - top);
    let cut = (around.max(16.0) as u32).min(width).min(height).max(1);
    let begin = |middle: f32, share: f32, most: u32| (middle - share * cut as f32).clamp(0.0, (most - cut) as f32) as u32;
    let (x, y) = (begin((left + right) / 2.0, 0.5, width), begin((top + bottom) / 2.0, 0.45, height));
    let part = imageops::crop_imm(frame, x, y, cut, cut).to_image();
    imageops::resize(&part, side, side, imageops::FilterType::CatmullRom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_keep_the_same_share_of_what_was_asked_for() {
        assert_eq!(balanced([10, 40], [10, 40]), [10, 40]);
        assert_eq!(balanced([10, 40], [5, 40]), [5, 20]);
        assert_eq!(balanced([10, 40], [10, 12]), [3, 12]);
        assert_eq!(balanced([10, 40], [0, 40]), [0, 0]);
    }

    #[test]
    fn a_portrait_has_the_face_in_it_and_stays_in_the_frame() {
        let frame = RgbImage::from_fn(100, 60, |x, y| image::Rgb([if x < 20 && y < 20 { 255 } else { 0 }, 0, 0]));
        let picture = portrait(&frame, [0.0, 0.0, 20.0, 20.0], 64);
        assert_eq!(picture.dimensions(), (64, 64));
        assert!(picture.get_pixel(4, 4).0[0] > 200 && picture.get_pixel(60, 60).0[0] < 20);
        assert_eq!(portrait(&frame, [90.0, 50.0, 130.0, 90.0], 32).dimensions(), (32, 32));
    }
}
