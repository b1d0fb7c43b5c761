//! Rotary position embedding in the rotate-half layout of the public Mistral checkpoints.

use burn::{prelude::*, tensor::DType};

/// Angles of a forward pass, ready for queries and keys.
///
/// Rotation is `x * cos + (x R) * sin`, where `R` is the signed permutation that swaps the halves
/// of a head. The small product with `R` replaces two slices and a concatenation, which cost more
/// passes over memory, above all backwards. The tables cover all heads of a token, so that the
/// multiplications need no broadcasting, and the table of the queries carries the softmax's scale.
#[derive(Clone, Debug)]
pub struct Rotation {
    query: [Tensor<3>; 2],
    key: [Tensor<3>; 2],
    swap: Tensor<2>,
    head_dim: usize,
}

impl Rotation {
    /// Tables for `positions` `[batch, tokens]`; queries have `heads` heads, keys `kv_heads`.
    pub fn new(positions: Tensor<2, Int>, heads: usize, kv_heads: usize, head_dim: usize, theta: f64, dtype: DType) -> Self {
        let device = positions.device().inner();
        let half = head_dim / 2;
        let frequencies: Vec<f32> = (0..half).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64) as f32).collect();
        let frequencies = [frequencies.as_slice(), frequencies.as_slice()].concat();
        let frequencies = Tensor::<1>::from_floats(frequencies.as_slice(), &device).reshape([1, 1, head_dim]);
        let angles = positions.inner().float().cast(DType::F32).unsqueeze_dim::<3>(2) * frequencies;
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        let scale = (head_dim as f64).powf(-0.5);
        let table = |x: &Tensor<3>, heads: usize, scale: f64| (x.clone() * scale).cast(dtype).repeat_dim(2, heads);

        let mut swap = vec![0.0f32; head_dim * head_dim];
        for i in 0..half {
            swap[(i + half) * head_dim + i] = -1.0; // first half receives minus the second
            swap[i * head_dim + i + half] = 1.0; // second half receives the first
        }
        Self {
            query: [table(&cos, heads, scale), table(&sin, heads, scale)],
            key: [table(&cos, kv_heads, 1.0), table(&sin, kv_heads, 1.0)],
            swap: Tensor::from_data(TensorData::new(swap, [head_dim, head_dim]), (&device, dtype)),
            head_dim,
        }
    }

    /// Rotates queries `[batch, tokens, heads * head_dim]` and divides them by `sqrt(head_dim)`.
    pub fn query(&self, x: Tensor<3>) -> Tensor<3> {
        self.rotate(x, &self.query)
    }

    /// Rotates keys `[batch, tokens, kv_heads * head_dim]`.
    pub fn key(&self, x: Tensor<3>) -> Tensor<3> {
        self.rotate(x, &self.key)
    }

    fn rotate(&self, x: Tensor<3>, [cos, sin]: &[Tensor<3>; 2]) -> Tensor<3> {
        let shape = x.dims();
        let rows = shape.iter().product::<usize>() / self.head_dim;
        let swapped = x.clone().reshape([rows, self.head_dim]).matmul(self.swap.clone()).reshape(shape);
        x * cos.clone() + swapped * sin.clone()
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn rotation_pairs_the_halves_and_scales_queries() {
        let device = Device::flex();
        let positions = Tensor::<2, Int>::from_data([[3i32]], &device);
        let rotation = Rotation::new(positions, 1, 1, 4, 100.0, DType::F32);
        let x = Tensor::<3>::from_data([[[1.0f32, 2.0, 3.0, 4.0]]], &device);
        let key: Vec<f32> = rotation.key(x.clone()).into_data().iter::<f32>().collect();
        let query: Vec<f32> = rotation.query(x).into_data().iter::<f32>().collect();
        // Pairs (0, 2) at angle 3 and (1, 3) at angle 3 / sqrt(100) = 0.3.
        let (c0, s0, c1, s1) = (3f32.cos(), 3f32.sin(), 0.3f32.cos(), 0.3f32.sin());
        let expected = [c0 - 3.0 * s0, 2.0 * c1 - 4.0 * s1, 3.0 * c0 + s0, 4.0 * c1 + 2.0 * s1];
        for i in 0..4 {
            assert!((key[i] - expected[i]).abs() < 1e-5, "key {i}: {} for {}", key[i], expected[i]);
            assert!((query[i] - expected[i] / 2.0).abs() < 1e-5, "query {i}: {}", query[i]);
        }
    }
}
