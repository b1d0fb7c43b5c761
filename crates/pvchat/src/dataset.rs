//! A dataset from a filmed clip of a person, or of each of several: this crate's networks and bases for [`pvchat_augment::filmed`].

use std::{ops::ControlFlow, path::Path};

use image::{GrayImage, RgbImage};
use pvchat_augment::{
    Failure,
    filmed::{
        self, DatasetOptions, Describe, Eyes, FaceSeen, Generators, KnownFile, KnownFiles, KnownPerson, Made, ModelUsed,
        PersonClip, PersonSeen, Progress, Refine, Request, ShownClip, Stage, Thresholds,
    },
};
use pvchat_data::{QaKind, SubjectName};
use pvchat_people::{Calibration, EyeContours, FaceIndex, Finder, IndexedFile, Matte, Track, mean_embedding, models};
use sha2::{Digest, Sha256};

use crate::{BaseUsed, Choice, Describer, People, Pictures, Result, SeenPeople, describe::UNKNOWN_LICENCE, phrasebook};

/// Somebody whom a dataset is about.
#[derive(Clone, Copy, Debug)]
pub struct DatasetPerson<'a> {
    /// The person's clip, looked at.
    pub seen: &'a SeenPeople,
    /// Who of several people in it.
    pub choice: Option<Choice>,
    /// The person's name in the dataset.
    pub name: &'a SubjectName,
}

/// What a dataset is made from, see [`People::make_dataset`].
#[derive(Clone, Copy, Debug)]
pub struct DatasetRequest<'a> {
    /// The people, one to [`filmed::MOST_PEOPLE`], each with a clip of their own.
    pub people: &'a [DatasetPerson<'a>],
    /// A folder with footage of others; without one, strangers are whoever else is in the clips of the people.
    pub corpus: Option<&'a Path>,
    /// The index of that folder ([`People::index`]): it is brought up to date, and of the files that it knows those are looked at
    /// of which clips may be made. Without one, all are. Without a folder it is not used.
    pub index: Option<&'a Path>,
    /// The folder of the dataset.
    pub out: &'a Path,
    /// How much is made.
    pub options: &'a DatasetOptions,
    /// Whether the describer is asked whether each of its sentences is true; those that it denies are left out.
    pub is_checked: bool,
    /// What rewrites descriptions.
    pub refiner: Option<&'a dyn Refine>,
    /// What measures how open eyes are; without it looks at the person with closed eyes are not refused.
    pub eye_contours: Option<&'a EyeContours>,
    /// Programs that generate clips; `Generators::default()` for none.
    pub generators: Generators<'a>,
}

impl People {
    /// Makes a dataset of the person in a clip, or of several people: each cut out and put into other footage, strangers put through
    /// the same making, questions and answers, in the published files. Of several people each is a negative of the others. A killed
    /// run is resumed by calling it again. With a describer, it also asks what the people wear, do, and where.
    ///
    /// # Errors
    /// As [`enrol`](Self::enrol) for the choice of the person, [`Error::Augment`](crate::Error::Augment) for everything in
    /// [`filmed::make`].
    pub fn make_dataset(
        &self,
        request: &DatasetRequest<'_>,
        matte: &Matte,
        describer: Option<&mut dyn Describer>,
        mut observe: impl FnMut(Progress) -> ControlFlow<()> + Send,
    ) -> Result<Made> {
        let chosen = |person: &DatasetPerson<'_>| {
            let seen = person.seen;
            let candidate = seen.choose(seen.candidates(), person.choice, "make the dataset from footage that shows a face")?;
            Ok((seen.template(&candidate)?, candidate.span.0))
        };
        let chosen = request.people.iter().map(chosen).collect::<Result<Vec<_>>>()?;
        let people = request.people.iter().zip(&chosen).map(|(person, (template, from))| PersonClip {
            name: person.name,
            clip: &person.seen.source,
            from: *from,
            template: &template.embedding,
        });
        let people: Vec<PersonClip<'_>> = people.collect();
        let index = match request.corpus.zip(request.index) {
            Some((corpus, file)) => Some(self.indexed(corpus, file, &mut observe)?),
            None => None,
        };
        let known = index.as_ref().map(known);
        let eyes = Networks { finder: self.finder(), matte, eye_contours: request.eye_contours, calibration: self.calibration() };
        let made = Request {
            people: &people,
            corpus: request.corpus,
            known: known.as_ref(),
            out: request.out,
            options: request.options,
            refiner: request.refiner,
            generators: request.generators,
            threads: self.finder().options().threads,
        };
        let mut base = match describer {
            Some(base) => Some(Base { used: base.used()?, base, is_checked: request.is_checked }),
            None => None,
        };
        let describe = base.as_mut().map(|base| base as &mut dyn Describe);
        Ok(filmed::make(&made, &eyes, describe, &mut observe)?)
    }

    /// The index of a folder, brought up to date.
    fn indexed(
        &self,
        corpus: &Path,
        file: &Path,
        observe: &mut (impl FnMut(Progress) -> ControlFlow<()> + Send),
    ) -> Result<FaceIndex> {
        let mut index = self.open_index(file)?;
        self.index(corpus, &mut index, |progress| {
            observe(Progress { stage: Stage::Looking, done: progress.done, total: progress.files })
        })?;
        Ok(index)
    }
}

/// Who is in which file.
fn known(index: &FaceIndex) -> KnownFiles<'_> {
    let known = |number: usize, file: &'_ IndexedFile| {
        let embedding = |person: usize| index.embedding(number, person);
        let people = (0..file.people.len()).filter_map(|person| {
            let seen = index.file(number)?.people.get(person)?;
            Some(KnownPerson { embedding: embedding(person)?, moments: &seen.moments, good_faces: seen.good_faces })
        });
        KnownFile { people: people.collect(), unclear: index.unclear(number).unwrap_or(0) }
    };
    index.files().enumerate().map(|(number, file)| (file.name.clone(), known(number, file))).collect()
}

/// The networks that find, recognise and cut out people.
struct Networks<'a> {
    finder: &'a Finder,
    matte: &'a Matte,
    eye_contours: Option<&'a EyeContours>,
    calibration: &'a Calibration,
}

impl Eyes for Networks<'_> {
    fn people(&self, frames: &[RgbImage], seconds: &[f64]) -> std::result::Result<Vec<PersonSeen>, Failure> {
        let tracks = self.finder.find(frames, seconds)?;
        let count = tracks.iter().map(|track| track.person + 1).max().unwrap_or(0);
        Ok((0..count).map(|person| seen(&tracks, person)).collect())
    }

    fn matte(&self, picture: &RgbImage) -> std::result::Result<GrayImage, Failure> {
        Ok(self.matte.of(picture)?)
    }

    fn thresholds(&self) -> Thresholds {
        // A person who is not surely somebody else is no negative, and one who is not surely the enrolled person is no positive.
        Thresholds { same: self.calibration.certain_from(1), other: self.calibration.possible }
    }

    fn openness(&self, frame: &RgbImage, points: &[[f32; 2]; 5]) -> std::result::Result<Option<f32>, Failure> {
        match self.eye_contours {
            Some(eye_contours) => Ok(eye_contours.openness(frame, points)?),
            None => Ok(None),
        }
    }

    fn eye_model(&self) -> Option<ModelUsed> {
        self.eye_contours.map(|eye_contours| used("says whether eyes are open", eye_contours.model()))
    }

    fn models(&self) -> Vec<ModelUsed> {
        let named = |name: &str| models::find(name).map(models::ModelFile::id).unwrap_or_default();
        vec![
            used("finds faces", &named("blazeface")),
            used("confirms faces", &named("mtcnn")),
            used("compares faces", self.finder.model()),
            used("cuts people out", self.matte.model()),
        ]
    }
}

fn used(role: &str, id: &str) -> ModelUsed {
    let known = models::catalogue().iter().find(|model| model.id() == id);
    let licence = known.map_or_else(|| UNKNOWN_LICENCE.to_string(), |model| model.licence.to_string());
    ModelUsed { role: role.into(), id: id.into(), licence }
}

fn seen(tracks: &[Track], person: usize) -> PersonSeen {
    let own = || tracks.iter().filter(move |track| track.person == person);
    let mut faces: Vec<FaceSeen> = own()
        .flat_map(|track| &track.sightings)
        .map(|sighting| {
            let bounds = sighting.face.bounds;
            FaceSeen {
                frame: sighting.frame,
                bounds: [bounds.left, bounds.top, bounds.right, bounds.bottom],
                points: sighting.face.landmarks,
                visible: sighting.quality.visible,
                flaws: sighting.flaws.iter().map(ToString::to_string).collect(),
            }
        })
        .collect();
    faces.sort_by_key(|face| face.frame);
    PersonSeen { faces, embedding: mean_embedding(own()) }
}

/// A base that describes positives.
struct Base<'a> {
    base: &'a mut dyn Describer,
    used: BaseUsed,
    is_checked: bool,
}

impl Describe for Base<'_> {
    fn name(&self) -> String {
        let checked = if self.is_checked { ", each sentence confirmed by a second question" } else { "" };
        format!("{}{checked}", self.used.id)
    }

    fn model(&self) -> ModelUsed {
        let BaseUsed { id, licence } = self.used.clone();
        ModelUsed { role: "describes people".into(), id, licence }
    }

    fn describe(
        &mut self,
        clip: &ShownClip<'_>,
        kind: QaKind,
        question: &str,
        subject: &str,
    ) -> std::result::Result<Option<String>, Failure> {
        let bare = subject.trim_matches(['<', '>']);
        // What a person looks like is said of the person alone, so that nobody else is described; an action needs the frames, and a
        // place is not in the crop.
        let is_alone = matches!(kind, QaKind::Appearance | QaKind::Emotion);
        let is_shown = self.base.sees_pictures() && !is_alone;
        let duration = clip.seconds.last().copied().unwrap_or(0.0);
        let count = self.base.frames_of(duration).clamp(1, clip.frames.len().max(1));
        let places: Vec<usize> = (0..count).map(|number| (2 * number + 1) * clip.frames.len() / (2 * count)).collect();
        let frames: Vec<RgbImage> = places.iter().filter_map(|&place| clip.frames.get(place).cloned()).collect();
        let seconds: Vec<f64> = places.iter().filter_map(|&place| clip.seconds.get(place).copied()).collect();
        // Of a clip with several people it is one for each.
        let digest = Sha256::digest(clip.person.as_raw());
        let key =
            format!("{}, the person alone, {}", clip.key, digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let pictures = match is_alone {
            true => Pictures {
                key: &key,
                frames: std::slice::from_ref(clip.person),
                seconds: &[0.0],
                duration: 0.0,
                is_photo: true,
                person: None,
            },
            false => Pictures {
                key: clip.key,
                frames: &frames,
                seconds: &seconds,
                duration,
                is_photo: false,
                person: is_shown.then_some(clip.person),
            },
        };
        let said = self.base.describe(&pictures, &phrasebook::question(question, bare, is_shown))?;
        if said.trim().is_empty() {
            return Ok(None);
        }
        let sentence = phrasebook::answer(&said, subject);
        if self.is_checked && !phrasebook::agrees(&self.base.describe(&pictures, &phrasebook::check(&sentence, bare, is_shown))?)
        {
            return Ok(None);
        }
        Ok(Some(sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says something else to each question, and confirms some of it.
    #[derive(Debug)]
    struct Scripted {
        asked: Vec<String>,
        confirms: fn(&str) -> &'static str,
        sees_pictures: bool,
    }

    impl Describer for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }

        fn frames(&self) -> usize {
            2
        }

        fn sees_pictures(&self) -> bool {
            self.sees_pictures
        }

        fn describe(&mut self, pictures: &Pictures<'_>, question: &str) -> Result<String> {
            // What is worn is said of the person alone.
            let is_alone = question.contains("wear") || question.contains("red coat");
            let expected = if is_alone { (1, false, true) } else { (2, self.sees_pictures, false) };
            assert_eq!((pictures.frames.len(), pictures.person.is_some(), pictures.is_photo), expected, "{question}");
            assert_eq!(pictures.frames[0].width(), if is_alone { 4 } else { 8 });
            self.asked.push(question.into());
            if question.contains("Is that true?") {
                return Ok((self.confirms)(question).into());
            }
            let mut answers = ["wear", "doing", "Where"].into_iter().zip(["a red coat", "reading", "in a garden"]);
            let said = answers.find(|(asked, _)| question.contains(asked)).map_or("", |(_, said)| said);
            Ok(if said.is_empty() { String::new() } else { format!("The person is {said}.") })
        }
    }

    fn silent() -> Scripted {
        Scripted { asked: Vec::new(), confirms: |_| "", sees_pictures: false }
    }

    /// What is kept of the answers to four questions.
    fn kept(is_checked: bool, base: &mut Scripted) -> Vec<Option<String>> {
        let frames = vec![RgbImage::new(8, 8); 4];
        let seconds = [0.0, 0.5, 1.0, 1.5];
        let person = RgbImage::new(4, 8);
        let clip = ShownClip { key: "k", frames: &frames, seconds: &seconds, person: &person };
        let mut base = Base { used: base.used().unwrap(), base, is_checked };
        let asked = [
            (QaKind::Appearance, "What is <Aa> wearing?"),
            (QaKind::Action, "What is <Aa> doing?"),
            (QaKind::Location, "Where is <Aa>?"),
            (QaKind::Action, "Who is <Aa>?"),
        ];
        asked.iter().map(|(kind, question)| base.describe(&clip, *kind, question, "<Aa>").unwrap()).collect()
    }

    #[test]
    fn sentences_that_the_base_confirms_are_kept_and_the_others_dropped() {
        let said = ["<Aa> is a red coat.", "<Aa> is reading.", "<Aa> is in a garden."].map(|said| Some(said.to_string()));
        for sees_pictures in [true, false] {
            let mut base = Scripted { confirms: |_| "No.", sees_pictures, asked: Vec::new() };
            assert_eq!(kept(false, &mut base), [&said[..], &[None]].concat(), "unchecked, everything that is said is kept");
            assert_eq!(base.asked.len(), 4);

            let confirms = |question: &str| match question {
                question if question.contains("red coat") => "Yes, it is.",
                question if question.contains("reading") => "No, the person sleeps.",
                _ => "yes",
            };
            let mut base = Scripted { confirms, sees_pictures, asked: Vec::new() };
            assert_eq!(kept(true, &mut base), [said[0].clone(), None, said[2].clone(), None]);
            // What says nothing is not asked about again.
            assert_eq!(base.asked.len(), 4 + 3, "{:?}", base.asked);
            assert!(base.asked[1].contains("\"The person is a red coat.\" Is that true?"), "{:?}", base.asked[1]);
            let person = if sees_pictures { "person in the last picture" } else { "person" };
            assert!(base.asked[3].contains(&format!("\"The {person} is reading.\" Is that true?")), "{:?}", base.asked[3]);
            assert!(base.asked.iter().all(|question| !question.contains("Aa")), "{:?}", base.asked);

            let mut base = Scripted { confirms: |_| "I do not know.", sees_pictures, asked: Vec::new() };
            assert_eq!(kept(true, &mut base), vec![None; 4]);
        }
        let names =
            [false, true].map(|is_checked| Base { used: silent().used().unwrap(), base: &mut silent(), is_checked }.name());
        assert_eq!(names, ["scripted", "scripted, each sentence confirmed by a second question"], "checked ones are made again");
    }
}
