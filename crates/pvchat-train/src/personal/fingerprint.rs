//! What identifies a run of learning: a run resumes from a checkpoint only if all of it is the same.

use std::collections::BTreeMap;

use pvchat_model::{
    prompt::EncodedText,
    subject::{HEAD_ROW, IDENTITY, Subject, TOKENS, WORD_ROW},
    vilm::Vilm,
};
use sha2::{Digest, Sha256};

use super::{AskedWith, LearnClip, LearnConfig, LearnData};

/// Names and values of everything that the result depends on.
pub(super) fn fingerprint(vilm: &Vilm, starts: &[Subject], data: &LearnData, config: &LearnConfig) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> =
        data.source.iter().map(|(key, value)| (format!("data: {key}"), value.clone())).collect();
    flatten("learning", &serde_json::to_value(config).unwrap_or_default(), &mut all);
    let clips = |clips: &[LearnClip]| {
        format!("{} clips, {}", clips.len(), digest(|hash| clips.iter().for_each(|clip| clip_into(clip, data, hash))))
    };
    let start_digest = digest(|hash| {
        for start in starts {
            let known = [TOKENS, IDENTITY, WORD_ROW, HEAD_ROW];
            known.into_iter().for_each(|name| values_into(start.values(name), hash));
            let others = start.tensors.iter().filter(|(name, _)| !known.contains(&name.as_str()));
            others.for_each(|(_, tensor)| values_into(&tensor.values, hash));
        }
    });
    let names: Vec<String> = starts.iter().map(|start| start.info.name.to_string()).collect();
    for (key, value) in [
        ("program", format!("pvchat-train {}", env!("CARGO_PKG_VERSION"))),
        ("backend", format!("{:?}", vilm.device())),
        ("base model", vilm.fingerprint().to_string()),
        ("precision", format!("{:?}", vilm.parameters().answer.lm.dtype())),
        ("subject", names.join(" ")),
        ("enrolled form", start_digest),
        ("data: images", clips(&data.images)),
        ("data: clips", clips(&data.clips)),
        ("data: held back", clips(&data.held_back)),
        ("data: untouched", clips(&data.real)),
    ] {
        all.insert(key.into(), value);
    }
    all
}

fn flatten(key: &str, value: &serde_json::Value, into: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(entries) => {
            entries.iter().for_each(|(name, value)| flatten(&format!("{key}.{name}"), value, into));
        }
        other => {
            into.insert(key.into(), other.to_string());
        }
    }
}

fn digest(feed: impl FnOnce(&mut Sha256)) -> String {
    let mut hash = Sha256::new();
    feed(&mut hash);
    hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn clip_into(clip: &LearnClip, data: &LearnData, hash: &mut Sha256) {
    for (&asked, &present) in clip.asked.iter().zip(&clip.present) {
        hash.update((asked as u64).to_le_bytes());
        hash.update([u8::from(present)]);
    }
    if clip.tokens != AskedWith::Own {
        hash.update(format!("{:?}", clip.tokens));
    }
    hash.update(data.features.digest(clip.features));
    if let Some(shown) = data.own_shown.get(&clip.features) {
        hash.update(format!("{shown:?}"));
    }
    for EncodedText { ids, answer_start } in &clip.texts {
        hash.update((ids.len() as u64).to_le_bytes());
        hash.update((*answer_start as u64).to_le_bytes());
        ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
    }
}

fn values_into(values: &[f32], hash: &mut Sha256) {
    hash.update((values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| hash.update(value.to_le_bytes()));
}
