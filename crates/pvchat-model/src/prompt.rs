//! Prompts: text and visual tokens in one sequence, words and subject names to token ids and back.

use std::{collections::BTreeSet, path::Path};

use pvchat_data::SubjectName;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use crate::{Error, Result, sight::Shown};
use pvchat_nn::{
    file::{LARGEST_TEXT_FILE, read_regular},
    language::loss::IGNORED,
};

/// The longest question or answer, in tokens; longer ones are refused and never cut.
pub const LONGEST_TEXT: usize = 512;

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Token ids.
    Text(Vec<u32>),
    /// The visual tokens of the next picture.
    Visual,
}

/// The literal pieces around visual tokens, question and answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptFormat {
    /// Stands in front of every piece of text; empty for formats that begin by themselves.
    pub begin: String,
    /// Before the first tile.
    pub opening: String,
    /// Between two tiles.
    pub between: String,
    /// After the last tile, before the question.
    pub before_question: String,
    /// After the question, before the answer.
    pub after_question: String,
    /// After the answer.
    pub end: String,
    /// Whether `[<Aa>]` precedes a question.
    pub name_in_front: bool,
    /// Whether the piece with the question begins with `begin` too.
    pub begin_question: bool,
    /// The question that presence is read from, `{}` for the subject.
    pub presence_question: String,
    /// The token of the vocabulary that a positive answer to it begins with, and that of a negative one.
    pub yes_and_no: [String; 2],
    /// The longest answer that is generated, in tokens.
    pub longest_answer: usize,
    /// Before the answer, in training: what the language model writes first by itself.
    #[serde(skip)]
    pub before_answer: String,
    /// The most tokens of prompt and answer together, where the model says.
    #[serde(skip)]
    pub longest_prompt: Option<usize>,
    /// How pictures are placed in the prompt, if constant pieces cannot express it.
    #[serde(skip)]
    pub pictures: Option<PictureText>,
    /// Tokens of a subject in addition to the one of its name: they follow the name, in front of every question about it.
    #[serde(skip)]
    pub detail_tokens: usize,
    /// Ids of tokens that end an answer as `end` does.
    #[serde(skip)]
    pub other_ends: Vec<u32>,
}

/// Prompts whose text depends on the pictures: their number, their times.
#[derive(Clone, Copy)]
pub struct PictureText {
    /// What precedes a question; see [`TextCodec::prefix`].
    pub prefix: fn(&TextCodec, &[Shown]) -> Result<Vec<Segment>>,
    /// What joins it and the question: apart, because its ids depend on what follows.
    pub joint: fn(&[Shown]) -> &'static str,
}

impl std::fmt::Debug for PictureText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PictureText")
    }
}

impl PartialEq for PictureText {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.prefix, other.prefix) && std::ptr::fn_addr_eq(self.joint, other.joint)
    }
}

impl PromptFormat {
    /// The published one (Mistral's instruction format).
    pub fn full() -> Self {
        Self {
            begin: "<s>".into(),
            opening: "[INST] <Video>".into(),
            between: "</Video><Video>".into(),
            before_question: "</Video>[/INST] [INST]".into(),
            after_question: "[/INST]".into(),
            end: "</s>".into(),
            name_in_front: true,
            begin_question: true,
            presence_question: "Is {} in this video?".into(),
            // With the mark that SentencePiece puts in front of a word.
            yes_and_no: ["\u{2581}Yes".into(), "\u{2581}No".into()],
            longest_answer: 512,
            before_answer: String::new(),
            longest_prompt: None,
            pictures: None,
            detail_tokens: 0,
            other_ends: Vec::new(),
        }
    }

    /// What is in angle or square brackets in the pieces; a piece without brackets is a mark as a whole.
    fn marks(&self) -> impl Iterator<Item = &str> {
        let pieces = [&self.begin, &self.opening, &self.between, &self.before_question, &self.after_question, &self.end];
        pieces.into_iter().flat_map(|piece| {
            let bracketed: Vec<&str> = piece
                .match_indices(['<', '['])
                .filter_map(|(start, bracket)| {
                    let rest = &piece[start..];
                    rest.find(if bracket == "<" { '>' } else { ']' }).map(|end| &rest[..=end])
                })
                .collect();
            if bracketed.is_empty() { vec![piece.trim()] } else { bracketed }
        })
    }
}

/// The tokenizer with the prompt format; subjects get the ids after its vocabulary, in the
/// order in which they take part: each one for its name, and then those of its
/// [detail tokens](PromptFormat::detail_tokens).
#[derive(Clone, Debug)]
pub struct TextCodec {
    tokenizer: Tokenizer,
    format: PromptFormat,
    end: u32,
    /// What no question may hold: it would be read as a part of the prompt.
    controls: BTreeSet<String>,
}

/// A question, with an answer or without, as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedText {
    /// The ids.
    pub ids: Vec<u32>,
    /// The position of the first token of the answer; the length when there is no answer.
    pub answer_start: usize,
}

impl TextCodec {
    /// From a tokenizer in memory.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read or lacks a piece of the format.
    pub fn from_bytes(name: &str, json: &[u8], format: PromptFormat) -> Result<Self> {
        let file = |problem: String| Error::File {
            file: name.into(),
            problem,
            remedy: "use the tokenizer.json that came with the weights".into(),
        };
        let tokenizer = Tokenizer::from_bytes(json).map_err(|error| file(error.to_string()))?;
        let id = |piece: &str| tokenizer.token_to_id(piece).ok_or_else(|| file(format!("has no token {piece:?}")));
        if !format.begin.is_empty() {
            id(&format.begin)?;
        }
        let end = id(&format.end)?;
        let special = tokenizer.get_added_tokens_decoder().into_values().filter(|token| token.special).map(|token| token.content);
        let controls = format.marks().map(String::from).chain(special).filter(|control| !control.is_empty()).collect();
        Ok(Self { tokenizer, format, end, controls })
    }

    /// From a tokenizer.json.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes), and [`Error::Io`].
    pub fn open(path: &Path, format: PromptFormat) -> Result<Self> {
        let json = read_regular(path, LARGEST_TEXT_FILE, "use the tokenizer.json that came with the weights")?;
        Self::from_bytes(&path.display().to_string(), &json, format)
    }

    /// Size of the vocabulary; the first subject's id.
    pub fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The id of a token.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.tokenizer.token_to_id(text)
    }

    /// The id that ends an answer.
    pub fn end_token(&self) -> u32 {
        self.end
    }

    /// The ids of the text in front of each tile's visual tokens, for `tiles` tiles.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn before_tiles(&self, tiles: usize) -> Result<Vec<Vec<u32>>> {
        (0..tiles)
            .map(|tile| {
                let text = if tile == 0 { &self.format.opening } else { &self.format.between };
                self.encode(&format!("{}{text}", self.format.begin), &[])
            })
            .collect()
    }

    /// What precedes a question: text and pictures in the order of `shown`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn prefix(&self, shown: &[Shown]) -> Result<Vec<Segment>> {
        if let Some(pictures) = self.format.pictures {
            return (pictures.prefix)(self, shown);
        }
        let pictures: usize = shown.iter().map(Shown::pictures).sum();
        Ok(self.before_tiles(pictures)?.into_iter().flat_map(|text| [Segment::Text(text), Segment::Visual]).collect())
    }

    /// What joins a [prefix](Self::prefix) and a question.
    pub fn joint(&self, shown: &[Shown]) -> &'static str {
        self.format.pictures.map_or("", |pictures| (pictures.joint)(shown))
    }

    /// The ids of a text of any length, its control tokens included.
    ///
    /// # Errors
    /// [`Error::Text`] when it cannot be tokenized.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| Error::Text {
            what: "text",
            value: shorten(text),
            problem: format!("cannot be tokenized: {error}"),
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of a tokenizer.json that gives this codec again.
    ///
    /// # Errors
    /// [`Error::Text`] when the tokenizer cannot be written as text.
    pub fn tokenizer_json(&self) -> Result<String> {
        let refuse = |problem: String| Error::Text { what: "tokenizer", value: "tokenizer.json".into(), problem };
        self.tokenizer.to_string(false).map_err(|error| refuse(format!("cannot be written: {error}")))
    }

    /// The ids of the words that a positive and a negative answer about presence begin with.
    ///
    /// # Errors
    /// [`Error::Config`] when the vocabulary lacks one.
    pub fn yes_and_no(&self) -> Result<[u32; 2]> {
        let id = |word: &String| {
            self.token(word).ok_or_else(|| Error::Config {
                key: "yes_and_no",
                value: word.clone(),
                remedy: "name tokens of the tokenizer's vocabulary: presence needs both words".into(),
            })
        };
        let [yes, no] = &self.format.yes_and_no;
        Ok([id(yes)?, id(no)?])
    }

    /// The ids of the `index`-th subject of a question: that of its name, then those of its detail tokens.
    pub fn subject_ids(&self, index: usize) -> std::ops::Range<u32> {
        let count = 1 + self.format.detail_tokens;
        let first = (self.vocabulary() + index * count) as u32;
        first..first + count as u32
    }

    /// The prompt format.
    pub fn format(&self) -> &PromptFormat {
        &self.format
    }

    /// Ids of a text in which `<Aa>` stands for a subject of `names`.
    ///
    /// # Errors
    /// [`Error::Text`] for texts that cannot be tokenized or have over [`LONGEST_TEXT`] tokens. Words
    /// that the vocabulary lacks become its unknown token, when it has one.
    pub fn encode(&self, text: &str, names: &[SubjectName]) -> Result<Vec<u32>> {
        let refuse = |problem: String| Error::Text { what: "text", value: shorten(text), problem };
        let mut ids = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let next = names
                .iter()
                .enumerate()
                .filter_map(|(index, name)| rest.find(&name.to_string()).map(|at| (at, index, name.to_string().len())))
                .min();
            let (plain, after) = match next {
                Some((at, _, length)) => (&rest[..at], &rest[at + length..]),
                None => (rest, ""),
            };
            // If words carry their own space, white space between two names is not a word.
            if !plain.trim().is_empty() || (self.format.pictures.is_some() && !plain.is_empty()) {
                ids.extend(self.ids(plain)?);
            }
            if let Some((_, index, _)) = next {
                ids.push(self.subject_ids(index).start);
            }
            rest = after;
        }
        if ids.len() > LONGEST_TEXT {
            return Err(refuse(format!("has {} tokens, at most {LONGEST_TEXT} are possible", ids.len())));
        }
        Ok(ids)
    }

    /// Checks that a subject's name, in its angle brackets, is neither a token of this tokenizer nor a mark of the format: a
    /// question about it would be read as a part of the prompt.
    ///
    /// # Errors
    /// [`Error::Text`] that says so.
    pub fn check_name(&self, name: &SubjectName) -> Result<()> {
        let title = name.to_string();
        match self.token(&title).is_some() || self.controls.contains(&title) {
            false => Ok(()),
            true => Err(Error::Text {
                what: "subject name",
                value: name.to_string(),
                problem: "is a control token of this language model; write it otherwise, with a capital letter or another one"
                    .into(),
            }),
        }
    }

    /// Checks that a question is not empty and holds neither a special token of the tokenizer nor a mark of the format
    /// (`<Video>`, `[INST]`): it would be read as a part of the prompt.
    ///
    /// # Errors
    /// [`Error::Text`] that says which.
    pub fn check_question(&self, question: &str) -> Result<()> {
        let refuse = |problem: String| Err(Error::Text { what: "question", value: shorten(question), problem });
        if question.trim().is_empty() {
            return refuse("is empty; ask something such as \"is <Aa> in this video ?\"".into());
        }
        match self.controls.iter().find(|control| question.contains(control.as_str())) {
            Some(control) => refuse(format!("contains the control token {control:?}; leave it out")),
            None => Ok(()),
        }
    }

    /// A question and, for training, its answer.
    ///
    /// # Errors
    /// As [`check_question`](Self::check_question) and [`encode`](Self::encode).
    pub fn encode_question(&self, question: &str, answer: Option<&str>, names: &[SubjectName]) -> Result<EncodedText> {
        self.encode_joined("", question, answer, names)
    }

    /// As [`encode_question`](Self::encode_question), behind a [joint](Self::joint).
    ///
    /// # Errors
    /// As [`encode_question`](Self::encode_question).
    pub fn encode_joined(&self, joint: &str, question: &str, answer: Option<&str>, names: &[SubjectName]) -> Result<EncodedText> {
        self.check_question(question)?;
        let begin = if self.format.begin_question { self.format.begin.as_str() } else { "" };
        let name = match names.first() {
            Some(name) if self.format.name_in_front => format!("[{name}]"),
            _ => String::new(),
        };
        let (before, after) = (&self.format.before_question, &self.format.after_question);
        let mut ids = if self.format.detail_tokens == 0 || names.is_empty() {
            self.encode(&format!("{begin}{before}{joint}{name}{question}{after}"), names)?
        } else {
            let mut ids = self.encode(&format!("{begin}{before}{joint}"), names)?;
            (0..names.len()).for_each(|index| ids.extend(self.subject_ids(index)));
            ids.extend(self.encode(&format!("\n{name}{question}{after}"), names)?);
            ids
        };
        let answer_start = ids.len();
        if let Some(answer) = answer {
            ids.extend(self.encode(&format!("{}{answer}{}", self.format.before_answer, self.format.end), names)?);
        }
        Ok(EncodedText { ids, answer_start })
    }

    /// The text of ids, subject ids as names.
    ///
    /// # Errors
    /// [`Error::Text`] when the tokenizer cannot decode them.
    pub fn decode(&self, ids: &[u32], names: &[SubjectName]) -> Result<String> {
        let vocabulary = self.vocabulary() as u32;
        let refuse = |problem: String| Error::Text { what: "answer", value: format!("{ids:?}"), problem };
        let mut parts = Vec::new();
        for run in ids.chunk_by(|a, b| (*a < vocabulary) == (*b < vocabulary)) {
            if run[0] < vocabulary {
                parts.push(self.tokenizer.decode(run, true).map_err(|error| refuse(error.to_string()))?);
            } else {
                let each = 1 + self.format.detail_tokens as u32;
                // A detail token has no words.
                let named = run.iter().map(|id| id - vocabulary).filter(|place| place % each == 0).map(|place| place / each);
                parts.extend(named.map(|index| names.get(index as usize).map_or("<?>".to_string(), SubjectName::to_string)));
            }
        }
        Ok(parts.join(" "))
    }
}

impl EncodedText {
    /// Labels of the text: ignored up to the answer, the answer's ids after it, for a row of
    /// `length` tokens.
    pub fn labels(&self, length: usize) -> Vec<i64> {
        let mut labels = vec![IGNORED; length];
        for (place, &id) in self.ids.iter().enumerate().skip(self.answer_start).take_while(|(place, _)| *place < length) {
            labels[place] = i64::from(id);
        }
        labels
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
