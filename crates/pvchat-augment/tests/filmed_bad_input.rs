//! Bad input of datasets from footage: what is refused says why, and nothing half-written is left.

mod support;

use std::{ops::ControlFlow, path::Path};

use image::{GrayImage, RgbImage, imageops};
use pvchat_augment::{
    Error, Failure,
    filmed::{DatasetOptions, Eyes, FaceSeen, Half, ModelUsed, PersonClip, PersonSeen, Request, Stage, Thresholds, make},
};
use pvchat_data::SubjectName;
use pvchat_video::{Quality, VideoReader, VideoWriter};
use support::{ByColour, RATE, World, content, embedding, film, film_parts, filmed_in, request, same, small};

/// Sees as [`ByColour`] does, and then changes what was seen.
struct Changed<F>(F);

impl<F: Fn(&[RgbImage], &mut Vec<PersonSeen>) + Sync> Eyes for Changed<F> {
    fn people(&self, frames: &[RgbImage], seconds: &[f64]) -> Result<Vec<PersonSeen>, Failure> {
        let mut people = ByColour.people(frames, seconds)?;
        (self.0)(frames, &mut people);
        Ok(people)
    }

    fn matte(&self, picture: &RgbImage) -> Result<GrayImage, Failure> {
        ByColour.matte(picture)
    }

    fn thresholds(&self) -> Thresholds {
        ByColour.thresholds()
    }

    fn openness(&self, frame: &RgbImage, points: &[[f32; 2]; 5]) -> Result<Option<f32>, Failure> {
        ByColour.openness(frame, points)
    }

    fn models(&self) -> Vec<ModelUsed> {
        ByColour.models()
    }

    fn eye_model(&self) -> Option<ModelUsed> {
        None
    }
}

/// The error of a dataset of somebody of hue 0 in a clip.
fn refused(world: &World, clip: &Path, options: &DatasetOptions, eyes: &dyn Eyes) -> Error {
    let (name, template): (SubjectName, _) = ("Aa".parse().unwrap(), embedding(0.0));
    let (corpus, out) = (world.corpus(), world.out("refused"));
    let people = filmed_in(&name, clip, &template);
    let request = Request { out: &out, options, ..request(&people, &corpus) };
    make(&request, eyes, None, &mut |_| ControlFlow::Continue(())).unwrap_err()
}

/// What a reader would take for a dataset, and what was not renamed.
fn left(folder: &Path) -> Vec<String> {
    let names = content(folder).into_keys().map(|path| path.to_string_lossy().into_owned());
    let is_left = |name: &String| {
        let is_dataset = name.ends_with(".json") && !name.starts_with("work");
        is_dataset || name == "report.html" || name.contains(".tmp")
    };
    names.filter(is_left).collect()
}

/// A copy of a clip in which every frame is another.
fn changed(from: &Path, to: &Path, change: impl Fn(&RgbImage) -> RgbImage) {
    let mut reader = VideoReader::open(from).unwrap();
    let frames: Vec<RgbImage> = reader.frames().map(|frame| change(&frame.unwrap().image)).collect();
    let mut writer = VideoWriter::create(to, frames[0].width(), frames[0].height(), RATE, Quality::RateFactor(14)).unwrap();
    frames.iter().for_each(|frame| writer.write(frame).unwrap());
    writer.finish().unwrap();
}

#[test]
fn a_head_that_is_too_small_throughout_and_looks_that_are_all_blurred_are_refused_with_the_reason() {
    let world = World::new(3);
    let small_head = world.out("small.mp4");
    changed(&world.clip(), &small_head, |frame| imageops::thumbnail(frame, 80, 60));
    let error = refused(&world, &small_head, &small(), &ByColour);
    assert!(matches!(error, Error::PoorSubject { .. }) && error.to_string().contains("too small in "), "{error}");

    let blurred = world.out("blurred.mp4");
    changed(&world.clip(), &blurred, |frame| imageops::blur(frame, 4.0));
    // The eyes and the mouth are gone, which are darker than the head.
    let sharp = |frame: &RgbImage, face: &FaceSeen| {
        let [left, top, right, bottom] = face.bounds.map(|edge| edge as u32);
        let head = imageops::crop_imm(frame, left, top, right - left, bottom - top).to_image();
        let [across, down] = [head.width() / 4, head.height() / 4];
        let middle = imageops::crop_imm(&head, across, down, 2 * across, 2 * down).to_image();
        let most = |pixel: &image::Rgb<u8>| pixel.0.into_iter().max().unwrap_or(0);
        let range = middle.pixels().map(most).max().unwrap_or(0) - middle.pixels().map(most).min().unwrap_or(0);
        range > 45
    };
    let eyes = Changed(|frames: &[RgbImage], people: &mut Vec<PersonSeen>| {
        for person in people {
            for face in &mut person.faces {
                if !sharp(&frames[face.frame], face) {
                    face.flaws.push("too blurred (sharpness 0.10)".into());
                }
            }
            person.embedding = person.embedding.take().filter(|_| person.good_faces() > 0);
        }
    });
    let error = refused(&world, &blurred, &small(), &eyes);
    assert!(matches!(error, Error::PoorSubject { .. }) && error.to_string().contains("too blurred in "), "{error}");
    assert_eq!(left(&world.out("refused")), Vec::<String>::new());
    // The clip itself is sharp enough for these eyes.
    let (name, template, clip, corpus) = ("Aa".parse().unwrap(), embedding(0.0), world.clip(), world.corpus());
    let (people, out) = (filmed_in(&name, &clip, &template), world.out("sharp"));
    let request = Request { out: &out, ..request(&people, &corpus) };
    let accepted = make(&request, &eyes, None, &mut |progress| match progress.stage {
        Stage::Looking => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    assert!(matches!(accepted, Err(Error::Stopped)));
}

#[test]
fn a_corpus_whose_clips_the_gate_always_refuses_gives_no_dataset() {
    let world = World::new(3);
    let options = DatasetOptions { positives: 4, negatives: 6, hard: 3, exchanged: 0, attempts: 3, ..small() };
    // Strangers are seen in footage, and in no made clip.
    let eyes = Changed(|frames: &[RgbImage], people: &mut Vec<PersonSeen>| {
        let is_made = frames.first().is_some_and(|frame| frame.width() == small().size);
        let is_the_person = |person: &PersonSeen| person.embedding.as_ref().is_some_and(|known| known[0] > 0.45);
        people.retain(|person| !is_made || is_the_person(person));
    });
    let error = refused(&world, &world.clip(), &options, &eyes);
    let Error::OneClass { positives, negatives, dropped } = error else { panic!("{error}") };
    assert_eq!((positives, negatives), (4, 0));
    assert!(dropped >= 3 * 6, "{dropped}");
    assert!(error.to_string().contains("at least two of each are needed"), "{error}");
    assert_eq!(left(&world.out("refused")), Vec::<String>::new());
}

/// The child of the test below.
#[test]
fn a_child_makes_a_dataset() {
    support::make_if_child();
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_written() {
    let world = World::new(3);
    let whole = world.make("whole", &small()).unwrap();
    assert!(whole.manifest.clips.iter().any(|clip| clip.half == Half::Test));
    let sizes = content(&world.out("whole"));
    let size =
        |wanted: &dyn Fn(&Path) -> bool| sizes.iter().filter(|(path, _)| wanted(path)).map(|(_, bytes)| bytes.len() as u64).max();
    let part = |name: &'static str| move |path: &Path| path.starts_with(name);
    let [work, clips, report] = ["work", "clips", "report.html"].map(|name| size(&part(name)).unwrap());
    // The limit is 512 or 1024 bytes for each block: in the first run looks are too large, in the last only the report is.
    let late = work.max(clips) / 512 + 1;
    assert!(work > 4 * 1024 && report > late * 1024, "{work} {clips} {report}");
    for blocks in [4, late] {
        let output = world.child(Some(blocks)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains("File too large"), "{said}");
        assert!(["Io {", "Data(Io", "Video("].iter().any(|kind| said.contains(kind)), "a typed error: {said}");
        assert_eq!(left(&world.out("killed")), Vec::<String>::new(), "{said}");
    }
    // With room again, the same ends in the same bytes.
    world.make("killed", &small()).unwrap();
    same(&world.out("whole"), &world.out("killed"));
}

/// A large corpus takes hours to look at.
#[test]
fn what_is_wrong_with_the_clip_is_said_before_the_corpus_is_looked_at() {
    let world = World::new(4);
    film(&world.clip(), Some(0.0), 0, 4);
    let mut steps = Vec::new();
    let error = world
        .make_with(&world.out("data"), &small(), None, &mut |progress| {
            steps.push((progress.stage, progress.done, progress.total));
            ControlFlow::Continue(())
        })
        .unwrap_err();
    assert!(matches!(error, Error::TooShort { .. }), "{error}");
    assert_eq!(steps.last(), Some(&(Stage::Looking, 1, 1)), "{steps:?}");
}

#[test]
fn somebody_who_comes_late_is_looked_for_there() {
    let world = World::new(4);
    let empty = 70 * RATE as usize;
    film_parts(&world.clip(), &[(None, 0, empty), (Some(0.0), 0, 60)]);
    let (name, template, clip, corpus): (SubjectName, _, _, _) =
        ("Aa".parse().unwrap(), embedding(0.0), world.clip(), world.corpus());
    let make = |from: f64| {
        let (people, out) = ([PersonClip { name: &name, clip: &clip, from, template: &template }], world.out("data"));
        make(&Request { out: &out, ..request(&people, &corpus) }, &ByColour, None, &mut |_| ControlFlow::Continue(()))
    };
    assert!(matches!(make(0.0).unwrap_err(), Error::PoorSubject { .. }));
    let made = make(70.0).unwrap();
    assert!(made.manifest.spans.iter().all(|(_, span)| span[0] >= 70.0), "{:?}", made.manifest.spans);
}
