#!/usr/bin/env bash
# The whole attention module at the paper's cross-attention shape beside the same computation in PyTorch, in turns on the
# same cores. Prints a markdown table: medians over the rounds, and how much slower PyTorch is (median of the rounds' ratios).
#
#   scripts/moh-peers.sh [ROUNDS]    RUNS (7) per round and case; THREADS (2); PYTHON names a Python with torch, otherwise a
#                                    virtual environment is made in the target folder (a few GB are downloaded); PROGRAM
#                                    is a moh_module that is already built
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${1:-5}
runs=${RUNS:-7}
threads=${THREADS:-2}
target=${CARGO_TARGET_DIR:-$PWD/target}
python=${PYTHON:-}
if [ -z "$python" ]; then
    python=$target/venv-torch/bin/python
    [ -x "$python" ] || {
        python3 -m venv "$target/venv-torch"
        "$target/venv-torch/bin/pip" install --quiet numpy torch
    }
fi
program=${PROGRAM:-}
if [ -z "$program" ]; then
    cargo build --quiet --release --workspace --bin moh_module
    program=$target/release/moh_module
fi
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
export RAYON_NUM_THREADS=$threads OMP_NUM_THREADS=$threads
for _ in $(seq "$rounds"); do
    "$program" "$runs" >>"$lines"
    "$python" scripts/moh_torch.py "$runs" >>"$lines"
    echo end >>"$lines"
done

python3 - "$lines" "$threads" <<'PY'
import json, statistics, sys

rounds, current = [], {}
for line in open(sys.argv[1]):
    if line.strip() == "end":
        rounds.append(current)
        current = {}
    else:
        case = json.loads(line)
        current[case["program"], case["what"], case["pass"], case["idle"]] = case
programs = list(dict.fromkeys(key[0] for key in rounds[0]))
activations = sorted({case["activation"] for run in rounds for case in run.values() if case["idle"] == 0})
print(f"{sys.argv[2]} threads, f32, {len(rounds)} rounds in turns; of the routed pairs "
      f"{activations[0]:.0%} to {activations[-1]:.0%} are on.\n")
print("| what | pass | " + " | ".join(programs) + " |")
print("|---|---|" + "---:|" * len(programs))
names = {"module": "module with its projections", "core": "attention alone", "projected": "the same, but all heads projected"}
for _, what, which, idle in [key for key in rounds[0] if key[0] == "ours"]:
    cells = []
    for program in programs:
        if (program, what, which, idle) not in rounds[0]:
            cells.append("")
            continue
        times = [run[program, what, which, idle]["ms"] for run in rounds]
        ratios = [run[program, what, which, idle]["ms"] / run["ours", what, which, idle]["ms"] for run in rounds]
        ratio = "" if program == "ours" else f" ({statistics.median(ratios):.2f}x)"
        cells.append(f"{statistics.median(times):.1f} ms{ratio}")
    label = names[what] + (f", {idle} routed head{'s' * (idle > 1)} off everywhere" if idle and what == "module" else "")
    print(f"| {label} | {which} | " + " | ".join(cells) + " |")
PY
