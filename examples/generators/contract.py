"""What the adapters of this folder share: reading a request and writing the reply (docs/generators.md)."""

import json
import os
import sys


def read_request():
    """The request, whose path is the last argument of the command."""
    with open(sys.argv[-1], encoding="utf-8") as file:
        request = json.load(file)
    if request["schema"] != 1:
        sys.exit(f"this adapter follows version 1 of the contract, the request is of version {request['schema']}")
    return request


def require(request, kind, side=None, fps=None, seconds=None):
    """Ends with the reason where the program cannot make what is asked for; None stands for no limit."""
    if request["kind"] != kind:
        sys.exit(f"this adapter makes {kind}; correct `kind` in its description, which says {request['kind']}")
    if side is not None and max(request["size"]) > side:
        sys.exit(f"clips of {request['size']} pixels are asked for, it makes {side} at most; use --size {side} or less")
    if fps is not None and request["fps"] > fps:
        sys.exit(f"{request['fps']} frames per second are asked for, it makes {fps}; use --rate {fps} or less")
    if seconds is not None and request["seconds"] > seconds:
        sys.exit(f"{request['seconds']} s are asked for, it makes {seconds}; use fewer --frames")


def write_reply(request, program, version, model, licence, paths):
    """Writes the reply under another name and renames it: whoever finds it finds all of it."""
    files = [
        {"path": path, "prompt": wanted["prompt"], "seed": wanted["seed"]}
        for path, wanted in zip(paths, request["wanted"])
    ]
    reply = {
        "schema": 1,
        "id": request["id"],
        "program": program,
        "version": version,
        "model": model,
        "licence": licence,
        "files": files,
    }
    part = request["reply"] + ".part"
    with open(part, "w", encoding="utf-8") as file:
        json.dump(reply, file)
    os.replace(part, request["reply"])
