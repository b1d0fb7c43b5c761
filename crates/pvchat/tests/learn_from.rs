//! Somebody is learned from clips on a base without queries, a tiny SmolVLM2 with random weights, and asked about.
#![cfg(feature = "flex")]

#[path = "../../pvchat-model/tests/published/small.rs"]
#[allow(dead_code)] // the tests of the model use all of it
mod small;
#[path = "../../pvchat-model/tests/published/tiny_smolvlm2.rs"]
#[allow(dead_code)] // the tests of the model use all of it
mod tiny_smolvlm2;

use std::{
    fs,
    ops::ControlFlow,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use image::{Rgb, RgbImage};
use pvchat::{
    BaseDescriber, BaseFolder, Describer, Error, LearnEvent, LearnOptions, Pictures, Pvchat, Shot, SubjectFolder, SubjectName,
    Vilm,
    augment::Nobody,
    burn::{
        module::{Module, ModuleVisitor, Param},
        prelude::*,
        tensor::{DType, FloatDType, Tolerance},
    },
    data::{QaKind, QaPair, random::SeededStream},
    model::{
        sight::{Shown, Sight},
        subject::{HEAD_ROWS, Subject, WORD_ROWS},
    },
    nn::{
        language::{RoutedHeadsConfig, TokenKind},
        packed::Precision,
    },
    train::{
        objective::ObjectiveConfig,
        personal::{AdaptationConfig, AskedWith, LearnClip, LearnConfig, LearnData, LearnRun, Trains, learn},
    },
};
use sha2::{Digest, Sha256};
use tiny_smolvlm2::{folder_drawn, published};

/// What the base is asked for presence.
const QUESTION: &str = "Is <Aa> in this video? Answer with yes or no.";
/// A question that names nobody.
const QUESTION_OF_ALL: &str = "What is this?";

fn name() -> SubjectName {
    "Aa".parse().unwrap()
}

/// The person is bright above and dark below; a stranger the other way round. Every clip has other colours and times.
fn shot(number: u8, present: bool) -> Shot {
    let pixel = |frame: u8, x: u32, y: u32| {
        let is_bright = (y < 15) == present;
        let base = if is_bright { 200 } else { 20 };
        Rgb([base + number * 3 + frame * 4, base + (x / 4) as u8, base + number])
    };
    let frames = (0..2).map(|frame| RgbImage::from_fn(40, 30, |x, y| pixel(frame, x, y))).collect();
    let second = 1.0 + f64::from(number);
    let answer = if present { "Yes <Aa>" } else { "No <Aa>" };
    let pairs = vec![QaPair::new(QaKind::Existence, QUESTION, answer)];
    Shot { frames, seconds: vec![0.0, second], duration: second, present, pairs }
}

/// That many clips with the person and as many without.
fn shots(count: u8) -> Vec<Shot> {
    (0..count).flat_map(|number| [shot(number, true), shot(number, false)]).collect()
}

fn options(trains: Trains, steps: usize) -> LearnOptions {
    LearnOptions {
        training: LearnConfig {
            trains,
            image_steps: steps,
            clip_steps: 2 * steps,
            batch: 4,
            accumulation: 2,
            learning_rate: 2e-2,
            adaptation: AdaptationConfig { lora_rate: 1e-2, router_rate: 1e-2, ..AdaptationConfig::default() },
            ..LearnConfig::in_decoder()
        },
        checkpoint_seconds: 0.0,
        ..LearnOptions::default()
    }
}

fn base() -> (tempfile::TempDir, Pvchat) {
    // A head of small random weights could not say anything with confidence.
    let folder = folder_drawn(&published(), usize::MAX, 0.6);
    let vilm = Vilm::open(folder.path(), &Device::flex()).unwrap();
    (folder, Pvchat::new(vilm, Box::new(Nobody)))
}

/// A digest of every parameter of a base.
fn digest(vilm: &Vilm) -> String {
    struct Hash(Sha256);
    impl ModuleVisitor for Hash {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            parameter.val().into_data().iter::<f32>().for_each(|value| self.0.update(value.to_le_bytes()));
        }
    }
    let mut hash = Hash(Sha256::new());
    vilm.parameters().visit(&mut hash);
    format!("{:?}", hash.0.finalize())
}

fn mean(losses: &[f32]) -> f32 {
    losses.iter().sum::<f32>() / losses.len() as f32
}

#[test]
fn somebody_is_learned_from_clips_and_asked_about() {
    let (base_folder, pvchat) = base();
    let before = digest(pvchat.vilm());
    let kept = tempfile::tempdir().unwrap();
    let folder = SubjectFolder::new(kept.path());
    let (steps, mut encoded) = (40, 0);
    let learned = folder.learn_from(&pvchat, &shots(8), &name(), &options(Trains::Personal, steps), |event| {
        encoded += usize::from(matches!(event, LearnEvent::Encoding(..)));
        ControlFlow::Continue(())
    });
    let learned = learned.unwrap();
    assert_eq!(encoded, 16, "every clip once");
    assert_eq!(digest(pvchat.vilm()), before, "the base stays as it was");
    let losses: Vec<f32> = learned.report.steps.iter().map(|step| step.loss).collect();
    let (first, last) = (losses[0], mean(&losses[losses.len() - 5..]));
    println!("{first} to {last}, {:?} to {:?}", learned.report.before, learned.report.after);
    assert!(last < 0.05 * first, "{first} to {last}");
    assert_eq!(learned.report.steps.iter().filter(|step| step.video).count(), 2 * steps);
    assert_eq!(learned.report.steps[0].objective.modules.len(), 1, "the routers are held to one target together");

    let subject = folder.load(&name(), pvchat.vilm()).unwrap();
    assert_eq!(subject, learned.subject);
    assert_eq!(subject.tensors[WORD_ROWS].shape[0], 17);
    assert_eq!(subject.adaptation.as_ref().and_then(|own| own.routed.clone()).map(|routed| routed.heads), Some(vec![2]));
    let subjects = [subject];
    let packed = Vilm::open_packed(Precision::F32, base_folder.path(), &Device::flex()).unwrap();
    let view = pvchat.vilm().with_subjects(&subjects);
    for present in [true, false] {
        let Shot { frames, seconds, duration, .. } = shot(9, present);
        let sight = pvchat.vilm().look_at(&frames, &seconds, duration).unwrap();
        let answer = view.ask(&sight, QUESTION, &view.default_options(), |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(answer.presence[0].1 > 0.5, present, "{answer:?}");
        assert_eq!(answer.text, if present { "Yes <Aa>" } else { "No <Aa>" });
        // Adapters and routers act beside packed weights as they do on those that were learned on.
        let view = packed.with_subjects(&subjects);
        let sight = packed.look_at(&frames, &seconds, duration).unwrap();
        let again = view.ask(&sight, QUESTION, &view.default_options(), |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(again.text, answer.text);
        assert!((again.presence[0].1 - answer.presence[0].1).abs() < 1e-3, "{again:?}, {answer:?}");
    }
    // A file with the fingerprint of this base and rows of another.
    let mut other = subjects[0].clone();
    for name in [WORD_ROWS, HEAD_ROWS] {
        let rows = other.tensors.get_mut(name).unwrap();
        rows.shape[1] -= 1;
        rows.values.truncate(rows.shape[0] * rows.shape[1]);
    }
    let view = pvchat.vilm().with_subjects(std::slice::from_ref(&other));
    let sight = pvchat.vilm().look_at(&shot(9, true).frames, &[0.0, 1.0], 1.0).unwrap();
    let error = view.read(&sight, &[&other]).unwrap_err().to_string();
    assert!(error.contains("as this base has"), "{error}");
}

/// In half precision a number near one half moves by steps of 0.002 only, so that steps this small would be lost.
#[test]
fn what_trains_beside_a_decoder_in_half_precision_is_kept_in_full_precision() {
    let (folder, _) = base();
    let half = Pvchat::new(Vilm::open_in(FloatDType::BF16, folder.path(), &Device::flex()).unwrap(), Box::new(Nobody));
    let weight = half.vilm().parameters().answer.lm.layers[0].mlp.up_proj.base.weight.val();
    assert_eq!(weight.dtype(), DType::BF16);
    let mut options = options(Trains::Personal, 2);
    options.training.learning_rate = 1e-5;
    (options.training.adaptation.lora_rate, options.training.adaptation.router_rate) = (1e-5, 1e-5);
    let learned = half.learn_from(&shots(3), &name(), &options, |_| ControlFlow::Continue(())).unwrap().report.learned;
    options.training.learning_rate = 0.0;
    (options.training.adaptation.lora_rate, options.training.adaptation.router_rate) = (0.0, 0.0);
    let start = half.learn_from(&shots(3), &name(), &options, |_| ControlFlow::Continue(())).unwrap().report.learned;
    let moved = |after: &[f32], before: &[f32]| {
        let small = after.iter().zip(before).filter(|(after, before)| after != before && (*after - *before).abs() < 1e-4).count();
        assert_eq!(small, after.iter().zip(before).filter(|(after, before)| after != before).count());
        small as f64 / after.len() as f64
    };
    for rows in [WORD_ROWS, HEAD_ROWS] {
        let share = moved(&learned[0].tensors[rows].values, &start[0].tensors[rows].values);
        assert!(share > 0.1, "{share} of {rows} moved");
    }
    let [after, before] = [&learned, &start].map(|subjects| &subjects[0].adaptation.as_ref().unwrap().parameters);
    let shares: Vec<(&String, f64)> =
        after.iter().map(|(name, values)| (name, moved(&values.values, &before[name].values))).collect();
    for part in [".routed.", ".lora."] {
        assert!(shares.iter().any(|(name, share)| name.contains(part) && *share > 0.5), "{part}: {shares:?}");
    }
}

#[test]
fn a_base_that_uses_times_is_told_those_of_a_clip() {
    let (_folder, pvchat) = base();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/clips/clip-00.mp4");
    let clip = pvchat.clip(&file).unwrap();
    let duration = *clip.times.last().unwrap();
    assert!(duration > 0.5, "{:?}", clip.times);
    assert_eq!(clip.memory.shown, [Shown::Video { seconds: clip.times.clone(), duration }]);
    let answer = pvchat.ask(&[], &clip, QUESTION_OF_ALL).unwrap();
    let view = pvchat.vilm().with_subjects(&[]);
    let asked = |sight: &Sight| {
        let options = view.default_options();
        view.ask(sight, QUESTION_OF_ALL, &options, |_| ControlFlow::Continue(())).unwrap().text
    };
    let sight = pvchat.vilm().look_at(&clip.frames, &clip.times, duration).unwrap();
    assert_eq!(answer.text, asked(&sight));
    let pictures = Sight { shown: vec![Shown::WHOLE; clip.frames.len()], ..sight };
    assert_ne!(answer.text, asked(&pictures), "the times say something to this base");
}

#[test]
fn learning_from_one_clip_needs_a_base_that_enrols_and_says_what_does_not() {
    let (_folder, pvchat) = base();
    let clip = pvchat.see(&shot(1, true).frames).unwrap();
    let error = pvchat.learn(&clip, &name(), &LearnOptions::default(), |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("can only learn people by training"), "{error}");
}

#[test]
fn an_encoder_that_is_packed_shows_the_same_and_learns_the_same() {
    let (folder, pvchat) = base();
    let open = |precision| Vilm::open_with_packed_encoder(precision, folder.path(), &Device::flex()).unwrap();
    let packed = open(Precision::F32);
    let Shot { frames, seconds, duration, .. } = shot(1, true);
    let tokens = |vilm: &Vilm| vilm.look_at(&frames, &seconds, duration).unwrap().tokens.into_data();
    tokens(&packed).assert_approx_eq::<f32>(&tokens(pvchat.vilm()), Tolerance::absolute(1e-4));
    assert_ne!(tokens(&open(Precision::Bf16)), tokens(&packed), "in half precision they are rounded");
    let learn = |pvchat: &Pvchat| {
        let learned = pvchat.learn_from(&shots(3), &name(), &options(Trains::Personal, 4), |_| ControlFlow::Continue(()));
        learned.unwrap().report.steps.iter().map(|step| step.loss).collect::<Vec<f32>>()
    };
    let expected = learn(&pvchat);
    let losses = learn(&Pvchat::new(packed, Box::new(Nobody)));
    assert!(expected.iter().zip(&losses).all(|(one, other)| (one - other).abs() < 1e-3 * one), "{expected:?}, {losses:?}");
    let error = open(Precision::F32).save(&folder.path().join("saved")).unwrap_err().to_string();
    assert!(error.contains("packed weights"), "{error}");
}

#[test]
fn a_folder_is_opened_in_half_precision_to_ask_and_in_full_precision_to_learn() {
    let folder = folder_drawn(&published(), usize::MAX, 0.6);
    let (read, device) = (BaseFolder::read(folder.path()).unwrap(), Device::flex());
    assert_eq!(read.open("tiny", &device).unwrap().precision(), Some(Precision::Bf16));
    for precision in Precision::ALL {
        assert_eq!(read.open_packed("tiny", precision, &device).unwrap().precision(), Some(precision));
    }
    let Shot { frames, seconds, duration, .. } = shot(1, true);
    let tokens = |vilm: &Vilm| vilm.look_at(&frames, &seconds, duration).unwrap().tokens.into_data();
    let whole = Vilm::open(folder.path(), &device).unwrap();
    let half = Vilm::open_with_packed_encoder(Precision::Bf16, folder.path(), &device).unwrap();
    for (trains, expected) in [(Trains::Personal, &half), (Trains::PersonalBridgeAndVision, &whole)] {
        let opened = read.open_to_learn(trains, &device).unwrap();
        let language = &opened.vilm().parameters().answer.lm;
        assert!(language.packed().is_none() && language.norm.gamma.val().dtype() == DType::F32, "{trains}");
        assert_eq!(tokens(opened.vilm()), tokens(expected), "{trains}");
    }
    assert_eq!(BaseDescriber::new(whole, "tiny").unwrap().precision(), None);
}

/// The miniature's family is learned on in `plain_base`.
#[test]
fn somebody_is_learned_on_the_papers_base_from_the_same_clips() {
    let folder = small::folder(3, usize::MAX);
    let pvchat = Pvchat::new(Vilm::open(folder.path(), &Device::flex()).unwrap(), Box::new(Nobody));
    let before = digest(pvchat.vilm());
    let shots: Vec<Shot> = shots(4)
        .into_iter()
        .map(|shot| {
            let answer = if shot.present { "\u{2581}Yes" } else { "\u{2581}No" };
            let frames = shot.frames.iter().cycle().take(pvchat.vilm().frames()).cloned().collect::<Vec<_>>();
            let seconds = (0..frames.len()).map(|frame| frame as f64 * shot.duration / frames.len() as f64).collect();
            Shot { frames, seconds, pairs: vec![QaPair::new(QaKind::Existence, "Is <Aa> in this video?", answer)], ..shot }
        })
        .collect();
    for trains in [Trains::Personal, Trains::PersonalAndBridge, Trains::PersonalBridgeAndVision] {
        let learned = pvchat.learn_from(&shots, &name(), &options(trains, 20), |_| ControlFlow::Continue(())).unwrap();
        let losses: Vec<f32> = learned.report.steps.iter().map(|step| step.loss).collect();
        let (first, last) = (mean(&losses[..4]), mean(&losses[losses.len() - 4..]));
        assert!(last < 0.5 * first, "{trains}: {first} to {last}");
        assert_eq!(digest(pvchat.vilm()), before, "the base stays as it was");
        let copy = tempfile::tempdir().unwrap();
        let file = copy.path().join("Aa.subject.safetensors");
        learned.subject.save(&file).unwrap();
        assert_eq!(Subject::load(&file, pvchat.vilm().fingerprint()).unwrap(), learned.subject, "{trains}");
    }
}

#[test]
fn a_photo_is_described_from_its_tiles_and_footage_from_its_frames() {
    let (folder, pvchat) = base();
    let photo = RgbImage::from_fn(90, 60, |x, y| Rgb([(x * 2) as u8, (y * 4) as u8, (x + y) as u8]));
    let vilm = pvchat.vilm();
    let view = vilm.with_subjects(&[]);
    let said = |sight| {
        let answer = view.ask(&sight, QUESTION_OF_ALL, &view.default_options(), |_| ControlFlow::Continue(()));
        answer.unwrap().text.trim().to_string()
    };
    let expected =
        [said(vilm.look_at_image(&photo).unwrap()), said(vilm.look_at(std::slice::from_ref(&photo), &[0.0], 0.4).unwrap())];
    assert_ne!(expected[0], expected[1]);
    let vilm = Vilm::open(folder.path(), &Device::flex()).unwrap();
    let mut describer = BaseDescriber::new(vilm, "tiny").unwrap();
    for (duration, expected) in [0.0, 0.4].into_iter().zip(&expected) {
        let is_photo = duration == 0.0;
        let frames = std::slice::from_ref(&photo);
        let pictures = Pictures { key: "photo", frames, seconds: &[0.0], duration, is_photo, person: None };
        assert_eq!(&describer.describe(&pictures, QUESTION_OF_ALL).unwrap(), expected, "{duration} s");
    }
    // A frame for each second, as published, and four at least.
    assert_eq!([0.0, 2.9, 5.2, 60.0].map(|seconds| describer.frames_of(seconds)), [4, 4, 5, 8]);
}

#[test]
fn a_step_asks_no_more_questions_than_it_may_and_others_every_time() {
    let (_folder, pvchat) = base();
    let asked = |answers: &[&str], questions: Option<usize>| -> Vec<f32> {
        let pairs = |present: bool| -> Vec<QaPair> {
            let pair = |answer: &&str| {
                QaPair::new(QaKind::Existence, QUESTION, format!("{} <Aa>{answer}", ["No", "Yes"][usize::from(present)]))
            };
            answers.iter().map(pair).collect()
        };
        // One clip of each kind: what differs between steps are the questions.
        let shots: Vec<Shot> = [true, false].map(|present| Shot { pairs: pairs(present), ..shot(0, present) }).into();
        let mut options = options(Trains::Personal, 4);
        options.training = LearnConfig { questions, learning_rate: 0.0, ..options.training };
        options.training.adaptation = AdaptationConfig { lora_rate: 0.0, router_rate: 0.0, ..options.training.adaptation };
        let learned = pvchat.learn_from(&shots, &name(), &options, |_| ControlFlow::Continue(())).unwrap();
        learned.report.steps.iter().map(|step| step.loss).collect()
    };
    let differ = |losses: &[f32]| losses[..4].iter().any(|loss| (loss - losses[0]).abs() > 1e-4);
    let answers = ["", " Yes", " No No", " Yes No Yes"];
    assert!(!differ(&asked(&answers, None)), "all of them in every step");
    assert!(differ(&asked(&answers, Some(1))));
    assert!(!differ(&asked(&answers[..1], Some(1))));
    assert_eq!(asked(&answers, Some(2)), asked(&answers, Some(2)), "the same seed draws the same questions");
}

/// For every token of clips with all of their questions, whether it is text, and the share of gates that are on there.
fn gates(vilm: &Vilm, subject: &Subject, shots: &[Shot]) -> Vec<(bool, f64)> {
    let model = subject.adaptation.clone().unwrap().answer(&vilm.parameters().answer).unwrap();
    let personal = Subject::tensors(std::slice::from_ref(subject), vilm.device()).unwrap();
    let slots = Tensor::<2, Int>::zeros([1, 1], vilm.device());
    let mut found = Vec::new();
    for shot in shots {
        let sight = vilm.look_at(&shot.frames, &shot.seconds, shot.duration).unwrap();
        let (codec, joint) = (vilm.codec(), vilm.codec().joint(&sight.shown));
        let text = |pair: &QaPair| codec.encode_joined(joint, &pair.question, Some(&pair.answer), &[name()]).unwrap();
        let visual = model.visual(&sight, Some((&personal, slots.clone()))).unwrap();
        let texts = shot.pairs.iter().map(text).collect();
        let begin = codec.prefix(&sight.shown).unwrap();
        let losses = model.losses(&visual, &begin, &[texts], Some((&personal, slots.clone()))).unwrap();
        assert!(losses.kinds[0].contains(&TokenKind::Padding) && losses.kinds[0].contains(&TokenKind::Visual));
        let gates = Tensor::cat(losses.gates.iter().map(|layer| layer.gates.clone()).collect(), 2);
        let on: Vec<f32> = gates.greater_elem(0.0).float().mean_dim(2).into_data().iter::<f32>().collect();
        found.extend(losses.kinds[0].iter().zip(on).map(|(kind, on)| (*kind == TokenKind::Text, f64::from(on))));
    }
    found
}

#[test]
fn only_tokens_whose_gates_act_are_held_to_the_target() {
    let (_folder, pvchat) = base();
    // One clip of each kind, so that every step is on both; their times differ, so that it takes two passes.
    // Behind the short answers there is padding, as long as the longest.
    let pairs = |answer: &str| -> Vec<QaPair> {
        let pair = |more: usize| QaPair::new(QaKind::Existence, QUESTION, format!("{answer} <Aa>{}", " Yes No".repeat(more)));
        [0, 0, 0, 40].map(pair).into()
    };
    let shots = [Shot { pairs: pairs("Yes"), ..shot(0, true) }, Shot { pairs: pairs("No"), ..shot(1, false) }];
    let learn = |clip_steps: usize| {
        let training = LearnConfig {
            image_steps: 1,
            clip_steps,
            batch: 2,
            accumulation: 1,
            learning_rate: 0.0,
            warm_up: 0,
            last_rate: 1.0,
            // Gates are pressed down from the first step on; without that all of them stay on.
            objective: ObjectiveConfig { initial_lambda: 1.0, ..ObjectiveConfig::follow_up() },
            adaptation: AdaptationConfig {
                lora_rate: 0.0,
                router_rate: 0.1,
                routed: Some(RoutedHeadsConfig { layers: vec![0, 1], heads: vec![0, 2] }),
                ..AdaptationConfig::default()
            },
            ..LearnConfig::in_decoder()
        };
        let options = LearnOptions { training, ..options(Trains::Personal, 1) };
        pvchat.learn_from(&shots, &name(), &options, |_| ControlFlow::Continue(())).unwrap()
    };
    // What a run of some steps ends with, the next step of a longer one begins with.
    let mut apart = 0.0_f64;
    for steps in [6, 12] {
        let tokens = gates(pvchat.vilm(), &learn(steps).subject, &shots);
        let mean = |counts: &dyn Fn(bool) -> bool| {
            let chosen: Vec<f64> = tokens.iter().filter(|(is_text, _)| counts(*is_text)).map(|(_, on)| *on).collect();
            chosen.iter().sum::<f64>() / chosen.len() as f64
        };
        let (of_text, of_all) = (mean(&|is_text| is_text), mean(&|_| true));
        let report = learn(steps + 1).report;
        let reported = report.steps.last().unwrap().objective.modules[0].activation;
        println!("step {}: {reported:.4} of the gates are on, {of_text:.4} in text, {of_all:.4} everywhere", steps + 2);
        assert!((reported - of_text).abs() < 1e-6, "{reported}, in text {of_text}");
        apart = apart.max((of_text - of_all).abs());
    }
    assert!(apart > 0.01, "the gates of other tokens differ");
}

#[test]
fn without_the_rows_nobody_is_found_where_that_is_taught() {
    let (_folder, pvchat) = base();
    let found = |zeroed: f32| {
        let options = LearnOptions { zeroed, ..options(Trains::Personal, 40) };
        let own = pvchat.learn_from(&shots(8), &name(), &options, |_| ControlFlow::Continue(())).unwrap().subject;
        let mut without = own.clone();
        without.tensors.values_mut().for_each(|rows| rows.values.fill(0.0));
        let adapted = pvchat.vilm().adapted(&own).unwrap();
        let Shot { frames, seconds, duration, .. } = shot(9, true);
        let sight = adapted.look_at(&frames, &seconds, duration).unwrap();
        [own, without].map(|subject| {
            let subjects = [subject];
            let view = adapted.with_subjects(&subjects);
            view.ask(&sight, QUESTION, &view.default_options(), |_| ControlFlow::Continue(())).unwrap().presence[0].1 > 0.5
        })
    };
    assert_eq!(found(0.0), [true, true], "the adapters alone find the person where nothing else is taught");
    assert_eq!(found(0.5), [true, false]);
}

/// Learning judges the held-back clips better; untouched clips that say the contrary refuse it all the same.
#[test]
fn what_judges_untouched_clips_worse_is_not_kept() {
    let (_folder, pvchat) = base();
    let vilm = pvchat.vilm();
    let mut data = LearnData::default();
    for Shot { frames, seconds, duration, present, pairs } in shots(8) {
        let sight = vilm.look_at(&frames, &seconds, duration).unwrap();
        let joint = vilm.codec().joint(&sight.shown);
        let texts = vec![vilm.codec().encode_joined(joint, &pairs[0].question, Some(&pairs[0].answer), &[name()]).unwrap()];
        let features = data.insert(sight, None).unwrap();
        let clip = LearnClip { features, asked: vec![0], present: vec![present], tokens: AskedWith::Own, texts };
        for clips in [&mut data.images, &mut data.clips, &mut data.held_back] {
            clips.push(clip.clone());
        }
        data.real.push(LearnClip { present: vec![!present], ..clip });
    }
    let start = vilm.blank_subject(&name(), &SeededStream::new(5)).unwrap();
    let config = options(Trains::Personal, 40).training;
    let (kept, report) = learn(vilm, &start, &data, &config, &LearnRun::default(), |_| ControlFlow::Continue(())).unwrap();
    assert!(report.after.balanced_accuracy > report.before.balanced_accuracy, "{:?} to {:?}", report.before, report.after);
    let [before, after] = report.real.unwrap();
    assert!(after.balanced_accuracy < before.balanced_accuracy, "{before:?} to {after:?}");
    assert!(!report.kept_learned && kept.values(WORD_ROWS) == start.values(WORD_ROWS));
}

#[test]
fn a_share_that_is_none_is_named() {
    let (_folder, pvchat) = base();
    let wrong = |options: LearnOptions| {
        pvchat.learn_from(&shots(3), &name(), &options, |_| ControlFlow::Continue(())).unwrap_err().to_string()
    };
    for share in [-0.1, 1.5, f32::NAN, f32::INFINITY] {
        let error = wrong(LearnOptions { zeroed: share, ..options(Trains::Personal, 1) });
        assert!(error.contains("`zeroed`") && error.contains(&share.to_string()) && error.contains("from 0 to 1"), "{error}");
        let error = wrong(LearnOptions { other_tokens: share, ..options(Trains::Personal, 1) });
        assert!(error.contains("`other_tokens`"), "{error}");
    }
}

#[test]
fn rows_alone_can_be_learned_too() {
    let (_folder, pvchat) = base();
    let before = digest(pvchat.vilm());
    let learned = pvchat.learn_from(&shots(3), &name(), &options(Trains::Composable, 10), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(digest(pvchat.vilm()), before, "the base stays as it was");
    assert!(learned.subject.is_composable());
    let losses: Vec<f32> = learned.report.steps[10..].iter().map(|step| step.loss).collect();
    assert!(mean(&losses[15..]) < 0.97 * mean(&losses[..5]), "{losses:?}");
}

#[test]
fn nobody_is_learned_from_clips_of_a_wall_or_of_nothing() {
    let (_folder, pvchat) = base();
    let noise = |x: u32, y: u32| (x * 7 + y * 13) as u8 % 5;
    for (what, value) in [("a white wall", 240), ("black frames", 0)] {
        let mut shots = shots(3);
        // As the first after one that shows the person.
        shots[2].frames.iter_mut().for_each(|frame| {
            *frame = RgbImage::from_fn(40, 30, |x, y| Rgb([value + noise(x, y), value + noise(y, x), value]));
            frame.put_pixel(3, 4, Rgb([120; 3]));
        });
        let error = pvchat.learn_from(&shots, &name(), &options(Trains::Personal, 4), |_| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(error, Error::NobodyFound { frames: 2, .. }), "{what}: {error:?}");
        let text = error.to_string();
        assert!(text.contains("clip 3 of those given") && text.contains("a plain surface"), "{what}: {text}");
        // Of a clip without the person it says nothing.
        shots[2].present = false;
        shots[3].present = true;
        shots[2].pairs.clear();
        shots[3].pairs.clear();
        let error = pvchat.learn_from(&shots, &name(), &options(Trains::Personal, 1), |_| ControlFlow::Break(())).unwrap_err();
        assert!(matches!(error, Error::Train(pvchat::train::Error::Stopped { .. })), "{what}: {error:?}");
    }
}

#[test]
fn dropout_acts_while_somebody_is_learned_and_is_the_same_again() {
    let (_folder, pvchat) = base();
    let losses = |rate: f64| -> Vec<f32> {
        let mut options = options(Trains::Personal, 4);
        options.training.adaptation.lora.dropout = rate;
        let learned = pvchat.learn_from(&shots(3), &name(), &options, |_| ControlFlow::Continue(())).unwrap();
        learned.report.steps.iter().map(|step| step.loss).collect()
    };
    let (without, with) = (losses(0.0), losses(0.5));
    // Adapters give zero at first, whatever is dropped in front of them.
    assert_eq!(without[0], with[0]);
    assert_ne!(without[11], with[11]);
    assert_eq!(with, losses(0.5));
}

#[test]
fn a_run_that_was_interrupted_ends_with_the_same_bytes() {
    let (_folder, pvchat) = base();
    let mut options = options(Trains::Personal, 12);
    options.training.adaptation.lora.dropout = 0.1;
    let learn = |folder: &std::path::Path, stop_after: Option<usize>| {
        let subjects = SubjectFolder::new(folder);
        let result = subjects.learn_from(&pvchat, &shots(3), &name(), &options, |event| match (event, stop_after) {
            (LearnEvent::Training(now), Some(last)) if now.step >= last => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        (result, subjects.file(&name()))
    };
    let unbroken = tempfile::tempdir().unwrap();
    let (result, file) = learn(unbroken.path(), None);
    result.unwrap();
    let expected = fs::read(file).unwrap();
    let broken = tempfile::tempdir().unwrap();
    for step in [5, 17] {
        let (result, _) = learn(broken.path(), Some(step));
        assert!(matches!(result, Err(Error::Train(pvchat::train::Error::Stopped { step: at })) if at == step), "{result:?}");
    }
    let (result, file) = learn(broken.path(), None);
    assert_eq!(result.unwrap().report.steps.len(), 36);
    assert!(fs::read(file).unwrap() == expected, "not the bytes of an unbroken run");
}

#[test]
fn clips_that_were_looked_at_before_an_interruption_are_not_looked_at_again() {
    let (_folder, pvchat) = base();
    let options = options(Trains::Composable, 2);
    let learn = |folder: &std::path::Path, stop_after: usize| {
        let subjects = SubjectFolder::new(folder);
        let result = subjects.learn_from(&pvchat, &shots(3), &name(), &options, |event| match event {
            LearnEvent::Encoding(done, _) if done >= stop_after => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        (result, subjects.file(&name()), subjects.learning(&name()))
    };
    let looks = |folder: &std::path::Path| {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut looks: Vec<_> = files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with("look-")).collect();
        looks.sort();
        looks
    };
    let unbroken = tempfile::tempdir().unwrap();
    let (result, file, _) = learn(unbroken.path(), usize::MAX);
    result.unwrap();
    let expected = fs::read(file).unwrap();
    let broken = tempfile::tempdir().unwrap();
    let (result, _, learning) = learn(broken.path(), 3);
    assert!(matches!(result, Err(Error::Train(pvchat::train::Error::Stopped { step: 0 }))), "{result:?}");
    let first = looks(&learning);
    assert_eq!(first.len(), 3);
    // One is cut off, as by a full disk: that clip alone is looked at again.
    let cut = fs::read(&first[0]).unwrap();
    fs::write(&first[0], &cut[..cut.len() / 2]).unwrap();
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    first.iter().for_each(|file| fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap());
    learn(broken.path(), 5).0.unwrap_err();
    let is_old = |file: &std::path::PathBuf| fs::metadata(file).unwrap().modified().unwrap() == long_ago;
    assert_eq!((looks(&learning).len(), first.iter().map(is_old).collect::<Vec<_>>()), (5, vec![false, true, true]));
    assert!(fs::read(&first[0]).unwrap() == cut);
    let (result, file, learning) = learn(broken.path(), usize::MAX);
    result.unwrap();
    assert!(fs::read(file).unwrap() == expected && !learning.exists());
}

#[test]
fn clips_of_one_kind_and_an_encoder_that_stays_frozen_are_named() {
    let (_folder, pvchat) = base();
    let learn = |shots: &[Shot], trains| {
        let result = pvchat.learn_from(shots, &name(), &options(trains, 1), |_| ControlFlow::Continue(()));
        result.unwrap_err().to_string()
    };
    let error = learn(&[shot(0, true), shot(1, true)], Trains::Composable);
    assert!(error.contains("clips with the person and clips without"), "{error}");
    let error = learn(&shots(2), Trains::PersonalBridgeAndVision);
    assert!(error.contains("personal-and-bridge"), "{error}");
}
