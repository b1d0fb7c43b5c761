//! GGUF files made here, byte by byte: what is read from good ones, and what is said of bad ones.

use std::path::{Path, PathBuf};

use pvchat_nn::{
    Error,
    weights::gguf::{
        Encoding, Gguf, List, Value,
        folder::write_folder,
        tokenizer::{tokenizer_json, tokenizer_json_with_pictures},
    },
};

/// The kinds of metadata as the format numbers them.
mod kind {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const FLAG: u32 = 7;
    pub const TEXT: u32 = 8;
    pub const LIST: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

/// The encodings of tensors as the format numbers them.
const CODES: [(u32, Encoding); 6] =
    [(0, Encoding::F32), (1, Encoding::F16), (2, Encoding::Q4_0), (3, Encoding::Q4_1), (8, Encoding::Q8_0), (30, Encoding::BF16)];

fn text(content: &str) -> Vec<u8> {
    [&(content.len() as u64).to_le_bytes(), content.as_bytes()].concat()
}

fn list(kind: u32, items: &[Vec<u8>]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(items.len() as u64).to_le_bytes(), &items.concat()].concat()
}

fn texts(items: &[&str]) -> Vec<u8> {
    list(kind::TEXT, &items.iter().map(|item| text(item)).collect::<Vec<_>>())
}

#[derive(Clone, Default)]
struct Builder {
    entries: Vec<(String, u32, Vec<u8>)>,
    /// Name, lengths as in the file (values that lie side by side first), encoding, blocks.
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

impl Builder {
    fn entry(mut self, key: &str, kind: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.entries.push((key.into(), kind, bytes.as_ref().to_vec()));
        self
    }

    fn number(self, key: &str, value: u32) -> Self {
        self.entry(key, kind::U32, value.to_le_bytes())
    }

    fn tensor(mut self, name: &str, lengths: &[u64], code: u32, blocks: Vec<u8>) -> Self {
        self.tensors.push((name.into(), lengths.into(), code, blocks));
        self
    }

    fn floats(self, name: &str, lengths: &[u64], values: impl IntoIterator<Item = f32>) -> Self {
        let blocks = values.into_iter().flat_map(f32::to_le_bytes).collect();
        self.tensor(name, lengths, 0, blocks)
    }

    /// Everything up to the padding in front of the values, and the values.
    fn parts(&self) -> [Vec<u8>; 2] {
        let mut header = b"GGUF".to_vec();
        header.extend(3u32.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.entries.len() as u64).to_le_bytes());
        for (key, kind, bytes) in &self.entries {
            header.extend([text(key), kind.to_le_bytes().to_vec(), bytes.clone()].concat());
        }
        let mut values: Vec<u8> = Vec::new();
        for (name, lengths, code, blocks) in &self.tensors {
            values.resize(values.len().next_multiple_of(32), 0);
            header.extend(text(name));
            header.extend((lengths.len() as u32).to_le_bytes());
            header.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
            header.extend(code.to_le_bytes());
            header.extend((values.len() as u64).to_le_bytes());
            values.extend(blocks);
        }
        [header, values]
    }

    fn bytes(&self) -> Vec<u8> {
        let [mut header, values] = self.parts();
        header.resize(header.len().next_multiple_of(32), 0);
        [header, values].concat()
    }
}

struct Written {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn written(bytes: &[u8]) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    Written { _folder: folder, path }
}

fn open(bytes: &[u8]) -> pvchat_nn::Result<Gguf> {
    Gguf::open(&written(bytes).path)
}

/// An entry of every kind and a tensor of every encoding.
fn everything() -> Builder {
    let half = |value: u16| value.to_le_bytes().to_vec();
    let (one, two, minus_half) = (half(0x3c00), half(0x4000), half(0xb800));
    // Byte i holds i in its low half and 15 - i in its high half.
    let nibbles: Vec<u8> = (0..16u8).map(|i| i | (15 - i) << 4).collect();
    let signed: Vec<u8> = (0..32i8).map(|i| (i - 16) as u8).collect();
    Builder::default()
        .entry("u8", kind::U8, [200])
        .entry("i8", kind::I8, [(-100i8) as u8])
        .entry("u16", kind::U16, 60_000u16.to_le_bytes())
        .entry("i16", kind::I16, (-30_000i16).to_le_bytes())
        .entry("u32", kind::U32, 4_000_000_000u32.to_le_bytes())
        .entry("i32", kind::I32, (-2_000_000_000i32).to_le_bytes())
        .entry("u64", kind::U64, u64::MAX.to_le_bytes())
        .entry("i64", kind::I64, i64::MIN.to_le_bytes())
        .entry("f32", kind::F32, 0.25f32.to_le_bytes())
        .entry("f64", kind::F64, 1e300f64.to_le_bytes())
        .entry("flag", kind::FLAG, [1])
        .entry("text", kind::TEXT, text("naïve"))
        .entry("texts", kind::LIST, texts(&["a", "", "b c"]))
        .entry("flags", kind::LIST, list(kind::FLAG, &[vec![0], vec![1]]))
        .entry("bytes", kind::LIST, list(kind::U8, &[vec![7], vec![255]]))
        .entry("signed", kind::LIST, list(kind::I16, &[(-2i16).to_le_bytes().to_vec()]))
        .entry("floats", kind::LIST, list(kind::F32, &[0.5f32.to_le_bytes().to_vec()]))
        .entry("lists", kind::LIST, list(kind::LIST, &[texts(&["x"]), list(kind::U32, &[])]))
        .floats("plain", &[3, 2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .tensor("half", &[2], 1, [one.clone(), minus_half.clone()].concat())
        .tensor("brain", &[2], 30, [half(0x3f80), half(0xc000)].concat())
        .tensor("q4_0", &[32], 2, [two.clone(), nibbles.clone()].concat())
        .tensor("q4_1", &[32, 1], 3, [two.clone(), minus_half, nibbles].concat())
        .tensor("q8_0", &[32, 2], 8, [two, signed.clone(), one, signed].concat())
}

#[test]
fn every_kind_of_metadata_is_read() {
    let file = open(&everything().bytes()).unwrap();
    let expected = [
        ("u8", Value::Unsigned(200)),
        ("i8", Value::Signed(-100)),
        ("u16", Value::Unsigned(60_000)),
        ("i16", Value::Signed(-30_000)),
        ("u32", Value::Unsigned(4_000_000_000)),
        ("i32", Value::Signed(-2_000_000_000)),
        ("u64", Value::Unsigned(u64::MAX)),
        ("i64", Value::Signed(i64::MIN)),
        ("f32", Value::Float(0.25)),
        ("f64", Value::Float(1e300)),
        ("flag", Value::Flag(true)),
        ("text", Value::Text("naïve".into())),
        ("texts", Value::List(List::Texts(vec!["a".into(), "".into(), "b c".into()]))),
        ("flags", Value::List(List::Flags(vec![false, true]))),
        ("bytes", Value::List(List::Unsigned(vec![7, 255]))),
        ("signed", Value::List(List::Signed(vec![-2]))),
        ("floats", Value::List(List::Float(vec![0.5]))),
        ("lists", Value::List(List::Lists(vec![List::Texts(vec!["x".into()]), List::Unsigned(vec![])]))),
    ];
    assert_eq!(file.metadata().len(), expected.len());
    for (key, value) in expected {
        assert_eq!(file.metadata().get(key), Some(&value), "{key}");
    }
    assert_eq!((file.unsigned("u16").unwrap(), file.float("f32").unwrap(), file.text("text").unwrap()), (60_000, 0.25, "naïve"));
    // A key that is absent or of another kind is named.
    for error in [file.unsigned("text").err(), file.float("f16").err(), file.text("u8").err(), file.texts("bytes").err()] {
        assert!(matches!(&error, Some(Error::File { .. })), "{error:?}");
    }
}

#[test]
fn every_encoding_becomes_floats_and_blocks_stay_as_they_are() {
    let builder = everything();
    let stored = written(&builder.bytes());
    let file = Gguf::open(&stored.path).unwrap();
    let nibbles = || (0..16).chain((0..16).rev()).map(|q| q as f32);
    let signed = |d: f32| (0..32).map(move |i| d * (i - 16) as f32);
    let expected: [(&str, &[usize], Vec<f32>); 6] = [
        ("plain", &[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        ("half", &[2], vec![1.0, -0.5]),
        ("brain", &[2], vec![1.0, -2.0]),
        ("q4_0", &[32], nibbles().map(|q| 2.0 * (q - 8.0)).collect()),
        ("q4_1", &[1, 32], nibbles().map(|q| 2.0 * q - 0.5).collect()),
        ("q8_0", &[2, 32], signed(2.0).chain(signed(1.0)).collect()),
    ];
    for (name, shape, values) in expected {
        assert_eq!(file.tensors()[name].shape, shape, "{name}");
        assert_eq!(file.floats(name).unwrap(), values, "{name}");
    }
    for (name, _, code, blocks) in &builder.tensors {
        assert_eq!(&file.blocks(name).unwrap(), blocks, "{name}");
        assert!(CODES.contains(&(*code, file.tensors()[name.as_str()].encoding)), "{name}");
    }
    let error = file.floats("absent").unwrap_err().to_string();
    assert!(error.contains("model.gguf") && error.contains("absent"), "{error}");
}

#[test]
fn a_cut_file_is_an_error_at_every_length() {
    let whole = everything().bytes();
    assert!(open(&whole).is_ok());
    let stored = written(&whole);
    for length in (0..whole.len()).rev() {
        std::fs::OpenOptions::new().write(true).open(&stored.path).unwrap().set_len(length as u64).unwrap();
        let error = Gguf::open(&stored.path).err();
        assert!(matches!(error, Some(Error::File { .. })), "{length} of {} bytes: {error:?}", whole.len());
    }
}

/// Reads all that there is to read; no values of any byte may end in a panic.
fn read_all(path: &Path) {
    match Gguf::open(path) {
        Ok(file) => {
            for (name, tensor) in file.tensors() {
                assert_eq!(file.floats(name).unwrap().len(), tensor.shape.iter().product::<usize>());
            }
        }
        Err(error) => assert!(matches!(error, Error::File { .. }), "{error}"),
    }
}

#[test]
fn no_changed_byte_of_the_header_ends_in_a_panic() {
    let builder = everything();
    let (mut bytes, header) = (builder.bytes(), builder.parts()[0].len());
    let stored = written(&bytes);
    for place in 0..header {
        let right = bytes[place];
        for wrong in [0, 0xff, right ^ 1, right ^ 0x80] {
            bytes[place] = wrong;
            std::fs::write(&stored.path, &bytes).unwrap();
            read_all(&stored.path);
        }
        bytes[place] = right;
    }
}

#[test]
fn lies_are_refused_and_named() {
    let count = |count: u64| count.to_le_bytes();
    let list_of = |kind: u32, claimed: u64| [&kind.to_le_bytes()[..], &count(claimed)].concat();
    let nested = (0..6).fold(texts(&[]), |inner, _| list(kind::LIST, &[inner]));
    let one = || Builder::default();
    let block = |bytes: usize| vec![0; bytes];
    let header = |tensors: u64, entries: u64| [&b"GGUF"[..], &3u32.to_le_bytes(), &count(tensors), &count(entries)].concat();
    let overlapping = {
        let [header, values] = one().floats("first", &[8], [0.0; 8]).floats("other", &[8], [0.0; 8]).parts();
        // The last eight bytes of the header say where the second tensor lies.
        let padded = [&header[..header.len() - 8], &count(0)].concat();
        [&padded[..], &block(padded.len().next_multiple_of(32) - padded.len()), &values].concat()
    };
    let misplaced = {
        let [header, values] = one().floats("first", &[8], [0.0; 8]).parts();
        [&header[..header.len() - 8], &count(4), &block(32), &values].concat()
    };
    let large = |count: u64| [count, 4];
    for (what, bytes, said) in [
        ("another format", b"GGML, an older one".to_vec(), "does not begin with GGUF"),
        ("another version", [&b"GGUF"[..], &2u32.to_le_bytes(), &block(16)].concat(), "is of version 2"),
        ("tensors", header(u64::MAX, 0), "the name of a tensor"),
        ("entries", header(0, u64::MAX), "the key of an entry"),
        ("text", one().entry("key", kind::TEXT, count(1 << 62)).bytes(), "\"key\" needs 4611686018427387904 bytes"),
        ("list", one().entry("key", kind::LIST, list_of(kind::U64, 1 << 62)).bytes(), "\"key\" needs 8 bytes"),
        ("list of texts", one().entry("key", kind::LIST, list_of(kind::TEXT, u64::MAX)).bytes(), "\"key\""),
        ("list of nothing", one().entry("key", kind::LIST, list_of(77, u64::MAX)).bytes(), "unknown kind 77 for \"key\""),
        ("depth", one().entry("key", kind::LIST, nested).bytes(), "lists in lists"),
        ("kind", one().entry("key", 13, [0; 8]).bytes(), "unknown kind 13 for \"key\""),
        ("flag", one().entry("key", kind::FLAG, [2]).bytes(), "has 2 for \"key\""),
        ("letters", one().entry("key", kind::TEXT, [&count(2)[..], &[0xc3, 0x28]].concat()).bytes(), "not UTF-8"),
        ("entry twice", one().number("key", 1).number("key", 2).bytes(), "entry \"key\" twice"),
        ("alignment", one().number("general.alignment", 33).bytes(), "alignment Unsigned(33)"),
        ("encoding", one().tensor("t", &[256], 12, block(144)).bytes(), "tensor \"t\" in the encoding number 12"),
        ("shape", one().tensor("t", &large(1 << 62), 0, block(16)).bytes(), "tensor \"t\" the shape"),
        ("rows", one().tensor("t", &[33], 8, block(34)).bytes(), "tensor \"t\" the shape [33]"),
        ("nothing", one().tensor("t", &[32, 0], 8, block(34)).bytes(), "tensor \"t\" the shape [0, 32]"),
        ("axes", one().tensor("t", &[1; 5], 0, block(4)).bytes(), "tensor \"t\" 5 axes"),
        ("no axes", one().tensor("t", &[], 0, block(4)).bytes(), "tensor \"t\" 0 axes"),
        ("size", one().tensor("t", &[64, 1 << 20], 8, block(34)).bytes(), "the tensor \"t\" takes"),
        ("tensor twice", one().floats("t", &[1], [0.0]).floats("t", &[1], [0.0]).bytes(), "tensor \"t\" twice"),
        ("overlap", overlapping, "\"first\" and \"other\" in the same place"),
        ("place", misplaced, "tensor \"first\" at 4"),
    ] {
        match open(&bytes) {
            Err(Error::File { file, problem, remedy }) => {
                assert!(problem.contains(said), "{what}: {problem}");
                assert!(file.ends_with("model.gguf") && !remedy.is_empty(), "{what}: {file:?} {remedy:?}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// A model of 2 layers, 2 heads of 4 on 1 key head, 8 wide, with a vocabulary of 5. Values count upwards.
fn tiny() -> Builder {
    let mut next = 0.0f32;
    let mut counting = |count: usize| {
        next += count as f32;
        (0..count).map(|place| next + place as f32).collect::<Vec<_>>()
    };
    let types = list(kind::I32, &[3, 1, 1, 1, 1].map(|kind: i32| kind.to_le_bytes().to_vec()));
    let mut builder = Builder::default()
        .entry("general.architecture", kind::TEXT, text("llama"))
        .number("llama.block_count", 2)
        .number("llama.context_length", 64)
        .number("llama.embedding_length", 8)
        .number("llama.feed_forward_length", 6)
        .number("llama.attention.head_count", 2)
        .number("llama.attention.head_count_kv", 1)
        .entry("llama.rope.freq_base", kind::F32, 1e5f32.to_le_bytes())
        .entry("llama.attention.layer_norm_rms_epsilon", kind::F32, 1e-5f32.to_le_bytes())
        .entry("tokenizer.ggml.model", kind::TEXT, text("gpt2"))
        .entry("tokenizer.ggml.pre", kind::TEXT, text("smollm"))
        .entry("tokenizer.ggml.tokens", kind::LIST, texts(&["<|end|>", "a", "b", "ab", "\u{120}"]))
        .entry("tokenizer.ggml.token_type", kind::LIST, types)
        .entry("tokenizer.ggml.merges", kind::LIST, texts(&["a b"]))
        .number("tokenizer.ggml.bos_token_id", 0)
        .number("tokenizer.ggml.eos_token_id", 0)
        .number("tokenizer.ggml.padding_token_id", 0)
        .floats("token_embd.weight", &[8, 5], counting(40))
        .floats("output_norm.weight", &[8], counting(8));
    for layer in 0..2 {
        for (part, lengths) in [
            ("attn_norm", &[8][..]),
            ("ffn_norm", &[8]),
            ("attn_q", &[8, 8]),
            ("attn_k", &[8, 4]),
            ("attn_v", &[8, 4]),
            ("attn_output", &[8, 8]),
            ("ffn_gate", &[8, 6]),
            ("ffn_up", &[8, 6]),
            ("ffn_down", &[6, 8]),
        ] {
            let values = counting(lengths.iter().product::<u64>() as usize);
            builder = builder.floats(&format!("blk.{layer}.{part}.weight"), lengths, values);
        }
    }
    builder
}

#[cfg(feature = "flex")]
#[test]
fn a_folder_is_written_that_the_language_model_opens() {
    use burn::prelude::*;
    use pvchat_model::llama;

    let stored = written(&tiny().bytes());
    let gguf = Gguf::open(&stored.path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_folder(&gguf, folder.path()).unwrap();
    let model = llama::open(folder.path(), &Device::flex()).unwrap();
    let config = &model.config;
    assert_eq!(
        [config.vocabulary, config.hidden, config.layers, config.heads, config.kv_heads, config.head_dim, config.intermediate],
        [5, 8, 2, 2, 1, 4, 6]
    );
    assert_eq!((config.rope_theta, config.rms_norm_epsilon), (1e5, 1e-5));
    let rows = |weight: &burn::nn::Linear| -> Vec<f32> { weight.weight.val().transpose().into_data().iter::<f32>().collect() };
    let published = |name: &str| gguf.floats(name).unwrap();
    let attention = &model.layers[1].self_attn;
    // Rows of a head in the file: first and second half of pair 0, then of pair 1.
    let (found, stored_rows) = (rows(&attention.q_proj.base), published("blk.1.attn_q.weight"));
    for (row, origin) in [0, 2, 1, 3, 4, 6, 5, 7].into_iter().enumerate() {
        assert_eq!(found[row * 8..][..8], stored_rows[origin * 8..][..8], "row {row}");
    }
    assert_eq!(rows(&attention.k_proj.base)[8..16], published("blk.1.attn_k.weight")[16..24]);
    assert_eq!(rows(&attention.v_proj.base), published("blk.1.attn_v.weight"));
    assert_eq!(rows(&model.layers[0].mlp.down_proj.base), published("blk.0.ffn_down.weight"));
    assert_eq!(rows(&model.lm_head.base), published("token_embd.weight"), "the head is the word table");
    let tokenizer = llama::tokenizer(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("ab<|end|> a", false).unwrap().get_ids(), [3, 0, 4, 1]);

    // The same file gives the same bytes, and another model in the folder is replaced.
    let weights = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    write_folder(&gguf, folder.path()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("model.safetensors")).unwrap(), weights);

    // A file that lacks a layer gives a folder that is refused, with the names that it lacks.
    let mut shorter = tiny();
    shorter.tensors.retain(|(name, ..)| name != "blk.1.attn_v.weight");
    write_folder(&open_kept(&shorter, folder.path()), folder.path()).unwrap();
    let error = llama::open(folder.path(), &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("layers.1.self_attn.v_proj"), "{error}");
}

/// A file beside the folder's own, which stays while the folder does.
#[cfg(feature = "flex")]
fn open_kept(builder: &Builder, folder: &Path) -> Gguf {
    let path = folder.join("other.gguf");
    std::fs::write(&path, builder.bytes()).unwrap();
    Gguf::open(&path).unwrap()
}

#[test]
fn other_models_and_tokenizers_are_refused() {
    let replaced = |key: &str, kind: u32, bytes: Vec<u8>| {
        let mut builder = tiny();
        builder.entries.retain(|(name, ..)| name != key);
        builder.entry(key, kind, bytes)
    };
    let folder = tempfile::tempdir().unwrap();
    for (builder, said) in [
        (replaced("general.architecture", kind::TEXT, text("mamba")), "\"mamba\""),
        (replaced("llama.attention.head_count", kind::U32, 3u32.to_le_bytes().into()), "\"blk.0.attn_q.weight\""),
        (replaced("llama.attention.head_count", kind::U32, 0u32.to_le_bytes().into()), "\"blk.0.attn_q.weight\""),
        (replaced("llama.rope.freq_base", kind::TEXT, text("x")), "\"llama.rope.freq_base\""),
        (tiny().floats("rope_freqs.weight", &[2], [0.0; 2]), "\"rope_freqs.weight\""),
        (tiny().floats("blk.01.attn_v.weight", &[2], [0.0; 2]), "which are the same"),
        (replaced("tokenizer.ggml.pre", kind::TEXT, text("llama-bpe")), "\"llama-bpe\""),
        (replaced("tokenizer.ggml.merges", kind::LIST, texts(&["b a"])), "the merge \"b a\""),
        (replaced("tokenizer.ggml.tokens", kind::LIST, texts(&["a", "a", "b", "ab", "c"])), "a token twice"),
        (replaced("tokenizer.ggml.token_type", kind::LIST, list(kind::I32, &[])), "of which type"),
    ] {
        let error = write_folder(&open(&builder.bytes()).unwrap(), folder.path()).unwrap_err();
        assert!(matches!(&error, Error::File { .. }) && error.to_string().contains(said), "{said}: {error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{said}: something was written");
    }
    let gguf = open(&tiny().bytes()).unwrap();
    assert!(tokenizer_json(&gguf).is_ok());
    assert!(tokenizer_json_with_pictures(&gguf).unwrap_err().to_string().contains("5 tokens"));
}
