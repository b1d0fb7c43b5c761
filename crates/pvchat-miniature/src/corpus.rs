//! The corpus of strangers that ships with the miniature: seeds and embeddings; only chosen clips are rendered.

use image::RgbImage;
use pvchat_augment::{ClipKind, ClipKinds, Corpus, Failure, SimilarityScale};
use pvchat_data::random::SeededStream;
use pvchat_model::{Error, Result, sight::Readout, vilm::Vilm};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    footage,
    world::{FRAMES, Identity, Scene, SceneOptions},
};

/// Strangers in rendered clips, known by their identity embeddings.
#[derive(Clone, Debug)]
pub struct MiniatureCorpus {
    seed: u64,
    side: u32,
    width: usize,
    /// Per clip the embeddings of its left and right person.
    embeddings: Vec<[Vec<f32>; 2]>,
    similarity: Option<SimilarityScale>,
    kinds: Option<ClipKinds>,
}

/// The scene of a corpus clip; a quarter of them hold two people.
pub fn scene(seed: u64, clip: usize) -> Scene {
    let mut stream = SeededStream::new(seed).derive(format_args!("corpus clip {clip}"));
    let mut people = vec![Identity::random(&mut stream)];
    if stream.chance(0.25) {
        people.push(Identity::random(&mut stream));
    }
    Scene::random(&people, SceneOptions::default(), &mut stream)
}

/// Empty places of a corpus, and their seed.
const EMPTY_SCENES: usize = 40;
/// See `EMPTY_SCENES`.
const EMPTY_SCENES_SEED: u64 = 77;

/// Empty places, for putting a person elsewhere.
pub fn empty_scenes(count: usize, side: u32, seed: u64) -> Vec<Vec<RgbImage>> {
    let root = SeededStream::new(seed);
    (0..count)
        .into_par_iter()
        .map(|number| {
            Scene::random(&[], SceneOptions::default(), &mut root.derive(format_args!("empty scene {number}")))
                .render(side)
                .frames
        })
        .collect()
}

const EMBEDDINGS: &str = "identity";
const SEED: &str = "seed";
const SIMILARITY: &str = "similarity";
const KINDS: &str = "clip_kinds";
/// People that the meaning of a similarity is measured on.
const MEASURED_PEOPLE: usize = 400;
/// Drawn clips with people that the kinds of clips are fitted to; half as many are empty, and as many imitate footage.
const MEASURED_CLIPS: usize = 1600;
/// Clips of one colour, some with grain, that they are fitted to.
const PLAIN_CLIPS: usize = 400;

impl MiniatureCorpus {
    /// Renders and encodes `clips` clips. `footage` holds filmed clips, of [`FRAMES`] frames each: what is to be refused.
    ///
    /// # Errors
    /// What the model reports.
    pub fn make(vilm: &Vilm, seed: u64, clips: usize, footage: &[Vec<RgbImage>]) -> Result<Self> {
        let side = vilm.image_size() as u32;
        let width = vilm.config().vision.identity_width().unwrap_or(0);
        let scenes: Vec<Scene> = (0..clips).map(|clip| scene(seed, clip)).collect();
        let embeddings = embeddings(vilm, &scenes)?;
        let (similarity, kinds) = (measure_similarity(vilm, seed)?, measure_kinds(vilm, seed, footage)?);
        Ok(Self { seed, side, width, embeddings, similarity, kinds })
    }

    /// The same strangers with the kinds of clips measured again, as by [`make`](Self::make).
    ///
    /// # Errors
    /// What the model reports.
    pub fn with_kinds(mut self, vilm: &Vilm, footage: &[Vec<RgbImage>]) -> Result<Self> {
        self.kinds = measure_kinds(vilm, self.seed, footage)?;
        Ok(self)
    }

    /// The classifier that separates drawn clips with people from empty ones and from other footage, by the read-outs of the
    /// encoder.
    pub fn kinds(&self) -> Option<&ClipKinds> {
        self.kinds.as_ref()
    }

    /// The bytes of the file that [`from_bytes`](Self::from_bytes) reads.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be serialised.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let failure = |error: safetensors::SafeTensorError| broken(&error.to_string());
        let data: Vec<u8> = self.embeddings.iter().flatten().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![self.embeddings.len(), 2, self.width], &data).map_err(failure)?;
        let mut about = std::collections::HashMap::from([(SEED.to_string(), self.seed.to_string())]);
        if let Some(scale) = &self.similarity {
            about.insert(SIMILARITY.into(), format!("{} {}", scale.midpoint, scale.slope));
        }
        let weights = self.kinds.as_ref().map(ClipKinds::weights);
        let bytes: Vec<u8> = weights.into_iter().flatten().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let mut views = vec![(EMBEDDINGS, view)];
        if let Some([row, ..]) = weights {
            views.push((KINDS, TensorView::new(Dtype::F32, vec![3, row.len()], &bytes).map_err(failure)?));
        }
        safetensors::serialize(views, Some(about)).map_err(failure)
    }

    /// Reads the file; `side` is the side of the frames to render.
    ///
    /// # Errors
    /// [`Error::File`] when it is damaged.
    pub fn from_bytes(bytes: &[u8], side: u32) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| broken(&error.to_string()))?;
        let about = |key: &str| header.metadata().as_ref().and_then(|metadata| metadata.get(key));
        let seed = about(SEED).and_then(|seed| seed.parse().ok()).ok_or_else(|| broken("no seed"))?;
        let similarity = match about(SIMILARITY) {
            None => None,
            Some(text) => match text.split(' ').map(str::parse).collect::<std::result::Result<Vec<f32>, _>>().as_deref() {
                Ok(&[midpoint, slope]) if midpoint.is_finite() && slope.is_finite() && slope > 0.0 => {
                    Some(SimilarityScale { midpoint, slope })
                }
                _ => return Err(broken(&format!("similarity scale {text:?}"))),
            },
        };
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(&error.to_string()))?;
        let view = tensors.tensor(EMBEDDINGS).map_err(|error| broken(&error.to_string()))?;
        let &[_, 2, width] = view.shape() else { return Err(broken(&format!("shape {:?}", view.shape()))) };
        if view.dtype() != Dtype::F32 || width == 0 {
            return Err(broken("embeddings are not F32"));
        }
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
        let embeddings = values.chunks_exact(2 * width).map(|pair| [pair[..width].to_vec(), pair[width..].to_vec()]).collect();
        let kinds = match tensors.tensor(KINDS) {
            Err(_) => None,
            Ok(view) => {
                let &[3, size] = view.shape() else { return Err(broken(&format!("`{KINDS}` has shape {:?}", view.shape()))) };
                let values: Vec<f32> =
                    view.data().chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
                let rows = std::array::from_fn(|row| values.get(row * size..(row + 1) * size).unwrap_or_default().to_vec());
                let kinds = ClipKinds::from_weights(rows).filter(|_| view.dtype() == Dtype::F32);
                Some(kinds.ok_or_else(|| broken(&format!("`{KINDS}` holds no weights")))?)
            }
        };
        Ok(Self { seed, side, width, embeddings, similarity, kinds })
    }

    /// The scene of a clip, with its truth.
    pub fn scene(&self, clip: usize) -> Scene {
        scene(self.seed, clip)
    }
}

/// The identity embeddings of the left and right person of drawn scenes.
fn embeddings(vilm: &Vilm, scenes: &[Scene]) -> Result<Vec<[Vec<f32>; 2]>> {
    let (side, width) = (vilm.image_size() as u32, vilm.config().vision.identity_width().unwrap_or(0));
    let parts: Result<Vec<Vec<[Vec<f32>; 2]>>> = scenes
        .par_chunks(16)
        .map(|chunk| {
            let rendered: Vec<_> = chunk.iter().map(|scene| scene.render(side).frames).collect();
            let memory = vilm.look(&rendered.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
            let values: Vec<f32> = memory.identity.into_data().iter::<f32>().collect();
            Ok(values.chunks(2 * width).map(|pair| [pair[..width].to_vec(), pair[width..].to_vec()]).collect())
        })
        .collect();
    Ok(parts?.concat())
}

/// What a similarity means: the same person in two clips against look-alikes with one, two and three differences.
fn measure_similarity(vilm: &Vilm, seed: u64) -> Result<Option<SimilarityScale>> {
    let mut stream = SeededStream::new(seed).derive("similarity");
    let scenes: Vec<Scene> = (0..MEASURED_PEOPLE)
        .flat_map(|number| {
            let person = Identity::random(&mut stream);
            let look_alike = person.look_alike(1 + number % 3, &mut stream);
            [person, person, look_alike].map(|who| Scene::random(&[who], SceneOptions::default(), &mut stream))
        })
        .collect();
    let seen = embeddings(vilm, &scenes)?;
    let cosine = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    let (same, others): (Vec<f32>, Vec<f32>) =
        seen.chunks_exact(3).map(|three| (cosine(&three[0][0], &three[1][0]), cosine(&three[0][0], &three[2][0]))).unzip();
    Ok(SimilarityScale::fit(&same, &others))
}

/// The encoder's read-outs of clips.
fn readouts(vilm: &Vilm, clips: &[Vec<RgbImage>]) -> Result<Vec<Vec<f32>>> {
    let parts: Result<Vec<Vec<Vec<f32>>>> = clips
        .par_chunks(16)
        .map(|chunk| {
            let prepared: Vec<_> = chunk.iter().map(|clip| vilm.prepare(clip)).collect();
            let memory = vilm.look(&prepared.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
            let [_, tokens, width] = memory.tokens.dims();
            let values: Vec<f32> = memory.tokens.into_data().iter::<f32>().collect();
            let first = tokens.saturating_sub(Readout::COUNT) * width;
            Ok(values.chunks(tokens * width).map(|clip| clip[first..].to_vec()).collect())
        })
        .collect();
    Ok(parts?.concat())
}

/// Fits the classifier that separates drawn clips with people from empty ones, and both from filmed clips and imitations of them.
fn measure_kinds(vilm: &Vilm, seed: u64, footage: &[Vec<RgbImage>]) -> Result<Option<ClipKinds>> {
    let mut stream = SeededStream::new(seed).derive("clip kinds");
    let side = vilm.image_size() as u32;
    let mut drawn = |count: usize, most: usize| -> Vec<Vec<RgbImage>> {
        let scenes: Vec<Scene> = (0..count)
            .map(|number| {
                let people: Vec<Identity> = (0..most.min(1 + number % 3 / 2)).map(|_| Identity::random(&mut stream)).collect();
                Scene::random(&people, SceneOptions::default(), &mut stream)
            })
            .collect();
        scenes.par_iter().map(|scene| scene.render(side).frames).collect()
    };
    let (person, mut nobody) = (drawn(MEASURED_CLIPS, 2), drawn(MEASURED_CLIPS / 2, 0));
    nobody.extend((0..PLAIN_CLIPS).map(|number| {
        // Every fourth is black, white or grey.
        let level = [0.0, 255.0, stream.range(0.0, 255.0)][number / 4 % 3];
        let colour = if number % 4 == 0 { [level; 3] } else { std::array::from_fn(|_| stream.range(0.0, 255.0)) };
        let grain = stream.range(-4.0_f32, 4.0).max(0.0);
        let mut pixel = || image::Rgb(colour.map(|value| (value + grain * stream.normal()) as u8));
        (0..FRAMES).map(|_| RgbImage::from_fn(side, side, |_, _| pixel())).collect()
    }));
    let mut foreign: Vec<Vec<RgbImage>> = (0..MEASURED_CLIPS).map(|_| footage::imitation(&mut stream)).collect();
    foreign.extend(footage.iter().cloned());
    let [person, nobody, foreign] = [person, nobody, foreign].map(|clips| readouts(vilm, &clips));
    Ok(ClipKinds::fit(&person?, &nobody?, &foreign?))
}

fn broken(problem: &str) -> Error {
    Error::File {
        file: "corpus.safetensors".into(),
        problem: problem.into(),
        remedy: "use the file that came with the weights".into(),
    }
}

impl Corpus for MiniatureCorpus {
    fn len(&self) -> usize {
        self.embeddings.len()
    }

    fn people(&self, clip: usize) -> Vec<&[f32]> {
        let people = self.scene(clip).people.len();
        self.embeddings.get(clip).map_or_else(Vec::new, |pair| pair.iter().take(people).map(Vec::as_slice).collect())
    }

    fn frames(&self, clip: usize) -> std::result::Result<Vec<RgbImage>, Failure> {
        Ok(self.scene(clip).render(self.side).frames)
    }

    fn scenes(&self) -> Vec<Vec<RgbImage>> {
        empty_scenes(EMPTY_SCENES, self.side, EMPTY_SCENES_SEED)
    }

    fn similarity(&self) -> Option<SimilarityScale> {
        self.similarity
    }

    fn kind(&self, tokens: &[f32]) -> ClipKind {
        let Some(kinds) = &self.kinds else { return ClipKind::Unknown };
        // The read-outs are the last tokens.
        kinds.kind(tokens.get(tokens.len().saturating_sub(kinds.features())..).unwrap_or_default())
    }
}
