//! Comparing a base with what another program computed: the golden states are found, and a changed weight is traced to its layer.

use std::path::Path;

use pvchat_model::{
    Error,
    compare::{Deviation, compare, first_deviating, tolerance},
};
use pvchat_nn::packed::Precision;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::support::{Golden, devices, own_directory};

/// One of the tiny models in the published layout; of the tensor `changed`, every value is multiplied by 1.5.
fn base(golden: &Golden, changed: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut config = golden.config().clone();
    config["model_type"] = "smolvlm".into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let file = golden.file();
    let weight = |name: String| {
        let public = name.strip_prefix("weights.")?.to_string();
        let factor = if changed == Some(public.as_str()) { 1.5 } else { 1.0 };
        let values: Vec<u8> = golden.floats(&name).into_iter().flat_map(|value| (value * factor).to_le_bytes()).collect();
        Some((public, golden.shape(&name), values))
    };
    let weights: Vec<_> = file.names().into_iter().map(String::from).filter_map(weight).collect();
    assert!(changed.is_none_or(|changed| weights.iter().any(|(name, ..)| name == changed)));
    let views = weights.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    folder
}

/// The same on every backend.
fn compared(base: &Path) -> Vec<Vec<Deviation>> {
    let dump = own_directory().join("smolvlm/smolvlm_tiny_b.safetensors");
    devices().into_iter().map(|(_, device)| compare(base, &dump, None, &device).unwrap()).collect()
}

#[test]
fn every_golden_state_is_compared_and_a_changed_weight_is_found_in_its_layer() {
    let golden = Golden::open_own("smolvlm/smolvlm_tiny_b");
    for states in compared(base(&golden, None).path()) {
        assert_eq!(first_deviating(&states, tolerance(None)), None, "{states:?}");
        assert!(states.iter().all(|state| state.relative < tolerance(None) / 10.0), "{states:?}");
        let of =
            |case: &str| states.iter().filter(|found| found.case == case).map(|found| found.state.as_str()).collect::<Vec<_>>();
        let text = ["merged", "text.layer0", "text.layer1", "text.normalized", "logits"];
        let vision = ["embeddings", "layer0", "layer1", "last_hidden_state"].map(|state| format!("vision.{state}"));
        let all: Vec<&str> = vision.iter().map(String::as_str).chain(["pixel_shuffle", "connector"]).chain(text).collect();
        for case in ["batch", "frames", "partial"] {
            assert_eq!(of(case), all, "{case}");
        }
        assert_eq!(of("text"), text);
        assert_eq!(states.len(), 3 * all.len() + text.len());
    }
    let layers = [
        ("model.vision_model.embeddings.patch_embedding.weight", "vision.embeddings"),
        ("model.vision_model.encoder.layers.1.mlp.fc2.weight", "vision.layer1"),
        ("model.connector.modality_projection.proj.weight", "connector"),
        ("model.text_model.layers.0.self_attn.o_proj.weight", "text.layer0"),
        ("model.text_model.layers.1.mlp.up_proj.weight", "text.layer1"),
        ("model.text_model.norm.weight", "text.normalized"),
        ("lm_head.weight", "logits"),
    ];
    for (weight, state) in layers {
        for states in compared(base(&golden, Some(weight)).path()) {
            let first = first_deviating(&states, tolerance(None)).unwrap_or_else(|| panic!("{weight}"));
            assert_eq!((first.case.as_str(), first.state.as_str()), ("batch", state), "{weight}");
        }
    }
}

/// Rounded weights are within what rounding costs, and a changed weight is not.
#[test]
fn packed_weights_are_compared_with_a_tolerance_of_their_own() {
    let golden = Golden::open_own("smolvlm/smolvlm_tiny_b");
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("states.safetensors");
    let bytes = std::fs::read(own_directory().join("smolvlm/smolvlm_tiny_b.safetensors")).unwrap();
    let kept: Vec<_> = SafeTensors::deserialize(&bytes).unwrap().tensors();
    // The packed encoder knows no padding inside a frame.
    let kept = kept.into_iter().filter(|(name, _)| !name.contains(".partial."));
    std::fs::write(&dump, safetensors::serialize(kept, None).unwrap()).unwrap();
    let compared = |base: &Path, precision: Option<Precision>| -> Vec<Vec<Deviation>> {
        devices().into_iter().map(|(_, device)| compare(base, &dump, precision, &device).unwrap()).collect()
    };
    let (right, wrong) = (base(&golden, None), base(&golden, Some("model.text_model.layers.0.self_attn.o_proj.weight")));
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8, Precision::Int4] {
        let tolerance = tolerance(Some(precision));
        let exact = compared(right.path(), None).swap_remove(0);
        for states in compared(right.path(), Some(precision)) {
            assert_eq!(first_deviating(&states, tolerance), None, "{precision:?}: {states:?}");
            let names = |states: &[Deviation]| states.iter().map(|state| state.state.clone()).collect::<Vec<_>>();
            assert_eq!(names(&states), names(&exact));
        }
        for states in compared(wrong.path(), Some(precision)) {
            let first = first_deviating(&states, tolerance).unwrap_or_else(|| panic!("{precision:?}"));
            // Four bits lose so much that a wrong layer is only seen a layer later.
            assert!(first.state == "text.layer0" || precision == Precision::Int4, "{precision:?}: {first:?}");
        }
    }
}

#[test]
fn files_that_cannot_be_compared_are_refused() {
    let golden = Golden::open_own("smolvlm/smolvlm_tiny_b");
    let (base, folder) = (base(&golden, None), tempfile::tempdir().unwrap());
    let device = &devices()[0].1;
    let file = folder.path().join("states.safetensors");
    let bytes = std::fs::read(own_directory().join("smolvlm/smolvlm_tiny_b.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let wide: Vec<u8> = std::iter::repeat_n(999_i32.to_le_bytes(), 28).flatten().collect();
    let wide = TensorView::new(Dtype::I32, vec![1, 28], &wide).unwrap();
    let flat = TensorView::new(Dtype::I32, vec![28], wide.data()).unwrap();
    let said = |keep: &dyn Fn(&str) -> bool, other: Option<TensorView<'_>>| {
        let mut kept: Vec<_> = tensors.iter().filter(|(name, _)| keep(name)).collect();
        kept.extend(other.map(|view| ("inputs.frames.input_ids", view)));
        std::fs::write(&file, safetensors::serialize(kept, None).unwrap()).unwrap();
        let error = compare(base.path(), &file, None, device).unwrap_err();
        assert!(matches!(&error, Error::File { file: named, .. } if *named == file), "{error}");
        error.to_string()
    };
    let frames = |name: &str| name.contains(".frames.") && name != "inputs.frames.input_ids";
    assert!(said(&|name| name.starts_with("weights."), None).contains("holds no state"));
    assert!(said(&frames, None).contains("lacks `inputs.frames.input_ids`"));
    assert!(said(&frames, Some(wide)).contains("holds 999"));
    assert!(said(&frames, Some(flat)).contains("where [batch, tokens] is needed"));
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(compare(base.path(), &file, None, device), Err(Error::File { .. })));
}
