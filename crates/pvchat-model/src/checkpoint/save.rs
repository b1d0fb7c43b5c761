//! Writing a checkpoint: one file, or several and their index.

use std::{collections::BTreeMap, io::Write, path::Path};

use burn::{
    module::Module,
    store::{BurnToPyTorchAdapter, ModuleSnapshot},
    tensor::DType,
};
use pvchat_nn::file::write_whole;
use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};

use super::{INDEX, SINGLE, files::Index};
use crate::{Error, Result, families::NameTable};

/// A tensor that is to be written, under its published name.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The name in the file.
    pub name: String,
    /// The float type.
    pub dtype: DType,
    /// The shape in PyTorch's layout.
    pub shape: Vec<usize>,
}

impl Planned {
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// Writes the parameters of `module` into a folder, under the published names, in files of at most `shard_bytes` (a larger tensor
/// gets its own file): what [`Checkpoint::open`](super::Checkpoint::open) reads.
///
/// Apart from the module, one tensor's values are in memory at a time. Files are written under another name and renamed, the
/// index last.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written, [`Error::File`] when a parameter has no float type of the format.
pub fn save<M: Module>(module: &M, folder: &Path, shard_bytes: usize, names: &NameTable) -> Result<()> {
    let tensors = module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), false);
    let plan: Vec<Planned> = tensors
        .iter()
        .map(|tensor| Planned { name: (names.public_name)(&tensor.name), dtype: tensor.dtype, shape: tensor.shape.to_vec() })
        .collect();
    write(folder, shard_bytes, &plan, |index| {
        let bytes = tensors[index].to_bytes().map_err(|error| Error::File {
            file: folder.into(),
            problem: format!("`{}` cannot be written: {error:?}", plan[index].name),
            remedy: "cast the model to floats".into(),
        })?;
        Ok(bytes.to_vec())
    })
}

/// Writes tensors whose values are made one after another, when their turn comes: `values` gets the number of a tensor in
/// `plan` and gives its little-endian bytes. The order is that of the files, not that of the plan.
///
/// # Errors
/// As [`save`], those of `values`, and [`Error::File`] when there are more or fewer bytes than the tensor has.
pub fn write(
    folder: &Path,
    shard_bytes: usize,
    plan: &[Planned],
    mut values: impl FnMut(usize) -> Result<Vec<u8>>,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| Error::Io { file: folder.to_path_buf(), source })?;
    let mut shards: Vec<(usize, Vec<usize>)> = Vec::new();
    for (index, tensor) in plan.iter().enumerate() {
        let size = tensor.bytes();
        match shards.last_mut() {
            Some((bytes, shard)) if *bytes + size <= shard_bytes => {
                *bytes += size;
                shard.push(index);
            }
            _ => shards.push((size, vec![index])),
        }
    }
    if shards.len() < 2 {
        let only = shards.pop().unwrap_or_default().1;
        return write_shard(plan, only, &folder.join(SINGLE), &mut values);
    }
    let (mut weight_map, count) = (BTreeMap::new(), shards.len());
    for (number, (_, shard)) in shards.into_iter().enumerate() {
        let file = format!("model-{:05}-of-{count:05}.safetensors", number + 1);
        weight_map.extend(shard.iter().map(|&index| (plan[index].name.clone(), file.clone())));
        write_shard(plan, shard, &folder.join(&file), &mut values)?;
    }
    let total: usize = plan.iter().map(Planned::bytes).sum();
    let index = Index { metadata: serde_json::json!({ "total_size": total }), weight_map };
    let path = folder.join(INDEX);
    let text = serde_json::to_vec_pretty(&index).map_err(|error| Error::Io { file: path.clone(), source: error.into() })?;
    Ok(write_whole(&path, |file, _| file.write_all(&text))?)
}

/// Writes one file: its header, and then tensor after tensor.
fn write_shard(
    plan: &[Planned],
    mut shard: Vec<usize>,
    path: &Path,
    values: &mut impl FnMut(usize) -> Result<Vec<u8>>,
) -> Result<()> {
    let wrong = |problem: String| Error::File { file: path.into(), problem, remedy: "cast the model to floats".into() };
    // The wide types first, so that every tensor starts at a multiple of its element's size.
    shard.sort_by_key(|&index| (std::cmp::Reverse(plan[index].dtype.size()), &plan[index].name));
    let (mut entries, mut end) = (Vec::with_capacity(shard.len()), 0);
    for &index in &shard {
        let tensor = &plan[index];
        let dtype = match tensor.dtype {
            DType::F64 => Dtype::F64,
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            other => return Err(wrong(format!("`{}` is {other:?}", tensor.name))),
        };
        let data_offsets = (end, end + tensor.bytes());
        end = data_offsets.1;
        entries.push((tensor.name.clone(), TensorInfo { dtype, shape: tensor.shape.clone(), data_offsets }));
    }
    let format = Some([("format".to_string(), "pt".to_string())].into());
    let header = Metadata::new(format, entries).map_err(|error| wrong(error.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|error| wrong(error.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut failure = None;
    let written = write_whole(path, |file, _| {
        let mut file = std::io::BufWriter::new(file);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for &index in &shard {
            let stop = |error: Error| {
                failure = Some(error);
                std::io::Error::other("a tensor has no values")
            };
            let bytes = values(index).map_err(stop)?;
            if bytes.len() != plan[index].bytes() {
                return Err(std::io::Error::other(format!("`{}` has another number of values", plan[index].name)));
            }
            file.write_all(&bytes)?;
        }
        file.flush()
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(written?),
    }
}
