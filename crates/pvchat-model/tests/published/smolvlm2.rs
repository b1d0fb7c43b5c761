//! SmolVLM2: the names and shapes of the three published models, and what is saved and opened of them.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use burn::{prelude::*, tensor::FloatDType};
use image::RgbImage;
use pvchat_data::random::SeededStream;
use pvchat_model::{
    checkpoint,
    families::smolvlm2::{self, Conversation, FAMILY, Message, Part, PromptCodec, Role, SmolVlm2Config},
    preprocess::squares::normalised,
    sight::Shown,
    vilm::Vilm,
    vision::VisionEncoder,
};
use pvchat_nn::{language::GenerationOptions, weights::inventory};
use serde::Deserialize;

use crate::tiny_smolvlm2::{folder, frames, published};

/// The logits behind a question about two frames, and the answer.
fn asked(vilm: &Vilm) -> (Vec<f32>, String) {
    let sight = vilm.look_at(&frames(2), &[0.0, 1.0], 2.0).unwrap();
    let visual = vilm.parameters().answer.visual(&sight, None).unwrap();
    let view = vilm.with_subjects(&[]);
    let options = GenerationOptions { max_new_tokens: 8, end_token: u32::MAX, ..GenerationOptions::default() };
    let text = view.ask(&sight, "What is this?", &options, |_| std::ops::ControlFlow::Continue(())).unwrap().text;
    (visual.embeddings.into_data().iter::<f32>().collect(), text)
}

/// What a published model holds, as `fixtures/golden` lists it.
#[derive(Deserialize)]
struct Listed {
    parameters: usize,
    tensors: usize,
    keys: BTreeMap<String, Key>,
}

#[derive(Deserialize)]
struct Key {
    shape: Vec<usize>,
    /// How many layers have it.
    count: usize,
}

impl Listed {
    /// The shape of every tensor.
    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let layers = |(name, key): (&String, &Key)| {
            let (name, shape) = (name.clone(), key.shape.clone());
            (0..key.count).map(move |layer| (name.replace('#', &layer.to_string()), shape.clone()))
        };
        self.keys.iter().flat_map(layers).collect()
    }
}

/// By size.
fn listed() -> BTreeMap<String, Listed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/smolvlm/checkpoint_keys.json");
    let models: BTreeMap<String, Listed> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(models.keys().collect::<Vec<_>>(), ["2.2b", "256m", "500m"]);
    models
}

#[test]
fn the_full_models_have_every_published_name_and_shape_and_no_other() {
    for (size, model) in listed() {
        let listed = model.shapes();
        assert_eq!(listed.len(), model.tensors, "{size}");
        let config = smolvlm2::config(SmolVlm2Config::published(&size).unwrap());
        let parameters = inventory::parameters(&config.init(&SeededStream::new(0), &Device::flex()).unwrap());
        let ours: BTreeMap<_, _> =
            parameters.into_iter().map(|found| ((FAMILY.names.public_name)(&found.name), found.shape)).collect();
        assert_eq!(ours, listed, "{size}");
        assert_eq!(ours.values().map(|shape| shape.iter().product::<usize>()).sum::<usize>(), model.parameters, "{size}");
    }
}

/// The specification is beside the directory that `PVCHAT_GOLDEN` names, or in `shared` beside the checkout.
#[test]
fn the_names_and_shapes_in_the_fixtures_are_those_of_the_specification() {
    #[derive(Deserialize)]
    struct Specified {
        parameters: usize,
        tensors: usize,
        keys: BTreeMap<String, Vec<usize>>,
    }
    let named = std::env::var_os("PVCHAT_GOLDEN").map(PathBuf::from);
    let beside = named.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    let shared = beside.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let path = shared.join("spec/smolvlm2_keys.json");
    let Ok(text) = std::fs::read(&path) else {
        println!("not run: there is no {}", path.display());
        return;
    };
    let specified: BTreeMap<String, Specified> = serde_json::from_slice(&text).unwrap();
    let listed = listed();
    assert_eq!(specified.len(), listed.len());
    for (name, model) in specified {
        let size = name.trim_start_matches("SmolVLM2-").split('-').next().unwrap().to_lowercase();
        let ours = listed.get(&size).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((ours.parameters, ours.tensors), (model.parameters, model.tensors), "{name}");
        assert_eq!(ours.shapes(), model.keys, "{name}");
    }
}

#[test]
fn a_frame_that_looks_like_an_earlier_one_is_not_encoded_again() {
    let folder = folder(&published(), usize::MAX);
    let vilm = Vilm::open(folder.path(), &Device::flex()).unwrap();
    let moving = frames(2);
    // One level more in every value: another picture for the encoder, the same for anybody who looks.
    let mut noisy = moving[0].clone();
    noisy.iter_mut().for_each(|value| *value = value.saturating_add(1));
    let look = |frames: &[RgbImage]| {
        let seconds: Vec<f64> = (0..frames.len()).map(|second| second as f64).collect();
        let sight = vilm.look_at(frames, &seconds, 4.0).unwrap();
        assert_eq!(sight.pictures(), frames.len());
        let width = sight.tokens.dims()[2] * sight.tokens.dims()[1] / frames.len();
        let values: Vec<f32> = sight.tokens.into_data().iter::<f32>().collect();
        values.chunks(width).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let seen = look(&[moving[0].clone(), noisy.clone(), moving[1].clone(), moving[0].clone()]);
    let alone = look(&moving);
    assert!(seen[0] == seen[1] && seen[0] == seen[3], "one picture three times");
    for (found, expected) in [(&seen[0], &alone[0]), (&seen[2], &alone[1])] {
        let furthest = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-4, "{furthest}");
    }
    assert_ne!(look(&[noisy])[0], seen[0], "by itself it is another picture");
}

/// Golden files (`smolvlm_text`) check the bytes of tiles and the text of prompts; this test checks that a look has both.
#[test]
fn an_image_by_itself_is_seen_in_tiles_and_asked_about_as_published() {
    let folder = folder(&published(), usize::MAX);
    let vilm = open(folder.path());
    let image = RgbImage::from_fn(90, 60, |x, y| image::Rgb([(x * 2) as u8, (y * 4) as u8, ((x + y) % 7 * 30) as u8]));
    let tiles = published().image.image_tiles(&image).unwrap();
    let (rows, columns, count) = (tiles.rows, tiles.columns, tiles.rows * tiles.columns + 1);
    assert!(rows > 1 && columns > 1);
    let seen = vilm.look_at_image(&image).unwrap();
    assert_eq!(seen.shown, [Shown::Image { rows, columns }]);
    let width = seen.tokens.dims()[1] / count;
    for (number, pixels) in tiles.pixels.chunks(3 * 32 * 32).enumerate() {
        let pixels = TensorData::new(normalised(pixels), [1, 3, 1, 32, 32]);
        let alone = vilm.parameters().vision_encoder.encode(Tensor::from_data(pixels, vilm.device())).unwrap();
        let apart: f32 = (seen.tokens.clone().narrow(1, number * width, width) - alone).abs().max().into_scalar();
        assert!(apart < 1e-4, "tile {number}: {apart}");
    }
    // A second image behind it, in one square.
    let seen = seen.join(&vilm.look(&[&frames(1)]).unwrap());
    let question = "What is this?";
    let message = Message {
        role: Role::User,
        parts: vec![Part::Image { rows, columns }, Part::Image { rows: 0, columns: 0 }, Part::Text(question.into())],
    };
    let prompt = PromptCodec::open(&folder.path().join("tokenizer.json"), &published()).unwrap();
    let segments = prompt.encode(&Conversation { messages: vec![message], generation_prompt: true }).unwrap();
    let options = GenerationOptions { max_new_tokens: 8, end_token: u32::MAX, ..GenerationOptions::default() };
    let (mut whole, mut asked) = (Vec::new(), Vec::new());
    let answer = &vilm.parameters().answer;
    let visual = answer.visual(&seen, None).unwrap();
    let follow = |id| {
        whole.push(id);
        ControlFlow::Continue(())
    };
    answer.complete(Some(&visual), &segments, vilm.codec(), &options, follow).unwrap();
    let follow = |id| {
        asked.push(id);
        ControlFlow::Continue(())
    };
    let view = vilm.with_subjects(&[]);
    view.generate(&view.read(&seen, &[]).unwrap(), question, &options, follow).unwrap();
    assert_eq!(asked, whole);
    assert!(!whole.is_empty());
}

#[test]
fn what_is_saved_in_one_file_or_in_several_is_opened_again() {
    let (one, several) = (folder(&published(), usize::MAX), folder(&published(), 20_000));
    assert!(several.path().join(checkpoint::INDEX).is_file());
    let (one, several) = (open(one.path()), open(several.path()));
    assert_eq!(one.config(), &smolvlm2::config(published()));
    let expected = asked(&one);
    assert_eq!(asked(&several), expected);
    let again = tempfile::tempdir().unwrap();
    several.save(again.path()).unwrap();
    let again = open(again.path());
    assert_eq!(asked(&again), expected);
    assert_eq!(again.config(), one.config());
}

fn open(folder: &Path) -> Vilm {
    Vilm::open(folder, &Device::flex()).unwrap()
}

#[test]
fn a_tied_head_is_a_copy_of_the_word_table_and_is_saved() {
    let config = SmolVlm2Config { tie_word_embeddings: true, ..published() };
    let tied = folder(&config, usize::MAX);
    let file = tied.path().join(checkpoint::SINGLE);
    let bytes = std::fs::read(&file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kept: Vec<_> = tensors.iter().filter(|(name, _)| *name != "lm_head.weight").collect();
    assert_eq!(kept.len() + 1, tensors.len());
    std::fs::write(&file, safetensors::serialize(kept, None).unwrap()).unwrap();
    let vilm = open(tied.path());
    let expected = asked(&vilm);
    let again = tempfile::tempdir().unwrap();
    vilm.save(again.path()).unwrap();
    assert_eq!(asked(&open(again.path())), expected);
}

#[test]
fn half_precision_answers_nearly_as_full_precision_does() {
    let folder = folder(&published(), usize::MAX);
    let device = Device::flex();
    let half = Vilm::open_in(FloatDType::BF16, folder.path(), &device).unwrap();
    let types = |vilm: &Vilm| {
        let answer = &vilm.parameters().answer;
        [answer.lm.norm.gamma.val().dtype(), answer.lm.layers[0].mlp.up_proj.base.weight.val().dtype()]
    };
    assert_eq!(types(&half), [burn::tensor::DType::BF16; 2]);
    let (full, half) = (asked(&open(folder.path())).0, asked(&half).0);
    let size = full.iter().map(|value| value.abs()).fold(0.0, f32::max);
    let worst = full.iter().zip(&half).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
    println!("the largest is {size}, the largest difference {worst}");
    assert!(worst > 0.0 && worst < 0.03 * size, "{worst} of {size}");
}
