//! Datasets without a corpus: the strangers are the other people of the clip.

mod support;

use std::{fs, ops::ControlFlow, path::Path};

use pvchat_augment::{
    Error,
    filmed::{Half, Made, Making, Request, make, verify},
};
use pvchat_data::SubjectName;
use support::{ByColour, embedding, film_parts, filmed_in, request, small};

/// Somebody of hue 0 in a clip that shows these people one after another, each for five seconds.
fn make_of(folder: &Path, hues: &[f32]) -> Result<Made, Error> {
    let (clip, out) = (folder.join("aa.mp4"), folder.join("data"));
    let parts: Vec<_> = hues.iter().zip(0..).map(|(&degrees, place)| (Some(degrees), place, 40)).collect();
    film_parts(&clip, &parts);
    let (name, template): (SubjectName, _) = ("Aa".parse().unwrap(), embedding(0.0));
    let people = filmed_in(&name, &clip, &template);
    let options = small();
    let request = Request { corpus: None, out: &out, options: &options, ..request(&people, Path::new("")) };
    make(&request, &ByColour, None, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn the_strangers_are_the_other_people_of_the_clip() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = make_of(folder.path(), &[0.0, 120.0]).unwrap().manifest;
    let count =
        |positive: bool| manifest.clips.iter().filter(|clip| clip.half == Half::Train && clip.positive == positive).count();
    assert_eq!([count(true), count(false)], [8, 24], "{:?}", manifest.dropped);
    for clip in &manifest.clips {
        // Aa is in the first five seconds and somebody else in the others.
        assert_eq!((clip.figure.0.as_str(), clip.figure.1[0] < 4.9), ("aa.mp4", clip.positive), "{clip:?}");
        assert!(clip.judged.similarity >= 0.8 && (clip.judged.to_subject >= 0.8) == clip.positive, "{clip:?}");
    }
    let untouched =
        |positive: bool| manifest.clips.iter().any(|clip| clip.positive == positive && clip.making == Making::Untouched);
    assert!(untouched(true) && untouched(false));
    assert!(manifest.corpus.is_empty() && manifest.left_out.is_empty(), "{:?}", manifest.left_out);
    verify(&folder.path().join("data")).unwrap();
    let page = fs::read_to_string(folder.path().join("data/report.html")).unwrap();
    assert!(page.contains("somebody else in aa.mp4"));
}

#[test]
fn somebody_who_may_be_the_person_is_no_stranger_and_without_others_it_is_said_what_is_missing() {
    for hues in [&[0.0][..], &[0.0, 14.0]] {
        let folder = tempfile::tempdir().unwrap();
        let error = make_of(folder.path(), hues).unwrap_err();
        assert!(matches!(error, Error::NoCorpus { .. }), "{error}");
        let said = error.to_string();
        assert!(said.starts_with("clips of other people are missing: there is no corpus, and nobody else in "), "{said}");
        assert!(said.contains("aa.mp4") && said.contains("(`--corpus`)"), "{said}");
        assert!(!folder.path().join("data/manifest.json").exists());
    }
}
