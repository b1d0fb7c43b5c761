//! Times finding people for scripts/people_peers.py, which starts it and sends it one line per measurement:
//!
//! - `network NAME`: one call of a network of [`networks`], after one that is not counted;
//! - `frame SEARCH WIDTH HEIGHT FILE`: `fast` or `thorough` on a picture of raw RGB bytes, with alignment and embedding.
//!
//! The answer is the CPU time in milliseconds, and for a frame the number of faces.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, Write},
};

use image::RgbImage;
use pvchat::faces::{EmbedderKind, Finder, Search};
use pvchat_benches::people::{finder, networks, noise};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Milliseconds that all threads of this process had a processor. Linux counts them in nanoseconds, for each thread.
fn processor_time() -> Outcome<f64> {
    let mut sum = 0.0;
    for task in fs::read_dir("/proc/self/task")? {
        let times = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += times.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e6;
    }
    Ok(sum)
}

/// The networks that are open, and pictures that were read before.
#[derive(Default)]
struct Bench {
    finders: HashMap<String, Finder>,
    pictures: HashMap<String, RgbImage>,
}

impl Bench {
    fn finder(&mut self, key: &str, embedder: EmbedderKind, search: Search) -> Outcome<&Finder> {
        if !self.finders.contains_key(key) {
            self.finders.insert(key.into(), finder(embedder, search, 1)?);
        }
        Ok(&self.finders[key])
    }

    fn network(&mut self, wanted: &str) -> Outcome<String> {
        let (name, network, shapes) =
            networks().into_iter().find(|(name, ..)| *name == wanted).ok_or(format!("no network is named {wanted}"))?;
        let embedder = if name == "dlib" { EmbedderKind::Dlib } else { EmbedderKind::MobileFaceNet };
        let finder = self.finder(name, embedder, Search::Auto)?;
        let mut spent = 0.0;
        for counted in [false, true] {
            for shape in &shapes {
                let values = noise(*shape);
                let start = processor_time()?;
                finder.compute(network, values, *shape)?;
                spent += if counted { processor_time()? - start } else { 0.0 };
            }
        }
        Ok(format!("{spent:.3}"))
    }

    fn frame(&mut self, search: &str, width: &str, height: &str, file: &str) -> Outcome<String> {
        let picture = match self.pictures.remove(file) {
            Some(picture) => picture,
            None => RgbImage::from_raw(width.parse()?, height.parse()?, fs::read(file)?).ok_or("the size is another one")?,
        };
        let kind = if search == "fast" { Search::Fast } else { Search::Thorough };
        let finder = self.finder(search, EmbedderKind::MobileFaceNet, kind)?;
        finder.faces(&picture)?;
        let start = processor_time()?;
        let faces = finder.faces(&picture)?;
        let answer = format!("{:.3} {}", processor_time()? - start, faces.len());
        self.pictures.insert(file.into(), picture);
        Ok(answer)
    }
}

fn main() -> Outcome<()> {
    let mut bench = Bench::default();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["network", name] => bench.network(name)?,
            ["frame", search, width, height, file] => bench.frame(search, width, height, file)?,
            _ => return Err(format!("no measurement is named {line:?}").into()),
        };
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}
