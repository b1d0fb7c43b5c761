//! The kernels for GPUs against the reference: forward and gradients, on any Vulkan driver.
//!
//! `make test-vulkan` runs this on Mesa's CPU driver. Mesa before 26 crashes on burn's own reductions, so that only data
//! moves, one product and the kernels run there; the reference runs on the CPU backend. Few distinct widths, because
//! each is a kernel that the driver compiles, and one test, because another process would compile them again.

use burn::{prelude::*, tensor::DeviceKind};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use pvchat_data::random::SeededStream;
use pvchat_nn::moh::kernel::{Kernel, View, gated_attention, reference_attention};

/// Largest difference, in parts of the largest number of the reference (or of one, if that is larger).
const TOLERANCE: f32 = 2e-5;

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    key_heads: usize,
    group: usize,
    tokens: usize,
    keys: usize,
    width: usize,
    /// Probability that a routed head is on for a token.
    activation: f32,
    /// Heads that are on for every token.
    shared: usize,
    /// Probability that a key is hidden; none has a mask.
    hidden: Option<f32>,
    causal: bool,
    scaled: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1usize..4, 1usize..4, 1usize..4, 1usize..24, 1usize..40, prop::sample::select(vec![1usize, 5, 16, 21]));
    let activation = prop::sample::select(vec![0.0f32, 0.1, 0.5, 1.0]);
    let hidden = prop::option::of(prop::sample::select(vec![0.0f32, 0.3, 1.0]));
    (sizes, activation, 0usize..4, hidden, any::<bool>(), prop::bool::weighted(0.9), any::<u64>()).prop_map(
        |((batch, key_heads, group, tokens, keys, width), activation, shared, hidden, causal, scaled, seed)| Case {
            batch,
            key_heads,
            group,
            tokens,
            keys,
            width,
            activation,
            shared,
            hidden,
            causal,
            scaled,
            seed,
        },
    )
}

/// The numbers of a case.
struct Values {
    q: TensorData,
    k: TensorData,
    v: TensorData,
    scales: TensorData,
    hidden: Option<TensorData>,
    slope: TensorData,
}

impl Case {
    fn values(&self) -> Values {
        let mut stream = SeededStream::new(self.seed);
        let (heads, width) = (self.key_heads * self.group, self.width);
        let mut normal = |sizes: [usize; 4]| {
            let values: Vec<f32> = (0..sizes.iter().product()).map(|_| stream.normal()).collect();
            TensorData::new(values, sizes)
        };
        let (queries, keys) = ([self.batch, heads, self.tokens, width], [self.batch, self.key_heads, self.keys, width]);
        let (q, k, v, slope) = (normal(queries), normal(keys), normal(keys), normal(queries));
        let mut scales = Vec::new();
        for head in (0..self.batch).flat_map(|_| 0..heads) {
            for _ in 0..self.tokens {
                let on = head < self.shared || stream.chance(self.activation);
                scales.push(if on { stream.range(0.05f32, 2.0) } else { 0.0 });
            }
        }
        let hidden = self.hidden.map(|probability| {
            let values: Vec<bool> = (0..self.batch * self.keys).map(|_| stream.chance(probability)).collect();
            TensorData::new(values, [self.batch, self.keys])
        });
        Values { q, k, v, scales: TensorData::new(scales, [self.batch, heads, self.tokens]), hidden, slope }
    }

    /// Output and gradients of `q`, `k`, `v` and, if there are any, scales.
    fn run(&self, values: &Values, device: &Device, reference: bool) -> Vec<Vec<f32>> {
        let device = device.clone().autodiff();
        let tensor = |data: &TensorData| Tensor::<4>::from_data(data.clone(), &device).require_grad();
        let [q, k, v] = [&values.q, &values.k, &values.v].map(tensor);
        let scales = self.scaled.then(|| Tensor::<3>::from_data(values.scales.clone(), &device).require_grad());
        let hidden = values.hidden.as_ref().map(|hidden| Tensor::<2, Bool>::from_data(hidden.clone(), &device));
        let view = View { hidden: hidden.as_ref(), causal: self.causal, ..View::default() };
        let inputs = (q.clone(), k.clone(), v.clone(), scales.clone());
        let output = if reference {
            reference_attention(inputs.0, inputs.1, inputs.2, view, inputs.3)
        } else {
            let (output, kernel) = gated_attention(inputs.0, inputs.1, inputs.2, view, inputs.3);
            assert_eq!(kernel, Kernel::Cube);
            output
        };
        // A tensor's gradient is that of the sum of its elements; no sum is computed.
        let mut gradients = (output.clone() * Tensor::from_data(values.slope.clone(), &device)).backward();
        let mut found = vec![numbers(output.inner())];
        found.extend([q, k, v].map(|tensor| numbers(tensor.grad_remove(&mut gradients).expect("tracked"))));
        found.extend(scales.map(|scales| numbers(scales.grad_remove(&mut gradients).expect("tracked"))));
        found
    }

    fn check(&self, cpu: &Device, gpu: &Device) -> Result<(), TestCaseError> {
        let values = self.values();
        let mut expected = self.run(&values, cpu, true);
        if let Some(slopes) = expected.get_mut(4) {
            // The kernels pass nothing to a scale of zero, and no router would pass it on.
            let scales = values.scales.iter::<f32>();
            slopes.iter_mut().zip(scales).filter(|(_, scale)| *scale == 0.0).for_each(|(slope, _)| *slope = 0.0);
        }
        let found = self.run(&values, gpu, false);
        for (name, (expected, found)) in ["output", "q", "k", "v", "scales"].iter().zip(expected.iter().zip(&found)) {
            prop_assert_eq!(expected.len(), found.len());
            let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                let difference = (expected - found).abs();
                // Also false for what is not a number.
                prop_assert!(difference <= TOLERANCE * largest, "{name}[{index}]: {found} instead of {expected}");
            }
        }
        let again = self.run(&values, gpu, false);
        prop_assert_eq!(found, again, "two runs differ");
        Ok(())
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_to_vec::<f32>().expect("f32")
}

#[test]
fn kernels_compute_what_the_reference_does() {
    let (cpu, gpu) = (Device::flex(), Device::vulkan(DeviceKind::DefaultDevice));
    let plain = Case {
        batch: 1,
        key_heads: 1,
        group: 1,
        tokens: 3,
        keys: 5,
        width: 16,
        activation: 1.0,
        shared: 0,
        hidden: None,
        causal: false,
        scaled: true,
        seed: 1,
    };
    for case in [
        plain.clone(),
        Case { activation: 0.0, ..plain.clone() },
        Case { scaled: false, ..plain.clone() },
        Case { hidden: Some(1.0), causal: true, tokens: 7, ..plain.clone() },
        // Rows of more than one group of units.
        Case { batch: 2, key_heads: 2, group: 3, tokens: 70, keys: 90, activation: 0.4, shared: 2, ..plain },
    ] {
        case.check(&cpu, &gpu).unwrap_or_else(|error| panic!("{case:?}: {error}"));
    }
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, random)
        .run(&cases(), |case| case.check(&cpu, &gpu))
        .unwrap_or_else(|error| panic!("{error}"));
}
