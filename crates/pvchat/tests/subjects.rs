//! Many subjects over one base, what they weigh, what they change, and that they can be forgotten.

mod support;

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use pvchat::{
    Answer, Error, LearnOptions, SeenClip, Subject, SubjectFolder, SubjectName, model,
    train::personal::{LearnConfig, Trains},
};
use support::{clip, people, pvchat};

fn name(text: &str) -> SubjectName {
    text.parse().unwrap()
}

/// What a short learning with `trains` made, kept or not.
fn learned(trains: Trains, clip: &SeenClip, name: &SubjectName) -> Subject {
    let mut options = LearnOptions {
        positives: 7,
        training: LearnConfig { trains, image_steps: 1, clip_steps: 2, batch: 4, ..LearnConfig::default() },
        ..LearnOptions::default()
    };
    (options.negatives.hard, options.negatives.random) = (5, 3);
    options.training.adaptation.lora_rate = 1e-2;
    let mut learned = pvchat().learn(clip, name, &options, |_| ControlFlow::Continue(())).unwrap();
    learned.report.learned.swap_remove(0)
}

/// Text and the very bits of the probabilities.
fn bits(answer: &Answer) -> (String, Vec<u32>) {
    (answer.text.clone(), answer.presence.iter().map(|(_, probability)| probability.to_bits()).collect())
}

#[test]
fn adding_and_forgetting_one_of_sixty_four_leaves_the_others_bit_equal() {
    let folder = tempfile::tempdir().unwrap();
    let subjects = SubjectFolder::new(folder.path());
    let mut clips = Vec::new();
    for number in 0..64 {
        let (person, _, mut stream) = people(1000 + number);
        let reference = clip(&[person], &mut stream);
        subjects.save(&pvchat().enrol(&reference, &name(&format!("P{number}"))).unwrap()).unwrap();
        if number % 9 == 0 {
            clips.push((number, clip(&[person], &mut stream)));
        }
    }
    let ask = |all: &[Subject]| -> Vec<(String, Vec<u32>)> {
        let questions = |number: &u64| [format!("is <P{number}> in this video ?"), format!("what is <P{number}> wearing ?")];
        clips
            .iter()
            .flat_map(|(number, clip)| questions(number).map(|question| bits(&pvchat().ask(all, clip, &question).unwrap())))
            .collect()
    };
    let all = subjects.load_all(pvchat().vilm()).unwrap();
    assert_eq!(all.len(), 64);
    let before = ask(&all);
    assert!(before.iter().all(|(text, presence)| !text.is_empty() && presence.len() == 1));

    let (person, _, mut stream) = people(2000);
    subjects.save(&pvchat().enrol(&clip(&[person], &mut stream), &name("New")).unwrap()).unwrap();
    assert!(!subjects.forget(&name("P1")).unwrap().is_empty());
    let changed = subjects.load_all(pvchat().vilm()).unwrap();
    assert!(changed.iter().any(|subject| subject.info.name == name("New")));
    assert!(changed.iter().all(|subject| subject.info.name != name("P1")));
    assert_eq!(ask(&changed), before);
    // Each alone answers as it does among sixty-four.
    for ((number, clip), expected) in clips.iter().zip(before.chunks(2)) {
        let own = [subjects.load(&name(&format!("P{number}")), pvchat().vilm()).unwrap()];
        assert_eq!(bits(&pvchat().ask(&own, clip, &format!("is <P{number}> in this video ?")).unwrap()), expected[0]);
    }
}

#[test]
fn a_subject_weighs_what_is_said_and_its_file_brings_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let subjects = SubjectFolder::new(folder.path());
    let (person, _, mut stream) = people(800);
    let reference = clip(&[person], &mut stream);
    let other = clip(&[person], &mut stream);
    // Bytes at most, of the file; docs/architecture.md states them.
    for (trains, most) in [
        (Trains::Composable, 11_000),
        (Trains::Personal, 300_000),
        (Trains::PersonalAndBridge, 2_500_000),
        (Trains::PersonalBridgeAndVision, 5_000_000),
    ] {
        let subject = learned(trains, &reference, &name("Aa"));
        assert_eq!(subject.is_composable(), trains == Trains::Composable);
        let file = subjects.save(&subject).unwrap();
        let bytes = fs::metadata(&file).unwrap().len();
        println!("{trains}: {} bytes in memory, {bytes} in the file", subject.bytes());
        assert!(bytes <= most && bytes > most / 2, "{trains}: {bytes}");
        assert!((subject.bytes() as u64) < bytes && bytes < subject.bytes() as u64 + 30_000);
        let loaded = subjects.load(&name("Aa"), pvchat().vilm()).unwrap();
        assert!(loaded == subject, "{trains}: the file brings back the same numbers");
        let ask = |subject: Subject| bits(&pvchat().ask(&[subject], &other, "is <Aa> in this video ?").unwrap());
        assert_eq!(ask(loaded), ask(subject.clone()), "{trains}");
        // What is not composable does change something.
        let plain = Subject { adaptation: None, ..subject.clone() };
        assert_eq!(ask(plain) == ask(subject), trains == Trains::Composable, "{trains}");
    }
}

#[test]
fn each_choice_trains_what_its_name_says_and_nothing_else() {
    let (person, _, mut stream) = people(817);
    let reference = clip(&[person], &mut stream);
    let vilm = pvchat().vilm();
    let (base, vision) = (vilm.parameters(), &vilm.config().vision);
    for (trains, prefixes) in [
        (Trains::Personal, &["answer.qformer.encoder.layer.1.crossattention.heads.router_alpha"][..]),
        (Trains::PersonalAndBridge, &["answer.qformer.encoder.layer.0.intermediate_query", "answer.project_up"][..]),
        (Trains::PersonalBridgeAndVision, &["vision_encoder.blocks.2", "vision_encoder.blocks.3", "vision_encoder.readout"][..]),
    ] {
        let subject = learned(trains, &reference, &name("Aa"));
        let its = subject.adaptation.as_ref().unwrap();
        assert_eq!(its.changes_vision(), trains == Trains::PersonalBridgeAndVision);
        let before =
            model::adaptation::Adaptation::collect(trains, its.lora, &base.answer, Some(&base.vision_encoder), vision).unwrap();
        let moved: Vec<&String> =
            before.parameters.iter().filter(|(name, value)| its.parameters[*name] != **value).map(|(name, _)| name).collect();
        for prefix in prefixes {
            assert!(moved.iter().any(|name| name.starts_with(prefix)), "{trains}: {prefix} has not moved");
        }
        let share = moved.len() as f64 / before.parameters.len() as f64;
        assert!(share > 0.9, "{trains}: only {share:.2} of the base's parameters that it trains have moved");
        // Every linear layer of the language model has an adapter, and B is not zero any more.
        let adapters: Vec<_> = its.parameters.iter().filter(|(name, _)| name.ends_with(".lora.b.weight")).collect();
        assert_eq!(adapters.len(), 3 * 7 + 1);
        assert!(adapters.iter().all(|(_, value)| value.values.iter().any(|number| *number != 0.0)));
        for frozen in ["vision_encoder.stem", "vision_encoder.blocks.0", "vision_encoder.blocks.1", "answer.lm.embed_tokens"] {
            assert!(!its.parameters.keys().any(|name| name.starts_with(frozen)), "{trains}: {frozen}");
        }
        assert!(!its.parameters.keys().any(|name| name.contains(".base.")), "{trains}: dense weights of the language model");
    }
}

#[test]
fn a_subject_that_changes_the_base_is_asked_about_alone() {
    let (person, other, mut stream) = people(801);
    let both = clip(&[person, other], &mut stream);
    let reference = clip(&[person], &mut stream);
    let second = pvchat().enrol(&clip(&[other], &mut stream), &name("Bb")).unwrap();
    let first = learned(Trains::Personal, &reference, &name("Aa"));
    let all = [first.clone(), second.clone()];
    let error = pvchat().ask(&all, &both, "are <Aa> and <Bb> in this video ?").unwrap_err();
    assert!(matches!(&error, Error::Model(model::Error::NotComposable { name, .. }) if name == "<Aa>"), "{error:?}");
    assert!(error.to_string().contains("`personal`") && error.to_string().contains("alone"), "{error}");
    // Beside it the others are as they were.
    let question = "is <Bb> in this video ?";
    let alone = pvchat().ask(std::slice::from_ref(&second), &both, question).unwrap();
    assert_eq!(bits(&pvchat().ask(&all, &both, question).unwrap()), bits(&alone));
    // A base that is adapted to one does not answer for another.
    let own = pvchat().vilm().adapted(&first).unwrap();
    let view = own.with_subjects(&all);
    assert!(view.ask(&both.memory, question, &view.default_options(), |_| ControlFlow::Continue(())).is_err());
    let through_own = view.ask(&both.memory, "is <Aa> in this video ?", &view.default_options(), |_| ControlFlow::Continue(()));
    assert_eq!(bits(&through_own.unwrap()), bits(&pvchat().ask(&all, &both, "is <Aa> in this video ?").unwrap()));
}

#[test]
fn an_adaptation_that_does_not_fit_is_refused() {
    let (person, _, mut stream) = people(802);
    let reference = clip(&[person], &mut stream);
    let good = learned(Trains::Personal, &reference, &name("Aa"));
    let ask = |change: &dyn Fn(&mut model::adaptation::Adaptation)| {
        let mut adaptation = (**good.adaptation.as_ref().unwrap()).clone();
        change(&mut adaptation);
        let subject = good.clone().with_adaptation(adaptation);
        pvchat().ask(&[subject], &reference, "is <Aa> in this video ?").map(|answer| bits(&answer))
    };
    assert!(ask(&|_| ()).is_ok());
    let first = good.adaptation.as_ref().unwrap().parameters.keys().next().unwrap().clone();
    let shapeless = ask(&|its| its.parameters.get_mut(&first).unwrap().shape.push(1)).unwrap_err();
    assert!(
        matches!(&shapeless, Error::Model(model::Error::Shape { .. })) && shapeless.to_string().contains(&first),
        "{shapeless}"
    );
    let unknown = ask(&|its| {
        let value = its.parameters[&first].clone();
        its.parameters.insert("answer.nowhere".into(), value);
    });
    assert!(unknown.unwrap_err().to_string().contains("answer.nowhere"));
    // A rank that nothing in the file backs allocates nothing.
    assert!(ask(&|its| its.lora.rank = 1 << 40).is_err());
    assert!(ask(&|its| its.lora.rank = 0).is_err());
}

#[test]
fn names_that_are_tokens_of_the_model_are_refused() {
    let (person, _, mut stream) = people(803);
    let reference = clip(&[person], &mut stream);
    // Control tokens of the miniature. With a capital letter they are names like any other.
    for taken in ["q", "a", "eos", "bos"] {
        let error = pvchat().enrol(&reference, &name(taken)).unwrap_err();
        assert!(matches!(&error, Error::Model(model::Error::Text { what: "subject name", .. })), "{taken}: {error:?}");
        let error =
            pvchat().learn(&reference, &name(taken), &LearnOptions::default(), |_| ControlFlow::Continue(())).unwrap_err();
        assert!(error.to_string().contains(&format!("<{taken}>")), "{error}");
    }
    for text in ["../Aa", "a/b", "a\\b", "..", ".", "", "Aa\0", "Aa\n", "<Aa><Bb>"] {
        assert!(text.parse::<SubjectName>().is_err(), "{text:?}");
    }
}

#[test]
fn one_sided_data_is_refused() {
    let (person, _, mut stream) = people(804);
    let reference = clip(&[person], &mut stream);
    let mut options = LearnOptions { positives: 3, ..LearnOptions::default() };
    (options.negatives.hard, options.negatives.random) = (0, 0);
    let error = pvchat().learn(&reference, &name("Aa"), &options, |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, Error::Train(pvchat::train::Error::Config { key: "images", .. })), "{error:?}");
    for (key, value) in [("checkpoint_seconds", f64::NAN), ("checkpoint_seconds", -1.0), ("time_budget_seconds", f64::INFINITY)] {
        let mut options = LearnOptions::default();
        match key {
            "checkpoint_seconds" => options.checkpoint_seconds = value,
            _ => options.time_budget_seconds = Some(value),
        }
        let error = pvchat().learn(&reference, &name("Aa"), &options, |_| ControlFlow::Continue(())).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Whether a file's name or bytes hold any of the patterns.
fn holds(file: &Path, patterns: &[Vec<u8>]) -> bool {
    let bytes = fs::read(file).unwrap();
    let path = file.to_string_lossy().into_owned().into_bytes();
    patterns.iter().any(|pattern| [&bytes, &path].iter().any(|all| all.windows(pattern.len()).any(|part| part == pattern)))
}

/// The name, and stretches of every vector as files hold them.
fn traces(subject: &Subject) -> Vec<Vec<u8>> {
    let mut traces = vec![subject.info.name.bare().as_bytes().to_vec()];
    let vectors = subject.tensors.values().map(|tensor| &tensor.values);
    let adapted = subject.adaptation.iter().flat_map(|adaptation| adaptation.parameters.values().map(|part| &part.values));
    for values in vectors.chain(adapted) {
        // Stretches of four numbers; those of untrained zeros say nothing about anybody.
        let telling = values.chunks_exact(4).filter(|four| four.iter().all(|value| *value != 0.0)).take(8);
        traces.extend(telling.map(|four| four.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()));
    }
    traces
}

#[test]
fn nothing_of_a_forgotten_subject_is_left_in_any_file() {
    let folder = tempfile::tempdir().unwrap();
    let subjects = SubjectFolder::new(folder.path());
    let (person, other, mut stream) = people(815);
    let reference = clip(&[person], &mut stream);
    let subject = learned(Trains::Personal, &reference, &name("Quentinella"));
    let traces = traces(&subject);
    assert!(traces.len() > 200);
    subjects.save(&pvchat().enrol(&clip(&[other], &mut stream), &name("Bb")).unwrap()).unwrap();
    subjects.save(&subject).unwrap();

    // A learning that was stopped, what a subject was learned from, and what a killed process left.
    let mut options = LearnOptions { positives: 3, checkpoint_seconds: 0.0, ..LearnOptions::default() };
    (options.negatives.hard, options.negatives.random) = (0, 4);
    let mut set = None;
    for stop in [false, true] {
        let last = if stop { 2 } else { 3 };
        options.training = LearnConfig { image_steps: 1, clip_steps: 2, batch: 4, ..LearnConfig::default() };
        let outcome = subjects.learn(pvchat(), &reference, &subject.info.name, &options, |event| match event {
            pvchat::LearnEvent::Training(progress) if stop && progress.step == last => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        assert_eq!(outcome.is_err(), stop, "{:?}", outcome.as_ref().err());
        set = set.or(outcome.ok().map(|learned| learned.set));
    }
    subjects.save(&subject).unwrap();
    subjects.keep_data(&set.unwrap()).unwrap();
    fs::create_dir_all(subjects.data(&subject.info.name).join("crops")).unwrap();
    fs::write(subjects.data(&subject.info.name).join("crops/face.png"), "a crop of Quentinella").unwrap();
    let whole = fs::read(subjects.file(&subject.info.name)).unwrap();
    fs::write(folder.path().join(".Quentinella.subject.safetensors.AbC123"), &whole[..whole.len() / 2]).unwrap();
    let telling = files(folder.path()).iter().filter(|file| holds(file, &traces)).count();
    assert!(telling > 5, "the search finds what is there: {telling}");

    let receipt = subjects.forget(&subject.info.name).unwrap();
    let text = receipt.to_string();
    for part in ["<Quentinella> is forgotten", "model.bpk", "optimizer.bpk", "dataset.json", "face.png", ".mp4", "half-written"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(receipt.deleted.len(), text.lines().count() - 1);
    assert!(receipt.bytes() > 3 * whole.len() as u64 / 2);
    let left = files(folder.path());
    assert_eq!(left, [subjects.file(&name("Bb"))]);
    assert!(!left.iter().any(|file| holds(file, &traces)));
    assert!(subjects.forget(&subject.info.name).unwrap().to_string().contains("nothing was kept"));
}

#[test]
fn a_subject_can_be_renamed_but_not_onto_another() {
    let folder = tempfile::tempdir().unwrap();
    let subjects = SubjectFolder::new(folder.path());
    let (person, other, mut stream) = people(806);
    let vilm = pvchat().vilm();
    let seen = clip(&[person], &mut stream);
    let subject = pvchat().enrol(&seen, &name("Aa")).unwrap();
    subjects.save(&subject).unwrap();
    subjects.save(&pvchat().enrol(&clip(&[other], &mut stream), &name("Bb")).unwrap()).unwrap();
    let taken = subjects.rename(&name("Aa"), &name("Bb"), vilm).unwrap_err();
    assert!(matches!(taken, Error::NameTaken { .. }) && taken.to_string().contains("<Bb>"), "{taken}");
    assert!(subjects.rename(&name("Aa"), &name("q"), vilm).is_err(), "a token of the model");
    assert!(matches!(subjects.rename(&name("Zz"), &name("Yy"), vilm), Err(Error::UnknownSubject { .. })));
    fs::create_dir(subjects.learning(&name("Aa"))).unwrap();
    assert!(matches!(subjects.rename(&name("Aa"), &name("Cc"), vilm), Err(Error::Unfinished { .. })));
    fs::remove_dir(subjects.learning(&name("Aa"))).unwrap();
    let file = subjects.rename(&name("Aa"), &name("Cc"), vilm).unwrap();
    assert_eq!(file, subjects.file(&name("Cc")));
    assert_eq!(subjects.names().unwrap(), [name("Bb"), name("Cc")]);
    let renamed = subjects.load(&name("Cc"), vilm).unwrap();
    assert_eq!(renamed, subject.clone().renamed(name("Cc")));
    let asked = |subject: Subject, question: &str| pvchat().ask(&[subject], &seen, question).unwrap().presence[0].1.to_bits();
    assert_eq!(asked(renamed, "is <Cc> in this video ?"), asked(subject, "is <Aa> in this video ?"));
}
