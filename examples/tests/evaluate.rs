//! The program `evaluate`: what does not beat every control fails, and a judge behind an address marks the descriptions.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use pvchat::miniature::embedded::FILES;

/// Cargo builds examples together with tests and puts them beside the folder of these.
fn program() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("examples");
    let program = folder.join(format!("evaluate{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is not built; run `cargo build --examples` with the same options", program.display());
    program
}

fn evaluate(more: &[&str]) -> Output {
    let few = ["--characters", "2", "--exam", "77", "--seeds", "0", "--controls"];
    Command::new(program()).args(few).args(more).env("PVCHAT_JUDGE_KEY", "secret").output().unwrap()
}

/// The shipped base with a language model that finds every word equally likely.
fn a_base_that_knows_nothing(folder: &Path) {
    let mut weights = FILES.weights.to_vec();
    let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&weights[8..header]).unwrap();
    let place = |end: usize| tensors["answer.lm.lm_head.base.weight"]["data_offsets"][end].as_u64().unwrap() as usize;
    weights[header + place(0)..header + place(1)].fill(0);
    let files = [
        ("config.json", FILES.config),
        ("tokenizer.json", FILES.tokenizer),
        ("model.safetensors", &weights),
        ("corpus.safetensors", FILES.corpus),
    ];
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

#[test]
fn what_does_not_beat_every_control_fails_with_their_names() {
    let folder = tempfile::tempdir().unwrap();
    a_base_that_knows_nothing(folder.path());
    let output = evaluate(&["--base", folder.path().to_str().unwrap()]);
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{said}");
    let controls = [
        "untrained tokens",
        "tokens and rows zeroed",
        "another's tokens and rows",
        "shuffled identities",
        "another subject's name",
        "no video",
        "question only",
        "a description in the prompt",
    ];
    for control in controls {
        for text in [&said, &error] {
            let failed = text.lines().find(|line| line.contains("FAILED: not clearly better than "));
            assert!(failed.is_some_and(|line| line.contains(control)), "{control}: {said}\n{error}");
        }
    }
}

/// A chat service that gives everything a 3, and how often it was asked.
fn judge() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::Relaxed);
            answer(stream);
        }
    });
    (address, asked)
}

fn answer(stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    let (mut length, mut authorised) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        authorised |= line == "authorization: bearer secret";
        length = line.strip_prefix("content-length:").map_or(length, |value| value.trim().parse().unwrap());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let known = authorised && body["model"] == "some-model";
    let message = serde_json::json!({ "content": "{\"mark\": 3, \"reason\": \"as scripted\"}" });
    let text = serde_json::json!({ "choices": [{ "message": message }] }).to_string();
    let status = if known { "200 OK" } else { "401 Unauthorized" };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    reader.into_inner().write_all((head + &text).as_bytes()).unwrap();
}

#[test]
fn the_shipped_base_passes_and_its_descriptions_are_marked_by_the_judge_at_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (address, asked) = judge();
    let (json, cache) = (path("results.json"), path("judged"));
    let judged = ["--judge", &address, "--judge-model", "some-model", "--judge-cache", &cache, "--json", &json];
    let output = evaluate(&judged);
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{error}");
    let name = format!("language model some-model at {address}");
    assert!(said.contains("enrol: passed: every control is beaten") && said.contains(&name), "{said}");
    assert!(said.lines().any(|line| line.contains("enrol: place") && line.contains("3.000 [3.000, 3.000]")), "{said}");
    let texts = &serde_json::from_slice::<serde_json::Value>(&fs::read(&json).unwrap()).unwrap()["texts"];
    assert_eq!(texts["judge"], name);
    assert!(texts["instructions"][0][1].as_str().unwrap().contains("entity specificity"), "{texts}");
    let complete = &texts["ways"]["enrol"]["marks"][1];
    assert_eq!((&complete["mean"], &complete["marks"][0]["reason"]), (&3.0.into(), &"as scripted".into()));
    let first = asked.load(Ordering::Relaxed);
    assert_eq!(fs::read_dir(&cache).unwrap().count(), first, "every mark is kept");

    // Once more: nothing is asked again.
    assert!(evaluate(&judged).status.success());
    assert_eq!(asked.load(Ordering::Relaxed), first);

    // A service that does not know the model: reported, and what was measured is written anyway.
    fs::remove_file(&json).unwrap();
    let output = evaluate(&["--judge", &address, "--judge-model", "another", "--judge-cache", &cache, "--json", &json]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("401 Unauthorized"), "{error}");
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert!(written["enrol"]["balanced"].is_number() && written.get("texts").is_none(), "{written}");
}
