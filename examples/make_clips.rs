//! Renders the clips of the demo: one to learn a character from, sixteen to ask about, and the truth.
//!
//! The same files come out every time. Their names and their order say nothing about who is in them.

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;
use pvchat::{
    data::{file::write_json, random::SeededStream},
    miniature::exam::write_mp4,
    miniature::world::{Action, Clothing, Identity, Place, Scene, SceneOptions},
};
use pvchat_examples::{
    clips_folder, error_line, shown,
    truth::{ClipTruth, Shows, TRUTH_FILE, Truth},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Clips with the character, and how many of them show a second person.
const POSITIVES: [usize; 2] = [6, 2];

/// Renders the clips of the demo and the truth about them.
#[derive(Parser)]
struct Arguments {
    /// Where the clips go; by default the fixtures of the project.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Seed of everything random: another seed, another character.
    #[arg(long, default_value_t = 20)]
    seed: u64,
}

fn main() -> ExitCode {
    match make(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error_line(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

fn make(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let folder = arguments.folder.clone().unwrap_or_else(clips_folder);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let stream = SeededStream::new(arguments.seed).derive("demo clips");
    let mut chance = stream.derive("character");
    let character = Identity::reserved(|| Identity::random(&mut chance));
    let reference = Scene::random(&[character], SceneOptions::default(), &mut stream.derive("reference"));

    let mut scenes = positives(&character, &reference, &stream);
    scenes.extend(negatives(&character, &stream));
    stream.derive("order").shuffle(&mut scenes);
    scenes.insert(0, (Shows::Character, reference));

    let mut truths = Vec::with_capacity(scenes.len());
    for (number, (shows, scene)) in scenes.iter().enumerate() {
        let file = format!("clip-{number:02}.mp4");
        write_mp4(scene, &folder.join(&file))?;
        truths.push(ClipTruth::of(file, *shows, scene, &character));
    }
    let clips = truths.split_off(1);
    let truth = Truth { seed: arguments.seed, reference: truths.swap_remove(0), clips };
    write_json(&folder.join(TRUTH_FILE), &truth)?;
    println!("{} clips and {TRUTH_FILE} in {}", scenes.len(), shown(&folder));
    Ok(())
}

/// The character with other clothes, in other places and doing other things than in the reference, each
/// place, action and colour of clothes once.
fn positives(character: &Identity, reference: &Scene, stream: &SeededStream) -> Vec<(Shows, Scene)> {
    let mut stream = stream.derive("positives");
    let [count, accompanied] = POSITIVES;
    let known = reference.people[0];
    let mut places: Vec<Place> = Place::ALL.into_iter().filter(|place| *place != reference.place).collect();
    let mut actions: Vec<Action> = Action::ALL.into_iter().filter(|action| *action != known.action).collect();
    stream.shuffle(&mut places);
    stream.shuffle(&mut actions);
    let mut colours = vec![known.clothing.colour];
    let mut scenes = Vec::with_capacity(count);
    for (number, (place, action)) in places.into_iter().zip(actions).take(count).enumerate() {
        // There are more colours than clips, so that this ends.
        let clothing = loop {
            let clothing = Clothing::random(&mut stream);
            if !colours.contains(&clothing.colour) {
                break clothing;
            }
        };
        colours.push(clothing.colour);
        let mut people = vec![*character];
        if number < accompanied {
            people.push(Identity::random(&mut stream));
        }
        let options = SceneOptions { place: Some(place), action: Some(action), clothing: Some(clothing) };
        scenes.push((Shows::Character, Scene::random(&people, options, &mut stream)));
    }
    scenes
}

/// Three look-alikes with two differences, three with one, and strangers in four clips, in one of them two.
fn negatives(character: &Identity, stream: &SeededStream) -> Vec<(Shows, Scene)> {
    let mut stream = stream.derive("negatives");
    let mut people: Vec<(Shows, Vec<Identity>)> = Vec::new();
    for (shows, differences) in [(Shows::TwoDifferences, 2), (Shows::OneDifference, 1)] {
        people.extend((0..3).map(|_| (shows, vec![character.look_alike(differences, &mut stream)])));
    }
    for count in [1, 1, 1, 2] {
        people.push((Shows::Stranger, (0..count).map(|_| Identity::random(&mut stream)).collect()));
    }
    people.into_iter().map(|(shows, people)| (shows, Scene::random(&people, SceneOptions::default(), &mut stream))).collect()
}
