//! Golden tests of preprocessing: resized frames and tiles of the reference.

use crate::support::{Golden, VALUE, assert_all_close, devices};
use image::RgbImage;
use pvchat_model::{
    Error,
    preprocess::{PreprocessConfig, Tiling, encoder_pixels, resize_frames},
};

fn frames(golden: &Golden, case: &str) -> Vec<RgbImage> {
    let name = format!("{case}.frames");
    let (shape, values) = (golden.shape(&name), golden.floats(&name));
    let [_, channels, height, width] = shape[..] else { panic!("{name}: {shape:?}") };
    values
        .chunks_exact(channels * height * width)
        .map(|frame| {
            let at = |x: u32, y: u32, c: usize| frame[(c * height + y as usize) * width + x as usize] as u8;
            RgbImage::from_fn(width as u32, height as u32, |x, y| image::Rgb([at(x, y, 0), at(x, y, 1), at(x, y, 2)]))
        })
        .collect()
}

/// On the scale 0..255 the tolerance is absolute.
fn assert_resized(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 5e-3, "{what}[{index}]: found {a}, expected {b}");
    }
}

#[test]
fn resized_frames_and_tiles_equal_the_reference() {
    let golden = Golden::open("hd_transform");
    let statistics = |key: &str| golden.numbers(key).map(|value| value as f32);
    assert_eq!(golden.numbers("fix_ratio"), [2.0, 1.0], "the only ratio of the published model");
    for case in golden.config()["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let resolution = case["resolution"].as_u64().unwrap() as usize;
        let (mean, deviation) = (statistics("mean"), statistics("std"));
        let config = PreprocessConfig { resolution, mean, deviation, ..PreprocessConfig::full() };
        let frames = frames(&golden, name);
        let complete = case["complete"].as_bool().unwrap();
        if complete {
            let resized = resize_frames(&frames, 2 * resolution, resolution).unwrap();
            assert_resized(name, &resized, &golden.floats(&format!("{name}.resized")));
        }
        for (backend, device) in devices() {
            println!("{name} on {backend}");
            let tiles = config.clip_tensor(&frames, &device).unwrap();
            if complete {
                golden.assert_close(&format!("{name}.tiles"), tiles, VALUE);
            } else {
                let tiles: Vec<f32> = tiles.into_data().iter::<f32>().collect();
                let found: Vec<f32> =
                    golden.integers(&format!("{name}.tiles_index")).iter().map(|&index| tiles[index as usize]).collect();
                assert_all_close(name, &found, &golden.floats(&format!("{name}.tiles_value")), VALUE);
            }
        }
    }
}

#[test]
fn the_statistics_are_the_published_ones() {
    let golden = Golden::open_own("hd_transform");
    let full = PreprocessConfig::full();
    assert_eq!(golden.numbers("mean").map(|value| value as f32), full.mean);
    assert_eq!(golden.numbers("std").map(|value| value as f32), full.deviation);
}

#[test]
fn a_square_is_the_whole_frame_and_channels_come_before_frames_for_the_encoder() {
    let device = &devices()[0].1;
    let mut config = PreprocessConfig::square(4);
    (config.mean, config.deviation) = ([0.0; 3], [1.0; 3]);
    assert_eq!((config.tiles(), config.tiling), (1, Tiling::Square));
    // Two frames of one colour each; the value of a pixel is 0.1 * frame + 0.2 * channel.
    let clip: Vec<RgbImage> =
        (0..2u8).map(|frame| RgbImage::from_pixel(9, 5, image::Rgb([0, 51, 102].map(|c| c + 25 * frame)))).collect();
    let pixels = encoder_pixels(config.clip_tensor(&clip, device).unwrap());
    assert_eq!(pixels.dims(), [1, 3, 2, 4, 4]);
    let values: Vec<f32> = pixels.into_data().iter::<f32>().collect();
    let expected: Vec<f32> = [0, 25, 51, 76, 102, 127].iter().flat_map(|&v| [v as f32 / 255.0; 16]).collect();
    assert_all_close("square", &values, &expected, 1e-6);
}

#[test]
fn clips_that_cannot_be_used_are_errors() {
    let device = &devices()[0].1;
    let config = PreprocessConfig::full();
    let error = config.clip_tensor(&[], device).unwrap_err();
    assert!(matches!(&error, Error::Shape { what: "clip", found, .. } if found[0] == 0), "{error}");
    assert!(matches!(config.clip_tensor(&[RgbImage::new(0, 4)], device), Err(Error::Shape { .. })));
    let error = config.clip_tensor(&[RgbImage::new(8, 6), RgbImage::new(8, 5)], device).unwrap_err().to_string();
    assert!(error.contains("[2, 5, 8, 3]") && error.contains("6, 8, 3"), "{error}");
    let frame = [RgbImage::new(8, 6)];
    let zero = PreprocessConfig { resolution: 0, ..config.clone() };
    assert!(matches!(zero.clip_tensor(&frame, device), Err(Error::Config { key: "resolution", .. })));
    let zero = PreprocessConfig { deviation: [1.0, 0.0, 1.0], ..config };
    assert!(matches!(zero.clip_tensor(&frame, device), Err(Error::Config { key: "deviation", .. })));
}
