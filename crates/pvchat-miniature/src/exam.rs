//! The examination: characters that the base never saw, in clips that went through mp4.

use std::path::Path;

use image::RgbImage;
use pvchat_augment::Failure;
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use crate::world::{Identity, Scene, SceneOptions};

/// Side of the frames in the mp4 files.
pub const SIDE: u32 = 256;
/// Frames per second of the mp4 files.
pub const FRAME_RATE: f64 = 8.0;

/// Who is in a clip of the examination, seen from the character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cast {
    /// The character.
    Positive,
    /// Someone who differs in one attribute.
    LookAlike1,
    /// Someone who differs in two attributes.
    LookAlike2,
    /// Someone else.
    Random,
}

/// How many clips of each cast a character is examined on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// With the character alone.
    pub alone: usize,
    /// With the character and somebody else.
    pub accompanied: usize,
    /// Of each kind of look-alike; in every fourth there is a stranger too.
    pub look_alikes: usize,
    /// Of random people; in every fourth there are two.
    pub random: usize,
}

impl Default for Counts {
    /// The prototype's: 24 positives (6 with company), 16 and 16 look-alikes, 24 random people.
    fn default() -> Self {
        Self { alone: 18, accompanied: 6, look_alikes: 16, random: 24 }
    }
}

/// A clip of the examination.
#[derive(Clone, Debug)]
pub struct ExamClip {
    /// What is drawn.
    pub scene: Scene,
    /// Who is in it.
    pub cast: Cast,
    /// Where the character is, if present.
    pub position: Option<usize>,
}

/// A character with a reference clip and clips to be asked about.
#[derive(Clone, Debug)]
pub struct Character {
    /// Who.
    pub identity: Identity,
    /// The clip to learn from; the character is alone there.
    pub reference: Scene,
    /// The clips to be asked about.
    pub clips: Vec<ExamClip>,
}

impl Character {
    /// Draws the `number`-th character of an examination, who is [reserved](Identity::is_reserved).
    pub fn draw(number: usize, seed: u64, counts: Counts) -> Self {
        let mut stream = SeededStream::new(seed).derive(format_args!("character {number}"));
        let identity = Identity::reserved(|| Identity::random(&mut stream));
        let scene = |people: &[Identity], stream: &mut SeededStream| Scene::random(people, SceneOptions::default(), stream);
        let reference = scene(&[identity], &mut stream);
        let mut clips = Vec::new();
        for number in 0..counts.alone + counts.accompanied {
            let mut people = vec![identity];
            if number >= counts.alone {
                people.push(Identity::random(&mut stream));
            }
            let scene = scene(&people, &mut stream);
            clips.push(ExamClip { position: scene.position_of(&identity), scene, cast: Cast::Positive });
        }
        for (cast, differences) in [(Cast::LookAlike1, 1), (Cast::LookAlike2, 2)] {
            for number in 0..counts.look_alikes {
                let other = identity.look_alike(differences, &mut stream);
                let people = company(number, other, &identity, &mut stream);
                clips.push(ExamClip { scene: scene(&people, &mut stream), cast, position: None });
            }
        }
        for number in 0..counts.random {
            let other = stranger(&identity, &mut stream);
            let people = company(number, other, &identity, &mut stream);
            clips.push(ExamClip { scene: scene(&people, &mut stream), cast: Cast::Random, position: None });
        }
        Self { identity, reference, clips }
    }
}

/// Somebody else than the character.
pub(crate) fn stranger(character: &Identity, stream: &mut SeededStream) -> Identity {
    loop {
        let other = Identity::random(stream);
        if other != *character {
            return other;
        }
    }
}

/// Who is in the `number`-th clip without the character: every fourth shows two, like the clips with the character, so that
/// company reveals nothing.
fn company(number: usize, other: Identity, character: &Identity, stream: &mut SeededStream) -> Vec<Identity> {
    match number % 4 {
        3 => vec![other, stranger(character, stream)],
        _ => vec![other],
    }
}

/// Draws a scene into an mp4 file.
///
/// The last frame is written twice: uniform sampling of `n` frames never reaches the end of a
/// clip, and of nine frames it takes exactly the first eight.
///
/// # Errors
/// What writing reports.
pub fn write_mp4(scene: &Scene, path: &Path) -> pvchat_video::Result<()> {
    let mut frames = scene.render(SIDE).frames;
    frames.extend(frames.last().cloned());
    pvchat_video::write_clip(path, &frames, FRAME_RATE)
}

/// Draws a scene, writes it to an mp4 file in `folder`, and reads it back.
///
/// # Errors
/// What writing and reading report.
pub fn through_mp4(scene: &Scene, folder: &Path, name: &str) -> Result<Vec<RgbImage>, Failure> {
    let path = folder.join(format!("{name}.mp4"));
    write_mp4(scene, &path)?;
    let clip = pvchat_video::Clip::open(&path, crate::world::FRAMES)?;
    std::fs::remove_file(&path)?;
    Ok(clip.frames)
}
