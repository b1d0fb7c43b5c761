#!/usr/bin/env bash
# Our clip loader beside Python's on the same files, in turns: eight uniform frames to the normalised tiles of the published
# model. Prints a markdown table.
#
#   scripts/peers-video.sh FILE...     THREADS (2), ROUNDS (5); PYTHON names a Python that has the peers, otherwise a
#                                      virtual environment is made in the target folder (a few GB are downloaded)
set -euo pipefail

[ $# -gt 0 ] || {
    sed -n 's/^#   //p' "$0" >&2
    exit 2
}
files=()
for file in "$@"; do files+=("$(realpath "$file")"); done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
python=${PYTHON:-}
if [ -z "$python" ]; then
    python=$target/venv-video/bin/python
    [ -x "$python" ] || {
        python3 -m venv "$target/venv-video"
        "$target/venv-video/bin/pip" install --quiet numpy torch decord av opencv-python-headless torchcodec
    }
fi
cargo build --quiet --release --package pvchat-video --example clip_tensor
exec "$python" scripts/video_peers.py "$target/release/examples/clip_tensor" "${THREADS:-2}" "${ROUNDS:-5}" "${files[@]}"
