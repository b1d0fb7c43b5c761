//! Names and shapes of the public checkpoint, and the way through its files.

use crate::small::{codec, config, folder, parameters};
use burn::{
    prelude::*,
    tensor::{DType, FloatDType},
};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    Error,
    checkpoint::{self, Checkpoint, INDEX, SINGLE},
    families::internvideo2_chat::{
        self, FAMILY,
        names::{is_ignored, public_name},
    },
    subject::{HEAD_ROW, TOKENS, WORD_ROW},
    vilm::{Vilm, VilmConfig},
};
use pvchat_nn::weights::inventory;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{collections::BTreeMap, path::Path};

/// One tensor of a file, copied out.
type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

fn entries(file: &Path) -> Vec<Entry> {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.into(), view.dtype(), view.shape().to_vec(), view.data().to_vec())).collect()
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let views = entries.iter().map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn load(entries: &[Entry]) -> (Vilm, checkpoint::Loaded) {
    let file = Checkpoint::from_bytes("public.safetensors", written(entries)).unwrap();
    Vilm::from_checkpoint(config(), codec(), &file, &Device::flex()).unwrap()
}

/// All values, as the one file that they are written to.
fn saved(vilm: &Vilm) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    checkpoint::save(vilm.parameters(), folder.path(), usize::MAX, FAMILY.names).unwrap();
    std::fs::read(folder.path().join(SINGLE)).unwrap()
}

/// Builds the whole model, of which nothing takes memory before it is used.
#[test]
fn the_full_model_has_every_public_name_and_shape_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/checkpoint_keys.json");
    let listed: BTreeMap<String, Vec<usize>> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (unused, needed): (BTreeMap<_, _>, BTreeMap<_, _>) = listed.into_iter().partition(|(name, _)| is_ignored(name));
    let unused: Vec<&String> = unused.keys().collect();
    assert_eq!(unused, ["project_down.bias", "project_down.weight", "qformer.bert.embeddings.position_ids"]);

    let model = internvideo2_chat::config().init(&SeededStream::new(0), &Device::flex()).unwrap();
    let parameters = inventory::parameters(&model);
    let count: usize = parameters.iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum();
    println!("{} parameters in {} tensors", count, parameters.len());
    let ours: BTreeMap<_, _> = parameters.into_iter().map(|found| (public_name(&found.name), found.shape)).collect();
    for (name, shape) in &needed {
        assert_eq!(ours.get(name), Some(shape), "{name}");
    }
    assert_eq!(ours.len(), needed.len(), "{:?}", ours.keys().find(|name| !needed.contains_key(*name)));
}

#[test]
fn what_is_saved_in_one_file_or_in_several_is_opened_again() {
    let (one, several) = (folder(1, usize::MAX), folder(1, 20_000));
    assert!(one.path().join(SINGLE).is_file() && !one.path().join(INDEX).exists());
    assert!(several.path().join(INDEX).is_file() && !several.path().join(SINGLE).exists());
    let device = Device::flex();
    let (from_one, from_several) = (Vilm::open(one.path(), &device).unwrap(), Vilm::open(several.path(), &device).unwrap());
    let expected = std::fs::read(one.path().join(SINGLE)).unwrap();
    assert_eq!(saved(&from_one), expected);
    assert_eq!(saved(&from_several), expected);
    assert_ne!(expected, std::fs::read(folder(2, usize::MAX).path().join(SINGLE)).unwrap(), "the seed decides");
    // Saved from the model, with everything that opening needs.
    let again = tempfile::tempdir().unwrap();
    from_several.save(again.path()).unwrap();
    let again = Vilm::open(again.path(), &device).unwrap();
    assert_eq!(saved(&again), expected);
    assert_eq!(again.config(), &config());
}

#[test]
fn other_public_spellings_mean_the_same_parameters() {
    let original = folder(1, usize::MAX);
    let tensors = entries(&original.path().join(SINGLE));
    let expected = saved(&load(&tensors).0);
    let spelled = |rewrite: &dyn Fn(&str) -> String| -> Vec<Entry> {
        tensors.iter().cloned().map(|(name, dtype, shape, data)| (rewrite(&name), dtype, shape, data)).collect()
    };
    // PEFT from 0.7 on.
    let layered = spelled(&|name| match name.strip_suffix("_proj.weight") {
        Some(layer) if name.starts_with("lm.") => format!("{layer}_proj.base_layer.weight"),
        _ => name.into(),
    });
    assert!(layered.iter().any(|(name, ..)| name.contains("base_layer")));
    assert_eq!(saved(&load(&layered).0), expected);
    // What the public checkpoint holds and nobody uses.
    let mut more = tensors.clone();
    more.push(("project_down.bias".into(), Dtype::F32, vec![24], vec![0; 96]));
    more.push(("qformer.bert.embeddings.position_ids".into(), Dtype::I64, vec![1, 16], vec![0; 128]));
    let (vilm, loaded) = load(&more);
    assert_eq!(saved(&vilm), expected);
    assert_eq!(loaded.ignored, ["project_down.bias", "qformer.bert.embeddings.position_ids"]);
    // A plain Mistral file beside the rest.
    let (language, rest): (Vec<Entry>, Vec<Entry>) =
        tensors.iter().cloned().partition(|(name, ..)| name.starts_with("lm.") && !name.contains(".lora_"));
    let plain: Vec<Entry> = language
        .into_iter()
        .map(|(name, dtype, shape, data)| (name.replace("lm.base_model.model.", ""), dtype, shape, data))
        .collect();
    assert!(plain.iter().any(|(name, ..)| name == "model.layers.0.mlp.up_proj.weight"));
    let joined =
        Checkpoint::from_bytes("rest", written(&rest)).unwrap().join(Checkpoint::from_bytes("mistral", written(&plain)).unwrap());
    let vilm = Vilm::from_checkpoint(config(), codec(), &joined, &Device::flex()).unwrap().0;
    assert_eq!(saved(&vilm), expected);
}

#[test]
fn a_base_without_routers_gets_new_ones_and_says_so() {
    let original = folder(1, usize::MAX);
    let tensors = entries(&original.path().join(SINGLE));
    let base: Vec<Entry> = tensors
        .iter()
        .filter(|(name, ..)| !name.contains("router_alpha") && !name.contains("lora_") && name != "personal_query_tokens")
        .cloned()
        .collect();
    let (vilm, loaded) = load(&base);
    assert_eq!(loaded.created.len(), 4, "{:?}", loaded.created);
    assert_eq!(saved(&vilm).len(), saved(&load(&tensors).0).len());
    // A part of a group is a damaged file, not a base without the group.
    let mut damaged = tensors.clone();
    let at = damaged.iter().position(|(name, ..)| name.contains("router_alpha")).unwrap();
    let (lost, ..) = damaged.remove(at);
    let file = Checkpoint::from_bytes("damaged.safetensors", written(&damaged)).unwrap();
    let error = Vilm::from_checkpoint(config(), codec(), &file, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains(&lost) && error.contains("damaged.safetensors"), "{error}");
}

#[test]
fn rows_that_fine_tuning_added_come_out_as_subject_rows() {
    let original = folder(1, usize::MAX);
    let mut tensors = entries(&original.path().join(SINGLE));
    let expected = saved(&load(&tensors).0);
    for (table, value) in [("model.embed_tokens.weight", 0.5_f32), ("lm_head.weight", -2.0)] {
        let name = format!("lm.base_model.model.{table}");
        let (_, _, shape, data) = tensors.iter_mut().find(|(found, ..)| *found == name).unwrap();
        shape[0] += 1;
        data.extend(std::iter::repeat_n(value.to_le_bytes(), 32).flatten());
    }
    let (vilm, loaded) = load(&tensors);
    assert_eq!(saved(&vilm), expected);
    assert_eq!(loaded.subject_rows, Some([vec![vec![0.5; 32]], vec![vec![-2.0; 32]]]));
    // And the model hands them out as a subject, with the personal query tokens of the checkpoint.
    let name = "Aa".parse().unwrap();
    let found = vilm.found_subject(0, &name).unwrap();
    assert_eq!((found.values(WORD_ROW), found.values(HEAD_ROW)), ([0.5; 32].as_slice(), [-2.0; 32].as_slice()));
    let tokens = entries(&original.path().join(SINGLE)).into_iter().find(|(name, ..)| name == "personal_query_tokens").unwrap().3;
    let tokens: Vec<f32> = tokens.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    assert_eq!(found.values(TOKENS), tokens);
    assert_eq!(found.info.base, vilm.fingerprint());
    assert_eq!(vilm.found_subject(1, &name), None);
    assert_eq!(load(&entries(&original.path().join(SINGLE))).0.found_subject(0, &name), None);
    let frames = vec![image::RgbImage::from_pixel(28, 28, image::Rgb([90, 120, 150])); vilm.frames()];
    let sight = vilm.look(&[&vilm.prepare(&frames)]).unwrap();
    let subjects = [found];
    let view = vilm.with_subjects(&subjects);
    let answer = view.ask(&sight, "Is <Aa> in this video?", &view.default_options(), |_| std::ops::ControlFlow::Continue(()));
    assert_eq!(answer.unwrap().presence.len(), 1);
}

#[test]
fn half_precision_files_are_widened_or_read_as_they_are() {
    let original = folder(1, usize::MAX);
    let mut tensors = entries(&original.path().join(SINGLE));
    for (_, dtype, _, data) in &mut tensors {
        *dtype = Dtype::BF16;
        // The upper half of an f32 is a bf16.
        *data = data.chunks(4).flat_map(|value| [value[2], value[3]]).collect();
    }
    let (vilm, _) = load(&tensors);
    let norm = vilm.parameters().vision_layernorm.as_ref().unwrap().gamma.val();
    assert_eq!(norm.dtype(), DType::F32);
    let mut narrow = parameters(2);
    let file = Checkpoint::from_bytes("bf16", written(&tensors)).unwrap().in_precision(FloatDType::BF16);
    file.load(&mut narrow, FAMILY.names).unwrap();
    assert_eq!(narrow.answer.lm.norm.gamma.val().dtype(), DType::BF16);
}

/// Keys and values as in the config.json of the released model of one person.
fn released() -> serde_json::Value {
    serde_json::json!({
        "model_path": "/somewhere/else", "sks_name": "<Aa>", "model_cls": "InternVideo2_VideoChat2",
        "num_personal_token": 16, "num_prefix_token": 0, "personal_token_lr": 1e-4, "num_epochs": 8, "torch_dtype": "float32",
        "auto_map": { "AutoConfig": "model_config.VideoChat2Config" },
        "model_config": {
            "sks_name": "<Aa>", "initializer_range": 0.02, "freeze_vision_encoder": true, "use_flash_attention": true,
            "pretrained_paths": {}, "loss": { "use_vision_regression_loss": false },
            "vision_encoder": {
                "name": "internvideo2-1B", "d_model": 1408, "encoder_embed_dim": 1408, "img_size": 224, "patch_size": 14,
                "num_frames": 8, "origin_num_frames": 4, "tubelet_size": 1, "x_vis_only": true, "x_vis_return_idx": -2,
                "vit_add_ln": true, "sep_image_video_pos_embed": true, "use_checkpoint": true, "checkpoint_num": 48,
                "pretrained": null,
            },
            "bridge": {
                "name": "qformer", "num_query_token": 32, "extra_num_query_token": 64, "num_personal_token": 16,
                "num_prefix_token": 0, "qformer_hidden_dropout_prob": 0.1, "qformer_attention_probs_dropout_prob": 0.1,
                "qformer_drop_path_rate": 0.2,
            },
            "llm": {
                "name": "mistral_7b", "pretrained_llm_path": "mistralai/Mistral-7B-Instruct-v0.3", "use_lora": true,
                "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.1,
            },
        },
    })
}

#[test]
fn the_released_configuration_is_read_as_it_is() {
    let read = |json: &serde_json::Value| VilmConfig::from_json("config.json", json.to_string().as_bytes());
    assert_eq!(read(&released()).unwrap(), internvideo2_chat::config());
    // The base that it was fine-tuned from says nothing of people.
    let mut base = released();
    base["model_config"]["bridge"].as_object_mut().unwrap().retain(|key, _| !key.contains("personal") && !key.contains("prefix"));
    assert_eq!(read(&base).unwrap(), internvideo2_chat::config());
    let changes: [(&str, serde_json::Value, &str); 8] = [
        ("vision_encoder/name", "internvideo2-6B".into(), "internvideo2-1B"),
        ("bridge/name", "linear".into(), "qformer"),
        ("llm/name", "internlm2_5_7b".into(), "mistral_7b"),
        ("vision_encoder/tubelet_size", 2.into(), "spans one frame"),
        ("vision_encoder/vit_add_ln", false.into(), "has it on"),
        ("vision_encoder/encoder_embed_dim", 1024.into(), "d_model"),
        ("bridge/num_prefix_token", 16.into(), "prefix tokens"),
        ("bridge/num_query_token", 0.into(), "query_tokens"),
    ];
    for (place, value, said) in changes {
        let mut other = released();
        *other.pointer_mut(&format!("/model_config/{place}")).unwrap() = value;
        let error = read(&other).unwrap_err();
        assert!(matches!(error, Error::Config { .. }) && error.to_string().contains(said), "{place}: {error}");
    }
    let mut damaged = released();
    damaged["model_config"]["llm"] = serde_json::Value::Null;
    let error = read(&damaged).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("that came with the weights"), "{error}");
}
