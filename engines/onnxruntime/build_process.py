"""The process started by limited.py: optimizes and runs graphs that may come from anybody.

Its input is `packed` arrays: `request` (JSON with the arguments of `run_limited`), `model`, `input0`,
`input1` ... and, if it is to be optimized, `graph`. It writes one line of JSON, which is empty or has an
error, and `packed` arrays: `expected0`, `expected1` ... are the outputs of the model, `found0`, `found1` ...
those of the optimized graph, whose payload is `payload`, `weights` and `tensors` (JSON).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.engines.onnxruntime.layout import BLOCKING_OPTIMIZER, needs_blocks
from vim_deploy.engines.onnxruntime.limited import packed, unpacked
from vim_deploy.engines.onnxruntime.session import make_session, run_session
from vim_deploy.engines.stored_tensors import split_weights
from vim_deploy.errors import VimDeployError


def main() -> None:
    """Answer the request on standard input."""
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # for libraries that print
    answer: dict[str, Any] = {}
    data = b""
    try:
        data = packed(_run_all(unpacked(sys.stdin.buffer.read())))
    except (VimDeployError, MemoryError) as error:
        answer = {"error": [type(error).__name__, str(error)]}
    reply.write(json.dumps(answer).encode() + b"\n" + data)
    reply.close()


def _run_all(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    request = json.loads(given["request"].tobytes())
    library = request["library"]
    session = partial(
        make_session,
        name=request["name"],
        library=None if library is None else Path(library),
        threads=request["threads"],
        quiet=True,
        disabled=request["disabled"],
    )
    feeds = {input: given[f"input{number}"] for number, input in enumerate(request["inputs"])}
    run = partial(_run, pixels=feeds, outputs=request["outputs"], settings=request["settings"])
    arrays = run("expected", session(given["model"].tobytes(), optimization=request["model_optimization"]))
    if "graph" in given:
        optimized = _optimized(
            given["graph"].tobytes(), request["optimization"], session, request["disabled"]
        )
        del given["graph"]
        payload = split_weights(optimized)
        arrays |= run("found", session(payload, optimization="none"))
        for name, content in (("payload", payload.data), ("weights", payload.weights)):
            arrays[name] = np.frombuffer(content, np.uint8)
        tensors = {name: tensor.to_dict() for name, tensor in payload.tensors.items()}
        arrays["tensors"] = np.frombuffer(json.dumps(tensors).encode(), np.uint8)
    return arrays


def _run(
    prefix: str,
    session: Any,
    pixels: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    settings: dict[str, float],
) -> dict[str, np.ndarray]:
    found = run_session(session, outputs, pixels, settings)
    return {f"{prefix}{number}": found[output] for number, output in enumerate(outputs)}


def _optimized(graph: bytes, level: str, session: Callable[..., Any], disabled: Sequence[str]) -> bytes:
    if level == "none":
        return graph
    blocking = [] if needs_blocks(graph) else [BLOCKING_OPTIMIZER]
    optimize = partial(session, graph, optimization=level, disabled=[*disabled, *blocking])
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryDirectory(prefix="vim-build-") as folder:
            path = Path(folder) / "model.onnx"
            optimize(save_to=path)
            return path.read_bytes()
    # A file without a name cannot be left behind, not even when this process is killed.
    with os.fdopen(os.memfd_create("optimized"), "rb") as file:
        optimize(save_to=Path(f"/proc/self/fd/{file.fileno()}"))
        return file.read()
