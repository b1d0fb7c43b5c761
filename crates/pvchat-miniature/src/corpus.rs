//! The corpus of strangers that ships with the miniature: seeds and embeddings; only chosen clips are rendered.

use image::RgbImage;
use pvchat_augment::{Corpus, Failure, SimilarityScale};
use pvchat_data::random::SeededStream;
use pvchat_model::{Error, Result, vilm::Vilm};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::world::{Identity, Scene, SceneOptions};

/// Strangers in rendered clips, known by their identity embeddings.
#[derive(Clone, Debug)]
pub struct MiniatureCorpus {
    seed: u64,
    side: u32,
    width: usize,
    /// Per clip the embeddings of its left and right person.
    embeddings: Vec<[Vec<f32>; 2]>,
    similarity: Option<SimilarityScale>,
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
/// People that the meaning of a similarity is measured on.
const MEASURED_PEOPLE: usize = 400;

impl MiniatureCorpus {
    /// Renders and encodes `clips` clips.
    ///
    /// # Errors
    /// What the model reports.
    pub fn make(vilm: &Vilm, seed: u64, clips: usize) -> Result<Self> {
        let side = vilm.image_size() as u32;
        let width = vilm.config().vision.identity_width().unwrap_or(0);
        let scenes: Vec<Scene> = (0..clips).map(|clip| scene(seed, clip)).collect();
        let embeddings = embeddings(vilm, &scenes)?;
        Ok(Self { seed, side, width, embeddings, similarity: measure_similarity(vilm, seed)? })
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
        safetensors::serialize([(EMBEDDINGS, view)], Some(about)).map_err(failure)
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
        Ok(Self { seed, side, width, embeddings, similarity })
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
}
