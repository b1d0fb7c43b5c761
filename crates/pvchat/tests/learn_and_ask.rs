//! The main job on the embedded model: a person in one clip gets a name, and questions about that
//! person are answered in clips that it never saw.

mod support;

use std::{ops::ControlFlow, path::Path};

use image::RgbImage;

use pvchat::{
    Error, LearnEvent, LearnOptions, Obtained, Pvchat, SeenClip, Start, SubjectFolder, SubjectName,
    augment::{Corpus, Failure},
    miniature::{
        embedded,
        world::{Scene, SceneOptions},
    },
    model::subject::{Origin, TOKENS},
    train::personal::LearnConfig,
};
use support::{clip, file, people, pvchat};

fn name(text: &str) -> SubjectName {
    text.parse().unwrap()
}

/// Shares of right answers over a few people; far above chance, far below the figures of
/// docs/results.md, so that it fails when something breaks and not when the dice fall badly.
#[test]
fn enrolled_people_are_recognised_and_strangers_are_not() {
    let (mut right, mut total) = (0, 0);
    for seed in 100..108 {
        let (person, stranger, mut stream) = people(seed);
        let subject = pvchat().enrol(&clip(&[person], &mut stream), &name("Aa")).unwrap();
        for (who, present) in [(person, true), (stranger, false)] {
            let answer =
                pvchat().ask(std::slice::from_ref(&subject), &clip(&[who], &mut stream), "Is <Aa> in this video?").unwrap();
            assert_eq!(answer.presence[0].0, name("Aa"));
            assert_eq!(answer.obtained, Obtained::Enrolled);
            assert_eq!(answer.text.starts_with("yes"), answer.presence[0].1 > 0.5, "{answer:?}");
            right += usize::from(answer.text.starts_with("yes") == present);
            total += 1;
        }
    }
    assert!(right * 10 >= total * 8, "{right} of {total}");
}

#[test]
fn remembered_people_are_recognised_and_described_without_any_token() {
    let (mut right, mut described) = (0, 0);
    for seed in 500..508 {
        let (person, stranger, mut stream) = people(seed);
        let mut subject = pvchat().remember(&clip(&[person], &mut stream), &name("Aa")).unwrap();
        // What is answered rests on the identity embedding alone.
        subject.tensors.get_mut(TOKENS).unwrap().values.fill(0.0);
        for (who, present) in [(person, true), (stranger, false)] {
            let seen = clip(&[who], &mut stream);
            let answer = pvchat().ask(std::slice::from_ref(&subject), &seen, "Is <Aa> in this video?").unwrap();
            assert_eq!(answer.obtained, Obtained::Remembered);
            assert_eq!(answer.presence[0].1, pvchat().presence(&subject, &seen).unwrap());
            assert_eq!(answer.text.starts_with("yes"), answer.presence[0].1 > 0.5, "{answer:?}");
            right += usize::from(answer.text.starts_with("yes") == present);
            let place = pvchat().ask(std::slice::from_ref(&subject), &seen, "where is <Aa> ?").unwrap().text;
            described += usize::from((place == "<Aa> is not in the video.") != present && place.starts_with("<Aa> is"));
        }
    }
    assert!(right >= 14 && described >= 14, "{right} and {described} of 16");
}

#[test]
fn untouched_frames_of_the_reference_judge_what_was_learned_and_a_still_picture_has_none() {
    let (person, _, mut stream) = people(206);
    let mut reference = clip(&[person], &mut stream);
    let mut options = LearnOptions {
        positives: 3,
        training: LearnConfig { image_steps: 1, clip_steps: 1, batch: 4, ..LearnConfig::default() },
        ..LearnOptions::default()
    };
    (options.negatives.hard, options.negatives.random) = (4, 4);
    let judged = |reference: &SeenClip| {
        let learned = pvchat().learn(reference, &name("Aa"), &options, |_| ControlFlow::Continue(())).unwrap();
        learned.report.real.map(|[before, _]| before.balanced_accuracy)
    };
    // One look recognises the person in the own frames, and no stranger.
    assert_eq!(judged(&reference), Some(1.0));
    let first = reference.frames[0].clone();
    reference.frames.fill(first);
    assert_eq!(judged(&reference), None);
}

/// Learning for other looks makes clips with exchanged heads.
#[test]
fn learning_for_other_looks_makes_clips_with_exchanged_heads() {
    let (person, stranger, mut stream) = people(205);
    let reference = clip(&[person], &mut stream);
    let usual = LearnOptions::other_looks();
    let training = LearnConfig { image_steps: 2, clip_steps: 6, batch: 8, ..usual.training.clone() };
    let learn = |exchanged: usize| {
        let options = LearnOptions { exchanged, training: training.clone(), ..usual.clone() };
        pvchat().learn(&reference, &name("Aa"), &options, |_| ControlFlow::Continue(())).unwrap()
    };
    let (with, without) = (learn(40), learn(0));
    let real = with.report.real.unwrap();
    assert!(real.iter().all(|check| check.balanced_accuracy > 0.7), "{real:?}");
    assert!(with.set.clips.len() >= without.set.clips.len() + 30, "{} and {}", with.set.clips.len(), without.set.clips.len());
    for (who, present) in [(person, true), (stranger, false)] {
        assert_eq!(pvchat().presence(&with.subject, &clip(&[who], &mut stream)).unwrap() > 0.5, present);
    }
}

#[test]
fn the_place_is_told_and_an_absent_subject_is_refused() {
    let (person, stranger, mut stream) = people(200);
    let subject = pvchat().enrol(&clip(&[person], &mut stream), &name("Aa")).unwrap();
    let subjects = [subject];
    let answer = pvchat().ask(&subjects, &clip(&[person], &mut stream), "where is <Aa>").unwrap();
    assert!(answer.text.starts_with("<Aa> is"), "{answer:?}");
    let refusal = pvchat().ask(&subjects, &clip(&[stranger], &mut stream), "What is <Aa> doing?").unwrap();
    assert_eq!(refusal.text, "<Aa> is not in the video.");
}

#[test]
fn answers_are_written_as_people_write_and_their_pieces_are_the_text() {
    let (person, _, mut stream) = people(201);
    let reference = clip(&[person], &mut stream);
    let subjects = [pvchat().enrol(&reference, &name("Aa")).unwrap(), pvchat().remember(&reference, &name("Bb")).unwrap()];
    for _ in 0..4 {
        let seen = clip(&[person], &mut stream);
        for who in ["<Aa>", "<Bb>"] {
            for question in ["Is {} in this video?", "What is {} wearing?", "What does {} look like?", "What is {} doing?"] {
                let mut pieces = String::new();
                let question = question.replace("{}", who);
                let answer = pvchat().ask_streaming(&subjects, &seen, &question, |piece| {
                    pieces.push_str(piece);
                    ControlFlow::Continue(())
                });
                let text = answer.unwrap().text;
                assert_eq!(pieces, text);
                assert!(text.ends_with('.') && !text.contains(" .") && !text.contains(" ,"), "{text}");
                assert!(!text.contains(" a o") && !text.contains("raising."), "{text}");
            }
        }
    }
}

/// The frames with black bars to both sides, or above and below, in an mp4 file.
fn with_bars(frames: &[RgbImage], [across, down]: [u32; 2], path: &Path) {
    let (width, height) = frames[0].dimensions();
    let mut boxed = Vec::new();
    for frame in frames.iter().chain(frames.last()) {
        let mut whole = RgbImage::new(width + 2 * across, height + 2 * down);
        image::imageops::replace(&mut whole, frame, across.into(), down.into());
        boxed.push(whole);
    }
    pvchat::video::write_clip(path, &boxed, 8.0).unwrap();
}

#[test]
fn bars_around_a_clip_change_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let see = |frames: &[RgbImage], bars: [u32; 2]| {
        with_bars(frames, bars, &path);
        pvchat().clip(&path).unwrap()
    };
    for seed in 210..213 {
        let (person, stranger, mut stream) = people(seed);
        let mut draw = |who| Scene::random(&[who], SceneOptions::default(), &mut stream).render(256).frames;
        let subjects = [pvchat().enrol(&see(&draw(person), [0, 0]), &name("Aa")).unwrap()];
        for (who, question) in [
            (person, "Is <Aa> here?"),
            (person, "What is <Aa> wearing?"),
            (stranger, "Is <Aa> here?"),
            (person, "Where is <Aa>?"),
        ] {
            let frames = draw(who);
            let plain = pvchat().ask(&subjects, &see(&frames, [0, 0]), question).unwrap();
            for bars in [[100, 0], [0, 56]] {
                let boxed = pvchat().ask(&subjects, &see(&frames, bars), question).unwrap();
                assert_eq!(boxed.text, plain.text, "{seed} {question} {bars:?}");
                let presence = [&boxed, &plain].map(|answer| answer.presence[0].1);
                assert!((presence[0] - presence[1]).abs() < 0.2, "{seed} {question} {bars:?}: {presence:?}");
            }
        }
    }
}

#[test]
fn somebody_who_is_there_for_half_of_a_clip_is_found() {
    let (mut found, mut wrong) = (0, 0);
    for seed in 220..228 {
        let (person, stranger, mut stream) = people(seed);
        let mut draw = |who| Scene::random(&[who], SceneOptions::default(), &mut stream).render(64).frames;
        let reference = pvchat().see(&draw(person)).unwrap();
        let subjects = [pvchat().enrol(&reference, &name("Aa")).unwrap()];
        let other = people(seed + 1000).0;
        for (halves, present) in [([person, stranger], true), ([stranger, person], true), ([other, stranger], false)] {
            let [first, second] = halves.map(&mut draw);
            let seen = pvchat().see(&[&first[..4], &second[4..]].concat()).unwrap();
            let answer = pvchat().ask(&subjects, &seen, "Is <Aa> in this video?").unwrap();
            assert_eq!(answer.text.starts_with("yes"), answer.presence[0].1 > 0.5, "{answer:?}");
            assert_eq!(answer.presence[0].1, pvchat().presence(&subjects[0], &seen).unwrap());
            *(if present { &mut found } else { &mut wrong }) += usize::from(answer.text.starts_with("yes"));
        }
    }
    assert!(found >= 12 && wrong <= 2, "{found} of 16 found, {wrong} of 8 taken for the person");
}

#[test]
fn other_subjects_do_not_change_an_answer_by_a_bit() {
    let (one, two, mut stream) = people(300);
    let first = pvchat().enrol(&clip(&[one], &mut stream), &name("Aa")).unwrap();
    let second = pvchat().enrol(&clip(&[two], &mut stream), &name("Bb")).unwrap();
    let seen = clip(&[one, two], &mut stream);
    let question = "Is <Bb> in this video?";
    let alone = pvchat().ask(std::slice::from_ref(&second), &seen, question).unwrap();
    let together = pvchat().ask(&[first.clone(), second.clone()], &seen, question).unwrap();
    assert_eq!(alone, together);
    let subjects = [first, second];
    let both = pvchat().ask(&subjects, &seen, "are <Aa> and <Bb> in this video ?").unwrap();
    let apart = subjects.each_ref().map(|subject| (subject.info.name.clone(), pvchat().presence(subject, &seen).unwrap()));
    assert_eq!(both.presence, apart, "who is there does not depend on who else is asked about");
    for other_wording in ["Are <Aa> and <Bb> here?", "Is <Aa> or <Bb> there?"] {
        assert_eq!(pvchat().ask(&subjects, &seen, other_wording).unwrap().presence, apart);
    }
}

#[test]
fn clips_come_through_mp4_and_subjects_through_a_folder_that_forgets() {
    let folder = tempfile::tempdir().unwrap();
    let (person, _, mut stream) = people(400);
    let reference = pvchat().clip(&file(folder.path(), "reference.mp4", &[person], &mut stream)).unwrap();
    assert_eq!(reference.frames.len(), 8);
    let subjects = SubjectFolder::new(folder.path().join("subjects"));
    let saved = subjects.save(&pvchat().enrol(&reference, &name("Aa")).unwrap()).unwrap();
    assert!(std::fs::metadata(&saved).unwrap().len() < 20_000);
    assert_eq!(subjects.names().unwrap(), [name("Aa")]);
    let loaded = subjects.load_all(pvchat().vilm()).unwrap();
    let answer = pvchat().ask(&loaded, &reference, "Is <Aa> here?").unwrap();
    assert!(answer.text.starts_with("yes"), "the very clip it was enrolled from: {answer:?}");
    assert_eq!(subjects.forget(&name("Aa")).unwrap().deleted.len(), 1);
    assert!(subjects.forget(&name("Aa")).unwrap().is_empty());
    assert!(subjects.names().unwrap().is_empty());
}

#[test]
fn a_conversation_remembers_whom_it_is_about() {
    let (person, _, mut stream) = people(500);
    let seen = clip(&[person], &mut stream);
    let subjects = [pvchat().enrol(&seen, &name("Aa")).unwrap()];
    let mut chat = pvchat().chat(&subjects, &seen);
    chat.ask("Is <Aa> in this video?").unwrap();
    let second = chat.ask("And where?").unwrap().clone();
    assert!(second.text.contains("<Aa>"), "{second:?}");
    assert_eq!(chat.history().len(), 2);
}

#[test]
fn learning_is_repeatable_checks_itself_and_can_be_stopped() {
    let (person, _, mut stream) = people(600);
    let reference = clip(&[person], &mut stream);
    let mut options = LearnOptions {
        positives: 11,
        training: LearnConfig { image_steps: 2, clip_steps: 3, batch: 8, ..LearnConfig::default() },
        ..LearnOptions::default()
    };
    (options.negatives.hard, options.negatives.random) = (6, 6);
    let mut steps = 0;
    let learn =
        |observe: &mut dyn FnMut(LearnEvent<'_>) -> ControlFlow<()>| pvchat().learn(&reference, &name("Aa"), &options, observe);
    let one = learn(&mut |event| {
        steps += usize::from(matches!(event, LearnEvent::Training(_)));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(steps, 5);
    assert_eq!(one.report.steps.len(), 5);
    assert!(!one.report.steps[1].video && one.report.steps[2].video, "images first, then clips");
    assert_eq!(one.set.clips.len(), 1 + 11 + 12);
    let two = learn(&mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(one.subject, two.subject, "the same seed gives the same subject");
    let better = one.report.after.balanced_accuracy > one.report.before.balanced_accuracy;
    let no_worse = one.report.real.is_some_and(|[before, after]| after.balanced_accuracy >= before.balanced_accuracy);
    assert_eq!(one.report.kept_learned, better && no_worse);
    let stopped = learn(&mut |event| match event {
        LearnEvent::Training(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(stopped.is_err());
}

/// A corpus whose strangers all are the person that is to be learned.
struct SamePerson(Vec<Vec<RgbImage>>, Vec<f32>);

impl Corpus for SamePerson {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn people(&self, _clip: usize) -> Vec<&[f32]> {
        vec![&self.1]
    }

    fn frames(&self, clip: usize) -> Result<Vec<RgbImage>, Failure> {
        Ok(self.0[clip].clone())
    }
}

#[test]
fn learning_that_its_own_check_refutes_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let subjects = SubjectFolder::new(folder.path());
    // Whoever is called a stranger is the person: nothing distinguishes them.
    let (person, _, mut stream) = people(610);
    let scenes = (0..16).map(|_| Scene::random(&[person], SceneOptions::default(), &mut stream).render(64).frames).collect();
    let device = pvchat().vilm().device();
    let same = Pvchat::new(embedded::vilm(device).unwrap(), Box::new(SamePerson(scenes, vec![0.125; 64])));
    let seen = clip(&[person], &mut stream);
    let mut options = LearnOptions {
        positives: 7,
        training: LearnConfig { image_steps: 1, clip_steps: 1, batch: 4, ..LearnConfig::default() },
        ..LearnOptions::default()
    };
    (options.negatives.hard, options.negatives.random) = (0, 8);
    let error = subjects
        .learn(&same, &seen, &name("Aa"), &options, |_| ControlFlow::Continue(()))
        .map(|learned| learned.report.after)
        .unwrap_err();
    assert!(matches!(&error, Error::NotLearned { accuracy, .. } if *accuracy <= 0.5), "{error:?}");
    assert!(error.to_string().contains("<Aa> was not learned"), "{error}");
    assert!(subjects.names().unwrap().is_empty() && subjects.unfinished().unwrap().is_empty());
}

#[test]
fn learning_from_noise_falls_back_to_the_look() {
    let (person, _, mut stream) = people(600);
    let reference = clip(&[person], &mut stream);
    let mut options = LearnOptions {
        start: Start::Noise,
        positives: 3,
        training: LearnConfig { image_steps: 1, clip_steps: 1, batch: 4, ..LearnConfig::default() },
        ..LearnOptions::default()
    };
    (options.negatives.hard, options.negatives.random) = (4, 4);
    let learned = pvchat().learn(&reference, &name("Aa"), &options, |_| ControlFlow::Continue(())).unwrap();
    let enrolled = pvchat().enrol(&reference, &name("Aa")).unwrap();
    // Noise knows nobody, and two steps teach it nothing.
    assert_eq!(learned.report.before.balanced_accuracy, 0.5);
    assert!(!learned.report.kept_learned);
    assert_eq!((learned.subject.info.origin, learned.subject.values(TOKENS)), (Origin::Enrolled, enrolled.values(TOKENS)));
    let trained = learned.report.learned.first().expect("one subject was trained");
    assert_ne!(trained.values(TOKENS), enrolled.values(TOKENS));
}
