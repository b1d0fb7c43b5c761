//! Footage and files that real people have: empty, dark, huge, crowded, damaged. Every case ends in an answer or in an error
//! that says what to do.
//!
//! Needs the models, in the folder that `PVCHAT_MODELS` names or where `pvchat models get people` puts them, and for some cases
//! the demo's clips (`PVCHAT_CLIPS`); says so where they are absent.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use image::{Rgb, RgbImage, imageops};
use pvchat::{
    Choice, Error, People, PeopleOptions,
    faces::{self, Verdict},
    nn::device,
    video::{SamplingPlan, VideoReader, write_clip},
};

#[path = "../../../fixtures/fetched.rs"]
mod fetched;

fn open(models: &Path, subjects: &Path) -> pvchat::Result<People> {
    People::open(models, subjects, PeopleOptions::default(), &device::default_device().unwrap())
}

/// The people with the models; `None`, and a line that says so, where they are not installed.
fn people(subjects: &Path) -> Option<People> {
    open(&fetched::models(), subjects).map_err(fetched::not_run).ok()
}

/// A frame of the demo's clip with a face in it.
fn picture() -> Option<RgbImage> {
    let clip = fetched::clips().join("carphone_pristine.mp4");
    VideoReader::open(fetched::fetched(&clip)?).unwrap().sample(&SamplingPlan::Indices(vec![0])).unwrap().frames.pop()
}

fn carry_on(_: pvchat::WatchProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn clip(folder: &Path, name: &str, frames: &[RgbImage]) -> PathBuf {
    let path = folder.join(name);
    write_clip(&path, frames, 4.0).unwrap();
    path
}

#[test]
fn models_that_are_absent_truncated_or_changed_are_refused_with_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let absent = open(folder.path(), folder.path()).unwrap_err().to_string();
    assert!(absent.contains("pvchat models get people") && absent.contains("absent"), "{absent}");
    if people(folder.path()).is_none() {
        return;
    }
    for name in ["mtcnn", "blazeface", "mobilefacenet"] {
        fs::copy(fetched::models().join(format!("{name}.safetensors")), folder.path().join(format!("{name}.safetensors")))
            .unwrap();
    }
    assert!(open(folder.path(), folder.path()).is_ok());
    let file = folder.path().join("mobilefacenet.safetensors");
    let bytes = fs::read(&file).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for damaged in [&bytes[..bytes.len() / 2], &flipped, b"", b"not weights"] {
        fs::write(&file, damaged).unwrap();
        let error = open(folder.path(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("mobilefacenet.safetensors") && error.contains("pvchat models get people"), "{error}");
    }
}

#[test]
fn nobody_is_found_in_walls_and_in_the_dark() {
    let folder = tempfile::tempdir().unwrap();
    let Some(people) = people(&folder.path().join("people")) else { return };
    let black = clip(folder.path(), "black.mp4", &vec![RgbImage::new(320, 240); 40]);
    let wall = clip(folder.path(), "wall.mp4", &vec![RgbImage::from_pixel(320, 240, Rgb([201, 199, 190])); 8]);
    let tiny = folder.path().join("tiny.png");
    RgbImage::new(1, 1).save(&tiny).unwrap();
    for path in [&black, &wall, &tiny] {
        let seen = people.look(path).unwrap();
        match people.enrol(&seen, None, &"Aa".parse().unwrap()) {
            Err(error @ Error::NobodyFound { .. }) => {
                assert!(error.to_string().contains("20 pixels"), "{error}");
            }
            other => panic!("{}: {other:?}", path.display()),
        }
        let footage = people.watch(path, carry_on).unwrap();
        assert!(footage.finished && footage.timeline.people.is_empty(), "{}", path.display());
    }
    assert!(people.gallery().names().unwrap().is_empty());
}

#[test]
fn a_photo_enrols_and_is_found_again_small_in_a_large_picture() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(people), Some(picture)) = (people(&folder.path().join("people")), picture()) else { return };
    let photo = folder.path().join("photo.png");
    picture.save(&photo).unwrap();
    let seen = people.look(&photo).unwrap();
    assert!(seen.is_picture);
    let enrolled = people.enrol(&seen, None, &"Aa".parse().unwrap()).unwrap();
    assert_eq!((enrolled.person.templates.len(), enrolled.added, enrolled.others), (1, false, 0));
    // 4K, the man in a corner.
    let mut large = RgbImage::from_pixel(3840, 2160, Rgb([90, 110, 100]));
    let enlarged = imageops::resize(&picture, 1056, 864, imageops::FilterType::Triangle);
    imageops::overlay(&mut large, &enlarged, 2600, 1200);
    let large_file = folder.path().join("large.png");
    large.save(&large_file).unwrap();
    let footage = people.watch(&large_file, carry_on).unwrap();
    assert_eq!(footage.timeline.people[0].verdict, Verdict::Yes);
    let bounds = footage.timeline.people[0].moments[0].bounds;
    assert!(bounds.left > 2600.0 && bounds.top > 1200.0, "{bounds:?}");
}

/// The last face stands for the time until the next look, and at the end of the clip until there.
#[test]
fn somebody_who_is_there_to_the_end_is_seen_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(people), Some(picture)) = (people(&folder.path().join("people")), picture()) else { return };
    let grey = RgbImage::from_pixel(picture.width(), picture.height(), Rgb([120; 3]));
    for (name, frames, end) in [("all.mp4", vec![picture.clone(); 6], 3.0), ("left.mp4", vec![picture, grey], 0.5)] {
        let path = folder.path().join(name);
        write_clip(&path, &frames, 2.0).unwrap();
        let footage = people.watch(&path, carry_on).unwrap();
        let moment = &footage.timeline.people[0].moments[0];
        assert!(moment.start == 0.0 && (moment.end - end).abs() < 0.01, "{name}: {moment:?}");
        assert_eq!(people.watch(&path, carry_on).unwrap(), footage, "{name}: once");
    }
}

#[test]
fn of_several_people_one_has_to_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(people), Some(picture)) = (people(&folder.path().join("people")), picture()) else { return };
    // The mirrored man stands in for a twin: two people in one frame are never one.
    let mut both = RgbImage::new(2 * picture.width(), picture.height());
    imageops::overlay(&mut both, &picture, 0, 0);
    imageops::overlay(&mut both, &imageops::flip_horizontal(&picture), i64::from(picture.width()), 0);
    let path = clip(folder.path(), "both.mp4", &vec![both; 6]);
    let seen = people.look(&path).unwrap();
    let Err(Error::SeveralPeople { candidates, .. }) = people.enrol(&seen, None, &"Aa".parse().unwrap()) else {
        panic!("one of two was taken unasked")
    };
    assert_eq!(candidates.iter().map(|candidate| candidate.number).collect::<Vec<_>>(), [1, 2]);
    assert!(candidates.iter().all(|candidate| candidate.portrait.is_some() && candidate.good_faces == 6));
    assert!(matches!(people.enrol(&seen, Some(Choice::Number(3)), &"Aa".parse().unwrap()), Err(Error::NotChosen { .. })));
    let nowhere = Choice::Point([1.0, 1.0]);
    assert!(matches!(people.enrol(&seen, Some(nowhere), &"Aa".parse().unwrap()), Err(Error::NotChosen { .. })));
    let right = candidates.iter().find(|candidate| candidate.best.0.left > picture.width() as f32).unwrap();
    let enrolled = people.enrol(&seen, Some(Choice::Point(right.best.0.centre())), &"Aa".parse().unwrap()).unwrap();
    assert!(enrolled.candidate.best.0.left > picture.width() as f32);
    // Both are like Aa; only one of them is.
    let footage = people.watch(&path, carry_on).unwrap();
    let is_aa = footage.timeline.people.iter().filter(|person| person.subject.is_some()).count();
    assert_eq!((is_aa, footage.timeline.people.len()), (1, 2));
}

#[test]
fn three_thousand_faces_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(people), Some(picture)) = (people(&folder.path().join("people")), picture()) else { return };
    let face = people.finder().faces(&picture).unwrap().remove(0).face.bounds;
    let (left, top) = (face.left.max(0.0) as u32, face.top.max(0.0) as u32);
    let face = imageops::crop_imm(&picture, left, top, face.width() as u32, face.height() as u32).to_image();
    let face = imageops::resize(&face, 36, 42, imageops::FilterType::Triangle);
    let mut crowd = RgbImage::from_pixel(64 * 60, 50 * 50, Rgb([128; 3]));
    for number in 0..3_000 {
        imageops::overlay(&mut crowd, &face, 12 + 64 * (number % 60), 4 + 50 * (number / 60));
    }
    let seen = people.finder().faces(&crowd).unwrap();
    assert!(seen.len() <= 200, "{}", seen.len());
    println!("{} faces reported of 3000", seen.len());
}

#[test]
fn too_small_faces_are_refused_with_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(people), Some(picture)) = (people(&folder.path().join("people")), picture()) else { return };
    let face = people.finder().faces(&picture).unwrap().remove(0).face.bounds.width();
    let scale = 17.0 / face;
    let (width, height) = ((picture.width() as f32 * scale) as u32, (picture.height() as f32 * scale) as u32);
    let small = imageops::resize(&picture, width, height, imageops::FilterType::Triangle);
    let mut wide = RgbImage::from_pixel(320, 240, Rgb([110, 120, 130]));
    imageops::overlay(&mut wide, &small, 100, 80);
    let path = folder.path().join("small.png");
    wide.save(&path).unwrap();
    let seen = people.look(&path).unwrap();
    let error = people.enrol(&seen, None, &"Aa".parse().unwrap()).unwrap_err();
    match &error {
        Error::PoorFaces { .. } => assert!(error.to_string().contains("too small"), "{error}"),
        Error::NobodyFound { .. } => println!("the face was not even found"),
        other => panic!("{other}"),
    }
    assert!(people.gallery().names().unwrap().is_empty());
}

#[test]
fn corrections_and_another_model_are_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(people), Some(picture)) = (people(&folder.path().join("people")), picture()) else { return };
    let photo = folder.path().join("photo.png");
    picture.save(&photo).unwrap();
    let name = "Bb".parse().unwrap();
    let seen = people.look(&photo).unwrap();
    let mirrored = folder.path().join("mirrored.png");
    imageops::flip_horizontal(&picture).save(&mirrored).unwrap();
    people.enrol(&people.look(&mirrored).unwrap(), None, &name).unwrap();
    let verdict = |people: &People| people.watch(&photo, carry_on).unwrap().timeline.people[0].verdict;
    assert_eq!(verdict(&people), Verdict::Yes);
    people.correct(&seen, None, &name).unwrap();
    assert_eq!(verdict(&people), Verdict::No);
    assert_eq!(people.gallery().undo().unwrap().as_deref(), Some("corrected who is not Bb"));
    assert_eq!(verdict(&people), Verdict::Yes);
    let mut other = people.gallery().load(&name).unwrap();
    other.model = "another@0".into();
    people.gallery().save(&other, "changed the model").unwrap();
    let error = people.watch(&photo, carry_on).unwrap_err();
    assert!(
        matches!(error, Error::People(faces::Error::OtherModel { .. })) && error.to_string().contains("pvchat enrol"),
        "{error}"
    );
}

#[test]
fn watching_can_be_stopped_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(people), Some(picture)) = (people(&folder.path().join("people")), picture()) else { return };
    let photo = folder.path().join("photo.png");
    picture.save(&photo).unwrap();
    people.enrol(&people.look(&photo).unwrap(), None, &"Aa".parse().unwrap()).unwrap();
    // Two and a half minutes: a grey minute, a minute with the man, half a grey one.
    let grey = RgbImage::from_pixel(picture.width(), picture.height(), Rgb([120; 3]));
    let frames: Vec<RgbImage> =
        (0..150).map(|second| if (65..125).contains(&second) { picture.clone() } else { grey.clone() }).collect();
    let path = folder.path().join("long.mp4");
    write_clip(&path, &frames, 1.0).unwrap();
    let mut batches = 0;
    let stopped = people.watch(&path, |progress| {
        batches += 1;
        if progress.seconds > 80.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(Error::Stopped { .. })));
    let mut first = None;
    let footage = people.watch(&path, |progress| {
        first.get_or_insert(progress.seconds);
        ControlFlow::Continue(())
    });
    let footage = footage.unwrap();
    assert!(first.unwrap() > 60.0, "begun anew at {first:?}");
    let again = people.watch(&path, |_| panic!("decoded again")).unwrap();
    assert_eq!(again, footage);
    assert_eq!(footage.timeline.frames, 150);
    let moments = &footage.timeline.people[0].moments;
    assert_eq!(moments.len(), 1, "{moments:?}");
    assert!((moments[0].start - 65.0).abs() <= 1.0 && (moments[0].end - 124.0).abs() <= 1.0, "{moments:?}");
    people.forget(&"Aa".parse().unwrap()).unwrap();
    assert!(fs::read_dir(folder.path().join("people/footage")).unwrap().next().is_none());
}
