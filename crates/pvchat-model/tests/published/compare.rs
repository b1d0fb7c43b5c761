//! The states of bases with a Q-Former beside those of a pass that is put together here.

use std::path::Path;

use burn::{module::Param, prelude::*};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    bridge::Bridge,
    checkpoint,
    compare::{compare, first_deviating, tolerance},
    families::{VilmConfig, miniature},
    parameters::VilmParameters,
    sight::{Shown, Sight},
    vision::VisionEncoder,
};
use pvchat_nn::{init, moh::Routing, trace::Trace};
use safetensors::{Dtype, tensor::TensorView};

use crate::small;

/// What stands in front of the visual tokens and behind them.
const TEXT: [i32; 4] = [1, 3, 4, 9];
const BEFORE: usize = 2;

type Named = (String, Vec<usize>, Vec<f32>);

fn named<const D: usize>(name: &str, tensor: &Tensor<D>) -> Named {
    (name.into(), tensor.dims().into(), tensor.to_data().iter::<f32>().collect())
}

fn write_base(folder: &Path, config: &VilmConfig, parameters: &VilmParameters) {
    checkpoint::save(parameters, folder, usize::MAX, config.family().unwrap().names).unwrap();
    std::fs::write(folder.join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
}

/// Inputs, and states of a pass without a trace.
fn write_dump(file: &Path, config: &VilmConfig, parameters: &VilmParameters) -> Vec<String> {
    let (device, tiles, side) = (Device::flex(), config.preprocess.tiles(), config.vision.image_size());
    let frames = config.vision.frames();
    let values = init::normal(&mut SeededStream::new(3), [tiles * frames, 3, side * side], 1.0, &device);
    let pixels = values.reshape([tiles, frames, 3, side, side]);

    let encoder = &parameters.vision_encoder;
    let encoded = encoder.upper(encoder.lower(pixels.clone().swap_dims(1, 2)).unwrap());
    let mut states = vec![named("vision.last_hidden_state", &encoded.tokens)];
    let mut tokens = encoded.tokens;
    if let Some(norm) = &parameters.vision_layernorm {
        tokens = norm.forward(tokens);
        states.push(named("vision_layernorm", &tokens));
    }
    let [_, count, width] = tokens.dims();
    let identity = encoded.identity.narrow(0, 0, 1);
    let sight = Sight { tokens: tokens.reshape([1, tiles * count, width]), identity, shown: vec![Shown::Tiles(tiles)] };
    let answer = &parameters.answer;
    let visual = answer.visual(&sight, None).unwrap().embeddings;
    let [_, shown, hidden] = visual.dims();
    states.push(named("project_up", &visual.clone().reshape([tiles, shown / tiles, hidden])));

    let words = answer.lm.embed(Tensor::<2, Int>::from_data(TensorData::new(TEXT.to_vec(), [1, 4]), &device));
    let [before, behind] = [words.clone().narrow(1, 0, BEFORE), words.narrow(1, BEFORE, 4 - BEFORE)];
    let merged = Tensor::cat(vec![before, visual, behind], 1);
    states.push(named("merged", &merged));
    let positions = Tensor::<1, Int>::arange(0..(shown + 4) as i64, &device).unsqueeze_dim::<2>(0);
    states.push(named("logits", &answer.lm.logits(answer.lm.forward(merged, positions, None, None), None)));

    let mut ids = TEXT.to_vec();
    ids.splice(BEFORE..BEFORE, std::iter::repeat_n(-1, shown));
    let ids: Vec<u8> = ids.into_iter().flat_map(i32::to_le_bytes).collect();
    let names = states.iter().map(|(name, ..)| name.clone()).collect();
    let mut floats: Vec<Named> =
        states.into_iter().map(|(name, shape, values)| (format!("outputs.clip.{name}"), shape, values)).collect();
    floats.push(named("inputs.clip.pixel_values", &pixels));
    let floats: Vec<(String, Vec<usize>, Vec<u8>)> = floats
        .into_iter()
        .map(|(name, shape, values)| (name, shape, values.into_iter().flat_map(f32::to_le_bytes).collect()))
        .collect();
    let mut views: Vec<(&str, TensorView<'_>)> = floats
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()))
        .collect();
    views.push(("inputs.clip.input_ids", TensorView::new(Dtype::I32, vec![1, shown + 4], &ids).unwrap()));
    std::fs::write(file, safetensors::serialize(views, None).unwrap()).unwrap();
    names
}

/// What a trace sees of a clip, and what the parts say that it sees.
fn assert_all_states_are_shown(config: &VilmConfig, parameters: &VilmParameters) {
    let (tiles, side) = (config.preprocess.tiles(), config.vision.image_size());
    let pixels = Tensor::<5>::zeros([tiles, config.vision.frames(), 3, side, side], &Device::flex());
    let mut shown = Vec::new();
    let mut watch = |name: &str, _: &Tensor<3>| shown.push(name.to_string());
    let mut trace = Trace::new(&mut watch);
    let encoded = parameters.vision_encoder.encode_watched(pixels, None, &mut trace).unwrap();
    let [_, count, width] = encoded.tokens.dims();
    let tokens = encoded.tokens.reshape([1, tiles * count, width]);
    let sight = Sight { tokens, identity: encoded.identity.narrow(0, 0, 1), shown: vec![Shown::Tiles(tiles)] };
    parameters.answer.bridge.visual_traced(&sight, None, &mut trace).unwrap();
    let bridge = &parameters.answer.bridge;
    assert_eq!(shown, parameters.vision_encoder.states().into_iter().chain(bridge.states()).collect::<Vec<_>>());
}

#[test]
fn bases_with_a_q_former_are_compared_and_a_changed_weight_is_found_in_its_part() {
    let routing = Routing::Relu { shared: 4, rescale: true };
    for config in [small::config(), miniature::config(12, routing)] {
        let mut parameters = config.init(&SeededStream::new(5), &Device::flex()).unwrap();
        assert_all_states_are_shown(&config, &parameters);
        let folder = tempfile::tempdir().unwrap();
        let dump = folder.path().join("states.safetensors");
        let states = write_dump(&dump, &config, &parameters);
        write_base(folder.path(), &config, &parameters);
        let found = compare(folder.path(), &dump, None, &Device::flex()).unwrap();
        assert_eq!(found.iter().map(|found| found.state.clone()).collect::<Vec<_>>(), states, "{}", config.family);
        assert!(found.iter().all(|found| found.relative < tolerance(None) / 10.0), "{found:?}");

        let Bridge::QFormer(bridge) = &mut parameters.answer.bridge else { panic!("another bridge") };
        bridge.project_up.weight = Param::from_tensor(bridge.project_up.weight.val() * 1.5);
        write_base(folder.path(), &config, &parameters);
        let found = compare(folder.path(), &dump, None, &Device::flex()).unwrap();
        assert_eq!(first_deviating(&found, tolerance(None)).unwrap().state, "project_up", "{}", config.family);
    }
}
