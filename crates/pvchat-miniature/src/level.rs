//! Levels of the examination: the same characters, filmed or drawn in a way that makes them harder to recognise.

use std::path::Path;

use image::{Rgb, RgbImage, imageops};
use pvchat_augment::Failure;
use pvchat_data::random::SeededStream;
use pvchat_video::{Clip, Quality, VideoWriter};
use serde::{Deserialize, Serialize};

use crate::{
    exam::{self, Cast, Character, ExamClip, FRAME_RATE, SIDE},
    world::{FRAMES, HairColour, Identity, Rendered, Scene, SceneOptions},
};

/// A way in which clips of the examination are harder. The reference clip, which a character is learned from, stays as it is, but
/// for [`UnseenHair`](Level::UnseenHair).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As the examination always was.
    Standard,
    /// Look-alikes differ in weak attributes only: the form of the face, eyes, nose, mouth, build, a mark.
    WeakAttributes,
    /// People at a bit more than half of their size.
    Small,
    /// A post hides a part of every face.
    Occluded,
    /// Nobody is there in the second half of the clip.
    HalfOfTheClip,
    /// Black bars make the frames 16:9.
    Letterboxed,
    /// Without colours.
    Grey,
    /// The outer fifth of the frame is cut away.
    Cropped,
    /// Left and right are exchanged.
    Mirrored,
    /// At a third of the light.
    Dark,
    /// Compressed strongly: rate factor 40.
    Recompressed,
    /// In another style of drawing: dark outlines, muted colours, narrower figures.
    AnotherStyle,
    /// Everybody's hair has a colour that no base met in its pretraining; who had the character's colour has it still.
    UnseenHair,
    /// Three to five people.
    SeveralPeople,
}

/// Factor on the size of people at [`Level::Small`].
const SMALL: f32 = 0.55;
/// Width of the post of [`Level::Occluded`] and how far right of a head's middle its left edge is, in units of 1/64 of the side.
const POST: [f32; 2] = [7.0, 1.5];
/// Width of a frame as a multiple of its height at [`Level::AnotherStyle`] before it is cut square: figures get narrower.
const NARROWER: f32 = 0.84;
/// The distance of neighbouring colours that becomes an outline.
const OUTLINE: i32 = 60;

impl Level {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Standard,
        Self::WeakAttributes,
        Self::Small,
        Self::Occluded,
        Self::HalfOfTheClip,
        Self::Letterboxed,
        Self::Grey,
        Self::Cropped,
        Self::Mirrored,
        Self::Dark,
        Self::Recompressed,
        Self::AnotherStyle,
        Self::UnseenHair,
        Self::SeveralPeople,
    ];

    /// What it is called in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::WeakAttributes => "differences in weak attributes only",
            Self::Small => "small",
            Self::Occluded => "occluded",
            Self::HalfOfTheClip => "in half of the clip",
            Self::Letterboxed => "letterboxed to 16:9",
            Self::Grey => "grey",
            Self::Cropped => "cropped",
            Self::Mirrored => "mirrored",
            Self::Dark => "dark",
            Self::Recompressed => "recompressed",
            Self::AnotherStyle => "another style",
            Self::UnseenHair => "hair colours never seen",
            Self::SeveralPeople => "three to five people",
        }
    }

    /// The character with the clips of this level.
    pub fn of(self, mut character: Character, seed: u64) -> Character {
        let identity = character.identity;
        match self {
            Self::WeakAttributes => {
                let mut stream = SeededStream::new(seed).derive("weak attributes");
                for clip in &mut character.clips {
                    let differences = match clip.cast {
                        Cast::LookAlike1 => 1,
                        Cast::LookAlike2 => 2,
                        Cast::Positive | Cast::Random => continue,
                    };
                    let other = identity.weak_look_alike(differences, &mut stream);
                    let scene = Scene::random(&[other], SceneOptions::default(), &mut stream);
                    *clip = ExamClip { scene, cast: clip.cast, position: None };
                }
            }
            Self::UnseenHair => {
                let mut colours = HairColour::UNSEEN;
                SeededStream::new(seed).derive("unseen hair").shuffle(&mut colours);
                let [own, others @ ..] = colours;
                let dyed = |person: Identity| {
                    let same = person.hair_colour == identity.hair_colour;
                    let hair_colour = if same { own } else { others[person.hair_colour.index() % others.len()] };
                    Identity { hair_colour, ..person }
                };
                let scenes = character.clips.iter_mut().map(|clip| &mut clip.scene).chain([&mut character.reference]);
                scenes.flat_map(|scene| &mut scene.people).for_each(|person| person.identity = dyed(person.identity));
                character.identity = dyed(identity);
            }
            Self::SeveralPeople => {
                let mut stream = SeededStream::new(seed).derive("several people");
                for clip in &mut character.clips {
                    let others: Vec<Identity> =
                        (clip.scene.people.len()..stream.range(3, 6)).map(|_| exam::stranger(&identity, &mut stream)).collect();
                    clip.scene = clip.scene.clone().with_others(&others, &mut stream);
                    clip.position = clip.position.and_then(|_| clip.scene.position_of(&identity));
                }
            }
            _ => {}
        }
        character
    }

    /// Films a scene, sends it through an mp4 file in `folder`, and reads it back: [`FRAMES`] frames.
    ///
    /// # Errors
    /// What writing and reading report.
    pub fn through_mp4(self, scene: &Scene, folder: &Path, name: &str) -> Result<Vec<RgbImage>, Failure> {
        let mut frames = self.film(scene);
        // Uniform sampling never reaches the end of a clip; see `exam::write_mp4`.
        frames.extend(frames.last().cloned());
        let path = folder.join(format!("{name}.mp4"));
        let quality = if self == Self::Recompressed { Quality::RateFactor(40) } else { Quality::default() };
        let (width, height) = frames.first().map_or((SIDE, SIDE), RgbImage::dimensions);
        let mut writer = VideoWriter::create(&path, width, height, FRAME_RATE, quality)?;
        frames.iter().try_for_each(|frame| writer.write(frame))?;
        writer.finish()?;
        let clip = Clip::open(&path, FRAMES)?;
        std::fs::remove_file(&path)?;
        Ok(clip.frames)
    }

    /// The frames of a scene at this level.
    pub fn film(self, scene: &Scene) -> Vec<RgbImage> {
        let mut scene = scene.clone();
        if self == Self::Small {
            scene.people.iter_mut().for_each(|person| person.scale *= SMALL);
        }
        let Rendered { mut frames, truth } = scene.render(SIDE);
        match self {
            Self::Standard | Self::WeakAttributes | Self::Small | Self::Recompressed | Self::UnseenHair | Self::SeveralPeople => {
            }
            Self::Occluded => {
                let unit = SIDE as f32 / 64.0;
                for (time, frame) in frames.iter_mut().enumerate() {
                    for person in &truth.people {
                        let left = ((person[time].head[0] + POST[1]) * unit) as i64;
                        let post = RgbImage::from_pixel((POST[0] * unit) as u32, SIDE, Rgb([120, 116, 110]));
                        imageops::replace(frame, &post, left, 0);
                    }
                }
            }
            Self::HalfOfTheClip => {
                let empty = Scene { people: Vec::new(), ..scene }.render(SIDE).frames;
                let middle = frames.len() / 2;
                frames.splice(middle.., empty.into_iter().skip(middle));
            }
            Self::Letterboxed => {
                let width = SIDE * 16 / 9 / 2 * 2;
                for frame in &mut frames {
                    let mut wide = RgbImage::new(width, SIDE);
                    imageops::replace(&mut wide, frame, i64::from((width - SIDE) / 2), 0);
                    *frame = wide;
                }
            }
            Self::Grey => frames.iter_mut().flat_map(|frame| frame.pixels_mut()).for_each(|pixel| pixel.0 = [luma(pixel.0); 3]),
            Self::Cropped => {
                let (edge, kept) = (SIDE / 10, SIDE - SIDE / 10 * 2);
                for frame in &mut frames {
                    *frame = imageops::crop_imm(frame, edge, edge, kept, kept).to_image();
                }
            }
            Self::Mirrored => frames.iter_mut().for_each(imageops::flip_horizontal_in_place),
            Self::Dark => {
                let darker = |channel: u8| channel / 3;
                frames.iter_mut().flat_map(|frame| frame.pixels_mut()).for_each(|pixel| pixel.0 = pixel.0.map(darker));
            }
            Self::AnotherStyle => frames.iter_mut().for_each(|frame| *frame = restyled(frame)),
        }
        frames
    }
}

fn luma(colour: [u8; 3]) -> u8 {
    let [red, green, blue] = colour.map(f32::from);
    (0.299 * red + 0.587 * green + 0.114 * blue + 0.5) as u8
}

/// A frame with dark outlines and muted colours, narrower by a sixth with its edges repeated.
fn restyled(frame: &RgbImage) -> RgbImage {
    let (width, height) = frame.dimensions();
    let at = |x: u32, y: u32| frame.get_pixel(x.min(width - 1), y.min(height - 1)).0;
    let apart = |one: [u8; 3], other: [u8; 3]| one.iter().zip(other).map(|(&a, b)| i32::from(a.abs_diff(b))).sum::<i32>();
    let drawn = RgbImage::from_fn(width, height, |x, y| {
        let colour = at(x, y);
        let edge = apart(colour, at(x + 2, y)).max(apart(colour, at(x, y + 2)));
        let grey = f32::from(luma(colour));
        let muted = colour.map(|channel| 0.62 * f32::from(channel) + 0.3 * grey + 18.0);
        let light = if edge > OUTLINE { 0.25 } else { 1.0 };
        Rgb(muted.map(|channel| (channel * light).clamp(0.0, 255.0) as u8))
    });
    let narrow = (width as f32 * NARROWER) as u32;
    let squeezed = imageops::resize(&drawn, narrow, height, imageops::FilterType::Triangle);
    let left = (width - narrow) / 2;
    RgbImage::from_fn(width, height, |x, y| *squeezed.get_pixel(x.saturating_sub(left).min(narrow - 1), y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exam::Counts;

    #[test]
    fn every_level_changes_what_it_names_and_nothing_of_the_reference() {
        let character = Character::draw(0, 5, Counts { alone: 1, accompanied: 0, look_alikes: 2, random: 1 });
        let scene = &character.clips[0].scene;
        let standard = Level::Standard.film(scene);
        for level in Level::ALL {
            let frames = level.film(scene);
            assert_eq!(frames.len(), FRAMES, "{level:?}");
            let same = frames == standard;
            // These are of other scenes, or of another file.
            let by_scene = [Level::WeakAttributes, Level::UnseenHair, Level::SeveralPeople, Level::Recompressed];
            assert_eq!(same, level == Level::Standard || by_scene.contains(&level), "{level:?}");
            let changed = level.of(character.clone(), 5);
            assert_eq!(changed.reference == character.reference, level != Level::UnseenHair, "{level:?}");
        }
        assert_eq!(Level::HalfOfTheClip.film(scene)[0], standard[0]);
        assert_ne!(Level::HalfOfTheClip.film(scene)[7], standard[7]);
        assert_eq!(Level::Letterboxed.film(scene)[0].dimensions(), (454, SIDE));
        assert!(Level::Grey.film(scene)[3].pixels().all(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]));
    }

    #[test]
    fn nobody_has_a_hair_colour_that_was_seen_and_the_character_keeps_its_own() {
        let character = Character::draw(1, 5, Counts::default());
        let dyed = Level::UnseenHair.of(character.clone(), 5);
        for (before, after) in character.clips.iter().zip(&dyed.clips) {
            for (before, after) in before.scene.people.iter().zip(&after.scene.people) {
                assert!(HairColour::UNSEEN.contains(&after.identity.hair_colour));
                let had = before.identity.hair_colour == character.identity.hair_colour;
                assert_eq!(after.identity.hair_colour == dyed.identity.hair_colour, had);
            }
            assert_eq!(after.position, after.scene.position_of(&dyed.identity).filter(|_| after.position.is_some()));
        }
        assert_eq!(dyed.reference.people[0].identity, dyed.identity);
    }

    #[test]
    fn three_to_five_people_stand_in_the_frame() {
        let character = Level::SeveralPeople.of(Character::draw(2, 5, Counts::default()), 5);
        for clip in &character.clips {
            let people = &clip.scene.people;
            assert!((3..=5).contains(&people.len()));
            assert!(people.is_sorted_by(|one, other| one.x <= other.x), "from left to right");
            let is_there = people.iter().any(|person| person.identity == character.identity);
            assert_eq!(is_there, clip.cast == Cast::Positive);
            assert_eq!(clip.position.is_some(), is_there);
            assert!(clip.scene.render(64).truth.people.iter().flatten().all(|person| (0.0..64.0).contains(&person.head[0])));
        }
    }

    #[test]
    fn weak_look_alikes_differ_in_weak_attributes_only() {
        let mut stream = SeededStream::new(3);
        for round in 0..500 {
            let person = Identity::random(&mut stream);
            let other = person.weak_look_alike(1 + round % 2, &mut stream);
            let pairs = person.attributes().into_iter().zip(other.attributes());
            let changed: Vec<usize> =
                pairs.enumerate().filter(|(_, (one, other))| one != other).map(|(index, _)| index).collect();
            assert_eq!(changed.len(), 1 + round % 2);
            assert!(changed.iter().all(|index| [1, 6, 7, 8, 9, 10].contains(index)), "{changed:?}");
        }
    }
}
