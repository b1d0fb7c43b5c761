#!/usr/bin/env bash
# An epoch of learning at 18 questions per clip, three ways, alternating: our schedule, the naive one in our own code, and
# the reference's loop in PyTorch (one question at a time, and eight). Same model, clips, questions, steps; 2 threads each.
#
#   scripts/epoch.sh [ROUNDS]        PYTHON names a Python with torch, numpy, av and safetensors; without one, only ours run
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-3}
python=${PYTHON:-python3}
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release --workspace --example epoch
epoch="$target/release/examples/epoch"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$epoch" data "$folder/data"

torch=
if "$python" -c 'import av, numpy, safetensors, torch' 2>/dev/null; then torch=yes; fi
export MIMALLOC_PURGE_DELAY=-1 OMP_NUM_THREADS=2
for _ in $(seq "$rounds"); do
    "$epoch" run "$folder/data" --schedule packed --epochs 4
    "$epoch" run "$folder/data" --schedule naive --epochs 1
    if [ -n "$torch" ]; then
        for batch in 1 8; do
            "$python" scripts/epoch_torch.py "$folder/data" --weights crates/pvchat-miniature/weights --epochs 1 --batch "$batch"
        done
    fi
done | tee "$folder/lines"

python3 - "$folder/lines" <<'PY'
import json, statistics, sys
runs = [json.loads(line) for line in open(sys.argv[1])]
first, later = {}, {}
for run in runs:
    times = run["epoch_seconds"]
    first.setdefault(run["schedule"], []).append(times[0])
    later.setdefault(run["schedule"], []).extend(times[1:] or times)
ours = statistics.median(first["packed"]), statistics.median(later["packed"])
print(f"\n{runs[0]['clips']} clips, {runs[0]['questions']} questions each, {runs[0]['threads']} threads, medians of {len(first['packed'])} runs")
print(f"{'schedule':<22} {'first epoch':>12} {'later epochs':>13} {'ours is faster by':>24} {'peak':>9}")
for name in first:
    a, b = statistics.median(first[name]), statistics.median(later[name])
    peak = max(run["peak_mib"] for run in runs if run["schedule"] == name)
    print(f"{name:<22} {a:>10.2f} s {b:>11.2f} s {a / ours[0]:>13.1f}x {b / ours[1]:>8.1f}x {peak:>5.0f} MiB")
PY
