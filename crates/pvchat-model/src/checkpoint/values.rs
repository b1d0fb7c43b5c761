//! Values that stay on disk until they are needed, and are refused where they are not finite.

use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    store::{
        bridge,
        burn_pack::{Error as PackError, Tensor as StoredTensor},
    },
    tensor::{DType, TensorData},
};

/// The name of a tensor whose values were read and are not finite.
#[derive(Clone, Default)]
pub(super) struct Damaged(Arc<Mutex<Option<String>>>);

impl Damaged {
    fn note(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| name.into());
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The tensor, as lazy as before. If a value is not finite, reading the values is an error, and `damaged` gets the name.
pub(super) fn finite(tensor: StoredTensor, public: &str, damaged: &Damaged) -> StoredTensor {
    let (public, damaged) = (public.to_string(), damaged.clone());
    bridge::deferred(tensor.name.clone(), tensor.dtype, tensor.shape.clone(), None, move || {
        let data = bridge::to_data(&tensor)?;
        if is_finite(&data) {
            return Ok(data);
        }
        damaged.note(&public);
        Err(PackError::ValidationError("not finite".into()))
    })
}

/// Whether no value is an infinity or none at all: of both, and of no other, every bit of the exponent is set.
fn is_finite(data: &TensorData) -> bool {
    fn any<const N: usize>(bytes: &[u8], is_wrong: impl Fn([u8; N]) -> bool) -> bool {
        // Some thousands at a time without a branch, so that they are compared in wide registers.
        let wrong = |part: &[u8]| part.as_chunks::<N>().0.iter().fold(false, |found, value| found | is_wrong(*value));
        bytes.chunks(N << 12).any(wrong)
    }
    let bytes = data.as_bytes();
    !match data.dtype() {
        DType::F64 => any(bytes, |value| !(f64::from_ne_bytes(value) as f32).is_finite()),
        DType::F32 => any(bytes, |value| u32::from_ne_bytes(value) & 0x7f80_0000 == 0x7f80_0000),
        DType::F16 => any(bytes, |value| u16::from_ne_bytes(value) & 0x7c00 == 0x7c00),
        DType::BF16 => any(bytes, |value| u16::from_ne_bytes(value) & 0x7f80 == 0x7f80),
        _ => false,
    }
}

/// `count` rows of a matrix from row `start` on, as lazy as the matrix.
pub(super) fn rows(matrix: &StoredTensor, start: usize, count: usize) -> StoredTensor {
    let [all, width] = [matrix.shape.to_vec()[0], matrix.shape.to_vec()[1]];
    let (source, row) = (matrix.clone(), matrix.byte_len() / all.max(1));
    bridge::deferred(matrix.name.clone(), matrix.dtype, [count, width].into(), None, move || {
        let bytes = source.to_bytes()?;
        let part = bytes[start * row..(start + count) * row].to_vec();
        Ok(TensorData::from_bytes_vec(part, [count, width], source.dtype))
    })
}
