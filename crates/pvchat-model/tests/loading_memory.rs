//! Opening a model takes hardly more memory than the model that is opened: its weights are read one after another.
#![cfg(feature = "flex")]

mod counted;
#[path = "published/tiny_smolvlm2.rs"]
#[allow(dead_code)] // the tests of published forms use all of it
mod tiny_smolvlm2;

use std::{path::Path, sync::atomic::Ordering};

use burn::{prelude::*, tensor::FloatDType};
use counted::{LIVE, PEAK};
use pvchat_model::vilm::Vilm;
use pvchat_nn::packed::Precision;
use tiny_smolvlm2::{folder_drawn, published};

/// What an opened model takes, and what opening it took at the most, in bytes.
fn opened(open: impl Fn(&Path) -> Vilm, folder: &Path) -> (usize, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let model = open(folder);
    let (live, peak) = (LIVE.load(Ordering::Relaxed), PEAK.load(Ordering::Relaxed));
    drop(model);
    (live - before, peak - before)
}

#[test]
fn at_most_one_layer_is_in_memory_beside_the_model() {
    let mut config = published();
    config.text.hidden = 256;
    config.text.layers = 12;
    (config.text.heads, config.text.kv_heads, config.text.head_dim) = (4, 2, 64);
    config.text.intermediate = 1024;
    (config.vision.width, config.vision.layers, config.vision.heads, config.vision.mlp_hidden) = (192, 8, 3, 768);
    let folder = folder_drawn(&config, 4_000_000, 0.02);
    let device = Device::flex();
    // The largest layer, its gate and what it lets through in f32, their packed form and the bytes of the file.
    let layer = 2 * 256 * 1024 * (4 + 4 + 4);
    let (full, full_peak) = opened(|folder| Vilm::open(folder, &device).unwrap(), folder.path());
    assert!(full > 40_000_000, "{full} bytes: too small a model to show anything");
    let packed = |precision| move |folder: &Path| Vilm::open_packed(precision, folder, &Device::flex()).unwrap();
    let half = opened(|folder| Vilm::open_in(FloatDType::BF16, folder, &device).unwrap(), folder.path());
    let kinds = [
        ("f32", (full, full_peak), 1.01),
        ("bf16", half, 0.55),
        ("packed to f32", opened(packed(Precision::F32), folder.path()), 1.05),
        ("packed to 16 bits", opened(packed(Precision::Bf16), folder.path()), 0.55),
        ("packed to 8 bits", opened(packed(Precision::Int8), folder.path()), 0.32),
        ("packed to 4 bits", opened(packed(Precision::Int4), folder.path()), 0.22),
    ];
    for (what, (live, peak), most) in kinds {
        println!("{what}: {:.1} MB, {:.1} MB at the peak", live as f64 / 1e6, peak as f64 / 1e6);
        assert!((live as f64) < most * full as f64, "{what}: {live} of {full} bytes");
        assert!(peak < live + layer, "{what}: {live} bytes, {peak} at the peak");
    }
}
