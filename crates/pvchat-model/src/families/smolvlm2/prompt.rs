//! Conversations as the published models read them: roles, texts, pictures, and the ids of it all.
//!
//! ```text
//! <|im_start|>User: You are provided the following series of two frames from a 0:00:03 [H:MM:SS] video.
//!
//! Frame from 00:00:<fake_token_around_image><global-img><image>…<fake_token_around_image>
//! Frame from 00:03:<fake_token_around_image><global-img><image>…<fake_token_around_image>
//!
//! What is <Aa> doing?<end_of_utterance>
//! Assistant:
//! ```
//!
//! `<image>` occurs once for each visual token of a picture: a frame, a tile of an image or the image as a whole. The text is
//! encoded in one piece, because the ids of `\n\n` depend on what follows.

use std::{collections::BTreeSet, fmt::Write, path::Path};

use pvchat_nn::file::{LARGEST_TEXT_FILE, read_regular};
use tokenizers::Tokenizer;

use super::SmolVlm2Config;
use crate::{Error, Result, prompt::Segment};

/// The most rows and columns of tiles: the vocabulary has `<row_1_col_1>` to `<row_6_col_6>`.
pub const MOST_TILES: usize = 6;

const BEGIN: &str = "<|im_start|>";
pub(super) const END_OF_TURN: &str = "<end_of_utterance>";
pub(super) const IMAGE: &str = "<image>";
pub(super) const AROUND_IMAGE: &str = "<fake_token_around_image>";
const GLOBAL_IMAGE: &str = "<global-img>";

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    fn title(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::User => "User",
            Self::Assistant => "Assistant",
        }
    }
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Words, without tokens that the model reads as controls.
    Text(String),
    /// Frames of a clip, one picture each.
    Video {
        /// When each frame was on the screen, in seconds from the beginning of the clip.
        times: Vec<f64>,
        /// The length of the clip in seconds; the last time when it is not known.
        duration: Option<f64>,
    },
    /// An image: one picture without rows and columns, else one for each tile, row by row, and then one of the whole.
    Image {
        /// Rows of tiles, at most [`MOST_TILES`].
        rows: usize,
        /// Tiles in a row, at most [`MOST_TILES`].
        columns: usize,
    },
}

impl Part {
    /// How many pictures the part shows.
    pub fn pictures(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Video { times, .. } => times.len(),
            Self::Image { rows, columns } => rows.saturating_mul(*columns).saturating_add(1),
        }
    }
}

/// What one side says in a turn. Its parts are joined without anything between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, at least one part.
    pub parts: Vec<Part>,
}

impl Message {
    /// A message of words only. An answer loses the spaces in front that the model generates: the template has its own.
    pub fn text(role: Role, text: &str) -> Self {
        let text = if role == Role::Assistant { text.trim_start_matches(' ') } else { text };
        Self { role, parts: vec![Part::Text(text.into())] }
    }
}

/// Messages in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// The messages, the oldest first, at least one.
    pub messages: Vec<Message>,
    /// Whether the model is to answer: `Assistant:` is at the end.
    pub generation_prompt: bool,
}

impl Conversation {
    /// How many pictures the conversation shows.
    pub fn pictures(&self) -> usize {
        self.parts().map(Part::pictures).fold(0, usize::saturating_add)
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.messages.iter().flat_map(|message| &message.parts)
    }

    /// The text of the conversation with `picture_tokens` times `<image>` for each picture.
    ///
    /// In a conversation about several videos each is introduced with the number of frames of the longest: so does
    /// transformers 5.24.
    ///
    /// # Errors
    /// [`Error::Shape`] for a conversation without messages, a message without parts, a video without frames or an image with
    /// rows and no columns, or more than [`MOST_TILES`]; [`Error::Text`] for an invalid time.
    pub fn render(&self, picture_tokens: usize) -> Result<String> {
        let shape = |what, found, expected: &str| Err(Error::Shape { what, found, expected: expected.into() });
        if self.messages.is_empty() {
            return shape("the messages of a conversation", vec![0], "at least one message");
        }
        let frames = |part: &Part| if let Part::Video { times, .. } = part { times.len() } else { 0 };
        let most_frames = number_words(self.parts().map(frames).max().unwrap_or(0));
        let image = IMAGE.repeat(picture_tokens);
        let whole = format!("{AROUND_IMAGE}{GLOBAL_IMAGE}{image}{AROUND_IMAGE}");
        let mut text = String::from(BEGIN);
        for message in &self.messages {
            text.push_str(message.role.title());
            text.push_str(match message.parts.first() {
                None => return shape("the parts of a message", vec![0], "at least one part"),
                Some(Part::Image { .. }) => ":",
                Some(_) => ": ",
            });
            for part in &message.parts {
                match part {
                    Part::Text(words) => text.push_str(words),
                    Part::Video { times, duration } => {
                        let Some(last) = times.last() else {
                            return shape("the frames of a video", vec![0], "at least one frame");
                        };
                        let length = length(whole_seconds(duration.unwrap_or(*last))?);
                        text.push_str(&format!(
                            "You are provided the following series of {most_frames} frames from a {length} [H:MM:SS] video.\n"
                        ));
                        for &time in times {
                            text.push_str(&format!("\nFrame from {}:{whole}", clock(whole_seconds(time)?)));
                        }
                        text.push_str("\n\n");
                    }
                    Part::Image { rows: 0, columns: 0 } => text.push_str(&whole),
                    Part::Image { rows, columns } => {
                        if !(1..=MOST_TILES).contains(rows) || !(1..=MOST_TILES).contains(columns) {
                            let expected = format!("[0, 0], or rows and columns of 1 to {MOST_TILES},");
                            return shape("the tiling of an image", vec![*rows, *columns], &expected);
                        }
                        for row in 1..=*rows {
                            for column in 1..=*columns {
                                text.push_str(&format!("{AROUND_IMAGE}<row_{row}_col_{column}>{image}"));
                            }
                            text.push('\n');
                        }
                        text.push('\n');
                        text.push_str(&whole);
                    }
                }
            }
            text.push_str(END_OF_TURN);
            text.push('\n');
        }
        if self.generation_prompt {
            text.push_str("Assistant:");
        }
        Ok(text)
    }
}

/// The tokenizer of a model, and what of its configuration a prompt depends on.
#[derive(Clone, Debug)]
pub struct PromptCodec {
    tokenizer: Tokenizer,
    image: u32,
    end: u32,
    picture_tokens: usize,
    max_positions: usize,
    /// What no text of a conversation may hold: it would be read as a part of the prompt.
    controls: BTreeSet<String>,
}

impl PromptCodec {
    /// With a tokenizer in memory.
    ///
    /// # Errors
    /// [`Error::File`] when the tokenizer lacks a token of the prompt, or has another id for `<image>` than the configuration.
    pub fn new(mut tokenizer: Tokenizer, config: &SmolVlm2Config) -> Result<Self> {
        let file = |problem: String| Error::File {
            file: "tokenizer.json".into(),
            problem,
            remedy: "use the tokenizer.json that came with the weights".into(),
        };
        let id = |token: &str| tokenizer.token_to_id(token).ok_or_else(|| file(format!("has no token {token:?}")));
        let (image, end) = (id(IMAGE)?, id(END_OF_TURN)?);
        for token in [BEGIN, AROUND_IMAGE] {
            id(token)?;
        }
        if image != config.image_token_id {
            let problem = format!("has the id {image} for {IMAGE:?}, and config.json has {}", config.image_token_id);
            return Err(file(problem));
        }
        let controls = tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
        // A prompt that is too long is refused, never cut.
        tokenizer.with_truncation(None).map_err(|error| file(error.to_string()))?;
        tokenizer.with_padding(None);
        let (picture_tokens, max_positions) = (config.picture_tokens(), config.max_positions);
        Ok(Self { tokenizer, image, end, picture_tokens, max_positions, controls })
    }

    /// With a tokenizer.json.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Io`] and [`Error::File`] when the file cannot be read.
    pub fn open(path: &Path, config: &SmolVlm2Config) -> Result<Self> {
        let remedy = "use the tokenizer.json that came with the weights";
        let json = read_regular(path, LARGEST_TEXT_FILE, remedy)?;
        let unreadable =
            |error: tokenizers::Error| Error::File { file: path.into(), problem: error.to_string(), remedy: remedy.into() };
        Self::new(Tokenizer::from_bytes(&json).map_err(unreadable)?, config)
    }

    /// The id that ends a turn, `<end_of_utterance>`.
    pub fn end_token(&self) -> u32 {
        self.end
    }

    /// The tokenizer, without truncation and padding.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A conversation as ids and places for pictures, in order. A visual segment represents the tokens of one picture.
    ///
    /// # Errors
    /// As [`Conversation::render`]; [`Error::Text`] for a text with a special token of the tokenizer, and for a prompt that is
    /// longer than the model has positions.
    pub fn encode(&self, conversation: &Conversation) -> Result<Vec<Segment>> {
        self.check_texts(conversation)?;
        let pictures = conversation.pictures();
        let visual = pictures.saturating_mul(self.picture_tokens);
        let prompt = |value: &str, problem: String| Error::Text { what: "prompt", value: shorten(value), problem };
        let positions = format!("the model has {} positions; show fewer pictures, or say less", self.max_positions);
        // Asked before the text is made, which would be as long.
        if visual > self.max_positions {
            let value = format!("with {pictures} pictures");
            return Err(prompt(&value, format!("has {visual} visual tokens, and {positions}")));
        }
        let text = conversation.render(self.picture_tokens)?;
        let unreadable = |error: tokenizers::Error| prompt(&text, format!("cannot be tokenized: {error}"));
        let encoding = self.tokenizer.encode_fast(text.as_str(), false).map_err(unreadable)?;
        let ids = encoding.get_ids();
        if ids.len() > self.max_positions {
            return Err(prompt(&text, format!("has {} tokens, and {positions}", ids.len())));
        }
        let mut segments = Vec::new();
        let mut image = 0;
        for run in ids.chunk_by(|a, b| (*a == self.image) == (*b == self.image)) {
            if run.first() != Some(&self.image) {
                segments.push(Segment::Text(run.to_vec()));
                continue;
            }
            if run.len() != self.picture_tokens {
                let problem = format!("has {} times {IMAGE:?} in a row, not {}", run.len(), self.picture_tokens);
                return Err(prompt(&text, problem));
            }
            segments.push(Segment::Visual);
            image += 1;
        }
        match image == pictures {
            true => Ok(segments),
            false => Err(prompt(&text, format!("has places for {image} pictures, and {pictures} are shown"))),
        }
    }

    /// Checks that no text holds a token that the model reads as a control. Texts side by side are read as one.
    fn check_texts(&self, conversation: &Conversation) -> Result<()> {
        let is_text = |part: &Part| matches!(part, Part::Text(_));
        for parts in conversation.messages.iter().flat_map(|message| message.parts.chunk_by(|a, b| is_text(a) && is_text(b))) {
            let words = |part: &Part| if let Part::Text(words) = part { words.clone() } else { String::new() };
            let text: String = parts.iter().map(words).collect();
            if let Some(control) = self.controls.iter().find(|control| text.contains(control.as_str())) {
                let problem = format!("contains the control token {control:?}; leave it out");
                return Err(Error::Text { what: "text", value: shorten(&text), problem });
            }
        }
        Ok(())
    }
}

/// A number in English words, "twenty-one"; digits from ten thousand on.
pub fn number_words(number: usize) -> String {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let (name, unit) = match number {
        0..20 => return SMALL[number].into(),
        20..100 => {
            let tens = TENS[number / 10];
            return if number.is_multiple_of(10) { tens.into() } else { format!("{tens}-{}", SMALL[number % 10]) };
        }
        100..1000 => ("hundred", 100),
        1000..10_000 => ("thousand", 1000),
        _ => return number.to_string(),
    };
    let (count, rest) = (SMALL[number / unit], number % unit);
    match rest {
        0 => format!("{count} {name}"),
        1..100 => format!("{count} {name} and {}", number_words(rest)),
        _ => format!("{count} {name}, {}", number_words(rest)),
    }
}

/// A length of time as Python writes it: `0:00:09`, `1 day, 0:00:00`.
fn length(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut text = match days {
        0 => String::new(),
        1 => "1 day, ".into(),
        _ => format!("{days} days, "),
    };
    // Writing to a string cannot fail.
    let _ = write!(text, "{}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    text
}

/// Minutes and seconds, at least two digits each.
fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// Seconds without their fraction.
fn whole_seconds(seconds: f64) -> Result<u64> {
    match seconds >= 0.0 && seconds.is_finite() {
        true => Ok(seconds as u64),
        false => Err(Error::Text {
            what: "time",
            value: seconds.to_string(),
            problem: "is no time in a clip; use seconds from its beginning".into(),
        }),
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
