//! Runs the program in a home of its own.

#![allow(dead_code)] // not every test needs everything

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pvchat::{
    data::random::SeededStream,
    model::{
        checkpoint,
        families::smolvlm2::{self, SiglipConfig, SmolVlm2Config},
        preprocess::SquaresConfig,
    },
    nn::{device, language::DecoderConfig},
};
use serde_json::{Value, json};

#[path = "../../../../fixtures/fetched.rs"]
pub mod fetched;

/// A home folder: nothing of the user's is read or written.
pub struct Home {
    folder: tempfile::TempDir,
    models: Option<PathBuf>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Checks the exit code.
    #[track_caller]
    pub fn ends_with(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:?}");
    }

    /// The one JSON object on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Home {
    /// Without models.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), models: None }
    }

    /// With the models that are installed; nothing where they are absent.
    #[track_caller]
    pub fn with_models() -> Option<Self> {
        let models = fetched::models();
        for model in ["mobilefacenet.safetensors", "selfie.safetensors"] {
            fetched::fetched(&models.join(model))?;
        }
        // The program runs in another folder.
        Some(Self { models: Some(models.canonicalize().unwrap()), ..Self::new() })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn subjects(&self) -> PathBuf {
        self.path().join("data/pvchat/subjects")
    }

    pub fn models(&self) -> PathBuf {
        self.path().join("data/pvchat/models")
    }

    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvchat"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        if let Some(models) = &self.models {
            command.env("PVCHAT_MODELS", models);
        }
        command.env("HOME", self.path()).env("XDG_DATA_HOME", self.path().join("data")).env("TMPDIR", self.path());
        command.current_dir(self.path()).stdin(Stdio::null()).args(arguments);
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Run {
        run(self.command(arguments))
    }

    /// Runs it with this on standard input.
    pub fn talk<S: AsRef<OsStr>>(&self, arguments: &[S], input: &str) -> Run {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        ended(child.wait_with_output().unwrap())
    }
}

/// What the program or the cache of bases reads.
fn is_setting(variable: &str) -> bool {
    variable.starts_with("PVCHAT_") || variable.starts_with("HF_") || variable == "XDG_CACHE_HOME"
}

pub fn run(mut command: Command) -> Run {
    ended(command.output().unwrap())
}

pub fn ended(output: std::process::Output) -> Run {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// The control tokens of SmolVLM2's prompts.
const CONTROL: [&str; 5] = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"];

/// " Yes" and " No", and what they are merged from.
const MERGED: [&str; 5] = ["\u{120}Y", "\u{120}Ye", "\u{120}Yes", "\u{120}N", "\u{120}No"];
const MERGES: [&str; 5] = ["\u{120} Y", "\u{120}Y e", "\u{120}Ye s", "\u{120} N", "\u{120}N o"];

/// A tokenizer whose words are the 256 bytes, " Yes", " No" and the control tokens.
fn tokenizer() -> (Value, usize) {
    let mut next = 256;
    let symbol = |byte: u32| {
        let is_printable = matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let code = if is_printable { byte } else { next };
        next += u32::from(!is_printable);
        char::from_u32(code).unwrap().to_string()
    };
    let mut words: Vec<String> = (0..256).map(symbol).collect();
    words.extend(MERGED.map(String::from));
    let plain = words.len();
    words.extend(CONTROL.map(String::from));
    let vocabulary: serde_json::Map<String, Value> =
        words[..plain].iter().enumerate().map(|(id, word)| (word.clone(), id.into())).collect();
    let added: Vec<Value> = (plain..words.len())
        .map(|id| {
            json!({ "id": id, "content": words[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
        })
        .collect();
    let level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "decoder": level, "pre_tokenizer": level, "added_tokens": added,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": MERGES },
    });
    (tokenizer, words.len())
}

/// A folder with a SmolVLM2 of 2 layers and random weights, in the published layout.
pub fn tiny_base() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_tiny_base(folder.path(), None);
    folder
}

/// Writes such a folder, the weights of the language model of that deviation: with small ones it says nothing with confidence.
pub fn write_tiny_base(folder: &Path, deviation: Option<f32>) {
    let (tokenizer, vocabulary) = tokenizer();
    let control = |token: &str| {
        let place = CONTROL.iter().position(|control| *control == token).unwrap();
        (vocabulary - CONTROL.len() + place) as u32
    };
    let published = SmolVlm2Config::published("256m").unwrap();
    let vision = SiglipConfig {
        width: 16,
        layers: 2,
        heads: 2,
        mlp_hidden: 24,
        image_size: 32,
        patch_size: 8,
        ..published.vision.clone()
    };
    let text = DecoderConfig {
        vocabulary,
        hidden: 24,
        layers: 2,
        heads: 3,
        kv_heads: 1,
        head_dim: 8,
        intermediate: 40,
        initial_deviation: deviation.unwrap_or(published.text.initial_deviation),
        ..published.text.clone()
    };
    let config = smolvlm2::config(SmolVlm2Config {
        vision,
        text,
        scale_factor: 2,
        max_positions: 4096,
        image_token_id: control("<image>"),
        end_tokens: vec![control("<end_of_utterance>")],
        video: SquaresConfig { longest_edge: 32, side: 32 },
        image: SquaresConfig { longest_edge: 128, side: 32 },
        ..published
    });
    let parameters = config.init(&SeededStream::new(1), &device::default_device().unwrap()).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    checkpoint::save(&parameters, folder, usize::MAX, smolvlm2::FAMILY.names).unwrap();
    for (name, bytes) in (smolvlm2::FAMILY.write)(&config).unwrap() {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// A clip of the drawn world.
pub fn drawn(name: &str) -> String {
    project().join("fixtures/clips").join(name).to_str().unwrap().into()
}

/// The folder of clips of real people.
pub fn clips() -> PathBuf {
    let folder = fetched::clips();
    folder.canonicalize().unwrap_or(folder)
}

/// A clip of real people; `None` where it is not installed.
#[track_caller]
pub fn clip_of_people(clip: &str) -> Option<PathBuf> {
    fetched::fetched(&clips().join(clip)).map(Path::to_path_buf)
}

/// A home with models, and the folder of clips of real people; `None` where the models or one of these clips is not installed.
#[track_caller]
pub fn real(needed: &[&str]) -> Option<(Home, PathBuf)> {
    let (home, clips) = (Home::with_models()?, clips());
    for clip in needed {
        fetched::fetched(&clips.join(clip))?;
    }
    Some((home, clips))
}
