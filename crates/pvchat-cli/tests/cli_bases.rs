//! Bases: listed, fetched from a hub of the test's own, kept in the hub's cache, checked, opened, asked.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{Home, Run, real, run, tiny_base};

/// A commit.
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
/// The base of these tests: it takes the place of the published one.
const NAME: &str = "smolvlm2-256m";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of a base, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// A small base with the weights of nobody.
fn files() -> Files {
    let folder = tiny_base();
    let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), fs::read(path).unwrap())).collect()
}

/// Writes a list in which this base stands, with the sizes of its files and the checksum of one.
fn list(home: &Home, files: &Files) -> PathBuf {
    let one = |(name, bytes): (&String, &Vec<u8>)| match name.as_str() {
        "tokenizer.json" => json!({ "name": name, "bytes": bytes.len(), "sha256": sha256(bytes) }),
        _ => json!({ "name": name, "bytes": bytes.len() }),
    };
    let list = json!([{ "name": NAME, "about": "small", "licence": "CC0-1.0", "repository": "somebody/tiny",
        "revision": REVISION, "files": files.iter().map(one).collect::<Vec<_>>() }]);
    let path = home.path().join("bases.json");
    fs::write(&path, list.to_string()).unwrap();
    path
}

/// A cache as the hub's programs make it: blobs by checksum, and links to them.
#[cfg(unix)]
fn cache(home: &Home, files: &Files) -> PathBuf {
    let repository = home.path().join("hf/hub/models--somebody--tiny");
    let snapshot = repository.join("snapshots").join(REVISION);
    for folder in [repository.join("blobs"), repository.join("refs"), snapshot.clone()] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(repository.join("refs/main"), REVISION).unwrap();
    for (name, bytes) in files {
        let blob = sha256(bytes);
        fs::write(repository.join("blobs").join(&blob), bytes).unwrap();
        std::os::unix::fs::symlink(Path::new("../../blobs").join(&blob), snapshot.join(name)).unwrap();
    }
    snapshot
}

/// Runs the program with this list, and `hf` as the home of the hub; without an address it is offline.
fn with_list(home: &Home, list: &Path, address: Option<&str>, arguments: &[&str]) -> Run {
    let mut command = home.command(arguments);
    command.env("PVCHAT_BASES", list).env("HF_HOME", home.path().join("hf"));
    match address {
        Some(address) => command.env("HF_ENDPOINT", address),
        None => command.env("HF_HUB_OFFLINE", "1"),
    };
    run(command)
}

fn entry(run: &Run) -> Value {
    run.json()["bases"].as_array().unwrap().iter().find(|base| base["name"] == NAME).unwrap().clone()
}

#[test]
fn what_is_absent_names_the_one_command_that_gets_it() {
    let home = Home::new();
    let offline = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", home.path().join("hf"));
        run(command)
    };
    for (arguments, told) in [
        (vec!["base", "get", NAME], "`HF_HUB_OFFLINE=0 pvchat base get smolvlm2-256m`"),
        (vec!["base", "path", NAME], "`HF_HUB_OFFLINE=0 pvchat base get smolvlm2-256m` (1.0 GB, Apache-2.0)"),
        (vec!["ask", "x.mp4", "What is Aa wearing?", "--base", NAME], "`HF_HUB_OFFLINE=0 pvchat base get smolvlm2-256m`"),
    ] {
        let run = offline(&arguments);
        run.ends_with(3);
        assert!(run.err.contains(told) && run.out.is_empty(), "{run:?}");
        let json = offline(&[arguments.as_slice(), &["--json"]].concat()).json();
        assert_eq!((&json["kind"], &json["reason"]), (&"error".into(), &"base_absent".into()), "{arguments:?}");
    }
    let bases = offline(&["base", "list", "--json"]);
    let base = entry(&bases);
    assert_eq!((&base["state"], &base["installed"], &base["folder"]), (&"absent".into(), &false.into(), &Value::Null));
    assert_eq!(base["revision"], "067788b187b95ebe7b2e040b3e4299e342e5b8fd");
    assert_eq!(bases.json()["bases"].as_array().unwrap().iter().filter(|base| base["usable"] == true).count(), 1);
    let told = offline(&["base", "list"]).out;
    let line: Vec<&str> = told.lines().find(|line| line.starts_with("smolvlm2-500m")).unwrap().split_whitespace().collect();
    assert_eq!(line[1..5], ["absent", "2.0", "GB", "Apache-2.0"], "{told}");
    assert!(!home.path().join("hf").exists(), "asking makes no folder");
    offline(&["base", "get", "miniature"]).ends_with(0);
    let run = offline(&["base", "get", "internvideo2_chat"]);
    run.ends_with(3);
    assert!(run.err.contains("--base FOLDER"), "{run:?}");
}

#[test]
fn a_wrong_folder_is_one_error_with_the_remedy() {
    let home = Home::new();
    fs::create_dir(home.path().join("empty")).unwrap();
    fs::create_dir(home.path().join("half")).unwrap();
    for (name, bytes) in files().iter().filter(|(name, _)| !name.ends_with(".safetensors")) {
        fs::write(home.path().join("half").join(name), bytes).unwrap();
    }
    for (base, told) in [
        ("nothing", "nothing is neither a base nor a folder; bases are miniature, smolvlm2-256m"),
        ("./nothing", "nothing does not exist; give a folder in the published layout"),
        ("empty", "empty holds no config.json; give a folder in the published layout"),
        ("half", "half holds no model.safetensors; fetch all files of the base"),
        ("internvideo2_chat", "opened from a folder"),
    ] {
        let run = home.run(&["ask", "x.mp4", "What is Aa wearing?", "--base", base]);
        run.ends_with(3);
        assert!(run.err.contains(told) && run.err.lines().count() == 1, "{run:?}");
        home.run(&["chat", "x.mp4", "--base", base]).ends_with(3);
    }
    // A base that describes has no part in enrolling: the models are what is missing.
    let run = home.run(&["enrol", "x.mp4", "--name", "Aa", "--base", NAME]);
    assert!(run.err.contains("pvchat models get people"), "{run:?}");
}

#[cfg(unix)]
#[test]
fn a_cache_that_another_program_filled_is_found_checked_and_recorded() {
    let home = Home::new();
    let files = files();
    let (list, snapshot) = (list(&home, &files), cache(&home, &files));
    let offline = |arguments: &[&str]| with_list(&home, &list, None, arguments);
    let base = entry(&offline(&["base", "list", "--json"]));
    assert_eq!((&base["state"], &base["usable"], &base["licence"]), (&"installed".into(), &true.into(), &"CC0-1.0".into()));
    assert_eq!(offline(&["base", "path", NAME]).out.trim_end(), snapshot.to_str().unwrap());

    let got = offline(&["base", "get", NAME]);
    got.ends_with(0);
    assert!(got.out.contains("installed and intact") && got.out.contains("licence CC0-1.0; somebody/tiny at 0123"), "{got:?}");
    let record = home.path().join("data/pvchat/bases").join(format!("{NAME}.json"));
    let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    assert_eq!((&record["licence"], &record["revision"]), (&"CC0-1.0".into(), &REVISION.into()));
    assert_eq!(record["files"].as_array().unwrap().len(), files.len());
    // Another place of the cache itself.
    let mut command = home.command(&["base", "path", NAME]);
    command.env("PVCHAT_BASES", &list).env("HF_HUB_CACHE", home.path().join("hf/hub"));
    run(command).ends_with(0);

    // One bit: the name of the blob, or the list, says what it has to be.
    for name in ["model.safetensors", "tokenizer.json"] {
        let blob = snapshot.join(name);
        let mut damaged = files[name].clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(&blob, &damaged).unwrap();
        let refused = offline(&["base", "get", NAME]);
        refused.ends_with(3);
        assert!(refused.err.contains(name) && refused.err.contains("SHA-256"), "{refused:?}");
        assert!(refused.err.contains("`HF_HUB_OFFLINE=0 pvchat base get smolvlm2-256m`"), "{refused:?}");
        fs::write(&blob, &files[name]).unwrap();
    }
    fs::write(snapshot.join("model.safetensors"), &files["model.safetensors"][..100]).unwrap();
    assert_eq!(entry(&offline(&["base", "list", "--json"]))["state"], "incomplete");
}

/// A hub of one repository.
struct Server {
    address: String,
    /// What was asked for: file and range.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    /// A connection is cut after this many bytes of a body.
    cut: Arc<AtomicUsize>,
}

impl Server {
    fn start(files: Files, revision: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (asked, cut) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(usize::MAX)));
        let server = Self { address, asked: asked.clone(), cut: cut.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is no fault of the server.
                let _ = answer(stream, &files, revision, &asked, cut.load(Ordering::SeqCst));
            }
        });
        server
    }

    fn ranges(&self, file: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        // The first byte alone says how large a file is.
        asked.iter().filter(|(name, range)| name == file && range != "bytes=0-0").map(|(_, range)| range.clone()).collect()
    }
}

fn answer(
    stream: TcpStream,
    files: &Files,
    revision: &str,
    asked: &Mutex<Vec<(String, String)>>,
    cut: usize,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let mut range = String::new();
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => range = value.into(),
            Some((name, _)) => assert!(!name.eq_ignore_ascii_case("authorization"), "no token is sent"),
            None => break,
        }
    }
    let mut stream = stream;
    let path = request.split(' ').nth(1).unwrap_or_default();
    let resolved = path.strip_prefix(&format!("/somebody/tiny/resolve/{REVISION}/"));
    // Large files lie elsewhere, and whoever is sent there is told their checksum.
    if let Some((name, bytes)) =
        resolved.and_then(|name| files.get_key_value(name)).filter(|(name, _)| name.ends_with(".safetensors"))
    {
        let (place, etag) = (stream.local_addr()?, sha256(bytes));
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: http://{place}/elsewhere/{name}\r\nContent-Length: 0\r\nETag: \"of the pointer\"\r\n\
             X-Linked-ETag: \"{etag}\"\r\nX-Repo-Commit: {revision}\r\nConnection: close\r\n\r\n"
        );
    }
    let name = resolved.or_else(|| path.strip_prefix("/elsewhere/")).unwrap_or_default().to_string();
    asked.lock().unwrap().push((name.clone(), range.clone()));
    let Some(bytes) = files.get(&name) else { return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") };
    let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let (first, end) = (first.parse::<usize>().unwrap(), last.parse().map_or(bytes.len(), |last: usize| last + 1));
    let body = &bytes[first..end];
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{}/{}\r\nETag: \"{}\"\r\n\
         X-Repo-Commit: {revision}\r\nConnection: close\r\n\r\n",
        body.len(),
        end - 1,
        bytes.len(),
        sha256(bytes)
    )?;
    stream.write_all(&body[..body.len().min(cut)])?;
    stream.flush()
}

#[test]
fn a_base_is_fetched_and_goes_on_where_the_connection_was_cut() {
    let home = Home::new();
    let files = files();
    let list = list(&home, &files);
    let server = Server::start(files.clone(), REVISION);
    let online = |arguments: &[&str]| with_list(&home, &list, Some(&server.address), arguments);
    let weights = "model.safetensors";
    let piece = files[weights].len() / 20;
    server.cut.store(piece.max(files["tokenizer.json"].len()).max(files["config.json"].len()), Ordering::SeqCst);
    let piece = server.cut.load(Ordering::SeqCst);
    assert!(6 * piece < files[weights].len(), "the weights take several pieces");

    let failed = online(&["base", "get", NAME, "--json"]);
    failed.ends_with(1);
    assert_eq!(failed.json()["reason"], "not_fetched");
    assert!(
        failed.err.contains("model.safetensors of somebody/tiny") && failed.err.contains("the same command resumes the download"),
        "{failed:?}"
    );
    assert!(failed.err.contains("licence CC0-1.0"), "{failed:?}");
    let base = entry(&online(&["base", "list", "--json"]));
    assert_eq!((&base["state"], &base["usable"]), (&"incomplete".into(), &false.into()));
    let incomplete = online(&["ask", "x.mp4", "What is Aa wearing?", "--base", NAME]);
    incomplete.ends_with(3);
    assert!(incomplete.err.contains("is not complete; resume with `pvchat base get smolvlm2-256m`"), "{incomplete:?}");
    let before = server.ranges(weights);
    assert_eq!(&before[..2], ["bytes=0-", &format!("bytes={piece}-")], "each piece behind the one before");

    server.cut.store(usize::MAX, Ordering::SeqCst);
    let got = online(&["base", "get", NAME]);
    got.ends_with(0);
    let after = server.ranges(weights).split_off(before.len());
    assert_eq!(after, [format!("bytes={}-", piece * before.len())]);
    let folder = PathBuf::from(online(&["base", "path", NAME]).out.trim_end());
    for (name, bytes) in &files {
        assert_eq!(&fs::read(folder.join(name)).unwrap(), bytes, "{name}");
    }

    // Nothing is fetched twice, and a damaged file is fetched again.
    let count = server.asked.lock().unwrap().len();
    online(&["base", "get", NAME]).ends_with(0);
    assert_eq!(server.asked.lock().unwrap().len(), count);
    let mut damaged = files[weights].clone();
    damaged[1000] ^= 1;
    fs::write(folder.join(weights), damaged).unwrap();
    online(&["base", "get", NAME]).ends_with(0);
    assert_eq!(&fs::read(folder.join(weights)).unwrap(), &files[weights]);
}

#[test]
fn what_is_not_the_published_file_is_not_kept() {
    let home = Home::new();
    let files = files();
    let list = list(&home, &files);
    let mut other = files.clone();
    let middle = other["tokenizer.json"].len() / 2;
    other.get_mut("tokenizer.json").unwrap()[middle] ^= 1;
    let server = Server::start(other, REVISION);
    let refused = with_list(&home, &list, Some(&server.address), &["base", "get", NAME]);
    refused.ends_with(3);
    assert!(refused.err.contains("tokenizer.json is damaged") && refused.err.contains("`pvchat base get"), "{refused:?}");
    assert!(!home.path().join(format!("hf/hub/models--somebody--tiny/snapshots/{REVISION}/tokenizer.json")).exists());

    let server = Server::start(files, "another");
    let refused = with_list(&home, &list, Some(&server.address), &["base", "get", NAME]);
    refused.ends_with(1);
    assert!(refused.err.contains("not from the revision that is pinned"), "{refused:?}");
    // Nobody answers.
    let refused = with_list(&home, &list, Some("http://127.0.0.1:9"), &["base", "get", NAME]);
    refused.ends_with(1);
    assert!(refused.err.lines().filter(|line| line.starts_with("pvchat: ")).count() == 1, "{refused:?}");
}

/// With random weights an answer means nothing: what counts is who answered, and of what.
#[cfg(unix)]
#[test]
fn a_base_answers_what_faces_do_not() {
    let Some((home, clips)) = real(&["carphone_pristine.mp4", "cap13_edit2.mp4"]) else { return };
    let (clip, other) = (clips.join("carphone_pristine.mp4"), clips.join("cap13_edit2.mp4"));
    let (clip, other) = (clip.to_str().unwrap(), other.to_str().unwrap());
    home.run(&["enrol", clip, "--name", "Aa"]).ends_with(0);
    let folder = tiny_base();
    let path = folder.path().to_str().unwrap();
    let run = home.run(&["ask", clip, "What is Aa wearing?", "--base", path, "--json"]);
    run.ends_with(0);
    let json = run.json();
    assert_eq!((&json["refused"], &json["described"][0]["by"]), (&Value::Null, &path.into()), "{json}");
    // The clip has four seconds.
    assert_eq!(json["described"][0]["seconds"].as_array().unwrap().len(), 4);
    assert!(run.err.contains(": opened in ") && run.err.contains(": answered from 5 pictures in "), "{run:?}");
    // The next process finds what the encoder made of the clip and of the person; a file that is read is not written anew.
    let looks = || {
        let entries = fs::read_dir(home.subjects().join("footage/looks")).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<u64> = entries.map(|entry| entry.metadata().unwrap().ino()).collect();
        files.sort_unstable();
        files
    };
    let kept = looks();
    let again = home.run(&["ask", clip, "What is Aa wearing?", "--base", path, "--json"]);
    assert_eq!((kept.len(), &again.json()["text"]), (2, &json["text"]));
    assert_eq!(looks(), kept);
    home.run(&["subjects", "forget", "Zz"]).ends_with(3);
    assert_eq!(looks(), kept);
    let told = home.run(&["ask", clip, "What is Aa wearing?", "--base", path]);
    assert!(told.out.contains(&format!("\n  (described by {path} from 4 frames at 0:00 to 0:0")), "{told:?}");
    for bits in ["8", "4"] {
        let run = home.run(&["ask", clip, "What is Aa wearing?", "--base", path, "--bits", bits, "--json"]);
        assert_eq!(run.json()["described"][0]["by"], path, "{run:?}");
        assert!(run.err.contains(&format!(" s, with weights of {bits} bits")), "{run:?}");
    }
    home.run(&["ask", clip, "What is Aa wearing?", "--base", path, "--bits", "3"]).ends_with(2);
    // The faces need no base, and one that is not needed is not opened.
    for question in ["Is Aa in it?", "When is Aa in it?"] {
        let run = home.run(&["ask", clip, question, "--base", path, "--json"]);
        assert!(run.json()["described"].as_array().unwrap().is_empty() && !run.err.contains("opened"), "{run:?}");
    }
    let absent = home.run(&["ask", other, "What is Aa wearing?", "--base", path]);
    absent.ends_with(0);
    assert!(absent.out.starts_with("No.") && !absent.err.contains("opened"), "{absent:?}");
    let chat = home.talk(&["chat", clip, "--base", path, "--json"], "Is Aa in it?\nWhat is he doing?\nWhat is he wearing?\n");
    let by: Vec<Value> = chat.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["described"].clone()).collect();
    assert_eq!(by.iter().map(|by| by.as_array().unwrap().len()).collect::<Vec<_>>(), [0, 1, 1]);
    assert_eq!(chat.err.matches(": opened in ").count(), 1, "{chat:?}");

    // An installed one is used by itself, after its files were checked once.
    let files = files();
    let (list, snapshot) = (list(&home, &files), cache(&home, &files));
    let ask = || with_list(&home, &list, None, &["ask", clip, "What is Aa wearing?", "--json"]);
    let run = ask();
    run.ends_with(0);
    assert_eq!(run.json()["described"][0]["by"], NAME);
    let mut damaged = files["model.safetensors"].clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(snapshot.join("model.safetensors"), damaged).unwrap();
    let run = ask();
    run.ends_with(3);
    assert!(run.err.contains("SHA-256") && run.err.contains("`HF_HUB_OFFLINE=0 pvchat base get smolvlm2-256m`"), "{run:?}");
    // Whoever asks only what faces answer is not bothered.
    with_list(&home, &list, None, &["ask", clip, "Is Aa in it?"]).ends_with(0);
    let forgotten = home.run(&["subjects", "forget", "Aa"]);
    forgotten.ends_with(0);
    assert!(forgotten.out.contains("footage/looks/") && looks().is_empty(), "{forgotten:?}");
}
