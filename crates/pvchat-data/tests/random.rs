//! Draws that must not change: what was made from a seed is made from it again. The numbers come from the definition: ChaCha with
//! eight rounds, whose key is the SHA-256 of the parent's key and the label.

use pvchat_data::random::SeededStream;

#[test]
fn the_first_draws_of_a_named_stream_are_these() {
    let stream = || SeededStream::new(7).derive("clothes");
    let mut draws = stream();
    let seeds: Vec<u64> = (0..3).map(|_| draws.next_seed()).collect();
    assert_eq!(seeds, [1_471_866_150_849_022_592, 526_409_344_700_931, 3_473_804_658_207_183_099]);
    let mut draws = stream();
    let units: Vec<f32> = (0..4).map(|_| draws.unit()).collect();
    assert_eq!(units, [0.274_521_47, 0.079_789_996, 0.226_552_13, 2.849_102e-5]);
    let mut draws = stream();
    let normal: Vec<f32> = (0..3).map(|_| draws.normal()).collect();
    assert_eq!(normal, [0.407_807_3, 3.025_406_3e-5, -0.159_697_49]);
    let mut draws = stream();
    let indices: Vec<usize> = (0..8).map(|_| draws.below(8)).collect();
    assert_eq!(indices, [2, 0, 1, 0, 3, 1, 4, 1]);
    assert_eq!(stream().sample(10, 4), [2, 1, 3, 0]);
    let mut order = ["red", "green", "blue", "white", "black"];
    stream().shuffle(&mut order);
    assert_eq!(order, ["black", "blue", "white", "red", "green"]);
}
