//! Every family that is known, at a size that fits into a test: what is saved of it is opened again.

use std::{collections::BTreeMap, fs, path::Path};

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_model::{
    checkpoint,
    families::{FAMILIES, miniature},
    vilm::Vilm,
};
use pvchat_nn::moh::Routing;

use crate::{small, tiny_smolvlm2};

/// A small base of a family, in a folder as it is published.
fn published(family: &str) -> tempfile::TempDir {
    match family {
        "miniature" => drawn(),
        "internvideo2_chat" => small::folder(1, usize::MAX),
        "smolvlm2" => tiny_smolvlm2::folder(&tiny_smolvlm2::published(), usize::MAX),
        other => panic!("no test saves and opens the family {other}: add a small base of it here"),
    }
}

/// The miniature with random weights. Its tokenizer has the words of its prompts and nothing to ask with.
fn drawn() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let format = miniature::prompt_format();
    let words = [format.begin, format.before_question, format.after_question, format.end];
    let config = miniature::config(words.len(), Routing::Relu { shared: 2, rescale: true });
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        words.iter().enumerate().map(|(id, word)| (word.clone(), id.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null, "decoder": null,
        "added_tokens": [], "pre_tokenizer": { "type": "WhitespaceSplit" },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": words[0] },
    });
    let parameters = config.init(&SeededStream::new(1), &Device::flex()).unwrap();
    checkpoint::save(&parameters, folder.path(), usize::MAX, miniature::FAMILY.names).unwrap();
    for (name, bytes) in (miniature::FAMILY.write)(&config).unwrap() {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    folder
}

/// The files of a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), fs::read(&path).unwrap())).collect()
}

#[test]
fn every_family_is_saved_and_opened_again() {
    let device = Device::flex();
    for family in FAMILIES {
        let (folder, saved, again) = (published(family.name), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Vilm::open(folder.path(), &device).unwrap();
        assert_eq!(first.config().family, family.name);
        first.save(saved.path()).unwrap();
        let second = Vilm::open(saved.path(), &device).unwrap();
        assert_eq!(second.config(), first.config(), "{}", family.name);
        let weights = |folder: &Path| fs::read(folder.join(checkpoint::SINGLE)).unwrap();
        assert!(weights(saved.path()) == weights(folder.path()), "{}: other weights", family.name);
        second.save(again.path()).unwrap();
        assert!(files(again.path()) == files(saved.path()), "{}: what is saved again differs", family.name);
    }
}
