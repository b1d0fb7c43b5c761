#!/usr/bin/env bash
# Bases of the published sizes with random weights: each is written, asked about a clip, and those of SmolVLM2 learn a step of each
# stage; seconds and memory are printed. By hand: the paper's base takes 17 GB of disk and 21 GB of memory.
#
#   scripts/random-bases.sh [SIZE]..      256m 500m 2.2b paper; without any 256m and 500m
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
data=${XDG_DATA_HOME:-$HOME/.local/share}/pvchat
tokenizer=$data/models/smollm2-135m-instruct/smolvlm2-tokenizer.json
clip=${VIDEO:-$data/clips/franck.mp4}
cargo build --quiet --release --workspace --example random_base --example learn_cost
[ $# -gt 0 ] || set -- 256m 500m
for size in "$@"; do
    folder=$target/random/smolvlm2-$size
    echo "== $size"
    written=(--tokenizer "$tokenizer")
    [ "$size" != paper ] || folder=$target/random/paper written=()
    [ -f "$folder/tokenizer.json" ] || "$target/release/examples/random_base" write "$size" "$folder" "${written[@]}"
    "$target/release/examples/random_base" ask "$folder" "$clip" --precision bf16
    [ "$size" = paper ] || "$target/release/examples/learn_cost" "$folder" --clips 4 --steps 1
done
