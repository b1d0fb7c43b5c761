//! The routing objectives SPR and HAE (paper, section 3.3): keep the share of active routed heads at a target.
//!
//! With `A = top_k / routed heads` the target and `R` the activation of one module (share of gates that are on),
//! `SPR = lambda * sparsity term` presses gates down, `HAE = w * (exp(2 (A - R)) - 1)` lifts them while `R < A`,
//! and `lambda` follows `lambda * exp(k (R - A))`. Modules are summed and added to the language model's loss, or share one target
//! ([`Controllers`]).

mod config;
mod exact;
mod module;
pub mod terms;

pub use config::{Controllers, HaeGrowth, ObjectiveConfig, ObjectiveMode, SparsityTerm, Surrogate};

use crate::{Error, Result};
use burn::prelude::*;
use module::{Counts, Sums};
use pvchat_nn::moh::Gates;
use serde::{Deserialize, Serialize};

/// What one Mixture-of-Heads module routed in a forward pass.
#[derive(Clone, Debug)]
pub struct RoutedHeads {
    /// Raw router output [batch, tokens, routed heads].
    pub logits: Tensor<3>,
    /// Gates after the ReLU (and a clamp, where the router has one), before the softmax weight [batch, tokens, routed heads].
    pub gates: Tensor<3>,
    /// Rows that count, 1 or 0 `[batch, tokens]`; `None` counts all. Padded text should not count.
    pub mask: Option<Tensor<2>>,
}

impl RoutedHeads {
    /// All rows count.
    pub fn new(logits: Tensor<3>, gates: Tensor<3>) -> Self {
        Self { logits, gates, mask: None }
    }

    /// Only rows with a 1 in `mask` `[batch, tokens]` count.
    pub fn with_mask(self, mask: Tensor<2>) -> Self {
        Self { mask: Some(mask), ..self }
    }
}

impl From<&Gates> for RoutedHeads {
    /// All rows count; add a mask where text is padded.
    fn from(gates: &Gates) -> Self {
        Self::new(gates.logits.clone(), gates.gates.clone())
    }
}

/// MoH's load-balance loss for [`Routing::TopK`](pvchat_nn::moh::Routing::TopK), `[1]`, the mean over modules; see
/// [`terms::score_balance`]. `None` without modules.
///
/// Top-k keeps the same number of heads for every token, so that SPR and HAE have nothing to hold; what can go wrong is that it
/// keeps the same ones. The loss is least, `active / routed heads`, when all are kept equally often.
pub fn top_k_balance(modules: &[RoutedHeads]) -> Option<Tensor<1>> {
    let losses = modules.iter().map(|module| {
        let [batch, tokens, heads] = module.logits.dims();
        let rows = batch * tokens;
        let flat = |tensor: &Tensor<3>| tensor.clone().reshape([rows, heads]);
        let mask = module.mask.as_ref().map(|mask| mask.clone().detach().reshape([rows, 1]));
        let count = mask.as_ref().map_or(rows as f64, |mask| f64::from(mask.clone().sum().into_scalar::<f32>()).max(1.0));
        terms::score_balance(flat(&module.logits), flat(&module.gates), mask.as_ref(), count)
    });
    losses.reduce(|sum, loss| sum + loss).map(|sum| sum / modules.len() as f64)
}

/// The adaptive weights of one module.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleState {
    /// Sparsity weight, `beta` in the paper.
    #[serde(with = "exact")]
    pub lambda: f64,
    /// HAE weight.
    #[serde(with = "exact")]
    pub weight: f64,
}

/// The value of the objective for one module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleReport {
    /// SPR: the sparsity term times `lambda`.
    pub spr: f64,
    /// The sparsity term alone.
    pub sparsity: f64,
    /// HAE times `weight`.
    pub hae: f64,
    /// HAE alone.
    pub hae_unweighted: f64,
    /// Share of gates that are on.
    pub activation: f64,
    /// The same per routed head.
    pub activation_per_head: Vec<f64>,
    /// Mean gate per routed head.
    pub gate_mean_per_head: Vec<f64>,
    /// The sparsity weight that was used.
    pub lambda: f64,
    /// The HAE weight that was used.
    pub weight: f64,
}

/// Values of a whole forward pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveReport {
    /// Which equations were used.
    pub mode: ObjectiveMode,
    /// Which sparsity term was used.
    pub sparsity: SparsityTerm,
    /// One per module, in the order given; with [`Controllers::Joint`] one for all, whose heads are those of the modules in turn.
    pub modules: Vec<ModuleReport>,
}

impl ObjectiveReport {
    /// SPR and HAE of all modules together: the value of the loss.
    pub fn total(&self) -> f64 {
        self.modules.iter().map(|module| module.spr + module.hae).sum()
    }

    /// What the parts of one batch reported, as one: the mean of every figure, each part weighing the same. `None` without parts.
    pub fn mean(parts: &[&Self]) -> Option<Self> {
        let mut mean = (*parts.first()?).clone();
        let over = |of: &dyn Fn(&Self) -> Option<f64>| {
            let values: Vec<f64> = parts.iter().filter_map(|part| of(part)).collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        for (index, module) in mean.modules.iter_mut().enumerate() {
            let figure = |of: fn(&ModuleReport) -> f64| over(&|part| part.modules.get(index).map(of));
            let per_head = |of: fn(&ModuleReport) -> &[f64], heads: usize| -> Vec<f64> {
                (0..heads).map(|head| over(&|part| of(part.modules.get(index)?).get(head).copied())).collect()
            };
            *module = ModuleReport {
                spr: figure(|module| module.spr),
                sparsity: figure(|module| module.sparsity),
                hae: figure(|module| module.hae),
                hae_unweighted: figure(|module| module.hae_unweighted),
                activation: figure(|module| module.activation),
                activation_per_head: per_head(|module| &module.activation_per_head, module.activation_per_head.len()),
                gate_mean_per_head: per_head(|module| &module.gate_mean_per_head, module.gate_mean_per_head.len()),
                lambda: figure(|module| module.lambda),
                weight: figure(|module| module.weight),
            };
        }
        Some(mean)
    }

    /// Mean activation over modules; 0 without modules.
    pub fn activation(&self) -> f64 {
        self.modules.iter().map(|module| module.activation).sum::<f64>() / self.modules.len().max(1) as f64
    }
}

/// The loss to be added to the language model's, and its values.
#[derive(Clone, Debug)]
pub struct Auxiliary {
    /// Scalar `[1]`, summed over modules; `None` for a model without routed modules.
    pub loss: Option<Tensor<1>>,
    /// The values that it is made of.
    pub report: ObjectiveReport,
}

/// SPR and HAE with their adaptive state, which belongs into the checkpoint.
///
/// ```
/// use pvchat_train::objective::{Objective, ObjectiveConfig};
/// let objective = Objective::new(ObjectiveConfig::default(), 9)?;
/// assert_eq!(objective.states()[0].lambda, 1e-8);
/// # Ok::<(), pvchat_train::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    config: ObjectiveConfig,
    states: Vec<ModuleState>,
}

impl Objective {
    /// An objective for a model with this many routed modules, at the start of its adaptation.
    ///
    /// # Errors
    /// [`Error::Config`] for constants that cannot work.
    pub fn new(config: ObjectiveConfig, modules: usize) -> Result<Self> {
        config.validate()?;
        let modules = match config.controllers {
            Controllers::PerModule => modules,
            Controllers::Joint => modules.min(1),
        };
        let state = ModuleState { lambda: config.initial_lambda, weight: config.hae_weight };
        Ok(Self { config, states: vec![state; modules] })
    }

    /// The constants.
    pub fn config(&self) -> &ObjectiveConfig {
        &self.config
    }

    /// The adaptive weights, one entry per module, or one for all of them.
    pub fn states(&self) -> &[ModuleState] {
        &self.states
    }

    /// The objective of a training pass: moves the adaptive weights. Reads from the device once.
    ///
    /// # Errors
    /// [`Error::Modules`], [`Error::Shape`], [`Error::NotFinite`], [`Error::Device`]; the state stays as it was.
    pub fn train(&mut self, modules: &[RoutedHeads]) -> Result<Auxiliary> {
        let counts = self.count(modules)?;
        let mut used = self.states.clone();
        let mut next = self.states.clone();
        for ((used, next), counts) in used.iter_mut().zip(&mut next).zip(&counts) {
            *next = self.config.adapt(*next, counts.activation(), counts.target);
            if self.config.mode != ObjectiveMode::Paper {
                *used = *next;
            }
        }
        self.states = next;
        Ok(self.assemble(&counts, &used))
    }

    /// Moves the adaptive weights by what the shards of one batch reported: their mean activation.
    /// For passes that ran on copies of this objective, on separate threads.
    pub fn advance(&mut self, reports: &[ObjectiveReport]) {
        for (index, state) in self.states.iter_mut().enumerate() {
            let modules: Vec<&ModuleReport> = reports.iter().filter_map(|report| report.modules.get(index)).collect();
            if let Some(first) = modules.first() {
                let activation = modules.iter().map(|module| module.activation).sum::<f64>() / modules.len() as f64;
                let target = self.config.target_activation(first.activation_per_head.len());
                *state = self.config.adapt(*state, activation, target);
            }
        }
    }

    /// The objective of an evaluation pass: the adaptive weights are used and stay.
    ///
    /// # Errors
    /// Those of [`train`](Self::train).
    pub fn measure(&self, modules: &[RoutedHeads]) -> Result<Auxiliary> {
        Ok(self.assemble(&self.count(modules)?, &self.states))
    }

    /// Sums over rows of every module, checked, with one read for all of them.
    fn count(&self, modules: &[RoutedHeads]) -> Result<Vec<Counts>> {
        if self.config.controllers == Controllers::Joint && modules.len() > 1 {
            return self.count(&[module::together(modules)?]);
        }
        if modules.len() != self.states.len() {
            return Err(Error::Modules { found: modules.len(), expected: self.states.len() });
        }
        let sums = modules.iter().enumerate().map(|(index, module)| Sums::new(index, module)).collect::<Result<Vec<_>>>()?;
        if sums.is_empty() {
            return Ok(Vec::new());
        }
        let plain = Tensor::cat(sums.iter().map(Sums::plain).collect(), 0);
        let values = plain
            .try_into_data()
            .map_err(|error| format!("{error:?}"))
            .and_then(|data| data.try_to_vec_as::<f32>().map_err(|error| format!("{error:?}")))
            .map_err(|problem| Error::Device { what: "the activation of the routed heads", problem })?;
        let mut rest = values.as_slice();
        let mut counts = Vec::with_capacity(sums.len());
        for (module, sums) in sums.into_iter().enumerate() {
            let (own, after) = rest.split_at(sums.length());
            rest = after;
            if own.iter().any(|value| !value.is_finite()) {
                return Err(Error::NotFinite { module });
            }
            let target = self.config.target_activation(sums.heads);
            counts.push(Counts::new(sums, own, target));
        }
        Ok(counts)
    }

    fn assemble(&self, counts: &[Counts], states: &[ModuleState]) -> Auxiliary {
        let (mut losses, mut modules) = (Vec::new(), Vec::new());
        for (counts, state) in counts.iter().zip(states) {
            let (loss, report) = counts.objective(&self.config, *state);
            losses.push(loss);
            modules.push(report);
        }
        let loss = losses.into_iter().reduce(|sum, loss| sum + loss);
        Auxiliary { loss, report: ObjectiveReport { mode: self.config.mode, sparsity: self.config.sparsity, modules } }
    }
}
