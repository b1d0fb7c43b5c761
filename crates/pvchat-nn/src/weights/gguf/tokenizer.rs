//! The tokenizer.json of SmolLM2 and of SmolVLM2, from the vocabulary and the merges in a GGUF file of SmolLM2.
//!
//! The text is written here, field by field, and not by the tokenizers library: it is the published one byte for byte,
//! whatever the version of that library.

use serde::{Serialize, Serializer};

use super::{Gguf, List, Value};
use crate::Result;

/// The tokens of SmolLM2, and the id of the first token that SmolVLM2 adds.
const WORDS: usize = 49_152;
/// The type of a control token in `tokenizer.ggml.token_type`.
const CONTROL: i64 = 3;
/// What to do about another tokenizer.
const SMOLLM: &str = "use a GGUF file of SmolLM2";

/// The tokenizer.json of the model in a GGUF file, which must have the tokenizer of SmolLM2 (any vocabulary of that kind:
/// bytes, digits one by one).
///
/// # Errors
/// [`Error::File`](crate::Error::File) when the file has another kind of tokenizer or one that contradicts itself.
pub fn tokenizer_json(gguf: &Gguf) -> Result<String> {
    Source::of(gguf)?.json(&[], false)
}

/// The tokenizer.json that all SmolVLM2 share: SmolLM2's with 128 tokens behind its 49 152, which mark pictures, their tiles
/// and the end of an utterance. Merges are pairs there, and lines in SmolLM2's.
///
/// # Errors
/// As [`tokenizer_json`], and [`Error::File`](crate::Error::File) for another vocabulary than SmolLM2's.
pub fn tokenizer_json_with_pictures(gguf: &Gguf) -> Result<String> {
    let source = Source::of(gguf)?;
    if source.words.len() != WORDS {
        return Err(gguf.wrong(format!("has {} tokens, where SmolLM2 has {WORDS}", source.words.len()), SMOLLM));
    }
    let tiles = (1..=6).flat_map(|row| (1..=6).map(move |column| format!("<row_{row}_col_{column}>")));
    let mut added = vec!["<global-img>".to_string()];
    added.extend(tiles);
    added.extend(["<fake_token_around_image>", "<image>"].map(String::from));
    added.extend((0..88).map(|number| format!("<|reserved_special_token_{number}|>")));
    added.push("<end_of_utterance>".into());
    source.json(&added, true)
}

/// What a GGUF file holds of a tokenizer.
struct Source<'a> {
    gguf: &'a Gguf,
    words: &'a [String],
    /// The ids of the control tokens.
    controls: Vec<usize>,
    merges: Vec<(&'a str, &'a str)>,
    lines: &'a [String],
}

impl<'a> Source<'a> {
    fn of(gguf: &'a Gguf) -> Result<Self> {
        let wrong = |problem: String| gguf.wrong(problem, SMOLLM);
        let [model, kind] = [gguf.text("tokenizer.ggml.model")?, gguf.text("tokenizer.ggml.pre")?];
        if (model, kind) != ("gpt2", "smollm") {
            return Err(wrong(format!("has a tokenizer of the kind {model:?}, {kind:?}")));
        }
        let words = gguf.texts("tokenizer.ggml.tokens")?;
        let lines = gguf.texts("tokenizer.ggml.merges")?;
        let types = match gguf.metadata().get("tokenizer.ggml.token_type") {
            Some(Value::List(List::Signed(types))) if types.len() == words.len() => types,
            _ => return Err(wrong("does not say of each token of which type it is".into())),
        };
        let controls = types.iter().enumerate().filter(|(_, kind)| **kind == CONTROL).map(|(id, _)| id).collect();
        let known: std::collections::HashSet<&str> = words.iter().map(String::as_str).collect();
        if known.len() != words.len() {
            return Err(wrong("has a token twice".into()));
        }
        let merge = |line: &'a String| {
            let (left, right) = line.split_once(' ').filter(|(_, right)| !right.contains(' '))?;
            let all = known.contains(left) && known.contains(right) && known.contains(format!("{left}{right}").as_str());
            all.then_some((left, right))
        };
        let merges = lines
            .iter()
            .map(|line| merge(line).ok_or_else(|| wrong(format!("has the merge {line:?}, not of two tokens into a third"))))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { gguf, words, controls, merges, lines })
    }

    /// The text, with further control tokens behind the vocabulary.
    fn json(&self, added: &[String], pairs: bool) -> Result<String> {
        let own = self.controls.iter().filter_map(|&id| Some((id, self.words.get(id)?)));
        let further = added.iter().enumerate().map(|(place, content)| (self.words.len() + place, content));
        let text = TokenizerText {
            version: "1.0",
            truncation: (),
            padding: (),
            added_tokens: own.chain(further).map(|(id, content)| AddedToken::control(id, content)).collect(),
            normalizer: (),
            pre_tokenizer: Sequence {
                kind: "Sequence",
                pretokenizers: (Digits { kind: "Digits", individual_digits: true }, ByteLevel::new(false)),
            },
            post_processor: (),
            decoder: ByteLevel::new(true),
            model: Bpe {
                kind: "BPE",
                dropout: (),
                unk_token: (),
                continuing_subword_prefix: (),
                end_of_word_suffix: (),
                fuse_unk: false,
                byte_fallback: false,
                ignore_merges: false,
                vocab: self.words,
                merges: if pairs { Merges::Pairs(&self.merges) } else { Merges::Lines(self.lines) },
            },
        };
        serde_json::to_string_pretty(&text).map_err(|error| self.gguf.wrong(error.to_string(), SMOLLM))
    }
}

// The fields of a tokenizer.json in their order.

#[derive(Serialize)]
struct TokenizerText<'a> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<AddedToken<'a>>,
    normalizer: (),
    pre_tokenizer: Sequence,
    post_processor: (),
    decoder: ByteLevel,
    model: Bpe<'a>,
}

#[derive(Serialize)]
struct AddedToken<'a> {
    id: usize,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

impl<'a> AddedToken<'a> {
    fn control(id: usize, content: &'a str) -> Self {
        Self { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
    }
}

#[derive(Serialize)]
struct Sequence {
    #[serde(rename = "type")]
    kind: &'static str,
    pretokenizers: (Digits, ByteLevel),
}

#[derive(Serialize)]
struct Digits {
    #[serde(rename = "type")]
    kind: &'static str,
    individual_digits: bool,
}

#[derive(Serialize)]
struct ByteLevel {
    #[serde(rename = "type")]
    kind: &'static str,
    add_prefix_space: bool,
    trim_offsets: bool,
    use_regex: bool,
}

impl ByteLevel {
    fn new(add_prefix_space: bool) -> Self {
        Self { kind: "ByteLevel", add_prefix_space, trim_offsets: true, use_regex: true }
    }
}

#[derive(Serialize)]
struct Bpe<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: (),
    unk_token: (),
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    #[serde(serialize_with = "with_ids")]
    vocab: &'a [String],
    merges: Merges<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Merges<'a> {
    Lines(&'a [String]),
    Pairs(&'a [(&'a str, &'a str)]),
}

fn with_ids<S: Serializer>(words: &[String], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(words.iter().enumerate().map(|(id, word)| (word, id)))
}
