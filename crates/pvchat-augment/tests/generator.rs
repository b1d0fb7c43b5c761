//! Generators as real child processes: one that does what it is asked, and many that do not.
//!
//! The child is this test's own program, started again with the name of the test that plays a generator and what it is to do
//! wrong; the path of the request comes last.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::exit,
    time::{Duration, Instant},
};

use image::{Rgb, RgbImage};
use pvchat_augment::{
    Error,
    generator::{Fault, Generator, Kind, Order, Run, Shape},
};
use serde_json::{Value, json};

#[allow(dead_code, reason = "its own main is that of the example")]
#[path = "../../../examples/generators/reference_generator.rs"]
mod reference_generator;

const SHAPE: Shape = Shape { size: [96, 96], seconds: 1.0, fps: 8.0 };
const PLAYS: &str = "a_child_plays_a_generator";

/// The child: answers the request, and does what it is told to do wrong.
#[test]
fn a_child_plays_a_generator() {
    let arguments: Vec<String> = std::env::args().collect();
    let Some(wrong) = arguments.iter().find_map(|argument| argument.strip_prefix("wrong=")) else { return };
    let path = PathBuf::from(arguments.last().unwrap());
    let request: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let output = PathBuf::from(request["output"].as_str().unwrap());
    let reply = PathBuf::from(request["reply"].as_str().unwrap());
    let folder = reply.parent().unwrap().to_path_buf();
    let secret = folder.join("../secret.mp4");
    match wrong {
        "hangs" => std::thread::sleep(Duration::from_secs(600)),
        "crashes" => {
            eprintln!("there is no such weight");
            exit(3);
        }
        "aborts" => std::process::abort(),
        "chatters" => {
            for _ in 0..100_000 {
                std::io::stderr().write_all(b"a line that nobody wants to read in full\n").unwrap();
            }
            eprintln!("the end");
            exit(1);
        }
        "floods" => {
            let mut file = fs::File::create(output.join("0.mp4")).unwrap();
            for _ in 0..10_000 {
                file.write_all(&[7; 1 << 20]).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        "litters" => {
            for number in 0..100_000 {
                fs::write(folder.join(format!("part{number}")), b"").unwrap();
            }
        }
        "swells" => {
            let memory = vec![1u8; 600 << 20];
            std::thread::sleep(Duration::from_secs(600));
            drop(memory);
        }
        "is silent" => exit(0),
        _ => {}
    }
    reference_generator::answer(&path).unwrap();
    let mut said: Value = serde_json::from_slice(&fs::read(&reply).unwrap()).unwrap();
    match wrong {
        "writes fewer" => fs::remove_file(output.join("2.mp4")).unwrap(),
        "lists fewer" => drop(said["files"].as_array_mut().unwrap().pop()),
        "answers another" => said["id"] = json!("0123456789abcdef"),
        "is of tomorrow" => said["schema"] = json!(2),
        "has no licence" => drop(said.as_object_mut().unwrap().remove("licence")),
        "has an empty version" => said["version"] = json!(" "),
        "has another seed" => said["files"][1]["seed"] = json!(5),
        "has another prompt" => said["files"][1]["prompt"] = json!("A cat."),
        "lists twice" => said["files"][1]["path"] = json!("0.mp4"),
        "has an unknown key" => said["mood"] = json!("good"),
        "is whole" => said["files"][0]["path"] = json!(output.join("0.mp4")),
        "climbs" => {
            fs::rename(output.join("0.mp4"), &secret).unwrap();
            said["files"][0]["path"] = json!("../../secret.mp4");
        }
        #[cfg(unix)]
        "links" => {
            fs::rename(output.join("0.mp4"), &secret).unwrap();
            std::os::unix::fs::symlink(&secret, output.join("0.mp4")).unwrap();
        }
        #[cfg(unix)]
        "links hard" => {
            fs::rename(output.join("0.mp4"), &secret).unwrap();
            fs::hard_link(&secret, output.join("0.mp4")).unwrap();
        }
        #[cfg(unix)]
        "moves out" => {
            let away = folder.join("../away");
            fs::rename(&output, &away).unwrap();
            std::os::unix::fs::symlink(&away, &output).unwrap();
        }
        "lists a folder" => {
            fs::create_dir(output.join("in")).unwrap();
            said["files"][0]["path"] = json!("in");
        }
        "writes text" => fs::write(output.join(said["files"][0]["path"].as_str().unwrap()), "no video").unwrap(),
        "writes half" => {
            let bytes = fs::read(output.join("0.mp4")).unwrap();
            fs::write(output.join("0.mp4"), &bytes[..bytes.len() / 2]).unwrap();
        }
        "writes a playlist" => {
            let text = format!("ffconcat version 1.0\nfile '{}'\n", output.join("1.mp4").display());
            fs::write(output.join("0.mp4"), text).unwrap();
        }
        "writes a picture" => {
            RgbImage::new(96, 96).save(output.join("0.png")).map(|()| said["files"][0]["path"] = json!("0.png")).unwrap()
        }
        "writes small" | "writes short" | "writes slow" => {
            let (size, count, rate) = match wrong {
                "writes small" => (64, 9, 8.0),
                "writes short" => (96, 5, 8.0),
                _ => (96, 9, 4.0),
            };
            pvchat_video::write_clip(output.join("0.mp4"), &vec![RgbImage::new(size, size); count], rate).unwrap();
        }
        _ => {}
    }
    let text = match wrong {
        "writes garbage" => "{\"schema\": 1, \"id\"".to_string(),
        "writes much" => format!("{{\"id\": \"{}\"}}", "a".repeat(2 << 20)),
        _ => said.to_string(),
    };
    fs::write(&reply, text).unwrap();
    // The test's own words are no part of it.
    exit(0);
}

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn open(&self, description: &Value) -> Result<Generator, Error> {
        let file = self.folder.path().join("generator.json");
        fs::write(&file, description.to_string()).unwrap();
        Generator::open(&file)
    }

    /// This test's program as a generator that does something wrong.
    fn child(&self, wrong: &str, more: &[(&str, Value)]) -> Generator {
        let program = std::env::current_exe().unwrap();
        let mut description = json!({
            "name": "child",
            "command": [program, "--exact", PLAYS, "--nocapture", format!("wrong={wrong}")],
            "kind": "text_to_video",
            "seconds": 60,
        });
        more.iter().for_each(|(key, value)| description[*key] = value.clone());
        self.open(&description).unwrap()
    }

    fn run(&self, generator: &Generator) -> Result<Run, Error> {
        run_with(generator, &self.work(), &mut || Ok(()))
    }

    /// What a generator did wrong, and what it said; nothing of it is left.
    fn fault(&self, generator: &Generator) -> (Fault, String) {
        let error = self.run(generator).unwrap_err();
        assert!(error.to_string().contains("the generator child "), "{error}");
        let left: Vec<PathBuf> = fs::read_dir(self.work()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let outside = ["secret.mp4", "away"];
        assert!(left.iter().all(|path| outside.iter().any(|name| path.ends_with(name))), "{left:?}");
        match error {
            Error::Generator { fault, said, .. } => (*fault, said),
            other => panic!("{other:?}"),
        }
    }
}

fn run_with(generator: &Generator, folder: &Path, go_on: &mut dyn FnMut() -> Result<(), Error>) -> Result<Run, Error> {
    let picture = RgbImage::from_fn(128, 128, |x, y| Rgb([x as u8, y as u8, 90]));
    let references = [picture];
    let order = |seed: u64, prompt: &'static str| Order {
        references: &references,
        noun: "person",
        prompt,
        negative_prompt: "text",
        seed,
        driving: None,
    };
    let orders = [order(7, "A person reads."), order(8, "A person sings."), order(9, "A person waits.")];
    generator.run(&orders, &SHAPE, folder, go_on)
}

#[test]
fn files_that_were_asked_for_are_there_until_the_run_is_dropped() {
    let world = World::new();
    let run = world.run(&world.child("nothing", &[])).unwrap();
    assert_eq!(run.provenance.licence, "MIT OR Apache-2.0");
    assert_eq!(run.files.len(), 3);
    let mut reader = pvchat_video::VideoReader::open(&run.files[2]).unwrap();
    assert_eq!(((reader.info().width, reader.info().height), reader.frame_count().unwrap()), ((96, 96), 9));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let folder = run.files[0].ancestors().nth(2).unwrap();
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
    drop(run);
    assert_eq!(fs::read_dir(world.work()).unwrap().count(), 0);
    // Stills are asked for and checked as stills.
    let run = world.run(&world.child("nothing", &[("kind", json!("portrait_stills"))])).unwrap();
    assert_eq!(image::open(&run.files[0]).unwrap().to_rgb8().dimensions(), (96, 96));
    // A reply under a name that another run left is not taken for this one's.
    let left = run.files[0].ancestors().nth(2).unwrap().to_path_buf();
    std::mem::forget(run);
    assert!(left.join("reply.json").exists());
    let (fault, _) = world.fault(&world.child("is silent", &[("kind", json!("portrait_stills"))]));
    assert_eq!(fault, Fault::NoReply);
}

#[test]
fn a_reply_that_does_not_hold_is_refused() {
    let world = World::new();
    let fault = |wrong: &str| world.fault(&world.child(wrong, &[])).0;
    assert_eq!(fault("writes fewer"), Fault::NotThere { path: "2.mp4".into() });
    assert_eq!(fault("lists fewer"), Fault::OtherCount { found: 2, expected: 3 });
    assert!(matches!(fault("answers another"), Fault::OtherRequest { found, .. } if found == "0123456789abcdef"));
    assert_eq!(fault("is of tomorrow"), Fault::OtherSchema { found: 2 });
    assert_eq!(fault("has no licence"), Fault::NotSaid { key: "licence" });
    assert_eq!(fault("has an empty version"), Fault::NotSaid { key: "version" });
    assert_eq!(fault("has another seed"), Fault::OtherOrder { place: 1, key: "seed" });
    assert_eq!(fault("has another prompt"), Fault::OtherOrder { place: 1, key: "prompt" });
    assert_eq!(fault("lists twice"), Fault::Twice { path: "0.mp4".into() });
    assert!(matches!(fault("has an unknown key"), Fault::BadReply { problem } if problem.contains("mood")));
    assert!(matches!(fault("writes garbage"), Fault::BadReply { .. }));
    assert!(matches!(fault("writes much"), Fault::BadReply { .. }));
}

#[test]
fn a_path_that_leads_out_is_refused() {
    let world = World::new();
    let outside = |wrong: &str| match world.fault(&world.child(wrong, &[])).0 {
        Fault::Outside { path } => path,
        other => panic!("{wrong}: {other:?}"),
    };
    assert!(outside("is whole").ends_with("output/0.mp4"));
    assert_eq!(outside("climbs"), "../../secret.mp4");
    assert_eq!(outside("lists a folder"), "in");
    if cfg!(unix) {
        assert_eq!(outside("links"), "0.mp4");
        assert_eq!(outside("links hard"), "0.mp4");
        assert_eq!(outside("moves out"), "output");
    }
}

#[test]
fn a_file_that_is_not_what_was_asked_for_is_refused() {
    let world = World::new();
    let fault = |wrong: &str| world.fault(&world.child(wrong, &[])).0;
    for wrong in ["writes text", "writes half", "writes a playlist"] {
        let fault = fault(wrong);
        assert!(matches!(&fault, Fault::Unreadable { path, .. } if path == "0.mp4"), "{wrong}: {fault:?}");
    }
    assert!(matches!(fault("writes a picture"), Fault::Unfit { what: "seconds", .. }));
    assert!(matches!(fault("writes small"), Fault::Unfit { what: "width", found, expected: [96.0, _], .. } if found == 64.0));
    assert!(matches!(fault("writes short"), Fault::Unfit { what: "seconds", .. }));
    assert!(matches!(fault("writes slow"), Fault::Unfit { what: "fps", .. }));
    let still = world.fault(&world.child("writes text", &[("kind", json!("portrait_stills"))])).0;
    assert!(matches!(&still, Fault::Unreadable { path, .. } if path == "0.png"), "{still:?}");
}

#[test]
fn a_program_that_fails_is_named_with_what_it_said() {
    let world = World::new();
    let (fault, said) = world.fault(&world.child("crashes", &[]));
    assert!(matches!(&fault, Fault::Failed { status } if status.contains('3')), "{fault:?}");
    assert!(said.contains("there is no such weight"), "{said}");
    let (fault, _) = world.fault(&world.child("aborts", &[]));
    assert!(matches!(&fault, Fault::Failed { status } if status.contains("signal")), "{fault:?}");
    assert_eq!(world.fault(&world.child("is silent", &[])).0, Fault::NoReply);
    // However much it says, the end of it is kept.
    let (_, said) = world.fault(&world.child("chatters", &[]));
    assert!(said.ends_with("the end") && said.len() <= 4096, "{}", said.len());
    let absent =
        world.open(&json!({ "name": "child", "command": ["no-such-program-anywhere"], "kind": "text_to_video" })).unwrap();
    assert!(matches!(world.fault(&absent).0, Fault::NotStarted { program, .. } if program == "no-such-program-anywhere"));
}

#[test]
fn limits_end_a_program() {
    let world = World::new();
    let begun = Instant::now();
    let (fault, _) = world.fault(&world.child("hangs", &[("seconds", json!(1))]));
    assert_eq!(fault, Fault::TooSlow { limit: 1.0 });
    assert!(begun.elapsed() < Duration::from_secs(60));
    let (fault, _) = world.fault(&world.child("floods", &[("output_mb", json!(4))]));
    assert!(matches!(fault, Fault::TooMuchOutput { found, limit } if found > limit && limit == 4 << 20), "{fault:?}");
    let (fault, _) = world.fault(&world.child("litters", &[("files", json!(50))]));
    assert!(matches!(fault, Fault::TooManyFiles { found: 51, limit: 50 }), "{fault:?}");
    if cfg!(target_os = "linux") {
        let (fault, _) = world.fault(&world.child("swells", &[("memory_mb", json!(200))]));
        assert!(matches!(fault, Fault::TooMuchMemory { found, limit: 200 } if found > 200), "{fault:?}");
    }
}

/// Whether a process is there and no zombie.
#[cfg(target_os = "linux")]
fn runs(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[cfg(target_os = "linux")]
#[test]
fn what_ignores_the_end_and_what_it_started_are_ended() {
    let world = World::new();
    let list = world.folder.path().join("processes");
    // The shell is the program here, and a user's choice; it and its child do not listen to requests to end.
    let script = format!("trap '' TERM; sleep 600 & echo $! $$ > {}; sleep 600", list.display());
    let stubborn = json!({ "name": "child", "command": ["sh", "-c", script], "kind": "text_to_video", "seconds": 1 });
    let (fault, _) = world.fault(&world.open(&stubborn).unwrap());
    assert_eq!(fault, Fault::TooSlow { limit: 1.0 });
    let started = fs::read_to_string(&list).unwrap();
    assert_eq!(started.split_whitespace().count(), 2);
    // The child of a killed child is taken note of by the system, a little later.
    let begun = Instant::now();
    while started.split_whitespace().any(runs) && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!started.split_whitespace().any(runs), "{started}");
    // So is what a program that ends leaves behind, and it keeps nobody waiting.
    let script = format!("sleep 600 & echo $! > {}; exit 4", list.display());
    let leaves = json!({ "name": "child", "command": ["sh", "-c", script], "kind": "text_to_video", "seconds": 60 });
    let begun = Instant::now();
    assert!(matches!(world.fault(&world.open(&leaves).unwrap()).0, Fault::Failed { .. }));
    assert!(begun.elapsed() < Duration::from_secs(30));
    let started = fs::read_to_string(&list).unwrap();
    while started.split_whitespace().any(runs) && begun.elapsed() < Duration::from_secs(50) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!started.split_whitespace().any(runs), "{started}");
}

#[test]
fn whoever_waits_can_stop_it() {
    let world = World::new();
    let (begun, mut asked) = (Instant::now(), 0);
    let stopped = run_with(&world.child("hangs", &[]), &world.work(), &mut || {
        asked += 1;
        if asked > 3 { Err(Error::Stopped) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert!(begun.elapsed() < Duration::from_secs(50));
    assert_eq!(fs::read_dir(world.work()).unwrap().count(), 0);
}

#[test]
fn no_shell_reads_the_command() {
    let world = World::new();
    let marked = world.folder.path().join("marked");
    let argument = format!("wrong=nothing; touch {0} `touch {0}` $(touch {0})", marked.display());
    let program = std::env::current_exe().unwrap();
    let description =
        json!({ "name": "child", "command": [program, "--exact", PLAYS, argument], "kind": "text_to_video", "seconds": 60 });
    assert_eq!(world.run(&world.open(&description).unwrap()).unwrap().files.len(), 3);
    assert!(!marked.exists());
}

#[test]
fn a_description_is_checked_before_anything_runs() {
    let world = World::new();
    let refused = |description: Value| match world.open(&description).unwrap_err() {
        Error::Description { key, .. } => key,
        Error::Data(error) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let with = |key: &str, value: Value| {
        let mut description = json!({ "name": "a", "command": ["true"], "kind": "text_to_video" });
        description[key] = value;
        description
    };
    let whole = world.open(&with("seconds", json!(5))).unwrap();
    assert_eq!((whole.description().kind, whole.description().clips()), (Kind::TextToVideo, 10));
    for (key, value) in [
        ("name", json!("")),
        ("command", json!([])),
        ("command", json!(["./run"])),
        ("seconds", json!(0)),
        ("memory_mb", json!(0)),
        ("batch", json!(0)),
        ("clips", json!(0)),
        ("driving", json!(["smile.mp4"])),
        ("kind", json!("portrait_animation")),
    ] {
        let expected = if key == "kind" { "driving" } else { key };
        assert_eq!(refused(with(key, value.clone())), expected, "{key} {value}");
    }
    assert!(refused(with("shell", json!(true))).contains("shell"));
    assert!(refused(with("kind", json!("dreams"))).contains("dreams"));
    let mut animates = with("kind", json!("portrait_animation"));
    animates["driving"] = json!(["absent.mp4"]);
    assert_eq!(refused(animates), "driving");
    // Another script makes other files, another limit does not.
    fs::write(world.folder.path().join("run.py"), "1").unwrap();
    let identity = |seconds: u32| {
        let mut description = with("command", json!(["python3", "{here}/run.py"]));
        description["seconds"] = json!(seconds);
        world.open(&description).unwrap().identity().to_string()
    };
    let before = identity(5);
    assert_eq!(before, identity(6));
    fs::write(world.folder.path().join("run.py"), "2").unwrap();
    assert_ne!(before, identity(5));
}
