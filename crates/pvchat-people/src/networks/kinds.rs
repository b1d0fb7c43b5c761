//! Their names.

/// Which network embeds faces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmbedderKind {
    /// MobileFaceNet, 192 numbers: the more accurate one.
    #[default]
    MobileFaceNet,
    /// The ResNet of dlib, 128 numbers, whose weights are in the public domain.
    Dlib,
}

impl EmbedderKind {
    /// Its name in the catalogue of models.
    pub fn name(self) -> &'static str {
        match self {
            Self::MobileFaceNet => "mobilefacenet",
            Self::Dlib => "dlib",
        }
    }
}

/// One of the networks, see [`Finder::compute`](crate::Finder::compute).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// `[n, 3, 256, 256]` to boxes and points `[n, 896, 16]`, and logits `[n, 896]`.
    BlazeFace,
    /// `[n, 3, h, w]` to moves of boxes `[n, 4, ..]`, and probabilities `[n, 2, ..]`.
    PNet,
    /// `[n, 3, 24, 24]` to moves `[n, 4]`, and probabilities `[n, 2]`.
    RNet,
    /// `[n, 3, 48, 48]` to moves `[n, 4]`, probabilities `[n, 2]`, and points `[n, 10]`.
    ONet,
    /// Aligned faces `[n, 3, side, side]` to embeddings that are not normalised.
    Embedder,
}
