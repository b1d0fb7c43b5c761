//! Folders of weights that are damaged, or made to do harm.

use crate::small::{codec, config, folder};
use burn::prelude::*;
use pvchat_model::{
    Error,
    checkpoint::{Checkpoint, INDEX},
    families::internvideo2_chat,
    vilm::{Vilm, VilmConfig},
};
use safetensors::{Dtype, tensor::TensorView};
use std::{collections::BTreeMap, path::Path};

fn open(folder: &Path) -> Error {
    Vilm::open(folder, &Device::flex()).expect_err("a damaged folder")
}

fn index(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.join(INDEX)).unwrap()).unwrap()
}

fn shards(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        .collect();
    files.sort();
    files
}

#[test]
fn an_index_cannot_name_files_elsewhere() {
    let folder = folder(1, 20_000);
    for name in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "weights.bin"] {
        let text = serde_json::json!({ "weight_map": { "project_up.bias": name } }).to_string();
        std::fs::write(folder.path().join(INDEX), text).unwrap();
        let error = open(folder.path());
        assert!(matches!(&error, Error::File { problem, .. } if problem.contains(&format!("{name:?}"))), "{error}");
    }
    for text in ["", "{}", "[1]", "{\"weight_map\": {}}", "{\"weight_map\": 7}"] {
        std::fs::write(folder.path().join(INDEX), text).unwrap();
        assert!(matches!(open(folder.path()), Error::File { .. }), "{text}");
    }
}

#[test]
fn the_index_and_the_files_must_agree() {
    let folder = folder(1, 20_000);
    let whole = index(folder.path());
    // A tensor that is in another file than the index says.
    let mut moved = whole.clone();
    let other = moved["weight_map"]["query_tokens"].clone();
    assert_ne!(moved["weight_map"]["vision_encoder.cls_token"], other);
    moved["weight_map"]["vision_encoder.cls_token"] = other;
    std::fs::write(folder.path().join(INDEX), moved.to_string()).unwrap();
    let error = open(folder.path()).to_string();
    assert!(error.contains("vision_encoder.cls_token"), "{error}");
    // Two files with the same tensor.
    std::fs::write(folder.path().join(INDEX), whole.to_string()).unwrap();
    let files = shards(folder.path());
    let kept = std::fs::read(&files[0]).unwrap();
    std::fs::copy(&files[1], &files[0]).unwrap();
    let error = open(folder.path()).to_string();
    assert!(error.contains("stands in"), "{error}");
    // A file that is not there.
    std::fs::write(&files[0], kept).unwrap();
    assert!(Vilm::open(folder.path(), &Device::flex()).is_ok());
    std::fs::remove_file(&files[0]).unwrap();
    assert!(matches!(open(folder.path()), Error::File { file, .. } if file == files[0]));
}

#[test]
fn a_shard_that_is_cut_short_is_named() {
    let folder = folder(1, 20_000);
    let file = &shards(folder.path())[1];
    let whole = std::fs::read(file).unwrap();
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(file, &whole[..length]).unwrap();
        let error = open(folder.path());
        assert!(matches!(&error, Error::File { file: named, .. } if named == file), "{length}: {error}");
    }
}

#[test]
fn tensors_of_another_kind_shape_or_name_are_listed() {
    let tensors: BTreeMap<&str, (Dtype, Vec<usize>, usize)> = BTreeMap::from([
        ("query_tokens", (Dtype::F32, vec![1, 5, 24], 4)),
        ("project_up.bias", (Dtype::F32, vec![32], 4)),
        ("somebody.else", (Dtype::F32, vec![2], 4)),
    ]);
    let file = |tensors: &BTreeMap<&str, (Dtype, Vec<usize>, usize)>| {
        let bytes: Vec<Vec<u8>> =
            tensors.values().map(|(_, shape, size)| vec![0; shape.iter().product::<usize>() * size]).collect();
        let views = tensors
            .iter()
            .zip(&bytes)
            .map(|((name, (dtype, shape, _)), data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        Checkpoint::from_bytes("odd.safetensors", safetensors::serialize(views, None).unwrap()).unwrap()
    };
    let load =
        |checkpoint: &Checkpoint| Vilm::from_checkpoint(config(), codec(), checkpoint, &Device::flex()).map(|_| ()).unwrap_err();
    match load(&file(&tensors)) {
        Error::Checkpoint { missing, unexpected, mismatched, .. } => {
            assert_eq!(unexpected, ["somebody.else"]);
            assert_eq!(mismatched.len(), 1);
            assert_eq!((mismatched[0].key.as_str(), &mismatched[0].found[..]), ("query_tokens", &[1, 5, 24][..]));
            assert_eq!(mismatched[0].expected, [1, 4, 24]);
            assert!(missing.iter().any(|name| name == "lm.base_model.model.lm_head.weight"), "{missing:?}");
            assert!(!missing.iter().any(|name| name == "project_up.bias"));
        }
        other => panic!("{other}"),
    }
    let whole_numbers = BTreeMap::from([("project_up.bias", (Dtype::I32, vec![32], 4))]);
    assert!(load(&file(&whole_numbers)).to_string().contains("project_up.bias"));
    let twice =
        BTreeMap::from([("project_up.bias", (Dtype::F32, vec![32], 4)), ("answer.project_up.bias", (Dtype::F32, vec![32], 4))]);
    assert!(load(&file(&twice)).to_string().contains("are the same parameter"));
}

#[test]
fn sizes_that_nobody_has_are_refused_before_anything_is_made() {
    let json = serde_json::to_value(internvideo2_chat::config()).unwrap();
    assert_eq!(VilmConfig::from_json("config.json", json.to_string().as_bytes()).unwrap(), internvideo2_chat::config());
    let huge = usize::MAX as u64 / 2;
    for path in ["/answer/qformer/vocabulary", "/answer/qformer/max_positions", "/answer/extra_query_tokens"] {
        let mut changed = json.clone();
        *changed.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = huge.into();
        let result = VilmConfig::from_json("config.json", changed.to_string().as_bytes());
        assert!(matches!(result, Err(Error::Config { .. })), "{path}: {result:?}");
    }
    for path in [
        "/answer/qformer/layers",
        "/answer/qformer/hidden",
        "/answer/qformer/intermediate",
        "/answer/language/vocabulary",
        "/answer/language/intermediate",
        "/answer/language/layers",
        "/answer/query_tokens",
        "/answer/personal_query_tokens",
        "/answer/tiles",
        "/vision/internvideo2/width",
        "/vision/internvideo2/depth",
        "/vision/internvideo2/frames",
        "/vision/internvideo2/image_size",
        "/vision/internvideo2/mlp_hidden",
        "/preprocess/resolution",
    ] {
        for value in [0, huge] {
            let mut changed = json.clone();
            *changed.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value.into();
            let result = VilmConfig::from_json("config.json", changed.to_string().as_bytes());
            assert!(matches!(result, Err(Error::Config { .. } | Error::File { .. })), "{path} = {value}: {result:?}");
        }
    }
}
