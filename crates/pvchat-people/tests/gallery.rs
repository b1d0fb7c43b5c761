//! People under several names: other capitals, names that somebody had, and what is left after somebody was forgotten.

use std::fs;

use pvchat_data::SubjectName;
use pvchat_people::{Error, Gallery, Person, Template};

fn name(text: &str) -> SubjectName {
    text.parse().unwrap()
}

fn person(text: &str) -> Person {
    let embedding = vec![1.0, 0.0, 0.0, 0.0];
    Person::new(name(text), "m".into(), Template { embedding, faces: 3, ..Template::default() })
}

/// A gallery of these people.
fn gallery(people: &[&str]) -> (tempfile::TempDir, Gallery) {
    let folder = tempfile::tempdir().unwrap();
    let gallery = Gallery::new(folder.path().join("people"));
    for person in people {
        gallery.save(&self::person(person), &format!("enrolled {person}")).unwrap();
    }
    (folder, gallery)
}

#[test]
fn a_name_in_other_capitals_is_the_only_person_whom_it_can_mean() {
    let (_folder, gallery) = gallery(&["Grandma", "Aa"]);
    assert_eq!(gallery.load(&name("grandma")).unwrap().name, name("Grandma"));
    assert_eq!(gallery.file(&name("GRANDMA")), gallery.file(&name("Grandma")));
    assert!(matches!(gallery.load(&name("Grandpa")), Err(Error::Unknown { .. })));
    // A taken name is taken in any capitals; one's own may change.
    assert!(matches!(gallery.rename(&name("aa"), &name("GRANDMA")), Err(Error::Person { .. })));
    gallery.rename(&name("Grandma"), &name("grandma")).unwrap();
    assert_eq!(gallery.names().unwrap(), [name("Aa"), name("grandma")]);
    gallery.rename(&name("GRANDMA"), &name("Oma")).unwrap();
    gallery.merge(&name("oma"), &name("aA")).unwrap();
    assert_eq!(gallery.names().unwrap(), [name("Aa")]);
    assert!(!gallery.forget(&name("aa")).unwrap().is_empty());
    assert!(gallery.names().unwrap().is_empty());
}

#[test]
fn of_two_names_that_differ_in_capitals_neither_is_guessed() {
    let (_folder, gallery) = gallery(&["Aa", "aA"]);
    assert!(matches!(gallery.load(&name("AA")), Err(Error::Unknown { .. })));
    assert_eq!(gallery.load(&name("aA")).unwrap().name, name("aA"));
}

#[test]
fn a_name_that_somebody_had_is_not_forgotten() {
    let (_folder, gallery) = gallery(&["Anna"]);
    gallery.rename(&name("Anna"), &name("Berta")).unwrap();
    let error = gallery.forget(&name("Anna")).unwrap_err().to_string();
    assert!(error.contains("that person is now Berta") && error.contains("pvchat subjects forget Berta"), "{error}");
    assert_eq!(gallery.names().unwrap(), [name("Berta")]);
    assert_eq!(gallery.undo().unwrap().as_deref(), Some("renamed Anna to Berta"), "nothing was deleted");
    assert!(!gallery.forget(&name("Anna")).unwrap().is_empty());
    assert!(gallery.forget(&name("Anna")).unwrap().is_empty());
}

#[test]
fn undoing_stops_once_where_somebody_was_forgotten() {
    let (folder, gallery) = gallery(&["Grandma"]);
    gallery.save(&person("Grandma"), "added a look to Grandma").unwrap();
    gallery.save(&person("Carla"), "enrolled Carla").unwrap();
    gallery.forget(&name("Carla")).unwrap();
    let trace = walk(folder.path()).into_iter().find(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).contains("Carla"));
    assert_eq!(trace, None);
    let refused = gallery.undo().unwrap_err().to_string();
    assert!(refused.contains("cannot be undone") && refused.contains("added a look to Grandma; run undo again"), "{refused}");
    assert_eq!(gallery.undo().unwrap().as_deref(), Some("added a look to Grandma"));
    // Nothing is left to be taken for the last change.
    gallery.forget(&name("Grandma")).unwrap();
    assert_eq!(gallery.undo().unwrap(), None);
}

/// Every file below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
