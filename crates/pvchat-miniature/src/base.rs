//! The base model of the miniature: its configuration.

use pvchat_model::{
    families::{VisionConfig, miniature},
    personal::{Matching, PersonalConfig},
    qformer::{Activation, NormPlacement},
    vilm::VilmConfig,
};
use pvchat_nn::moh::Routing;
use pvchat_train::objective::ObjectiveConfig;

use crate::supervision::Supervision;

/// What bases are compared in; the default is the shipped one.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// Whether the base is taught who people are; [`plain`](Self::plain) is not.
    pub people: bool,
    /// Routing of the Q-Former's heads.
    pub routing: Routing,
    /// Personal query tokens of a subject.
    pub personal_tokens: usize,
    /// How these learn who is in the clip.
    pub matching: Matching,
    /// What holds the routed heads to their target share.
    pub objective: ObjectiveConfig,
    /// Where the norms of the Q-Former are placed.
    pub norm: NormPlacement,
    /// Non-linearity of the Q-Former's feed-forward.
    pub activation: Activation,
    /// Whether cross-attention begins with keys projected as queries are.
    pub tie_key_to_query: bool,
}

impl Default for Design {
    fn default() -> Self {
        let objective = ObjectiveConfig { initial_lambda: 1e-4, adaptation_rate: 0.01, ..ObjectiveConfig::straight_through() };
        Self {
            people: true,
            routing: ROUTING,
            personal_tokens: 16,
            matching: Matching::Tokens,
            objective,
            norm: NormPlacement::Pre,
            activation: Activation::Relu,
            tie_key_to_query: true,
        }
    }
}

impl Design {
    /// The base that sees and describes people and knows nobody in particular: no identity embedding, no part that makes
    /// personal parameters from a look, and nothing named in its pretraining.
    pub fn plain() -> Self {
        Self { people: false, ..Self::default() }
    }

    /// The miniature's configuration for a vocabulary of that size.
    pub fn config(&self, vocabulary: usize) -> VilmConfig {
        let mut config = miniature::config(vocabulary, self.routing);
        if !self.people {
            config.name = "plain".into();
            config.vision = VisionConfig::Miniature(Supervision::Descriptions.encoder());
        }
        if let Some(bridge) = config.answer.qformer_mut() {
            let matching = self.matching;
            bridge.personal =
                bridge.personal.take().filter(|_| self.people).map(|personal| PersonalConfig { matching, ..personal });
            bridge.personal_query_tokens = self.personal_tokens;
            let qformer = &mut bridge.qformer;
            (qformer.norm, qformer.activation) = (self.norm, self.activation);
            qformer.tie_key_to_query_at_start = self.tie_key_to_query;
        }
        config
    }

    /// The attentions whose heads are routed.
    pub fn routed_modules(&self) -> usize {
        // The size of the vocabulary changes nothing about them.
        self.config(1).answer.qformer().map_or(0, |bridge| bridge.qformer.routed_modules())
    }
}

/// The routing of the shipped model: 4 shared heads and 4 routed by ReLU, starting as plain attention.
pub const ROUTING: Routing = Routing::Relu { shared: 4, rescale: true };
