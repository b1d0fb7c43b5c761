"""docs/smolvlm2-benchmarks.md from what smolvlm-benchmarks.sh measured.

usage: smolvlm_report.py LINES QUALITY CONDITIONS
"""

import json
import re
import statistics
import sys

lines = [json.loads(line) for line in open(sys.argv[1])]
quality, conditions = open(sys.argv[2]).read(), sys.argv[3]
tokens = int(re.search(r"(\d+) tokens", conditions)[1])
TITLES = {"plain": "f32, not packed", "f32": "f32", "bf16": "bf16", "int8": "8 bits", "int4": "4 bits"}


def median(run, stage):
    times = run.get(stage)
    return statistics.median(times["seconds"] if isinstance(times, dict) else times) if times else 0.0


def stages(run):
    if run["program"] == "transformers":
        before = [median(run, "prepare"), median(run, "look")]
        return {"look": sum(before), "prompt": median(run, "connector") + median(run, "read"), "step": median(run, "step")}
    # Ours looks and prepares in one, and the connector is part of reading.
    return {"look": median(run, "look"), "prompt": median(run, "read") + median(run, "first_token"), "step": median(run, "decode_step")}


runs = {}
for run in (run for run in lines if "larger" not in run):
    found = stages(run)
    found["whole"] = found["look"] + found["prompt"] + tokens * found["step"]
    found |= {"load": run["load_seconds"], "peak": run["peak_mib"], "opened": run["peak_mib_loaded"], "resident": run["resident_mib_loaded"], "first": median(run, "first_token")}
    if run.get("decoder_bytes"):
        found["share"] = (run["decoder_bytes"] + run["cache_bytes"]) / found["step"] / run["copied_bytes_per_second"]
    runs.setdefault((run["program"], run["precision"]), []).append(found)
medians = {key: {name: statistics.median(run[name] for run in found) for name in found[0]} for key, found in runs.items()}
peers = [key for key in medians if key[0] == "transformers"]
versions = next(run for run in lines if run["program"] == "transformers")

print(f"""# SmolVLM2 on the processor

{conditions} Made by `make smolvlm-benchmarks`; weights are random, in the published layout of SmolVLM2-256M.

A question about a clip: `look` prepares the frames and runs the vision encoder over them; `read` is everything from the encoder's
tokens to the first token of the answer (connector, prompt of about 660 tokens, question); then one token after another. What was
looked at and read is kept: a second question about the same clip begins at *next question*, the time to its first token.

| program | weights | open | look | read | next question | tokens per second | whole answer | open in memory | peak while opening | peak memory |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|""")
for (program, precision), found in medians.items():
    name = "pvchat" if program == "pvchat" else f"transformers {versions['transformers']}, PyTorch {versions['torch'].split('+')[0]}"
    first = f"{found['first']:.3f} s" if found["first"] else ""
    print(f"| {name} | {TITLES[precision]} | {found['load']:.1f} s | {found['look']:.2f} s | {found['prompt']:.2f} s | {first} | "
          f"{1 / found['step']:.1f} | {found['whole']:.2f} s | {found['resident']:.0f} MiB | {found['opened']:.0f} MiB | {found['peak']:.0f} MiB |")
print("""
How many times as fast as transformers in the better of its two precisions, stage by stage; the median of the ratios of the rounds.

| weights | look | read | tokens | whole answer |
|---|---:|---:|---:|---:|""")
for key, found in runs.items():
    if key[0] != "pvchat":
        continue
    cells = []
    for stage in ("look", "prompt", "step", "whole"):
        ratios = [min(runs[peer][at][stage] for peer in peers) / run[stage] for at, run in enumerate(found)]
        cells.append(f"{statistics.median(ratios):.2f}")
    print(f"| {TITLES[key[1]]} | {' | '.join(cells)} |")
shares = ", ".join(f"{100 * found['share']:.0f} % ({TITLES[key[1]]})" for key, found in medians.items() if found.get("share"))
print(f"""
While it answers, the weights of the language model and what it keeps of the tokens so far are read at this share of the bytes per
second that a plain copy of memory reads and writes in the same run: {shares}.

Without packing the weights are tensors of burn. Packed ones lie in the order in which the kernels read them, are packed one layer
after another while the file is read, and are used by kernels of our own for AVX-512 (with bf16 and VNNI where the processor has
them), AVX2, and any other processor.""")
larger = [run for run in lines if "larger" in run]
if larger:
    print("""
## Larger models

Random weights in the published layout, one run each.

| model | weights | open | look | read | tokens per second | whole answer | open in memory | peak while opening | peak memory |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|""")
    for run in larger:
        found = stages(run)
        whole = found["look"] + found["prompt"] + tokens * found["step"]
        print(f"| {run['larger']} | {TITLES[run['precision']]} | {run['load_seconds']:.1f} s | {found['look']:.1f} s | "
              f"{found['prompt']:.2f} s | {1 / found['step']:.1f} | {whole:.1f} s | {run['resident_mib_loaded']:.0f} MiB | {run['peak_mib_loaded']:.0f} MiB | {run['peak_mib']:.0f} MiB |")
print("""
## What fewer bits cost

Measured on the one published model of this kind that the registries have, SmolLM2-135M-Instruct (the language model of
SmolVLM2-256M before it learned to see), on `fixtures/texts/plain-english.txt` (`cargo run --release --example language_speed`).
How much the vision encoder of the published weights loses was not measured: its weights were not at hand.

| weights | memory of the language model | perplexity | most probable next word as in f32 | tokens per second |
|---|---:|---:|---:|---:|""")
plain = re.search(r"perplexity ([\d.]+)", quality)[1]
rate = re.search(r"then ([\d.]+) per second", quality)[1]
print(f"| f32, not packed | | {plain} | | {rate} |")
pattern = r"packed, (\w+), (\d+) MiB:\nperplexity ([\d.]+).*?\n.*?\n([\d.]+) %.*?\n.*?then ([\d.]+) per second"
for name, memory, perplexity, agreed, rate in re.findall(pattern, quality):
    print(f"| {TITLES[name.lower()]} | {memory} MiB | {perplexity} | {agreed} % | {rate} |")
print("""
In four bits the head keeps eight. Weights of eight and four bits are whole numbers times a scale for each 64 and 32 inputs; the rows
that they are multiplied with are rounded to eight bits in the same groups.""")
