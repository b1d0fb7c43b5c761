//! Weights in the files of PyTorch: read, and never executed.

use std::path::Path;

use burn::prelude::*;
use pvchat_model::{
    Error,
    checkpoint::{self, SINGLE},
    families::smolvlm2::FAMILY,
    vilm::Vilm,
};
use safetensors::SafeTensors;

use crate::tiny_smolvlm2::{folder, published};

const PICKLED: &str = "pytorch_model.bin";

fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn number(number: usize) -> Vec<u8> {
    [b"J".as_slice(), &(number as i32).to_le_bytes()].concat()
}

fn tuple(parts: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), parts.concat(), b"t".to_vec()].concat()
}

/// Tensors of f32 as `torch.save` wrote them before 1.6: pickles one after another, and then the storages.
fn pickled(tensors: &[(String, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let class = |module: &str, name: &str| format!("c{module}\n{name}\n").into_bytes();
    let mut file = vec![0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
    file.extend([0x80, 2, b'M', 0xe9, 3, b'.', 0x80, 2, b'}', b'(']);
    file.extend([text("little_endian"), vec![0x88, b'u', b'.', 0x80, 2, b'}', b'(']].concat());
    for (key, (name, shape, data)) in tensors.iter().enumerate() {
        let strides = (0..shape.len()).map(|axis| number(shape[axis + 1..].iter().product()));
        let storage = tuple(&[
            text("storage"),
            class("torch", "FloatStorage"),
            text(&key.to_string()),
            text("cpu"),
            number(data.len() / 4),
            b"N".to_vec(),
        ]);
        let arguments = tuple(&[
            [storage, b"Q".to_vec()].concat(),
            number(0),
            tuple(&shape.iter().map(|&size| number(size)).collect::<Vec<_>>()),
            tuple(&strides.collect::<Vec<_>>()),
            vec![0x89],
            b"}".to_vec(),
        ]);
        file.extend([text(name), class("torch._utils", "_rebuild_tensor_v2"), arguments, b"R".to_vec()].concat());
    }
    file.extend([b'u', b'.', 0x80, 2, b']', b'(']);
    (0..tensors.len()).for_each(|key| file.extend(text(&key.to_string())));
    file.extend(b"e.");
    for (_, _, data) in tensors {
        file.extend([&(data.len() as u64 / 4).to_le_bytes(), data.as_slice()].concat());
    }
    file
}

fn tensors(file: &Path) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.into(), view.shape().to_vec(), view.data().to_vec())).collect()
}

fn saved(folder: &Path) -> Vec<u8> {
    let (vilm, copy) = (Vilm::open(folder, &Device::flex()).unwrap(), tempfile::tempdir().unwrap());
    checkpoint::save(vilm.parameters(), copy.path(), usize::MAX, FAMILY.names).unwrap();
    std::fs::read(copy.path().join(SINGLE)).unwrap()
}

#[test]
fn weights_of_pytorch_are_those_of_safetensors() {
    let folder = folder(&published(), usize::MAX);
    let expected = saved(folder.path());
    let tensors = tensors(&folder.path().join(SINGLE));
    std::fs::remove_file(folder.path().join(SINGLE)).unwrap();
    std::fs::write(folder.path().join(PICKLED), pickled(&tensors)).unwrap();
    assert_eq!(saved(folder.path()), expected);
    // The same in two files.
    std::fs::remove_file(folder.path().join(PICKLED)).unwrap();
    let mut weight_map = serde_json::Map::new();
    for (number, part) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let file = format!("pytorch_model-{:05}-of-00002.bin", number + 1);
        std::fs::write(folder.path().join(&file), pickled(part)).unwrap();
        weight_map.extend(part.iter().map(|(name, ..)| (name.clone(), file.clone().into())));
    }
    let index = serde_json::json!({ "weight_map": weight_map }).to_string();
    std::fs::write(folder.path().join("pytorch_model.bin.index.json"), index).unwrap();
    assert_eq!(saved(folder.path()), expected);
}

#[test]
fn hostile_pickles_are_refused_with_file_and_remedy() {
    let folder = folder(&published(), usize::MAX);
    let whole = pickled(&tensors(&folder.path().join(SINGLE)));
    std::fs::remove_file(folder.path().join(SINGLE)).unwrap();
    let file = folder.path().join(PICKLED);
    let mark = folder.path().join("executed");
    let code = [b"\x80\x02cposix\nsystem\n".to_vec(), tuple(&[text(&format!("touch {}", mark.display()))]), b"R.".to_vec()];
    // A size of the first storage that the file does not have.
    let numel = whole.windows(3).position(|window| window == b"cpu").unwrap() + 4;
    let mut lying = whole.clone();
    lying[numel..numel + 4].copy_from_slice(&i32::MAX.to_le_bytes());
    let mut long_text = whole.clone();
    let first = whole.windows(5).position(|window| window == b"model" || window == b"lm_he").unwrap() - 4;
    long_text[first..first + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut cases = vec![code.concat(), lying, long_text, b"PK\x03\x04".to_vec(), Vec::new()];
    cases.extend([10, 100, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec()));
    for (number, bytes) in cases.into_iter().enumerate() {
        std::fs::write(&file, bytes).unwrap();
        let error = Vilm::open(folder.path(), &Device::flex()).expect_err("a hostile file");
        let remedied =
            matches!(&error, Error::File { file: named, remedy, .. } if *named == file && remedy.contains("safetensors"));
        assert!(remedied, "{number}: {error}");
        assert!(!mark.exists());
    }
}
