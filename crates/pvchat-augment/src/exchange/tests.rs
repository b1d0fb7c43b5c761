//! Exchanged heads of drawn figures: what moves, what stays, and that both kinds of clips are made alike.

use image::{Rgb, RgbImage};
use pvchat_data::random::SeededStream;

use super::*;
use crate::figures;

const SIDE: u32 = 64;
const SKIN: [u8; 3] = [225, 170, 120];
const OTHER_SKIN: [u8; 3] = [110, 70, 45];
const SHIRT: [u8; 3] = [210, 40, 50];
const WALL: [u8; 3] = [90, 140, 90];

/// A figure with the large head of the drawn world, which steps to the right before a wall.
fn clip(skin: [u8; 3]) -> Vec<RgbImage> {
    let frame = |time: u32| {
        RgbImage::from_fn(SIDE, SIDE, |column, row| {
            let (x, y) = (column as f32 - middle(time), row as f32);
            let head = (x / 10.0).powi(2) + ((y - 22.0) / 10.5).powi(2) <= 1.0;
            let body = x.abs() <= 6.0 && (32.0..44.0).contains(&y);
            let legs = (1.5..5.0).contains(&x.abs()) && (44.0..52.0).contains(&y);
            Rgb(match (head, body, legs) {
                (true, ..) => skin,
                (_, true, _) => SHIRT,
                (.., true) => [40, 40, 90],
                _ => [190 + 8 * (((column + time) / 3 + row / 3) % 2) as u8, 200, 210],
            })
        })
    };
    (0..8).map(frame).collect()
}

fn middle(time: u32) -> f32 {
    28.0 + time as f32 * 0.7
}

fn figure(skin: [u8; 3]) -> Figure {
    Figure::find(&clip(skin)).unwrap().unwrap()
}

/// The middle of the head and of the body in frame `time`.
fn head_and_body(frame: &RgbImage, time: u32) -> [[u8; 3]; 2] {
    [22, 39].map(|row| frame.get_pixel(middle(time) as u32, row).0)
}

#[test]
fn a_figure_is_found_with_the_colour_of_its_face() {
    assert!(distance(figure(SKIN).colours()[0], SKIN) < 12, "{:?}", figure(SKIN).colours());
    assert!(distance(figure(OTHER_SKIN).colours()[0], OTHER_SKIN) < 12);
    assert!(Figure::find(&figures::scene(SIDE, WALL)).unwrap().is_none());
}

#[test]
fn a_head_goes_to_another_body_and_takes_its_face_along() {
    let (own, stranger) = (figure(SKIN), figure(OTHER_SKIN));
    let scene = figures::scene(SIDE, WALL);
    for (head, skin) in [(&own, SKIN), (&stranger, OTHER_SKIN)] {
        let frames = compose(Cast { body: &own, head, other: None }, &scene).unwrap();
        assert_eq!(frames.len(), 8);
        for (time, frame) in frames.iter().enumerate() {
            let [head, body] = head_and_body(frame, time as u32);
            assert!(distance(head, skin) < 12 && distance(body, SHIRT) < 12, "{time}: {head:?} {body:?}");
            assert_eq!(frame.get_pixel(2, 20).0, WALL);
        }
    }
}

#[test]
fn a_part_changes_only_where_it_is_and_no_seam_of_two_skins_appears() {
    let (own, stranger) = (figure(SKIN), figure(OTHER_SKIN));
    let scene = figures::scene(SIDE, WALL);
    let with = |part| compose(Cast { body: &own, head: &own, other: Some((part, &stranger)) }, &scene);
    let face = |frames: &[RgbImage]| head_and_body(&frames[0], 0)[0];
    assert!(distance(face(&with(Part::SkinColour).unwrap()), OTHER_SKIN) < 12);
    // The same face otherwise: its skin takes the colour of the rest.
    for part in [Part::Hair, Part::Eyes, Part::Mouth] {
        assert!(distance(face(&with(part).unwrap()), SKIN) < 12, "{part:?}");
    }
    // Neither of them has hair.
    assert!(with(Part::HairColour).is_none());
    assert!(compose(Cast { body: &own, head: &own, other: None }, &[]).is_none());
}

#[test]
fn a_placed_figure_stands_where_it_was_put() {
    let placed = figure(SKIN).placed(0.8, 0.25);
    let middle = placed.heads.iter().map(|head| head.middle).sum::<f32>() / placed.heads.len() as f32;
    assert!((middle - 0.25 * SIDE as f32).abs() < 1.0, "{middle}");
    let whole = figure(SKIN).heads[0].body;
    assert!((placed.heads[0].body - 0.8 * whole).abs() < 0.01);
}

#[test]
fn clips_with_the_person_and_without_are_made_alike_and_again_the_same() {
    let clips = [OTHER_SKIN, [60, 40, 30], [200, 120, 160]].map(clip);
    let scenes = vec![figures::scene(SIDE, WALL), figures::scene(SIDE, [200, 200, 90])];
    let strangers = Strangers::find(&clips, scenes).unwrap();
    assert_eq!(strangers.len(), 3);
    let maker = ExchangeMaker::new(&clip(SKIN), &strangers, ExchangeConfig::default()).unwrap().unwrap();
    let made = maker.make(600, &SeededStream::new(3)).unwrap();
    assert_eq!(made, maker.make(600, &SeededStream::new(3)).unwrap());
    let count = |wanted: &dyn Fn(&Exchanged) -> bool| made.iter().filter(|made| wanted(made)).count();
    assert_eq!(count(&|made| made.present), 300);
    for (name, share) in [
        ("company", [true, false].map(|present| count(&|made| made.present == present && made.company))),
        ("own clips", [true, false].map(|present| count(&|made| made.present == present && made.making == Making::OwnClip))),
        ("own body", [true, false].map(|present| count(&|made| made.present == present && made.making == Making::OwnBody))),
    ] {
        assert!(share[0].abs_diff(share[1]) < 40 && share[0] > 24, "{name}: {share:?}");
    }
    assert!(count(&|made| matches!(made.making, Making::LookAlike(_))) > 60);
    assert!(made.iter().all(|made| made.frames.len() == 8 && made.frames[0].dimensions() == (SIDE, SIDE)));
}

#[test]
fn settings_out_of_range_and_too_few_strangers_are_refused() {
    let scenes = vec![figures::scene(SIDE, WALL)];
    assert!(matches!(Strangers::find(&[clip(SKIN)], scenes.clone()), Err(crate::Error::NoStrangers { clips: 1, .. })));
    let strangers = Strangers::find(&[clip(SKIN), clip(OTHER_SKIN)], scenes).unwrap();
    let wrong = ExchangeConfig { company: 1.5, ..ExchangeConfig::default() };
    let error = ExchangeMaker::new(&clip(SKIN), &strangers, wrong).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("company"), "{error}");
}
