"""PhotoMaker as a generator of stills (docs/generators.md), which LivePortrait then animates.

NOT RUN by this project: its weights and a GPU that holds them could not be had where this was written. It uses the public
interface of the package `photomaker` (first version of the adapter), as its documentation describes it. Needs, in an environment
of its own, the package from its repository and a base of the family SDXL:

    pip install git+https://github.com/TencentARC/PhotoMaker.git
    huggingface-cli download TencentARC/PhotoMaker photomaker-v1.bin --local-dir PhotoMaker
"""

import argparse
import os
import sys
from importlib.metadata import PackageNotFoundError, version

import torch
from contract import read_request, require, write_reply
from diffusers import EulerDiscreteScheduler
from diffusers.utils import load_image
from photomaker import PhotoMakerStableDiffusionXLPipeline

TRIGGER = "img"

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True, help="the folder or name of a base of the family SDXL")
parser.add_argument("--base-licence", required=True, help="its licence, for the manifest")
parser.add_argument("--adapter", required=True, help="the file photomaker-v1.bin")
parser.add_argument("--steps", type=int, default=50)
parser.add_argument("--merge-step", type=int, default=10, help="the step from which on the identity takes part")
parser.add_argument("request")
arguments = parser.parse_args()

request = read_request()
require(request, "portrait_stills", side=1024)
device, dtype = "cuda", torch.bfloat16
pipe = PhotoMakerStableDiffusionXLPipeline.from_pretrained(arguments.base, torch_dtype=dtype, use_safetensors=True).to(device)
pipe.load_photomaker_adapter(
    os.path.dirname(os.path.abspath(arguments.adapter)),
    subfolder="",
    weight_name=os.path.basename(arguments.adapter),
    trigger_word=TRIGGER,
)
pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
pipe.fuse_lora()

paths = []
for place, wanted in enumerate(request["wanted"]):
    # The trigger follows the word for the person.
    prompt = wanted["prompt"].replace(f" {wanted['noun']} ", f" {wanted['noun']} {TRIGGER} ", 1)
    if f" {TRIGGER} " not in prompt:
        sys.exit(f"the prompt does not hold the word `{wanted['noun']}`: {wanted['prompt']}")
    image = pipe(
        prompt=prompt,
        negative_prompt=wanted["negative_prompt"],
        input_id_images=[load_image(path) for path in wanted["references"]],
        num_images_per_prompt=1,
        num_inference_steps=arguments.steps,
        start_merge_step=arguments.merge_step,
        width=1024,
        height=1024,
        generator=torch.Generator(device=device).manual_seed(wanted["seed"]),
    ).images[0]
    name = f"{place}.png"
    image.save(os.path.join(request["output"], name))
    paths.append(name)

try:
    known = version("photomaker")
except PackageNotFoundError:
    known = "unknown"
write_reply(
    request,
    program="PhotoMaker",
    version=known,
    model=f"{os.path.basename(arguments.adapter)} on {os.path.basename(arguments.base.rstrip('/'))}",
    licence=f"PhotoMaker: Apache-2.0 as published; base: {arguments.base_licence}",
    paths=paths,
)
