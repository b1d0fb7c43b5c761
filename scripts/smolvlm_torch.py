"""SmolVLM2 through transformers and PyTorch on the processor, stage by stage: what ours is measured against.

usage: smolvlm_torch.py MODEL VIDEO f32|bf16 FRAMES REPEATS TOKENS THREADS
Prints one JSON object with the seconds of every repeat of every stage.
"""

import json
import os
import resource
import sys
import time

folder, video, kind, frames, repeats, tokens, threads = sys.argv[1:]
frames, repeats, tokens, threads = int(frames), int(repeats), int(tokens), int(threads)
os.environ |= {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
os.environ["TQDM_DISABLE"] = "1"

import av
import numpy
import torch
import transformers

torch.set_num_threads(threads)
torch.set_grad_enabled(False)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024


def timed(stage, count):
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        made = stage()
        seconds.append(time.perf_counter() - start)
    return made, seconds


start = time.perf_counter()
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[kind]
model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval()
processor = transformers.AutoProcessor.from_pretrained(folder)
report = {"program": "transformers", "precision": kind, "load_seconds": time.perf_counter() - start, "peak_mib_loaded": peak_mib()}
report["resident_mib_loaded"] = resident_mib()
report |= {"torch": torch.__version__, "transformers": transformers.__version__}

with av.open(video) as container:
    stream = container.streams.video[0]
    total, rate = stream.frames, float(stream.average_rate)
    wanted = numpy.linspace(0, total - 1, frames, dtype=int)
    kept = {index: frame.to_ndarray(format="rgb24") for index, frame in enumerate(container.decode(video=0)) if index in wanted}
pictures = torch.from_numpy(numpy.stack([kept[index] for index in wanted])).permute(0, 3, 1, 2)
metadata = {"total_num_frames": total, "fps": rate, "duration": total / rate, "frames_indices": [int(index) for index in wanted]}
content = [{"type": "video"}, {"type": "text", "text": "What is the person doing?"}]
text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def prepare():
    given = {"videos": [pictures], "video_metadata": [metadata], "do_sample_frames": False}
    return processor(text=text, **given, return_tensors="pt")


inputs, report["prepare"] = timed(prepare, repeats)
ids, pixels = inputs["input_ids"], inputs["pixel_values"][0].to(dtype)
inner = model.model
patches, report["look"] = timed(lambda: inner.vision_model(pixel_values=pixels).last_hidden_state, repeats)
visual, report["connector"] = timed(lambda: inner.connector(patches), repeats)
table = inner.text_model.get_input_embeddings()
is_picture = (ids == model.config.image_token_id).unsqueeze(-1)
embeddings = table(ids).masked_scatter(is_picture, visual.reshape(-1, visual.shape[-1]).to(dtype))


def read():
    state = inner.text_model(inputs_embeds=embeddings, use_cache=True)
    return state.past_key_values, model.lm_head(state.last_hidden_state[:, -1:])[:, -1].argmax(-1, keepdim=True)


(cache, token), report["read"] = timed(read, repeats)
report["prompt_tokens"] = ids.shape[1]
steps = []
for _ in range(tokens):
    start = time.perf_counter()
    state = inner.text_model(inputs_embeds=table(token), past_key_values=cache, use_cache=True)
    token = model.lm_head(state.last_hidden_state[:, -1:])[:, -1].argmax(-1, keepdim=True)
    steps.append(time.perf_counter() - start)
print(json.dumps(report | {"step": steps, "peak_mib": peak_mib()}))
