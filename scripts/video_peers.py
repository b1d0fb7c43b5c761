"""Pairs our clip loader with Python's: eight uniform frames of a file to the normalised tiles of the published model.

    video_peers.py OURS THREADS ROUNDS FILE...

OURS is the program of the example clip_tensor. Each round reads each file with each loader once, in turns; the loaders stay
alive between files, so that no start of a process is counted. Prints a markdown table of medians.
"""

import platform
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

ours_path, threads, rounds, files = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
torch.set_num_threads(threads)
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def places(count, segments=8):
    step = float(count - 1) / segments
    return [int(step / 2) + int(np.round(step * place)) for place in range(segments)]


def tensor_of(frames):
    """[8, height, width, 3] of bytes to [3, 8, 3, 224, 224]."""
    images = frames.permute(0, 3, 1, 2).float()
    images = F.interpolate(images, size=(224, 448), mode="bicubic", align_corners=False)
    images = (images / 255 - MEAN) / DEVIATION
    whole = F.interpolate(images, size=(224, 224), mode="bicubic", align_corners=False)
    return torch.stack([images[..., :224], images[..., 224:], whole])


def decord_one_thread(path):
    import decord

    decord.bridge.set_bridge("torch")
    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    return reader.get_batch(places(len(reader)))


def pyav(path):
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        count = stream.frames
        if not count:
            with av.open(path) as again:
                count = sum(1 for _ in again.decode(video=0))
        wanted, found = set(places(count)), []
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                found.append(torch.from_numpy(frame.to_ndarray(format="rgb24")))
                if len(found) == 8:
                    break
    return torch.stack(found)


def opencv(path):
    import cv2

    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    wanted, found, number = set(places(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))), [], 0
    while len(found) < 8 and capture.grab():
        if number in wanted:
            found.append(torch.from_numpy(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)))
        number += 1
    return torch.stack(found)


def torchcodec(path):
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=threads, seek_mode="approximate")
    return decoder.get_frames_at(places(len(decoder))).data


program = subprocess.Popen([ours_path, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ours(path):
    program.stdin.write(path + "\n")
    program.stdin.flush()
    line = program.stdout.readline().strip()
    if not line or line.startswith("error"):
        raise RuntimeError(line or "our program ended")
    answer = line.split()
    return float(answer[0]), float(answer[2])


loaders = {"decord, 1 thread": decord_one_thread, "PyAV": pyav, "OpenCV": opencv, "TorchCodec": torchcodec}
times = {(path, name): [] for path in files for name in ["ours", *loaders]}
means = {}
for turn in range(rounds + 1):
    for path in files:
        for name in ["ours", *loaders]:
            try:
                if name == "ours":
                    spent, mean = ours(path)
                else:
                    start = time.perf_counter()
                    mean_of = tensor_of(loaders[name](path))
                    spent = 1e3 * (time.perf_counter() - start)
                    mean = float(mean_of.mean())
            except Exception as error:  # a peer that cannot read a file is shown as such
                if turn == 0:
                    print(f"{name} cannot read {path}: {str(error).splitlines()[0][:100]}", file=sys.stderr)
                continue
            means[path, name] = mean
            if turn > 0:
                times[path, name].append(spent)
program.stdin.close()
program.wait()


def version(name):
    from importlib.metadata import version as found

    return f"{name} {found(name)}"


cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
packages = ["torch", "decord", "av", "opencv-python-headless", "torchcodec"]
print(f"{cpu}, {threads} threads, medians of {rounds} rounds in turns; {', '.join(map(version, packages))}\n")
print("| clip | ours | " + " | ".join(loaders) + " |\n|---|---:|" + "---:|" * len(loaders))
ratios = {name: [] for name in loaders}
for path in files:
    if not times[path, "ours"]:
        continue
    mine = statistics.median(times[path, "ours"])
    cells = [f"{mine:.0f} ms"]
    for name in loaders:
        found = times[path, name]
        if not found:
            cells.append("fails")
            continue
        ratios[name].append(statistics.median(found) / mine)
        note = "" if abs(means[path, name] - means[path, "ours"]) < 0.05 else " (other picture)"
        cells.append(f"{statistics.median(found):.0f} ms ({ratios[name][-1]:.2f}x){note}")
    print(f"| {path.rsplit('/', 1)[-1]} | " + " | ".join(cells) + " |")
line = [f"{statistics.median(found):.2f}x, least {min(found):.2f}x" if found else "none" for found in ratios.values()]
print("| median of the ratios | | " + " | ".join(line) + " |")
