//! Constants of the routing objectives, with the presets of the paper, the released code and ours.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which equations hold the routers to their target activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectiveMode {
    /// As printed: the sparsity weight is used and then updated, the rate is a hard count.
    Paper,
    /// As released: the sparsity weight is updated and then used, the rate is a hard count. HAE then has no
    /// gradient, so it raises the reported loss and moves nothing; kept for comparison.
    Release,
    /// Released order with a straight-through rate: a hard count forward, a smooth surrogate backward. The default.
    StraightThrough,
}

impl fmt::Display for ObjectiveMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Paper => "paper",
            Self::Release => "release",
            Self::StraightThrough => "straight-through",
        })
    }
}

/// What the sparsity (SPR) weight `lambda` multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SparsityTerm {
    /// Euclidean norm over heads of the router output averaged over tokens (paper).
    RouterMeanNorm,
    /// `sum_h f_h * g_h` with `f_h` the active share and `g_h` the mean gate of head h (released code).
    LoadBalance,
    /// Mean gate over tokens and heads.
    MeanGate,
}

/// How many sparsity weights there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Controllers {
    /// One for each routed module, which all are held to the target; the terms of the modules are summed.
    #[default]
    PerModule,
    /// One for the gates of all modules together, as if they were one module.
    Joint,
}

impl Controllers {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Growth of the HAE weight of a module that routes almost nothing (released code only).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaeGrowth {
    /// Factor per training call.
    pub factor: f64,
    /// Grows while the activation is below this; otherwise the weight falls back to its start.
    pub below: f64,
    /// Upper bound of the weight.
    pub limit: f64,
}

/// Slope of the straight-through rate: `sigmoid(steepness * x)`, plus a linear part below zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surrogate {
    /// Steepness of the sigmoid; its slope is `steepness / 4` at zero and vanishes below about -1.5.
    pub steepness: f64,
    /// Extra constant slope for negative logits, so that a head that is off for every token hears HAE at any
    /// depth: the slope at -3000 is that at -3, and larger above. Zero leaves the plain sigmoid.
    pub tail: f64,
    /// Takes the logit clamped to [`ObjectiveConfig::gate_range`] and without the tail, as the golden data
    /// does: a head at or beyond the lower clamp is then never revived.
    pub clamp: bool,
}

/// All constants of SPR and HAE. The presets are [`paper`](Self::paper), [`released`](Self::released),
/// [`straight_through`](Self::straight_through) (the default) and [`follow_up`](Self::follow_up).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveConfig {
    /// Order of the updates and gradient of the rate.
    pub mode: ObjectiveMode,
    /// What the sparsity weight multiplies.
    pub sparsity: SparsityTerm,
    /// Routed heads that should be active per token; the target activation is `top_k / routed heads`.
    pub top_k: usize,
    /// The target activation itself, in place of that of `top_k`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// Whether modules are held to the target each by itself or together.
    #[serde(default, skip_serializing_if = "Controllers::is_default")]
    pub controllers: Controllers,
    /// The range that the router's logits are clamped to before the ReLU.
    pub gate_range: [f64; 2],
    /// Speed `k` of the sparsity weight: `lambda <- lambda * exp(k * (activation - target))`.
    pub adaptation_rate: f64,
    /// The sparsity weight at the start.
    pub initial_lambda: f64,
    /// Bounds of the sparsity weight.
    pub lambda_range: [f64; 2],
    /// Weight of HAE at the start.
    pub hae_weight: f64,
    /// Sharpness s of HAE: `exp(s * (target - activation)) - 1`.
    pub hae_sharpness: f64,
    /// Growth of the HAE weight, if any.
    pub hae_growth: Option<HaeGrowth>,
    /// Slope of the straight-through rate; unused by the other modes.
    pub surrogate: Surrogate,
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self::straight_through()
    }
}

impl ObjectiveConfig {
    /// The equations as printed in the paper (section 3.3). It gives no bounds for the sparsity weight; ours
    /// only keep it finite in 32 bits.
    pub fn paper() -> Self {
        Self {
            mode: ObjectiveMode::Paper,
            sparsity: SparsityTerm::RouterMeanNorm,
            lambda_range: [1e-30, 1e6],
            hae_weight: 1.0,
            hae_growth: None,
            ..Self::released()
        }
    }

    /// The constants of the released code.
    pub fn released() -> Self {
        Self {
            mode: ObjectiveMode::Release,
            sparsity: SparsityTerm::LoadBalance,
            top_k: 2,
            target: None,
            controllers: Controllers::PerModule,
            gate_range: [-1.0, 10.0],
            adaptation_rate: 0.8,
            initial_lambda: 1e-8,
            lambda_range: [1e-15, 10.0],
            hae_weight: 0.5,
            hae_sharpness: 2.0,
            hae_growth: Some(HaeGrowth { factor: 1.2, below: 1e-4, limit: 10.0 }),
            surrogate: Surrogate { steepness: 10.0, tail: 0.25, clamp: false },
        }
    }

    /// The straight-through variant: fixed HAE weight, slow adaptation, and a slope at every depth.
    pub fn straight_through() -> Self {
        Self {
            mode: ObjectiveMode::StraightThrough,
            sparsity: SparsityTerm::MeanGate,
            adaptation_rate: 0.1,
            hae_growth: None,
            ..Self::released()
        }
    }

    /// The constants of the paper's follow-up, PVChat-R1: the straight-through variant with one controller over the gates of all
    /// modules, half of which should be on, and the slope of a plain sigmoid of the logit, which has no clamp there.
    pub fn follow_up() -> Self {
        Self {
            target: Some(0.5),
            controllers: Controllers::Joint,
            surrogate: Surrogate { steepness: 10.0, tail: 0.0, clamp: false },
            ..Self::straight_through()
        }
    }

    /// The same without SPR: its weight stays so small that nothing is left of it in 32 bits.
    pub fn without_sparsity(self) -> Self {
        const NOTHING: f64 = 1e-30;
        Self { initial_lambda: NOTHING, lambda_range: [NOTHING, NOTHING], ..self }
    }

    /// The same without HAE.
    pub fn without_hae(self) -> Self {
        Self { hae_weight: 0.0, hae_growth: None, ..self }
    }

    /// The target activation of a module with this many routed heads, at most 1; [`target`](Self::target) where it is set.
    pub fn target_activation(&self, routed_heads: usize) -> f64 {
        self.target.unwrap_or_else(|| (self.top_k as f64 / routed_heads.max(1) as f64).min(1.0))
    }

    /// Refuses constants that cannot work.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first key at fault.
    pub fn validate(&self) -> Result<()> {
        let [low, high] = self.lambda_range;
        let [floor, ceiling] = self.gate_range;
        let growth = self.hae_growth.unwrap_or(HaeGrowth { factor: 1.0, below: 0.0, limit: 1.0 });
        require(
            "lambda_range",
            low,
            low > 0.0 && high.is_finite() && low <= high,
            "give two positive numbers, the smaller first",
        )?;
        require("gate_range", floor, floor < 0.0 && ceiling > 0.0, "it must hold zero, the switch point, inside")?;
        require(
            "initial_lambda",
            self.initial_lambda,
            (low..=high).contains(&self.initial_lambda),
            "it must lie in `lambda_range`",
        )?;
        require("top_k", self.top_k as f64, self.top_k > 0, "at least one head should be active")?;
        if let Some(target) = self.target {
            require("target", target, target > 0.0 && target <= 1.0, "it must be a share above 0 and at most 1")?;
        }
        if self.target.is_none() && self.controllers == Controllers::Joint {
            return Err(Error::Config {
                key: "controllers",
                value: "joint".into(),
                remedy: "set `target` too, the share of all gates that should be on".into(),
            });
        }
        let finite = |value: f64| value.is_finite() && value >= 0.0;
        for (key, value) in [
            ("adaptation_rate", self.adaptation_rate),
            ("hae_weight", self.hae_weight),
            ("hae_sharpness", self.hae_sharpness),
            ("hae_growth.below", growth.below),
            ("surrogate.steepness", self.surrogate.steepness),
            ("surrogate.tail", self.surrogate.tail),
        ] {
            require(key, value, finite(value), "it must be zero or a positive number")?;
        }
        require("hae_growth.factor", growth.factor, growth.factor >= 1.0 && growth.factor.is_finite(), "it must be at least 1")?;
        require("hae_growth.limit", growth.limit, finite(growth.limit), "it must be zero or a positive number")
    }
}

fn require(key: &'static str, value: f64, good: bool, remedy: &str) -> Result<()> {
    if good { Ok(()) } else { Err(Error::Config { key, value: value.to_string(), remedy: remedy.into() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_carry_the_published_constants() {
        for preset in [
            ObjectiveConfig::paper(),
            ObjectiveConfig::released(),
            ObjectiveConfig::straight_through(),
            ObjectiveConfig::follow_up(),
        ] {
            preset.validate().unwrap();
            preset.without_sparsity().without_hae().validate().unwrap();
        }
        assert_eq!(ObjectiveConfig::default().mode, ObjectiveMode::StraightThrough);
        assert_eq!(ObjectiveConfig::released().adaptation_rate, 0.8);
        assert_eq!(ObjectiveConfig::straight_through().adaptation_rate, 0.1);
        assert_eq!(ObjectiveConfig::paper().hae_weight, 1.0);
        assert_eq!(ObjectiveConfig::default().target_activation(4), 0.5);
        assert_eq!(ObjectiveConfig::default().target_activation(1), 1.0);
    }

    #[test]
    fn a_bad_constant_is_named() {
        let config = ObjectiveConfig { initial_lambda: 11.0, ..Default::default() };
        assert!(config.validate().unwrap_err().to_string().contains("`initial_lambda` is 11"));
        let config = ObjectiveConfig { gate_range: [0.5, 10.0], ..Default::default() };
        assert!(config.validate().unwrap_err().to_string().contains("gate_range"));
        let config = ObjectiveConfig { hae_weight: f64::NAN, ..Default::default() };
        assert!(config.validate().unwrap_err().to_string().contains("hae_weight"));
        let config = ObjectiveConfig { target: None, ..ObjectiveConfig::follow_up() };
        assert!(config.validate().unwrap_err().to_string().contains("controllers"));
    }
}
