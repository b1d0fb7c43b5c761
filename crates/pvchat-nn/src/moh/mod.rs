//! Mixture-of-Heads attention: one module, three routings.
//!
//! Every head attends to the keys as in plain attention. Then a router decides per token how much of it is kept:
//!
//! ```text
//! context_i = scale_i * softmax(q_i k_i^T / sqrt(head_dim) + mask) v_i        heads concatenated, shared first
//! scale_i   = a1                       shared heads,      [a1, a2] = softmax(clamp(W_h x, -1, 1))
//! scale_i   = a2 * relu(clamp(W_r x + b, -1, 10))_i       routed heads (ReMoH; PVChat paper, section 3.3)
//! ```
//!
//! - [`Routing`]: plain attention, top-k (MoH) or ReLU (ReMoH).
//! - [`MohAttention`]: projections and router; returns the context and the [`Gates`], stores neither. Self- and
//!   cross-attention, grouped queries, masks; made new ([`MohAttentionConfig`]) or from a pretrained attention
//!   ([`MohAttention::routed`]).
//! - [`kernel`]: the attention itself. A head whose scale is zero for a token costs nothing there in the fast
//!   kernels; the ten-line reference computes everything and is what they are tested against.

pub mod attention;
pub mod config;
pub mod kernel;
pub mod router;

pub use attention::{MohAttention, MohOutput};
pub use config::MohAttentionConfig;
pub use router::{Gates, RouterAlpha, Routing};
