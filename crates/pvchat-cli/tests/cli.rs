//! The program as its users and their scripts meet it.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
};

use pvchat::{
    data::random::SeededStream,
    image::{Rgb, RgbImage},
};
use serde_json::Value;
use support::{Home, drawn};

#[test]
fn wrong_usage_is_one_line_and_ends_with_2() {
    let home = Home::new();
    for arguments in [
        vec!["aks"],
        vec!["enrol", "clip.mp4"],
        vec!["enrol", "clip.mp4", "--name", "a/b"],
        vec!["enrol", "clip.mp4", "--name", "Aa", "--at", "1"],
        vec!["enrol", "clip.mp4", "--name", "Aa", "--at", "1,2", "--person", "1"],
        vec!["timeline"],
        vec!["timeline", "a.mp4", "--format", "xml"],
        vec!["base", "get", "none"],
        vec!["subjects", "show", "../secret"],
        vec!["--embedder", "none", "who", "a.mp4"],
    ] {
        let run = home.run(&arguments);
        run.ends_with(2);
        assert_eq!(run.out, "", "{arguments:?}");
        assert!(run.err.starts_with("pvchat: ") && run.err.lines().count() == 1, "{arguments:?}: {}", run.err);
        assert!(run.err.contains("--help`"), "{}", run.err);
    }
}

#[test]
fn without_models_one_command_is_named() {
    let home = Home::new();
    for arguments in [
        vec!["enrol", "clip.mp4", "--name", "Aa"],
        vec!["ask", "clip.mp4", "Is Aa in it?"],
        vec!["who", "clip.mp4"],
        vec!["timeline", "clip.mp4"],
    ] {
        let run = home.run(&arguments);
        run.ends_with(3);
        assert!(run.err.contains("`pvchat models get people`"), "{}", run.err);
        let json = home.run(&[&["--json"], arguments.as_slice()].concat());
        json.ends_with(3);
        let error = json.json();
        assert_eq!((&error["kind"], &error["reason"]), (&"error".into(), &"models_absent".into()));
        assert_eq!(error["exit_code"], 3);
    }
    // A folder that only this call names has to be named again.
    let run = home.run(&["who", "clip.mp4", "--models", "other models"]);
    assert!(run.err.contains("`pvchat models --models 'other models' get people`"), "{}", run.err);
    let doctor = home.run(&["doctor", "--json"]);
    doctor.ends_with(3);
    assert_eq!(doctor.json()["is_fine"], false);
    assert!(doctor.out.contains("pvchat models get people"), "{}", doctor.out);
}

#[test]
fn models_that_are_damaged_are_refused() {
    let home = Home::new();
    fs::create_dir_all(home.models()).unwrap();
    fs::write(home.models().join("mtcnn.safetensors"), b"not a network").unwrap();
    let run = home.run(&["who", "clip.mp4"]);
    run.ends_with(3);
    assert!(run.err.contains("damaged: ") && run.err.contains("`pvchat models get people`"), "{}", run.err);
    assert!(home.run(&["models", "list"]).out.contains("mtcnn          damaged"));
}

/// The weights of the golden file of a tiny SmolVLM2 as a base in a folder; those of `damaged` are zero.
fn golden_base(file: &Path, folder: &Path, damaged: Option<&str>) {
    let bytes = fs::read(file).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (header, values) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
    let mut config: Value = serde_json::from_str(header["__metadata__"]["config"].as_str().unwrap()).unwrap();
    config["model_type"] = "smolvlm".into();
    let (mut kept, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, entry) in &header {
        let Some(public) = name.strip_prefix("weights.") else { continue };
        let [begin, end] = [0, 1].map(|side| entry["data_offsets"][side].as_u64().unwrap() as usize);
        let start = data.len();
        data.extend(&values[begin..end]);
        if damaged == Some(public) {
            data[start..].fill(0);
        }
        let mut entry = entry.clone();
        entry["data_offsets"] = serde_json::json!([start, data.len()]);
        kept.insert(public.into(), entry);
    }
    let header = Value::Object(kept).to_string().into_bytes();
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::write(folder.join("model.safetensors"), [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
}

#[test]
fn doctor_names_the_first_state_of_a_base_that_deviates() {
    let home = Home::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/smolvlm/smolvlm_tiny_b.safetensors");
    let [dump, base] = [golden.clone(), home.path().join("base")].map(|path| path.to_str().unwrap().to_string());
    let compare = |json: &[&str]| home.run(&[&["doctor", "--compare", &dump, "--base", &base], json].concat());
    golden_base(&golden, Path::new(&base), None);
    let run = compare(&[]);
    run.ends_with(0);
    assert!(run.out.contains("vision.layer1") && !run.out.contains("the first above"), "{}", run.out);
    golden_base(&golden, Path::new(&base), Some("model.text_model.layers.1.mlp.up_proj.weight"));
    let run = compare(&[]);
    run.ends_with(3);
    let line = run.out.lines().find(|line| line.contains("the first above")).unwrap();
    assert!(line.contains("text.layer1"), "{line}");
    let json = compare(&["--json"]);
    json.ends_with(3);
    assert_eq!(json.json()["first"]["state"], "text.layer1");
    // A name of the list is one too, and says how it is fetched.
    let run = home.run(&["doctor", "--compare", &dump, "--base", "smolvlm2-256m"]);
    run.ends_with(3);
    assert!(run.err.contains("pvchat base get smolvlm2-256m"), "{}", run.err);
}

#[test]
fn nobody_is_known_at_first() {
    let home = Home::new();
    let run = home.run(&["subjects", "list"]);
    run.ends_with(0);
    assert!(run.out.starts_with("nobody in ") && run.out.contains("pvchat enrol"), "{}", run.out);
    let json = home.run(&["subjects", "list", "--json"]).json();
    assert_eq!((&json["kind"], json["version"].as_u64()), (&"subjects".into(), Some(1)));
    assert_eq!(json["subjects"], Value::Array(Vec::new()));
    let tip = home.run(&["wh"]);
    assert!(tip.err.starts_with("pvchat: unrecognized subcommand 'wh'; tip: "), "{tip:?}");
    for arguments in [["subjects", "forget", "Aa"], ["subjects", "show", "Aa"]] {
        let run = home.run(&arguments);
        run.ends_with(3);
        assert!(run.err.contains("nobody called Aa in "), "{}", run.err);
    }
    home.run(&["subjects", "undo"]).ends_with(3);
    assert!(!home.subjects().exists(), "asking makes no folder");
}

#[test]
fn learning_from_one_filmed_clip_names_the_two_commands_that_it_takes() {
    let home = Home::new();
    for base in [[].as_slice(), &["--base", "smolvlm2-256m"]] {
        let run = home.run(&[&["learn", "clip.mp4", "--name", "Aa"], base].concat());
        run.ends_with(3);
        let told = ["pvchat dataset make clip.mp4 --name Aa", "then pvchat learn --dataset aa-data", "pvchat enrol clip.mp4"];
        assert!(told.iter().all(|part| run.err.contains(part)), "{}", run.err);
    }
    for (arguments, told) in [
        (["learn"].as_slice(), "give --dataset DATASET (made by `pvchat dataset make`), or for a drawn character CLIP --name Aa"),
        (&["learn", "--name", "Aa"], "give --dataset DATASET"),
        (&["learn", "clip.mp4"], "give the name too: --name Aa"),
    ] {
        let run = home.run(arguments);
        run.ends_with(2);
        assert!(run.err.starts_with(&format!("pvchat: {told}")) && run.err.lines().count() == 1, "{run:?}");
    }
    // What is suggested can be typed.
    let run = home.run(&["learn", "clip.mp4", "--name", "Uncle Bob"]);
    let told = ["--name 'Uncle Bob' --corpus FOOTAGE --out 'uncle bob-data'", "enrol clip.mp4 --name 'Uncle Bob'"];
    assert!(told.iter().all(|part| run.err.contains(part)), "{}", run.err);
}

/// A folder that is none, or is not there, or holds nothing of the kind: in words, with what to give.
#[test]
fn wrong_folders_are_refused_with_the_remedy() {
    let home = Home::new();
    fs::write(home.path().join("a.mp4"), "no folder").unwrap();
    fs::create_dir(home.path().join("empty")).unwrap();
    let no_folder = "is not a folder; give the folder that holds it\n";
    let nowhere = "nowhere: no such file or folder; check the name and the folder\n";
    for (arguments, code, told) in [
        (["index", "a.mp4", "--json"].as_slice(), 3, no_folder),
        (&["index", "a.mp4", "--delete"], 3, no_folder),
        (&["index", "nowhere"], 1, nowhere),
        (&["index", "empty", "--delete"], 3, "there is no index empty/pvchat.index; nothing is deleted\n"),
        (&["dataset", "check", "a.mp4"], 3, no_folder),
        (&["dataset", "check", "nowhere"], 1, nowhere),
        (
            &["dataset", "check", "empty"],
            3,
            "empty holds no dataset; make one: pvchat dataset make CLIP --name Aa --corpus DIR --out DIR\n",
        ),
        (&["subjects", "import", "nowhere"], 1, nowhere),
    ] {
        let run = home.run(arguments);
        run.ends_with(code);
        assert!(run.err.ends_with(told) && !run.err.contains("os error"), "{arguments:?}: {run:?}");
    }
}

/// The text of every source file of the program.
fn sources(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: std::path::PathBuf| if path.is_dir() { sources(&path) } else { vec![fs::read_to_string(path).unwrap()] };
    entries.flat_map(of).collect()
}

/// What scripts compare with is in the documentation, and what is documented exists.
#[test]
fn every_reason_is_documented() {
    let manual = fs::read_to_string(support::project().join("docs/program.md")).unwrap();
    let listed = manual.split_once("`reason` is one of ").unwrap().1.split_once(".\n").unwrap().0;
    let documented: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
    let is_reason = |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
    let (mut used, mut literals) = (Vec::new(), Vec::new());
    for source in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let source = source.replace("\\\"", "").replace("'\"'", "");
        let parts: Vec<&str> = source.split('"').collect();
        for place in (1..parts.len()).step_by(2).filter(|place| is_reason(parts[*place])) {
            let before = parts[..place].join("\"");
            let before = before.trim_end();
            let line = before.lines().last().unwrap_or_default();
            let is_sorted = line.contains("(Exit::") || line.contains("Refusal::") || line.contains("let reason = ");
            if before.ends_with("refused(") || before.ends_with("reason:") || is_sorted {
                used.push(parts[place].to_string());
            }
            literals.push(parts[place].to_string());
        }
    }
    assert!(used.len() > 50, "{used:?}");
    for reason in &used {
        assert!(documented.contains(&reason.as_str()), "{reason} is not in docs/program.md");
    }
    for reason in documented {
        assert!(literals.iter().any(|literal| literal == reason), "{reason} is in docs/program.md and nowhere else");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let home = Home::new();
    for arguments in [vec!["completions", "bash"], vec!["models", "list"], vec!["--json", "base", "list"]] {
        let mut child = home.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn files_that_are_nobody_are_not_imported() {
    let home = Home::new();
    let file = home.path().join("a\u{1b}[31mfile");
    for content in [b"".as_slice(), b"no person", &[0xff; 64]] {
        fs::write(&file, content).unwrap();
        let run = home.run(&["subjects", "import", file.to_str().unwrap()]);
        run.ends_with(3);
        assert!(run.err.contains("file") && !run.err.contains('\u{1b}'), "{}", run.err);
    }
    let missing = home.run(&["subjects", "import", "none.person"]);
    missing.ends_with(1);
    assert!(missing.err.contains("none.person"), "{}", missing.err);
    home.run(&["subjects", "import", home.path().to_str().unwrap()]).ends_with(1);
    assert!(!home.subjects().exists());
}

#[test]
fn completions_know_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = home.run(&["completions", shell]);
        run.ends_with(0);
        assert!(run.out.contains("timeline") && run.out.contains("--thumbnails") | run.out.contains("thumbnails"), "{shell}");
    }
}

/// A filmed-like clip of noise, one of a white wall, and filmed clips where there are some.
#[test]
fn the_drawn_base_refuses_other_footage_and_clips_without_anybody() {
    let home = Home::new();
    home.run(&["enrol", &drawn("clip-00.mp4"), "--name", "Aa", "--base", "miniature"]).ends_with(0);
    let mut stream = SeededStream::new(6);
    let noise: Vec<RgbImage> =
        (0..12).map(|_| RgbImage::from_fn(128, 128, |_, _| Rgb([0; 3].map(|_| stream.below(256) as u8)))).collect();
    let wall = vec![RgbImage::from_pixel(128, 128, Rgb([255; 3])); 12];
    let [noise_file, wall_file] = ["noise.mp4", "wall.mp4"].map(|name| home.path().join(name).to_str().unwrap().to_string());
    pvchat::video::write_clip(Path::new(&noise_file), &noise, 8.0).unwrap();
    pvchat::video::write_clip(Path::new(&wall_file), &wall, 8.0).unwrap();
    let beside = support::project().join("../shared/media");
    let media = std::env::var_os("PVCHAT_MEDIA").map_or(beside, Into::into);
    let mut foreign = vec![noise_file];
    for name in ["carphone_pristine.mp4", "franck.mp4"] {
        foreign.extend(support::clip_of_people(name).map(|file| file.to_str().unwrap().to_string()));
    }
    for name in ["lp_d0.mp4", "lp_s32.mp4", "iv_example1.mp4"] {
        match media.join(name) {
            file if file.exists() => foreign.push(file.to_str().unwrap().into()),
            file => println!("not run: there is no {}; PVCHAT_MEDIA names a folder with filmed clips", file.display()),
        }
    }
    for file in &foreign {
        for command in [
            vec!["ask", file, "Is <Aa> in this video?"],
            vec!["enrol", file, "--name", "Bb"],
            vec!["learn", file, "--name", "Bb"],
        ] {
            let run = home.run(&[&command[..], &["--base", "miniature"]].concat());
            run.ends_with(3);
            assert!(run.err.contains("knows drawn clips only") && run.err.contains("--base"), "{command:?}: {}", run.err);
            let json = home.run(&[&command[..], &["--base", "miniature", "--json"]].concat()).json();
            assert_eq!(json["reason"], "filmed", "{command:?}");
        }
    }
    for command in [["enrol", &wall_file, "--name", "Bb"], ["learn", &wall_file, "--name", "Bb"]] {
        let run = home.run(&[&command[..], &["--base", "miniature"]].concat());
        run.ends_with(3);
        assert!(run.err.contains("nobody found in") && run.err.contains("8 frames"), "{command:?}: {}", run.err);
    }
    assert_eq!(home.run(&["subjects", "list"]).out, "Aa  drawn character, by one look\n");
}

/// The drawn laboratory: enrolled, asked word by word, talked about, renamed, taken away and back, forgotten.
#[test]
fn drawn_characters_are_behind_the_same_commands() {
    let home = Home::new();
    let [first, third] = [drawn("clip-00.mp4"), drawn("clip-03.mp4")];
    let base = ["--base", "miniature"];
    let run = home.run(&[&["enrol", &first, "--name", "Aa"], base.as_slice()].concat());
    run.ends_with(0);
    assert!(run.out.contains("<Aa>") && run.out.contains("drawn clips only"), "{}", run.out);
    let run = home.run(&[&["ask", &third, "Is <Aa> in this video?"], base.as_slice()].concat());
    run.ends_with(0);
    assert!(run.out.starts_with("yes, <Aa> is in the video.\n  <Aa> is there with a probability of "), "{}", run.out);
    let json = home.run(&[&["ask", &third, "Is <Aa> in this video?", "--json"], base.as_slice()].concat()).json();
    assert_eq!((&json["kind"], &json["text"]), (&"answer_drawn".into(), &"yes, <Aa> is in the video.".into()));
    // Tokens and templates are separate switches, and the answer says which it was.
    assert_eq!((&json["by"], &json["obtained"]), (&"learned".into(), &"enrolled".into()));
    for (by, obtained) in [("learned", "enrolled"), ("faces", "remembered")] {
        let question = [&["ask", &third, "Is <Aa> in this video?", "--by", by, "--json"], base.as_slice()].concat();
        let json = home.run(&question).json();
        assert_eq!((&json["by"], &json["obtained"]), (&by.into(), &obtained.into()), "{json}");
        assert_eq!(json["text"], "yes, <Aa> is in the video.");
    }
    home.run(&[&["enrol", &first, "--name", "Dd"], base.as_slice()].concat()).ends_with(0);
    let both = ["ask", &third, "Are <Aa> and <Dd> in this video?", "--by", "faces"];
    let run = home.run(&[both.as_slice(), base.as_slice()].concat());
    run.ends_with(3);
    assert!(run.err.contains("one character at a time"), "{}", run.err);
    home.run(&["subjects", "forget", "Dd"]).ends_with(0);

    let chat = home.talk(&[&["chat", &third], base.as_slice()].concat(), "Is <Aa> here?\n\nand where?\nIs <Zz> there?\n");
    chat.ends_with(0);
    assert!(chat.out.starts_with("yes, <Aa> is in the video.") && chat.out.contains("\n<Aa> is in the "), "{}", chat.out);
    assert!(chat.out.contains("\nno subject <Zz> in ") && chat.err.is_empty(), "{chat:?}");
    let ended = home.talk(&[&["chat", &third], base.as_slice()].concat(), "Is <Aa> here?\nQuit\nIs <Aa> here?\n");
    ended.ends_with(0);
    assert_eq!(ended.out.matches("yes, <Aa> is in the video.").count(), 1, "{ended:?}");

    assert_eq!(home.run(&["subjects", "list"]).out, "Aa  drawn character, by one look\n");
    // Whoever is kept can be named in any capitals, in whatever way they are kept.
    home.run(&["subjects", "show", "aa"]).ends_with(0);
    home.run(&["subjects", "rename", "AA", "Bb"]).ends_with(0);
    let file = home.path().join("bb");
    home.run(&["subjects", "export", "bb", file.to_str().unwrap()]).ends_with(0);
    home.run(&["subjects", "import", file.to_str().unwrap()]).ends_with(3);
    home.run(&["subjects", "import", file.to_str().unwrap(), "--name", "Cc"]).ends_with(0);
    let run = home.run(&["subjects", "forget", "bB"]);
    run.ends_with(0);
    assert!(run.out.contains("Bb is forgotten: 1 file") && run.out.contains("Bb.subject.safetensors"), "{}", run.out);
    assert_eq!(home.run(&["subjects", "list"]).out, "Cc  drawn character, by one look\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(home.subjects()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

/// Chat answers a line before it waits for the next.
#[test]
fn a_conversation_goes_line_by_line() {
    let home = Home::new();
    home.run(&["enrol", &drawn("clip-00.mp4"), "--name", "Aa", "--base", "miniature"]).ends_with(0);
    let arguments = ["chat", &drawn("clip-03.mp4"), "--base", "miniature", "--json"];
    let mut child = home.command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut input, mut lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
    for (question, kind) in [("Is <Aa> here?", "answer_drawn"), ("sing!", "error"), ("and where?", "answer_drawn")] {
        writeln!(input, "{question}").unwrap();
        let answer: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["kind"], kind, "{question}");
    }
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(lines.next().is_none());
}
