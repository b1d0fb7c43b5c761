//! Datasets of several people from footage of drawn people.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::ControlFlow,
    path::PathBuf,
};

use pvchat_augment::{
    Error,
    filmed::{DatasetOptions, Generators, Half, PersonClip, Progress, Request, make, verify},
};
use pvchat_data::SubjectName;
use pvchat_video::{Quality, VideoWriter};
use support::{ByColour, RATE, SIZE, World, content, embedding, film, request, same, small};

/// A dataset of several people, by their names and colours.
fn make_several(
    world: &World,
    (out, size): (&str, u32),
    people: &[(&str, f32)],
    observe: &mut (dyn FnMut(Progress) -> ControlFlow<()> + Send),
) -> Result<pvchat_augment::filmed::Made, Error> {
    let all: Vec<(SubjectName, PathBuf, Vec<f32>)> = people
        .iter()
        .map(|(name, degrees)| {
            (name.parse().unwrap(), world.folder.path().join(format!("{}.mp4", name.to_lowercase())), embedding(*degrees))
        })
        .collect();
    let people: Vec<PersonClip<'_>> =
        all.iter().map(|(name, clip, template)| PersonClip { name, clip, from: 0.0, template }).collect();
    let (corpus, out, options) = (world.corpus(), world.out(out), DatasetOptions { size, ..small() });
    make(&Request { out: &out, options: &options, ..request(&people, &corpus) }, &ByColour, None, observe)
}

#[test]
fn of_several_people_each_is_a_negative_of_the_others_and_some_clips_show_all() {
    let world = World::new(6);
    film(&world.out("bb.mp4"), Some(300.0), 11, 80);
    film(&world.out("cc.mp4"), Some(270.0), 12, 80);
    film(&world.corpus().join("again.mp4"), Some(303.0), 9, 40);
    fs::copy(world.out("bb.mp4"), world.corpus().join("copy.mp4")).unwrap();
    let mut go_on = |_| ControlFlow::Continue(());
    let made = make_several(&world, ("data", 96), &[("Aa", 0.0), ("Bb", 300.0)], &mut go_on).unwrap();
    let (manifest, folder) = (&made.manifest, world.out("data"));
    let names: [SubjectName; 2] = ["Aa".parse().unwrap(), "Bb".parse().unwrap()];
    assert_eq!(manifest.names(), names);
    let reason = |name: &str| &manifest.left_out.iter().find(|left_out| left_out.name == name).unwrap().reason;
    assert!(reason("again.mp4").starts_with("it may show Bb (") && reason("copy.mp4") == "it is the clip of Bb");

    let train = || manifest.clips.iter().filter(|clip| clip.half == Half::Train);
    for name in &names {
        assert_eq!(train().filter(|clip| clip.shows(name)).count(), 8, "{:?}", manifest.dropped);
    }
    assert_eq!(train().filter(|clip| !clip.positive).count(), 24);
    let together: Vec<_> = train().filter(|clip| names.iter().all(|name| clip.shows(name))).collect();
    assert_eq!(together.len(), 1);
    assert_eq!((together[0].figure.0.as_str(), together[0].company[0].0.as_str()), ("aa.mp4", "bb.mp4"));
    // Company says nothing about who is there.
    let in_company = |wanted: fn(&pvchat_augment::filmed::ClipRecord) -> bool| {
        train().filter(|clip| wanted(clip) && clip.company.iter().any(|(file, _)| file.starts_with('s'))).count()
    };
    assert!(in_company(|clip| clip.positive) >= 1 && in_company(|clip| !clip.positive) >= 4, "{:?}", manifest.dropped);
    for clip in &manifest.clips {
        assert!(clip.judged.refused.is_none() && clip.judged.similarity >= 0.8, "{clip:?}");
        let all = names.iter().all(|name| clip.shows(name));
        assert!(all || clip.judged.to_subject < 0.6, "{clip:?}");
        assert_eq!(clip.positive, !clip.present.is_empty());
    }
    // Everybody is shown in everybody's place.
    for place in ["aa.mp4", "bb.mp4"] {
        assert!(names.iter().all(|name| train().any(|clip| clip.place == place && clip.shows(name))), "{place}");
        assert!(train().any(|clip| clip.place == place && !clip.positive));
    }
    // The colour of the drawn Bb bleeds over edges, alone in a dataset too; seams are judged of Aa.
    let (aa, bb) = (manifest.blind, manifest.others[0].blind);
    assert!(aa.background.is_chance() && aa.seams.is_chance() && bb.background.is_chance(), "{aa:?} {bb:?}");

    // The files of the published training of two people, and no key more.
    let verified = verify(&folder).unwrap();
    for (file, count) in
        [("<Aa>_<Bb>.json", 39), ("<Aa>_<Bb>_short_train.json", 39), ("<Aa>_<Bb>_test.json", manifest.clips.len() - 39)]
    {
        let text: serde_json::Value = serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap();
        let videos = text["videos"].as_array().unwrap();
        assert_eq!(videos.len(), count, "{file}");
        let keys: BTreeSet<&str> = videos[0].as_object().unwrap().keys().map(String::as_str).collect();
        let people = ["sks_present1", "sks_present2", "sample_type"];
        assert_eq!(
            keys,
            ["video_name", "video_path", "gender", "age", "is_positive", "qa_pairs"].into_iter().chain(people).collect()
        );
        if file == "<Aa>_<Bb>.json" {
            let kinds: BTreeSet<&str> = videos.iter().map(|video| video["sample_type"].as_str().unwrap()).collect();
            assert_eq!(kinds, BTreeSet::from(["both", "person1", "person2", "random"]));
        }
    }
    // Each is asked about alone, and each wording equally often where somebody is and where nobody is.
    for name in &names {
        let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for video in &verified.train.videos {
            let about = || video.qa_pairs.iter().filter(|pair| pair.question.contains(&name.to_string()));
            let existence = || about().filter(|pair| pair.is_special);
            assert_eq!((existence().count(), about().count()), (15, if video.shows(name) { 15 } else { 18 }));
            for pair in existence() {
                assert_eq!(pair.answer.starts_with("Yes,"), video.shows(name));
                counts.entry(&pair.question).or_default()[usize::from(video.shows(name))] += 1;
            }
            let others = names.iter().filter(|other| *other != name);
            assert!(others.into_iter().all(|other| about().all(|pair| !pair.question.contains(&other.to_string()))));
        }
        assert_eq!(counts.len(), 25);
        for kind in [0, 1] {
            let of: Vec<usize> = counts.values().map(|counts| counts[kind]).collect();
            assert!(of.iter().max().unwrap() - of.iter().min().unwrap() <= 1, "{of:?}");
        }
    }
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    for part in [
        "<h1>Dataset of Aa and Bb</h1>",
        "Aa with Bb",
        "clips for training without Bb",
        "guessed about Bb from the seams",
        "bb.mp4",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Again, nothing is made, and a run that was stopped anywhere ends in the same bytes.
    let before = content(&folder);
    assert_eq!(make_several(&world, ("data", 96), &[("Aa", 0.0), ("Bb", 300.0)], &mut go_on).unwrap().drawn, 0);
    assert!(before == content(&folder));
    for stop_after in [2, 15, 40] {
        let mut seen = 0;
        let stopped = make_several(&world, ("parts", 96), &[("Aa", 0.0), ("Bb", 300.0)], &mut |_| {
            seen += 1;
            if seen > stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(Error::Stopped)));
    }
    make_several(&world, ("parts", 96), &[("Aa", 0.0), ("Bb", 300.0)], &mut go_on).unwrap();
    same(&folder, &world.out("parts"));

    let made = make_several(&world, ("three", 144), &[("Aa", 0.0), ("Bb", 300.0), ("Cc", 270.0)], &mut go_on).unwrap();
    let names = made.manifest.names();
    let train = || made.manifest.clips.iter().filter(|clip| clip.half == Half::Train);
    assert!(names.iter().all(|name| train().filter(|clip| clip.shows(name)).count() == 8), "{:?}", made.manifest.dropped);
    let all: Vec<_> = train().filter(|clip| names.iter().all(|name| clip.shows(name))).collect();
    assert!(all.len() == 1 && all[0].company.len() == 2, "{:?}", made.manifest.dropped);
    assert_eq!(train().count(), 3 * 7 + 1 + 24);
    let text = fs::read_to_string(world.out("three").join("<Aa>_<Bb>_<Cc>.json")).unwrap();
    assert!(text.contains(r#""sample_type": "all""#) && text.contains(r#""sks_present3": "<Cc>""#));
    verify(&world.out("three")).unwrap();
}

#[test]
fn people_who_cannot_be_in_one_dataset_are_refused_by_name() {
    let world = World::new(3);
    film(&world.out("bb.mp4"), Some(200.0), 11, 40);
    film(&world.out("cc.mp4"), Some(4.0), 12, 40);
    let refused =
        |people: &[(&str, f32)]| make_several(&world, ("data", 96), people, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(refused(&[]), Error::PeopleCount { people: 0, .. }));
    let four = [("Aa", 0.0), ("Bb", 200.0), ("Cc", 90.0), ("Dd", 270.0)];
    assert!(refused(&four).to_string().contains("4 people are to be in one dataset; give one to 3"));
    let twice = refused(&[("Aa", 0.0), ("Bb", 200.0), ("Aa", 90.0)]);
    assert!(matches!(twice, Error::NameTwice { .. }) && twice.to_string().contains("called Aa"), "{twice}");
    let same = refused(&[("Aa", 0.0), ("Bb", 200.0), ("Cc", 4.0)]);
    assert!(
        matches!(same, Error::SamePerson { .. }) && same.to_string().contains("clips of Aa and Cc seem to show one person"),
        "{same}"
    );
    assert!(!world.out("data").exists());
    // Somebody else is at the end of the clip of Bb: Aa.
    let mut writer = VideoWriter::create(world.out("bb.mp4"), SIZE[0], SIZE[1], RATE, Quality::RateFactor(14)).unwrap();
    film(&world.out("part.mp4"), Some(200.0), 11, 40);
    for part in ["part.mp4", "aa.mp4"] {
        for frame in pvchat_video::VideoReader::open(world.out(part)).unwrap().frames().take(40) {
            writer.write(&frame.unwrap().image).unwrap();
        }
    }
    writer.finish().unwrap();
    let both = refused(&[("Aa", 0.0), ("Bb", 200.0)]);
    assert!(
        matches!(both, Error::InBothClips { .. }) && both.to_string().starts_with("Aa seems to be in the clip of Bb too"),
        "{both}"
    );
    let generator = [world.generator("text", "text_to_video", &[("clips", 2.into())])];
    let (names, templates): ([SubjectName; 2], _) =
        (["Aa".parse().unwrap(), "Bb".parse().unwrap()], [embedding(0.0), embedding(200.0)]);
    let (clip, corpus) = (world.clip(), world.corpus());
    let people = [0, 1].map(|number| PersonClip { name: &names[number], clip: &clip, from: 0.0, template: &templates[number] });
    let generators = Generators { list: &generator, age: None, gender: None };
    let error = make(&Request { out: &world.out("data"), generators, ..request(&people, &corpus) }, &ByColour, None, &mut |_| {
        ControlFlow::Continue(())
    });
    assert!(matches!(error, Err(Error::Generators { .. })));
}
