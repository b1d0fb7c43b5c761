//! Learning from a dataset on a tiny SmolVLM2 with random weights: learn, list, ask, rename, forget; killed and resumed; what cannot
//! be learned from.

mod support;

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use pvchat::{
    SubjectName,
    data::{Dataset, QaKind, QaPair, Video},
    image::{Rgb, RgbImage},
    video::write_clip,
};
use serde_json::Value;
use support::{Home, Run, real, write_tiny_base};

/// What the base is asked for presence, and what the dataset asks.
const QUESTION: &str = "Is <Aa> in this video? Answer with yes or no.";

fn name(bare: &str) -> SubjectName {
    bare.parse().unwrap()
}

/// The person is bright above and dark below, a stranger the other way round; every clip has other colours.
fn write(file: &Path, number: u8, present: bool) {
    let pixel = |frame: u8, x: u32, y: u32| {
        let base = if (y < 16) == present { 190 } else { 20 };
        Rgb([base + number * 3 + frame, base + (x / 4) as u8, base + number])
    };
    let frames: Vec<RgbImage> = (0..10).map(|frame| RgbImage::from_fn(40, 32, |x, y| pixel(frame, x, y))).collect();
    write_clip(file, &frames, 8.0).unwrap();
}

/// A dataset as `pvchat dataset make` writes it: that many clips of each kind, and questions of which only the special ones say
/// what they ask for.
fn dataset(folder: &Path, bare: &str, count: u8) {
    fs::create_dir_all(folder.join("clips")).unwrap();
    let (name, mut videos) = (name(bare), Vec::new());
    for number in 0..2 * count {
        let present = number % 2 == 0;
        let path = format!("clips/{number:02}.mp4");
        write(&folder.join(&path), number / 2, present);
        let answer = format!("{} {name}", if present { "Yes" } else { "No" });
        let mut pair = QaPair::new(QaKind::Existence, QUESTION.replace("<Aa>", &name.to_string()), answer);
        pair.kind = None;
        videos.push(Video::of(&name, path, present, vec![pair]));
    }
    Dataset { videos }.write(&folder.join(format!("{name}.json"))).unwrap();
}

/// A home with the base `tiny`, a dataset, and settings with which the tiny base learns in seconds.
fn home(steps: usize) -> Home {
    let home = Home::new();
    prepare(&home, steps);
    home
}

fn prepare(home: &Home, steps: usize) {
    write_tiny_base(&home.path().join("tiny"), Some(0.6));
    dataset(&home.path().join("aa-data"), "Aa", 8);
    write(&home.path().join("with.mp4"), 9, true);
    write(&home.path().join("without.mp4"), 9, false);
    let settings = serde_json::json!({
        "image_steps": steps, "clip_steps": 2 * steps, "batch": 4, "accumulation": 2, "learning_rate": 2e-2,
        "adaptation": { "lora_rate": 1e-2, "router_rate": 1e-2 },
    });
    fs::write(home.path().join("settings.json"), settings.to_string()).unwrap();
}

const LEARN: [&str; 7] = ["learn", "--dataset", "aa-data", "--base", "tiny", "--training", "settings.json"];

fn subject(home: &Home, bare: &str) -> std::path::PathBuf {
    home.subjects().join("learned/tiny").join(format!("{bare}.subject.safetensors"))
}

#[track_caller]
fn asked(home: &Home, clip: &str, question: &str) -> (Run, Value) {
    let run = home.run(&["ask", clip, question, "--base", "tiny", "--by", "learned", "--json"]);
    run.ends_with(0);
    let json = run.json();
    (run, json)
}

#[test]
fn somebody_is_learned_listed_asked_renamed_and_forgotten() {
    let home = home(30);
    let data = home.path().join("aa-data");
    // A file for testing may hold one kind.
    let mut test = Dataset::read(&data.join("<Aa>.json")).unwrap();
    test.videos.retain(|video| video.is_positive());
    test.write(&data.join("<Aa>test.json")).unwrap();
    let run = home.run(&[&LEARN[..], &["--json"]].concat());
    run.ends_with(0);
    let learned = run.json();
    let tested = |kind: &str| [0, 1].map(|place| learned["tested"][kind][place].as_u64().unwrap());
    assert!(tested("with")[0] >= 7, "{learned}");
    assert_eq!((tested("with")[1], tested("without")), (8, [0, 0]));
    assert_eq!((&learned["kind"], &learned["name"], &learned["base"]), (&"learned".into(), &"Aa".into(), &"tiny".into()));
    assert_eq!((&learned["clips"], &learned["steps"]), (&serde_json::json!([8, 8]), &90.into()));
    let right = learned["right"].as_array().unwrap();
    assert!(right[1].as_f64().unwrap() > 0.9, "{learned}");
    let stages: Vec<&str> = learned["seconds"].as_array().unwrap().iter().map(|stage| stage[0].as_str().unwrap()).collect();
    assert_eq!(
        stages,
        ["reading clips", "opening the base", "encoding every clip once", "training", "judging clips for testing"]
    );
    assert!(run.err.contains("encoding every clip once") && run.err.contains("training"), "{run:?}");
    let file = subject(&home, "Aa");
    assert!(file.is_file() && !file.with_file_name("Aa.learning").exists());
    #[cfg(unix)]
    for folder in [home.subjects(), home.subjects().join("learned"), home.subjects().join("learned/tiny")] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
    }

    // The base alone says who is there, and the program says that no face was compared.
    for (clip, verdict) in [("with.mp4", "yes"), ("without.mp4", "no")] {
        let (_, json) = asked(&home, clip, "Is Aa in it?");
        assert_eq!((&json["by"], &json["verdict"]), (&"learned".into(), &verdict.into()), "{clip}: {json}");
        let presence = &json["presence"][0];
        assert!(presence["similarity"].is_null() && presence["moments"].as_array().unwrap().is_empty(), "{json}");
        let described = &json["described"][0];
        assert_eq!((&described["means"], &described["question"]), (&"learned".into(), &"Is <Aa> in it?".into()));
    }
    let told = home.run(&["ask", "with.mp4", "Is Aa in it?", "--base", "tiny", "--by", "learned"]);
    assert!(told.out.starts_with("Yes, Aa is in it.") && told.out.contains("no face was compared"), "{told:?}");
    RgbImage::from_pixel(40, 32, Rgb([190, 190, 190])).save(home.path().join("picture.png")).unwrap();
    assert_eq!(asked(&home, "picture.png", "Is Aa in it?").1["described"][0]["seconds"], serde_json::json!([0.0]));
    let chat = home.talk(
        &["chat", "with.mp4", "--base", "tiny", "--by", "learned", "--json"],
        "Is Aa in it?\nWhat is he wearing?\nWhat is Zz doing?\n",
    );
    let lines: Vec<Value> = chat.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1]["described"][0]["question"], "What is <Aa> wearing?");
    assert_eq!((&lines[1]["verdict"], &lines[2]["refused"]), (&Value::Null, &"nobody_named".into()));

    let list = home.run(&["subjects", "list", "--json"]).json();
    let entry = &list["subjects"][0];
    assert_eq!((&entry["by"], &entry["model"], &entry["usable"]), (&"learned".into(), &"tiny".into(), &true.into()));
    assert!(home.run(&["subjects", "list"]).out.contains("Aa  learned on tiny, right on "));
    assert!(home.run(&["subjects", "show", "Aa"]).out.starts_with("Aa: learned on tiny"));

    home.run(&["subjects", "export", "Aa", "aa.learned"]).ends_with(0);
    assert_eq!(fs::read(home.path().join("aa.learned")).unwrap(), fs::read(&file).unwrap());
    let refused = home.run(&["subjects", "import", "aa.learned"]);
    refused.ends_with(3);
    assert!(refused.err.contains("name it by --base"), "{refused:?}");
    home.run(&["subjects", "import", "aa.learned", "--name", "Cc", "--base", "tiny"]).ends_with(0);
    let taken = home.run(&["subjects", "rename", "Aa", "Cc", "--json"]);
    taken.ends_with(3);
    assert_eq!(taken.json()["reason"], "name_taken");

    home.run(&["subjects", "rename", "aa", "Bb"]).ends_with(0);
    assert_eq!(asked(&home, "with.mp4", "Is Bb in it?").1["verdict"], "yes");
    let gone = home.run(&["ask", "with.mp4", "Is Aa in it?", "--base", "tiny", "--by", "learned"]);
    gone.ends_with(3);
    assert!(gone.err.contains("Learned on tiny: Bb, Cc."), "{gone:?}");
    let receipt = home.run(&["subjects", "forget", "BB", "--json"]);
    receipt.ends_with(0);
    let deleted = receipt.json()["deleted"].clone();
    assert_eq!(deleted[0]["file"], subject(&home, "Bb").to_str().unwrap(), "{deleted}");
    assert!(!subject(&home, "Bb").exists());
}

/// With the models, the faces say who is there, and a base that has learned the person is asked by name.
#[test]
fn faces_decide_first_and_a_learned_person_is_asked_about_by_name() {
    let Some((home, clips)) = real(&["carphone_pristine.mp4", "cap13_edit2.mp4"]) else { return };
    prepare(&home, 1);
    let clip = clips.join("carphone_pristine.mp4");
    let (clip, other) = (clip.to_str().unwrap(), clips.join("cap13_edit2.mp4"));
    // Without clips to hold back nothing is refused.
    dataset(&home.path().join("aa-data"), "Aa", 3);
    let learned = home.run(&LEARN);
    learned.ends_with(0);
    assert!(learned.out.contains("none were held back"), "{learned:?}");
    assert!(home.run(&["subjects", "list"]).out.contains("Aa  learned on tiny, to be asked about alone"));
    let unknown = home.run(&["ask", clip, "What is Aa wearing?", "--base", "tiny"]);
    unknown.ends_with(3);
    home.run(&["enrol", clip, "--name", "Aa"]).ends_with(0);
    let run = home.run(&["ask", clip, "What is Aa wearing?", "--base", "tiny", "--json"]);
    run.ends_with(0);
    let json = run.json();
    let described = &json["described"][0];
    assert_eq!((&json["by"], &described["means"]), (&"faces".into(), &"learned".into()), "{json}");
    assert_eq!(described["question"], "What is <Aa> wearing?");
    assert!(run.err.contains(": answered from 8 pictures in "), "no picture of the person alone: {run:?}");
    assert!(json["presence"][0]["similarity"].as_f64().unwrap() > 0.5, "{json}");
    let absent = home.run(&["ask", other.to_str().unwrap(), "What is Aa wearing?", "--base", "tiny"]);
    assert!(absent.out.starts_with("No.") && !absent.err.contains("opened"), "{absent:?}");
    // Everything goes, the face and what was learned.
    let list = home.run(&["subjects", "list", "--json"]).json();
    let by: Vec<&Value> = list["subjects"].as_array().unwrap().iter().map(|subject| &subject["by"]).collect();
    assert_eq!(by, ["face", "learned"]);
    assert!(home.run(&["subjects", "show", "Aa"]).out.contains("learned on tiny"));
    let deleted = home.run(&["subjects", "forget", "Aa", "--json"]).json()["deleted"].to_string();
    assert!(deleted.contains("Aa.person.safetensors") && deleted.contains("Aa.subject.safetensors"), "{deleted}");
    // Afterwards a picture of the person alone tells the base who is meant.
    home.run(&["enrol", clip, "--name", "Aa"]).ends_with(0);
    let json = home.run(&["ask", clip, "What is Aa wearing?", "--base", "tiny", "--json"]).json();
    assert_eq!(json["described"][0]["means"], "picture");
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir(to).unwrap();
    fs::read_dir(from).unwrap().map(|entry| entry.unwrap()).for_each(|entry| copy(&entry.path(), &to.join(entry.file_name())));
}

#[test]
fn a_run_that_was_killed_and_resumed_ends_in_the_same_bytes() {
    let steps = 90;
    let (unbroken, broken) = (home(steps), home(steps));
    unbroken.run(&LEARN).ends_with(0);
    let folder = broken.subjects().join("learned/tiny/Aa.learning");
    let mut child = broken.command(&LEARN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let steps = |home: &Home| {
        let list = home.run(&["subjects", "list"]).out;
        let done = list.split_once("not finished, ").or(list.split_once("being learned on tiny: "));
        done.and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<usize>().ok())
    };
    while steps(&broken).is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(),
            "no checkpoint to be killed after"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(folder.is_dir() && !subject(&broken, "Aa").exists());
    let list = broken.run(&["subjects", "list"]);
    assert!(list.out.contains("being learned on tiny: not finished, "), "{list:?}");
    let renamed = broken.run(&["subjects", "rename", "Aa", "Bb", "--json"]);
    renamed.ends_with(3);
    assert_eq!(renamed.json()["reason"], "being_learned");
    // Another seed is another run.
    let other = broken.run(&[&LEARN[..], &["--seed", "1"]].concat());
    assert!(other.code == Some(3) && other.err.contains("was begun with other options (seed 0, now 1"), "{other:?}");
    let done = steps(&broken).unwrap();
    assert!((1..270).contains(&done), "{done}");
    // What is not finished can be forgotten: here under another name, so that it can be resumed too.
    let abandoned = unbroken.subjects().join("learned/tiny/Dd.learning");
    copy(&folder, &abandoned);
    assert!(unbroken.run(&["subjects", "list"]).out.contains("Dd  being learned on tiny: not finished, "));
    let forgotten = unbroken.run(&["subjects", "forget", "Dd", "--json"]);
    forgotten.ends_with(0);
    assert!(forgotten.json()["deleted"][0]["file"].as_str().unwrap().contains("learned/tiny/Dd.learning/"), "{forgotten:?}");
    assert!(!abandoned.exists());

    broken.run(&LEARN).ends_with(0);
    assert!(fs::read(subject(&broken, "Aa")).unwrap() == fs::read(subject(&unbroken, "Aa")).unwrap(), "not the same bytes");
}

/// A dataset of two people in the published files. Aa is bright above, strangers below, Bb at the left; with `is_mixed_up` strangers are
/// shown in place of Bb, and Bb in theirs, in the clips that learning holds back.
fn two_people(folder: &Path, is_mixed_up: bool) {
    fs::create_dir_all(folder.join("clips")).unwrap();
    let names = [name("Aa"), name("Bb")];
    let (mut videos, mut counts) = (Vec::new(), [0; 2]);
    for number in 0..24_u8 {
        let who = usize::from(number % 3);
        let count = &mut counts[usize::from(who == 1)];
        *count += 1;
        let shown = if is_mixed_up && *count % 4 == 0 { [0, 2, 1][who] } else { who };
        let path = format!("clips/{number:02}.mp4");
        let pixel = |frame: u8, x: u32, y: u32| {
            let base = if [y < 16, x < 20, y >= 16][shown] { 190 } else { 20 };
            Rgb([base + number + frame, base + (x / 4) as u8, base + number / 3])
        };
        let frames: Vec<RgbImage> = (0..10).map(|frame| RgbImage::from_fn(40, 32, |x, y| pixel(frame, x, y))).collect();
        write_clip(folder.join(&path), &frames, 8.0).unwrap();
        let present: Vec<SubjectName> = names.get(who).cloned().into_iter().collect();
        let pair = |name: &SubjectName| {
            let answer = format!("{} {name}", if present.contains(name) { "Yes" } else { "No" });
            QaPair::new(QaKind::Existence, QUESTION.replace("<Aa>", &name.to_string()), answer)
        };
        videos.push(Video::about(names.to_vec(), path, present.clone(), names.iter().map(pair).collect()));
    }
    Dataset { videos }.write(&folder.join("<Aa>_<Bb>.json")).unwrap();
}

/// Files of the published schema that others wrote, without our manifest, are checked as well.
#[test]
fn a_published_file_is_checked_with_every_clip() {
    let home = home(1);
    let folder = home.path().join("data-of-others");
    two_people(&folder, false);
    for what in ["data-of-others", "data-of-others/<Aa>_<Bb>.json"] {
        let run = home.run(&["dataset", "check", what]);
        run.ends_with(0);
        assert!(run.out.contains("24 clips with 48 questions about Aa and Bb"), "{run:?}");
    }
    let clip = folder.join("clips/05.mp4");
    let bytes = fs::read(&clip).unwrap();
    fs::write(&clip, &bytes[..bytes.len() / 3]).unwrap();
    fs::remove_file(folder.join("clips/07.mp4")).unwrap();
    let run = home.run(&["dataset", "check", "data-of-others", "--json"]);
    run.ends_with(3);
    assert_eq!(run.json()["reason"], "dataset_refused", "{run:?}");
    assert!(run.err.contains("05.mp4") && run.err.contains("07.mp4"), "{run:?}");
    let one_class = Dataset { videos: Dataset::read(&folder.join("<Aa>_<Bb>.json")).unwrap().videos.split_off(22) };
    fs::write(&clip, &bytes).unwrap();
    one_class.write(&folder.join("<Aa>_<Bb>.json")).unwrap();
    let run = home.run(&["dataset", "check", "data-of-others", "--json"]);
    run.ends_with(3);
    assert_eq!(run.json()["reason"], "one_class", "{run:?}");
}

const LEARN_ALL: [&str; 7] = ["learn", "--dataset", "two-data", "--base", "tiny", "--training", "settings.json"];

#[test]
fn of_a_dataset_of_several_people_each_is_learned_resumed_and_refused_alone() {
    let (unbroken, broken) = (home(90), home(90));
    for home in [&unbroken, &broken] {
        two_people(&home.path().join("two-data"), false);
    }
    fs::write(unbroken.path().join("two-data/<Aa>_<Bb>_test.json"), "no JSON").unwrap();
    let run = unbroken.run(&[&LEARN_ALL[..], &["--json"]].concat());
    run.ends_with(0);
    let lines: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["name"].as_str().unwrap()).collect::<Vec<_>>(), ["Aa", "Bb"]);
    // Clips for testing that cannot be read undo nothing that was learned.
    assert!(run.err.contains("the clips for testing are not judged: "), "{run:?}");
    for line in &lines {
        assert!(line["right"][1].as_f64().unwrap() > 0.8 && line["clips"] == serde_json::json!([8, 16]), "{line}");
    }
    let stages = |line: &Value| line["seconds"].as_array().unwrap().iter().map(|stage| stage[0].clone()).collect::<Vec<_>>();
    assert_eq!(stages(&lines[1]), ["reading clips", "encoding every clip once", "training"]);
    for (clip, verdicts) in [("00", ["yes", "no"]), ("01", ["no", "yes"]), ("02", ["no", "no"])] {
        for (who, verdict) in ["Aa", "Bb"].into_iter().zip(verdicts) {
            let (_, json) = asked(&unbroken, &format!("two-data/clips/{clip}.mp4"), &format!("Is {who} in it?"));
            assert_eq!(json["verdict"], verdict, "{who} in {clip}: {json}");
        }
    }

    // Killed while the second is learned: the first stays, the second ends in the same bytes.
    let mut child = broken.command(&LEARN_ALL).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let learning = subject(&broken, "Aa").with_file_name("Aa.learning");
    while !subject(&broken, "Aa").exists() || learning.exists() {
        assert!(begun.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none(), "nobody was learned");
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!subject(&broken, "Bb").exists());
    assert!(broken.run(&["subjects", "list"]).out.contains("Bb  being learned on tiny: not finished"));
    let resumed = broken.run(&LEARN_ALL);
    resumed.ends_with(0);
    assert!(resumed.err.contains("Aa is learned already and stays") && !resumed.out.contains("Aa learned on"), "{resumed:?}");
    for who in ["Aa", "Bb"] {
        assert!(
            fs::read(subject(&broken, who)).unwrap() == fs::read(subject(&unbroken, who)).unwrap(),
            "{who}: not the same bytes"
        );
    }

    // One of them only; and whoever is not learned is refused by name.
    let one = broken.run(&[&LEARN_ALL[..], &["--name", "Bb", "--json"]].concat());
    one.ends_with(0);
    assert_eq!(one.out.lines().count(), 1, "{one:?}");
    for who in ["Aa", "Bb"] {
        broken.run(&["subjects", "forget", who]).ends_with(0);
    }
    two_people(&broken.path().join("two-data"), true);
    let mixed = broken.run(&[&LEARN_ALL[..], &["--json"]].concat());
    mixed.ends_with(3);
    let lines: Vec<Value> = mixed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["kind"], &lines[0]["name"]), (&"learned".into(), &"Aa".into()), "{mixed:?}");
    assert_eq!((&lines[1]["kind"], &lines[1]["reason"]), (&"error".into(), &"not_learned".into()), "{mixed:?}");
    assert!(mixed.err.contains("Bb was not learned: ") && subject(&broken, "Aa").exists() && !subject(&broken, "Bb").exists());
    let missing = broken.run(&[&LEARN_ALL[..], &["--name", "Zz"]].concat());
    missing.ends_with(3);
    assert!(missing.err.contains("two-data is about Aa and Bb, not about Zz"), "{missing:?}");
}

#[test]
fn what_cannot_be_learned_from_is_refused_with_everything_that_is_wrong() {
    let home = home(1);
    let learn = |more: &[&str]| home.run(&[&["learn", "--base", "tiny", "--json", "--dataset"][..], more].concat());
    let data = home.path().join("aa-data");
    let change = |change: &dyn Fn(&mut Dataset)| {
        let mut dataset = Dataset::read(&data.join("<Aa>.json")).unwrap();
        change(&mut dataset);
        dataset.write(&home.path().join("changed.json")).unwrap();
        // Its paths are relative to its folder.
        fs::rename(home.path().join("changed.json"), data.join("changed.json")).unwrap();
        learn(&["aa-data/changed.json"])
    };
    let refused = |run: Run, reason: &str, parts: &[&str]| {
        run.ends_with(3);
        assert_eq!(run.json()["reason"], reason, "{run:?}");
        assert!(parts.iter().all(|part| run.err.contains(part)), "{run:?}");
        assert!(!home.subjects().join("learned/tiny/Aa.learning").exists());
    };
    refused(change(&|data| data.videos.retain(|video| !video.present.is_empty())), "one_class", &["<Aa> is in every clip"]);
    refused(change(&|data| data.videos.retain(|video| video.present.is_empty())), "one_class", &["<Aa> is in no clip"]);
    let wrong = |data: &mut Dataset| {
        data.videos[0].qa_pairs.clear();
        data.videos[1].qa_pairs[0].answer.clear();
    };
    refused(change(&wrong), "dataset_refused", &["videos[0]: `qa_pairs` is empty", "videos[1].qa_pairs[0].answer"]);
    let away = |data: &mut Dataset| {
        data.videos[0].path = "../with.mp4".into();
        data.videos[1].path = "clips/absent.mp4".into();
    };
    refused(change(&away), "dataset_refused", &["../with.mp4 leaves the folder", "absent.mp4"]);
    let both = |data: &mut Dataset| {
        data.videos.retain(|video| !video.present.is_empty());
        data.videos[0].qa_pairs.clear();
        data.videos[1].path = "clips/absent.mp4".into();
    };
    refused(change(&both), "dataset_refused", &["<Aa> is in every clip", "`qa_pairs` is empty", "absent.mp4"]);
    refused(learn(&["aa-data", "--name", "Zz"]), "unknown_person", &["is about Aa, not about Zz"]);
    dataset(&data, "Bb", 1);
    refused(learn(&["aa-data"]), "several_people", &["is about Aa and Bb; choose one by --name"]);
    refused(learn(&["tiny"]), "dataset_refused", &["holds no dataset", "pvchat dataset make"]);
    learn(&["nowhere"]).ends_with(1);
    refused(learn(&["aa-data", "--name", "Aa", "--trains", "personal-and-bridge"]), "refused", &["--trains personal"]);
    fs::write(home.path().join("settings.json"), r#"{"rate": 1}"#).unwrap();
    let settings = learn(&["aa-data", "--name", "Aa", "--training", "settings.json"]);
    settings.ends_with(2);
    assert!(settings.err.contains("unknown field `rate`"), "{settings:?}");
    // Nothing is trained, so that the base says the same of everything.
    fs::write(
        home.path().join("settings.json"),
        r#"{"image_steps": 1, "clip_steps": 1, "learning_rate": 0.0, "adaptation": {"lora_rate": 0.0, "router_rate": 0.0}}"#,
    )
    .unwrap();
    let chance = learn(&["aa-data", "--name", "Aa", "--training", "settings.json"]);
    refused(chance, "not_learned", &["guessing gives 50 %", "--training"]);
    assert!(!subject(&home, "Aa").exists());

    let offline = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", home.path().join("hf"));
        support::run(command)
    };
    let absent = offline(&["learn", "--dataset", "aa-data", "--base", "smolvlm2-256m"]);
    absent.ends_with(3);
    assert!(absent.err.contains("`HF_HUB_OFFLINE=0 pvchat base get smolvlm2-256m`"), "{absent:?}");
    let none = offline(&["learn", "--dataset", "aa-data", "--name", "Aa", "--json"]);
    none.ends_with(3);
    assert_eq!(none.json()["reason"], "needs_base");
    let nobody = home.run(&["ask", "with.mp4", "Is Aa in it?", "--base", "tiny", "--by", "learned"]);
    nobody.ends_with(3);
    assert!(nobody.err.contains("nobody was learned on tiny"), "{nobody:?}");
}
