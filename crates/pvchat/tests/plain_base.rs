//! On the base that knows nobody in particular a person is learned from one clip by gradient alone.

use std::{ops::ControlFlow, path::Path};

use image::RgbImage;
use pvchat::{
    LearnOptions, Pvchat, Shot, Subject, SubjectName, Vilm,
    augment::{
        Nobody,
        exchange::{ExchangeConfig, ExchangeMaker, Strangers},
    },
    data::random::SeededStream,
    miniature::{
        corpus::{empty_scenes, scene},
        world::{Identity, Scene, SceneOptions},
    },
    model::personal::PersonalTensors,
    nn::device::default_device,
    train::personal::{AdaptationConfig, LearnConfig, Trains},
};

const SIDE: u32 = 64;

fn plain() -> Pvchat {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/plain");
    Pvchat::new(Vilm::open(&folder, &default_device().unwrap()).unwrap(), Box::new(Nobody))
}

fn clip(identity: Identity, stream: &mut SeededStream) -> Vec<RgbImage> {
    Scene::random(&[identity], SceneOptions::default(), stream).render(SIDE).frames
}

/// A subject without what it knows: what was trained of the base stays.
fn zeroed(subject: &Subject) -> Subject {
    let tensors = Subject::tensors(std::slice::from_ref(subject), &default_device().unwrap()).unwrap();
    let zero = PersonalTensors {
        tokens: tensors.tokens.zeros_like(),
        identity: tensors.identity,
        word_row: tensors.word_row.zeros_like(),
        head_row: tensors.head_row.zeros_like(),
    };
    let adaptation = subject.adaptation.as_ref().unwrap().as_ref().clone();
    Subject::from_tensors(subject.info.clone(), &zero).with_adaptation(adaptation)
}

#[test]
fn the_base_has_no_part_that_knows_who_anybody_is() {
    let pvchat = plain();
    let config = pvchat.vilm().config();
    assert_eq!(config.vision.identity_width(), None);
    assert!(config.answer.personal().is_none());
    let seen = pvchat.see(&clip(Identity::random(&mut SeededStream::new(1)), &mut SeededStream::new(2))).unwrap();
    assert_eq!(seen.memory.identity.dims(), [1, 0, 0]);
    let name: SubjectName = "Aa".parse().unwrap();
    assert!(pvchat.enrol(&seen, &name).is_err(), "there is nothing to enrol with");
}

#[test]
fn a_person_is_learned_from_one_clip_and_strangers_are_refused() {
    let (pvchat, name): (Pvchat, SubjectName) = (plain(), "Aa".parse().unwrap());
    let mut stream = SeededStream::new(11);
    let person = Identity::reserved(|| Identity::random(&mut stream));
    let lone = (0..).map(|number| scene(5, number)).filter(|scene| scene.people.len() == 1);
    let clips: Vec<Vec<RgbImage>> = lone.take(60).map(|scene| scene.render(SIDE).frames).collect();
    let strangers = Strangers::find(&clips, empty_scenes(12, SIDE, 5)).unwrap();
    let config = ExchangeConfig { company: 0.0, ..ExchangeConfig::default() };
    let maker = ExchangeMaker::new(&clip(person, &mut stream), &strangers, config).unwrap().unwrap();
    let shots: Vec<Shot> = maker
        .make(240, &stream.derive("made"))
        .unwrap()
        .into_iter()
        .map(|made| Shot { frames: made.frames, seconds: Vec::new(), duration: 1.0, present: made.present, pairs: Vec::new() })
        .collect();
    let training = LearnConfig {
        trains: Trains::Personal,
        image_steps: 10,
        clip_steps: 70,
        learning_rate: 3e-2,
        anchor: 0.0,
        adaptation: AdaptationConfig { lora_rate: 5e-3, router_rate: 5e-3, ..AdaptationConfig::default() },
        ..LearnConfig::default()
    };
    let options = LearnOptions { training, ..LearnOptions::default() };
    let learned = pvchat.learn_from(&shots, &name, &options, |_| ControlFlow::Continue(())).unwrap();
    let (first, last) = (learned.report.steps[10].loss, learned.report.steps[79].loss);
    assert!(last < 0.7 * first, "{first} to {last}");

    let presence = |subject: &Subject, identity: Identity, stream: &mut SeededStream| {
        pvchat.presence(subject, &pvchat.see(&clip(identity, stream)).unwrap()).unwrap()
    };
    let mean = |subject: &Subject, who: &mut dyn FnMut(&mut SeededStream) -> Identity| {
        let mut stream = SeededStream::new(12);
        (0..12)
            .map(|_| {
                let identity = who(&mut stream);
                presence(subject, identity, &mut stream)
            })
            .sum::<f32>()
            / 12.0
    };
    let own = mean(&learned.subject, &mut |_| person);
    let others = mean(&learned.subject, &mut |stream| Identity::random(stream));
    assert!(own > 0.7 && others < 0.3, "the person {own}, strangers {others}");
    // Untouched clips, so it is not the making that is recognised; and without tokens and rows it is another answer.
    let blank = mean(&zeroed(&learned.subject), &mut |_| person);
    assert!((own - blank).abs() > 0.1, "with what was learned {own}, without {blank}");
}
