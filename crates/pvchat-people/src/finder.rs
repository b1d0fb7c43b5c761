//! People in a clip: every frame through the networks, faces linked into tracks.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use burn::prelude::*;
use image::RgbImage;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{
    Error, Result,
    align::align,
    calibration::Calibration,
    detect::{CONFIRMED, Detector, Face, Search},
    embed::Embedder,
    layers::{Maps, Weights},
    models,
    networks::{BlazeFace, DlibResNet, EmbedderKind, MobileFaceNet, Network, ONet, PNet, RNet},
    quality::{Flaw, Limits, Quality},
    track::{Alike, Linker, SeenFace, Track},
};

/// How people are looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct FindOptions {
    /// How faces are looked for.
    pub search: Search,
    /// From which measures on a face is good enough.
    pub limits: Limits,
    /// The least score of a face that counts.
    pub confirmed: f32,
    /// Frames that are looked at side by side; 0 for one per core. The result does not depend on it.
    pub threads: usize,
}

impl Default for FindOptions {
    fn default() -> Self {
        Self { search: Search::default(), limits: Limits::default(), confirmed: CONFIRMED, threads: 0 }
    }
}

/// What finds faces.
enum Faces {
    Shipped(Box<Detector>),
    #[cfg(feature = "onnx")]
    Own(Box<crate::onnx::Detector>),
}

/// The networks that find and embed faces. Frames are divided among threads, each of which computes alone.
pub struct Finder {
    detector: Faces,
    embedder: Embedder,
    model: String,
    device: Device,
    options: FindOptions,
    workers: Vec<ThreadPool>,
}

impl std::fmt::Debug for Finder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Finder").field("model", &self.model).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Finder {
    /// Opens the networks in a folder of models, see [`models::get`].
    ///
    /// # Errors
    /// [`Error::Models`] where a file is absent or damaged, [`Error::Weights`] for one of another network.
    pub fn open(folder: &Path, embedder: EmbedderKind, options: FindOptions, device: &Device) -> Result<Self> {
        let detector = shipped_detector(folder, device)?;
        let (model, network) = shipped_embedder(folder, embedder, device)?;
        Self::of(detector, network, model, options, device)
    }

    /// As [`open`](Self::open), with a user's own networks in place of the shipped ones; `embedder` is used where the user
    /// has none. The folder of models is read only for what the user's networks do not replace.
    ///
    /// A detector of the user's own has its own least score, and ignores [`FindOptions::search`] and
    /// [`FindOptions::confirmed`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "onnx")]
    pub fn open_with(
        folder: &Path,
        embedder: EmbedderKind,
        own: crate::onnx::Networks,
        options: FindOptions,
        device: &Device,
    ) -> Result<Self> {
        let detector = match own.detector {
            Some(detector) => Faces::Own(Box::new(detector)),
            None => shipped_detector(folder, device)?,
        };
        let (model, network) = match own.embedder {
            Some(network) => (network.id().to_string(), Embedder::Own(Box::new(network))),
            None => shipped_embedder(folder, embedder, device)?,
        };
        Self::of(detector, network, model, options, device)
    }

    fn of(detector: Faces, embedder: Embedder, model: String, options: FindOptions, device: &Device) -> Result<Self> {
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads.min(64),
        };
        let workers = (0..threads)
            .map(|_| ThreadPoolBuilder::new().num_threads(1).build())
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| Error::Setting {
                key: "threads",
                value: threads.to_string(),
                remedy: format!("ask for fewer ({error})"),
            })?;
        Ok(Self { detector, embedder, model, device: device.clone(), options, workers })
    }

    /// Identifies the embedder and its weights: templates of another one cannot be compared.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// What similarities of the embedder mean: shipped with it, or in the description of a user's own.
    ///
    /// # Errors
    /// `Error::Onnx` for an embedder of the user's own without a calibration, with the command that measures one.
    pub fn calibration(&self) -> Result<Calibration> {
        match &self.embedder {
            Embedder::MobileFaceNet(_) => Calibration::shipped(EmbedderKind::MobileFaceNet),
            Embedder::Dlib(_) => Calibration::shipped(EmbedderKind::Dlib),
            #[cfg(feature = "onnx")]
            Embedder::Own(network) => network.calibration().cloned(),
        }
    }

    /// Refuses thresholds that were not measured with the user's own embedder.
    #[cfg(feature = "onnx")]
    pub(crate) fn check_calibration(&self, calibration: &Calibration) -> Result<()> {
        match &self.embedder {
            Embedder::Own(network) => network.check(calibration),
            _ => Ok(()),
        }
    }

    /// Numbers of an embedding.
    pub fn width(&self) -> usize {
        self.embedder.width()
    }

    /// How people are looked for.
    pub fn options(&self) -> &FindOptions {
        &self.options
    }

    /// The confirmed faces of a picture, best first, with embeddings of the good ones.
    ///
    /// # Errors
    /// [`Error::Device`] when the device cannot compute.
    pub fn faces(&self, picture: &RgbImage) -> Result<Vec<SeenFace>> {
        self.alone(0, || self.look(picture))
    }

    /// As [`faces`](Self::faces), of several pictures side by side.
    ///
    /// # Errors
    /// As [`faces`](Self::faces).
    pub fn faces_of(&self, pictures: &[&RgbImage]) -> Result<Vec<Vec<SeenFace>>> {
        let workers = self.workers.len().min(pictures.len());
        if workers <= 1 {
            return pictures.iter().map(|picture| self.faces(picture)).collect();
        }
        let following = AtomicUsize::new(0);
        let work = |worker: usize| -> Vec<(usize, Result<Vec<SeenFace>>)> {
            self.alone(worker, || {
                let mut done = Vec::new();
                loop {
                    let number = following.fetch_add(1, Ordering::Relaxed);
                    let Some(picture) = pictures.get(number) else { return done };
                    done.push((number, self.look(picture)));
                }
            })
        };
        let work = &work;
        let mut done: Vec<(usize, Result<Vec<SeenFace>>)> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|worker| scope.spawn(move || work(worker))).collect();
            let mut done = work(0);
            for other in others {
                match other.join() {
                    Ok(part) => done.extend(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        });
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, seen)| seen).collect()
    }

    /// Looks for people in frames that are in the order of time, given with their times in seconds.
    ///
    /// Tracks come in the order in which they begin. Two tracks that share a frame are never one person.
    ///
    /// # Errors
    /// As [`faces`](Self::faces).
    pub fn find(&self, frames: &[RgbImage], seconds: &[f64]) -> Result<Vec<Track>> {
        let pictures: Vec<&RgbImage> = frames.iter().collect();
        let mut linker = self.linker();
        for (frame, seen) in self.faces_of(&pictures)?.into_iter().enumerate() {
            linker.push(frame, seconds.get(frame).copied().unwrap_or(frame as f64), seen);
        }
        Ok(linker.finish())
    }

    /// Looks once more at the best face of each of these people, turned by 180 degrees: in a picture that is upside down the
    /// finder sees faces, too, with eyes where the mouth is. Such faces no longer count as good; returns whether there are any.
    ///
    /// Measured in docs/people-benchmarks.md. A detector of the user's own is trusted.
    ///
    /// # Errors
    /// As [`faces`](Self::faces).
    pub fn mark_upside_down(&self, tracks: &mut [Track], is_asked: impl Fn(usize) -> bool) -> Result<bool> {
        let mut people: Vec<usize> = tracks.iter().map(|track| track.person).filter(|&person| is_asked(person)).collect();
        people.sort_unstable();
        people.dedup();
        let mut found = false;
        for person in people {
            let own = tracks.iter().filter(|track| track.person == person);
            let Some(best) = own.max_by_key(|track| track.good_faces) else { continue };
            if !self.is_upside_down(best)? {
                continue;
            }
            found = true;
            for track in tracks.iter_mut().filter(|track| track.person == person) {
                (track.embedding, track.good_faces, track.telling_faces) = (None, 0, 0);
                track.sightings.iter_mut().for_each(|sighting| sighting.flaws.insert(0, Flaw::UpsideDown));
            }
        }
        Ok(found)
    }

    fn is_upside_down(&self, track: &Track) -> Result<bool> {
        match &self.detector {
            Faces::Shipped(detector) => self.holds_more_turned(track, detector),
            #[cfg(feature = "onnx")]
            Faces::Own(_) => Ok(false),
        }
    }

    /// Whether more of a face is found in the best one of a track when that is turned by 180 degrees.
    fn holds_more_turned(&self, track: &Track, detector: &Detector) -> Result<bool> {
        let good = track.sightings.iter().filter(|sighting| sighting.flaws.is_empty());
        let best = good.max_by(|one, other| one.quality.rank().total_cmp(&other.quality.rank()));
        let (Some(best), Some(portrait)) = (best, &track.portrait) else { return Ok(false) };
        self.alone(0, || {
            let turned = image::imageops::rotate180(portrait);
            let Some(face) = detector.filling(&turned)? else { return Ok(false) };
            if !self.embedder.has_strength() {
                let upright = detector.filling(portrait)?.map_or(0.0, |face| face.score);
                return Ok(face.score > CONFIRMED && upright < 0.5);
            }
            // Faces that identify a person score 0.97 and more when they are turned upright; most others end here.
            if face.score < 0.5 {
                return Ok(false);
            }
            let Some(aligned) = align(&turned, &face.landmarks, self.embedder.side()) else { return Ok(false) };
            let (_, strength) = self.embedder.embed(&aligned, &self.device)?;
            // Blurred faces hold as little either way.
            Ok(strength >= 1.0 && strength > best.quality.strength)
        })
    }

    /// Links faces by what cosines of this embedder mean; by common ones where a user's own has no calibration.
    pub(crate) fn linker(&self) -> Linker {
        Linker::new(self.alike())
    }

    pub(crate) fn alike(&self) -> Alike {
        self.calibration().map_or(Alike::MOBILEFACENET, |calibration| Alike::of(&calibration))
    }

    /// The embedding of a face that is known to be there, whatever its quality; unit length. `None` where the points of the
    /// face coincide.
    ///
    /// # Errors
    /// As [`faces`](Self::faces).
    pub fn embed(&self, picture: &RgbImage, face: &Face) -> Result<Option<Vec<f32>>> {
        let Some(aligned) = align(picture, &face.landmarks, self.embedder.side()) else { return Ok(None) };
        let (embedding, _) = self.alone(0, || self.embedder.embed(&aligned, &self.device))?;
        Ok(Some(embedding))
    }

    /// Runs one network by itself, on one thread: to hold it against another implementation, or to time it. `values` are
    /// normalised as the network wants them, `[n, 3, height, width]`; the outputs come flat, in the order that [`Network`]
    /// gives.
    ///
    /// # Errors
    /// [`Error::Setting`] for values that do not fill the shape, or a network that a user's own replaces, [`Error::Device`].
    pub fn compute(&self, network: Network, values: Vec<f32>, shape: [usize; 4]) -> Result<Vec<Vec<f32>>> {
        if shape[1] != 3 || shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side)) != Some(values.len()) {
            let value = format!("{shape:?} for {} values", values.len());
            return Err(Error::Setting { key: "shape", value, remedy: "give n x 3 x height x width values".into() });
        }
        let all = |outputs: &mut dyn Iterator<Item = Maps>, what| outputs.map(|output| output.planes(what)).collect();
        self.alone(0, || {
            let input = Maps::of_planes(values, shape, &self.device);
            match (network, &self.detector) {
                (Network::Embedder, _) => all(&mut [self.embedder.forward(&input)?].into_iter(), "the face embedder"),
                (Network::BlazeFace, Faces::Shipped(shipped)) => shipped.blazeface.forward(&input).map(Vec::from),
                (Network::PNet, Faces::Shipped(shipped)) => all(&mut shipped.pnet.forward(&input).into_iter(), "PNet"),
                (Network::RNet, Faces::Shipped(shipped)) => all(&mut shipped.rnet.forward(&input).into_iter(), "RNet"),
                (Network::ONet, Faces::Shipped(shipped)) => all(&mut shipped.onet.forward(&input).into_iter(), "ONet"),
                #[cfg(feature = "onnx")]
                (_, Faces::Own(_)) => Err(crate::onnx::not_shipped(network)),
            }
        })
    }

    /// Computes on one thread, so that several frames do not wait for each other's parts.
    fn alone<T: Send>(&self, worker: usize, work: impl FnOnce() -> T + Send) -> T {
        match self.workers.get(worker) {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    fn look(&self, picture: &RgbImage) -> Result<Vec<SeenFace>> {
        let faces = match &self.detector {
            Faces::Shipped(detector) => detector.find(picture, self.options.search, self.options.confirmed)?,
            #[cfg(feature = "onnx")]
            Faces::Own(detector) => detector.find(picture)?,
        };
        let mut seen = Vec::with_capacity(faces.len());
        for face in faces {
            let Some(portrait) = align(picture, &face.landmarks, self.embedder.side()) else { continue };
            let mut quality = Quality::measure(&face, &portrait, [picture.width(), picture.height()]);
            let flaws = quality.flaws(&self.options.limits);
            let mut embedding = None;
            if flaws.is_empty() {
                let (found, strength) = self.embedder.embed(&portrait, &self.device)?;
                (embedding, quality.strength) = (Some(found), strength);
            }
            seen.push(SeenFace { face, quality, flaws, embedding, portrait });
        }
        Ok(seen)
    }
}

fn read(folder: &Path, name: &str, device: &Device) -> Result<Weights> {
    let bytes = models::open(name, folder)?;
    Weights::from_bytes(&folder.join(format!("{name}.safetensors")), &bytes, device)
}

fn shipped_detector(folder: &Path, device: &Device) -> Result<Faces> {
    let mut mtcnn = read(folder, "mtcnn", device)?;
    let (pnet, rnet, onet) = (PNet::take(&mut mtcnn)?, RNet::take(&mut mtcnn)?, ONet::take(&mut mtcnn)?);
    mtcnn.finish()?;
    let blazeface = BlazeFace::take(read(folder, "blazeface", device)?)?;
    Ok(Faces::Shipped(Box::new(Detector { blazeface, pnet, rnet, onet, device: device.clone() })))
}

/// An embedder, with the id of its weights.
fn shipped_embedder(folder: &Path, embedder: EmbedderKind, device: &Device) -> Result<(String, Embedder)> {
    let weights = read(folder, embedder.name(), device)?;
    let network = match embedder {
        EmbedderKind::MobileFaceNet => Embedder::MobileFaceNet(Box::new(MobileFaceNet::take(weights)?)),
        EmbedderKind::Dlib => Embedder::Dlib(Box::new(DlibResNet::take(weights)?)),
    };
    Ok((models::find(embedder.name())?.id(), network))
}
