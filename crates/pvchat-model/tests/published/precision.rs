//! The large weights in half precision: what stays f32, and how far answers move.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    prelude::*,
    tensor::{DType, FloatDType},
};
use image::RgbImage;
use pvchat_data::random::SeededStream;
use pvchat_model::{
    families::{VisionConfig, miniature::MiniatureEncoderConfig},
    preprocess::{PreprocessConfig, Preprocessing},
    vilm::{Vilm, VilmParameters},
};

use crate::small::{config, folder, tokenizer};

/// The float types of parameters, by the first two parts of their names; adapters apart.
#[derive(Default)]
struct Types {
    path: Vec<String>,
    found: BTreeMap<String, Vec<DType>>,
}

impl ModuleVisitor for Types {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let part = if self.path.iter().any(|part| part == "lora") { "adapters".into() } else { self.path[..2].join(".") };
        let types = self.found.entry(part).or_default();
        if !types.contains(&parameter.val().dtype()) {
            types.push(parameter.val().dtype());
        }
    }
}

fn types(parameters: &VilmParameters) -> BTreeMap<String, Vec<DType>> {
    let mut types = Types::default();
    parameters.visit(&mut types);
    types.found
}

#[test]
fn encoder_and_language_model_are_narrow_and_the_rest_is_not() {
    let folder = folder(1, 30_000);
    let vilm = Vilm::open_in(FloatDType::BF16, folder.path(), &Device::flex()).unwrap();
    for (part, found) in types(vilm.parameters()) {
        let large = part.starts_with("vision_encoder.") || part == "answer.lm";
        assert_eq!(found, [if large { DType::BF16 } else { DType::F32 }], "{part}");
    }
    let vilm = Vilm::open(folder.path(), &Device::flex()).unwrap();
    assert!(types(vilm.parameters()).values().all(|found| found == &[DType::F32]));
}

#[test]
fn answers_in_half_precision_are_near_and_not_the_same() {
    let folder = folder(1, 30_000);
    let clip: Vec<RgbImage> = (0..8)
        .map(|frame| RgbImage::from_fn(50, 30, |x, y| image::Rgb([(x * 5) as u8, (y * 7) as u8, 10 + frame * 20])))
        .collect();
    let asked = |precision| {
        let vilm = Vilm::open_in(precision, folder.path(), &Device::flex()).unwrap();
        let subjects = [vilm.blank_subject(&"<Aa>".parse().unwrap(), &SeededStream::new(7)).unwrap()];
        let memory = vilm.look(&[&clip]).unwrap();
        assert_eq!(memory.tokens.dtype(), DType::F32);
        let view = vilm.with_subjects(&subjects);
        let reading = view.read(&memory, &[&subjects[0]]).unwrap();
        let tokens: Vec<f32> = memory.tokens.into_data().iter::<f32>().collect();
        (tokens, view.presence(&reading, 0).unwrap())
    };
    let (whole, half) = (asked(FloatDType::F32), asked(FloatDType::BF16));
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
    let apart = length(&mut whole.0.iter().zip(&half.0).map(|(one, other)| one - other)) / length(&mut whole.0.iter().copied());
    assert!(apart > 1e-4 && apart < 0.03, "tokens are {apart} of their length apart");
    let moved = (whole.1 - half.1).abs();
    assert!(moved > 0.0 && moved < 0.02, "presence {} and {}", whole.1, half.1);
}

#[test]
fn the_miniature_is_not_opened_in_half_precision() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    let miniature = MiniatureEncoderConfig::default();
    config.preprocess = Preprocessing::Tiles(PreprocessConfig { resolution: miniature.frame_side, ..PreprocessConfig::full() });
    config.answer.qformer_mut().unwrap().qformer.encoder_width = miniature.width;
    config.vision = VisionConfig::Miniature(miniature);
    std::fs::write(folder.path().join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer()).unwrap();
    let error = Vilm::open_in(FloatDType::BF16, folder.path(), &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("precision") && error.contains("F32"), "{error}");
}
