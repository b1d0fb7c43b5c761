//! Every frame of every file in a directory against the ffmpeg program's: the generated clips, or those in PVCHAT_MEDIA.

mod common;

use common::{compare, files, fixtures};

#[test]
fn every_frame_of_every_file_equals_the_ffmpeg_programs() {
    let directory = std::env::var_os("PVCHAT_MEDIA").map_or_else(|| fixtures().join("clips"), Into::into);
    let (mut compared, mut wrong) = (0, Vec::new());
    println!("{:<28} {:>6} {:>11} {:>5} {:>9}", "file", "frames", "size", "max", "mean");
    for path in files(&directory) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match compare(&path) {
            Ok(found) => {
                let size = format!("{}x{}", found.width, found.height);
                println!("{name:<28} {:>6} {size:>11} {:>5} {:>9.5}", found.frames, found.max, found.mean);
                compared += 1;
                if !found.is_small() {
                    wrong.push(name);
                }
            }
            Err(refusal) => {
                println!("{name:<28} refused: {}", refusal.error);
                // Right for a text among the clips, which the program refuses as well.
                if !refusal.by_both {
                    wrong.push(format!("{name}: {}", refusal.error));
                }
            }
        }
    }
    assert!(compared > 0, "no video in {}", directory.display());
    assert!(wrong.is_empty(), "refused, or too far apart: {wrong:?}");
}
