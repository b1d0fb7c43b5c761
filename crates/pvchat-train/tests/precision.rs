//! Learning a person on the published form of a base: every choice of what trains, with the large weights in half precision, and
//! learning as published.
#![cfg(feature = "flex")]

#[path = "../../pvchat-model/tests/published/small.rs"]
#[allow(dead_code)] // the tests of the model use all of it
mod small;

use std::{collections::BTreeSet, ops::ControlFlow, time::Duration};

use burn::{prelude::*, tensor::FloatDType};
use image::RgbImage;
use pvchat_data::{SubjectName, random::SeededStream};
use pvchat_model::{
    subject::{HEAD_ROW, Subject, TOKENS, WORD_ROW},
    vilm::Vilm,
};
use pvchat_train::{
    Error,
    checkpoint::CheckpointFolder,
    features::ClipFeatures,
    personal::{AskedWith, LearnClip, LearnConfig, LearnData, LearnProgress, LearnRun, Trains, learn},
};

/// The small published base without dropout, whose noise would hide what half precision does.
fn folder() -> tempfile::TempDir {
    let folder = small::folder(1, usize::MAX);
    let file = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let rates = config.pointer_mut("/answer/qformer/dropout").expect("rates of dropout");
    assert!(rates["path"].as_f64().unwrap() > 0.0, "{rates}");
    rates.as_object_mut().unwrap().values_mut().for_each(|rate| *rate = 0.0.into());
    std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
    folder
}

fn clip(shade: u8) -> Vec<RgbImage> {
    let pixel = |frame: u32, x: u32, y: u32| image::Rgb([(x * 5) as u8, (y * 7) as u8, shade.wrapping_add((frame * 20) as u8)]);
    (0..8).map(|frame| RgbImage::from_fn(40, 30, |x, y| pixel(frame, x, y))).collect()
}

/// Two clips with the person and two without.
fn data(vilm: &Vilm, name: &SubjectName) -> LearnData {
    let mut data = LearnData::default();
    for (shade, present) in [(10, true), (120, false), (30, true), (160, false)] {
        let frames = clip(shade);
        let (memory, lower) = (vilm.look(&[&frames]).unwrap(), vilm.lower(&[&frames]).unwrap());
        let values = |tensor: Tensor<3>| tensor.into_data().iter::<f32>().collect::<Vec<f32>>();
        data.token_shape = [memory.tokens.dims()[1], memory.tokens.dims()[2]];
        data.identity_shape = [0, 0];
        data.shown.clone_from(&memory.shown);
        data.lower_shape = [lower.dims()[1], lower.dims()[2]];
        let features = ClipFeatures { tokens: values(memory.tokens), identity: Vec::new(), lower: values(lower) };
        let answer = if present { "Yes" } else { "No" };
        let text = vilm.codec().encode_question("Is <Aa> in this video?", Some(answer), std::slice::from_ref(name)).unwrap();
        let clip = LearnClip {
            features: data.features.insert(features).unwrap(),
            asked: vec![0],
            present: vec![present],
            tokens: AskedWith::Own,
            texts: vec![text],
        };
        for stage in [&mut data.images, &mut data.clips, &mut data.held_back] {
            stage.push(clip.clone());
        }
    }
    data
}

fn learned(precision: FloatDType, trains: Trains) -> (Subject, Vec<LearnProgress>) {
    let config = LearnConfig {
        trains,
        image_steps: 3,
        clip_steps: 9,
        batch: 4,
        learning_rate: 3e-3,
        anchor: 0.0,
        ..LearnConfig::default()
    };
    let (_, subject, steps) = learned_with(precision, &config);
    (subject, steps)
}

/// Who is learned, from whom, and every step.
fn learned_with(precision: FloatDType, config: &LearnConfig) -> (Subject, Subject, Vec<LearnProgress>) {
    let folder = folder();
    let vilm = Vilm::open_in(precision, folder.path(), &Device::flex()).unwrap();
    let name: SubjectName = "<Aa>".parse().unwrap();
    let start = vilm.blank_subject(&name, &SeededStream::new(5)).unwrap();
    let (_, mut report) =
        learn(&vilm, &start, &data(&vilm, &name), config, &LearnRun::default(), |_| ControlFlow::Continue(())).unwrap();
    (start, report.learned.swap_remove(0), report.steps)
}

/// The parameters of the base that learning as `config` says has changed.
fn changed(config: &LearnConfig, subject: &Subject) -> BTreeSet<String> {
    let untouched = LearnConfig { image_steps: 0, clip_steps: 0, ..config.clone() };
    let (_, before, _) = learned_with(FloatDType::F32, &untouched);
    let [before, after] = [&before, subject].map(|subject| &subject.adaptation.as_ref().expect("of the base").parameters);
    assert!(before.keys().eq(after.keys()));
    after.iter().filter(|(name, values)| before[*name] != **values).map(|(name, _)| name.clone()).collect()
}

#[test]
fn learning_as_published_trains_what_it_says() {
    let short = |config| LearnConfig { image_steps: 2, clip_steps: 2, ..config };
    let has = |names: &BTreeSet<String>, start: &str| names.iter().any(|name| name.starts_with(start));

    let config = short(LearnConfig::released());
    let (start, subject, _) = learned_with(FloatDType::F32, &config);
    let names = changed(&config, &subject);
    assert_ne!(subject.values(TOKENS), start.values(TOKENS));
    assert_eq!([WORD_ROW, HEAD_ROW].map(|row| subject.values(row)), [WORD_ROW, HEAD_ROW].map(|row| start.values(row)));
    assert!(has(&names, "answer.qformer.") && has(&names, "answer.lm.layers."), "{names:?}");
    assert!(!has(&names, "answer.project_up.") && !has(&names, "vision_encoder.") && !has(&names, "answer.lm.lm_head."));

    let config = short(LearnConfig::paper());
    let (start, subject, _) = learned_with(FloatDType::F32, &config);
    let names = changed(&config, &subject);
    assert_ne!(subject.values(WORD_ROW), start.values(WORD_ROW));
    assert!(has(&names, "vision_encoder.blocks.1.") && !has(&names, "answer.project_up."), "{names:?}");
    let parameters = &subject.adaptation.as_ref().unwrap().parameters;
    let adapter = &parameters["answer.lm.lm_head.lora.b.weight"];
    let of_the_subject = adapter.values.iter().skip(adapter.shape[1] - 1).step_by(adapter.shape[1]);
    assert_eq!(adapter.shape[1], small::config().answer.language.vocabulary + 1);
    assert!(of_the_subject.copied().any(|value| value != 0.0), "the head's adapter acts on the subject's row");

    // The vision encoder is frozen in the first stage.
    let config = LearnConfig { clip_steps: 0, ..config };
    let (_, subject, _) = learned_with(FloatDType::F32, &config);
    let names = changed(&config, &subject);
    assert!(has(&names, "answer.qformer.") && !has(&names, "vision_encoder."), "{names:?}");
}

/// A run does not resume on a base of another precision.
#[test]
fn another_precision_is_another_run() {
    let (folder, kept) = (folder(), tempfile::tempdir().unwrap());
    let name: SubjectName = "<Aa>".parse().unwrap();
    let keep = LearnRun {
        checkpoints: Some(CheckpointFolder::new(kept.path()).unwrap()),
        checkpoint_every: Duration::ZERO,
        ..LearnRun::default()
    };
    let run = |precision| {
        let vilm = Vilm::open_in(precision, folder.path(), &Device::flex()).unwrap();
        let start = vilm.blank_subject(&name, &SeededStream::new(5)).unwrap();
        learn(&vilm, &start, &data(&vilm, &name), &LearnConfig::default(), &keep, |_| ControlFlow::Break(())).unwrap_err()
    };
    assert!(matches!(run(FloatDType::BF16), Error::Stopped { step: 1 }));
    let refused = run(FloatDType::F32).to_string();
    assert!(refused.contains("precision: F32 here, BF16 there"), "{refused}");
}

/// Whether some of the values need more than half precision holds.
fn is_single(values: &[f32]) -> bool {
    values.iter().any(|value| value.to_bits() & 0xffff != 0)
}

#[test]
fn losses_follow_those_of_full_precision_and_what_is_trained_stays_single() {
    for trains in [Trains::Composable, Trains::Personal, Trains::PersonalAndBridge, Trains::PersonalBridgeAndVision] {
        let (_, whole) = learned(FloatDType::F32, trains);
        let (subject, half) = learned(FloatDType::BF16, trains);
        assert_eq!(whole.len(), half.len());
        for (whole, half) in whole.iter().zip(&half) {
            let apart = (whole.loss - half.loss).abs() / whole.loss;
            assert!(apart < 0.02, "{trains}, step {}: {} and {}", whole.step, whole.loss, half.loss);
        }
        assert_ne!(whole[0].loss, half[0].loss, "{trains}: the base was not in half precision");
        let (first, last) = (half[0].loss, half[half.len() - 1].loss);
        assert!(last < first, "{trains}: {first} to {last}");
        assert!(is_single(subject.values(TOKENS)), "{trains}");
        // What the queries do not pass, the published feed-forward layer for text, keeps its constants.
        let constant = |values: &[f32]| values.iter().all(|value| *value == values[0]);
        for (name, parameter) in subject.adaptation.iter().flat_map(|adaptation| &adaptation.parameters) {
            assert!(constant(&parameter.values) || is_single(&parameter.values), "{trains}: {name}");
        }
    }
}
