#!/usr/bin/env python3
"""Makes fixtures/golden/people/onnx: tiny ONNX files with the outputs of YuNet, SCRFD and an embedder.

No file holds weights of anybody's. What they compute is simple enough to be worked out by hand, see
crates/pvchat-people/tests/onnx.rs. Needs the package onnx:

    scripts/golden_onnx.py fixtures/golden/people/onnx
"""
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
SIDE = 64
STRIDES = (8, 16, 32)


def save(name, nodes, constants, outputs, shape=(1, 3, SIDE, SIDE)):
    """Writes a network with the input `input`; `constants` become initializers, `outputs` are names with shapes."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(dims)) for output, dims in outputs],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / f"{name}.onnx")


def fixed(name, value, nodes, constants):
    """An output that is always the same."""
    constants[f"{name}_value"] = np.asarray(value, np.float32)
    nodes.append(helper.make_node("Identity", [f"{name}_value"], [name]))
    return name, np.shape(value)


def points():
    """Eyes, nose and corners of the mouth as seen from a cell."""
    return np.float32([-0.5, -0.25, 0.5, -0.25, 0, 0, -0.25, 0.5, 0.25, 0.5])


# obj_8 is the mean of the first channel in each cell, from 0 to 1, so that it shows the order of the channels and the place
# of the picture in the square. At stride 16 cell (3, 2) has the score 0.95, and at stride 32 cell (0, 1) has a box
# that overlaps nothing, but a low score, and cell (1, 1) one with infinite width.
nodes, constants, outputs = [], {}, []
for stride in STRIDES:
    across = SIDE // stride
    cells = across * across
    cls = np.zeros((1, cells, 1), np.float32)
    obj = np.zeros((1, cells, 1), np.float32)
    bbox = np.zeros((1, cells, 4), np.float32)
    kps = np.zeros((1, cells, 10), np.float32)
    if stride == 8:
        cls[:] = 2.0  # limited to 1
        bbox[:] = [0.5, 0.5, np.log(2), np.log(3)]
        kps[:] = points()
    if stride == 16:
        cell = 2 * across + 3
        cls[0, cell] = obj[0, cell] = 0.95
        bbox[0, cell] = [0.25, 0.75, 0, np.log(0.5)]
        kps[0, cell] = points()
    if stride == 32:
        obj[0, 2], cls[0, 2], kps[0, 2] = 0.8, 0.9, points()
        obj[0, 3], cls[0, 3], bbox[0, 3] = 1, 1, [0, 0, 1000, 0]
    outputs.append(fixed(f"cls_{stride}", cls, nodes, constants))
    if stride != 8:
        outputs.append(fixed(f"obj_{stride}", obj, nodes, constants))
    outputs.append(fixed(f"bbox_{stride}", bbox, nodes, constants))
    outputs.append(fixed(f"kps_{stride}", kps, nodes, constants))
constants.update(begin=np.int64([0]), end=np.int64([1]), axis=np.int64([1]), rows=np.int64([1, -1, 1]), levels=np.float32(255))
nodes += [
    helper.make_node("Slice", ["input", "begin", "end", "axis"], ["first"]),
    helper.make_node("AveragePool", ["first"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
    helper.make_node("Reshape", ["pooled", "rows"], ["cells"]),
    helper.make_node("Div", ["cells", "levels"], ["obj_8"]),
]
outputs.append(("obj_8", (1, 64, 1)))
save("yunet", nodes, constants, outputs)

# The second anchor of cell (5, 3) at stride 8, and a worse box almost in the same place from the first one; the first anchor
# of cell (1, 2) at stride 16; one below every usual score at stride 32. Outputs are named by numbers and have no batch axis, as
# in the published files.
nodes, constants, scores, boxes, marks = [], {}, [], [], []
for place, stride in enumerate(STRIDES):
    across = SIDE // stride
    anchors = 2 * across * across
    score = np.zeros((anchors, 1), np.float32)
    bbox = np.zeros((anchors, 4), np.float32)
    kps = np.zeros((anchors, 10), np.float32)
    if stride == 8:
        best = 2 * (3 * across + 5) + 1
        score[best], bbox[best], kps[best] = 0.9, [1, 2, 1.5, 1], points()
        score[best - 1], bbox[best - 1], kps[best - 1] = 0.7, [1, 2, 1.5, 1.125], points()
    if stride == 16:
        anchor = 2 * (2 * across + 1)
        score[anchor], bbox[anchor], kps[anchor] = 0.6, [0.5, 0.25, 0.75, 1], points()
    if stride == 32:
        score[0], bbox[0] = 0.3, [0, 0, 1, 1]
    scores.append(fixed(f"{448 + place}", score, nodes, constants))
    boxes.append(fixed(f"{451 + place}", bbox, nodes, constants))
    marks.append(fixed(f"{454 + place}", kps, nodes, constants))
save("scrfd", nodes, constants, scores + boxes + marks)

# Means of squares of 16 pixels: red or blue first, row by row. The same with the channels last.
pool = dict(kernel_shape=[16, 16], strides=[16, 16])
nodes = [
    helper.make_node("AveragePool", ["input"], ["pooled"], **pool),
    helper.make_node("Flatten", ["pooled"], ["embedding"]),
]
save("means", nodes, {}, [("embedding", (1, 48))])
nodes = [
    helper.make_node("Transpose", ["input"], ["planes"], perm=[0, 3, 1, 2]),
    helper.make_node("AveragePool", ["planes"], ["pooled"], **pool),
    helper.make_node("Flatten", ["pooled"], ["embedding"]),
]
save("means_last", nodes, {}, [("embedding", (1, 48))], (1, SIDE, SIDE, 3))

# A value inside of 48 x 2^24 numbers, whose maxima would be an embedding.
constants = dict(rows=np.int64([1, 48, 1]), margins=np.int64([0, 0, 0, 0, 0, 2**24 - 1]))
nodes = [
    helper.make_node("AveragePool", ["input"], ["pooled"], **pool),
    helper.make_node("Reshape", ["pooled", "rows"], ["row"]),
    helper.make_node("Pad", ["row", "margins"], ["wide"]),
    helper.make_node("ReduceMax", ["wide"], ["embedding"], axes=[2], keepdims=0),
]
save("huge", nodes, constants, [("embedding", (1, 48))])
