//! From the encoder's output for a clip to embeddings that the language model reads.

use burn::prelude::*;
use pvchat_nn::{
    moh::Gates,
    packed::{Precision, Weights},
    trace::Trace,
};

pub mod connector;
pub mod qformer;

pub use connector::{Connector, ConnectorConfig};
pub use qformer::{QFormerBridge, QFormerBridgeConfig};

use crate::{Error, Result, module_enum::module_enum, personal::PersonalTensors, sight::Sight};

/// The visual part of a prompt.
#[derive(Clone, Debug)]
pub struct Visual {
    /// `[batch, pictures * tokens, hidden]` in the language model's space, picture by picture.
    pub embeddings: Tensor<3>,
    /// Pictures of a clip.
    pub pictures: usize,
    /// The routed attentions' gates, by module name; their first axis is `batch * pictures`.
    pub gates: Vec<(String, Gates)>,
    /// The personal queries' last states `[batch * pictures, subjects, tokens, width]`.
    pub personal_states: Option<Tensor<4>>,
}

/// Subjects that a question is about: their parameters, and the name slot of each, `[batch, subjects]`.
pub type Asked<'a> = (&'a PersonalTensors, Tensor<2, Int>);

/// Sizes of a [`Bridge`].
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // there is one per model
pub enum BridgeConfig {
    /// A Q-Former.
    QFormer(QFormerBridgeConfig),
    /// Neighbouring patches joined and projected.
    PixelShuffle(ConnectorConfig),
}

/// The bridge of a model. As a module it is the bridge itself.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // there is one per model
pub enum Bridge {
    /// Queries that read the clip, those of a subject among them.
    QFormer(QFormerBridge),
    /// Neighbouring patches of a picture side by side, and a projection.
    PixelShuffle(Connector),
}

module_enum!(Bridge { QFormer, PixelShuffle });

impl Bridge {
    /// The parameter whose weights can be packed, where there is one.
    pub(crate) fn packable(&self) -> Option<&'static str> {
        match self {
            Self::QFormer(_) => None,
            Self::PixelShuffle(_) => Some("modality_projection.proj.weight"),
        }
    }

    /// Packs its [weights](Self::packable).
    pub(crate) fn pack(&mut self, precision: Precision, weights: &Weights) -> Result<()> {
        match self {
            Self::QFormer(_) => Ok(()),
            Self::PixelShuffle(connector) => connector.pack(precision, weights),
        }
    }

    /// The visual tokens of clips for the subjects that the questions are about. Without subjects only what is general
    /// takes part.
    ///
    /// # Errors
    /// [`Error::Shape`] when the sight does not fit the bridge.
    pub fn visual(&self, sight: &Sight, subjects: Option<Asked<'_>>) -> Result<Visual> {
        self.visual_traced(sight, subjects, &mut Trace::off())
    }

    /// [`visual`](Self::visual) that shows the states on the way.
    ///
    /// # Errors
    /// As [`visual`](Self::visual).
    pub fn visual_traced(&self, sight: &Sight, subjects: Option<Asked<'_>>, trace: &mut Trace<'_>) -> Result<Visual> {
        match self {
            Self::QFormer(bridge) => bridge.visual(sight, subjects, trace),
            Self::PixelShuffle(connector) => joined(connector, sight, trace),
        }
    }

    /// The names of the states that are shown, in the order of computation.
    pub fn states(&self) -> Vec<String> {
        match self {
            Self::QFormer(bridge) => {
                let layers = (0..bridge.qformer.encoder.layer.len()).map(|layer| format!("qformer.layer{layer}"));
                layers.chain(["qformer.last_hidden_state", "project_up"].map(String::from)).collect()
            }
            Self::PixelShuffle(_) => ["pixel_shuffle", "connector"].map(String::from).into(),
        }
    }

    /// The subjects' rows of the word table and of the head, both `[batch, subjects, hidden]`, or several of each subject.
    pub fn rows(&self, subjects: Asked<'_>) -> [Tensor<3>; 2] {
        match self {
            Self::QFormer(bridge) => bridge.rows(subjects),
            Self::PixelShuffle(_) => [subjects.0.word_row.clone(), subjects.0.head_row.clone()],
        }
    }

    /// Parameters of a new subject from one look; see
    /// [`PersonalBridge::enrol`](crate::personal::PersonalBridge::enrol). `None` for a bridge without an amortised part.
    pub fn enrol(&self, readout: Tensor<3>, identity: Tensor<3>) -> Option<PersonalTensors> {
        match self {
            Self::QFormer(bridge) => bridge.enrol(readout, identity),
            Self::PixelShuffle(_) => None,
        }
    }

    /// The query tokens that every subject starts from, `[1, tokens, width]`; `[1, 0, 0]` for a bridge without queries.
    pub fn personal_tokens(&self) -> Tensor<3> {
        match self {
            Self::QFormer(bridge) => bridge.personal_query_tokens.val(),
            Self::PixelShuffle(connector) => Tensor::zeros([1, 0, 0], &connector.modality_projection.proj.weight.device()),
        }
    }
}

/// Every picture's patches, joined and projected.
fn joined(connector: &Connector, sight: &Sight, trace: &mut Trace<'_>) -> Result<Visual> {
    let ([batch, count, width], pictures) = (sight.tokens.dims(), sight.pictures());
    if pictures == 0 || !count.is_multiple_of(pictures) {
        return Err(wrong_sight([batch, count, width], format!("[batch, a multiple of {pictures} pictures, width]")));
    }
    let patches = sight.tokens.clone().reshape([batch * pictures, count / pictures, width]);
    let own = connector.modality_projection.proj.weight.val().dtype();
    let embeddings = connector.forward_traced(patches.cast(own), trace)?;
    let [_, tokens, hidden] = embeddings.dims();
    let embeddings = embeddings.reshape([batch, pictures * tokens, hidden]);
    Ok(Visual { embeddings, pictures, gates: Vec::new(), personal_states: None })
}

/// An error about a sight of another size.
pub(crate) fn wrong_sight(found: [usize; 3], expected: String) -> Error {
    Error::Shape { what: "memory", found: found.to_vec(), expected }
}
