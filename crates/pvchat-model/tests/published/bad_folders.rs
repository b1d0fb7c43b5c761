//! Folders of SmolVLM2 that are damaged, or made to do harm: one error each, which names the file, the tensor and the remedy, and
//! nothing is half loaded.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use burn::{prelude::*, store::bridge};
use pvchat_model::{
    Error,
    checkpoint::{INDEX, SINGLE},
    families::smolvlm2::SmolVlm2Config,
    vilm::Vilm,
};
use pvchat_nn::{packed::Precision, weights::TensorSource};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use crate::tiny_smolvlm2::{folder, frames, published, tokenizer};

const WORDS: &str = "model.text_model.embed_tokens.weight";
const PATCHES: &str = "model.vision_model.embeddings.patch_embedding.weight";

fn open(folder: &Path) -> pvchat_model::Result<Vilm> {
    Vilm::open(folder, &Device::flex())
}

/// The error at opening a folder that `damage` changed, as text; its weights are in one file, or in several. Packing them as they
/// are read, as the program does to ask, finds the same.
fn refused(what: &str, shard_bytes: usize, damage: impl FnOnce(&Path)) -> String {
    let folder = folder(&published(), shard_bytes);
    let packed = || Vilm::open_packed(Precision::Bf16, folder.path(), &Device::flex());
    assert!(open(folder.path()).is_ok() && packed().is_ok());
    damage(folder.path());
    let error = open(folder.path()).expect_err(what).to_string();
    println!("{what}: {error}");
    let again = packed().expect_err(what).to_string();
    // How much memory is needed depends on how the weights are kept.
    assert!(again == error || error.contains("of memory"), "{what}: packed, it is {again}");
    error
}

fn assert_says(what: &str, error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{what}: {part:?} is not in: {error}");
    }
}

fn changed(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

fn shards(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut shards: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect();
    shards.sort();
    shards
}

/// The file with one value of a tensor replaced, in that type.
fn with_value(file: &Path, tensor: &str, dtype: Dtype, value: f32) {
    let bytes = fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let entry = |(name, view): (&str, TensorView<'_>)| {
        let mut data = view.data().to_vec();
        if name == tensor {
            let place = data.len() / 2 / 4 * 4;
            data[place..place + 4].copy_from_slice(&value.to_le_bytes());
        }
        let data: Vec<u8> = match dtype {
            Dtype::BF16 => data.as_chunks::<4>().0.iter().flat_map(|value| [value[2], value[3]]).collect(),
            _ => data,
        };
        (name.to_string(), view.shape().to_vec(), data)
    };
    let entries: Vec<_> = tensors.iter().map(entry).collect();
    let views = entries.iter().map(|(name, shape, data)| (name, TensorView::new(dtype, shape.clone(), data).unwrap()));
    let written = safetensors::serialize(views, None).unwrap();
    fs::write(file, written).unwrap();
}

/// A safetensors file with that header and nothing behind it.
fn header_alone(header: &Value) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

#[test]
fn another_folder_is_none_of_a_base() {
    let empty = tempfile::tempdir().unwrap();
    let error = open(empty.path()).unwrap_err();
    assert!(matches!(&error, Error::Io { file, .. } if file.ends_with("config.json")), "{error}");
    let error = open(&empty.path().join("nowhere")).unwrap_err();
    assert!(matches!(&error, Error::Io { file, .. } if file.ends_with("nowhere/config.json")), "{error}");
    let error = refused("another model", usize::MAX, |folder| {
        changed(&folder.join("config.json"), |config| config["model_type"] = "llava".into());
    });
    assert_says("another model", &error, &["config.json", "\"llava\"", "smolvlm2"]);
    let error = refused("no weights", usize::MAX, |folder| fs::remove_file(folder.join(SINGLE)).unwrap());
    assert_says("no weights", &error, &["neither model.safetensors nor", "or fetch them"]);
}

#[test]
fn shards_that_are_missing_cut_short_or_not_as_the_index_says_are_named() {
    let error = refused("a missing shard", 20_000, |folder| fs::remove_file(&shards(folder)[1]).unwrap());
    assert_says("a missing shard", &error, &["model-00002-of-", "is missing", INDEX, "fetch all files of the checkpoint again"]);
    let error = refused("an index against its shards", 20_000, |folder| {
        changed(&folder.join(INDEX), |index| {
            let map = index["weight_map"].as_object_mut().unwrap();
            let other = map.values().find(|file| **file != map[WORDS]).unwrap().clone();
            map[WORDS] = other;
        });
    });
    assert_says("an index against its shards", &error, &[INDEX, WORDS, "fetch all files of the checkpoint again"]);
    for (share, shard_bytes) in [(2, usize::MAX), (3, 20_000)] {
        let error = refused("a file cut short", shard_bytes, |folder| {
            let file = &shards(folder)[0];
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / share]).unwrap();
        });
        assert_says("a file cut short", &error, &["model", ".safetensors", "fetch or write it again"]);
    }
    let error = refused("a tensor that is lost", usize::MAX, |folder| {
        let bytes = fs::read(folder.join(SINGLE)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let kept = tensors.iter().filter(|(name, _)| *name != PATCHES);
        fs::write(folder.join(SINGLE), safetensors::serialize(kept, None).unwrap()).unwrap();
    });
    assert_says("a tensor that is lost", &error, &[SINGLE, "lacks", PATCHES, "use the weights of this configuration"]);
}

#[test]
fn headers_that_claim_what_the_file_has_not_are_refused_before_memory_is_taken() {
    let started = Instant::now();
    let terabytes = 1_u64 << 42;
    let claims = [
        ("a header of 2^63 bytes", (u64::MAX / 2).to_le_bytes().to_vec()),
        ("a header of the largest length", [100_000_000_u64.to_le_bytes().as_slice(), b"{}"].concat()),
        (
            "a tensor of terabytes",
            header_alone(&serde_json::json!({ WORDS: {
                "dtype": "F32", "shape": [terabytes / 4], "data_offsets": [0, terabytes] } })),
        ),
        (
            "a shape beyond all numbers",
            header_alone(&serde_json::json!({ WORDS: {
                "dtype": "F32", "shape": [u64::MAX, u64::MAX], "data_offsets": [0, 0] } })),
        ),
        (
            "places that go backwards",
            header_alone(&serde_json::json!({ WORDS: { "dtype": "F32", "shape": [1], "data_offsets": [8, 4] } })),
        ),
    ];
    for (what, bytes) in claims {
        let error = refused(what, usize::MAX, |folder| fs::write(folder.join(SINGLE), bytes).unwrap());
        assert_says(what, &error, &[SINGLE, "fetch or write it again"]);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn values_that_are_not_finite_are_refused_with_their_tensor_and_its_file() {
    for dtype in [Dtype::F32, Dtype::BF16] {
        for (tensor, value) in [(WORDS, f32::NAN), (PATCHES, f32::INFINITY), ("lm_head.weight", f32::NEG_INFINITY)] {
            let error = refused("one value", usize::MAX, |folder| with_value(&folder.join(SINGLE), tensor, dtype, value));
            assert_says("one value", &error, &[SINGLE, tensor, "not finite", "fetch the file again"]);
        }
    }
    // The largest finite value is one.
    let whole = folder(&published(), usize::MAX);
    with_value(&whole.path().join(SINGLE), WORDS, Dtype::F32, f32::MAX);
    assert!(open(whole.path()).is_ok());
    // In several files, the one that holds it is named.
    let mut home = String::new();
    let error = refused("one value of a shard", 20_000, |folder| {
        let index: Value = serde_json::from_slice(&fs::read(folder.join(INDEX)).unwrap()).unwrap();
        home = index["weight_map"][PATCHES].as_str().unwrap().into();
        with_value(&folder.join(&home), PATCHES, Dtype::F32, f32::NAN);
    });
    assert_says("one value of a shard", &error, &[&home, PATCHES]);
}

/// Says the part of a test that a child process with little memory runs.
const CHILD: &str = "PVCHAT_TEST_LITTLE_MEMORY";

#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_memory_is_an_error_and_not_the_end_of_the_program() {
    if std::env::var_os(CHILD).is_some() {
        let folder = folder(&published(), usize::MAX);
        changed(&folder.path().join("config.json"), |config| config["text_config"]["vocab_size"] = (1 << 24).into());
        println!("{}", open(folder.path()).expect_err("two gigabytes"));
        return;
    }
    let test = std::env::current_exe().unwrap();
    let name = "bad_folders::a_limit_of_memory_is_an_error_and_not_the_end_of_the_program";
    for limit in ["-v", "-d"] {
        let command = format!("ulimit {limit} 2000000; exec \"$0\" --exact {name} --nocapture --test-threads 1");
        let child = std::process::Command::new("sh").args(["-c", &command]).arg(&test).env(CHILD, "1").output().unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{told}{}", String::from_utf8_lossy(&child.stderr));
        assert_says(limit, &told, &["config.json", "of memory", &format!("ulimit {limit}"), "use a smaller model"]);
    }
}

#[test]
fn sizes_that_no_machine_holds_are_refused_before_weights_are_opened() {
    let started = Instant::now();
    let huge = [
        ("text_config", "num_hidden_layers", 1024),
        ("text_config", "intermediate_size", 1 << 20),
        ("text_config", "vocab_size", 1 << 24),
        ("vision_config", "num_hidden_layers", 1024),
        ("vision_config", "intermediate_size", 1 << 20),
    ];
    for (part, key, value) in huge {
        // Each by itself does not fit the weights.
        let error = refused(key, usize::MAX, |folder| {
            changed(&folder.join("config.json"), |config| config[part][key] = value.into());
        });
        assert_says(key, &error, &["use"]);
    }
    // All of them together are thousands of terabytes; the weights are not even looked for.
    let error = refused("thousands of terabytes", usize::MAX, |folder| {
        changed(&folder.join("config.json"), |config| {
            for (part, key, value) in huge.into_iter().filter(|(_, key, _)| *key != "vocab_size") {
                config[part][key] = value.into();
            }
            config["text_config"]["hidden_size"] = (1 << 20).into();
            config["vision_config"]["hidden_size"] = (1 << 20).into();
        });
        fs::remove_file(folder.join(SINGLE)).unwrap();
    });
    assert_says("thousands of terabytes", &error, &["config.json", "of memory", "is free", "use a smaller model"]);
    for (part, key) in [("text_config", "hidden_size"), ("vision_config", "num_hidden_layers")] {
        for value in [0_u64, u64::MAX] {
            let error = refused(key, usize::MAX, |folder| {
                changed(&folder.join("config.json"), |config| config[part][key] = value.into());
            });
            assert_says(key, &error, &["config"]);
        }
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn tokenizers_that_do_not_fit_are_refused_before_weights_are_opened() {
    let error = refused("a tokenizer without <image>", usize::MAX, |folder| {
        changed(&folder.join("tokenizer.json"), |tokenizer| {
            let added = tokenizer["added_tokens"].as_array_mut().unwrap();
            added.iter_mut().find(|token| token["content"] == "<image>").unwrap()["content"] = "<picture>".into();
        });
        fs::remove_file(folder.join(SINGLE)).unwrap();
    });
    assert_says("a tokenizer without <image>", &error, &["tokenizer.json", "\"<image>\"", "that came with the weights"]);
    let error = refused("half a tokenizer", usize::MAX, |folder| {
        let text = tokenizer().to_string();
        fs::write(folder.join("tokenizer.json"), &text[..text.len() / 2]).unwrap();
    });
    assert_says("half a tokenizer", &error, &["tokenizer.json", "that came with the weights"]);
    let error = refused("a tokenizer of another size", usize::MAX, |folder| {
        changed(&folder.join("tokenizer.json"), |tokenizer| {
            tokenizer["model"]["vocab"]["another word"] = 300.into();
        });
    });
    assert_says("a tokenizer of another size", &error, &["vocabulary", "tokens"]);
}

#[test]
fn clips_and_prompts_that_are_too_long_or_empty_are_refused() {
    let (small, eight) = (folder(&published(), usize::MAX), frames(8));
    let vilm = open(small.path()).unwrap();
    assert!(vilm.prepare(&[]).is_empty());
    let many: Vec<_> = (0..10_000).map(|number| eight[number % 8].clone()).collect();
    for (frames, seconds) in [(&[][..], 0), (&many[..], 10_000), (&many[..65], 65)] {
        let times: Vec<f64> = (0..seconds).map(f64::from).collect();
        let error = vilm.look_at(frames, &times, 10_000.0).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Shape { what: "clip", .. }) && text.contains("1 to 64 frames"), "{text}");
    }
    assert!(matches!(vilm.look(&[]), Err(Error::Shape { .. })));
    assert!(matches!(vilm.look_at(&eight, &[0.0], 1.0), Err(Error::Shape { .. })));
    // As many positions as the published models have do for 64 frames of 4 tokens; few positions do not.
    for (max_positions, fits) in [(8192, true), (800, false)] {
        let folder = folder(&SmolVlm2Config { max_positions, ..published() }, usize::MAX);
        let vilm = open(folder.path()).unwrap();
        let times: Vec<f64> = (0..64).map(f64::from).collect();
        let sight = vilm.look_at(&many[..64], &times, 64.0).unwrap();
        let view = vilm.with_subjects(&[]);
        let read = view.read(&sight, &[]).map(|_| ()).map_err(|error| error.to_string());
        match (fits, read) {
            (true, Ok(())) => {}
            (false, Err(error)) => assert_says("a long prompt", &error, &["64 pictures", "show fewer pictures"]),
            (_, other) => panic!("{max_positions} positions: {other:?}"),
        }
        let question = "What is this? ".repeat(8192);
        let sight = vilm.look_at(&eight[..1], &[0.0], 1.0).unwrap();
        let asked = view.ask(&sight, &question, &view.default_options(), |_| std::ops::ControlFlow::Continue(()));
        let error = asked.unwrap_err().to_string();
        assert_says("a long question", &error, &["tokens, at most"]);
    }
}

/// Written by torch 2.15 with `torch.save`: a zip archive of a pickle and its storages.
fn of_torch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/pytorch").join(name)
}

#[test]
fn files_that_pytorch_writes_today_are_read_whatever_their_tensors_look_like_in_memory() {
    let source = TensorSource::open_pytorch(&of_torch("tensors.bin")).unwrap();
    let eighths = |rows: &[&[f32]]| rows.concat().into_iter().map(|value| value / 8.0 - 1.0).collect::<Vec<f32>>();
    let count = |range: std::ops::Range<u8>| range.map(f32::from).collect::<Vec<f32>>();
    let whole = eighths(&[&count(0..24)]);
    let turned: Vec<f32> = (0..24).map(|place| whole[place % 4 * 6 + place / 4]).collect();
    let quarters: Vec<f32> = count(0..5).into_iter().map(|value| value / 4.0 - 0.5).collect();
    let expected: [(&str, &[usize], Vec<f32>); 9] = [
        ("whole", &[4, 6], whole.clone()),
        ("tied", &[4, 6], whole.clone()),
        ("turned", &[6, 4], turned),
        ("part", &[2, 3], eighths(&[&count(8..11), &count(14..17)])),
        ("narrow", &[5], quarters.clone()),
        ("half", &[5], quarters),
        ("double", &[2], vec![0.5, -2.0]),
        ("parameter", &[1, 1], vec![3.0]),
        ("single", &[], vec![7.0]),
    ];
    assert_eq!(source.names().count(), expected.len());
    for (name, shape, values) in expected {
        let tensor = source.tensors().iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(tensor.shape.to_vec(), shape, "{name}");
        assert_eq!(bridge::to_data(tensor).unwrap().iter::<f32>().collect::<Vec<f32>>(), values, "{name}");
    }
}

#[test]
fn code_in_a_file_of_pytorch_is_not_executed_and_damage_is_refused() {
    let whole = fs::read(of_torch("tensors.bin")).unwrap();
    let mut cases = vec![("code", fs::read(of_torch("code.bin")).unwrap())];
    cases.extend([4, 30, whole.len() / 2, whole.len() - 1].map(|length| ("cut short", whole[..length].to_vec())));
    for (what, bytes) in cases {
        let error = refused(what, usize::MAX, |folder| {
            fs::remove_file(folder.join(SINGLE)).unwrap();
            fs::write(folder.join("pytorch_model.bin"), bytes).unwrap();
        });
        assert_says(what, &error, &["pytorch_model.bin", ";"]);
        // What the code in the file would have made.
        assert!(!Path::new("pvchat-executed").exists());
    }
    // A storage that the directory at the end of the archive has under another name: an error at the latest where it is read.
    let mut renamed = whole.clone();
    let place = whole.windows(6).rposition(|window| window == b"data/0").unwrap();
    renamed[place + 5] = b'9';
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), renamed).unwrap();
    if let Ok(source) = TensorSource::open_pytorch(file.path()) {
        let tensor = source.tensors().iter().find(|tensor| tensor.name == "whole").unwrap();
        assert!(bridge::to_data(tensor).is_err());
    }
}
