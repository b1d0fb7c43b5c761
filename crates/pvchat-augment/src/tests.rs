//! What the parts of this crate do together, on drawn figures and a made-up corpus.

use std::path::Path;

use image::{GrayImage, Rgb, RgbImage, imageops};
use pvchat_data::{QaKind, random::SeededStream};

use crate::figures::{clip, overlap, scene};
use crate::foreground::{area_share, person_masks, person_rows};
use crate::*;

/// A config with nothing left to chance and nothing done.
fn still() -> PositiveConfig {
    PositiveConfig {
        recolour: 0.0,
        reverse: 0.0,
        freeze: 0.0,
        resample: 0.0,
        mirror: 0.0,
        scale: [1.0, 1.0],
        shift: [0.0, 0.0],
        composite: 0.0,
        gain: [1.0, 1.0],
        tint: 0.0,
        offset: 0.0,
        ..PositiveConfig::default()
    }
}

fn one(config: PositiveConfig, scenes: &[Vec<RgbImage>]) -> (Vec<RgbImage>, Positive) {
    let (frames, _) = clip(64);
    let maker = PositiveMaker::new(&frames, scenes, config).unwrap();
    assert!(maker.found_person());
    let positive = maker.draw(&mut SeededStream::new(1));
    (frames, positive)
}

#[test]
fn masks_cover_the_figure_at_any_size() {
    for side in [64, 96, 200] {
        let (frames, truth) = clip(side);
        for (mask, truth) in person_masks(&frames).unwrap().iter().zip(&truth) {
            let covered = overlap(mask, truth);
            assert!(covered > 0.93, "{side}: {covered}");
        }
    }
    let blank = person_masks(&scene(64, [10, 20, 30])).unwrap();
    assert!(blank.iter().all(|mask| area_share(mask) == 0.0 && person_rows(mask).is_none()));
}

#[test]
fn masks_of_tiny_frames_do_not_fail() {
    for (width, height) in [(1, 1), (1, 9), (7, 1), (2, 2)] {
        assert_eq!(person_masks(&[RgbImage::new(width, height)]).unwrap()[0], GrayImage::new(width, height));
    }
}

#[test]
fn clips_that_cannot_be_used_are_refused() {
    let (frames, _) = clip(64);
    let refuse = |reference: &[RgbImage], scenes: &[Vec<RgbImage>]| {
        PositiveMaker::new(reference, scenes, PositiveConfig::default()).err().map(|error| error.to_string()).unwrap()
    };
    assert!(refuse(&[], &[]).contains("the reference has no frames"));
    assert!(refuse(&[RgbImage::new(0, 4)], &[]).contains("no pixels"));
    let mut mixed = frames.clone();
    mixed[3] = RgbImage::new(64, 32);
    assert!(refuse(&mixed, &[]).contains("frame 3 of the reference is 64 x 32 pixels, expected 64 x 64"));
    assert!(refuse(&frames, &[scene(64, [1; 3]), scene(32, [1; 3])]).contains("frame 0 of scene 1"));
    assert!(refuse(&frames, &[Vec::new()]).contains("scene 0 has no frames"));
}

#[test]
fn recolouring_changes_the_lower_half_of_the_mask_and_nothing_else() {
    let (frames, positive) = one(PositiveConfig { recolour: 1.0, hue: [120.0, 120.0], ..still() }, &[]);
    let masks = person_masks(&frames).unwrap();
    for ((old, new), mask) in frames.iter().zip(&positive.frames).zip(&masks) {
        let (top, bottom) = person_rows(mask).unwrap();
        let mut changed = 0;
        for (column, row, pixel) in new.enumerate_pixels() {
            if pixel != old.get_pixel(column, row) {
                assert!(mask.get_pixel(column, row).0[0] == 255 && row > (top + bottom) / 2, "{column} {row}");
                changed += 1;
            }
        }
        let share = changed as f32 / (64.0 * 64.0 * area_share(mask));
        assert!((0.25..0.65).contains(&share), "{share}");
        // The red pullover turned by 120 degrees is green.
        let shirt = new.get_pixel(28 + 3, 42).0;
        assert!(shirt[1] > shirt[0] && shirt[1] > shirt[2], "{shirt:?}");
    }
}

#[test]
fn mirror_and_time_steps_are_exact() {
    let (frames, mirrored) = one(PositiveConfig { mirror: 1.0, ..still() }, &[]);
    assert_eq!(mirrored.frames, frames.iter().map(imageops::flip_horizontal).collect::<Vec<_>>());
    let (frames, reversed) = one(PositiveConfig { reverse: 1.0, ..still() }, &[]);
    assert!(reversed.frames.iter().eq(frames.iter().rev()));
    let (frames, frozen) = one(PositiveConfig { freeze: 1.0, ..still() }, &[]);
    assert!(matches!(frozen.steps[0], Step::Frozen { frame } if frozen.frames == vec![frames[frame].clone(); 8]));
    let (frames, resampled) = one(PositiveConfig { resample: 1.0, ..still() }, &[]);
    let Step::Resampled { frames: order } = &resampled.steps[0] else { panic!("{:?}", resampled.steps) };
    assert!(order.is_sorted() && order.len() == 8);
    assert!(resampled.frames.iter().zip(order).all(|(frame, &time)| *frame == frames[time]));
}

#[test]
fn compositing_puts_the_person_before_the_scene() {
    let purple = Rgb([130, 20, 140]);
    let config = PositiveConfig { composite: 1.0, mirror: 1.0, reverse: 1.0, shift: [0.1, 0.0], ..still() };
    // A shorter scene is repeated.
    let (_, positive) = one(config, &[scene(64, purple.0)[..3].to_vec()]);
    assert!(positive.steps.contains(&Step::Composited { scene: 0 }));
    assert_eq!(positive.frames.len(), 8);
    for frame in &positive.frames {
        assert!((0..64).all(|row| *frame.get_pixel(0, row) == purple && *frame.get_pixel(63, row) == purple));
        let red = frame.pixels().filter(|pixel| pixel.0[0] > 190 && pixel.0[1] < 60).count();
        // The pullover has 13 x 18 pixels.
        assert!((180..=250).contains(&red), "{red}");
    }
}

#[test]
fn without_a_plausible_mask_only_the_picture_as_a_whole_changes() {
    let reference = scene(64, [90, 120, 150]);
    let config = PositiveConfig { recolour: 1.0, composite: 1.0, ..still() };
    let maker = PositiveMaker::new(&reference, &[scene(64, [0; 3])], config).unwrap();
    assert!(!maker.found_person());
    assert_eq!(maker.draw(&mut SeededStream::new(3)).frames, reference);
}

#[test]
fn the_same_seed_gives_the_same_positives_and_another_seed_others() {
    let (frames, _) = clip(64);
    let maker = PositiveMaker::new(&frames, &[scene(64, [200; 3])], PositiveConfig::default()).unwrap();
    let make = |seed| maker.positives(12, &mut SeededStream::new(seed), |shown| Ok(vec![true; shown.len()])).unwrap();
    assert_eq!(make(5), make(5));
    assert_ne!(make(5), make(6));
    assert_eq!(make(5).rejected, 0);
    let steps: Vec<Step> = make(5).positives.into_iter().flat_map(|positive| positive.steps).collect();
    let done = |test: fn(&Step) -> bool| steps.iter().filter(|step| test(step)).count();
    assert_eq!(done(|step| matches!(step, Step::Toned { .. })), 12);
    assert_eq!(done(|step| matches!(step, Step::Moved { scale, .. } if (0.88..1.12).contains(scale))), 12);
    assert!((3..12).contains(&done(|step| matches!(step, Step::Composited { .. }))));
    assert!((3..12).contains(&done(|step| matches!(step, Step::Recoloured { .. }))));
}

#[test]
fn rejected_positives_are_drawn_again_without_another_background() {
    let (frames, _) = clip(64);
    let config = PositiveConfig { composite: 1.0, ..PositiveConfig::default() };
    let maker = PositiveMaker::new(&frames, &[scene(64, [200; 3])], config).unwrap();
    let composited = |positive: &Positive| positive.steps.iter().any(|step| matches!(step, Step::Composited { .. }));
    let mut shown_counts = Vec::new();
    // Rejects every third of the first draws and the first of each later round.
    let made = maker.positives(9, &mut SeededStream::new(2), |shown| {
        let every = if shown_counts.is_empty() { 3 } else { usize::MAX };
        shown_counts.push(shown.len());
        Ok((0..shown.len()).map(|number| number % every != 0).collect())
    });
    let made = made.unwrap();
    assert_eq!(shown_counts, [9, 3, 1, 1]);
    assert_eq!((made.positives.len(), made.rejected, made.last_resort), (9, 3, 1));
    for (number, positive) in made.positives.iter().enumerate() {
        assert_eq!(composited(positive), number % 3 != 0, "{number}");
    }
    assert!(matches!(made.positives[0].steps[..], [Step::Toned { .. }]));

    let wrong = maker.positives(4, &mut SeededStream::new(2), |_| Ok(vec![true]));
    assert!(matches!(wrong, Err(Error::Verdicts { shown: 4, returned: 1 })));
    let failed = maker.positives(4, &mut SeededStream::new(2), |_| Err("no encoder".into()));
    assert_eq!(failed.unwrap_err().to_string(), "the self-check of the positives failed: no encoder");
}

#[test]
fn an_image_clip_repeats_the_middle_frame() {
    let (frames, _) = clip(64);
    assert_eq!(image_clip(&frames, 3), vec![frames[4].clone(); 3]);
    assert_eq!(image_clip(&frames[..1], 2), vec![frames[0].clone(); 2]);
    assert!(image_clip(&[], 8).is_empty());
}

/// Clips with people on the unit circle.
struct Circle {
    people: Vec<Vec<Vec<f32>>>,
}

impl Circle {
    /// One person per clip, at these angles in degrees.
    fn at(angles: &[f32]) -> Self {
        Self { people: angles.iter().map(|angle| vec![direction(*angle)]).collect() }
    }
}

fn direction(angle: f32) -> Vec<f32> {
    vec![angle.to_radians().cos(), angle.to_radians().sin()]
}

impl Corpus for Circle {
    fn len(&self) -> usize {
        self.people.len()
    }

    fn people(&self, clip: usize) -> Vec<&[f32]> {
        self.people[clip].iter().map(Vec::as_slice).collect()
    }

    fn frames(&self, clip: usize) -> std::result::Result<Vec<RgbImage>, Failure> {
        if clip == 99 { Err("the disk is gone".into()) } else { Ok(scene(64, [clip as u8; 3])) }
    }
}

fn choose(corpus: &Circle, hard: usize, random: usize, ceiling: f32, seed: u64) -> Result<Vec<Negative>> {
    choose_negatives(&direction(0.0), corpus, &NegativeConfig { hard, random, ceiling }, &mut SeededStream::new(seed))
}

#[test]
fn hard_negatives_are_the_nearest_and_no_clip_comes_twice() {
    let mut corpus = Circle::at(&[90.0, 20.0, 180.0, 60.0, 1.0, 45.0, 120.0, 150.0]);
    // The second person of a clip counts too; a clip without people is like nobody.
    corpus.people[6].push(direction(-30.0));
    corpus.people[2].clear();
    let chosen = choose(&corpus, 3, 2, 0.97, 1).unwrap();
    let clips: Vec<usize> = chosen.iter().map(|negative| negative.clip).collect();
    // Clip 4 (one degree away) is above the ceiling.
    assert_eq!(clips[..3], [1, 6, 5]);
    assert!((chosen[1].similarity - 30.0_f32.to_radians().cos()).abs() < 1e-6);
    assert!(chosen[..3].iter().all(|negative| negative.kind == NegativeKind::Hard));
    assert!(chosen[3..].iter().all(|negative| negative.kind == NegativeKind::Random && [0, 2, 3, 7].contains(&negative.clip)));
    assert!(chosen.len() == 5 && clips[3] != clips[4]);
    assert_eq!(choose(&corpus, 3, 2, 0.97, 1).unwrap(), chosen);
    assert_eq!(choose(&corpus, 1, 0, 1.0, 1).unwrap()[0].clip, 4);
    let all = choose(&corpus, 5, 50, 0.97, 2).unwrap();
    let mut clips: Vec<usize> = all.iter().map(|negative| negative.clip).collect();
    clips.sort_unstable();
    assert_eq!(clips, [0, 1, 2, 3, 5, 6, 7]);
    let drawn: std::collections::BTreeSet<usize> =
        (0..20).flat_map(|seed| choose(&corpus, 3, 1, 0.97, seed)).map(|chosen| chosen[3].clip).collect();
    assert_eq!(drawn.len(), 4);
}

#[test]
fn corpora_and_embeddings_that_cannot_be_used_are_refused() {
    assert!(matches!(choose(&Circle::at(&[]), 1, 1, 0.97, 1), Err(Error::EmptyCorpus)));
    assert!(matches!(choose(&Circle::at(&[0.0, 3.0]), 1, 1, 0.97, 1), Err(Error::NoStrangers { clips: 2, .. })));
    assert!(matches!(choose(&Circle::at(&[9.0]), 1, 1, f32::NAN, 1), Err(Error::Setting { key: "ceiling", .. })));
    for broken in [vec![f32::NAN, 1.0], vec![0.0, 0.0], vec![f32::INFINITY, 0.0]] {
        let mut corpus = Circle::at(&[50.0, 70.0]);
        corpus.people[1].push(broken.clone());
        let error = choose(&corpus, 1, 1, 0.97, 1).unwrap_err();
        assert!(error.to_string().contains("person 1 of clip 1 of the corpus"), "{error}");
        let config = NegativeConfig::default();
        let error = choose_negatives(&broken, &Circle::at(&[50.0]), &config, &mut SeededStream::new(1));
        assert!(matches!(error, Err(Error::Embedding { of }) if of == "the reference"));
    }
    let mut corpus = Circle::at(&[50.0]);
    corpus.people[0][0].push(1.0);
    assert!(matches!(choose(&corpus, 1, 1, 0.97, 1), Err(Error::EmbeddingWidth { found: 3, expected: 2, .. })));
}

fn training_set(hard: usize) -> TrainingSet {
    let (frames, _) = clip(64);
    let maker = PositiveMaker::new(&frames, &[], PositiveConfig::default()).unwrap();
    let mut stream = SeededStream::new(4);
    let made = maker.positives(3, &mut stream, |shown| Ok(vec![true; shown.len()])).unwrap();
    let corpus = Circle::at(&[50.0, 70.0, 90.0, 110.0, 130.0, 150.0]);
    let negatives = choose(&corpus, hard, 1, 0.97, 1).unwrap();
    let builder = TrainingSetBuilder::new("Aa".parse().unwrap(), frames).unwrap().positives(made.positives);
    let describe = |frames: &[RgbImage], aspect: Aspect| {
        assert_eq!(frames.len(), 8);
        Ok((aspect != Aspect::Location).then(|| format!("the person is {aspect:?} .")))
    };
    builder.negatives(&negatives, &corpus).unwrap().build(&mut stream, describe).unwrap()
}

#[test]
fn the_training_set_asks_all_kinds_and_balances_yes_and_no() {
    let set = training_set(5);
    assert_eq!(set, training_set(5));
    let signs: Vec<bool> = set.clips.iter().map(|clip| clip.positive).collect();
    assert_eq!(signs, [true, true, true, true, false, false, false, false, false, false]);
    assert!(matches!(set.clips[0].origin, Origin::Reference));
    assert!(matches!(&set.clips[1].origin, Origin::Positive { steps } if !steps.is_empty()));
    assert!(matches!(set.clips[4].origin, Origin::HardNegative { clip: 0, .. }));
    assert!(matches!(set.clips[9].origin, Origin::RandomNegative { clip: 5 }));
    // Four positive clips are asked three times, six negative ones twice.
    assert_eq!(set.existence_balance(), (12, 12));
    for clip in &set.clips {
        let mut questions: Vec<&str> = clip.pairs.iter().map(|pair| pair.question.as_str()).collect();
        questions.sort_unstable();
        questions.dedup();
        assert_eq!(questions.len(), clip.pairs.len());
        for pair in &clip.pairs {
            let aspect = free_text::classify(&pair.question).unwrap();
            assert!(pair.kind == Some(aspect.kind()) && pair.question.contains("<Aa>"));
            let expected = match (aspect, clip.positive) {
                (Aspect::Existence, _) => questions::existence_answer("<Aa>", clip.positive),
                (_, true) => format!("<Aa> is {aspect:?} ."),
                (_, false) => "<Aa> is not in the video .".into(),
            };
            assert_eq!(pair.answer, expected);
        }
        let of = |kind| clip.pairs.iter().filter(|pair| pair.kind == Some(kind)).count();
        assert_eq!(of(QaKind::Appearance), 2);
        // The describer knows no place.
        assert_eq!((of(QaKind::Action), of(QaKind::Location)), (1, usize::from(!clip.positive)));
    }
}

#[test]
fn the_still_set_keeps_existence_and_appearance_of_repeated_frames() {
    let (full, still) = (training_set(2), training_set(2).still());
    for (full, still) in full.clips.iter().zip(&still.clips) {
        assert_eq!(still.frames, vec![full.frames[4].clone(); 8]);
        assert_eq!(still.pairs.len(), full.pairs.iter().filter(|pair| pair.is_special).count() + 2);
    }
}

#[test]
fn the_dataset_follows_the_schema() {
    let dataset = training_set(2).to_dataset(Path::new("made"));
    assert_eq!(dataset.videos.len(), 7);
    assert_eq!(dataset.videos[0].path, Path::new("made/000-reference.mp4"));
    assert_eq!(dataset.videos[6].name, "006-random-negative");
    assert!(dataset.videos[3].is_positive() && !dataset.videos[4].is_positive());
    let text = serde_json::to_string(&dataset).unwrap();
    assert_eq!(serde_json::from_str::<pvchat_data::Dataset>(&text).unwrap(), dataset);
}

#[test]
fn failures_of_the_caller_are_passed_on() {
    let (frames, _) = clip(64);
    let subject = || "Aa".parse().unwrap();
    let builder = || TrainingSetBuilder::new(subject(), frames.clone()).unwrap();
    let lost = Negative { clip: 99, similarity: 0.1, kind: NegativeKind::Random };
    let error = builder().negatives(&[lost], &Circle::at(&[])).err().unwrap();
    assert_eq!(error.to_string(), "the frames of clip 99 of the corpus cannot be had: the disk is gone");
    let error = builder().build(&mut SeededStream::new(1), |_, _| Err("no model".into())).unwrap_err();
    assert_eq!(error.to_string(), "the description of clip 0 of the training set failed: no model");
    let small = TrainingSetBuilder::new(subject(), vec![RgbImage::new(32, 32)]).unwrap();
    let near = Negative { clip: 1, ..lost };
    assert!(matches!(small.negatives(&[near], &Circle::at(&[])), Err(Error::FrameSize { found: (64, 64), .. })));
}

#[test]
fn two_people_stand_side_by_side_and_both_are_there() {
    let (frames, truth) = clip(64);
    let config = PositiveConfig { recolour: 0.0, gain: [1.0, 1.0], tint: 0.0, offset: 0.0, ..PositiveConfig::default() };
    let maker = PositiveMaker::new(&frames, &[], config.clone()).unwrap();
    let scenes = [scene(64, [20, 90, 30])];
    let person = truth[0].pixels().filter(|pixel| pixel.0[0] > 0).count() as f32;
    let mut lefts = [0; 2];
    for seed in 0..8 {
        let together = side_by_side([&maker, &maker], &scenes, &mut SeededStream::new(seed)).unwrap();
        assert_eq!((together.frames.len(), together.scene), (8, 0));
        lefts[together.left] += 1;
        for frame in &together.frames {
            let unlike = |columns: std::ops::Range<u32>| {
                let wall = |pixel: &Rgb<u8>| pixel.0.iter().zip([20_u8, 90, 30]).all(|(one, other)| one.abs_diff(other) < 24);
                frame.enumerate_pixels().filter(|(column, _, pixel)| columns.contains(column) && !wall(pixel)).count() as f32
            };
            for half in [unlike(0..32), unlike(32..64)] {
                assert!((0.5..1.2).contains(&(half / person)), "seed {seed}: {half} of {person}");
            }
        }
        assert_eq!(side_by_side([&maker, &maker], &scenes, &mut SeededStream::new(seed)), Some(together));
    }
    assert!(lefts[0] > 0 && lefts[1] > 0, "who stands on the left is random: {lefts:?}");
    let nobody = PositiveMaker::new(&scene(64, [10, 20, 30]), &[], config).unwrap();
    assert_eq!(side_by_side([&maker, &nobody], &scenes, &mut SeededStream::new(1)), None);
    assert_eq!(side_by_side([&maker, &maker], &[], &mut SeededStream::new(1)), None);
}
