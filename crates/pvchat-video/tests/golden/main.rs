//! Frame indices and times against the golden data.

use std::path::{Path, PathBuf};

use pvchat_video::sampling::{seconds, uniform_indices};
use serde_json::Value;

fn golden() -> Value {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden");
    let path = std::env::var_os("PVCHAT_GOLDEN").map_or_else(own, PathBuf::from).join("video_sampling.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn number(case: &Value, name: &str) -> usize {
    usize::try_from(case[name].as_u64().unwrap()).unwrap()
}

#[test]
fn uniform_indices_equal_the_golden_ones() {
    let golden = golden();
    let cases = golden["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let expected: Vec<usize> = serde_json::from_value(case["indices"].clone()).unwrap();
        assert_eq!(uniform_indices(number(case, "num_frames"), number(case, "num_segments")), expected, "{case}");
    }
}

#[test]
fn seconds_equal_the_golden_ones() {
    let golden = golden();
    let cases = golden["seconds"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let expected: Vec<String> = serde_json::from_value(case["seconds"].clone()).unwrap();
        let indices = uniform_indices(number(case, "num_frames"), number(case, "num_segments"));
        assert_eq!(seconds(&indices, case["fps"].as_f64().unwrap()), expected, "{case}");
    }
}

#[test]
fn rounding_goes_to_the_even_side_and_stays_inside() {
    // seg = 1.25, so frame 2 is at 2.5: two, not three.
    assert_eq!(uniform_indices(11, 8), [0, 1, 2, 4, 5, 6, 8, 9]);
    assert_eq!(seconds(&[1, 3], 4.0), ["0.2", "0.8"]);
    assert_eq!(uniform_indices(0, 8), [0usize; 0]);
    assert_eq!(uniform_indices(8, 0), [0usize; 0]);
    for frames in 1..300 {
        for segments in 1..40 {
            let indices = uniform_indices(frames, segments);
            assert_eq!(indices.len(), segments);
            assert!(indices.is_sorted() && indices.iter().all(|index| *index < frames), "{frames} {segments}");
        }
    }
}
