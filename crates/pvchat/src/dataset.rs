//! A dataset from one filmed clip of a person: this crate's networks and bases for [`pvchat_augment::filmed`].

use std::{ops::ControlFlow, path::Path};

use image::{GrayImage, RgbImage};
use pvchat_augment::{
    Failure,
    filmed::{
        self, DatasetOptions, Describe, Eyes, FaceSeen, Generators, Made, ModelUsed, PersonSeen, Progress, Request, ShownClip,
        Thresholds,
    },
};
use pvchat_data::SubjectName;
use pvchat_people::{Calibration, Finder, Matte, Track, mean_embedding, models};

use crate::{Choice, Describer, People, Pictures, Result, SeenPeople, phrasebook};

/// What a dataset is made from, see [`People::make_dataset`].
#[derive(Clone, Copy, Debug)]
pub struct DatasetRequest<'a> {
    /// The person's clip, looked at.
    pub seen: &'a SeenPeople,
    /// Who of several people in it.
    pub choice: Option<Choice>,
    /// The person's name in the dataset.
    pub name: &'a SubjectName,
    /// A folder with footage of others.
    pub corpus: &'a Path,
    /// The folder of the dataset.
    pub out: &'a Path,
    /// How much is made.
    pub options: &'a DatasetOptions,
    /// Programs that generate clips; `Generators::default()` for none.
    pub generators: Generators<'a>,
}

impl People {
    /// Makes a dataset of the person in a clip: the person cut out and put into other footage, strangers put through the same
    /// making, questions and answers, in the published files. A killed run is resumed by calling it again. With a describer, it
    /// also asks what the person wears, does, and where.
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
        let candidate = request.seen.choose(request.seen.candidates(), request.choice)?;
        let template = request.seen.template(&candidate)?;
        let eyes = Networks { finder: self.finder(), matte, calibration: self.calibration() };
        let made = Request {
            name: request.name,
            clip: &request.seen.source,
            template: &template.embedding,
            corpus: request.corpus,
            out: request.out,
            options: request.options,
            generators: request.generators,
            threads: self.finder().options().threads,
        };
        let mut base = describer.map(Base);
        let describe = base.as_mut().map(|base| base as &mut dyn Describe);
        Ok(filmed::make(&made, &eyes, describe, &mut observe)?)
    }
}

/// The networks that find, recognise and cut out people.
struct Networks<'a> {
    finder: &'a Finder,
    matte: &'a Matte,
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
        // Whoever is not surely somebody else is no negative, and whoever is not surely the person no positive.
        Thresholds { same: self.calibration.certain_from(1), other: self.calibration.possible }
    }

    fn models(&self) -> Vec<ModelUsed> {
        let licence = |id: &str| {
            let known = models::catalogue().iter().find(|model| model.id() == id);
            known.map_or_else(|| "the user's own".to_string(), |model| model.licence.to_string())
        };
        let used = |role: &str, id: &str| ModelUsed { role: role.into(), id: id.into(), licence: licence(id) };
        let named = |name: &str| models::find(name).map(models::ModelFile::id).unwrap_or_default();
        vec![
            used("finds faces", &named("blazeface")),
            used("confirms faces", &named("mtcnn")),
            used("compares faces", self.finder.model()),
            used("cuts people out", self.matte.model()),
        ]
    }
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
struct Base<'a>(&'a mut dyn Describer);

impl Describe for Base<'_> {
    fn name(&self) -> String {
        self.0.name().into()
    }

    fn describe(&mut self, clip: &ShownClip<'_>, question: &str, subject: &str) -> std::result::Result<Option<String>, Failure> {
        let bare = subject.trim_matches(['<', '>']);
        let is_shown = self.0.sees_pictures();
        let count = self.0.frames().clamp(1, clip.frames.len().max(1));
        let places: Vec<usize> = (0..count).map(|number| (2 * number + 1) * clip.frames.len() / (2 * count)).collect();
        let frames: Vec<RgbImage> = places.iter().filter_map(|&place| clip.frames.get(place).cloned()).collect();
        let seconds: Vec<f64> = places.iter().filter_map(|&place| clip.seconds.get(place).copied()).collect();
        let pictures = Pictures {
            key: clip.key,
            frames: &frames,
            seconds: &seconds,
            duration: clip.seconds.last().copied().unwrap_or(0.0),
            person: is_shown.then_some(clip.person),
        };
        let said = self.0.describe(&pictures, &phrasebook::question(question, bare, is_shown))?;
        if said.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(phrasebook::answer(&said, subject)))
    }
}
