//! A scripted base about real clips: when it is asked, what it is shown, and how names go in and come out.
//!
//! Needs the models, in the folder that `PVCHAT_MODELS` names or where `pvchat models get people` puts them, and the demo's
//! clips (`PVCHAT_CLIPS`); says so where they are absent.

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex},
};

use image::{RgbImage, imageops};
use pvchat::{
    BaseDescriber, BaseFolder, Describer, Error, Footage, Impression, People, PeopleAnswer, PeopleOptions, Pictures, Pvchat,
    Session,
    augment::generator::prompts::{AgeBand, Gender},
    faces::Verdict,
    nn::device,
    questions::{Context, Refusal},
    video::{SamplingPlan, VideoReader, write_clip},
};

#[path = "../../../fixtures/fetched.rs"]
mod fetched;

/// Two men, each alone.
const CLIPS: [&str; 2] = ["carphone_pristine.mp4", "cap13_edit2.mp4"];
/// Height of the pictures, in pixels.
const HEIGHT: u32 = 240;
/// Frames per second, and of the whole clip: Aa is beside Bb in its first half, and alone behind.
const RATE: f64 = 4.0;
const FRAMES: usize = 16;
/// Frames that the base looks at.
const SHOWN: usize = 3;

/// What the base was shown and asked.
#[derive(Clone, Debug)]
struct Call {
    key: String,
    seconds: Vec<f64>,
    frames: usize,
    frame: [u32; 2],
    person: Option<RgbImage>,
    question: String,
}

/// Answers the same to everything.
#[derive(Debug)]
struct Scripted {
    says: &'static str,
    sees_pictures: bool,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Scripted {
    fn new(says: &'static str) -> Self {
        Self { says, sees_pictures: true, calls: Arc::default() }
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

impl Describer for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn frames(&self) -> usize {
        SHOWN
    }

    fn sees_pictures(&self) -> bool {
        self.sees_pictures
    }

    fn describe(&mut self, pictures: &Pictures<'_>, question: &str) -> pvchat::Result<String> {
        self.calls.lock().unwrap().push(Call {
            key: pictures.key.into(),
            seconds: pictures.seconds.to_vec(),
            frames: pictures.frames.len(),
            frame: pictures.frames[0].dimensions().into(),
            person: pictures.person.cloned(),
            question: question.into(),
        });
        Ok(self.says.into())
    }
}

/// People, the clip of both, and where Bb begins in it, in pixels.
struct Scene {
    people: People,
    footage: Footage,
    middle: u32,
    _folder: tempfile::TempDir,
}

fn pictures(clip: &Path) -> Vec<RgbImage> {
    let mut reader = VideoReader::open(clip).unwrap();
    let frames = reader.sample(&SamplingPlan::Indices((0..FRAMES).map(|at| 6 * at).collect())).unwrap().frames;
    let scaled = |frame: &RgbImage| {
        let width = 2 * (frame.width() * HEIGHT / frame.height() / 2);
        imageops::resize(frame, width, HEIGHT, imageops::FilterType::Triangle)
    };
    frames.iter().map(scaled).collect()
}

/// Aa and Bb are enrolled from a picture each, Cc is one who is not in it.
fn scene() -> Option<Scene> {
    let clips = fetched::clips();
    let [one, other] = CLIPS.map(|name| clips.join(name));
    let folder = tempfile::tempdir().unwrap();
    let (subjects, device) = (folder.path().join("people"), device::default_device().unwrap());
    let people = People::open(&fetched::models(), subjects, PeopleOptions::default(), &device);
    let people = people.map_err(fetched::not_run).ok()?;
    let (one, other) = (pictures(fetched::fetched(&one)?), pictures(fetched::fetched(&other)?));
    let third = VideoReader::open(clips.join("franck.mp4")).unwrap().frame_at(20.0).unwrap().image;
    for (name, picture) in [("Aa", &one[0]), ("Bb", &other[0]), ("Cc", &third)] {
        let file = folder.path().join(format!("{name}.png"));
        picture.save(&file).unwrap();
        people.enrol(&people.look(&file).unwrap(), None, &name.parse().unwrap()).unwrap();
    }
    let middle = one[0].width();
    let beside = |at: usize| {
        let mut frame = RgbImage::from_pixel(middle + other[0].width(), HEIGHT, image::Rgb([90; 3]));
        imageops::replace(&mut frame, &one[at], 0, 0);
        if at < FRAMES / 2 {
            imageops::replace(&mut frame, &other[at], middle.into(), 0);
        }
        frame
    };
    let clip = folder.path().join("both.mp4");
    write_clip(&clip, &(0..FRAMES).map(beside).collect::<Vec<_>>(), RATE).unwrap();
    let footage = people.watch(&clip, |_| ControlFlow::Continue(())).unwrap();
    Some(Scene { people, footage, middle, _folder: folder })
}

impl Scene {
    fn ask(&self, question: &str, base: &mut Scripted) -> PeopleAnswer {
        self.people.describe(&self.footage, question, &Context::default(), base).unwrap().0
    }
}

#[test]
fn a_base_is_asked_only_about_somebody_who_is_there() {
    let Some(scene) = scene() else { return };
    let mut base = Scripted::new(" The person is wearing a red shirt.");

    let answer = scene.ask("What is Aa wearing?", &mut base);
    assert_eq!((answer.text.as_str(), answer.refused), ("Aa is wearing a red shirt.", None));
    assert_eq!((answer.presence.len(), answer.others), (1, 1), "Bb is there too");
    let described = answer.parts[0].described.clone().unwrap();
    let [call] = base.calls().try_into().unwrap();
    assert_eq!((described.by.as_str(), &described.question, &described.seconds), ("scripted", &call.question, &call.seconds));
    assert!(call.question.contains("What is the person in the last picture wearing?"), "{}", call.question);
    assert!(!call.question.contains("Aa"), "{}", call.question);
    assert!(!call.key.is_empty());
    // The stretch: frames of the clip in order, and the person alone, cut out of Aa's half.
    assert_eq!((call.frames, call.seconds.len(), call.frame[1]), (SHOWN, SHOWN, HEIGHT));
    assert!(call.seconds.is_sorted() && call.seconds.iter().all(|second| (0.0..=4.0).contains(second)), "{call:?}");
    let (person, frame) = (call.person.unwrap(), scene.people.frame(&scene.footage, call.seconds[0]).unwrap());
    assert!(person.width() < frame.width() && person.height() <= frame.height(), "{:?}", person.dimensions());

    // What faces answer needs no base, neither do those who are not there or may be.
    let mut base = Scripted::new("It says something.");
    assert_eq!(scene.ask("Is Aa in it?", &mut base).verdict, Some(Verdict::Yes));
    let absent = scene.ask("What is Cc wearing?", &mut base);
    assert_eq!((absent.verdict, absent.parts[0].described.is_none()), (Some(Verdict::No), true), "{}", absent.text);
    assert!(absent.text.starts_with("No."), "{}", absent.text);
    let mut doubtful = scene.footage.clone();
    for moment in doubtful.timeline.people.iter_mut().flat_map(|person| &mut person.moments) {
        moment.similarity = 0.45;
    }
    let (doubt, _) = scene.people.describe(&doubtful, "What is Aa doing?", &Context::default(), &mut base).unwrap();
    assert_eq!(doubt.verdict, Some(Verdict::NotSure), "{}", doubt.text);
    assert!(doubt.text.starts_with("Not sure"), "{}", doubt.text);
    let unknown = scene.people.describe(&scene.footage, "What is Dave wearing?", &Context::default(), &mut base);
    assert!(matches!(unknown, Err(Error::UnknownPerson { .. })), "{unknown:?}");
    assert!(base.calls().is_empty(), "{:?}", base.calls());
}

#[test]
fn two_people_are_two_questions_and_each_is_shown_alone() {
    let Some(scene) = scene() else { return };
    let mut base = Scripted::new("He is sitting.");
    let answer = scene.ask("What are Aa and Bb doing?", &mut base);
    assert_eq!(answer.text, "Aa is sitting. Bb is sitting.");
    let calls = base.calls();
    assert_eq!((calls.len(), answer.parts.len(), answer.presence.len(), answer.others), (2, 2, 2, 0), "{calls:?}");
    assert_eq!(calls[0].key, calls[1].key, "frames of one file are looked at once, whoever is asked about");
    assert_ne!(calls[0].person, calls[1].person);
    // Bb leaves after two seconds: the frames of that question do too.
    assert!(calls[1].seconds.iter().all(|second| *second <= 2.3), "{:?}", calls[1].seconds);
    assert!(calls[0].seconds.iter().any(|second| *second > 2.3), "{:?}", calls[0].seconds);
    let [aa, bb] = ["Aa", "Bb"].map(|name| {
        let presence = answer.presence.iter().find(|presence| presence.name.bare() == name).unwrap();
        presence.moments[0].bounds.centre()[0]
    });
    assert!(aa < scene.middle as f32 && bb > scene.middle as f32, "{aa} {bb}");
}

#[test]
fn questions_to_faces_and_base_are_answered_together() {
    let Some(scene) = scene() else { return };
    let mut base = Scripted::new("A man in a blue coat.");
    let answer = scene.ask("Is Aa in it and what is he wearing?", &mut base);
    assert!(answer.text.starts_with("Yes: 0:00") && answer.text.ends_with("Aa in a blue coat."), "{}", answer.text);
    assert_eq!((answer.verdict, answer.refused, base.calls().len()), (Some(Verdict::Yes), None, 1));

    // A name in small letters is a name, and what the faces answer is not asked of the base.
    let mut base = Scripted::new("A man in a blue coat.");
    let answer = scene.ask("What is aa wearing, and when is he there?", &mut base);
    assert!(answer.text.starts_with("Aa in a blue coat. Aa is seen at 0:00 to 0:04."), "{}", answer.text);
    let [call] = base.calls().try_into().unwrap();
    assert!(call.question.contains("What is the person in the last picture wearing?"), "{}", call.question);
    assert!(!call.question.contains("when"), "{}", call.question);
    let absent = scene.ask("What is cc doing?", &mut base);
    assert_eq!((absent.verdict, base.calls().len()), (Some(Verdict::No), 1), "{}", absent.text);

    // A question about nobody is about the whole clip, with no picture of a person.
    let mut base = Scripted::new("A car.");
    let answer = scene.ask("Where was this filmed?", &mut base);
    let [call] = base.calls().try_into().unwrap();
    assert_eq!((answer.text.as_str(), call.person.is_none(), call.frames), ("A car.", true, SHOWN));

    let mut unfinished = scene.footage.clone();
    unfinished.finished = false;
    let (answer, _) = scene.people.describe(&unfinished, "What is Aa doing?", &Context::default(), &mut base).unwrap();
    assert!(answer.text.ends_with("watch it again for the rest."), "{}", answer.text);

    let mut base = Scripted { sees_pictures: false, ..Scripted::new("Reading.") };
    scene.ask("What is Aa doing?", &mut base);
    assert!(base.calls()[0].person.is_none() && base.calls()[0].question.contains("What is the person doing?"));
    let without = scene.people.ask(&scene.footage, "What is Aa doing?").unwrap();
    assert_eq!(without.refused, Some(Refusal::NeedsDescription));
    assert!(without.text.contains("pvchat base get smolvlm2-256m"), "{}", without.text);
}

#[test]
fn a_conversation_knows_who_she_is() {
    let Some(Scene { people, footage, _folder, .. }) = scene() else { return };
    let base = Scripted::new("They are smiling.");
    let calls = base.calls.clone();
    let mut session = Session::new(people.into(), footage).with_describer(Box::new(base));
    session.ask("Is Bb in it?").unwrap();
    assert!(calls.lock().unwrap().is_empty());
    assert_eq!(session.ask("What is he doing?").unwrap().text, "Bb is smiling.");
    assert_eq!(session.ask("And what colour is his coat?").unwrap().text, "Bb is smiling.");
    assert_eq!(session.ask("Where was this filmed?").unwrap().text, "They are smiling.");
    let calls = calls.lock().unwrap();
    assert!(calls[0].question.contains("What is the person in the last picture doing?"));
    assert_eq!(calls.iter().map(|call| call.person.is_some()).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn folders_without_a_describing_base_are_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let refused = |path: &Path| BaseFolder::read(path).unwrap_err().to_string();
    assert!(refused(&path.join("none")).contains("none does not exist; give a folder"));
    assert!(refused(path).contains("holds no config.json; give a folder"));
    std::fs::write(path.join("config.json"), "{\"model_type\": \"smolvlm\"}").unwrap();
    assert!(refused(path).contains("holds no tokenizer.json"));
    assert!(refused(&path.join("config.json")).contains("is no folder"));
    std::fs::write(path.join("tokenizer.json"), "{}").unwrap();
    assert!(refused(path).contains("config.json"));
    std::fs::write(path.join("config.json"), "{\"model_type\": \"qwen\"}").unwrap();
    assert!(refused(path).contains("of the type \"qwen\"; use one of the families internvideo2_chat, smolvlm2"));
    let miniature = Pvchat::miniature().unwrap();
    miniature.vilm().save(path).unwrap();
    assert!(refused(path).contains("drawn clips only; use one for filmed footage: pvchat base list"), "{}", refused(path));
    let vilm = pvchat::Vilm::open(path, &device::default_device().unwrap()).unwrap();
    assert!(BaseDescriber::new(vilm, "miniature").unwrap_err().to_string().contains("drawn clips only"));
}

/// Answers the question about age and the one about gender.
#[derive(Debug)]
struct Guesses([&'static str; 2]);

impl Describer for Guesses {
    fn name(&self) -> &str {
        "guesses"
    }

    fn frames(&self) -> usize {
        SHOWN
    }

    fn sees_pictures(&self) -> bool {
        true
    }

    fn describe(&mut self, pictures: &Pictures<'_>, question: &str) -> pvchat::Result<String> {
        assert!(pictures.frames.len() == 1 && pictures.person.is_none() && question.contains("this person"));
        Ok(self.0[usize::from(question.contains("female or male"))].into())
    }
}

#[test]
fn what_a_base_takes_somebody_for_is_one_of_the_known_words_or_nothing() {
    let Some(Scene { people, _folder, .. }) = scene() else { return };
    let seen = people.look(&fetched::clips().join(CLIPS[0])).unwrap();
    for (says, age, gender) in [
        (["middle-aged", "Male."], Some(AgeBand::MiddleAged), Some(Gender::Male)),
        (["This is an old man.", "A woman"], Some(AgeBand::Elderly), Some(Gender::Female)),
        (["young or middle-aged", "female or male"], None, None),
        (["25 years old", ""], None, None),
    ] {
        let mut base = Guesses(says);
        let mut guess = Impression::new(&seen, None, &mut base).unwrap();
        assert_eq!((guess.age().unwrap(), guess.gender().unwrap()), (age, gender), "{says:?}");
    }
}
