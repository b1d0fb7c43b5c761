"""The computation of benches/moh_module.rs in PyTorch, as the reference does it: every head in full, times its gate.

    moh_torch.py RUNS       OMP_NUM_THREADS sets the threads; a line of JSON per case, like the Rust program
"""

import json
import statistics
import sys
import time

import torch
from torch.nn import functional

BATCH, QUERIES, KEYS, KEY_WIDTH, HIDDEN, HEADS, SHARED = 3, 112, 2049, 1408, 768, 12, 8
WIDTH = HIDDEN // HEADS


class Attention(torch.nn.Module):
    def __init__(self, idle):
        super().__init__()
        self.query = torch.nn.Linear(HIDDEN, HIDDEN)
        self.key = torch.nn.Linear(KEY_WIDTH, HIDDEN)
        self.value = torch.nn.Linear(KEY_WIDTH, HIDDEN)
        self.router = torch.nn.Linear(HIDDEN, HEADS - SHARED)
        self.alpha = torch.nn.Linear(HIDDEN, 2, bias=False)
        with torch.no_grad():
            self.router.bias.zero_()
            self.router.bias[:idle] = -1e3

    def heads(self, states):
        batch, rows, _ = states.shape
        return states.view(batch, rows, HEADS, WIDTH).transpose(1, 2)

    def gates(self, x):
        return self.router(x).clamp(-1, 10).relu()

    def scales(self, x):
        alpha = self.alpha(x).clamp(-1, 1).softmax(-1)
        shared = alpha[..., :1].expand(*x.shape[:2], SHARED)
        return torch.cat([shared, self.gates(x) * alpha[..., 1:]], -1).transpose(1, 2).unsqueeze(-1)

    def forward(self, x, keys, fused):
        projected = self.heads(self.query(x)), self.heads(self.key(keys)), self.heads(self.value(keys))
        context = attend(*projected, self.scales(x), fused)
        return context.transpose(1, 2).reshape(*x.shape)


def attend(query, key, value, scales, fused):
    if fused:
        context = functional.scaled_dot_product_attention(query, key, value)
    else:
        context = torch.softmax(query @ key.transpose(-1, -2) / WIDTH**0.5, -1) @ value
    return context * scales


def median(runs, run):
    times = []
    for index in range(runs + 3):
        start = time.perf_counter()
        run()
        if index >= 3:
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def main():
    runs = int(sys.argv[1])
    torch.manual_seed(0)
    x, keys = torch.randn(BATCH, QUERIES, HIDDEN), torch.randn(BATCH, KEYS, KEY_WIDTH)
    for name in ("forward", "forward+backward"):
        backward = name != "forward"
        x = x.detach().requires_grad_(backward)
        for fused in (False, True):
            for idle in (0, 1):
                module = Attention(idle)
                parts = [module.heads(layer(states)).detach().requires_grad_(backward)
                         for layer, states in ((module.query, x), (module.key, keys), (module.value, keys))]
                scales = module.scales(x).detach()

                def finish(context):
                    if backward:
                        context.square().mean().backward()
                        for tensor in [x, *parts, *module.parameters()]:
                            tensor.grad = None

                def whole():
                    with torch.set_grad_enabled(backward):
                        finish(module(x, keys, fused))

                def core():
                    with torch.set_grad_enabled(backward):
                        finish(attend(*parts, scales, fused))

                activation = (module.gates(x) > 0).float().mean().item()
                for what, run in (("module", whole), ("core", core)) if idle == 0 else (("module", whole),):
                    program = f"PyTorch {torch.__version__.split('+')[0]}, {'fused' if fused else 'eager'}"
                    line = dict(program=program, what=what, **{"pass": name}, idle=idle, activation=round(activation, 3))
                    print(json.dumps(dict(line, ms=round(median(runs, run), 3))), flush=True)


main()
