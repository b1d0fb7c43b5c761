//! Reading, validating, splitting and writing datasets, friendly and hostile.

use pvchat_data::{
    Age, Dataset, Error, Gender, Problem, QaKind, QaPair, SubjectName, Video,
    file::{parse_json, read_json},
    random::SeededStream,
};
use std::path::{Path, PathBuf};

fn parse(text: &str) -> pvchat_data::Result<Dataset> {
    parse_json(text.as_bytes(), Path::new("aa.json"))
}

fn name(text: &str) -> SubjectName {
    text.parse().unwrap()
}

fn video(subject: &str, path: &str, present: bool) -> Video {
    Video::of(&name(subject), path, present, vec![QaPair::new(QaKind::Existence, "Is <Aa> here?", "Yes.")])
}

const ONE_PERSON: &str = r#"{"LIST": [
  {"video_name": "a0", "video_path": "clips/a0.mp4", "sks_present": "<Aa>", "gender": "female", "age": "middle-aged", "is_positive": true,
   "qa_pairs": [{"question": "Is <Aa> here?", "answer": "Yes.", "is_special": true},
                {"question": "Where is <Aa>?", "answer": "<Aa> is outside.", "is_special": false}]},
  {"video_name": "r0", "video_path": "clips/r0.mp4", "sks_present": "<Aa>", "gender": "", "age": "", "is_positive": false,
   "qa_pairs": [{"question": "Is <Aa> here?", "answer": "No.", "is_special": true}]}
]}"#;

#[test]
fn both_list_names_and_the_files_of_one_person_are_read() {
    let videos = parse(&ONE_PERSON.replace("LIST", "videos")).unwrap();
    assert_eq!(videos, parse(&ONE_PERSON.replace("LIST", "data")).unwrap());
    let [first, second] = videos.videos.as_slice() else { panic!("two videos") };
    assert_eq!((first.subjects.clone(), first.present.clone()), (vec![name("Aa")], vec![name("Aa")]));
    assert_eq!((first.gender, first.age), (Some(Gender::Female), Some(Age::MiddleAged)));
    assert_eq!((second.subjects.clone(), second.present.clone(), second.gender), (vec![name("Aa")], vec![], None));
    assert_eq!(videos.question_count(), 3);
    assert_eq!(first.qa_pairs[0].known_kind(), Some(QaKind::Existence));
    assert_eq!(first.qa_pairs[1].known_kind(), None);
}

#[test]
fn files_of_several_persons_become_lists_of_present_subjects() {
    let text = |kind: &str| {
        format!(
            r#"{{"videos": [{{"video_path": "x.mp4", "sks_present1": "<Pa>", "sks_present2": "<Qo>", "sample_type": "{kind}", "qa_pairs": []}}]}}"#
        )
    };
    for (kind, expected) in [
        ("person1", vec!["Pa"]),
        ("person2", vec!["Qo"]),
        ("both", vec!["Pa", "Qo"]),
        ("all", vec!["Pa", "Qo"]),
        ("random", vec![]),
    ] {
        let dataset = parse(&text(kind)).unwrap();
        assert_eq!(dataset.videos[0].subjects, vec![name("Pa"), name("Qo")], "{kind}");
        assert_eq!(dataset.videos[0].present, expected.into_iter().map(name).collect::<Vec<_>>(), "{kind}");
    }
    let error = parse(&text("person3")).unwrap_err().to_string();
    assert!(error.contains("videos[0]") && error.contains("sks_present3"), "{error}");
    assert!(parse(&text("person9")).unwrap_err().to_string().contains("person9"));
}

#[test]
fn what_is_written_is_read_back_and_one_person_is_written_as_released() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("set.json");
    let mut dataset = parse(&ONE_PERSON.replace("LIST", "videos")).unwrap();
    dataset.write(&path).unwrap();
    let raw: serde_json::Value = read_json(&path, 1 << 20).unwrap();
    assert_eq!(raw["videos"][1]["sks_present"], "<Aa>");
    assert_eq!(raw["videos"][1]["is_positive"], false);
    assert_eq!(raw["videos"][1]["gender"], "");
    assert!(raw["videos"][0].get("subjects").is_none() && raw["videos"][0]["qa_pairs"][0].get("kind").is_none());
    dataset.videos.push(Video {
        subjects: vec![name("Aa"), name("Bo")],
        present: vec![name("Bo")],
        ..video("Aa", "two.mp4", false)
    });
    dataset.write(&path).unwrap();
    assert_eq!(Dataset::read(&path).unwrap(), dataset);
    // Several people too, where the released files can say who is there.
    let raw: serde_json::Value = read_json(&path, 1 << 20).unwrap();
    let several = &raw["videos"][2];
    assert_eq!((&several["sks_present1"], &several["sks_present2"]), (&"<Aa>".into(), &"<Bo>".into()));
    assert_eq!((&several["sample_type"], &several["is_positive"]), (&"person2".into(), &true.into()));
    assert!(["subjects", "present", "sks_present", "sks_present3"].iter().all(|key| several.get(key).is_none()), "{several}");
    let all = [name("Aa"), name("Bo"), name("Ce")];
    for (people, present, kind) in [
        (2, vec![], Some("random")),
        (2, vec![0], Some("person1")),
        (2, vec![0, 1], Some("both")),
        (3, vec![2], Some("person3")),
        (3, vec![0, 1, 2], Some("all")),
        (3, vec![0, 2], None),
    ] {
        let present = present.into_iter().map(|person: usize| all[person].clone()).collect();
        dataset.videos[2] = Video { subjects: all[..people].to_vec(), present, ..dataset.videos[2].clone() };
        dataset.write(&path).unwrap();
        assert_eq!(Dataset::read(&path).unwrap(), dataset);
        let raw: serde_json::Value = read_json(&path, 1 << 20).unwrap();
        assert_eq!(raw["videos"][2].get("sample_type").and_then(|kind| kind.as_str()), kind);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn renaming_reaches_every_text_once() {
    let mut dataset = parse(&ONE_PERSON.replace("LIST", "data").replace("<Aa>", "<sks>")).unwrap();
    dataset.rename(&name("sks"), &name("Aa"));
    assert_eq!(dataset, parse(&ONE_PERSON.replace("LIST", "data")).unwrap());
}

#[test]
fn every_problem_is_found_and_named() {
    let good = Dataset { videos: vec![video("Aa", "a.mp4", true), video("Aa", "b.mp4", false)] };
    assert_eq!(good.problems(), vec![]);
    good.validate_for_training().unwrap();

    let mut bad = good.clone();
    bad.videos[1].path = "a.mp4".into();
    bad.videos[1].qa_pairs[0].answer = " \n".into();
    bad.videos[1].qa_pairs[0].is_special = false;
    bad.videos.push(Video { qa_pairs: vec![], present: vec![name("Bo")], ..video("Aa", "", true) });
    bad.videos.push(Video { subjects: vec![], ..video("Aa", "d.mp4", false) });
    bad.videos.push(Video { subjects: vec![name("Aa"), name("Aa")], ..video("Aa", "e.mp4", false) });
    let expected = vec![
        Problem::DuplicatePath { path: PathBuf::from("a.mp4"), first: 0, second: 1 },
        Problem::EmptyText { video: 1, pair: 0, field: "answer" },
        Problem::KindMismatch { video: 1, pair: 0 },
        Problem::NoPath { video: 2 },
        Problem::StrangerPresent { video: 2, subject: name("Bo") },
        Problem::NoQuestions { video: 2 },
        Problem::NoSubject { video: 3 },
        Problem::DuplicateSubject { video: 4, subject: name("Aa") },
    ];
    assert_eq!(bad.problems(), expected);
    let error = bad.validate().unwrap_err().to_string();
    assert!(error.contains("8 problem(s)") && error.contains("a.mp4 is already videos[0]"), "{error}");
    assert_eq!(Dataset::default().problems(), vec![Problem::NoVideos]);
}

/// A message names the place in the file, whoever else is in it.
#[test]
fn problems_of_one_subject_are_named_by_their_place_among_all() {
    let empty = Video { qa_pairs: vec![], ..video("Bo", "c.mp4", true) };
    let dataset = Dataset { videos: vec![video("Aa", "a.mp4", true), video("Aa", "b.mp4", true), empty] };
    let of = |subject: &str| dataset.problems_of(&name(subject));
    assert_eq!(of("Bo"), [Problem::NoQuestions { video: 2 }, Problem::NoNegative { subject: name("Bo") }]);
    assert_eq!(of("Aa"), [Problem::NoNegative { subject: name("Aa") }]);
}

#[test]
fn one_class_alone_is_fit_for_testing_only() {
    for (present, expected) in
        [(true, Problem::NoNegative { subject: name("Aa") }), (false, Problem::NoPositive { subject: name("Aa") })]
    {
        let dataset = Dataset { videos: vec![video("Aa", "a.mp4", present)] };
        assert_eq!(dataset.problems(), vec![expected]);
        dataset.validate().unwrap();
        assert!(matches!(dataset.validate_for_training(), Err(Error::Invalid { .. })));
    }
}

#[test]
fn the_split_is_by_video_balanced_and_a_function_of_the_seed() {
    let videos: Vec<Video> = (0..50).map(|index| video("Aa", &format!("{index}.mp4"), index % 5 == 0)).collect();
    let dataset = Dataset { videos };
    let stream = SeededStream::new(4);
    let split = dataset.split(0.2, &stream).unwrap();
    let positives = |part: &Dataset| part.videos.iter().filter(|video| video.is_positive()).count();
    assert_eq!((split.train.videos.len(), split.validation.videos.len()), (40, 10));
    assert_eq!((positives(&split.train), positives(&split.validation)), (8, 2));
    assert_eq!(dataset.split(0.2, &stream).unwrap(), split);
    assert_ne!(dataset.split(0.2, &SeededStream::new(5)).unwrap(), split);

    let mut turned = dataset.clone();
    turned.videos.reverse();
    let mut other = turned.split(0.2, &stream).unwrap();
    other.validation.videos.reverse();
    assert_eq!(other.validation, split.validation);
    assert_eq!(dataset.split(0.0, &stream).unwrap().validation.videos.len(), 0);
    assert!(matches!(dataset.split(1.0, &stream), Err(Error::Share { .. })));
    assert!(matches!(dataset.split(f64::NAN, &stream), Err(Error::Share { .. })));
}

#[test]
fn one_file_under_two_names_is_one_file() {
    let of = |paths: [&str; 2]| {
        let dataset = Dataset { videos: vec![video("Aa", paths[0], true), video("Aa", paths[1], false)] };
        dataset.problems()
    };
    for paths in [["clips/a.mp4", "./clips/a.mp4"], ["./a.mp4", "a.mp4"], ["clips/./a.mp4", "clips//a.mp4"]] {
        let path = PathBuf::from(paths[1]);
        assert_eq!(of(paths), [Problem::DuplicatePath { path, first: 0, second: 1 }], "{paths:?}");
    }
    assert!(of(["a/a.mp4", "b/a.mp4"]).is_empty());
}

#[test]
fn a_small_group_keeps_a_video_on_each_side() {
    let dataset = Dataset { videos: vec![video("Aa", "a.mp4", true), video("Aa", "b.mp4", false), video("Aa", "c.mp4", false)] };
    for share in [0.01, 0.99] {
        let split = dataset.split(share, &SeededStream::new(1)).unwrap();
        assert!(split.train.videos.iter().any(Video::is_positive), "the only positive is for learning");
        assert_eq!(split.validation.videos.len(), 1);
    }
}

#[test]
fn hostile_json_is_refused_with_its_place() {
    let place = |text: &str| match parse(text).unwrap_err() {
        Error::Json { file, place, source } => {
            assert_eq!(file, Path::new("aa.json"));
            (place, source.to_string())
        }
        other => panic!("{other}"),
    };
    let good = ONE_PERSON.replace("LIST", "videos");

    let (path, problem) = place(&good.replace("\"answer\": \"No.\"", "\"answer\": 7"));
    assert_eq!(path, "videos[1].qa_pairs[0].answer");
    assert!(problem.contains("expected a string") && problem.contains("line"), "{problem}");
    let (path, problem) =
        place(&good.replace("\"sks_present\": \"<Aa>\", \"gender\": \"\"", "\"sks_present\": \"[INST]\", \"gender\": \"\""));
    assert_eq!(path, "videos[1].sks_present");
    assert!(problem.contains("where it cannot stand"), "{problem}");
    let (path, _) = place(&good.replace("\"female\"", "\"robot\""));
    assert_eq!(path, "videos[0].gender");
    let (path, problem) = place(r#"{"videos": [{"video_path": "x", "subjects": ["Aa"], "present": ["Bo"], "qa_pairs": []}]}"#);
    assert!(path.starts_with("videos[0]") && problem.contains("<Bo>"), "{path} {problem}");
    let (_, problem) = place(
        r#"{"videos": [{"video_path": "x", "subjects": ["Aa"], "present": ["Aa"], "is_positive": false, "qa_pairs": []}]}"#,
    );
    assert!(problem.contains("is_positive"), "{problem}");
    assert!(place("{}").1.contains("videos"));
    assert!(place("[]").1.contains("invalid"));
    assert!(place(&format!("{good} x")).1.contains("trailing"));
    assert!(place(r#"{"videos": [], "data": []}"#).1.contains("duplicate"));

    // Deep nesting: where it is read, and where it is skipped.
    let deep = "[".repeat(200_000);
    assert!(place(&deep).1.contains("recursion limit") || place(&deep).1.contains("invalid"));
    for key in ["videos", "unknown"] {
        parse(&format!("{{\"{key}\": {deep}")).unwrap_err();
    }
    // Every truncation is an error and none is a panic.
    for end in (0..good.len()).filter(|&end| good.is_char_boundary(end)) {
        parse(&good[..end]).unwrap_err();
    }
    parse_json::<Dataset>(b"{\"videos\": \xff\xfe}", Path::new("aa.json")).unwrap_err();
}

#[test]
fn missing_and_oversized_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("big.json");
    assert!(matches!(Dataset::read(&path), Err(Error::Io { file, .. }) if file == path));
    std::fs::write(&path, " ".repeat(2000)).unwrap();
    let error = read_json::<Dataset>(&path, 1000).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 1000, .. }), "{error}");
    assert!(Dataset::default().write(&directory.path().join("no/such/folder.json")).is_err());
}
