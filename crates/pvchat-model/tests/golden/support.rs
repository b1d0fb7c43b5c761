//! Reading golden files and comparing with their tolerance: `|a-b| <= tolerance * (1 + |b|)`.
#![allow(dead_code)] // each test target uses its own part

use burn::prelude::*;
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// The tolerance of values (absolute and relative).
pub const VALUE: f64 = 1e-4;
/// The tolerance of gradients.
pub const GRADIENT: f64 = 2e-4;

/// Where the golden files are: `PVCHAT_GOLDEN` or `fixtures/golden`.
pub fn directory() -> PathBuf {
    std::env::var_os("PVCHAT_GOLDEN").map_or_else(own_directory, PathBuf::from)
}

/// `fixtures/golden`: for what holds of our files and need not hold of others.
pub fn own_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden")
}

/// Whether the golden files are those of `fixtures/golden`; another directory may hold fewer, and other cases.
pub fn are_ours() -> bool {
    directory() == own_directory()
}

/// Whether the golden directory has a file. What another directory lacks is named, and not run; ours has to have it.
pub fn is_there(file: &str) -> bool {
    let path = directory().join(file);
    if !are_ours() && !path.exists() {
        println!("not run: there is no {}", path.display());
        return false;
    }
    true
}

/// The names, without ending, of the safetensors files whose names begin so, in order; `prefix` may begin with a folder.
pub fn names_that_begin(prefix: &str) -> Vec<String> {
    let path = directory().join(prefix);
    let (folder, first) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
    let inside = prefix.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = files.filter_map(|file| file.unwrap().file_name().into_string().ok());
    let wanted =
        names.filter_map(|name| name.strip_suffix(".safetensors").filter(|name| name.starts_with(first)).map(str::to_string));
    let mut found: Vec<String> = wanted.map(|name| format!("{inside}{name}")).collect();
    found.sort();
    found
}

/// Every backend on the processor that is compiled in; where `PVCHAT_TEST_DEVICE` names one, only that one.
pub fn devices() -> Vec<(&'static str, Device)> {
    let wanted = std::env::var("PVCHAT_TEST_DEVICE").ok();
    let names = ["flex", "ndarray"].into_iter().filter(|name| wanted.as_ref().is_none_or(|wanted| wanted == name));
    let devices: Vec<_> = names.filter_map(|name| Some((name, pvchat_nn::device::named(name).ok()?))).collect();
    assert!(!devices.is_empty(), "golden tests need --features flex or ndarray, and PVCHAT_TEST_DEVICE one of those");
    devices
}

/// One golden safetensors file.
pub struct Golden {
    name: String,
    bytes: Vec<u8>,
    config: serde_json::Value,
}

impl Golden {
    /// Opens `NAME.safetensors` in the golden directory.
    pub fn open(name: &str) -> Self {
        Self::open_in(&directory(), name)
    }

    /// Opens `NAME.safetensors` of `fixtures/golden`.
    pub fn open_own(name: &str) -> Self {
        Self::open_in(&own_directory(), name)
    }

    fn open_in(directory: &Path, name: &str) -> Self {
        let path = directory.join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("safetensors header");
        let config = header.metadata().as_ref().and_then(|map| map.get("config")).expect("config in the metadata");
        Self { name: name.to_string(), config: serde_json::from_str(config).expect("config is JSON"), bytes }
    }

    /// The file as the library's loader sees it.
    pub fn source(&self) -> pvchat_nn::weights::TensorSource {
        pvchat_nn::weights::TensorSource::from_bytes(&self.name, self.bytes.clone()).expect("safetensors")
    }

    /// The parsed `config` entry of the metadata.
    pub fn config(&self) -> &serde_json::Value {
        &self.config
    }

    /// An unsigned number of the config.
    pub fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().unwrap_or_else(|| panic!("{}: config `{key}`", self.name)) as usize
    }

    /// A floating-point number of the config.
    pub fn number(&self, key: &str) -> f64 {
        self.config[key].as_f64().unwrap_or_else(|| panic!("{}: config `{key}`", self.name))
    }

    /// A list of floating-point numbers of the config.
    pub fn numbers<const N: usize>(&self, key: &str) -> [f64; N] {
        serde_json::from_value::<Vec<f64>>(self.config[key].clone())
            .ok()
            .and_then(|list| list.try_into().ok())
            .unwrap_or_else(|| panic!("{}: config `{key}`", self.name))
    }

    /// All tensor names.
    pub fn names(&self) -> Vec<String> {
        self.file().names().into_iter().map(String::from).collect()
    }

    /// The file as safetensors.
    pub fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("safetensors")
    }

    /// Whether the file has a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.file().tensor(name).is_ok()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.view(name).0
    }

    fn view(&self, name: &str) -> (Vec<usize>, Vec<u8>, Dtype) {
        let file = self.file();
        let view = file.tensor(name).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name));
        (view.shape().to_vec(), view.data().to_vec(), view.dtype())
    }

    /// A tensor's values as f32 (from F32, F64 or U8).
    pub fn floats(&self, name: &str) -> Vec<f32> {
        let (_, data, dtype) = self.view(name);
        match dtype {
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap()) as f32).collect(),
            Dtype::U8 => data.iter().map(|&b| f32::from(b)).collect(),
            other => panic!("{}: {name} is {other:?}", self.name),
        }
    }

    /// A tensor's values as integers (from I64, I32, U8 or BOOL).
    pub fn integers(&self, name: &str) -> Vec<i64> {
        let (_, data, dtype) = self.view(name);
        match dtype {
            Dtype::I64 => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::I32 => data.chunks_exact(4).map(|b| i64::from(i32::from_le_bytes(b.try_into().unwrap()))).collect(),
            Dtype::U8 | Dtype::BOOL => data.iter().map(|&b| i64::from(b)).collect(),
            other => panic!("{}: {name} is {other:?}", self.name),
        }
    }

    /// A float tensor on a device, in the file's layout.
    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(TensorData::new(self.floats(name), self.shape(name)), device)
    }

    /// An integer tensor on a device.
    pub fn int_tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Int> {
        Tensor::from_data(TensorData::new(self.integers(name), self.shape(name)), device)
    }

    /// Asserts that a tensor equals the golden one of that name within `tolerance * (1 + |b|)`.
    pub fn assert_close<const D: usize>(&self, name: &str, found: Tensor<D>, tolerance: f64) {
        assert_eq!(found.dims().to_vec(), self.shape(name), "{}: shape of {name}", self.name);
        let found: Vec<f32> = found.into_data().iter::<f32>().collect();
        assert_all_close(&format!("{}: {name}", self.name), &found, &self.floats(name), tolerance);
    }
}

/// Asserts `|a-b| <= tolerance * (1 + |b|)` for every pair, naming the worst offender.
pub fn assert_all_close(what: &str, found: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let worst = found.iter().zip(expected).enumerate().map(|(index, (&a, &b))| {
        let excess = (f64::from(a) - f64::from(b)).abs() - tolerance * (1.0 + f64::from(b).abs());
        (if excess.is_nan() { f64::INFINITY } else { excess }, index)
    });
    if let Some((excess, index)) = worst.max_by(|a, b| a.0.total_cmp(&b.0)) {
        assert!(excess <= 0.0, "{what}[{index}]: found {}, expected {}", found[index], expected[index]);
    }
}
