//! Golden tests of what SmolVLM2 needs beside tensors: published configurations, pixels, choice of frames, prompts, tokens.
//!
//! The tokenizer is `PVCHAT_SMOLVLM_TOKENIZER`, or lies in `shared/spec/smolvlm2` beside the checkout, with the published
//! configurations. The pixels, which show people, are only in the folder that `PVCHAT_GOLDEN` names. What is missing is not run,
//! and the test says so.

use crate::support::{Golden, are_ours, directory, is_there};
use image::RgbImage;
use pvchat_model::{
    Error,
    families::smolvlm2::{
        Conversation, FrameSampling, Message, Part, PromptCodec, Role, SiglipConfig, SmolVlm2Config, config::PublishedFiles,
        frames::frame_times, prompt::number_words,
    },
    preprocess::{
        SquaresConfig,
        squares::{LARGEST_INPUT, normalised},
    },
    prompt::Segment,
};
use pvchat_nn::language::DecoderConfig;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// A golden file; `None`, and a line that says so, where another directory lacks it.
fn golden_json(name: &str) -> Option<Value> {
    let file = format!("smolvlm/{name}");
    let path = directory().join(&file);
    let read = || std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    is_there(&file).then(|| serde_json::from_slice(&read()).unwrap())
}

/// Our file has that many cases; another has some.
fn assert_cases(what: &str, found: usize, ours: usize) {
    assert!(if are_ours() { found == ours } else { found > 0 }, "{what}: {found} cases");
}

/// A published file: beside the checkout or nowhere.
fn published(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/smolvlm2").join(name);
    path.exists().then_some(path)
}

pub fn tokenizer_path() -> Option<PathBuf> {
    let made = || Some(crate::smollm2::folder()?.join("smolvlm2-tokenizer.json")).filter(|path| path.is_file());
    let named = std::env::var_os("PVCHAT_SMOLVLM_TOKENIZER").map(PathBuf::from);
    let path = named.or_else(|| published("tokenizer.json")).or_else(made);
    if path.is_none() {
        eprintln!("not run: needs the tokenizer.json of SmolVLM2 (PVCHAT_SMOLVLM_TOKENIZER)");
    }
    path
}

// ---- configuration ----

const CONFIG: &str = r#"{
    "model_type": "smolvlm", "image_token_id": 49190, "pad_token_id": 128002, "scale_factor": 4, "something": {"new": 1},
    "tie_word_embeddings": false, "vocab_size": 49280,
    "text_config": {"model_type": "llama", "head_dim": 64, "hidden_size": 960, "intermediate_size": 2560, "vocab_size": 49280,
        "max_position_embeddings": 8192, "num_attention_heads": 15, "num_hidden_layers": 32, "num_key_value_heads": 5,
        "pad_token_id": 2, "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_theta": 100000, "hidden_act": null},
    "vision_config": {"hidden_size": 768, "image_size": 512, "num_attention_heads": 12, "patch_size": 16}
}"#;

fn read(config: &Value) -> pvchat_model::Result<SmolVlm2Config> {
    SmolVlm2Config::from_files(&PublishedFiles { config: config.to_string().as_bytes(), ..PublishedFiles::default() })
}

/// The configuration of this test, changed at a path of keys.
fn changed(keys: &str, value: Value) -> Value {
    let mut config: Value = serde_json::from_str(CONFIG).unwrap();
    let (place, key) = keys.rsplit_once('/').unwrap();
    config.pointer_mut(place).unwrap()[key] = value;
    config
}

/// The sizes of 256M, 500M and 2.2B as the specification lists them.
fn expected(size: &str) -> SmolVlm2Config {
    let large = size == "2.2b";
    let [width, layers, heads, mlp_hidden, image_size, patch_size] =
        if large { [1152, 27, 16, 4304, 384, 14] } else { [768, 12, 12, 3072, 512, 16] };
    let [hidden, text_layers, text_heads, kv_heads, intermediate] = match size {
        "256m" => [576, 30, 9, 3, 1536],
        "500m" => [960, 32, 15, 5, 2560],
        _ => [2048, 24, 32, 32, 8192],
    };
    SmolVlm2Config {
        vision: SiglipConfig { width, layers, heads, mlp_hidden, image_size, patch_size, channels: 3, layer_norm_epsilon: 1e-6 },
        scale_factor: if large { 3 } else { 4 },
        text: DecoderConfig {
            vocabulary: 49_280,
            hidden,
            layers: text_layers,
            heads: text_heads,
            kv_heads,
            head_dim: 64,
            intermediate,
            rope_theta: if large { 130_000.0 } else { 100_000.0 },
            rms_norm_epsilon: 1e-5,
            initial_deviation: 0.02,
            lora: None,
        },
        tie_word_embeddings: false,
        max_positions: 8192,
        image_token_id: 49_190,
        end_tokens: vec![49_279],
        video: SquaresConfig { longest_edge: image_size, side: image_size },
        image: SquaresConfig { longest_edge: 4 * image_size, side: image_size },
        split_images: true,
        sampling: FrameSampling { per_second: 1.0, most: 64 },
    }
}

#[test]
fn published_configurations_give_the_sizes_of_the_models() {
    // Without the files beside it, and with most keys missing.
    let config = read(&serde_json::from_str(CONFIG).unwrap()).unwrap();
    assert_eq!(config, SmolVlm2Config { end_tokens: Vec::new(), ..expected("500m") });
    assert_eq!(SmolVlm2Config::published("135m"), None);
    for (size, tokens, inputs) in [("256m", 64, 12_288), ("500m", 64, 12_288), ("2.2b", 81, 10_368)] {
        assert_eq!(SmolVlm2Config::published(size), Some(expected(size)));
        let Some(folder) = published(size) else {
            eprintln!("not run: needs the published files of {size}");
            continue;
        };
        let beside = |name: &str| std::fs::read(folder.join(name)).ok();
        let (config, generation) = (beside("config.json").unwrap(), beside("generation_config.json"));
        let (preprocessor, processor) = (beside("preprocessor_config.json"), beside("processor_config.json"));
        let config = SmolVlm2Config::from_files(&PublishedFiles {
            config: &config,
            generation: generation.as_deref(),
            preprocessor: preprocessor.as_deref(),
            processor: processor.as_deref(),
        })
        .unwrap();
        assert_eq!(config, expected(size), "{size}");
        assert_eq!((config.picture_tokens(), config.connector_inputs()), (tokens, inputs), "{size}");
    }
}

#[test]
fn keys_that_are_missing_or_written_otherwise_are_read() {
    let rope = changed("/text_config/rope_parameters", json!({"rope_theta": 5e4, "rope_type": "default"}));
    assert_eq!(read(&rope).unwrap().text.rope_theta, 5e4);
    let idefics3 = read(&changed("/model_type", json!("idefics3"))).unwrap();
    assert_eq!(idefics3.text, expected("500m").text);
    let mut bare = changed("/text_config/num_key_value_heads", json!(null));
    for key in ["head_dim", "rope_theta", "rms_norm_eps", "max_position_embeddings"] {
        bare["text_config"].as_object_mut().unwrap().remove(key);
    }
    let bare = read(&bare).unwrap();
    assert_eq!((bare.text.kv_heads, bare.text.head_dim, bare.text.rope_theta), (15, 64, 1e4));
    assert_eq!((bare.text.rms_norm_epsilon, bare.max_positions), (1e-6, 2048));

    let files = PublishedFiles {
        config: CONFIG.as_bytes(),
        generation: Some(br#"{"eos_token_id": [2, 49279]}"#),
        preprocessor: Some(
            br#"{"size": {"longest_edge": 1024}, "do_image_splitting": false,
                "video_sampling": {"fps": 0.5, "max_frames": 8, "video_size": {"longest_edge": 2048}}}"#,
        ),
        processor: Some(b"{}"),
    };
    let config = SmolVlm2Config::from_files(&files).unwrap();
    assert_eq!(config.end_tokens, [2, 49_279]);
    assert_eq!((config.image.longest_edge, config.video.longest_edge, config.split_images), (1024, 2048, false));
    assert_eq!(config.sampling, FrameSampling { per_second: 0.5, most: 8 });
}

#[test]
fn configurations_of_other_models_and_absurd_sizes_name_key_and_value() {
    let refused = [
        ("/model_type", json!("llava"), "llava"),
        ("/scale_factor", json!(3), "32 x 32"),
        ("/scale_factor", json!(0), "0"),
        ("/image_token_id", json!(49_280), "49280"),
        ("/text_config/hidden_size", json!(1u64 << 40), "1099511627776"),
        ("/text_config/num_hidden_layers", json!(5000), "5000"),
        ("/text_config/num_key_value_heads", json!(4), "kv_heads"),
        ("/text_config/rope_theta", json!(-1.0), "-1"),
        ("/text_config/rope_scaling", json!({"type": "linear", "factor": 2.0}), "linear"),
        ("/text_config/attention_bias", json!(true), "attention_bias"),
        ("/text_config/hidden_act", json!("gelu"), "gelu"),
        ("/vision_config/num_attention_heads", json!(7), "768"),
        ("/vision_config/patch_size", json!(0), "patch_size"),
        ("/vision_config/image_size", json!(1 << 20), "1048576"),
        ("/vision_config/hidden_act", json!("gelu"), "gelu_pytorch_tanh"),
        ("/vision_config/num_channels", json!(1), "3 colours"),
    ];
    for (keys, value, named) in refused {
        let error = read(&changed(keys, value)).unwrap_err();
        assert!(matches!(error, Error::Config { .. }) && error.to_string().contains(named), "{keys}: {error}");
    }
    let error = read(&changed("/text_config/hidden_size", json!(-1))).unwrap_err();
    assert!(matches!(&error, Error::File { file, .. } if file.ends_with("config.json")), "{error}");

    let beside = [
        (r#"{"image_mean": [0.48, 0.45, 0.4]}"#, "{}", "image_mean"),
        (r#"{"resample": 3}"#, "{}", "resample"),
        (r#"{"max_image_size": {"longest_edge": 384}}"#, "{}", "384"),
        (r#"{"size": {"longest_edge": 100000}}"#, "{}", "100000"),
        (r#"{"video_sampling": {"max_frames": 0}}"#, "{}", "max_frames"),
        ("{}", r#"{"image_seq_len": 81}"#, "image_seq_len"),
    ];
    for (preprocessor, processor, named) in beside {
        let files = PublishedFiles {
            config: CONFIG.as_bytes(),
            generation: None,
            preprocessor: Some(preprocessor.as_bytes()),
            processor: Some(processor.as_bytes()),
        };
        let error = SmolVlm2Config::from_files(&files).unwrap_err().to_string();
        assert!(error.contains(named), "{preprocessor} {processor}: {error}");
    }
}

// ---- pixels ----

/// Frames of a golden file, `[frames, height, width, 3]`.
fn frames(golden: &Golden, name: &str) -> Vec<RgbImage> {
    let [_, height, width, 3] = golden.shape(name)[..] else { panic!("{name}: {:?}", golden.shape(name)) };
    bytes(golden, name)
        .chunks_exact(height * width * 3)
        .map(|frame| RgbImage::from_raw(width as u32, height as u32, frame.to_vec()).unwrap())
        .collect()
}

fn bytes(golden: &Golden, name: &str) -> Vec<u8> {
    golden.file().tensor(name).unwrap().data().to_vec()
}

/// `[squares, side, side, 3]` as `[squares, 3, side, side]`.
fn as_planes(pixels: &[u8], side: usize) -> Vec<u8> {
    let square = |square: &[u8]| {
        let plane = |channel: usize| square.iter().skip(channel).step_by(3).copied().collect::<Vec<u8>>();
        (0..3).flat_map(plane).collect::<Vec<u8>>()
    };
    pixels.chunks_exact(side * side * 3).flat_map(square).collect()
}

#[test]
fn pixels_are_those_of_the_reference_byte_for_byte() {
    if are_ours() {
        return eprintln!("not run: needs PVCHAT_GOLDEN, because the pixels show people");
    }
    for file in ["smolvlm/preprocess_small", "smolvlm/preprocess_full"] {
        if !is_there(&format!("{file}.safetensors")) {
            continue;
        }
        let golden = Golden::open(file);
        for name in golden.names() {
            let parts: Vec<&str> = name.split('.').collect();
            let (&["outputs", kind, clip, longest_edge, side] | &["outputs", kind, clip, longest_edge, side, _]) =
                parts.as_slice()
            else {
                continue;
            };
            let preprocess = SquaresConfig { longest_edge: longest_edge.parse().unwrap(), side: side.parse().unwrap() };
            let frames = frames(&golden, &format!("inputs.{clip}"));
            let mut expected = bytes(&golden, &name);
            let found = match kind {
                "video" => {
                    // Of several frames the file has the channels last, whatever its shape says.
                    if frames.len() > 1 {
                        expected = as_planes(&expected, preprocess.side);
                    }
                    preprocess.clip_pixels(&frames).unwrap()
                }
                _ if name.ends_with("whole") => preprocess.frame_pixels(&frames[0]).unwrap(),
                _ => {
                    let tiles = preprocess.image_tiles(&frames[0]).unwrap();
                    let stated = &golden.config()["images"][name.trim_start_matches("outputs.image.")]["rows_cols"];
                    assert_eq!(json!([tiles.rows, tiles.columns]), *stated, "{name}");
                    let (width, height) = frames[0].dimensions();
                    let tiling = preprocess.tiling(width as usize, height as usize).unwrap();
                    assert_eq!(tiling, (tiles.rows, tiles.columns), "{name}");
                    tiles.pixels
                }
            };
            assert_eq!(found.len(), expected.len(), "{name}");
            let different = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert_eq!(different, 0, "{name}: of {} bytes", found.len());
        }
        if golden.has("outputs.normalised") {
            let all: Vec<u8> = (0..=255).collect();
            assert_eq!(normalised(&all), golden.floats("outputs.normalised"));
        }
    }
}

/// One pass of the resize in f64, as the specification has it: `at` gives the value of a tap.
fn lanczos(from: usize, to: usize, place: usize, at: impl Fn(usize) -> f64) -> f64 {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let centre = (place as f64 + 0.5) * scale;
    let taps = (centre - 3.0 * stretch + 0.5).max(0.0) as usize..((centre + 3.0 * stretch + 0.5) as usize).min(from);
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
    let weight = |tap: usize| {
        let x = (tap as f64 - centre + 0.5) / stretch;
        if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
    };
    let total: f64 = taps.clone().map(weight).sum();
    let sum: f64 = taps.map(|tap| weight(tap) * at(tap)).sum();
    (sum / total + 0.5).floor().clamp(0.0, 255.0)
}

fn resized(image: &RgbImage, width: usize, height: usize) -> RgbImage {
    let (old_width, old_height) = image.dimensions();
    let wide = RgbImage::from_fn(width as u32, old_height, |x, y| {
        let value =
            |c: usize| lanczos(old_width as usize, width, x as usize, |tap| image.get_pixel(tap as u32, y)[c].into()) as u8;
        image::Rgb([0, 1, 2].map(value))
    });
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let value =
            |c: usize| lanczos(old_height as usize, height, y as usize, |tap| wide.get_pixel(x, tap as u32)[c].into()) as u8;
        image::Rgb([0, 1, 2].map(value))
    })
}

/// A picture of edges and slopes.
fn drawn(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let square = (x / 7 + y / 5) % 2 * 200;
        image::Rgb([square, 5 * x + 3 * y, (x * x + y * y) / 9].map(|value| (value % 256) as u8))
    })
}

#[test]
fn a_frame_is_resized_twice_by_lanczos_and_squashed() {
    // Size of the frame, longest edge, side, and the size after the first resize: shrunk, enlarged, odd edges made even.
    let cases =
        [((90, 51), 40, 24, (40, 22)), ((30, 71), 96, 32, (40, 96)), ((33, 33), 33, 40, (33, 34)), ((61, 2), 32, 16, (32, 2))];
    for ((width, height), longest_edge, side, (between_width, between_height)) in cases {
        let frame = drawn(width, height);
        let found = SquaresConfig { longest_edge, side }.frame_pixels(&frame).unwrap();
        let expected = resized(&resized(&frame, between_width, between_height), side, side);
        let expected = as_planes(expected.as_raw(), side);
        // Weights of 16 bits differ from those in f64 by a level, seldom by two; where two rows become sixteen, often.
        let share = if height == 2 { 5 } else { 50 };
        let apart: Vec<u8> = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).collect();
        let different = apart.iter().filter(|&&apart| apart > 0).count();
        assert_eq!(found.len(), expected.len());
        assert!(apart.iter().all(|&apart| apart <= 2) && different * share <= found.len(), "{width}x{height}: {different}");
    }
    // A frame that fits stays as it is.
    let frame = drawn(16, 16);
    let fits = SquaresConfig { longest_edge: 16, side: 16 };
    assert_eq!(fits.frame_pixels(&frame).unwrap(), as_planes(frame.as_raw(), 16));
    let tiles = fits.image_tiles(&frame).unwrap();
    assert_eq!((tiles.rows, tiles.columns, tiles.pixels), (0, 0, as_planes(frame.as_raw(), 16)));
}

#[test]
fn tiles_are_the_image_row_by_row_and_then_the_whole() {
    let image = drawn(60, 40);
    let preprocess = SquaresConfig { longest_edge: 60, side: 20 };
    let tiles = preprocess.image_tiles(&image).unwrap();
    assert_eq!((tiles.rows, tiles.columns), (2, 3));
    let square = 3 * 20 * 20;
    assert_eq!(tiles.pixels.len(), 7 * square);
    for (number, tile) in tiles.pixels.chunks_exact(square).take(6).enumerate() {
        let (left, top) = (number as u32 % 3 * 20, number as u32 / 3 * 20);
        let cut = image::imageops::crop_imm(&image, left, top, 20, 20).to_image();
        assert_eq!(tile, as_planes(cut.as_raw(), 20), "tile {number}");
    }
    assert_eq!(&tiles.pixels[6 * square..], preprocess.frame_pixels(&image).unwrap());
    // 16:9 with the sizes of the 500M.
    assert_eq!(SquaresConfig { longest_edge: 2048, side: 512 }.tiling(1280, 720).unwrap(), (3, 4));
}

#[test]
fn frames_and_sizes_that_cannot_be_used_are_errors() {
    let preprocess = SquaresConfig { longest_edge: 32, side: 16 };
    for image in [RgbImage::new(0, 4), RgbImage::new(4, 0), RgbImage::new(LARGEST_INPUT as u32 + 1, 1)] {
        for error in [preprocess.frame_pixels(&image).unwrap_err(), preprocess.image_tiles(&image).unwrap_err()] {
            assert!(matches!(&error, Error::Shape { what: "frame", .. }), "{error}");
        }
    }
    assert!(preprocess.clip_pixels(&[drawn(4, 4), RgbImage::new(0, 0)]).is_err());
    // One pixel high: the shorter edge keeps a pixel.
    assert_eq!(preprocess.frame_pixels(&drawn(3000, 1)).unwrap().len(), 3 * 16 * 16);
    for (longest_edge, side, key) in [(0, 16, "longest_edge"), (32, 0, "side"), (32, 5000, "side")] {
        let error = SquaresConfig { longest_edge, side }.frame_pixels(&drawn(4, 4)).unwrap_err();
        assert!(matches!(&error, Error::Config { key: found, .. } if *found == key), "{error}");
    }
}

// ---- frames ----

#[test]
fn frames_are_chosen_as_the_reference_does() {
    let Some(cases) = golden_json("video_sampling.json") else { return };
    let cases = cases.as_array().unwrap();
    assert_cases("video_sampling.json", cases.len(), 30);
    for case in cases {
        let number = |key: &str| case[key].as_f64().unwrap();
        let sampling = FrameSampling { per_second: number("target_fps"), most: number("num_frames") as usize };
        let indices = sampling.choose(number("frames") as usize, number("fps"), number("duration")).unwrap();
        assert_eq!(json!(indices), case["indices"], "{case}");
        let times = frame_times(&indices, Some(number("fps"))).unwrap();
        // The prompt states each time in minutes and seconds.
        let text = conversation(vec![video(times, None)]).render(0).unwrap();
        for stamp in case["timestamps"].as_array().unwrap() {
            let frame = format!("Frame from {}:", stamp.as_str().unwrap());
            assert!(text.contains(&frame), "{frame} in {text}");
        }
    }
}

#[test]
fn clips_that_frames_cannot_be_chosen_of_are_errors() {
    let plan = FrameSampling::PUBLISHED;
    let refused = [
        (plan.choose(0, 25.0, 1.0), "frames"),
        (plan.choose(9, 0.0, 1.0), "rate"),
        (plan.choose(9, f64::NAN, 1.0), "rate"),
        (plan.choose(9, 25.0, f64::INFINITY), "duration"),
        (FrameSampling { most: 0, ..plan }.choose(9, 25.0, 1.0), "video_sampling.max_frames"),
        (FrameSampling { most: usize::MAX, ..plan }.choose(9, 25.0, 1.0), "video_sampling.max_frames"),
        (FrameSampling { per_second: -1.0, ..plan }.choose(9, 25.0, 1.0), "video_sampling.fps"),
    ];
    for (result, key) in refused {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Config { key: found, .. } if *found == key), "{key}: {error}");
    }
    // More frames than the clip has: each once. A rate that is not known: 24 frames a second.
    assert_eq!(FrameSampling { per_second: 100.0, ..plan }.choose(3, 25.0, 0.12).unwrap(), [0, 1, 2]);
    for (seconds, expected) in [(0.0, 1), (0.4, 1), (2.5, 2), (3.0, 3), (1e9, 64), (f64::NAN, 1), (-1.0, 1)] {
        assert_eq!(plan.count(seconds), expected, "{seconds}");
    }
    assert_eq!(frame_times(&[0, 36], None).unwrap(), [0.0, 1.5]);
}

// ---- prompts ----

fn video(times: Vec<f64>, duration: Option<f64>) -> Part {
    Part::Video { times, duration }
}

fn conversation(parts: Vec<Part>) -> Conversation {
    Conversation { messages: vec![Message { role: Role::User, parts }], generation_prompt: true }
}

/// A conversation of the golden file. Its videos are named, its images are random.
fn golden_conversation(case: &Value, images: SquaresConfig) -> Conversation {
    let split = case["proc"]["do_image_splitting"].as_bool().unwrap_or(true);
    let part = |part: &Value| match part["type"].as_str().unwrap() {
        "text" => Part::Text(part["text"].as_str().unwrap().into()),
        "video" => {
            let (frames, rate, duration) = match part["path"].as_str().unwrap() {
                "media/lp_d0.mp4" => (78, 25.0, 3.12),
                "media/lp_s18.mp4" => (282, 30.0, 9.4),
                other => panic!("{other}"),
            };
            let most = case["proc"]["num_frames"].as_u64().map_or(64, |most| most as usize);
            let indices = FrameSampling { per_second: 1.0, most }.choose(frames, rate, duration).unwrap();
            video(frame_times(&indices, Some(rate)).unwrap(), Some(duration))
        }
        _ => {
            let edge = |key: &str| part["image"][key].as_u64().unwrap() as usize;
            let (rows, columns) = if split { images.tiling(edge("width"), edge("height")).unwrap() } else { (0, 0) };
            Part::Image { rows, columns }
        }
    };
    let message = |message: &Value| Message {
        role: match message["role"].as_str().unwrap() {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        },
        parts: message["content"].as_array().unwrap().iter().map(part).collect(),
    };
    Conversation {
        messages: case["messages"].as_array().unwrap().iter().map(message).collect(),
        generation_prompt: case["chat"]["add_generation_prompt"].as_bool().unwrap(),
    }
}

#[test]
fn prompts_are_those_of_the_reference() {
    let Some(prompts) = golden_json("prompts.json") else { return };
    let tokenizer = tokenizer_path();
    for (size, picture_tokens) in [("500m", 64), ("2.2b", 81)] {
        let config = expected(size);
        let codec = tokenizer.as_ref().map(|path| PromptCodec::open(path, &config).unwrap());
        let cases = prompts[size].as_object().unwrap();
        assert_cases(size, cases.len(), 15);
        for (name, case) in cases {
            let conversation = golden_conversation(case, config.image);
            let text = conversation.render(picture_tokens).unwrap();
            let short = text.replace(&"<image>".repeat(picture_tokens), &format!("<image>*{picture_tokens}"));
            assert_eq!(short, case["expanded_text"].as_str().unwrap(), "{size} {name}");
            let Some(codec) = &codec else { continue };
            let segments = codec.encode(&conversation).unwrap();
            let pictures = segments.iter().filter(|segment| **segment == Segment::Visual).count();
            assert_eq!(pictures, conversation.pictures(), "{size} {name}");
            let ids: Vec<u32> = segments
                .into_iter()
                .flat_map(|segment| match segment {
                    Segment::Text(ids) => ids,
                    Segment::Visual => vec![49_190; picture_tokens],
                })
                .collect();
            let expected = case["ids_run_length"].as_array().unwrap().iter().flat_map(|run| {
                let [id, count] = [0, 1].map(|place| run[place].as_u64().unwrap());
                std::iter::repeat_n(id as u32, count as usize)
            });
            assert_eq!(ids, expected.collect::<Vec<u32>>(), "{size} {name}");
            assert_eq!(codec.end_token(), 49_279);
        }
    }
}

#[test]
fn numbers_and_lengths_are_written_as_the_reference_writes_them() {
    let spoken = [(0, "zero"), (12, "twelve"), (21, "twenty-one"), (64, "sixty-four"), (100, "one hundred")];
    let long = [(342, "three hundred and forty-two"), (1001, "one thousand and one"), (1100, "one thousand, one hundred")];
    for (number, words) in spoken.into_iter().chain(long) {
        assert_eq!(number_words(number), words);
    }
    // All of num2words' below ten thousand, one a line.
    let all: Vec<String> = (0..10_000).map(number_words).collect();
    let digest: String = Sha256::digest(all.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "25fe7882ff29a255764fac59daa4c8c638024c0d6d228dfaa81fc6d28934609f");
    assert_eq!(number_words(10_000), "10000");

    let opening = |times: Vec<f64>, duration: Option<f64>| {
        let text = conversation(vec![video(times, duration)]).render(1).unwrap();
        text.lines().next().unwrap().rsplit_once(" from a ").unwrap().1.to_string()
    };
    assert_eq!(opening(vec![0.0], Some(9.99)), "0:00:09 [H:MM:SS] video.");
    assert_eq!(opening(vec![0.0], Some(3723.0)), "1:02:03 [H:MM:SS] video.");
    assert_eq!(opening(vec![0.0], Some(86_400.0)), "1 day, 0:00:00 [H:MM:SS] video.");
    assert_eq!(opening(vec![0.0], Some(200_000.0)), "2 days, 7:33:20 [H:MM:SS] video.");
    assert_eq!(opening(vec![0.0, 61.7], None), "0:01:01 [H:MM:SS] video.");
    let hours = conversation(vec![video(vec![7384.9], None)]).render(1).unwrap();
    assert!(hours.contains("series of one frames") && hours.contains("Frame from 123:04:"), "{hours}");
}

#[test]
fn an_answer_goes_into_the_history_without_its_leading_space() {
    let messages = vec![Message::text(Role::User, " Who?"), Message::text(Role::Assistant, " <Aa> is.")];
    let text = Conversation { messages, generation_prompt: false }.render(1).unwrap();
    assert_eq!(text, "<|im_start|>User:  Who?<end_of_utterance>\nAssistant: <Aa> is.<end_of_utterance>\n");
}

#[test]
fn conversations_that_cannot_be_shown_are_errors() {
    let image = |rows, columns| conversation(vec![Part::Image { rows, columns }]);
    let none = Conversation { messages: Vec::new(), generation_prompt: true };
    for refused in [none, conversation(Vec::new()), conversation(vec![video(Vec::new(), Some(1.0))]), image(0, 2), image(7, 1)] {
        let error = refused.render(4).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{refused:?}: {error}");
    }
    for time in [f64::NAN, -1.0, f64::INFINITY] {
        let error = conversation(vec![video(vec![time], None)]).render(4).unwrap_err();
        assert!(matches!(&error, Error::Text { what: "time", .. }), "{error}");
    }
}

#[test]
fn texts_with_control_tokens_and_prompts_that_are_too_long_are_refused() {
    let Some(path) = tokenizer_path() else { return };
    let codec = PromptCodec::open(&path, &expected("500m")).unwrap();
    let text = |text: &str| Part::Text(text.into());
    let controls =
        ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<row_1_col_1>", "<global-img>", "<|im_start|>"];
    for control in controls {
        for role in [Role::System, Role::User, Role::Assistant] {
            let messages = vec![Message::text(role, &format!("a {control} b"))];
            let error = codec.encode(&Conversation { messages, generation_prompt: true }).unwrap_err();
            assert!(matches!(&error, Error::Text { what: "text", problem, .. } if problem.contains(control)), "{error}");
        }
    }
    let torn = codec.encode(&conversation(vec![text("<ima"), text("ge>")])).unwrap_err().to_string();
    assert!(torn.contains("control token \"<image>\""), "{torn}");
    let apart = [text("<ima"), Part::Image { rows: 0, columns: 0 }, text("ge> <row_7_col_1> <video>")];
    assert!(codec.encode(&conversation(apart.to_vec())).is_ok());

    // A subject's name is ordinary text.
    let Segment::Text(ids) = &codec.encode(&conversation(vec![text("<Aa>")])).unwrap()[0] else { panic!("text first") };
    assert!(ids.windows(4).any(|ids| ids == [2067, 49, 81, 46]), "{ids:?}");

    let error = |parts: Vec<Part>| codec.encode(&conversation(parts)).unwrap_err().to_string();
    let pictures = error(vec![video(vec![0.0; 129], None)]);
    assert!(pictures.contains("8256") && pictures.contains("8192"), "{pictures}");
    let absurd = error(vec![Part::Image { rows: usize::MAX, columns: usize::MAX }]);
    assert!(absurd.contains("8192"), "{absurd}");
    // 128 frames fit by themselves, and the text between them does not; of a text every word is a token.
    for parts in [vec![video(vec![0.0; 128], None)], vec![text(&"no ".repeat(9000))]] {
        let long = error(parts);
        assert!(long.contains("8192 positions") && !long.contains("visual"), "{long}");
    }

    // Another id in the configuration, and a tokenizer of another model.
    let other = SmolVlm2Config { image_token_id: 7, ..expected("500m") };
    assert!(PromptCodec::open(&path, &other).unwrap_err().to_string().contains("49190"));
    let empty = Tokenizer::new(tokenizers::models::bpe::BPE::default());
    assert!(matches!(PromptCodec::new(empty, &expected("500m")), Err(Error::File { .. })));
}

#[test]
fn the_tokenizer_gives_the_ids_of_the_reference() {
    let (Some(path), Some(cases)) = (tokenizer_path(), golden_json("tokenizer.json")) else { return };
    let codec = PromptCodec::open(&path, &expected("500m")).unwrap();
    let cases = cases.as_array().unwrap();
    assert_cases("tokenizer.json", cases.len(), 58);
    for case in cases {
        let tokenizer = codec.tokenizer();
        let encoding = tokenizer.encode_fast(case["text"].as_str().unwrap(), false).unwrap();
        assert_eq!(json!(encoding.get_ids()), case["ids"], "{case}");
        for (key, skip_special) in [("decoded", false), ("decoded_without_special", true)] {
            assert_eq!(tokenizer.decode(encoding.get_ids(), skip_special).unwrap(), case[key].as_str().unwrap(), "{case}");
        }
    }
}
