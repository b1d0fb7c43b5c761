//! A user's own networks: what they compute, and what is refused.
//!
//! The tiny networks of `fixtures/golden/people/onnx` are made by `scripts/golden_onnx.py`. One test runs a whole embedder,
//! `people/mfn192.onnx` of the golden data (`PVCHAT_GOLDEN` names another folder).

#![cfg(feature = "onnx")]

use std::path::{Path, PathBuf};

use burn::prelude::*;
use image::{Rgb, RgbImage};
use pvchat_people::{
    Bounds, Calibration, EmbedderKind, Error, Face, FindOptions, Finder, Network, Person, Template, Watch, WatchOptions,
    onnx::{Colour, Description, Kind, Layout, Networks},
};
use safetensors::SafeTensors;

/// ArcFace's template, 112 pixels.
const TEMPLATE: [[f32; 2]; 5] =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/people/onnx").join(name)
}

fn described(kind: Kind, name: &str) -> Description {
    Description { side: Some(64), ..Description::new(kind, fixture(name)) }
}

fn open(networks: Networks) -> Finder {
    let nowhere = Path::new("no such folder");
    Finder::open_with(nowhere, EmbedderKind::default(), networks, FindOptions::default(), &Device::flex()).unwrap()
}

/// That this is the typed error, with the file, the key and what to do.
fn assert_refuses<T>(outcome: Result<T, Error>, named: &str, about: &str, advised: &str) {
    let error = outcome.err().unwrap();
    let Error::Onnx { file, key, remedy, .. } = &error else { panic!("{error:?}") };
    let fits = file.to_string_lossy().contains(named) && key.contains(about) && remedy.contains(advised);
    assert!(fits, "{error}; expected {named}, {about}, {advised}");
}

/// A finder with one network, and a tiny one for the other part.
fn finder(description: Description) -> Finder {
    let networks = Networks::new().with(described(Kind::ArcFace, "means.onnx")).unwrap();
    open(networks.with(described(Kind::YuNet, "yunet.onnx")).unwrap().with(description).unwrap())
}

fn faces(finder: &Finder, picture: &RgbImage) -> Vec<Face> {
    finder.faces(picture).unwrap().into_iter().map(|seen| seen.face).collect()
}

fn assert_face(found: &Face, score: f32, bounds: [f32; 4], landmarks: [[f32; 2]; 5]) {
    let Bounds { left, top, right, bottom } = found.bounds;
    let numbers = [left, top, right, bottom, found.score].into_iter().chain(found.landmarks.into_iter().flatten());
    let expected = bounds.into_iter().chain([score]).chain(landmarks.into_iter().flatten());
    for (number, expected) in numbers.zip(expected) {
        assert!((number - expected).abs() < 1e-3, "{found:?}, expected {score} {bounds:?} {landmarks:?}");
    }
}

/// Black, with a block of 16 pixels.
fn block(size: [u32; 2], [left, top]: [u32; 2], colour: [u8; 3]) -> RgbImage {
    let inside = |x: u32, y: u32| (left..left + 16).contains(&x) && (top..top + 16).contains(&y);
    RgbImage::from_fn(size[0], size[1], |x, y| if inside(x, y) { Rgb(colour) } else { Rgb([0; 3]) })
}

#[test]
fn yunet_is_decoded() {
    let finder_of_faces = finder(described(Kind::YuNet, "yunet.onnx"));
    // Shrunk by 2, the blue block fills cell (2, 1) at stride 8.
    let found = faces(&finder_of_faces, &block([128, 128], [32, 16], [0, 0, 255]));
    assert_eq!(found.len(), 2, "{found:?}");
    let eyes_nose_mouth = [[24.0, 12.0], [40.0, 12.0], [32.0, 16.0], [28.0, 24.0], [36.0, 24.0]];
    assert_face(&found[0], 1.0, [24.0, 0.0, 56.0, 48.0], eyes_nose_mouth);
    let eyes_nose_mouth = [[80.0, 56.0], [112.0, 56.0], [96.0, 64.0], [88.0, 80.0], [104.0, 80.0]];
    assert_face(&found[1], 0.95, [88.0, 80.0, 120.0, 96.0], eyes_nose_mouth);
    // Wide, so that the picture fills the upper half; and red, which is not the first channel.
    let found = faces(&finder_of_faces, &block([128, 64], [32, 16], [0, 0, 255]));
    assert_face(&found[0], 1.0, [24.0, 0.0, 56.0, 48.0], [[24.0, 12.0], [40.0, 12.0], [32.0, 16.0], [28.0, 24.0], [36.0, 24.0]]);
    assert_eq!(faces(&finder_of_faces, &block([128, 64], [32, 16], [255, 0, 0])).len(), 1);
    // A small picture is not enlarged: the block fills four cells, whose boxes overlap by two fifths and less.
    let found = faces(&finder_of_faces, &block([48, 32], [16, 8], [0, 0, 255]));
    assert_face(&found[0], 1.0, [12.0, 0.0, 28.0, 24.0], [[12.0, 6.0], [20.0, 6.0], [16.0, 8.0], [14.0, 12.0], [18.0, 12.0]]);

    let lower = finder(Description { score: Some(0.8), colour: Some(Colour::Rgb), ..described(Kind::YuNet, "yunet.onnx") });
    let found = faces(&lower, &block([64, 64], [0, 0], [0, 0, 255]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert_face(
        &found[1],
        0.72f32.sqrt(),
        [-16.0, 16.0, 16.0, 48.0],
        [[-16.0, 24.0], [16.0, 24.0], [0.0, 32.0], [-8.0, 48.0], [8.0, 48.0]],
    );
}

#[test]
fn scrfd_is_decoded() {
    let picture = RgbImage::new(256, 128);
    let found = faces(&finder(described(Kind::Scrfd, "scrfd.onnx")), &picture);
    assert_eq!(found.len(), 2, "{found:?}");
    let eyes_nose_mouth = [[144.0, 88.0], [176.0, 88.0], [160.0, 96.0], [152.0, 112.0], [168.0, 112.0]];
    assert_face(&found[0], 0.9, [128.0, 32.0, 208.0, 128.0], eyes_nose_mouth);
    let eyes_nose_mouth = [[32.0, 112.0], [96.0, 112.0], [64.0, 128.0], [48.0, 160.0], [80.0, 160.0]];
    assert_face(&found[1], 0.6, [32.0, 112.0, 112.0, 192.0], eyes_nose_mouth);
    let tolerant = Description { overlap: Some(1.0), ..described(Kind::Scrfd, "scrfd.onnx") };
    assert_eq!(faces(&finder(tolerant), &picture).len(), 3);
}

#[test]
fn faces_are_prepared_as_described() {
    // Sixteen squares, each with one colour.
    let level = |square: u32, channel: u32| (square * 11 + channel * 29) as u8;
    let picture = RgbImage::from_fn(64, 64, |x, y| Rgb([0, 1, 2].map(|channel| level(y / 16 * 4 + x / 16, channel))));
    let landmarks = TEMPLATE.map(|point| point.map(|value| value * 64.0 / 112.0));
    let face = Face { bounds: Bounds::new(0.0, 0.0, 64.0, 64.0), score: 1.0, landmarks };
    let (mean, scale) = ([10.0, 20.0, 30.0], [1.0, 2.0, 3.0]);
    let own = Description { mean: Some(mean), scale: Some(scale), ..described(Kind::SFace, "means.onnx") };
    let last = Description { layout: Some(Layout::Nhwc), file: fixture("means_last.onnx"), ..own.clone() };
    let exchanged = Description { colour: Some(Colour::Bgr), ..own.clone() };
    let usual = ([127.5; 3], [1.0 / 127.5; 3]);
    for (description, channels, (mean, scale)) in [
        (described(Kind::ArcFace, "means.onnx"), [0, 1, 2], usual),
        (described(Kind::SFace, "means.onnx"), [0, 1, 2], ([0.0; 3], [1.0; 3])),
        (own, [0, 1, 2], (mean, scale)),
        (last, [0, 1, 2], (mean, scale)),
        (exchanged, [2, 1, 0], (mean, scale)),
    ] {
        let mut expected: Vec<f32> = Vec::new();
        for (place, channel) in channels.into_iter().enumerate() {
            expected.extend((0..16).map(|square| (f32::from(level(square, channel)) - mean[place]) * scale[place]));
        }
        let length = expected.iter().map(|value| value * value).sum::<f32>().sqrt();
        let found = finder(description.clone()).embed(&picture, &face).unwrap().unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected / length).abs() < 1e-4, "{description:?}: {found}, expected {}", expected / length);
        }
    }
}

#[test]
fn a_whole_embedder_gives_the_published_numbers() {
    let folder = std::env::var_os("PVCHAT_GOLDEN").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden")).join("people");
    if !folder.join("mfn192.onnx").is_file() {
        println!(
            "not run: {} does not exist; PVCHAT_GOLDEN names the folder above `people`",
            folder.join("mfn192.onnx").display()
        );
        return;
    }
    let own = Description { scale: Some([1.0 / 128.0; 3]), ..Description::new(Kind::ArcFace, folder.join("mfn192.onnx")) };
    let finder = finder(own);
    assert_eq!(finder.width(), 192);
    let face = Face { bounds: Bounds::new(0.0, 0.0, 112.0, 112.0), score: 1.0, landmarks: TEMPLATE };
    let mut faces = 0;
    for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = std::fs::read(&path).unwrap();
        let Ok(file) = SafeTensors::deserialize(&bytes) else { continue };
        let (Ok(crop), Ok(output)) = (file.tensor("crop112_rgb_u8"), file.tensor("mfn192_out")) else { continue };
        let expected: Vec<f32> = output.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let length = expected.iter().map(|value| value * value).sum::<f32>().sqrt();
        let picture = RgbImage::from_raw(112, 112, crop.data().to_vec()).unwrap();
        let found = finder.embed(&picture, &face).unwrap().unwrap();
        let worst = found.iter().zip(&expected).map(|(one, other)| (one - other / length).abs()).fold(0.0, f32::max);
        println!("{}: largest difference {worst:.1e} at unit length", path.display());
        assert!(found.len() == 192 && expected.len() == 192 && worst < 1e-5, "{worst}");
        faces += 1;
    }
    assert!(faces > 0, "no golden face in {}", folder.display());
}

#[test]
fn thresholds_are_never_those_of_another_network() {
    let own = finder(described(Kind::ArcFace, "means.onnx"));
    let id = own.model().to_string();
    assert!(id.starts_with("arcface@"), "{id}");
    assert_refuses(own.calibration(), "means.onnx", "calibration", "people_exam");
    let shipped = Calibration::shipped(EmbedderKind::default()).unwrap();
    assert_refuses(Watch::new(&own, &[], &shipped, WatchOptions::default()), "means.onnx", "calibration.embedder", "people_exam");

    let measured = Calibration { embedder: id.clone(), ..shipped.clone() };
    let description = Description { calibration: Some(measured.clone()), ..described(Kind::ArcFace, "means.onnx") };
    let own = finder(description.clone());
    assert_eq!(own.calibration().unwrap(), measured);
    assert!(Watch::new(&own, &[], &measured, WatchOptions::default()).is_ok());
    // The same calibration beside other weights, and beside the same weights with exchanged colours.
    for other in [
        Description { file: fixture("means_last.onnx"), layout: Some(Layout::Nhwc), ..description.clone() },
        Description { colour: Some(Colour::Bgr), ..description.clone() },
    ] {
        assert_refuses(Networks::new().with(other), "means", "calibration.embedder", "people_exam");
    }
}

#[test]
fn shipped_models_are_needed_only_for_what_is_not_replaced() {
    let only_detector = Networks::new().with(described(Kind::Scrfd, "scrfd.onnx")).unwrap();
    let nowhere = Path::new("no such folder");
    let opened = Finder::open_with(nowhere, EmbedderKind::Dlib, only_detector, FindOptions::default(), &Device::flex());
    assert!(matches!(opened, Err(Error::Models(_))));
    let finder = finder(described(Kind::Scrfd, "scrfd.onnx"));
    for network in [Network::PNet, Network::Embedder] {
        let computed = finder.compute(network, vec![0.0; 3 * 144], [1, 3, 12, 12]);
        assert!(matches!(computed, Err(Error::Setting { key: "network", .. })));
    }
}

#[test]
fn templates_of_another_embedder_are_refused_with_the_command_that_enrols_again() {
    let own = finder(described(Kind::ArcFace, "means.onnx"));
    let calibration = Calibration { embedder: own.model().into(), ..Calibration::shipped(EmbedderKind::default()).unwrap() };
    let template = || Template { embedding: vec![48.0f32.sqrt().recip(); 48], ..Template::default() };
    let exchanged = finder(Description { colour: Some(Colour::Bgr), ..described(Kind::ArcFace, "means.onnx") });
    let last = finder(Description { layout: Some(Layout::Nhwc), ..described(Kind::ArcFace, "means_last.onnx") });
    for other in [exchanged.model(), last.model(), "mobilefacenet@1"] {
        let mut person = Person::new("Aa".parse().unwrap(), other.into(), template());
        let refused = [
            person.add(template(), own.model(), false).unwrap_err(),
            Watch::new(&own, &[person], &calibration, WatchOptions::default()).err().unwrap(),
        ];
        for error in refused {
            let text = error.to_string();
            assert!(matches!(error, Error::OtherModel { .. }) && text.contains("pvchat enrol CLIP --name Aa"), "{text}");
        }
    }
    let person = Person::new("Aa".parse().unwrap(), own.model().into(), template());
    assert!(Watch::new(&own, &[person], &calibration, WatchOptions::default()).is_ok());
}

#[test]
fn a_folder_holds_networks_with_descriptions_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, json: &str| std::fs::write(path(name), json).unwrap();
    let open = || Networks::open(folder.path());
    assert_refuses(open(), "", "network", "put networks");
    std::fs::copy(fixture("means.onnx"), path("own.onnx")).unwrap();
    assert_refuses(open(), "own.json", "kind", "docs/people.md");
    write("own.json", r#"{"side": 64}"#);
    assert_refuses(open(), "own.json", "kind", "docs/people.md");
    write("own.json", r#"{"kind": "arcface", "sise": 64}"#);
    assert_refuses(open(), "own.json", "sise", "docs/people.md");
    write("own.json", r#"{"kind": "arcface", "side": 65}"#);
    assert_refuses(open(), "own.onnx", "side", "multiple of 16");
    write("own.json", r#"{"kind": "arcface", "side": 64}"#);
    std::fs::copy(fixture("yunet.onnx"), path("faces.onnx")).unwrap();
    write("faces.json", r#"{"kind": "yunet", "side": 64}"#);
    let opened = Finder::open_with(
        Path::new("no such folder"),
        EmbedderKind::default(),
        open().unwrap(),
        FindOptions::default(),
        &Device::flex(),
    );
    let opened = opened.unwrap();
    assert_eq!((opened.width(), opened.model()), (48, finder(described(Kind::ArcFace, "means.onnx")).model()));
    assert_eq!(faces(&opened, &block([128, 128], [32, 16], [0, 0, 255])).len(), 2);

    std::fs::copy(fixture("scrfd.onnx"), path("more.onnx")).unwrap();
    write("more.json", r#"{"kind": "scrfd", "side": 64}"#);
    assert_refuses(open(), "more.onnx", "kind", "another folder");
    std::fs::remove_file(path("faces.onnx")).unwrap();
    assert!(open().is_ok());
    let missing = Networks::new().with_file(&path("faces.json")).unwrap_err();
    assert!(matches!(&missing, Error::Io { path, .. } if path.ends_with("faces.onnx")), "{missing}");
}

/// What loading these bytes gives.
fn load(kind: Kind, bytes: &[u8]) -> Result<Networks, Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Networks::new().with(Description { side: Some(64), ..Description::new(kind, file.path()) })
}

#[test]
fn other_networks_are_refused() {
    for (kind, name, side, key, problem) in [
        (Kind::Scrfd, "yunet.onnx", 64, "outputs", "there are 12"),
        (Kind::YuNet, "scrfd.onnx", 64, "cls_8", "no such output"),
        (Kind::YuNet, "yunet.onnx", 128, "cls_8", "the shape [1, 64, 1], expected [1, 256, 1]"),
        (Kind::Scrfd, "scrfd.onnx", 32, "448", "the shape [128, 1], expected [1, 32, 1]"),
        (Kind::ArcFace, "scrfd.onnx", 64, "outputs", "[[128, 1]"),
        (Kind::SFace, "means.onnx", 16, "outputs", "[[1, 3]]"),
        (Kind::ArcFace, "means_last.onnx", 64, "input", "64,64,3], which does not fit [1, 3, 64, 64]"),
        (Kind::ArcFace, "huge.onnx", 64, "wide", "too large"),
    ] {
        let error = Networks::new().with(Description { side: Some(side), ..described(kind, name) }).unwrap_err();
        assert!(error.to_string().contains(problem), "{kind:?} {name}: {error}");
        assert_refuses(Err::<(), _>(error), name, key, "docs/people.md");
    }
}

#[test]
fn outputs_that_are_not_finite_are_errors() {
    let far = |kind, name| Networks::new().with(Description { scale: Some([3e38; 3]), ..described(kind, name) });
    assert_refuses(far(Kind::SFace, "means.onnx"), "means.onnx", "embedding", "mean, scale");
    assert_refuses(far(Kind::YuNet, "yunet.onnx"), "yunet.onnx", "obj_8", "mean, scale");
    // Finite where the picture is that of the trial, whose levels end at 250.
    let scale = f32::MAX / 250.5 / 256.0;
    let own = finder(Description { scale: Some([scale; 3]), ..described(Kind::SFace, "means.onnx") });
    let landmarks = TEMPLATE.map(|point| point.map(|value| value * 64.0 / 112.0));
    let face = Face { bounds: Bounds::new(0.0, 0.0, 64.0, 64.0), score: 1.0, landmarks };
    let white = RgbImage::from_pixel(64, 64, Rgb([255; 3]));
    assert_refuses(own.embed(&white, &face), "means.onnx", "embedding", "mean, scale");
}

#[test]
fn hostile_files_are_errors() {
    let bytes = std::fs::read(fixture("yunet.onnx")).unwrap();
    let refused = |bytes: &[u8]| matches!(load(Kind::YuNet, bytes), Err(Error::Onnx { .. }));
    assert!(refused(b"") && refused(b"garbage") && refused(&[0xff; 4096]) && refused(&[0; 4096]));
    // The version of the operators, in the last bytes, may be missing.
    for length in (0..bytes.len() - 16).step_by(61) {
        assert!(refused(&bytes[..length]), "cut after {length} bytes");
    }
    // An output that no node makes: the runtime panics.
    let means = std::fs::read(fixture("means.onnx")).unwrap();
    let place = means.windows(9).rposition(|part| part == b"embedding").unwrap();
    let mut dangling = means.clone();
    dangling[place] = b'x';
    assert!(matches!(load(Kind::ArcFace, &dangling), Err(Error::Onnx { .. })));
    // Bytes changed at random places: whatever is wrong, it is no panic and no other error.
    let mut state = 7u64;
    for _ in 0..300 {
        let mut changed = means.clone();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 33) as usize % changed.len();
        changed[at] ^= 1 << (state >> 61);
        assert!(matches!(load(Kind::ArcFace, &changed), Ok(_) | Err(Error::Onnx { .. })), "byte {at}");
    }
    let large = tempfile::NamedTempFile::new().unwrap();
    large.as_file().set_len((512 << 20) + 1).unwrap();
    let error = Networks::new().with(Description::new(Kind::YuNet, large.path())).unwrap_err();
    assert!(matches!(error, Error::Onnx { .. }) && error.to_string().contains("512 MiB"), "{error}");
}
