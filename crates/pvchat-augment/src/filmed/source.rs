//! The files that clips are made of: found, hashed, read, and looked at once.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use image::RgbImage;
use pvchat_data::file::files_in;
use pvchat_video::{DamagePolicy, ReadOptions, StreamPlan, VideoReader};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Eyes, FaceSeen, PersonSeen,
    prints::Prints,
    quality::{self, Measured},
};
use crate::{Error, Result};

/// Frames per second in which people are looked for.
pub(super) const LOOK_RATE: f64 = 4.0;
/// The longest side of the frames in which people are looked for, in pixels.
const LOOK_SIDE: u32 = 640;
/// Files of these kinds are footage; others in a folder are passed over.
const FOOTAGE: [&str; 10] = ["avi", "gif", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "webm"];

/// A file of footage.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Its name in the manifest: the path below the folder it was found in.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) sha256: String,
    pub(super) bytes: u64,
}

impl Source {
    pub(super) fn new(name: String, path: &Path) -> Result<Self> {
        let (sha256, bytes) = hash_file(path)?;
        Ok(Self { name, path: path.to_path_buf(), sha256, bytes })
    }
}

/// SHA-256 in hexadecimal digits.
pub(super) fn hash(text: impl AsRef<[u8]>) -> String {
    hexadecimal(&Sha256::digest(text.as_ref()))
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in hexadecimal digits, and the size in bytes.
pub(super) fn hash_file(path: &Path) -> Result<(String, u64)> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let (mut file, mut hash, mut buffer, mut bytes) = (File::open(path).map_err(io)?, Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => return Ok((hexadecimal(&hash.finalize()), bytes)),
            read => {
                hash.update(buffer.get(..read).unwrap_or_default());
                bytes += read as u64;
            }
        }
    }
}

/// The footage in a folder and the folders in it, in the order of the names.
pub(super) fn footage_in(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let files = files_in(folder, &FOOTAGE).map_err(|error| match error {
        pvchat_data::Error::Io { file: path, source } => Error::Io { path, source },
        error => error.into(),
    })?;
    Ok(files.into_iter().collect())
}

/// The size in which frames are read so that `side` of width and height is at most `most`; they are never enlarged.
fn scaled(width: u32, height: u32, side: fn(u32, u32) -> u32, most: u32) -> (u32, u32) {
    let now = side(width, height).max(1);
    if now <= most {
        return (width.max(1), height.max(1));
    }
    let shrunk = |length: u32| ((f64::from(length) * f64::from(most) / f64::from(now)).round() as u32).max(1);
    (shrunk(width), shrunk(height))
}

/// Which of a frame's sides is bounded when it is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// The longer one.
    Longest(u32),
    /// The shorter one.
    Shortest(u32),
}

/// Reads the frames of a stretch in seconds, `rate` of them a second, and gives each to `take` with its time. Damaged frames
/// are left out.
pub(super) fn read(
    path: &Path,
    rate: f64,
    [from, to]: [f64; 2],
    bound: Bound,
    mut take: impl FnMut(RgbImage, f64) -> Result<()>,
) -> Result<()> {
    let mut options = ReadOptions::default();
    options.damage = DamagePolicy::Skip;
    options.threads = 1;
    let reader = VideoReader::open_with(path, options.clone())?;
    let (width, height) = (reader.info().width, reader.info().height);
    options.size = Some(match bound {
        Bound::Longest(most) => scaled(width, height, u32::max, most),
        Bound::Shortest(most) => scaled(width, height, u32::min, most),
    });
    drop(reader);
    let mut reader = VideoReader::open_with(path, options)?;
    for frame in reader.stream(StreamPlan { per_second: rate, from_seconds: from })? {
        let frame = frame?;
        if frame.seconds > to {
            break;
        }
        take(frame.image, frame.seconds)?;
    }
    Ok(())
}

/// Who is in a file, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Look {
    /// Width and height of the frames that were looked at, in pixels.
    pub(super) size: [u32; 2],
    /// The time of each frame in seconds.
    pub(super) seconds: Vec<f64>,
    pub(super) people: Vec<PersonSeen>,
    /// What each face of each person is judged by.
    pub(super) measured: Vec<Vec<Measured>>,
    /// By which the same footage is known again.
    pub(super) prints: Prints,
}

/// Looks at a stretch of a file.
pub(super) fn look(path: &Path, span: Span, eyes: &dyn Eyes) -> Result<Look> {
    let (mut frames, mut seconds) = (Vec::new(), Vec::new());
    read(path, LOOK_RATE, span, Bound::Longest(LOOK_SIDE), |frame, at| {
        frames.push(frame);
        seconds.push(at);
        Ok(())
    })?;
    let size = frames.first().map_or([0, 0], |frame| [frame.width(), frame.height()]);
    let people = eyes.people(&frames, &seconds).map_err(Error::Eyes)?;
    let measure = |face: &FaceSeen| {
        let Some(frame) = frames.get(face.frame) else { return Ok(Measured::default()) };
        let openness = eyes.openness(frame, &face.points).map_err(Error::Eyes)?;
        Ok(Measured { detail: quality::detail(frame, &face.bounds), openness })
    };
    let measured = people.iter().map(|person| person.faces.iter().map(measure).collect()).collect::<Result<_>>()?;
    let prints = Prints::of(&frames);
    Ok(Look { size, seconds, people, measured, prints })
}

/// A time span of one person alone, in seconds.
pub(super) type Span = [f64; 2];

impl Look {
    /// The spans in which a person is seen and nobody else is, the longest first. Single frames without the face are bridged.
    pub(super) fn spans(&self, person: usize) -> Vec<Span> {
        let seen = |who: usize, frame: usize| self.people[who].faces.iter().any(|face| face.frame == frame);
        let mut spans: Vec<(usize, usize)> = Vec::new();
        let mut open: Option<(usize, usize)> = None;
        for frame in 0..self.seconds.len() {
            let company = (0..self.people.len()).any(|other| other != person && seen(other, frame));
            open = match (open, seen(person, frame) && !company) {
                (None, true) => Some((frame, frame)),
                (Some((first, _)), true) => Some((first, frame)),
                (Some((first, last)), false) if !company && frame <= last + 1 => Some((first, last)),
                (closed, false) => {
                    spans.extend(closed);
                    None
                }
            };
        }
        spans.extend(open);
        let mut spans: Vec<Span> = spans.into_iter().map(|(first, last)| [self.seconds[first], self.seconds[last]]).collect();
        spans.sort_by(|one, other| (other[1] - other[0]).total_cmp(&(one[1] - one[0])).then(one[0].total_cmp(&other[0])));
        spans
    }

    /// The longest span in which nobody is seen; of no length where somebody always is. A frame beside one with a face is not in it.
    pub(super) fn without_people(&self) -> Span {
        let is_free = |frame: usize| {
            let near = frame.saturating_sub(1)..=frame + 1;
            !self.people.iter().flat_map(|person| &person.faces).any(|face| near.contains(&face.frame))
        };
        let mut longest = [0.0; 2];
        let mut from = None;
        for (frame, &seconds) in self.seconds.iter().enumerate() {
            from = if is_free(frame) { from.or(Some(seconds)) } else { None };
            if let Some(from) = from.filter(|from| seconds - from > longest[1] - longest[0]) {
                longest = [from, seconds];
            }
        }
        longest
    }

    /// A person's face at a time: left, top, right, bottom as shares of the frame, mixed from the sightings around it.
    pub(super) fn face_at(&self, person: usize, seconds: f64) -> Option<[f32; 4]> {
        let [left_top, right_bottom] =
            self.mixed_at(person, seconds, |face| [[face.bounds[0], face.bounds[1]], [face.bounds[2], face.bounds[3]]])?;
        Some([left_top[0], left_top[1], right_bottom[0], right_bottom[1]])
    }

    /// The five points of a person's face at a time as shares of the frame, see [`FaceSeen::points`].
    pub(super) fn points_at(&self, person: usize, seconds: f64) -> Option<[[f32; 2]; 5]> {
        self.mixed_at(person, seconds, |face| face.points)
    }

    /// Points of a face at a time as shares of the frame, mixed from the sightings around it.
    fn mixed_at<const COUNT: usize>(
        &self,
        person: usize,
        seconds: f64,
        points: fn(&FaceSeen) -> [[f32; 2]; COUNT],
    ) -> Option<[[f32; 2]; COUNT]> {
        let faces = &self.people.get(person)?.faces;
        let time = |place: usize| self.seconds.get(faces[place].frame).copied().unwrap_or(0.0);
        let after = faces.iter().enumerate().position(|(place, _)| time(place) >= seconds);
        let after = after.unwrap_or(faces.len().checked_sub(1)?);
        let before = if time(after) > seconds { after.saturating_sub(1) } else { after };
        let length = time(after) - time(before);
        let share = if length > 0.0 { ((seconds - time(before)) / length).clamp(0.0, 1.0) as f32 } else { 0.0 };
        let [width, height] = self.size.map(|side| side.max(1) as f32);
        let (before, after) = (points(&faces[before]), points(&faces[after]));
        Some(std::array::from_fn(|point| {
            let mixed = |axis: usize| before[point][axis] * (1.0 - share) + after[point][axis] * share;
            [mixed(0) / width, mixed(1) / height]
        }))
    }

    /// Whether a person's face was seen in a frame near a time.
    pub(super) fn is_seen(&self, person: usize, seconds: f64) -> bool {
        let faces = self.people.get(person).map(|person| person.faces.as_slice()).unwrap_or_default();
        faces.iter().any(|face| self.seconds.get(face.frame).is_some_and(|at| (at - seconds).abs() <= 1.0 / LOOK_RATE))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn person(frames: &[usize]) -> PersonSeen {
        let face = |&frame: &usize| FaceSeen {
            frame,
            bounds: [frame as f32 * 10.0, 0.0, frame as f32 * 10.0 + 20.0, 20.0],
            points: [[0.0; 2]; 5],
            visible: 1.0,
            flaws: Vec::new(),
        };
        PersonSeen { faces: frames.iter().map(face).collect(), embedding: Some(vec![1.0]) }
    }

    fn looked(people: Vec<PersonSeen>) -> Look {
        let measured = people.iter().map(|person| vec![Measured::default(); person.faces.len()]).collect();
        let seconds = (0..8).map(|frame| frame as f64 / 4.0).collect();
        Look { size: [100, 50], seconds, people, measured, prints: Prints::default() }
    }

    #[test]
    fn a_span_is_one_person_alone() {
        let look = looked(vec![person(&[0, 1, 3, 4, 5, 6]), person(&[5])]);
        // One frame without the face is bridged; company ends the span.
        assert_eq!(look.spans(0), [[0.0, 1.0], [1.5, 1.5]]);
        assert_eq!(looked(vec![person(&[0, 4])]).spans(0), [[0.0, 0.0], [1.0, 1.0]]);
        assert!(looked(vec![person(&[])]).spans(0).is_empty());
    }

    #[test]
    fn a_stretch_without_people_ends_a_frame_before_the_next_face() {
        assert_eq!(looked(vec![]).without_people(), [0.0, 1.75]);
        assert_eq!(looked(vec![person(&[1])]).without_people(), [0.75, 1.75]);
        assert_eq!(looked(vec![person(&[0, 5]), person(&[7])]).without_people(), [0.5, 0.75]);
        assert_eq!(looked(vec![person(&[0, 2, 4, 6, 7])]).without_people(), [0.0; 2]);
    }

    #[test]
    fn faces_are_mixed_between_sightings() {
        let look = looked(vec![person(&[0, 2])]);
        assert_eq!(look.face_at(0, 0.25), Some([0.1, 0.0, 0.3, 0.4]));
        assert_eq!(look.face_at(0, 9.0), Some([0.2, 0.0, 0.4, 0.4]));
        assert_eq!(looked(vec![person(&[])]).face_at(0, 0.0), None);
    }

    #[test]
    fn only_footage_below_the_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["z.mp4", "a.txt", "b/c.MOV"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink("/etc", folder.path().join("out")).unwrap();
        let names: Vec<String> = footage_in(folder.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b/c.MOV", "z.mp4"]);
        assert_eq!(scaled(1920, 1080, u32::max, 640), (640, 360));
        assert_eq!(scaled(320, 240, u32::min, 400), (320, 240));
    }
}
