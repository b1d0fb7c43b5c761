//! GGUF files, version 3: typed metadata and tensors whose values are stored in blocks of a few bits.
//!
//! [`Gguf::open`] reads the header and checks the directory of tensors against the length of the file; values are read when
//! they are asked for, as the blocks of the file or as f32. What a file says of itself is not trusted: every length and count is
//! checked against the bytes that are there before memory is allocated.
//!
//! - [`folder`]: a model in such a file as a folder of the transformers library
//! - [`tokenizer`]: the tokenizer.json that belongs to such a file
//!
//! ```no_run
//! # use pvchat_nn::weights::gguf::{Encoding, Gguf};
//! # fn read() -> pvchat_nn::Result<()> {
//! let file = Gguf::open("model.Q4_1.gguf".as_ref())?;
//! let layers = file.unsigned("llama.block_count")?;
//! let words = file.floats("token_embd.weight")?;
//! let blocks = file.blocks("blk.0.ffn_up.weight")?;
//! # Ok(()) }
//! ```
//!
//! Source: the format's description in the ggml repository (docs/gguf.md).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use burn::tensor::{bf16, f16};

use crate::{Error, Result, file::open_regular};

pub mod folder;
pub mod tokenizer;

/// The largest header that is read, in bytes. The vocabulary is most of a header; one of 260 000 words takes 15 MB.
const LARGEST_HEADER: u64 = 64 << 20;
/// The longest text in the metadata, in bytes.
const LONGEST_TEXT: u64 = 4 << 20;
/// How deep lists may be nested.
const DEEPEST_LIST: usize = 4;
/// The most axes of a tensor.
const MOST_AXES: u32 = 4;
/// Tensors begin at multiples of this many bytes, unless `general.alignment` says otherwise.
const ALIGNMENT: u64 = 32;
/// The largest alignment that is believed, in bytes.
const LARGEST_ALIGNMENT: u64 = 1 << 20;
/// What to do about a file that cannot be read.
const FETCH_AGAIN: &str = "expected a complete GGUF file of version 3: fetch it again";
/// What to do about a file that lacks something.
const OTHER_FILE: &str = "use a GGUF file that was made with all of the model's metadata";

/// A value of the metadata. Numbers of every width are kept in the widest of their kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An unsigned number of 8 to 64 bits.
    Unsigned(u64),
    /// A signed number of 8 to 64 bits.
    Signed(i64),
    /// A floating-point number of 32 or 64 bits.
    Float(f64),
    /// True or false.
    Flag(bool),
    /// A text.
    Text(String),
    /// A list.
    List(List),
}

/// A list in the metadata; all its items are of one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum List {
    /// Unsigned numbers.
    Unsigned(Vec<u64>),
    /// Signed numbers.
    Signed(Vec<i64>),
    /// Floating-point numbers.
    Float(Vec<f64>),
    /// True or false.
    Flags(Vec<bool>),
    /// Texts.
    Texts(Vec<String>),
    /// Lists.
    Lists(Vec<List>),
}

/// How the values of a tensor are stored. Quantised ones come in blocks of 32 values in a row, `d` and `m` are f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 32-bit floats.
    F32,
    /// Half precision.
    F16,
    /// The upper half of 32-bit floats.
    BF16,
    /// 4 bits, `d (q - 8)`. A block is `d` and 16 bytes; byte `i` holds value `i` in its low and value `i + 16` in its high
    /// half.
    Q4_0,
    /// 4 bits, `d q + m`. A block is `d`, `m` and 16 bytes as in [`Q4_0`](Self::Q4_0).
    Q4_1,
    /// 8 bits, `d q` with signed `q`. A block is `d` and 32 bytes.
    Q8_0,
}

impl Encoding {
    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            30 => Self::BF16,
            _ => return None,
        })
    }

    /// The values of a block and its bytes.
    pub fn block(self) -> [usize; 2] {
        match self {
            Self::F32 => [1, 4],
            Self::F16 | Self::BF16 => [1, 2],
            Self::Q4_0 => [32, 18],
            Self::Q4_1 => [32, 20],
            Self::Q8_0 => [32, 34],
        }
    }

    /// The values of whole blocks, in order; an incomplete block at the end has none.
    pub fn floats(self, blocks: &[u8]) -> Vec<f32> {
        let [values, bytes] = self.block();
        let mut floats = Vec::with_capacity(blocks.len() / bytes * values);
        let half = |block: &[u8], at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        for block in blocks.chunks_exact(bytes) {
            match self {
                Self::F32 => floats.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
                Self::F16 => floats.push(half(block, 0)),
                Self::BF16 => floats.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
                Self::Q4_0 => {
                    let (d, packed) = (half(block, 0), &block[2..]);
                    floats.extend(packed.iter().map(|byte| d * (f32::from(byte & 15) - 8.0)));
                    floats.extend(packed.iter().map(|byte| d * (f32::from(byte >> 4) - 8.0)));
                }
                Self::Q4_1 => {
                    let (d, m, packed) = (half(block, 0), half(block, 2), &block[4..]);
                    floats.extend(packed.iter().map(|byte| d * f32::from(byte & 15) + m));
                    floats.extend(packed.iter().map(|byte| d * f32::from(byte >> 4) + m));
                }
                Self::Q8_0 => {
                    let d = half(block, 0);
                    floats.extend(block[2..].iter().map(|&byte| d * f32::from(byte as i8)));
                }
            }
        }
        floats
    }
}

/// A tensor of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The shape, rows first as in PyTorch: linear weights are `[out, in]`. Blocks are along the last axis.
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub encoding: Encoding,
    start: u64,
    bytes: usize,
}

/// An open GGUF file; the values of its tensors stay on disk.
#[derive(Clone, Debug)]
pub struct Gguf {
    file: PathBuf,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::File`] when it is no GGUF file of version 3, when it is cut short
    /// or contradicts itself, and when a tensor has an encoding that is not one of [`Encoding`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = open_regular(path, FETCH_AGAIN)?;
        let total = file.metadata().map_err(|source| Error::Io { file: path.into(), source })?.len();
        let mut header = Header { file: path, input: BufReader::new(file), end: total.min(LARGEST_HEADER), at: 0 };
        if header.array("the mark of the format")? != *b"GGUF" {
            return Err(header.wrong("does not begin with GGUF"));
        }
        let version = header.u32("the version")?;
        if version != 3 {
            return Err(header.wrong(format!("is of version {version}")));
        }
        let (tensor_count, entries) = (header.u64("the number of tensors")?, header.u64("the number of entries")?);
        let mut metadata = BTreeMap::new();
        for _ in 0..entries {
            let key = header.text("the key of an entry")?;
            let kind = header.u32(&key)?;
            let value = header.value(kind, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(header.wrong(format!("has the entry {key:?} twice")));
            }
        }
        let alignment = match metadata.get("general.alignment") {
            None => ALIGNMENT,
            Some(Value::Unsigned(value)) if value.is_power_of_two() && (8..=LARGEST_ALIGNMENT).contains(value) => *value,
            Some(other) => return Err(header.wrong(format!("has the alignment {other:?}"))),
        };
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = header.text("the name of a tensor")?;
            let tensor = header.tensor(&name, alignment)?;
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(header.wrong(format!("has the tensor {name:?} twice")));
            }
        }
        // Places in the file count from the end of the header, which is padded.
        let data = header.at.next_multiple_of(alignment);
        let mut places = Vec::with_capacity(tensors.len());
        for (name, tensor) in &mut tensors {
            tensor.start = tensor.start.saturating_add(data);
            places.push((tensor.start, tensor.start.saturating_add(tensor.bytes as u64), name));
        }
        places.sort_unstable();
        if let Some((start, end, name)) = places.iter().find(|(_, end, _)| *end > total) {
            return Err(header.wrong(format!("has {total} bytes, where the tensor {name:?} takes those from {start} to {end}")));
        }
        if let Some(pair) = places.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            return Err(header.wrong(format!("has the tensors {:?} and {:?} in the same place", pair[0].2, pair[1].2)));
        }
        Ok(Self { file: path.into(), metadata, tensors })
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The metadata by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// An unsigned number of the metadata.
    ///
    /// # Errors
    /// [`Error::File`] when there is none of this key.
    pub fn unsigned(&self, key: &str) -> Result<usize> {
        let value = match self.metadata.get(key) {
            Some(Value::Unsigned(value)) => usize::try_from(*value).ok(),
            Some(Value::Signed(value)) => usize::try_from(*value).ok(),
            _ => None,
        };
        value.ok_or_else(|| self.lacks(key, "number"))
    }

    /// A floating-point number of the metadata.
    ///
    /// # Errors
    /// [`Error::File`] when there is none of this key.
    pub fn float(&self, key: &str) -> Result<f64> {
        match self.metadata.get(key) {
            Some(Value::Float(value)) => Ok(*value),
            _ => Err(self.lacks(key, "floating-point number")),
        }
    }

    /// A text of the metadata.
    ///
    /// # Errors
    /// [`Error::File`] when there is none of this key.
    pub fn text(&self, key: &str) -> Result<&str> {
        match self.metadata.get(key) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(self.lacks(key, "text")),
        }
    }

    /// A list of texts of the metadata.
    ///
    /// # Errors
    /// [`Error::File`] when there is none of this key.
    pub fn texts(&self, key: &str) -> Result<&[String]> {
        match self.metadata.get(key) {
            Some(Value::List(List::Texts(texts))) => Ok(texts),
            _ => Err(self.lacks(key, "list of texts")),
        }
    }

    /// The blocks of a tensor as they are in the file, row after row.
    ///
    /// # Errors
    /// [`Error::File`] when there is no such tensor, [`Error::Io`] when the file cannot be read any more.
    pub fn blocks(&self, name: &str) -> Result<Vec<u8>> {
        let tensor = self.tensor(name)?;
        let mut file = open_regular(&self.file, FETCH_AGAIN)?;
        let mut read = || {
            let mut blocks = vec![0; tensor.bytes];
            file.seek(SeekFrom::Start(tensor.start))?;
            file.read_exact(&mut blocks)?;
            Ok(blocks)
        };
        read().map_err(|source| Error::Io { file: self.file.clone(), source })
    }

    /// The values of a tensor as f32, row after row.
    ///
    /// # Errors
    /// Those of [`blocks`](Self::blocks).
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let encoding = self.tensor(name)?.encoding;
        Ok(encoding.floats(&self.blocks(name)?))
    }

    fn tensor(&self, name: &str) -> Result<&TensorInfo> {
        self.tensors.get(name).ok_or_else(|| self.wrong(format!("has no tensor {name:?}"), OTHER_FILE))
    }

    fn lacks(&self, key: &str, kind: &str) -> Error {
        self.wrong(format!("has no {kind} {key:?} in its metadata"), OTHER_FILE)
    }

    fn wrong(&self, problem: String, remedy: &str) -> Error {
        Error::File { file: self.file.clone(), problem, remedy: remedy.into() }
    }
}

/// The header while it is read.
struct Header<'a> {
    file: &'a Path,
    input: BufReader<File>,
    /// The place where the next byte comes from.
    at: u64,
    /// No byte from this place on is read.
    end: u64,
}

impl Header<'_> {
    fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::File { file: self.file.into(), problem: problem.into(), remedy: FETCH_AGAIN.into() }
    }

    /// Fails where `bytes` more bytes of `what` cannot be there.
    fn expect(&self, bytes: u64, what: &str) -> Result<()> {
        if bytes <= self.end - self.at {
            return Ok(());
        }
        let left = self.end - self.at;
        Err(self.wrong(format!("ends within its header: {what:?} needs {bytes} bytes, {left} are left")))
    }

    fn fill(&mut self, buffer: &mut [u8], what: &str) -> Result<()> {
        self.expect(buffer.len() as u64, what)?;
        self.input.read_exact(buffer).map_err(|source| Error::Io { file: self.file.into(), source })?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn text(&mut self, what: &str) -> Result<String> {
        let length = self.u64(what)?;
        self.expect(length, what)?;
        if length > LONGEST_TEXT {
            return Err(self.wrong(format!("has a text of {length} bytes for {what:?}, more than {LONGEST_TEXT}")));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes, what)?;
        String::from_utf8(bytes).map_err(|_| self.wrong(format!("has a text for {what:?} that is not UTF-8")))
    }

    fn unsigned(&mut self, kind: u32, key: &str) -> Result<u64> {
        Ok(match kind {
            0 => u64::from(u8::from_le_bytes(self.array(key)?)),
            2 => u64::from(u16::from_le_bytes(self.array(key)?)),
            4 => u64::from(self.u32(key)?),
            _ => self.u64(key)?,
        })
    }

    fn signed(&mut self, kind: u32, key: &str) -> Result<i64> {
        Ok(match kind {
            1 => i64::from(i8::from_le_bytes(self.array(key)?)),
            3 => i64::from(i16::from_le_bytes(self.array(key)?)),
            5 => i64::from(i32::from_le_bytes(self.array(key)?)),
            _ => i64::from_le_bytes(self.array(key)?),
        })
    }

    fn float(&mut self, kind: u32, key: &str) -> Result<f64> {
        Ok(match kind {
            6 => f64::from(f32::from_le_bytes(self.array(key)?)),
            _ => f64::from_le_bytes(self.array(key)?),
        })
    }

    fn flag(&mut self, key: &str) -> Result<bool> {
        match self.array(key)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(self.wrong(format!("has {other} for {key:?}, where 0 and 1 mean false and true"))),
        }
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value> {
        Ok(match kind {
            0 | 2 | 4 | 10 => Value::Unsigned(self.unsigned(kind, key)?),
            1 | 3 | 5 | 11 => Value::Signed(self.signed(kind, key)?),
            6 | 12 => Value::Float(self.float(kind, key)?),
            7 => Value::Flag(self.flag(key)?),
            8 => Value::Text(self.text(key)?),
            9 => Value::List(self.list(key, 1)?),
            _ => return Err(self.wrong(format!("has a value of the unknown kind {kind} for {key:?}"))),
        })
    }

    /// A list. It grows as its items are read: a count alone takes no memory.
    fn list(&mut self, key: &str, depth: usize) -> Result<List> {
        let (kind, count) = (self.u32(key)?, self.u64(key)?);
        Ok(match kind {
            0 | 2 | 4 | 10 => List::Unsigned((0..count).map(|_| self.unsigned(kind, key)).collect::<Result<_>>()?),
            1 | 3 | 5 | 11 => List::Signed((0..count).map(|_| self.signed(kind, key)).collect::<Result<_>>()?),
            6 | 12 => List::Float((0..count).map(|_| self.float(kind, key)).collect::<Result<_>>()?),
            7 => List::Flags((0..count).map(|_| self.flag(key)).collect::<Result<_>>()?),
            8 => List::Texts((0..count).map(|_| self.text(key)).collect::<Result<_>>()?),
            9 if depth < DEEPEST_LIST => List::Lists((0..count).map(|_| self.list(key, depth + 1)).collect::<Result<_>>()?),
            9 => return Err(self.wrong(format!("has lists in lists, more than {DEEPEST_LIST} deep, for {key:?}"))),
            _ => return Err(self.wrong(format!("has a list of the unknown kind {kind} for {key:?}"))),
        })
    }

    /// An entry of the directory; its start counts from the end of the header.
    fn tensor(&mut self, name: &str, alignment: u64) -> Result<TensorInfo> {
        let axes = self.u32(name)?;
        if !(1..=MOST_AXES).contains(&axes) {
            return Err(self.wrong(format!("gives the tensor {name:?} {axes} axes, not 1 to {MOST_AXES}")));
        }
        // In the file the contiguous axis comes first.
        let mut lengths = (0..axes).map(|_| self.u64(name)).collect::<Result<Vec<_>>>()?;
        lengths.reverse();
        let (code, start) = (self.u32(name)?, self.u64(name)?);
        let encoding = Encoding::from_code(code).ok_or_else(|| Error::File {
            file: self.file.into(),
            problem: format!("has the tensor {name:?} in the encoding number {code}"),
            remedy: "use a file in F32, F16, BF16, Q8_0, Q4_0 or Q4_1".into(),
        })?;
        let [values, bytes] = encoding.block().map(|size| size as u64);
        let row = lengths.last().copied().unwrap_or(0);
        let count = lengths.iter().try_fold(1u64, |product, length| product.checked_mul(*length)).filter(|count| *count > 0);
        let size = count.and_then(|count| (count / values).checked_mul(bytes)).filter(|_| row.is_multiple_of(values));
        let shape = lengths.iter().map(|length| usize::try_from(*length).ok()).collect::<Option<Vec<_>>>();
        let (Some(size), Some(shape)) = (size.and_then(|size| usize::try_from(size).ok()), shape) else {
            return Err(self.wrong(format!("gives the tensor {name:?} the shape {lengths:?}, which {encoding:?} cannot hold")));
        };
        if !start.is_multiple_of(alignment) {
            return Err(self.wrong(format!("has the tensor {name:?} at {start}, not at a multiple of {alignment}")));
        }
        Ok(TensorInfo { shape, encoding, start, bytes: size })
    }
}
