//! What is true of a scene, in the words of the answers.

use pvchat_augment::questions::{self, Aspect};

use crate::world::{FacialHair, Glasses, HairStyle, Identity, Pattern, Person, Scene};

/// The description of a person's clothes: "red striped hoodie".
pub fn clothes(person: &Person) -> String {
    let clothing = &person.clothing;
    match clothing.pattern {
        Pattern::Plain => format!("{} {}", clothing.colour.word(), clothing.garment.word()),
        pattern => format!("{} {} {}", clothing.colour.word(), pattern.word(), clothing.garment.word()),
    }
}

/// The attributes that [`face`] names, as indices into [`Identity::attributes`].
pub const DESCRIBED_ATTRIBUTES: [usize; 6] = [0, 1, 2, 3, 4, 5];

/// The description of a face: "round face , tan skin , green curly hair , round glasses , a beard".
pub fn face(identity: &Identity) -> String {
    features(identity).join(" , ")
}

/// The parts of the description of a face.
pub fn features(identity: &Identity) -> Vec<String> {
    let mut parts = vec![format!("{} face", identity.face.word()), format!("{} skin", identity.skin.word())];
    parts.push(match identity.hair_style {
        HairStyle::Bald => "a bald head".to_string(),
        style => format!("{} {} hair", identity.hair_colour.word(), style.word()),
    });
    match identity.glasses {
        Glasses::None => {}
        Glasses::Sunglasses => parts.push("sunglasses".to_string()),
        glasses => parts.push(format!("{} glasses", glasses.word())),
    }
    if identity.facial_hair != FacialHair::None {
        parts.push(format!("a {}", identity.facial_hair.word()));
    }
    parts
}

/// Whether a person has all of some [features].
pub fn fits(identity: &Identity, description: &[String]) -> bool {
    let own = features(identity);
    description.iter().all(|feature| own.contains(feature))
}

/// How a question without a name calls somebody of whom some features are known.
pub fn someone(features: &[String]) -> String {
    format!("a person , {} ,", features.join(" , "))
}

/// What is true of the `position`-th person of a scene, as descriptions say it: "waving". `None` for
/// existence, which is no description, and for people who are not there.
pub fn description(aspect: Aspect, scene: &Scene, position: usize) -> Option<String> {
    let person = scene.people.get(position)?;
    match aspect {
        Aspect::Existence => None,
        Aspect::Clothing => Some(clothes(person)),
        Aspect::Face => Some(face(&person.identity)),
        Aspect::Action => Some(person.action.word().to_string()),
        Aspect::Location => Some(scene.place.word().to_string()),
    }
}

/// The true answer to a question about the `position`-th person of a scene, called `subject`.
pub fn answer(aspect: Aspect, scene: &Scene, position: usize, subject: &str) -> Option<String> {
    Some(questions::description_answer(aspect, subject, &description(aspect, scene, position)?))
}

/// How a question without a name calls the `position`-th of `people` people.
pub fn generic_subject(position: usize, people: usize) -> &'static str {
    match (people, position) {
        (0 | 1, _) => "the person",
        (_, 0) => "the person on the left",
        _ => "the person on the right",
    }
}

/// Every word that a description can contain.
pub fn every_word() -> Vec<String> {
    use crate::world::{Action, ClothColour, FaceShape, Garment, HairColour, Place, Skin};
    let mut words: Vec<&str> =
        vec!["a", ",", "face", "skin", "hair", "head", "glasses", "bald", "the", "person", "on", "left", "right"];
    words.extend(Garment::ALL.map(Garment::word));
    words.extend(ClothColour::ALL.map(ClothColour::word));
    words.extend(Pattern::ALL.map(Pattern::word));
    words.extend(Action::ALL.map(Action::word));
    words.extend(Place::ALL.map(Place::word));
    words.extend(FaceShape::ALL.map(FaceShape::word));
    words.extend(Skin::ALL.map(Skin::word));
    words.extend(HairStyle::ALL.map(HairStyle::word));
    words.extend(HairColour::ALL.map(HairColour::word));
    words.extend(Glasses::ALL.map(Glasses::word));
    words.extend(FacialHair::ALL.map(FacialHair::word));
    let mut words: Vec<String> =
        words.into_iter().flat_map(str::split_whitespace).filter(|word| *word != "none").map(String::from).collect();
    words.sort();
    words.dedup();
    words
}
