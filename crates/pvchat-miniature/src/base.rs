//! The base model of the miniature: its configuration.

use pvchat_model::{moh::Routing, vilm::VilmConfig};

/// The miniature's configuration for a vocabulary of that size and a routing of the Q-Former's heads.
pub fn config(vocabulary: usize, routing: Routing) -> VilmConfig {
    VilmConfig::miniature(vocabulary, routing)
}

/// The routing of the shipped model: 4 shared heads and 4 routed by ReLU, starting as plain attention.
pub const ROUTING: Routing = Routing::Relu { shared: 4, rescale: true };
