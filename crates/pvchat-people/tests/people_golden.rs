//! The networks and the whole search against numbers that other runtimes computed with the same public weights.
//!
//! The golden files are those of `fixtures/golden/people`, or of `people/` in the folder that `PVCHAT_GOLDEN` names. They need
//! the models, in the folder that `PVCHAT_MODELS` names or where `pvchat models get people` puts them.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use image::RgbImage;
use pvchat_people::{Bounds, EmbedderKind, EyeContours, FindOptions, Finder, Matte, Network, Search, cosine};
use safetensors::{Dtype, SafeTensors};

#[path = "../../../fixtures/fetched.rs"]
mod fetched;

use fetched::{models, not_run};

fn device() -> Device {
    match std::env::var("PVCHAT_TEST_DEVICE").as_deref() {
        #[cfg(feature = "ndarray")]
        Ok("ndarray") => ndarray(),
        _ => Device::flex(),
    }
}

#[cfg(feature = "ndarray")]
#[expect(deprecated, reason = "the second backend that numbers are held against")]
fn ndarray() -> Device {
    Device::ndarray()
}

/// The finder with this embedder; `None`, and a line that says so, where the models are not installed.
fn finder(embedder: EmbedderKind, search: Search) -> Option<Finder> {
    let options = FindOptions { search, ..FindOptions::default() };
    match Finder::open(&models(), embedder, options, &device()) {
        Ok(finder) => Some(finder),
        Err(error) => {
            not_run(error);
            None
        }
    }
}

/// The golden files.
fn files() -> Vec<PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden");
    let folder = std::env::var_os("PVCHAT_GOLDEN").map_or(shipped, PathBuf::from).join("people");
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    if files.is_empty() {
        not_run(format_args!("{} has no golden files", folder.display()));
    }
    files
}

/// A tensor of a golden file, bytes as they are.
fn tensor(file: &SafeTensors<'_>, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
    let view = file.tensor(name).ok()?;
    let values = match view.dtype() {
        Dtype::F32 => view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::U8 => view.data().iter().map(|&byte| f32::from(byte)).collect(),
        other => panic!("{name} is {other:?}"),
    };
    Some((view.shape().to_vec(), values))
}

/// `[n, a, b, c]` to `[n, c, a, b]`, or to `[n, c, b, a]` where the first two axes are exchanged.
fn channels_first(shape: &[usize], values: &[f32], exchanged: bool) -> (Vec<f32>, [usize; 4]) {
    let [n, a, b, c] = shape.try_into().expect("four axes");
    let [height, width] = if exchanged { [b, a] } else { [a, b] };
    let mut planes = vec![0.0; values.len()];
    for sample in 0..n {
        for first in 0..a {
            for second in 0..b {
                for channel in 0..c {
                    let (y, x) = if exchanged { (second, first) } else { (first, second) };
                    planes[((sample * c + channel) * height + y) * width + x] =
                        values[((sample * a + first) * b + second) * c + channel];
                }
            }
        }
    }
    (planes, [n, c, height, width])
}

/// Single precision: sums of thousands of products, so what is allowed goes with the largest output.
fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let mut worst = 0.0f32;
    for (place, (one, other)) in found.iter().zip(expected).enumerate() {
        let difference = (one - other).abs();
        worst = worst.max(difference);
        assert!(difference <= 1e-5 + 5e-6 * largest, "{what} at {place}: {one}, expected {other}");
    }
    println!("{what}: largest difference {worst:.1e}");
}

#[test]
fn every_network_gives_the_published_numbers() {
    let (Some(finder), Some(dlib)) =
        (finder(EmbedderKind::MobileFaceNet, Search::Auto), finder(EmbedderKind::Dlib, Search::Auto))
    else {
        return;
    };
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy();
        // Networks, whether x and y are exchanged in the golden file, and the outputs in our order.
        let cases: [(&Finder, Network, &str, bool, &[&str]); 6] = [
            (&finder, Network::BlazeFace, "blaze256_in", false, &["blaze256_out_regressors", "blaze256_out_classificators"]),
            (&finder, Network::PNet, "pnet_in", true, &["pnet_out_reg", "pnet_out_prob"]),
            (&finder, Network::RNet, "rnet_in", true, &["rnet_out_reg", "rnet_out_prob"]),
            (&finder, Network::ONet, "onet_in", true, &["onet_out_reg", "onet_out_prob", "onet_out_pts"]),
            (&finder, Network::Embedder, "mfn192_in", false, &["mfn192_out"]),
            (&dlib, Network::Embedder, "dlib128_in", false, &["dlib128_out"]),
        ];
        for (finder, network, input, exchanged, outputs) in cases {
            let Some((shape, values)) = tensor(&file, input) else { continue };
            let (planes, shape) = channels_first(&shape, &values, exchanged);
            let found = finder.compute(network, planes, shape).unwrap();
            assert_eq!(found.len(), outputs.len());
            for (found, output) in found.iter().zip(outputs) {
                let (shape, mut expected) = tensor(&file, output).unwrap();
                if shape.len() == 4 {
                    expected = channels_first(&shape, &expected, exchanged).0;
                }
                assert_close(&format!("{name} {output}"), found, &expected);
            }
        }
    }
}

#[test]
fn the_person_matte_gives_the_published_numbers() {
    let matte = match Matte::open(&models(), &device()) {
        Ok(matte) => matte,
        Err(error) => return not_run(error),
    };
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (Some((shape, values)), Some((_, expected))) = (tensor(&file, "selfie_in"), tensor(&file, "selfie_out")) else {
            continue;
        };
        let planes = channels_first(&shape, &values, false).0;
        // A probability of one half moves by a quarter of what its logit does, and logits reach tens: as for the networks
        // above, single precision in relation to them.
        let found = matte.compute(planes).unwrap();
        let worst = found.iter().zip(&expected).fold(0.0f32, |worst, (one, other)| worst.max((one - other).abs()));
        println!("matte: largest difference {worst:.1e}");
        assert!(worst < 1e-4 && found.len() == expected.len(), "{worst}");
        // The same through a picture: in its own size, in a larger one, and in a part of one.
        let levels: Vec<u8> = values.iter().map(|value| (255.0 * value).round() as u8).collect();
        let picture = RgbImage::from_raw(shape[2] as u32, shape[1] as u32, levels).unwrap();
        let whole = matte.of(&picture).unwrap();
        let difference = |one: &[u8]| {
            let apart = one.iter().zip(&expected).map(|(one, other)| (f32::from(*one) - 255.0 * other).abs());
            apart.sum::<f32>() / expected.len() as f32
        };
        assert!(difference(whole.as_raw()) < 1.0, "{}", difference(whole.as_raw()));
        let mut wide = RgbImage::new(700, 300);
        image::imageops::replace(&mut wide, &picture, 400, 20);
        let part = matte.of_part(&wide, &Bounds::new(400.0, 20.0, 656.0, 276.0)).unwrap();
        let back = image::imageops::crop_imm(&part, 400, 20, 256, 256).to_image();
        assert_eq!(back, whole);
        assert!(
            part.enumerate_pixels().all(|(x, y, level)| (400..656).contains(&x) && (20..276).contains(&y) || level.0[0] == 0)
        );
    }
}

#[test]
fn the_outlines_of_eyes_are_the_published_ones_and_say_whether_eyes_are_open() {
    let eyes = match EyeContours::open(&models(), &device()) {
        Ok(eyes) => eyes,
        Err(error) => return not_run(error),
    };
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (Some((shape, levels)), Some((_, expected))) = (tensor(&file, "eyes_in_rgb_u8"), tensor(&file, "eyes_out")) else {
            continue;
        };
        let planes = channels_first(&shape, &levels, false).0.into_iter().map(|level| level / 255.0).collect();
        assert_close("outlines of eyes", &eyes.compute(planes).unwrap(), &expected);
        // A face of the first eye, then of the second: 66 pixels from one to the other, the eye on the right mirrored, and once
        // all of it turned.
        let ratio = |eye: usize| {
            let point = |number: usize| [0, 1].map(|axis| expected[(eye * 71 + number) * 3 + axis]);
            let apart = |one, other| (point(one)[0] - point(other)[0]).hypot(point(one)[1] - point(other)[1]);
            (apart(11, 3) + apart(13, 5)) / (2.0 * apart(0, 8))
        };
        for eye in [0, 1] {
            let pixels = levels[eye * 64 * 64 * 3..][..64 * 64 * 3].iter().map(|level| *level as u8).collect();
            let picture = RgbImage::from_raw(64, 64, pixels).unwrap();
            let mut face = RgbImage::new(200, 200);
            image::imageops::replace(&mut face, &picture, 20, 50);
            image::imageops::replace(&mut face, &image::imageops::flip_horizontal(&picture), 86, 50);
            let points = [[51.5, 81.5], [117.5, 81.5], [84.5, 120.0], [60.0, 150.0], [110.0, 150.0]];
            let turned = image::imageops::rotate90(&face);
            let turned_points = points.map(|[x, y]| [199.0 - y, x]);
            for (face, points) in [(face, points), (turned, turned_points)] {
                let openness = eyes.openness(&face, &points).unwrap().unwrap();
                println!("openness {openness:.3}");
                assert!((openness - ratio(eye)).abs() < 2e-3, "{openness}, {}", ratio(eye));
            }
        }
        assert!(ratio(0) > 0.3 && ratio(1) < 0.1, "the eyes are drawn open and closed");
        assert_eq!(eyes.openness(&RgbImage::new(9, 9), &[[4.0; 2]; 5]).unwrap(), None);
    }
}

#[test]
fn both_searches_find_the_face_of_the_reference() {
    let (Some(thorough), Some(fast)) =
        (finder(EmbedderKind::MobileFaceNet, Search::Thorough), finder(EmbedderKind::MobileFaceNet, Search::Fast))
    else {
        return;
    };
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (Some((shape, pixels)), Some((_, expected))) = (tensor(&file, "image_rgb_u8"), tensor(&file, "mtcnn_box_xyxy"))
        else {
            continue;
        };
        let pixels: Vec<u8> = pixels.into_iter().map(|value| value as u8).collect();
        let picture = RgbImage::from_raw(shape[1] as u32, shape[0] as u32, pixels).unwrap();
        let expected_box = Bounds::new(expected[0], expected[1], expected[2], expected[3]);
        let (_, points) = tensor(&file, "mtcnn_points_xy").unwrap();
        let (_, crop) = tensor(&file, "crop112_rgb_u8").unwrap();
        let (_, mut embedding) = tensor(&file, "mfn192_out").unwrap();
        let length = embedding.iter().map(|value| value * value).sum::<f32>().sqrt();
        embedding.iter_mut().for_each(|value| *value /= length);
        for (finder, least_overlap, furthest) in [(&thorough, 0.9, 1.5), (&fast, 0.75, 3.0)] {
            let faces = finder.faces(&picture).unwrap();
            let seen =
                faces.iter().max_by(|a, b| a.face.bounds.overlap(&expected_box).total_cmp(&b.face.bounds.overlap(&expected_box)));
            let seen = seen.unwrap();
            let overlap = seen.face.bounds.overlap(&expected_box);
            let distance = seen
                .face
                .landmarks
                .iter()
                .zip(points.chunks_exact(2))
                .map(|(one, other)| (one[0] - other[0]).hypot(one[1] - other[1]));
            let distance = distance.fold(0.0, f32::max);
            assert!(overlap > least_overlap && distance < furthest, "overlap {overlap}, points off by {distance}");
            let difference: f32 =
                seen.portrait.as_raw().iter().zip(&crop).map(|(one, other)| (f32::from(*one) - other).abs()).sum();
            let difference = difference / crop.len() as f32;
            let similarity = cosine(seen.embedding.as_ref().unwrap(), &embedding);
            println!("overlap {overlap:.3}, points {distance:.2} px, crop {difference:.2} levels, cosine {similarity:.4}");
            assert!(similarity > 0.9, "{similarity}");
        }
    }
}
