//! One module's share of the objective: sums on the device, counts on the host, the loss from both.

use super::{ModuleReport, ModuleState, ObjectiveConfig, ObjectiveMode, RoutedHeads, SparsityTerm, terms};
use crate::{Error, Result};
use burn::{prelude::*, tensor::FloatDType};

/// The gates of several modules on the same tokens as those of one module with all their heads.
pub(super) fn together(modules: &[RoutedHeads]) -> Result<RoutedHeads> {
    let shape = modules.first().map(|module| module.logits.dims());
    for (index, module) in modules.iter().enumerate() {
        Sums::check(index, module)?;
        let found = module.logits.dims();
        if shape.is_some_and(|shape| shape[..2] != found[..2]) {
            let expected = "the batch and tokens of the first module, which it is held to one target with".into();
            return Err(Error::Shape { what: format!("`logits` of module {index}"), found: found.to_vec(), expected });
        }
    }
    let joined =
        |part: fn(&RoutedHeads) -> &Tensor<3>| Tensor::cat(modules.iter().map(|module| part(module).clone()).collect(), 2);
    // The tokens are the same, so a mask for one of them is a mask for all.
    let mask = modules.iter().find_map(|module| module.mask.clone());
    Ok(RoutedHeads { logits: joined(|module| &module.logits), gates: joined(|module| &module.gates), mask })
}

/// Sums over the rows of one module, still on the device.
pub(super) struct Sums {
    pub(super) heads: usize,
    /// `[rows, heads]`
    logits: Tensor<2>,
    /// `[rows, 1]`
    mask: Option<Tensor<2>>,
    logit_sums: Tensor<1>,
    gate_sums: Tensor<1>,
    active_sums: Tensor<1>,
    row_count: Tensor<1>,
}

impl Sums {
    fn check(index: usize, module: &RoutedHeads) -> Result<()> {
        let [batch, tokens, heads] = module.logits.dims();
        let expect = |name: &str, found: Vec<usize>, needed: Vec<usize>| match found == needed {
            true => Ok(()),
            false => Err(Error::Shape {
                what: format!("`{name}` of module {index}"),
                found,
                expected: format!("{needed:?}, as its logits have"),
            }),
        };
        expect("gates", module.gates.dims().to_vec(), vec![batch, tokens, heads])?;
        if let Some(mask) = &module.mask {
            expect("mask", mask.dims().to_vec(), vec![batch, tokens])?;
        }
        if heads == 0 {
            return Err(Error::Shape {
                what: format!("`logits` of module {index}"),
                found: vec![batch, tokens, heads],
                expected: "[batch, tokens, routed heads] with at least one routed head".into(),
            });
        }
        Ok(())
    }

    pub(super) fn new(index: usize, module: &RoutedHeads) -> Result<Self> {
        Self::check(index, module)?;
        let [batch, tokens, heads] = module.logits.dims();
        let rows = batch * tokens;
        // Counts of many tokens are not exact in half precision.
        let flat = |tensor: &Tensor<3>| tensor.clone().cast(FloatDType::F32).reshape([rows, heads]);
        let (logits, gates) = (flat(&module.logits), flat(&module.gates));
        let mask = module.mask.as_ref().map(|mask| mask.clone().detach().cast(FloatDType::F32).reshape([rows, 1]));
        let row_count = match &mask {
            Some(mask) => mask.clone().sum(),
            None => Tensor::full([1], rows as f64, &logits.device()),
        };
        Ok(Self {
            heads,
            logit_sums: terms::head_sums(logits.clone(), mask.as_ref()),
            active_sums: terms::head_sums(terms::active(gates.clone()), mask.as_ref()),
            gate_sums: terms::head_sums(gates, mask.as_ref()),
            logits,
            mask,
            row_count,
        })
    }

    /// The number of values in [`plain`](Self::plain).
    pub(super) fn length(&self) -> usize {
        3 * self.heads + 1
    }

    /// Active, gate and logit sums per head and the row count, without gradient.
    pub(super) fn plain(&self) -> Tensor<1> {
        let detached = |tensor: &Tensor<1>| tensor.clone().detach();
        Tensor::cat(
            vec![detached(&self.active_sums), detached(&self.gate_sums), detached(&self.logit_sums), detached(&self.row_count)],
            0,
        )
    }
}

/// The sums of one module with their values on the host.
pub(super) struct Counts {
    sums: Sums,
    pub(super) target: f64,
    /// Rows that count; 1 if there are none, so that it divides.
    rows: f64,
    empty: bool,
    active_share: Vec<f64>,
    gate_means: Vec<f64>,
    logit_means: Vec<f64>,
}

impl Counts {
    /// From the values of [`Sums::plain`].
    pub(super) fn new(sums: Sums, values: &[f32], target: f64) -> Self {
        let heads = sums.heads;
        let count = f64::from(values[3 * heads]);
        let rows = if count > 0.0 { count } else { 1.0 };
        let means = |part: usize| values[part * heads..(part + 1) * heads].iter().map(|&sum| f64::from(sum) / rows).collect();
        Self { target, rows, empty: count <= 0.0, active_share: means(0), gate_means: means(1), logit_means: means(2), sums }
    }

    /// Share of gates that are on; the target itself where there was nothing to route.
    pub(super) fn activation(&self) -> f64 {
        if self.empty { self.target } else { mean(&self.active_share) }
    }

    /// The loss `[1]` and its values under the given weights.
    pub(super) fn objective(&self, config: &ObjectiveConfig, state: ModuleState) -> (Tensor<1>, ModuleReport) {
        let (sums, activation) = (&self.sums, self.activation());
        let (term, sparsity) = match config.sparsity {
            SparsityTerm::RouterMeanNorm => {
                let norm = self.logit_means.iter().map(|mean| mean * mean).sum::<f64>().sqrt();
                (terms::router_mean_norm(sums.logit_sums.clone(), self.rows), norm)
            }
            SparsityTerm::LoadBalance => {
                let balance = self.active_share.iter().zip(&self.gate_means).map(|(share, gate)| share * gate).sum();
                (terms::load_balance(sums.gate_sums.clone(), &self.active_share, self.rows), balance)
            }
            SparsityTerm::MeanGate => (terms::mean_gate(sums.gate_sums.clone(), self.rows), mean(&self.gate_means)),
        };
        let gap = self.target - activation;
        let hae_unweighted = if gap > 0.0 { (config.hae_sharpness * gap).exp_m1() } else { 0.0 };
        let carrier = (config.mode == ObjectiveMode::StraightThrough && gap > 0.0).then(|| {
            let soft = terms::surrogate(sums.logits.clone(), &config.surrogate, config.gate_range);
            let soft = terms::head_sums(soft, sums.mask.as_ref()).mean() / self.rows;
            soft.clone() - soft.detach()
        });
        let hae = terms::hae(activation, carrier, self.target, config.hae_sharpness, &term.device());
        let report = ModuleReport {
            spr: state.lambda * sparsity,
            sparsity,
            hae: state.weight * hae_unweighted,
            hae_unweighted,
            activation,
            activation_per_head: self.active_share.clone(),
            gate_mean_per_head: self.gate_means.clone(),
            lambda: state.lambda,
            weight: state.weight,
        };
        (term * state.lambda + hae * state.weight, report)
    }
}

impl ObjectiveConfig {
    /// The adaptive weights after a training pass with this activation.
    pub(super) fn adapt(&self, state: ModuleState, activation: f64, target: f64) -> ModuleState {
        let [low, high] = self.lambda_range;
        let lambda = (state.lambda * (self.adaptation_rate * (activation - target)).exp()).clamp(low, high);
        let weight = match self.hae_growth {
            Some(growth) if activation < growth.below => (growth.factor * state.weight).min(growth.limit),
            _ => self.hae_weight,
        };
        ModuleState { lambda, weight }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
