//! TensorFlow.js weights: a JSON manifest, and one binary file with f32 values or bytes to be scaled (value = byte ·
//! scale + min).

use super::{
    malformed::{Malformed, slice},
    tensor::{Tensor, Tensors, elements, floats},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Group {
    weights: Vec<Weight>,
}

#[derive(Deserialize)]
struct Weight {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<Quantization>,
}

#[derive(Deserialize)]
struct Quantization {
    dtype: String,
    scale: f32,
    min: f32,
}

/// Reads the weights of a manifest with one group.
pub(super) fn read(manifest: &[u8], data: &[u8]) -> Result<Tensors, Malformed> {
    let groups: Vec<Group> = serde_json::from_slice(manifest).map_err(|error| Malformed::Manifest { why: error.to_string() })?;
    let [group] = <[Group; 1]>::try_from(groups).map_err(|groups| Malformed::unexpected("the number of groups", groups.len()))?;
    let mut tensors = Tensors::new();
    let mut at = 0;
    for Weight { name, shape, dtype, quantization } in group.weights {
        if dtype != "float32" {
            return Err(Malformed::unexpected("a data type", dtype));
        }
        let count = elements(&shape)?;
        let (bytes, values) = match quantization {
            None => {
                let length = count.checked_mul(4).ok_or_else(|| Malformed::unexpected("a shape", &shape))?;
                let bytes = slice(data, at, length, "a tensor")?;
                (length, floats(bytes)?)
            }
            Some(Quantization { dtype, scale, min }) if dtype == "uint8" => {
                let bytes = slice(data, at, count, "a tensor")?;
                (count, bytes.iter().map(|&byte| f32::from(byte) * scale + min).collect())
            }
            Some(other) => return Err(Malformed::unexpected("a quantisation", other.dtype)),
        };
        at += bytes;
        tensors.insert(name, Tensor::new(shape, values)?);
    }
    if at != data.len() {
        return Err(Malformed::unexpected("the size of all tensors in bytes, and that of the file", (at, data.len())));
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MANIFEST: &str = r#"[{"paths": ["a.bin"], "weights": [
        {"name": "a", "shape": [2, 1], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}},
        {"name": "b", "shape": [1], "dtype": "float32"}]}]"#;

    #[test]
    fn bytes_are_scaled_and_floats_are_taken_as_they_are() {
        let tensors = read(MANIFEST.as_bytes(), &[0, 4, 0, 0, 0x80, 0x3f]).unwrap();
        assert_eq!(tensors["a"], Tensor::new(vec![2, 1], vec![-1.0, 1.0]).unwrap());
        assert_eq!(tensors["b"].values(), [1.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for length in [0, 1, 5, 7] {
            assert!(read(MANIFEST.as_bytes(), &vec![0; length]).is_err(), "{length} bytes");
        }
        for (from, to) in [("uint8", "uint16"), ("[2, 1]", "[4611686018427387904, 4]"), ("[1]", "[18446744073709551615]")] {
            assert!(read(MANIFEST.replace(from, to).as_bytes(), &[0; 6]).is_err(), "{to}");
        }
        assert!(matches!(read(b"[", &[]), Err(Malformed::Manifest { .. })));
        assert!(read(b"[]", &[]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(manifest: Vec<u8>, data: Vec<u8>, shape: Vec<u64>) {
            let _ = read(&manifest, &data);
            let _ = read(MANIFEST.replace("[1]", &format!("{shape:?}")).as_bytes(), &data);
        }
    }
}
