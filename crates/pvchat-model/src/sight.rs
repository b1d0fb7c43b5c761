//! A vision encoder's output for clips, computed once; everything else works on it.

use burn::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A stretch of the pictures that were looked at, in the order of the prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// One image by itself: its tiles row by row, then the whole; the whole alone where both are 0.
    Image {
        /// Rows of tiles.
        rows: usize,
        /// Tiles in a row.
        columns: usize,
    },
}

impl Shown {
    /// One image that is not cut into tiles.
    pub const WHOLE: Self = Self::Image { rows: 0, columns: 0 };

    /// Pictures in this stretch; a tile counts as one.
    pub fn pictures(&self) -> usize {
        match self {
            Self::Tiles(tiles) => *tiles,
            Self::Video { seconds, .. } => seconds.len(),
            Self::Image { rows, columns } => rows * columns + 1,
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

/// What the last tokens of an encoder that distinguishes people mean, its read-outs in their order; a lone person is always
/// the left one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// Who the left person is.
    LeftIdentity,
    /// Who the right person is.
    RightIdentity,
    /// What the left person wears and does.
    LeftFacts,
    /// What the right person wears and does.
    RightFacts,
    /// Where the clip takes place.
    Scene,
}

impl Readout {
    /// Number of read-out tokens.
    pub const COUNT: usize = 5;
}

/// Names in a file of a [`Sight`].
const TOKENS: &str = "tokens";
const IDENTITY: &str = "identity";
/// One entry, because several come in any order.
const ENTRY: &str = "sight";

#[derive(Serialize, Deserialize)]
struct Entry {
    shown: Vec<Shown>,
    /// Over the tensors.
    sha256: String,
}

fn checksum<'b>(tensors: impl Iterator<Item = &'b [u8]>) -> String {
    let mut hash = Sha256::new();
    tensors.for_each(|bytes| hash.update(bytes));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Sight {
    /// All pictures of a clip.
    pub fn pictures(&self) -> usize {
        self.shown.iter().map(Shown::pictures).sum()
    }

    /// This as the bytes of a safetensors file, values in f32; `None` where the device cannot be read.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let parts = [(TOKENS, &self.tokens), (IDENTITY, &self.identity)];
        let values = parts.map(|(name, tensor)| {
            let bytes: Vec<u8> = tensor.to_data().iter::<f32>().flat_map(f32::to_le_bytes).collect();
            (name, tensor.dims().to_vec(), bytes)
        });
        let views = values.iter().map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
        let views: Vec<_> = views.collect::<Result<_, safetensors::SafeTensorError>>().ok()?;
        let sha256 = checksum(values.iter().map(|(_, _, bytes)| bytes.as_slice()));
        let entry = serde_json::to_string(&Entry { shown: self.shown.clone(), sha256 }).ok()?;
        safetensors::serialize(views, Some([(ENTRY.to_string(), entry)].into())).ok()
    }

    /// What [`to_bytes`](Self::to_bytes) wrote; `None` for anything else, for damage, and for values that are not finite.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Option<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
        let Entry { shown, sha256 } = serde_json::from_str(header.metadata().as_ref()?.get(ENTRY)?).ok()?;
        let tensors = SafeTensors::deserialize(bytes).ok()?;
        let views = [tensors.tensor(TOKENS).ok()?, tensors.tensor(IDENTITY).ok()?];
        if sha256 != checksum(views.iter().map(TensorView::data)) {
            return None;
        }
        let tensor = |name: &str| {
            let view = tensors.tensor(name).ok().filter(|view| view.dtype() == Dtype::F32)?;
            let shape: [usize; 3] = view.shape().try_into().ok()?;
            let number = |four: &[u8; 4]| f32::from_le_bytes(*four);
            let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(number).collect();
            let is_finite = values.iter().all(|value| value.is_finite());
            is_finite.then(|| Tensor::from_data(TensorData::new(values, shape), device))
        };
        Some(Self { tokens: tensor(TOKENS)?, identity: tensor(IDENTITY)?, shown })
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
