//! Whether a model fits into free memory, checked before it is read: a failed allocation ends the program without a message about
//! the file.

use std::{fs, path::Path};

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_nn::{device, packed::Precision, weights::inventory::parameters};

use super::VilmConfig;
use crate::{Error, Result, checkpoint, families::VisionTower};

/// What a question needs in addition to the weights, in bytes: frames, the encoder's states, the cache.
const WORK: u64 = 256 << 20;

/// The parameter that is looked up for each token, and never packed.
const WORD_TABLE: &str = "answer.lm.embed_tokens.weight";

/// How a model is kept in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    /// Tensors; the number of bits of a parameter of the encoder or the language model.
    Tensors(usize),
    /// Packed, one matrix after another.
    Packed(Precision),
}

impl Kept {
    /// Bits that a number of a parameter takes, at most.
    fn bits(self, name: &str, tower: &VisionTower) -> u64 {
        match self {
            _ if !checkpoint::is_large_part(name) => 32,
            Self::Tensors(bits) => bits as u64,
            // Stays a tensor, the word table in the precision of its file.
            Self::Packed(_)
                if name == WORD_TABLE || (name.starts_with("vision_encoder.") && !checkpoint::in_tower(tower, name)) =>
            {
                32
            }
            Self::Packed(precision) => precision.bits() as u64,
        }
    }
}

/// Refuses a model on the processor that does not fit into free memory, before any of it is read.
pub(crate) fn check_memory(config: &VilmConfig, kept: Kept, folder: &Path, device: &Device) -> Result<()> {
    if !device::is_processor(device) {
        return Ok(());
    }
    // Nothing is allocated: parameters take memory when they are used.
    let model = config.init(&SeededStream::new(0), device)?;
    let size = |bits: u64, shape: &[usize]| shape.iter().fold(bits, |all, &axis| all.saturating_mul(axis as u64)) / 8;
    let found = parameters(&model);
    let bits = |name: &str| kept.bits(name, &model.vision_encoder);
    let weights = found.iter().map(|found| size(bits(&found.name), &found.shape)).fold(0, u64::saturating_add);
    // While a matrix is converted or packed, it is in memory in f32, together with its result and the bytes that were read.
    let largest = found.iter().map(|found| size(64, &found.shape)).max().unwrap_or(0);
    let needed = weights.saturating_add(largest).saturating_add(WORK);
    let Some(room) = Room::found().filter(|room| room.bytes < needed) else { return Ok(()) };
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    Err(Error::File {
        file: folder.join("config.json"),
        problem: format!(
            "describes a model that needs {} of memory to be opened and asked, and {} is free ({})",
            gigabytes(needed),
            gigabytes(room.bytes),
            room.limit
        ),
        remedy: "close other programs, use a smaller model or weights of fewer bits, or use the config.json that came with the \
                 weights"
            .into(),
    })
}

/// Memory that this program can still get, and what limits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    bytes: u64,
    limit: &'static str,
}

impl Room {
    /// The least of what the system has and what limits leave, where the system says so.
    fn found() -> Option<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (limits, status) = (read("/proc/self/limits"), read("/proc/self/status"));
        // The second and the first version of control groups.
        let second =
            in_group(["memory.max", "memory.current", "memory.stat"].map(|name| read(&format!("/sys/fs/cgroup/{name}"))), "");
        let names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"];
        let first = in_group(names.map(|name| read(&format!("/sys/fs/cgroup/memory/{name}"))), "total_");
        let room = |bytes: Option<u64>, limit| bytes.map(|bytes| Self { bytes, limit });
        [
            room(free(&read("/proc/meminfo")), "of the memory of this machine"),
            room(left(&limits, "Max address space", &status, "VmSize:"), "of the address space, by ulimit -v"),
            room(left(&limits, "Max data size", &status, "VmData:"), "of the data size, by ulimit -d"),
            room(second, "in the control group of this program"),
            room(first, "in the control group of this program"),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|room| room.bytes)
    }
}

/// What a control group leaves, by its limit, its use and its statistics, whose names begin with `prefix`. Cached files count as used
/// there, and are given up when memory is needed.
fn in_group([limit, used, statistics]: [String; 3], prefix: &str) -> Option<u64> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let cached =
        |name: &str| statistics.lines().find_map(|line| number(line.strip_prefix(prefix)?.strip_prefix(name)?)).unwrap_or(0);
    let cached = cached("inactive_file ") + cached("active_file ");
    Some(number(&limit)?.saturating_sub(number(&used)?.saturating_sub(cached)))
}

/// A number of KiB in a file of `key: number kB` lines, as bytes.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}

/// Memory and swap that are free, by /proc/meminfo.
fn free(meminfo: &str) -> Option<u64> {
    Some(kibibytes(meminfo, "MemAvailable:")? + kibibytes(meminfo, "SwapFree:").unwrap_or(0))
}

/// A limit of /proc/self/limits minus what is used according to /proc/self/status; nothing where there is no limit.
fn left(limits: &str, limit: &str, status: &str, used: &str) -> Option<u64> {
    let soft = limits.lines().find_map(|line| line.strip_prefix(limit))?.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(soft.saturating_sub(kibibytes(status, used)?))
}

#[cfg(test)]
mod tests {
    use pvchat_nn::moh::Routing;

    use super::*;
    use crate::families::{
        miniature,
        smolvlm2::{self, SmolVlm2Config},
    };

    #[test]
    fn an_encoder_without_a_packed_form_and_the_word_table_count_as_tensors() {
        let tower = |config: VilmConfig| config.init(&SeededStream::new(0), &Device::flex()).unwrap().vision_encoder;
        let packs = tower(smolvlm2::config(SmolVlm2Config::published("256m").unwrap()));
        let does_not = tower(miniature::config(100, Routing::Dense));
        let packed = Kept::Packed(Precision::Int8);
        let (encoder, decoder) = ("vision_encoder.encoder.layers.0.mlp.fc1.weight", "answer.lm.layers.0.mlp.up_proj.base.weight");
        assert_eq!([packed.bits(encoder, &packs), packed.bits(encoder, &does_not)], [8, 32]);
        assert_eq!(packed.bits("vision_encoder.encoder.layers.0.layer_norm1.weight", &packs), 32);
        assert_eq!([packed.bits(decoder, &does_not), packed.bits(WORD_TABLE, &packs)], [8, 32]);
        assert_eq!([Kept::Tensors(16).bits(encoder, &packs), Kept::Tensors(16).bits("answer.bridge.query", &packs)], [16, 32]);
    }

    #[test]
    fn what_the_system_says_is_read() {
        let meminfo = "MemTotal:       24000 kB\nMemAvailable:   2000 kB\nSwapFree:        500 kB\n";
        assert_eq!(free(meminfo), Some(2500 << 10));
        let limits = "Max data size             unlimited            unlimited            bytes\n\
                      Max address space         1048576              unlimited            bytes\n";
        let status = "VmSize:\t     24 kB\nVmData:\t  8 kB\n";
        assert_eq!(left(limits, "Max address space", status, "VmSize:"), Some(1_048_576 - (24 << 10)));
        assert_eq!(left(limits, "Max data size", status, "VmData:"), None);
        assert_eq!(left(limits, "Max address space", "", "VmSize:"), None);
        let group = |limit: &str, prefix: &str| {
            let statistics = "inactive_file 1\nactive_file 2\ntotal_inactive_file 300\ntotal_active_file 100\n";
            in_group([limit.into(), "900\n".into(), statistics.into()], prefix)
        };
        assert_eq!((group("1000\n", "total_"), group("1000\n", "")), (Some(500), Some(103)));
        assert_eq!(group("max\n", ""), None);
    }
}
