"""The reference's training loop in PyTorch at miniature scale: every question decodes and encodes its clip again.

The same model (weights of the miniature, read from its safetensors file), the same clips, questions and steps as
`examples/epoch.rs`. Before any step the losses of all clips must be those that the Rust program wrote down.

    python scripts/epoch_torch.py FOLDER --weights crates/pvchat-miniature/weights --epochs 2 --batch 1

Needs torch, numpy, av and safetensors.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

STEP = 8  # clips per optimiser step, with all their questions
SCALE = 4.0  # of the identity embedding where it enters a sum
BUMPS = 9


def frames_of(path, side, count):
    """Decodes a clip to [count, 3, side, side] in 0..1; frames are shrunk by averaging."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    # The middles of equal parts; of the nine frames of these clips the first eight.
    pictures = torch.from_numpy(np.stack(pictures[:count])).permute(0, 3, 1, 2).float() / 255.0
    return F.avg_pool2d(pictures, pictures.shape[-1] // side)


class Miniature(torch.nn.Module):
    """Encoder, Q-Former with ReMoH attention, language model with LoRA, as in pvchat-model."""

    def __init__(self, weights, task):
        super().__init__()
        self.config = json.loads((weights / "config.json").read_text())
        self.w = {name: value.float() for name, value in load_file(str(weights / "model.safetensors")).items()}
        width = self.config["answer"]["qformer"]["hidden"]
        parameter = lambda name, shape: torch.nn.Parameter(torch.tensor(task[name]).reshape(shape))
        self.tokens = parameter("tokens", (-1, width))
        self.word_row = parameter("word_row", (-1,))
        self.head_row = parameter("head_row", (-1,))
        self.identity = torch.tensor(task["identity"])
        # Routers and adapters are trained; everything else is constant.
        self.trained = torch.nn.ParameterDict()
        for name in [name for name in self.w if "router_alpha" in name]:
            self.trained[name.replace(".", "/")] = torch.nn.Parameter(self.w.pop(name))
        self.scale = task["alpha"] / task["rank"]
        for name in [name for name in self.w if name.endswith(".base.weight")]:
            outputs, inputs = self.w[name].shape
            key = name.replace(".base.weight", "").replace(".", "/")
            bound = inputs**-0.5
            self.trained[key + "/a"] = torch.nn.Parameter(torch.empty(task["rank"], inputs).uniform_(-bound, bound))
            self.trained[key + "/b"] = torch.nn.Parameter(torch.zeros(outputs, task["rank"]))

    def get(self, name):
        return self.w[name] if name in self.w else self.trained[name.replace(".", "/")]

    def linear(self, x, name):
        return F.linear(x, self.get(name + ".weight"), self.w.get(name + ".bias") if name + ".bias" in self.w else self.bias(name))

    def bias(self, name):
        key = (name + ".bias").replace(".", "/")
        return self.trained[key] if key in self.trained else None

    # --- the encoder ---

    def norm(self, x, name):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.w[name + ".weight"]

    def channel_norm(self, x, name):
        scale = torch.rsqrt(x.flatten(1).square().mean(1) + 1e-6)[:, None, None, None]
        return x * scale * self.w[name + ".weight"][None, :, None, None] + self.w[name + ".bias"][None, :, None, None]

    def block(self, x, name, heads):
        batch, tokens, width = x.shape
        projected = self.linear(self.norm(x, name + ".attention_norm"), name + ".query_key_value")
        q, k, v = projected.reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.linear(context, name + ".output")
        return x + self.linear(F.relu(self.linear(self.norm(x, name + ".mlp_norm"), name + ".up")), name + ".down")

    @torch.no_grad()
    def remember(self, pixels):
        """[clips, frames, 3, side, side] to memory [clips, 37, width] and identities [clips, 2, 64]."""
        vision = self.config["vision"]["miniature"]
        clips, frames, channels, side, _ = pixels.shape
        tubelets = frames // vision["tubelet"]
        x = (pixels.reshape(clips * tubelets, vision["tubelet"] * channels, side, side) - 0.5) * 4.0
        stem = "vision_encoder.stem."
        for index in range(3):
            x = F.conv2d(x, self.w[f"{stem}convolutions.{index}.weight"], stride=2, padding=1)
            x = self.channel_norm(x, f"{stem}norms.{index}")
            if index < 2:
                x = F.relu(x)
        inner = self.channel_norm(F.conv2d(F.relu(x), self.w[stem + "residual.0.weight"], padding=1), stem + "residual_norms.0")
        x = x + F.conv2d(F.relu(inner), self.w[stem + "residual.1.weight"], padding=1)
        x = x.flatten(2).transpose(1, 2) + self.w["vision_encoder.positions"]
        tokens, width = x.shape[1:]
        x = x.reshape(clips, tubelets, tokens, width) + self.w["vision_encoder.tubelets"][None, :, None]
        x = x.reshape(clips * tubelets, tokens, width)
        for index in range(vision["blocks_inside"] + vision["blocks_across"]):
            if index == vision["blocks_inside"]:
                x = x.reshape(clips, tubelets * tokens, width)
            x = self.block(x, f"vision_encoder.blocks.{index}", vision["heads"])
        x = self.norm(x, "vision_encoder.norm")
        readouts = self.readouts(x, vision["heads"])
        embedding = self.linear(readouts[:, :2], "vision_encoder.identity")
        identity = embedding * torch.rsqrt(embedding.square().sum(-1, keepdim=True) + 1e-6)
        grid = int(tokens**0.5)
        pooled = x.reshape(clips * tubelets, grid, grid, width).permute(0, 3, 1, 2)
        pooled = F.avg_pool2d(pooled, 2).permute(0, 2, 3, 1).reshape(clips, -1, width)
        return torch.cat([pooled, readouts], 1), identity

    def readouts(self, x, heads):
        name = "vision_encoder.readout."
        clips, tokens, width = x.shape
        k, v = self.linear(x, name + "key_value").reshape(clips, tokens, 2, heads, width // heads).permute(2, 0, 3, 1, 4)
        q = self.w[name + "queries"].reshape(-1, heads, width // heads).transpose(0, 1).expand(clips, -1, -1, -1)
        context = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(clips, -1, width)
        x = self.linear(context, name + "output")
        inner = F.relu(self.linear(self.norm(x, name + "mlp_norm"), name + "up"))
        return self.norm(x + self.linear(inner, name + "down"), name + "norm")

    # --- the Q-Former ---

    def layer_norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], 1e-6)

    def attention(self, x, keys, name, gates):
        config = self.config["answer"]["qformer"]
        heads, shared = config["heads"], config["routing"]["relu"]["shared"]
        batch, tokens, width = x.shape
        split = lambda x: x.reshape(batch, -1, heads, width // heads).transpose(1, 2)
        q, k, v = (split(self.linear(y, f"{name}.{part}")) for y, part in ((x, "query"), (keys, "key"), (keys, "value")))
        logits = self.linear(x, name + ".router_alpha.router")
        gate = F.relu(logits.clamp(-1.0, 10.0))
        alpha = F.softmax(self.linear(x, name + ".router_alpha.alpha_proj").clamp(-1.0, 1.0), -1)
        gates.append((logits, gate))
        scales = torch.cat([(2.0 * alpha[..., :1]).expand(-1, -1, shared), 2.0 * gate * alpha[..., 1:]], -1)
        context = F.scaled_dot_product_attention(q, k, v) * scales.transpose(1, 2)[..., None]
        return context.transpose(1, 2).reshape(batch, tokens, width)

    def visual(self, memory, identity):
        """Visual tokens [clips, queries, hidden] and what the routers decided."""
        clips = memory.shape[0]
        personal = "answer.personal."
        similarity = identity @ self.identity
        distance = (similarity[..., None] - (0.2 + 0.1 * torch.arange(BUMPS))) * 10.0
        bumps = torch.exp(-0.5 * distance.square()).reshape(clips, -1)
        matched = self.linear(F.relu(self.linear(bumps, personal + "match_in")), personal + "match_out")
        own = self.tokens + (matched + self.w[personal + "slot_tokens"][0])[:, None]
        x = torch.cat([self.w["answer.query_tokens"].expand(clips, -1, -1), own], 1)
        memory = memory + self.w["answer.memory_positions"]
        first = memory.shape[1] - 5
        seen = memory[:, first : first + 2] + self.linear(identity * SCALE, personal + "identity_projection")
        memory = torch.cat([memory[:, :first], seen, memory[:, first + 2 :]], 1)
        gates = []
        for index in range(self.config["answer"]["qformer"]["layers"]):
            name = f"answer.qformer.encoder.layer.{index}."
            normed = self.layer_norm(x, name + "attention.output.norm")
            x = x + self.linear(self.attention(normed, normed, name + "attention.heads", gates), name + "attention.output.dense")
            normed = self.layer_norm(x, name + "crossattention.output.norm")
            attended = self.attention(normed, memory, name + "crossattention.heads", gates)
            x = x + self.linear(attended, name + "crossattention.output.dense")
            inner = F.relu(self.linear(self.layer_norm(x, name + "output_query.norm"), name + "intermediate_query.dense"))
            x = x + self.linear(inner, name + "output_query.dense")
        x = self.layer_norm(x, "answer.qformer.encoder.final_norm")
        return self.linear(x, "answer.project_up"), gates

    # --- the language model ---

    def lora(self, x, name):
        key = name.replace(".", "/")
        side = F.linear(F.linear(x, self.trained[key + "/a"]) * self.scale, self.trained[key + "/b"])
        return F.linear(x, self.w[name + ".base.weight"]) + side

    def rms(self, x, name):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.w[name + ".weight"]

    def losses(self, visual, begin, texts):
        """Cross entropy of every answer token; row i of `visual` is asked text i. Padding stands at the end."""
        config = self.config["answer"]["language"]
        vocabulary = config["vocabulary"]
        longest = max(len(text["ids"]) for text in texts)
        ids = torch.tensor([text["ids"] + [0] * (longest - len(text["ids"])) for text in texts])
        row = self.w["answer.personal.slot_words"][0] + self.word_row
        table = torch.cat([self.w["answer.lm.embed_tokens.weight"], row[None]], 0)
        first = F.embedding(torch.tensor(begin), table).expand(len(texts), -1, -1)
        x = torch.cat([first, visual, F.embedding(ids, table)], 1)
        batch, tokens, _ = x.shape
        heads, kv_heads, width = config["heads"], config["kv_heads"], config["head_dim"]
        frequencies = config["rope_theta"] ** (-torch.arange(0, width, 2) / width)
        angles = torch.arange(tokens)[:, None] * torch.cat([frequencies, frequencies])
        cos, sin = angles.cos(), angles.sin()
        turn = lambda x: x * cos + torch.cat([-x[..., width // 2 :], x[..., : width // 2]], -1) * sin
        for index in range(config["layers"]):
            name = f"answer.lm.layers.{index}."
            normed = self.rms(x, name + "input_layernorm")
            split = lambda part, heads: self.lora(normed, name + part).reshape(batch, tokens, heads, width).transpose(1, 2)
            q, k = turn(split("self_attn.q_proj", heads)), turn(split("self_attn.k_proj", kv_heads))
            v = split("self_attn.v_proj", kv_heads)
            k, v = (y.repeat_interleave(heads // kv_heads, 1) for y in (k, v))
            context = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, tokens, -1)
            x = x + self.lora(context, name + "self_attn.o_proj")
            normed = self.rms(x, name + "post_attention_layernorm")
            inner = F.silu(self.lora(normed, name + "mlp.gate_proj")) * self.lora(normed, name + "mlp.up_proj")
            x = x + self.lora(inner, name + "mlp.down_proj")
        x = self.rms(x, "answer.lm.norm")
        head = self.w["answer.personal.slot_heads"][0] + self.head_row
        logits = torch.cat([self.lora(x, "answer.lm.lm_head"), (x @ head)[..., None]], -1)
        prefix = tokens - longest
        labels = torch.full((batch, tokens), -100)
        for place, text in enumerate(texts):
            labels[place, prefix + text["answer_start"] : prefix + len(text["ids"])] = ids[place, text["answer_start"] : len(text["ids"])]
        return F.cross_entropy(logits[:, :-1].reshape(-1, vocabulary + 1), labels[:, 1:].reshape(-1), ignore_index=-100, reduction="none"), labels[:, 1:].reshape(-1) != -100


def auxiliary(gates, weight=1e-4, target=0.5):
    """SPR and HAE in the default mode: mean gate, and a hard rate with the slope of its surrogate."""
    total = 0.0
    for logits, gate in gates:
        rate = (gate > 0).float().mean()
        total = total + weight * gate.mean()
        if rate < target:
            soft = (torch.sigmoid(10.0 * logits) + 0.25 * logits.clamp(max=0.0)).mean()
            total = total + 0.5 * (torch.exp(2.0 * (target - (soft - soft.detach() + rate))) - 1.0)
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1, help="questions in one forward pass")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    task = json.loads((arguments.folder / "task.json").read_text())
    model = Miniature(arguments.weights, task)
    vision = model.config["vision"]["miniature"]
    see = lambda clip: frames_of(arguments.folder / clip["file"], vision["frame_side"], vision["frames"])

    with torch.no_grad():
        for clip in task["clips"]:
            visual, _ = model.visual(*model.remember(see(clip)[None]))
            losses, counted = model.losses(visual.expand(len(clip["texts"]), -1, -1), task["begin"], clip["texts"])
            loss = losses[counted].mean().item()
            if abs(loss - clip["loss"]) > 0.02 * max(1.0, clip["loss"]):
                raise SystemExit(f"{clip['file']}: loss {loss}, the Rust program says {clip['loss']}: not the same model")

    start = [parameter.detach().clone() for parameter in (model.tokens, model.word_row, model.head_row)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, eps=1e-8, weight_decay=0.0)
    seconds, last = [], 0.0
    for _ in range(arguments.epochs):
        begun = time.perf_counter()
        for place in range(0, len(task["clips"]), STEP):
            questions = [(clip, text) for clip in task["clips"][place : place + STEP] for text in clip["texts"]]
            last = 0.0
            for index in range(0, len(questions), arguments.batch):
                part = questions[index : index + arguments.batch]
                # The reference's data set decodes the video of every item, and its model encodes it.
                memory, identity = model.remember(torch.stack([see(clip) for clip, _ in part]))
                visual, gates = model.visual(memory, identity)
                losses, counted = model.losses(visual, task["begin"], [text for _, text in part])
                loss = losses[counted].mean()
                now = (model.tokens, model.word_row, model.head_row)
                anchor = sum((a - b).square().sum() for a, b in zip(now, start))
                ((loss + auxiliary(gates) + 0.01 * anchor) * len(part) / len(questions)).backward()
                last += loss.item() * len(part) / len(questions)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        seconds.append(time.perf_counter() - begun)
    report = {
        "schedule": f"torch, {arguments.batch} at a time",
        "clips": len(task["clips"]),
        "questions": len(task["clips"][0]["texts"]),
        "threads": arguments.threads,
        "epoch_seconds": seconds,
        "last_loss": last,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
