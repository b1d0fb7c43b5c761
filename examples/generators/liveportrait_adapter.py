"""LivePortrait as a generator that animates a portrait with the movements of a driving clip (docs/generators.md).

NOT RUN by this project: its weights and a GPU could not be had where this was written. It calls the program `inference.py` of the
published repository by its documented arguments (-s, -d, -o), once for each clip. Needs a checkout with its weights, and the
environment that its documentation describes:

    git clone https://github.com/KwaiVGI/LivePortrait

LivePortrait draws nothing at random, so seeds change nothing, and it reads no prompt. Clips are as long as the driving clip and
have its frame rate: driving clips must be at least as long as the clips of the dataset. Its output goes to standard error, so that
it is shown where something fails.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

from contract import read_request, require, write_reply

parser = argparse.ArgumentParser()
parser.add_argument("--repository", required=True, help="the checkout")
parser.add_argument("--python", default=sys.executable, help="the interpreter of its environment")
parser.add_argument("--crop-driving", action="store_true", help="the face is cut out of driving clips that show more")
parser.add_argument("request")
arguments = parser.parse_args()

request = read_request()
require(request, "portrait_animation")
paths = []
for place, wanted in enumerate(request["wanted"]):
    with tempfile.TemporaryDirectory() as made:
        command = [arguments.python, "inference.py"]
        command += ["-s", wanted["references"][0], "-d", wanted["driving"], "-o", made]
        if arguments.crop_driving:
            command.append("--flag-crop-driving-video")
        # By its arguments, without a shell; it has its weights in its own folder.
        ended = subprocess.run(command, cwd=arguments.repository, stdout=sys.stderr, check=False)
        if ended.returncode != 0:
            sys.exit(f"LivePortrait ended with {ended.returncode}")
        # Beside the clip it writes one with source and driving clip next to it.
        clips = [name for name in os.listdir(made) if name.endswith(".mp4") and "_concat" not in name]
        if len(clips) != 1:
            sys.exit(f"LivePortrait wrote {len(clips)} clips, one was expected")
        name = f"{place}.mp4"
        shutil.move(os.path.join(made, clips[0]), os.path.join(request["output"], name))
        paths.append(name)

asked = subprocess.run(["git", "-C", arguments.repository, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
write_reply(
    request,
    program="LivePortrait",
    version=asked.stdout.strip() or "unknown",
    model="KwaiVGI/liveportrait",
    licence="LivePortrait: MIT as published; the face models of InsightFace that it uses: non-commercial research only",
    paths=paths,
)
