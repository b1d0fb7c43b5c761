//! Dropout and stochastic depth, with masks from a seeded stream.
//!
//! burn's own dropout draws from one generator per backend, shared by all threads: the values that a shard of a batch drops would
//! depend on the order of threads. Here a training pass provides the stream: inside [`with_dropout`] the layers drop what that
//! stream says, outside of it they drop nothing, on every device. So inference has nothing to switch off.
//!
//! ```
//! # use pvchat_data::random::SeededStream;
//! # use pvchat_nn::dropout::{is_active, with_dropout};
//! let stream = SeededStream::new(7).derive("step 0").derive("shard 0");
//! with_dropout(stream, || assert!(is_active())); // the forward pass of a training step
//! assert!(!is_active());
//! ```
//!
//! Masks are drawn on the CPU and handed to the device as constants, so that all backends drop
//! the same. That costs a draw and four bytes per value: little compared with a forward pass on a CPU; on a
//! GPU it is a transfer as large as the activations that are dropped from.

use std::cell::RefCell;

use burn::prelude::*;
use pvchat_data::random::SeededStream;

use crate::{Error, Result};

thread_local! {
    /// The stream of the training pass that this thread is in.
    static STREAM: RefCell<Option<SeededStream>> = const { RefCell::new(None) };
}

/// Puts the stream of the surrounding pass back, after a panic too.
struct Restore(Option<SeededStream>);

impl Drop for Restore {
    fn drop(&mut self) {
        STREAM.with_borrow_mut(|stream| *stream = self.0.take());
    }
}

/// Runs a training pass: dropout is on in the calling thread and draws from `stream`.
pub fn with_dropout<T>(stream: SeededStream, pass: impl FnOnce() -> T) -> T {
    let _restore = Restore(STREAM.replace(Some(stream)));
    pass()
}

/// Whether the calling thread is inside [`with_dropout`].
pub fn is_active() -> bool {
    STREAM.with_borrow(Option::is_some)
}

/// Zeroes each value with probability `rate` and divides the others by `1 - rate`; `x` itself outside
/// of [`with_dropout`].
pub fn dropout<const D: usize>(x: Tensor<D>, rate: f64) -> Tensor<D> {
    let shape = x.dims();
    multiply(x, shape, rate)
}

/// Stochastic depth: [`dropout`] of whole rows of the first axis.
pub fn drop_path<const D: usize>(x: Tensor<D>, rate: f64) -> Tensor<D> {
    let mut shape = [1; D];
    shape[0] = x.dims()[0];
    multiply(x, shape, rate)
}

/// Checks a rate.
///
/// # Errors
/// [`Error::Config`] when it is not in `0.0..1.0`.
pub fn validate(key: &'static str, rate: f64) -> Result<()> {
    if (0.0..1.0).contains(&rate) {
        return Ok(());
    }
    Err(Error::Config { key, value: rate.to_string(), remedy: "use a share of at least 0 and below 1".into() })
}

fn multiply<const D: usize>(x: Tensor<D>, shape: [usize; D], rate: f64) -> Tensor<D> {
    if rate <= 0.0 {
        return x;
    }
    let mask = STREAM.with_borrow_mut(|stream| stream.as_mut().map(|stream| mask(stream, shape.iter().product(), rate)));
    match mask {
        Some(values) => {
            let mask = Tensor::<D>::from_data(TensorData::new(values, shape), (&x.device().inner(), x.dtype()));
            x * mask
        }
        None => x,
    }
}

/// Zeroes and `1 / (1 - rate)`; every 64-bit draw decides two values, each by 32 bits.
fn mask(stream: &mut SeededStream, count: usize, rate: f64) -> Vec<f32> {
    let kept = (1.0 / (1.0 - rate)) as f32;
    let threshold = (rate * (1_u64 << 32) as f64) as u64;
    let value = |bits: u64| if bits < threshold { 0.0 } else { kept };
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let bits = stream.next_seed();
        values.extend([value(bits & 0xffff_ffff), value(bits >> 32)]);
    }
    values.truncate(count);
    values
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn a_share_is_dropped_inside_a_training_pass_and_nothing_outside() {
        let x = Tensor::<2>::ones([100, 100], &Device::flex());
        assert_eq!(values(dropout(x.clone(), 0.25)), vec![1.0; 10_000]);
        let pass = |seed: u64| with_dropout(SeededStream::new(seed), || values(dropout(x.clone(), 0.25)));
        let dropped = pass(1);
        let share = dropped.iter().filter(|value| **value == 0.0).count() as f64 / 10_000.0;
        assert!((share - 0.25).abs() < 0.02, "{share}");
        assert!(dropped.iter().all(|value| *value == 0.0 || (value - 4.0 / 3.0).abs() < 1e-6));
        assert_eq!(dropped, pass(1), "the stream decides");
        assert_ne!(dropped, pass(2));
        assert!(!is_active());
    }

    #[test]
    fn stochastic_depth_drops_whole_rows() {
        let x = Tensor::<3>::ones([200, 2, 3], &Device::flex());
        let rows = with_dropout(SeededStream::new(1), || values(drop_path(x, 0.5)));
        assert!(rows.chunks(6).all(|row| row.iter().all(|value| *value == row[0])));
        let share = rows.chunks(6).filter(|row| row[0] == 0.0).count();
        assert!((60..140).contains(&share), "{share}");
    }

    #[test]
    fn passes_nest_and_end_even_in_a_panic() {
        with_dropout(SeededStream::new(1), || {
            let inner = std::panic::catch_unwind(|| with_dropout(SeededStream::new(2), || panic!("in the middle")));
            assert!(inner.is_err() && is_active());
        });
        assert!(!is_active());
        std::thread::scope(|scope| {
            with_dropout(SeededStream::new(1), || assert!(!scope.spawn(is_active).join().unwrap()));
        });
    }

    #[test]
    fn rates_are_shares() {
        assert!(validate("dropout", 0.0).is_ok() && validate("dropout", 0.5).is_ok());
        for rate in [1.0, -0.1, f64::NAN] {
            assert!(matches!(validate("dropout", rate), Err(Error::Config { key: "dropout", .. })));
        }
    }
}
