//! Golden tests of the vision encoder: tables, patch embedding, every block, features, for a clip and an image.

use crate::support::{Golden, VALUE, assert_all_close, devices};
use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_model::{
    Error,
    families::internvideo2_chat::{InternVideo2, InternVideo2Config},
    vision::{VISION_LAYERNORM_EPSILON, VisionEncoder},
};
use pvchat_nn::{operations::LayerNorm, weights::apply_tensors};

fn config(golden: &Golden) -> InternVideo2Config {
    InternVideo2Config {
        width: golden.size("embed_dim"),
        depth: golden.size("configured_depth"),
        return_index: golden.config()["x_vis_return_idx"].as_i64().unwrap() as isize,
        heads: golden.size("heads"),
        mlp_hidden: golden.size("mlp_hidden"),
        image_size: golden.size("img_size"),
        patch_size: golden.size("patch_size"),
        frames: golden.size("frames"),
        rms_norm_epsilon: golden.number("rms_norm_eps"),
        ..InternVideo2Config::full()
    }
}

fn init(golden: &Golden, device: &Device) -> InternVideo2 {
    config(golden).init(&SeededStream::new(0), device).unwrap()
}

#[test]
fn every_block_equals_the_reference() {
    let golden = Golden::open("vit_tiny");
    for (backend, device) in devices() {
        println!("vit_tiny on {backend}");
        let mut encoder = init(&golden, &device);
        assert_eq!(encoder.blocks.len(), golden.size("built_blocks"));
        apply_tensors(&mut encoder, &golden.source().under("weights.vision_encoder."), &[]).unwrap().require_exact().unwrap();
        let mut norm = LayerNorm::new(encoder.width(), golden.number("vision_layernorm_eps"), &device);
        apply_tensors(&mut norm, &golden.source().under("weights.vision_layernorm."), &[]).unwrap().require_exact().unwrap();
        for kind in ["video", "image"] {
            let pixels = golden.tensor::<5>(&format!("inputs.{kind}"), &device);
            let frames = pixels.dims()[2];
            golden.assert_close(&format!("outputs.{kind}.patch_embed"), encoder.patch_embed.forward(pixels.clone()), VALUE);
            let mut states = encoder.embed(pixels.clone()).unwrap();
            for (index, block) in encoder.blocks.iter().enumerate() {
                states = block.forward(states);
                golden.assert_close(&format!("outputs.{kind}.block{index}"), states.clone(), VALUE);
            }
            let features = encoder.encode(pixels).unwrap();
            assert_eq!(features.dims()[1], encoder.tokens(frames));
            golden.assert_close(&format!("outputs.{kind}.features"), features.clone(), VALUE);
            golden.assert_close(&format!("outputs.{kind}.normalized"), norm.forward(features), VALUE);
        }
    }
}

#[test]
fn the_position_tables_start_as_sine_and_cosine() {
    let golden = Golden::open("vit_tiny");
    for (_, device) in devices() {
        let encoder = init(&golden, &device);
        golden.assert_close("outputs.init.pos_embed", encoder.pos_embed.val(), VALUE);
        golden.assert_close("outputs.init.img_pos_embed", encoder.img_pos_embed.val(), VALUE);
    }
}

#[test]
fn other_frame_counts_interpolate_the_table_and_keep_the_class_row() {
    let golden = Golden::open("vit_tiny");
    let device = &devices()[0].1;
    let encoder = init(&golden, device);
    let [frames, size, width] = [golden.size("frames"), golden.size("img_size"), encoder.width()];
    // Black pixels and a zero bias leave class token and positions alone.
    let embedded = encoder.embed(Tensor::zeros([1, 3, 2 * frames, size, size], device)).unwrap();
    let values: Vec<f32> = embedded.into_data().iter::<f32>().collect();
    let table: Vec<f32> = encoder.pos_embed.val().into_data().iter::<f32>().collect();
    let class: Vec<f32> = encoder.cls_token.val().into_data().iter::<f32>().collect();
    assert_eq!(values.len(), (encoder.tokens(2 * frames)) * width);
    assert_all_close("class row", &values[..width], &class, 1e-6);
    let patches = (size / golden.size("patch_size")).pow(2) * width;
    // The second of twice as many frames lies between the first and the next one; a table of one frame has no next.
    let next = if frames > 1 { patches } else { 0 };
    assert_all_close("first frame", &values[width..width + patches], &table[width..width + patches], 1e-5);
    let mixed: Vec<f32> = (width..width + patches).map(|i| 0.75 * table[i] + 0.25 * table[i + next]).collect();
    assert_all_close("second frame", &values[width + patches..width + 2 * patches], &mixed, 1e-5);
}

#[test]
fn full_size_is_the_published_one() {
    let full = InternVideo2Config::full();
    full.validate().unwrap();
    assert_eq!(Golden::open_own("vit_tiny").number("vision_layernorm_eps"), VISION_LAYERNORM_EPSILON);
    assert_eq!(full.built_blocks(), 39);
    // One of the blocks, so that the test stays small.
    let encoder = InternVideo2Config { depth: 2, ..full }.init(&SeededStream::new(0), &devices()[0].1).unwrap();
    assert_eq!((encoder.tokens(8), encoder.tokens(1), encoder.width()), (2049, 257, 1408));
    let block = 6 * 1408 + 3 * 1408 * 1408 + 1408 * 1408 + 1408 + 2 * 1408 * 6144 + 6144 + 1408;
    let stem = 1408 + 2049 * 1408 + 257 * 1408 + 1408 * 3 * 14 * 14 + 1408;
    assert_eq!(encoder.num_params(), block + stem);
    assert_eq!(39 * block + stem, 988_779_520, "what the public checkpoint holds");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let small = InternVideo2Config {
        width: 48,
        depth: 4,
        heads: 4,
        mlp_hidden: 96,
        image_size: 28,
        frames: 4,
        ..InternVideo2Config::full()
    };
    let wrong = [
        (InternVideo2Config { width: 40, ..small.clone() }, "width", "40"),
        (InternVideo2Config { image_size: 30, ..small.clone() }, "image_size", "14"),
        (InternVideo2Config { return_index: 0, ..small.clone() }, "return_index", "0"),
        (InternVideo2Config { return_index: -5, ..small.clone() }, "return_index", "4"),
        (InternVideo2Config { patch_size: 0, ..small.clone() }, "patch_size", "0"),
    ];
    for (config, key, number) in wrong {
        let error = config.validate().unwrap_err();
        assert!(matches!(&error, Error::Config { key: found, .. } if *found == key), "{error}");
        assert!(error.to_string().contains(number), "{error}");
    }
    let device = &devices()[0].1;
    let encoder = small.init(&SeededStream::new(0), device).unwrap();
    for shape in [[1, 3, 4, 28, 42], [1, 1, 4, 28, 28], [1, 3, 0, 28, 28]] {
        assert!(matches!(encoder.encode(Tensor::zeros(shape, device)), Err(Error::Shape { .. })), "{shape:?}");
    }
}
