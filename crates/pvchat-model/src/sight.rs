//! What a vision encoder made of clips, once; everything else works on it.

use burn::prelude::*;

/// A stretch of the pictures that were looked at, in the order of the prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// A clip as that many tiles, each of which holds all frames.
    Tiles(usize),
    /// A clip as one picture per frame.
    Video {
        /// The time of each frame in seconds.
        seconds: Vec<f64>,
        /// The length of the clip in seconds.
        duration: f64,
    },
    /// One picture by itself.
    Picture,
}

impl Shown {
    /// Pictures in this stretch; a tile counts as one.
    pub fn pictures(&self) -> usize {
        match self {
            Self::Tiles(tiles) => *tiles,
            Self::Video { seconds, .. } => seconds.len(),
            Self::Picture => 1,
        }
    }
}

/// What later stages see of a batch of clips; made once per clip.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Vision tokens `[batch, pictures * tokens, encoder_width]`, picture by picture.
    pub tokens: Tensor<3>,
    /// Unit-length identity embeddings of the people `[batch, people, identity_width]`; empty for
    /// encoders that do not distinguish people.
    pub identity: Tensor<3>,
    /// What the pictures are; the same for every clip of the batch.
    pub shown: Vec<Shown>,
}

impl Sight {
    /// All pictures of a clip.
    pub fn pictures(&self) -> usize {
        self.shown.iter().map(Shown::pictures).sum()
    }

    /// This and what was looked at elsewhere as one: first the pictures of this, then those of `other`. The people are those
    /// of this.
    pub fn join(&self, other: &Self) -> Self {
        Self {
            tokens: Tensor::cat(vec![self.tokens.clone(), other.tokens.clone()], 1),
            identity: self.identity.clone(),
            shown: self.shown.iter().chain(&other.shown).cloned().collect(),
        }
    }
}
