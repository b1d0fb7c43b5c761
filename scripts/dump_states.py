"""The internal states of a SmolVLM2 through transformers, for `pvchat doctor --compare FILE --base FOLDER`.

usage: dump_states.py FOLDER FILE [PICTURE]
FOLDER is a base in the published layout; FILE becomes a safetensors file with the states of one question about PICTURE, or about
a picture of noise. Needs numpy, torch, torchvision, transformers, num2words, pillow and safetensors.
"""

import sys

import numpy
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

folder, file, *picture = sys.argv[1:]
torch.set_grad_enabled(False)
model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
processor = transformers.AutoProcessor.from_pretrained(folder)
noise = numpy.random.default_rng(0).integers(0, 256, (360, 480, 3), dtype=numpy.uint8)
image = Image.open(picture[0]).convert("RGB") if picture else Image.fromarray(noise)
content = [{"type": "image"}, {"type": "text", "text": "What is in this picture?"}]
text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
inputs = processor(text=text, images=[image], do_image_splitting=False, return_tensors="pt")
found = {f"inputs.picture.{name}": value for name, value in inputs.items()}


def keep(module, state, taken=lambda output: output[0] if isinstance(output, tuple) else output):
    module.register_forward_hook(lambda _, __, output: found.__setitem__(f"outputs.picture.{state}", taken(output)))


inner = model.model
vision, language = inner.vision_model, inner.text_model
keep(vision.embeddings, "vision.embeddings")
for number, layer in enumerate(vision.encoder.layers):
    keep(layer, f"vision.layer{number}")
keep(vision.post_layernorm, "vision.last_hidden_state")
keep(inner.connector, "connector")
inner.connector.modality_projection.register_forward_pre_hook(
    lambda _, given: found.__setitem__("outputs.picture.pixel_shuffle", given[0]))
language.register_forward_pre_hook(
    lambda _, __, given: found.__setitem__("outputs.picture.merged", given["inputs_embeds"]), with_kwargs=True)
for number, layer in enumerate(language.layers):
    keep(layer, f"text.layer{number}")
keep(language.norm, "text.normalized")
keep(model.lm_head, "logits")
model(**inputs)
whole = (torch.int64, torch.bool)
save_file({name: value.to(torch.int32 if value.dtype in whole else torch.float32).contiguous() for name, value in found.items()}, file)
print(f"{file}: {sum(name.startswith('outputs.') for name in found)} states of {folder}")
