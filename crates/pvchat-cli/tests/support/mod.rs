//! Runs the program in a home of its own.

#![allow(dead_code)] // not every test needs everything

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

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

    /// With the models that are installed; nothing where there are none.
    pub fn with_models() -> Option<Self> {
        let set = std::env::var_os("PVCHAT_MODELS").map(PathBuf::from);
        let default = || Some(directories::ProjectDirs::from("", "", "pvchat")?.data_dir().join("models"));
        // The program runs in another folder.
        let models = set.or_else(default)?.canonicalize().ok()?;
        models.join("mobilefacenet.safetensors").exists().then(|| Self { models: Some(models), ..Self::new() })
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
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PVCHAT_")) {
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

pub fn run(mut command: Command) -> Run {
    ended(command.output().unwrap())
}

pub fn ended(output: std::process::Output) -> Run {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// A clip of the drawn world.
pub fn drawn(name: &str) -> String {
    project().join("fixtures/clips").join(name).to_str().unwrap().into()
}

/// A folder of clips of real people.
pub fn clips() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| project().join("target"), PathBuf::from);
    let folder = std::env::var_os("PVCHAT_CLIPS").map_or_else(|| target.join("clips"), PathBuf::from);
    folder.canonicalize().ok()
}
