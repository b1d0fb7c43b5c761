"""ConsisID as a generator of clips from prompts and pictures of a face (docs/generators.md).

NOT RUN by this project: its weights and a GPU that holds them could not be had where this was written. It uses the public
interface of diffusers, as its documentation describes it. Needs diffusers with ConsisIDPipeline and what that needs
(consisid_eva_clip, insightface, facexlib, OpenCV, onnxruntime for a GPU) in an environment of its own, and the weights in a folder,
with those of the face networks in it:

    huggingface-cli download BestWishYsh/ConsisID-preview --local-dir ConsisID-preview

Clips are 720 x 480 pixels, 49 frames, 8 frames per second: use `--size 480` or less and `--rate 8` or less.
"""

import argparse
import os

import diffusers
import torch
from contract import read_request, require, write_reply
from diffusers import ConsisIDPipeline
from diffusers.utils import export_to_video

try:
    from diffusers.pipelines.consisid.consisid_utils import prepare_face_models, process_face_embeddings_infer
except ImportError:  # Its name in the documentation.
    from diffusers.pipelines.consisid.util_consisid import prepare_face_models, process_face_embeddings_infer

FPS = 8

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True, help="the folder of the weights")
parser.add_argument("--steps", type=int, default=50, help="denoising steps")
parser.add_argument("--guidance", type=float, default=6.0)
parser.add_argument("--offload", action="store_true", help="keeps parts of the model in main memory: slower, for small GPUs")
parser.add_argument("request")
arguments = parser.parse_args()

request = read_request()
require(request, "text_to_video", side=480, fps=FPS, seconds=49 / FPS)
dtype = torch.bfloat16
face_helper_1, face_helper_2, face_clip_model, face_main_model, mean, std = prepare_face_models(
    arguments.model, device="cuda", dtype=dtype
)
pipe = ConsisIDPipeline.from_pretrained(arguments.model, torch_dtype=dtype)
if arguments.offload:
    pipe.enable_model_cpu_offload()
    pipe.vae.enable_slicing()
    pipe.vae.enable_tiling()
else:
    pipe.to("cuda")

paths = []
for place, wanted in enumerate(request["wanted"]):
    id_cond, id_vit_hidden, image, face_kps = process_face_embeddings_infer(
        face_helper_1,
        face_clip_model,
        face_helper_2,
        mean,
        std,
        face_main_model,
        "cuda",
        dtype,
        wanted["references"][0],
        is_align_face=True,
    )
    video = pipe(
        image=image,
        prompt=wanted["prompt"],
        negative_prompt=wanted["negative_prompt"],
        num_inference_steps=arguments.steps,
        guidance_scale=arguments.guidance,
        use_dynamic_cfg=False,
        id_vit_hidden=id_vit_hidden,
        id_cond=id_cond,
        kps_cond=face_kps if getattr(pipe.transformer.config, "is_kps", False) else None,
        generator=torch.Generator("cpu").manual_seed(wanted["seed"]),
    )
    name = f"{place}.mp4"
    export_to_video(video.frames[0], os.path.join(request["output"], name), fps=FPS)
    paths.append(name)

write_reply(
    request,
    program="ConsisID by diffusers",
    version=diffusers.__version__,
    model=os.path.basename(os.path.abspath(arguments.model)),
    licence="ConsisID: Apache-2.0 as published; the face models of InsightFace that it uses: non-commercial research only",
    paths=paths,
)
