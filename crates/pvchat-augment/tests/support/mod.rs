//! Footage of drawn people, the eyes that see them by their colour, and datasets made of it.
//!
//! A head has a strong colour whose hue is who it is, a body a weak one, a place none.
#![allow(dead_code)] // each test target uses its own part

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
};

use image::{GrayImage, Luma, Rgb, RgbImage};
use pvchat_augment::{
    Error, Failure,
    filmed::{
        DatasetOptions, Describe, Eyes, FaceSeen, Generators, Made, ModelUsed, PersonClip, PersonSeen, Progress, Request,
        ShownClip, Thresholds, make,
    },
    generator::Generator,
};
use pvchat_data::{QaKind, SubjectName};
use pvchat_video::{Quality, VideoWriter};

pub const SIZE: [u32; 2] = [192, 144];
pub const RATE: f64 = 8.0;

/// Hue in degrees and saturation, 0 to 1.
pub fn hue(pixel: [u8; 3]) -> (f32, f32, f32) {
    let [red, green, blue] = pixel.map(f32::from);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = most - least;
    if range < 1.0 {
        return (0.0, 0.0, most);
    }
    let sextant = if most == red {
        ((green - blue) / range).rem_euclid(6.0)
    } else if most == green {
        (blue - red) / range + 2.0
    } else {
        (red - green) / range + 4.0
    };
    (60.0 * sextant, range / most, most)
}

pub fn colour(degrees: f32, saturation: f32, value: f32) -> Rgb<u8> {
    let channel = |turn: f32| {
        let place = (turn + degrees / 60.0).rem_euclid(6.0);
        (value * (1.0 - saturation * place.min(4.0 - place).clamp(0.0, 1.0))) as u8
    };
    Rgb([channel(5.0), channel(3.0), channel(1.0)])
}

/// Turns of the colours of places: nothing that the eyes take for a person.
pub fn wall(place: u32, x: u32, y: u32) -> Rgb<u8> {
    let stripes = match place % 4 {
        0 => (x / (6 + place)) % 2,
        1 => (y / (5 + place)) % 2,
        2 => ((x + y) / (7 + place)) % 2,
        _ => (x / 9 + y / (6 + place)) % 2,
    };
    let level = 60 + 17 * (place % 8) as u8 + if stripes == 0 { 30 } else { 0 };
    Rgb([level, level, level.saturating_add(4)])
}

/// Somebody who walks to and fro, or nobody.
pub fn film(path: &Path, who: Option<f32>, place: u32, frames: usize) {
    film_parts(path, &[(who, place, frames)]);
}

/// One after another: who, where, and for how many frames.
pub fn film_parts(path: &Path, parts: &[(Option<f32>, u32, usize)]) {
    let mut writer = VideoWriter::create(path, SIZE[0], SIZE[1], RATE, Quality::RateFactor(14)).unwrap();
    let frames = parts.iter().flat_map(|&(who, place, frames)| (0..frames).map(move |frame| (who, place, frame)));
    for (who, place, frame) in frames {
        let middle = 96.0 + 26.0 * (frame as f32 / 7.0 + place as f32).sin();
        let picture = RgbImage::from_fn(SIZE[0], SIZE[1], |x, y| {
            let (across, down) = (x as f32 - middle, y as f32 - 50.0);
            let Some(degrees) = who else { return wall(place, x, y) };
            if (across / 15.0).powi(2) + (down / 19.0).powi(2) <= 1.0 {
                // Eyes and mouth, so that a head is not of one piece.
                let dark =
                    (down.abs() < 3.0 && (across.abs() - 6.0).abs() < 2.0) || ((down - 10.0).abs() < 1.5 && across.abs() < 5.0);
                colour(degrees, 0.85, if dark { 150.0 } else { 230.0 })
            } else if down > 17.0 && across.abs() < if down < 30.0 { 8.0 } else { 14.0 + 0.3 * down } {
                colour(degrees + 180.0, 0.42, 150.0 + 5.0 * (place % 5) as f32)
            } else {
                wall(place, x, y)
            }
        });
        writer.write(&picture).unwrap();
    }
    writer.finish().unwrap();
}

/// Hues that are nearly equal are nearly parallel, and 40 degrees apart is somebody else.
pub fn embedding(degrees: f32) -> Vec<f32> {
    let waves = (1..=4).flat_map(|wave| {
        let angle = (wave as f32 * degrees).to_radians();
        [angle.cos(), angle.sin()]
    });
    waves.map(|value| value / 2.0).collect()
}

/// See heads by their colour.
pub struct ByColour;

impl ByColour {
    /// The heads in a picture from left to right, those of people side by side with some columns between.
    fn heads(picture: &RgbImage) -> Vec<([f32; 4], f32)> {
        let mut inside: Vec<(u32, u32, f32)> = picture
            .enumerate_pixels()
            .filter_map(|(x, y, pixel)| {
                let (degrees, saturation, value) = hue(pixel.0);
                (saturation > 0.6 && value > 90.0).then_some((x, y, degrees))
            })
            .collect();
        inside.sort_by_key(|at| (at.0, at.1));
        inside.chunk_by(|one, other| other.0 - one.0 <= 3).filter(|head| head.len() >= 60).map(Self::head).collect()
    }

    fn head(inside: &[(u32, u32, f32)]) -> ([f32; 4], f32) {
        let sorted = |axis: fn(&(u32, u32, f32)) -> u32| {
            let mut values: Vec<u32> = inside.iter().map(axis).collect();
            values.sort_unstable();
            // Without what strays.
            (values[values.len() / 50] as f32, values[values.len() - 1 - values.len() / 50] as f32 + 1.0)
        };
        let ((left, right), (top, bottom)) = (sorted(|at| at.0), sorted(|at| at.1));
        let (mut x, mut y) = (0.0, 0.0);
        inside.iter().for_each(|(_, _, degrees)| {
            x += degrees.to_radians().cos();
            y += degrees.to_radians().sin();
        });
        ([left, top, right, bottom], y.atan2(x).to_degrees().rem_euclid(360.0))
    }
}

impl Eyes for ByColour {
    fn people(&self, frames: &[RgbImage], _: &[f64]) -> Result<Vec<PersonSeen>, Failure> {
        let mut people: Vec<(f32, Vec<FaceSeen>)> = Vec::new();
        let heads = frames
            .iter()
            .enumerate()
            .flat_map(|(frame, picture)| Self::heads(picture).into_iter().map(move |head| (frame, head)));
        for (frame, (bounds, degrees)) in heads {
            let (across, down) = (bounds[2] - bounds[0], bounds[3] - bounds[1]);
            let at = |x: f32, y: f32| [bounds[0] + x * across, bounds[1] + y * down];
            let small = across < 14.0;
            let face = FaceSeen {
                frame,
                bounds,
                points: [at(0.3, 0.4), at(0.7, 0.4), at(0.5, 0.6), at(0.35, 0.8), at(0.65, 0.8)],
                visible: 1.0,
                flaws: if small { vec![format!("too small ({across:.0} pixels wide)")] } else { Vec::new() },
            };
            let near = |known: &&mut (f32, Vec<FaceSeen>)| {
                let apart = (known.0 - degrees).rem_euclid(360.0);
                apart.min(360.0 - apart) < 20.0
            };
            match people.iter_mut().find(near) {
                Some((_, faces)) => faces.push(face),
                None => people.push((degrees, vec![face])),
            }
        }
        let seen = |(degrees, faces): (f32, Vec<FaceSeen>)| {
            let is_good = faces.iter().any(|face| face.flaws.is_empty());
            PersonSeen { embedding: is_good.then(|| embedding(degrees)), faces }
        };
        Ok(people.into_iter().map(seen).collect())
    }

    fn matte(&self, picture: &RgbImage) -> Result<GrayImage, Failure> {
        Ok(GrayImage::from_fn(picture.width(), picture.height(), |x, y| {
            Luma([if hue(picture.get_pixel(x, y).0).1 > 0.2 { 255 } else { 0 }])
        }))
    }

    fn thresholds(&self) -> Thresholds {
        Thresholds { same: 0.8, other: 0.6 }
    }

    fn openness(&self, _: &RgbImage, _: &[[f32; 2]; 5]) -> Result<Option<f32>, Failure> {
        Ok(None)
    }

    fn models(&self) -> Vec<ModelUsed> {
        vec![ModelUsed { role: "sees colours".into(), id: "by-colour@1".into(), licence: "none".into() }]
    }

    fn eye_model(&self) -> Option<ModelUsed> {
        None
    }
}

pub struct World {
    pub folder: tempfile::TempDir,
}

/// Names the folder in which a child makes its dataset.
const CHILD: &str = "PVCHAT_FILMED_CHILD";

/// Says the same of the same clip.
pub struct Repeats;

/// A model of that name, as what describes says it is.
pub fn described_by(describe: &impl Describe) -> ModelUsed {
    ModelUsed { role: "describes people".into(), id: describe.name(), licence: "MIT".into() }
}

impl Describe for Repeats {
    fn name(&self) -> String {
        "repeats".into()
    }

    fn model(&self) -> ModelUsed {
        described_by(self)
    }

    fn describe(&mut self, clip: &ShownClip<'_>, kind: QaKind, _: &str, subject: &str) -> Result<Option<String>, Failure> {
        Ok(Some(format!("{subject} is the {kind} of {}.", clip.key)))
    }
}

/// The file of the generator that a child asks, where there is one; then the child describes clips, too.
pub const CHILDS_GENERATOR: &str = "text.json";

/// Makes a dataset in the folder that it is told, if this is the child of a test.
pub fn make_if_child() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let (name, template): (SubjectName, _) = ("Aa".parse().unwrap(), embedding(0.0));
    let (clip, corpus, out) = (folder.join("aa.mp4"), folder.join("corpus"), folder.join("killed"));
    let people = filmed_in(&name, &clip, &template);
    let file = folder.join(CHILDS_GENERATOR);
    let generators: Vec<Generator> = file.exists().then(|| Generator::open(&file).unwrap()).into_iter().collect();
    let mut repeats = Repeats;
    let describer = generators.first().map(|_| &mut repeats as &mut dyn Describe);
    let generators = Generators { list: &generators, age: None, gender: None };
    let request = Request { out: &out, threads: 2, generators, ..request(&people, &corpus) };
    make(&request, &ByColour, describer, &mut |_| ControlFlow::Continue(())).unwrap();
}

impl World {
    /// Somebody of hue 0 before the first wall, and strangers of other hues before others.
    pub fn new(strangers: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { folder };
        fs::create_dir(world.corpus()).unwrap();
        film(&world.clip(), Some(0.0), 0, 80);
        for stranger in 1..=strangers {
            film(&world.corpus().join(format!("s{stranger}.mp4")), Some(40.0 * stranger as f32), stranger, 40);
        }
        film(&world.corpus().join("empty.mp4"), None, strangers + 1, 40);
        world
    }

    pub fn clip(&self) -> PathBuf {
        self.folder.path().join("aa.mp4")
    }

    pub fn corpus(&self) -> PathBuf {
        self.folder.path().join("corpus")
    }

    pub fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn make_with(
        &self,
        out: &Path,
        options: &DatasetOptions,
        describer: Option<&mut dyn Describe>,
        observe: &mut (dyn FnMut(Progress) -> ControlFlow<()> + Send),
    ) -> Result<Made, Error> {
        self.make_from(out, options, Generators::default(), describer, observe)
    }

    pub fn make_from(
        &self,
        out: &Path,
        options: &DatasetOptions,
        generators: Generators<'_>,
        describer: Option<&mut dyn Describe>,
        observe: &mut (dyn FnMut(Progress) -> ControlFlow<()> + Send),
    ) -> Result<Made, Error> {
        let (name, template, clip, corpus): (SubjectName, _, _, _) =
            ("Aa".parse().unwrap(), embedding(0.0), self.clip(), self.corpus());
        let person = filmed_in(&name, &clip, &template);
        let request = Request { out, options, generators, ..request(&person, &corpus) };
        make(&request, &ByColour, describer, observe)
    }

    pub fn make(&self, name: &str, options: &DatasetOptions) -> Result<Made, Error> {
        self.make_with(&self.out(name), options, None, &mut |_| ControlFlow::Continue(()))
    }

    /// A process that makes the dataset `killed` in the test `a_child_makes_a_dataset` of the same program; with a limit, in blocks as
    /// the shell likes (512 or 1024 bytes), on the size of the files that it may write: what a full disk does.
    pub fn child(&self, limit: Option<u64>) -> Command {
        let program = std::env::current_exe().unwrap();
        let mut child = match limit {
            Some(blocks) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(program);
                shell
            }
            None => Command::new(program),
        };
        child.args(["--exact", "a_child_makes_a_dataset"]).env(CHILD, self.folder.path());
        child
    }

    /// A generator whose child is the test `a_child_generates`.
    pub fn generator(&self, name: &str, kind: &str, more: &[(&str, serde_json::Value)]) -> Generator {
        let list = format!("list={}", self.out("list").display());
        let mut description = serde_json::json!({
            "name": name,
            "command": [std::env::current_exe().unwrap(), "--exact", "a_child_generates", "--nocapture", list],
            "kind": kind,
            "seconds": 120,
        });
        more.iter().for_each(|(key, value)| description[*key] = value.clone());
        let file = self.out(&format!("{name}.json"));
        fs::write(&file, description.to_string()).unwrap();
        Generator::open(&file).unwrap()
    }
}

pub fn filmed_in<'a>(name: &'a SubjectName, clip: &'a Path, template: &'a [f32]) -> [PersonClip<'a>; 1] {
    [PersonClip { name, clip, from: 0.0, template }]
}

/// A request without index and refiner; where to and how much is up to the caller.
pub fn request<'a>(people: &'a [PersonClip<'a>], corpus: &'a Path) -> Request<'a> {
    static OPTIONS: std::sync::LazyLock<DatasetOptions> = std::sync::LazyLock::new(small);
    let out = Path::new("");
    let (options, generators) = (&*OPTIONS, Generators::default());
    Request { people, corpus: Some(corpus), known: None, out, options, refiner: None, generators, threads: 0 }
}

pub fn small() -> DatasetOptions {
    DatasetOptions {
        exchanged: 1,
        size: 96,
        frames: 6,
        positives: 8,
        negatives: 24,
        hard: 12,
        similar_people: 3,
        test_positives: 3,
        test_negatives: 5,
        ..DatasetOptions::default()
    }
}

/// Every file of a folder with its content.
pub fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut all, mut open) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(inside) = open.pop() {
        for entry in fs::read_dir(&inside).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                all.insert(path.strip_prefix(folder).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    all
}

pub fn same(one: &Path, other: &Path) {
    let (one, other) = (content(one), content(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    one.iter().for_each(|(name, bytes)| assert!(other[name] == *bytes, "{} differs", name.display()));
}
