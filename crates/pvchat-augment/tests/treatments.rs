//! Treatments of made clips: each changes what it names, alike with the person and without, and nothing of who is there.

use image::{Rgb, RgbImage};
use pvchat_augment::{
    PositiveConfig,
    exchange::{ExchangeConfig, ExchangeMaker, Exchanged, Strangers, Treatment},
};
use pvchat_data::random::SeededStream;

const SIDE: u32 = 64;
const WALL: [u8; 3] = [90, 140, 90];
const CLIPS: usize = 24;

/// A figure with the large head of the drawn world, which steps to the right before a striped wall.
fn clip(skin: [u8; 3]) -> Vec<RgbImage> {
    let frame = |time: u32| {
        RgbImage::from_fn(SIDE, SIDE, |column, row| {
            let (x, y) = (column as f32 - 28.0 - time as f32 * 0.7, row as f32);
            let head = (x / 10.0).powi(2) + ((y - 22.0) / 10.5).powi(2) <= 1.0;
            let body = x.abs() <= 6.0 && (32.0..44.0).contains(&y);
            let legs = (1.5..5.0).contains(&x.abs()) && (44.0..52.0).contains(&y);
            Rgb(match (head, body, legs) {
                (true, ..) => skin,
                (_, true, _) => [210, 40, 50],
                (.., true) => [40, 40, 90],
                _ => [190 + 8 * (((column + time) / 3 + row / 3) % 2) as u8, 200, 210],
            })
        })
    };
    (0..8).map(frame).collect()
}

/// Clips that nothing varies but who is in them, plain and with every treatment.
fn made() -> (Vec<Exchanged>, Vec<(Treatment, Vec<Exchanged>)>) {
    let clips = [[110, 70, 45], [60, 40, 30], [200, 120, 160]].map(clip);
    let scene = vec![RgbImage::from_pixel(SIDE, SIDE, Rgb(WALL)); 8];
    let strangers = Strangers::find(&clips, vec![scene]).unwrap();
    let variation = PositiveConfig {
        recolour: 0.0,
        reverse: 0.0,
        freeze: 0.0,
        resample: 0.0,
        mirror: 0.0,
        scale: [1.0; 2],
        shift: [0.0; 2],
        gain: [1.0; 2],
        tint: 0.0,
        offset: 0.0,
        ..PositiveConfig::default()
    };
    let config = ExchangeConfig { company: 0.0, own_clip: 0.0, variation, ..ExchangeConfig::default() };
    let maker = ExchangeMaker::new(&clip([225, 170, 120]), &strangers, config).unwrap().unwrap();
    let stream = SeededStream::new(9);
    let treat = |treatment| {
        let wanted: Vec<_> = (0..CLIPS).map(|number| (number, Some(treatment))).collect();
        let treated = maker.treat(&wanted, &stream).unwrap();
        assert_eq!(treated, maker.treat(&wanted, &stream).unwrap());
        (treatment, treated)
    };
    (maker.make(CLIPS, &stream).unwrap(), Treatment::ALL.into_iter().map(treat).collect())
}

fn apart(one: [u8; 3], other: [u8; 3]) -> u32 {
    one.iter().zip(other).map(|(&a, b)| u32::from(a.abs_diff(b))).sum()
}

/// Pixels that are not the wall.
fn before_the_wall(frame: &RgbImage) -> usize {
    frame.pixels().filter(|pixel| apart(pixel.0, WALL) > 40).count()
}

fn light(frame: &RgbImage) -> f32 {
    frame.iter().map(|&value| f32::from(value)).sum::<f32>()
}

fn colour(frame: &RgbImage) -> f32 {
    let range = |pixel: &Rgb<u8>| f32::from(pixel.0.into_iter().max().unwrap_or(0) - pixel.0.into_iter().min().unwrap_or(0));
    frame.pixels().map(range).sum()
}

/// What differs are whole columns of one colour.
fn is_behind_posts(before: &RgbImage, after: &RgbImage) -> bool {
    let hidden = |column: u32| (0..SIDE).any(|row| before.get_pixel(column, row) != after.get_pixel(column, row));
    let one_colour = |column: u32| (0..SIDE).all(|row| after.get_pixel(column, row) == after.get_pixel(column, 0));
    let hidden: Vec<u32> = (0..SIDE).filter(|&column| hidden(column)).collect();
    (2..20).contains(&hidden.len()) && hidden.into_iter().all(one_colour)
}

#[test]
fn a_treatment_changes_what_it_names_and_nothing_of_who_is_there() {
    let (plain, treated) = made();
    for (treatment, clips) in treated {
        for (plain, treated) in plain.iter().zip(&clips) {
            assert_eq!((treated.present, treated.making, treated.treatment), (plain.present, plain.making, Some(treatment)));
            let (before, after) = (&plain.frames[2], &treated.frames[2]);
            assert_eq!((before.dimensions(), plain.frames.len()), (after.dimensions(), treated.frames.len()));
            let holds = match treatment {
                Treatment::Small => before_the_wall(after) * 4 < before_the_wall(before) * 3,
                Treatment::Covered => is_behind_posts(before, after),
                Treatment::Crowd => before_the_wall(after) > before_the_wall(before) / 2 && after != before,
                Treatment::Half => {
                    let empty = treated.frames.iter().filter(|frame| before_the_wall(frame) == 0).count();
                    (3..=4).contains(&empty) && before_the_wall(&treated.frames[4]) > 0
                }
                Treatment::Grey => colour(after) < 0.3 * colour(before),
                Treatment::Dark => light(after) < 0.65 * light(before),
                Treatment::Drawn => colour(after) < 0.95 * colour(before),
                Treatment::Barred => [(0, 32), (32, 0)].iter().any(|&(x, y)| after.get_pixel(x, y).0 == [0; 3]),
                Treatment::Coarse => after != before && (light(after) / light(before) - 1.0).abs() < 0.02,
            };
            assert!(holds, "{treatment:?} of {:?}", plain.making);
        }
    }
}
