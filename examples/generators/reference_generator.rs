//! A generator that follows the contract in docs/generators.md with as little as possible: it moves the picture of the person to
//! and fro. It is an example to read, and for trying things out without a network; a dataset made with it contains no more
//! information than its picture.
//!
//! ```sh
//! cargo build --release --workspace --example reference_generator
//! pvchat dataset make aa.mp4 --name Aa --corpus footage --out aa-data --generator examples/generators/reference.json
//! ```

use std::{error::Error, fs, path::Path};

use image::{RgbImage, imageops};
use serde_json::{Value, json};

fn main() {
    // The path of the request is the last argument, whatever comes before it.
    let request = std::env::args_os().next_back().unwrap_or_default();
    if let Err(error) = answer(Path::new(&request)) {
        // What a generator says before it fails is shown to the user.
        eprintln!("reference_generator: {error}");
        std::process::exit(1);
    }
}

/// Makes what a request asks for, and writes the reply in the end.
pub fn answer(request: &Path) -> Result<(), Box<dyn Error>> {
    let request: Value = serde_json::from_slice(&fs::read(request)?)?;
    if request["schema"] != 1 {
        return Err("it follows version 1 of the contract".into());
    }
    let folder = Path::new(request["output"].as_str().ok_or("no output folder")?);
    let mut files = Vec::new();
    for (place, wanted) in request["wanted"].as_array().ok_or("nothing is wanted")?.iter().enumerate() {
        let reference = image::open(wanted["references"][0].as_str().ok_or("no picture")?)?.to_rgb8();
        let seed = wanted["seed"].as_u64().ok_or("no seed")?;
        let side = |axis: usize| request["size"][axis].as_u64().unwrap_or(0) as u32;
        let size = [side(0), side(1)];
        let name = if request["kind"] == "portrait_stills" {
            let name = format!("{place}.png");
            moved(&reference, size, seed, 0.0).save(folder.join(&name))?;
            name
        } else {
            let (seconds, rate) = (request["seconds"].as_f64().unwrap_or(1.0), request["fps"].as_f64().unwrap_or(8.0));
            let count = (seconds * rate).ceil() as usize + 1;
            let frames: Vec<RgbImage> =
                (0..count).map(|frame| moved(&reference, size, seed, frame as f32 / rate as f32)).collect();
            let name = format!("{place}.mp4");
            pvchat_video::write_clip(folder.join(&name), &frames, rate)?;
            name
        };
        files.push(json!({ "path": name, "prompt": wanted["prompt"], "seed": seed }));
    }
    let reply = json!({
        "schema": 1,
        "id": request["id"],
        "program": "pvchat's reference generator",
        "version": "1",
        "model": "none",
        "licence": "MIT OR Apache-2.0",
        "files": files,
    });
    fs::write(request["reply"].as_str().ok_or("no place for the reply")?, reply.to_string())?;
    Ok(())
}

/// A part of a picture, which goes to and fro and up and down with time; where it begins depends on the seed.
fn moved(picture: &RgbImage, [width, height]: [u32; 2], seed: u64, seconds: f32) -> RgbImage {
    let (across, down) = (width + width / 8, height + height / 8);
    let large = imageops::resize(picture, across, down, imageops::FilterType::Triangle);
    let share = |speed: f32| ((seed % 628) as f32 / 100.0 + speed * seconds).sin() / 2.0 + 0.5;
    let (left, top) = (share(1.7) * (across - width) as f32, share(1.1) * (down - height) as f32);
    imageops::crop_imm(&large, left as u32, top as u32, width, height).to_image()
}
