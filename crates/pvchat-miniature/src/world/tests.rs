//! Tests of the drawn world through its public face: what must show, what must not, and where.

use image::RgbImage;
use pvchat_data::random::SeededStream;

use super::*;
use crate::exam::write_mp4;

fn person(stream: &mut SeededStream) -> Identity {
    Identity::random(stream)
}

/// A lone person standing in a quiet, noiseless clip.
fn portrait(identity: Identity) -> Scene {
    let options = SceneOptions { action: Some(Action::Standing), ..SceneOptions::default() };
    let mut scene = quiet(Scene::random(&[identity], options, &mut SeededStream::new(12)));
    scene.people[0].scale = 1.0;
    scene.people[0].feet = 58.0;
    scene.people[0].x = scene.camera.x + 32.0;
    scene
}

fn quiet(mut scene: Scene) -> Scene {
    scene.camera = Camera { pan: 0.0, shake: 0.0, gain: 1.0, tint: [1.0; 3], offset: 0.0, noise: 0.0, ..scene.camera };
    scene
}

/// The number of pixels that differ by more than 24 in the sum of their channels.
fn changed(one: &RgbImage, other: &RgbImage) -> usize {
    let far = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(&a, &b)| u32::from(a.abs_diff(b))).sum::<u32>() > 24;
    one.as_raw().chunks_exact(3).zip(other.as_raw().chunks_exact(3)).filter(|(a, b)| far(a, b)).count()
}

#[test]
fn same_seed_same_bytes_and_another_seed_other_bytes() {
    let clip = |seed: u64| {
        let mut stream = SeededStream::new(seed);
        let pair = [person(&mut stream), person(&mut stream)];
        Scene::random(&pair, SceneOptions::default(), &mut stream)
    };
    let (one, again, other) = (clip(1).render(64), clip(1).render(64), clip(2).render(64));
    assert_eq!(one.frames, again.frames);
    assert_eq!(one.truth, again.truth);
    assert_ne!(one.frames, other.frames);
    assert_eq!(one.frames.len(), FRAMES);
    assert_eq!(one.frames[0].dimensions(), (64, 64));
    assert_eq!(clip(1).render(100).frames[7].dimensions(), (100, 100));
    assert_eq!(clip(1).render(9).frames[0].dimensions(), (64, 64));
}

#[test]
fn a_scene_survives_json_and_is_drawn_the_same() {
    let mut stream = SeededStream::new(8);
    let identity = person(&mut stream);
    let scene = Scene::random(&[identity], SceneOptions::default(), &mut stream);
    let text = serde_json::to_string(&scene).unwrap();
    let read: Scene = serde_json::from_str(&text).unwrap();
    assert_eq!(read, scene);
    assert_eq!(read.render(64).frames, scene.render(64).frames);
}

#[test]
fn every_two_values_of_every_attribute_look_different_at_64_pixels() {
    let bases = [[2, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0], [5, 1, 4, 3, 1, 2, 2, 1, 1, 0, 0], [0, 3, 7, 4, 2, 0, 0, 2, 2, 2, 2]];
    for base in bases {
        for attribute in 0..11 {
            let pictures: Vec<RgbImage> = (0..ATTRIBUTE_SIZES[attribute])
                .map(|value| {
                    let mut values = base;
                    values[attribute] = value;
                    portrait(Identity::from_attributes(values)).render(64).frames.swap_remove(0)
                })
                .collect();
            for one in 0..pictures.len() {
                for other in 0..one {
                    let count = changed(&pictures[one], &pictures[other]);
                    assert!(count >= 5, "attribute {attribute} of {base:?}: {one} and {other} differ in {count} pixels");
                }
            }
        }
    }
}

#[test]
fn hidden_attributes_change_nothing() {
    let bald = Identity::from_attributes([2, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]);
    let dyed = Identity { hair_colour: HairColour::Pink, ..bald };
    assert_eq!(portrait(bald).render(64).frames, portrait(dyed).render(64).frames);
    assert!(!bald.visible()[3] && bald.visible()[6]);

    let shaded = Identity { glasses: Glasses::Sunglasses, ..bald };
    let other_eyes = Identity { eyes: EyeColour::Violet, ..shaded };
    assert_eq!(portrait(shaded).render(64).frames, portrait(other_eyes).render(64).frames);
    assert!(!shaded.visible()[6]);
}

#[test]
fn every_two_places_actions_garments_and_colours_differ() {
    let scene = portrait(Identity::from_attributes([2, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0]));
    let difference = |one: &Scene, other: &Scene| {
        let (one, other) = (one.render(64).frames, other.render(64).frames);
        one.iter().zip(&other).map(|(a, b)| changed(a, b)).sum::<usize>()
    };
    let all_differ = |name: &str, scenes: Vec<Scene>, least: usize| {
        for one in 0..scenes.len() {
            for other in 0..one {
                let count = difference(&scenes[one], &scenes[other]);
                assert!(count >= least, "{name} {one} and {other} differ in {count} pixels");
            }
        }
    };
    all_differ("places", Place::ALL.map(|place| Scene { place, ..scene.clone() }).to_vec(), 8 * 1000);
    let wearing = |change: &dyn Fn(&mut Person)| {
        let mut scene = scene.clone();
        change(&mut scene.people[0]);
        scene
    };
    all_differ("actions", Action::ALL.map(|action| wearing(&|person| person.action = action)).to_vec(), 100);
    all_differ("garments", Garment::ALL.map(|garment| wearing(&|person| person.clothing.garment = garment)).to_vec(), 100);
    all_differ("colours", ClothColour::ALL.map(|colour| wearing(&|person| person.clothing.colour = colour)).to_vec(), 8 * 60);
    all_differ("patterns", Pattern::ALL.map(|pattern| wearing(&|person| person.clothing.pattern = pattern)).to_vec(), 8 * 20);
}

#[test]
fn only_moving_actions_move() {
    let still = [Action::Standing, Action::Raising, Action::Sitting, Action::Reading];
    for action in Action::ALL {
        let mut scene = portrait(Identity::from_attributes([2, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0]));
        scene.people[0].action = action;
        let frames = scene.render(64).frames;
        let moved: usize = frames.windows(2).map(|pair| changed(&pair[0], &pair[1])).sum();
        assert_eq!(moved == 0, still.contains(&action), "{action:?} moved {moved} pixels");
    }
}

#[test]
fn the_true_head_centre_lies_on_skin_and_the_torso_centre_on_cloth() {
    let mut stream = SeededStream::new(21);
    for _ in 0..60 {
        let identity = Identity { nose: Nose::Small, glasses: Glasses::None, mark: Mark::None, ..person(&mut stream) };
        let options = SceneOptions { action: Some(Action::Walking), ..SceneOptions::default() };
        let mut scene = Scene::random(&[identity, person(&mut stream)], options, &mut stream);
        let place = scene.position_of(&identity).unwrap();
        // Nobody may stand in front of the person that is looked at.
        scene.people = vec![scene.people[place]];
        scene.people[0].clothing.pattern = Pattern::Plain;
        scene.people[0].clothing.garment = Garment::Vest;
        scene.camera = Camera { gain: 1.0, tint: [1.0; 3], offset: 0.0, noise: 0.0, ..scene.camera };
        let clip = scene.render(256);
        let skin = identity.skin.colour();
        let cloth = scene.people[0].clothing.colour.colour();
        for (frame, truth) in clip.frames.iter().zip(&clip.truth.people[0]) {
            let near = |centre: [f32; 2], wanted: canvas::Colour| {
                let at = |value: f32| (value * 4.0) as u32;
                let pixel = frame.get_pixel(at(centre[0]), at(centre[1])).0;
                assert_eq!(pixel, [wanted.0, wanted.1, wanted.2], "{identity:?} at {centre:?}");
            };
            // The middle of the face is the bridge of the nose, free of eyes, hair and a small nose.
            near(truth.head, skin);
            near(truth.torso, cloth);
        }
    }
}

#[test]
fn people_are_sorted_and_found_and_both_orders_happen() {
    let mut stream = SeededStream::new(5);
    let (anna, ben) = (person(&mut stream), person(&mut stream));
    let mut left = 0;
    for _ in 0..200 {
        let options = SceneOptions { place: Some(Place::Beach), action: Some(Action::Reading), clothing: None };
        let scene = Scene::random(&[anna, ben], options, &mut stream);
        assert!(scene.people[0].x + 10.0 < scene.people[1].x, "{scene:?}");
        let place = scene.position_of(&anna).unwrap();
        assert_eq!(scene.position_of(&ben), Some(1 - place));
        assert_eq!(scene.people[place].action, Action::Reading);
        assert_eq!(scene.place, Place::Beach);
        left += usize::from(place == 0);
    }
    assert!((75..125).contains(&left), "{left} of 200 times left");
    let alone = Scene::random(&[anna], SceneOptions::default(), &mut stream);
    assert_eq!((alone.people.len(), alone.position_of(&ben)), (1, None));
    assert!(Scene::random(&[], SceneOptions::default(), &mut stream).render(64).truth.people.is_empty());
}

#[test]
fn figures_stay_inside_the_frame() {
    let mut stream = SeededStream::new(31);
    for round in 0..150 {
        let pair = [person(&mut stream), person(&mut stream)];
        let mut scene = Scene::random(&pair[..1 + round % 2], SceneOptions::default(), &mut stream);
        scene.camera.noise = 0.0;
        let empty = Scene { people: Vec::new(), ..scene.clone() }.render(64);
        for (frame, empty) in scene.render(64).frames.iter().zip(&empty.frames) {
            for place in 0..64 {
                for (x, y) in [(place, 0), (place, 63), (0, place), (63, place)] {
                    assert_eq!(frame.get_pixel(x, y), empty.get_pixel(x, y), "{scene:?} at {x} {y}");
                }
            }
        }
    }
}

#[test]
fn sheets_have_the_right_size_and_show_the_scenes_in_order() {
    let mut stream = SeededStream::new(9);
    let scenes: Vec<Scene> =
        (0..5).map(|_| Scene::random(&[person(&mut stream)], SceneOptions::default(), &mut stream)).collect();
    let sheet = contact_sheet(&scenes, 64, 3);
    assert_eq!(sheet.dimensions(), (192, 128));
    let fifth = image::imageops::crop_imm(&sheet, 64, 64, 64, 64).to_image();
    assert_eq!(fifth, scenes[4].render(64).frames[0]);
    assert_eq!(film_strip(&scenes[..2], 64).dimensions(), (512, 128));
}

/// How far pairs of labels are from independence, in standard deviations: Pearson's chi-squared, made nearly normal
/// (Wilson and Hilferty).
fn dependence(pairs: &[(usize, usize)]) -> f64 {
    let sizes = pairs.iter().fold((0, 0), |(rows, columns), &(row, column)| (rows.max(row + 1), columns.max(column + 1)));
    let mut counts = vec![vec![0.0; sizes.1]; sizes.0];
    pairs.iter().for_each(|&(row, column)| counts[row][column] += 1.0);
    counts.retain(|row| row.iter().any(|count| *count > 0.0));
    let rows: Vec<f64> = counts.iter().map(|row| row.iter().sum()).collect();
    let columns: Vec<f64> = (0..sizes.1).map(|column| counts.iter().map(|row| row[column]).sum()).collect();
    let used = columns.iter().filter(|column| **column > 0.0).count();
    let mut chi_squared = 0.0;
    for (row, counts) in rows.iter().zip(&counts) {
        for (column, count) in columns.iter().zip(counts).filter(|(column, _)| **column > 0.0) {
            let expected = row * column / pairs.len() as f64;
            chi_squared += (count - expected).powi(2) / expected;
        }
    }
    let freedom = ((rows.len() - 1) * (used - 1)) as f64;
    let spread = 2.0 / (9.0 * freedom);
    ((chi_squared / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

#[test]
fn who_somebody_is_says_nothing_about_clothes_action_place_and_position() {
    const PEOPLE: usize = 120;
    const CLIPS: usize = 40;
    /// Chance gets here once in 300 000 comparisons; this test makes 120.
    const FAR: f64 = 4.5;
    let mut stream = SeededStream::new(31);
    // For every clip the labels of the person, and those of what the clip shows beside the person.
    let (mut who, mut shown): (Vec<Vec<usize>>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
    for number in 0..PEOPLE {
        let identity = person(&mut stream);
        for _ in 0..CLIPS {
            let other = person(&mut stream);
            let pair = Scene::random(&[identity, other], SceneOptions::default(), &mut stream);
            let alone = Scene::random(&[identity], SceneOptions::default(), &mut stream);
            let Person { clothing, action, side, phase, .. } = alone.people[0];
            who.push(identity.attributes().into_iter().chain([number]).collect());
            shown.push(vec![
                clothing.garment.index(),
                clothing.colour.index(),
                clothing.pattern.index(),
                clothing.trousers.index(),
                action.index(),
                alone.place.index(),
                usize::from(side > 0.0),
                (phase / std::f32::consts::TAU * 8.0) as usize,
                (alone.camera.gain * 20.0) as usize,
                pair.people.iter().position(|person| person.identity == identity).unwrap(),
            ]);
        }
    }
    let paired = |row: usize, column: usize| -> Vec<(usize, usize)> {
        who.iter().zip(&shown).map(|(who, shown)| (who[row], shown[column])).collect()
    };
    for row in 0..who[0].len() {
        for column in 0..shown[0].len() {
            let pairs = paired(row, column);
            let found = dependence(&pairs);
            assert!(found < FAR, "label {row} of people and label {column} of clips: {found:.1} deviations");
        }
    }
    // The same measure sees every leak into a tenth of the clips.
    for row in 0..who[0].len() {
        let leaking = |(clip, (who, shown)): (usize, (usize, usize))| (who, if clip % 10 == 0 { who % 6 } else { shown });
        let found = dependence(&paired(row, 0).into_iter().enumerate().map(leaking).collect::<Vec<_>>());
        assert!(found > FAR, "a leak of label {row} into the clothes goes unseen: {found:.1} deviations");
    }
}

/// The boxes of an mp4 file, outer ones opened, by path; without those that follow from the pictures.
fn described(bytes: &[u8], path: &str, found: &mut Vec<(String, Vec<u8>)>) {
    const OUTER: [&str; 6] = ["moov", "trak", "mdia", "minf", "stbl", "edts"];
    const PICTURES: [&str; 5] = ["mdat", "stsz", "stco", "ctts", "stss"];
    let mut rest = bytes;
    while rest.len() >= 8 {
        let size = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let kind = std::str::from_utf8(&rest[4..8]).unwrap();
        let (whole, after) = rest.split_at(size);
        let name = format!("{path}/{kind}");
        match kind {
            _ if OUTER.contains(&kind) => described(&whole[8..], &name, found),
            _ if PICTURES.contains(&kind) => {}
            // The description of the stream ends with its bit rate, which follows from the pictures too.
            "stsd" => {
                let rate = whole.windows(4).position(|four| four == b"btrt").map_or(whole.len(), |at| at - 4);
                assert!(rate + 20 >= whole.len(), "nothing stands after the bit rate");
                found.push((name, whole[..rate].to_vec()));
            }
            _ => found.push((name, whole.to_vec())),
        }
        rest = after;
    }
}

#[test]
fn the_container_of_a_clip_says_nothing_about_who_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = SeededStream::new(32);
    let descriptions: Vec<Vec<(String, Vec<u8>)>> = (0..6)
        .map(|number| {
            let people = [person(&mut stream), person(&mut stream)];
            let scene = Scene::random(&people[..1 + number % 2], SceneOptions::default(), &mut stream);
            let path = folder.path().join(format!("{number}.mp4"));
            write_mp4(&scene, &path).unwrap();
            let mut found = Vec::new();
            described(&std::fs::read(&path).unwrap(), "", &mut found);
            found
        })
        .collect();
    let names = |found: &[(String, Vec<u8>)]| found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    for needed in ["/ftyp", "/moov/mvhd", "/moov/trak/tkhd", "/moov/trak/mdia/hdlr", "/moov/trak/mdia/minf/stbl/stsd"] {
        assert!(names(&descriptions[0]).iter().any(|name| name == needed), "{needed}: {:?}", names(&descriptions[0]));
    }
    for other in &descriptions[1..] {
        assert_eq!(names(other), names(&descriptions[0]));
        for ((name, one), (_, other)) in descriptions[0].iter().zip(other) {
            assert_eq!(one, other, "{name}");
        }
    }
}
