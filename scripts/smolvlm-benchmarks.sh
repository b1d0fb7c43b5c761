#!/usr/bin/env bash
# Writes docs/smolvlm2-benchmarks.md: the stages of an answer beside transformers and PyTorch, in turns on the same cores, and
# what packed weights cost in quality.
#
#   scripts/smolvlm-benchmarks.sh [ROUNDS]
#
# MODEL is a folder of SmolVLM2-256M in the published layout, VIDEO a clip; without them random weights are written into the target
# folder, and a clip of `make models` is taken. PYTHON names a Python with torch, transformers,
# torchvision, num2words, pillow and av, otherwise a virtual environment is made in the target folder (a few GB are downloaded).
# LARGER lists further models that only ours opens: folders, or 500m and 2.2b (both unless it is set), of which random weights are
# written (2 and 9 GB). THREADS (2), FRAMES (8), TOKENS (24).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${1:-2}
threads=${THREADS:-2}
frames=${FRAMES:-8}
tokens=${TOKENS:-24}
target=${CARGO_TARGET_DIR:-$PWD/target}
python=${PYTHON:-}
if [ -z "$python" ]; then
    python=$target/venv-smolvlm/bin/python
    [ -x "$python" ] || {
        python3 -m venv "$target/venv-smolvlm"
        "$target/venv-smolvlm/bin/pip" install --quiet numpy torch torchvision transformers num2words pillow av
    }
fi
cargo build --quiet --release --workspace --example smolvlm_speed --example language_speed --example random_base
speed=$target/release/examples/smolvlm_speed
data=${XDG_DATA_HOME:-$HOME/.local/share}/pvchat
VIDEO=${VIDEO:-$data/clips/franck.mp4}
random() { # writes a base with random weights, once
    [ -f "$target/random/smolvlm2-$1/tokenizer.json" ] || "$target/release/examples/random_base" write "$1" "$target/random/smolvlm2-$1" \
        --tokenizer "$data/models/smollm2-135m-instruct/smolvlm2-tokenizer.json" >&2
    echo "$target/random/smolvlm2-$1"
}
MODEL=${MODEL:-$(random 256m)}
lines=$(mktemp)
quality=$(mktemp)
trap 'rm -f "$lines" "$quality"' EXIT
export RAYON_NUM_THREADS=$threads
for round in $(seq "$rounds"); do
    for precision in plain f32 bf16 int8 int4; do
        echo "round $round: pvchat, $precision" >&2
        "$speed" --model "$MODEL" --video "$VIDEO" --precision "$precision" --frames "$frames" --repeats 2 --tokens "$tokens" >>"$lines"
    done
    for precision in f32 bf16; do
        echo "round $round: transformers, $precision" >&2
        "$python" scripts/smolvlm_torch.py "$MODEL" "$VIDEO" "$precision" "$frames" 2 "$tokens" "$threads" >>"$lines"
    done
done
for folder in ${LARGER-500m 2.2b}; do
    [ -d "$folder" ] || folder=$(random "$folder")
    for precision in bf16 int8; do
        echo "$folder, $precision" >&2
        "$speed" --model "$folder" --video "$VIDEO" --precision "$precision" --frames "$frames" --repeats 1 --tokens "$tokens" |
            sed "s|^{|{\"larger\": \"$(basename "$folder")\", |" >>"$lines"
    done
done
"$target/release/examples/language_speed" >"$quality"
conditions="Measured on $(date +%F), commit $(git describe --always --dirty), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)"
grep -qw avx512f /proc/cpuinfo && conditions+=" with AVX-512"
grep -qw avx512_bf16 /proc/cpuinfo && conditions+=" (bf16, VNNI)"
"$python" scripts/smolvlm_report.py "$lines" "$quality" "$conditions, $threads threads, $frames frames, $tokens tokens, medians of $rounds rounds in turns." \
    >docs/smolvlm2-benchmarks.md.new
mv docs/smolvlm2-benchmarks.md.new docs/smolvlm2-benchmarks.md
