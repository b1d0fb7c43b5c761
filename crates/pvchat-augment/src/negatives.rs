//! Negatives: which clips of a corpus are used against the learned person, by similarity and at random.

use image::RgbImage;
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use crate::{ClipKind, Error, Failure, Result, SimilarityScale};

/// Clips of other people, known by the identity embeddings of the people in them; only chosen clips are ever drawn or
/// decoded.
pub trait Corpus: Sync {
    /// The number of clips.
    fn len(&self) -> usize;

    /// Whether there are no clips.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identity embeddings of the people in a clip, all of the encoder's width; none for a clip without people.
    fn people(&self, clip: usize) -> Vec<&[f32]>;

    /// The frames of a clip.
    ///
    /// # Errors
    /// Whatever keeps the corpus from giving them; it reaches the caller as [`Error::Corpus`].
    fn frames(&self, clip: usize) -> std::result::Result<Vec<RgbImage>, Failure>;

    /// Clips of empty places that people are put in while they are learned; none for a corpus that has none.
    fn scenes(&self) -> Vec<Vec<RgbImage>> {
        Vec::new()
    }

    /// What a similarity means for the encoder that made the embeddings, if somebody has measured it.
    fn similarity(&self) -> Option<SimilarityScale> {
        None
    }

    /// What kind of clip it is of which the encoder made `tokens`, if somebody has measured that for the encoder.
    fn kind(&self, _tokens: &[f32]) -> ClipKind {
        ClipKind::Unknown
    }
}

/// An empty corpus, for learning from the caller's own clips, where no strangers are needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Corpus for Nobody {
    fn len(&self) -> usize {
        0
    }

    fn people(&self, _clip: usize) -> Vec<&[f32]> {
        Vec::new()
    }

    fn frames(&self, _clip: usize) -> std::result::Result<Vec<RgbImage>, Failure> {
        Err("a corpus of nobody has no clips".into())
    }
}

/// How many negatives to choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NegativeConfig {
    /// How many of the most similar clips.
    pub hard: usize,
    /// How many of the others, at random.
    pub random: usize,
    /// Clips with someone more similar than this (cosine) are skipped: they may show the learned person.
    pub ceiling: f32,
}

impl Default for NegativeConfig {
    fn default() -> Self {
        Self { hard: 41, random: 23, ceiling: 0.97 }
    }
}

/// Why a negative was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NegativeKind {
    /// It shows someone similar.
    Hard,
    /// At random.
    Random,
}

/// A chosen clip of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Negative {
    /// Its place in the corpus.
    pub clip: usize,
    /// The greatest cosine between someone in it and the reference; -1 for a clip without people.
    pub similarity: f32,
    /// Why it was chosen.
    pub kind: NegativeKind,
}

/// Chooses the hard negatives, most similar first, then the random ones; no clip twice.
///
/// A corpus with too few clips below the ceiling gives fewer negatives, hard ones first.
///
/// # Errors
/// [`Error::Setting`], [`Error::EmptyCorpus`], [`Error::NoStrangers`], [`Error::Embedding`], [`Error::EmbeddingWidth`].
pub fn choose_negatives(
    reference: &[f32],
    corpus: &dyn Corpus,
    config: &NegativeConfig,
    stream: &mut SeededStream,
) -> Result<Vec<Negative>> {
    let NegativeConfig { hard, random, ceiling } = *config;
    if ceiling.is_nan() {
        return Err(Error::Setting { key: "ceiling", value: ceiling.to_string(), expected: "a cosine, for example 0.97" });
    }
    if corpus.is_empty() {
        return Err(Error::EmptyCorpus);
    }
    let length = length_of(reference, || "the reference".into())?;
    let mut strangers = Vec::with_capacity(corpus.len());
    for clip in 0..corpus.len() {
        let mut similarity = -1.0_f32;
        for (person, embedding) in corpus.people(clip).into_iter().enumerate() {
            let name = || format!("person {person} of clip {clip} of the corpus");
            if embedding.len() != reference.len() {
                return Err(Error::EmbeddingWidth { of: name(), found: embedding.len(), expected: reference.len() });
            }
            let dot: f32 = embedding.iter().zip(reference).map(|(one, other)| one * other).sum();
            similarity = similarity.max(dot / (length * length_of(embedding, name)?));
        }
        if similarity <= ceiling {
            strangers.push(Negative { clip, similarity, kind: NegativeKind::Random });
        }
    }
    if strangers.is_empty() {
        return Err(Error::NoStrangers { clips: corpus.len(), ceiling });
    }
    strangers.sort_by(|one, other| other.similarity.total_cmp(&one.similarity).then(one.clip.cmp(&other.clip)));
    let others = strangers.split_off(hard.min(strangers.len()));
    let mut chosen: Vec<Negative> = strangers.into_iter().map(|near| Negative { kind: NegativeKind::Hard, ..near }).collect();
    chosen.extend(stream.sample(others.len(), random).into_iter().map(|place| others[place]));
    Ok(chosen)
}

/// The Euclidean length of an embedding, which has to be positive and finite.
fn length_of(embedding: &[f32], name: impl FnOnce() -> String) -> Result<f32> {
    let length = embedding.iter().map(|number| number * number).sum::<f32>().sqrt();
    // Also false for NaN.
    if length > 0.0 && length.is_finite() { Ok(length) } else { Err(Error::Embedding { of: name() }) }
}
