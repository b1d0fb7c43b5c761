//! Reading weights: layout, names, gaps and broken files.
#![cfg(feature = "flex")]

use super::*;
use burn::{
    nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig},
    prelude::*,
};
use safetensors::{Dtype, tensor::TensorView};

#[derive(Module, Debug)]
struct Small {
    project: Linear,
    norm: LayerNorm,
}

fn small(device: &Device) -> Small {
    Small { project: LinearConfig::new(3, 2).init(device), norm: LayerNormConfig::new(2).init(device) }
}

fn safetensors_bytes(entries: &[(&str, &[usize], Vec<f32>)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> =
        entries.iter().map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = entries
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), data)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap()));
    safetensors::serialize(views, Some([("kind".to_string(), "test".to_string())].into())).unwrap()
}

fn complete() -> Vec<u8> {
    safetensors_bytes(&[
        ("model.dense.weight", &[2, 3], vec![1., 2., 3., 4., 5., 6.]),
        ("model.dense.bias", &[2], vec![7., 8.]),
        ("model.LayerNorm.weight", &[2], vec![0.5, 1.5]),
        ("model.LayerNorm.bias", &[2], vec![0.25, -0.25]),
    ])
}

const RENAMES: &[(&str, &str)] = &[("^dense\\.", "project."), ("^LayerNorm\\.", "norm.")];

#[test]
fn linear_weights_are_transposed_and_norms_find_their_parameters() {
    let device = Device::flex();
    let mut module = small(&device);
    let source = TensorSource::from_bytes("memory", complete()).unwrap();
    assert_eq!(source.shape("model.dense.weight"), Some(vec![2, 3]));
    apply_tensors(&mut module, &source.under("model."), RENAMES).unwrap().require_exact().unwrap();
    let values = |data: TensorData| data.iter::<f32>().collect::<Vec<_>>();
    assert_eq!(values(module.project.weight.val().into_data()), [1., 4., 2., 5., 3., 6.]);
    assert_eq!(values(module.norm.gamma.val().into_data()), [0.5, 1.5]);
    assert_eq!(values(module.norm.beta.unwrap().val().into_data()), [0.25, -0.25]);
}

#[test]
fn missing_and_unused_keys_are_named() {
    let mut module = small(&Device::flex());
    let source = TensorSource::from_bytes("part.safetensors", complete()).unwrap().under("model.");
    let applied = apply_tensors(&mut module, &source, &RENAMES[..1]).unwrap();
    assert_eq!(applied.missing, ["norm.beta", "norm.gamma"]);
    assert_eq!(applied.unused, ["LayerNorm.bias", "LayerNorm.weight"]);
    let message = applied.require_exact().unwrap_err().to_string();
    for part in ["part.safetensors", "`norm.gamma`", "`LayerNorm.weight`"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_wrong_shape_names_both_shapes() {
    let mut module = small(&Device::flex());
    let bytes = safetensors_bytes(&[("project.bias", &[5], vec![0.; 5])]);
    let error = apply_tensors(&mut module, &TensorSource::from_bytes("x", bytes).unwrap(), &[]).unwrap_err().to_string();
    assert!(error.contains("project.bias") && error.contains('5') && error.contains('2'), "{error}");
}

#[test]
fn broken_bytes_are_errors_at_every_length() {
    let whole = complete();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.safetensors");
    for length in 0..whole.len() {
        let error = TensorSource::from_bytes("cut", whole[..length].to_vec()).err();
        assert!(matches!(error, Some(Error::File { .. })), "{length}: {error:?}");
        if length % 29 == 0 {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = TensorSource::open(&path).err();
            assert!(matches!(error, Some(Error::File { .. } | Error::Io { .. })), "{length}: {error:?}");
        }
    }
    std::fs::write(&path, &whole).unwrap();
    let opened = TensorSource::open(&path).unwrap();
    assert_eq!(opened.names().count(), 4);
    assert_eq!(opened.metadata()["kind"], "test");
    assert_eq!(opened.metadata(), TensorSource::from_bytes("whole", whole.clone()).unwrap().metadata());
    assert!(matches!(TensorSource::open(&folder.path().join("absent")), Err(Error::Io { .. })));
    let mut lying = whole.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(TensorSource::from_bytes("lying", lying), Err(Error::File { .. })));
}

#[test]
fn a_rename_that_is_no_pattern_is_an_error() {
    let source = TensorSource::from_bytes("x", complete()).unwrap();
    let result = apply_tensors(&mut small(&Device::flex()), &source, &[("(", "")]);
    assert!(matches!(result, Err(Error::Config { key: "renames", .. })));
}
