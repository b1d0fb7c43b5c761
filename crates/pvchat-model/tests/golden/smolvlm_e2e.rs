//! A whole SmolVLM2 in the published layout: from frames and a question to the ids of the answer, as transformers gives them.

use std::{fs, ops::ControlFlow, path::Path};

use burn::prelude::*;
use image::RgbImage;
use pvchat_model::{
    checkpoint::Checkpoint,
    families::{
        Files, VisionConfig,
        smolvlm2::{Conversation, Message, Part, PromptCodec, Role, SmolVlm2Config},
    },
    preprocess::Preprocessing,
    prompt::{Segment, TextCodec},
    vilm::{Vilm, VilmConfig},
    vision::VisionEncoder,
};
use pvchat_nn::{language::GenerationOptions, packed::Precision};
use serde_json::Value;

use crate::{
    smolvlm_text::tokenizer_path,
    support::{Golden, devices, directory},
};

/// The folder of the model, where the golden directory has it.
fn model() -> Option<tempfile::TempDir> {
    let (folder, tokenizer) = (directory().join("smolvlm/e2e"), tokenizer_path()?);
    if !folder.join("model.safetensors").exists() {
        eprintln!("not run: needs smolvlm/e2e in the directory that PVCHAT_GOLDEN names");
        return None;
    }
    let whole = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, whole.path().join(path.file_name().unwrap())).unwrap();
    }
    fs::copy(tokenizer, whole.path().join("tokenizer.json")).unwrap();
    Some(whole)
}

/// The model with frames resized to that longest edge first, its weights packed or not.
fn opened(folder: &Path, longest_edge: usize, is_packed: bool, device: &Device) -> (Vilm, SmolVlm2Config) {
    let beside = |name: &str| Ok(fs::read(folder.join(name)).ok());
    let json = fs::read(folder.join("config.json")).unwrap();
    let mut config = VilmConfig::read(&Files { name: "config.json", config: &json, beside: &beside }).unwrap();
    let VisionConfig::SmolVlm2(mut published) = config.vision.clone() else { panic!("another family") };
    published.video.longest_edge = longest_edge;
    config.preprocess = Preprocessing::Squares(published.video);
    let codec = TextCodec::open(&folder.join("tokenizer.json"), config.prompt.clone()).unwrap();
    let checkpoint = Checkpoint::open(folder).unwrap();
    let checkpoint = if is_packed { checkpoint.packed(Precision::F32) } else { checkpoint };
    let vilm = Vilm::from_checkpoint(config, codec, &checkpoint, device).unwrap().0;
    (vilm, published)
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn runs(segments: &[Segment], picture_tokens: usize) -> Vec<u32> {
    let ids = |segment: &Segment| match segment {
        Segment::Text(ids) => ids.clone(),
        Segment::Visual => vec![49_190; picture_tokens],
    };
    segments.iter().flat_map(ids).collect()
}

#[test]
fn a_model_in_the_published_layout_answers_as_transformers_does() {
    let Some(folder) = model() else { return };
    if !directory().join("smolvlm/preprocess_small.safetensors").exists() {
        eprintln!("not run: needs smolvlm/preprocess_small.safetensors in the directory that PVCHAT_GOLDEN names");
        return;
    }
    let clips = Golden::open("smolvlm/preprocess_small");
    let expected: Value = serde_json::from_slice(&fs::read(folder.path().join("expected.json")).unwrap()).unwrap();
    let greedy = |end: u32| GenerationOptions { max_new_tokens: 16, end_token: end, ..GenerationOptions::default() };
    for (name, device) in devices() {
        for (clip, case) in expected.as_object().unwrap() {
            let name_of = format!("inputs.{clip}");
            let pixels: Vec<u8> = clips.integers(&name_of).into_iter().map(|value| value as u8).collect();
            let shape = clips.shape(&name_of);
            let [count, height, width] = [shape[0], shape[1], shape[2]];
            let frames: Vec<RgbImage> = (0..count)
                .map(|index| {
                    let size = height * width * 3;
                    RgbImage::from_raw(width as u32, height as u32, pixels[index * size..][..size].to_vec()).unwrap()
                })
                .collect();
            let rate = case["fps"].as_f64().unwrap();
            let seconds: Vec<f64> = ids(&case["frames_indices"]).iter().map(|&index| f64::from(index) / rate).collect();
            let (duration, question) = (case["duration"].as_f64().unwrap(), case["question"].as_str().unwrap());
            let mut messages: Vec<Message> = case["history"]
                .as_array()
                .unwrap()
                .iter()
                .map(|turn| {
                    assert_eq!(turn["role"], "system");
                    Message::text(Role::System, turn["content"][0]["text"].as_str().unwrap())
                })
                .collect();
            let alone = messages.is_empty();
            messages.push(Message {
                role: Role::User,
                parts: vec![Part::Video { times: seconds.clone(), duration: Some(duration) }, Part::Text(question.into())],
            });
            let conversation = Conversation { messages, generation_prompt: true };
            for (edge, is_packed) in [(512, false), (2048, false), (512, true), (2048, true)] {
                let (vilm, published) = opened(folder.path(), edge, is_packed, &device);
                let wanted = &case[format!("longest_edge_{edge}")];
                let case_name = format!("{name}, {clip}, {edge}{}", if is_packed { ", packed" } else { "" });
                let prompt = PromptCodec::open(&folder.path().join("tokenizer.json"), &published).unwrap();
                let segments = prompt.encode(&conversation).unwrap();
                let whole: Vec<u32> = case["ids_run_length"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .flat_map(|run| vec![run[0].as_u64().unwrap() as u32; run[1].as_u64().unwrap() as usize])
                    .collect();
                assert_eq!(runs(&segments, published.picture_tokens()), whole, "{case_name}");
                let sight = vilm.look_at(&frames, &seconds, duration).unwrap();
                let answer = &vilm.parameters().answer;
                let visual = answer.visual(&sight, None).unwrap();
                let mut chosen = Vec::new();
                let text = answer
                    .complete(Some(&visual), &segments, vilm.codec(), &greedy(u32::MAX), |id| {
                        chosen.push(id);
                        ControlFlow::Continue(())
                    })
                    .unwrap()
                    .text;
                assert_eq!(chosen, ids(&wanted["greedy"]), "{case_name}: {text}");
                assert_eq!(text, wanted["text"].as_str().unwrap(), "{case_name}");
                if alone {
                    // The same through a reading that any number of questions can be asked of.
                    let view = vilm.with_subjects(&[]);
                    let reading = view.read(&sight, &[]).unwrap();
                    for _ in 0..2 {
                        let mut asked = Vec::new();
                        let follow = |id| {
                            asked.push(id);
                            ControlFlow::Continue(())
                        };
                        view.generate(&reading, question, &greedy(u32::MAX), follow).unwrap();
                        assert_eq!(asked, chosen, "{case_name}: asked of a reading");
                    }
                }
            }
            let negated = |vilm: &Vilm| {
                let pixels = vilm.config().preprocess.pixels(&frames, vilm.device()).unwrap().neg();
                let mut sight = vilm.look_at(&frames, &seconds, duration).unwrap();
                sight.tokens = vilm.parameters().vision_encoder.encode(pixels).unwrap();
                vilm.parameters().answer.visual(&sight, None).unwrap()
            };
            let (vilm, published) = opened(folder.path(), 512, false, &device);
            let prompt = PromptCodec::open(&folder.path().join("tokenizer.json"), &published).unwrap();
            let mut chosen = Vec::new();
            let segments = prompt.encode(&conversation).unwrap();
            vilm.parameters()
                .answer
                .complete(Some(&negated(&vilm)), &segments, vilm.codec(), &greedy(u32::MAX), |id| {
                    chosen.push(id);
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(chosen, ids(&case["greedy_with_negated_pixels"]), "{name}, {clip}: the pixels matter");
        }
    }
}

#[test]
fn a_saved_model_opens_again_and_is_the_same() {
    let Some(folder) = model() else { return };
    for (name, device) in devices() {
        let vilm = Vilm::open(folder.path(), &device).unwrap();
        let copy = tempfile::tempdir().unwrap();
        vilm.save(copy.path()).unwrap();
        let again = Vilm::open(copy.path(), &device).unwrap();
        assert_eq!(again.config(), vilm.config(), "{name}");
        let frames: Vec<RgbImage> = (0..2).map(|shade| RgbImage::from_pixel(64, 48, image::Rgb([shade * 90, 40, 200]))).collect();
        let seen = |vilm: &Vilm| {
            let sight = vilm.look_at(&frames, &[0.0, 1.0], 2.0).unwrap();
            let visual = vilm.parameters().answer.visual(&sight, None).unwrap();
            visual.embeddings.into_data().iter::<f32>().collect::<Vec<f32>>()
        };
        assert_eq!(seen(&vilm), seen(&again), "{name}");
    }
}

/// Fewer bits, other numbers; but never other names, shapes or frames, and less memory.
#[test]
fn packed_weights_look_as_those_in_the_file() {
    let Some(folder) = model() else { return };
    for (name, device) in devices() {
        let frames: Vec<RgbImage> =
            (0..2).map(|shade| RgbImage::from_fn(64, 48, |x, y| image::Rgb([(x * 3) as u8, shade * 90, y as u8]))).collect();
        let seen = |vilm: &Vilm| {
            let sight = vilm.look_at(&frames, &[0.0, 1.0], 2.0).unwrap();
            let visual = vilm.parameters().answer.visual(&sight, None).unwrap();
            visual.embeddings.into_data().iter::<f32>().collect::<Vec<f32>>()
        };
        let expected = seen(&Vilm::open(folder.path(), &device).unwrap());
        let size = expected.iter().fold(0.0_f32, |size, number| size.max(number.abs()));
        for (precision, most) in
            [(Precision::F32, 1e-5), (Precision::Bf16, 0.03), (Precision::Int8, 0.06), (Precision::Int4, 0.6)]
        {
            let vilm = Vilm::open_packed(precision, folder.path(), &device).unwrap();
            let found = seen(&vilm);
            let worst = found.iter().zip(&expected).fold(0.0_f32, |worst, (found, expected)| worst.max((found - expected).abs()));
            assert!(worst / size <= most, "{name}, {precision:?}: {}", worst / size);
            let error = vilm.save(tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
            assert!(error.contains("packed weights") && error.contains("without packing"), "{error}");
        }
    }
}
