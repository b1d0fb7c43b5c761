//! Clips and people for the tests, drawn on the spot.
#![allow(dead_code)] // each test target uses its own part

use std::{path::PathBuf, sync::OnceLock};

use pvchat::{
    Pvchat, SeenClip,
    data::random::SeededStream,
    miniature::world::{Identity, Scene, SceneOptions},
};

/// The embedded model, opened once per test program.
pub fn pvchat() -> &'static Pvchat {
    static MODEL: OnceLock<Pvchat> = OnceLock::new();
    MODEL.get_or_init(|| Pvchat::miniature().expect("the embedded files fit together"))
}

/// Two different people and a stream.
pub fn people(seed: u64) -> (Identity, Identity, SeededStream) {
    let mut stream = SeededStream::new(seed);
    (Identity::random(&mut stream), Identity::random(&mut stream), stream)
}

/// A clip with these people, seen by the encoder.
pub fn clip(people: &[Identity], stream: &mut SeededStream) -> SeenClip {
    let scene = Scene::random(people, SceneOptions::default(), stream);
    pvchat().see(&scene.render(64).frames).expect("eight frames of the encoder's side")
}

/// An mp4 file with these people.
pub fn file(folder: &std::path::Path, name: &str, people: &[Identity], stream: &mut SeededStream) -> PathBuf {
    let path = folder.join(name);
    let scene = Scene::random(people, SceneOptions::default(), stream);
    pvchat::miniature::exam::write_mp4(&scene, &path).expect("writing a clip");
    path
}
