"""Optimizes and runs untrusted graphs in a child process with limits of memory and time.

`build_process.py` is the other side.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vim_deploy import child, errors, machine
from vim_deploy.engines.limits import MEMORY_VARIABLE, SECONDS_VARIABLE, Limits, limits_for
from vim_deploy.engines.onnxruntime.session import unsuitable_optimizers
from vim_deploy.engines.payload import Payload, StoredTensor
from vim_deploy.engines.selfcheck import Arrays
from vim_deploy.engines.source import SourceModel
from vim_deploy.errors import EngineError, VimDeployError
from vim_deploy.tasks.registry import TASKS

# In messages of ONNX Runtime, OpenBLAS, Python, the C++ library and the dynamic linker.
_NO_MEMORY = re.compile(
    "bad_alloc|bad allocation|[Ff]ailed to allocate|annot allocate memory|Memory allocation|MemoryError|"
    "failed to map segment"
)
_SHOWN = 1000  # characters of a process's last output


@dataclass(frozen=True)
class GraphRuns:
    """Outputs by name. `payload` and `found` are those of the optimized graph, if one was given."""

    expected: dict[str, np.ndarray]
    payload: Payload | None = None
    found: dict[str, np.ndarray] | None = None


def run_limited(
    source: SourceModel,
    model: bytes,
    pixels: Arrays,
    *,
    library: Path | None,
    threads: int | None = None,
    model_optimization: str = "none",
    graph: bytes | None = None,
    optimization: str = "none",
) -> GraphRuns:
    """Run `model` on the CPU; also optimize and run `graph`, if it is given.

    `source` is where both come from. Raises EngineError, also if the process needs too much memory or time,
    OperatorLibraryError and MissingDependencyError.
    """
    name = source.record.name
    given = dict(pixels) if isinstance(pixels, Mapping) else {source.input.name: pixels}
    elements = sum(value.size for value in given.values())
    limits = limits_for(len(model) + len(graph or b""), elements, threads or machine.usable_cpus())
    # Numbered, because the names of inputs may be unusable as names in an archive.
    outputs = [spec.name for spec in source.outputs]
    request = {
        "name": name,
        "library": None if library is None else str(library),
        "threads": threads,
        "model_optimization": model_optimization,
        "optimization": optimization,
        "disabled": list(unsuitable_optimizers(source.metadata.precision)),
        "inputs": list(given),
        "outputs": outputs,
        "settings": dict(TASKS.get(source.metadata.task).settings),
    }
    # Not in arguments of the process, whose length is limited.
    blobs = {"request": np.frombuffer(json.dumps(request).encode(), np.uint8)}
    blobs["model"] = np.frombuffer(model, np.uint8)
    blobs |= {f"input{number}": value for number, value in enumerate(given.values())}
    if graph is not None:
        blobs["graph"] = np.frombuffer(graph, np.uint8)
    try:
        result = child.call_limited(
            "vim_deploy.engines.onnxruntime.build_process:main",
            packed(blobs),
            memory=limits.memory,
            seconds=limits.seconds,
        )
    except TimeoutError:
        raise EngineError(
            f"{name}: running the graph once took longer than {limits.seconds:g} s. If you trust the "
            f"file, set {SECONDS_VARIABLE} to a higher limit."
        ) from None
    except OSError as error:
        raise EngineError(
            f"the process that runs {name} cannot be started: {error.strerror or error}. Raise the limits on "
            "open files, processes and memory (ulimit -n, -u, -v)."
        ) from None
    return _runs(name, result, limits, outputs)


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays by name as bytes."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def unpacked(data: bytes) -> dict[str, np.ndarray]:
    """Reads `packed`. Raises ValueError or OSError for other data; nothing in it is executed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def _runs(name: str, result: child.Result, limits: Limits, outputs: Sequence[str]) -> GraphRuns:
    head, _, data = result.output.partition(b"\n")
    if result.code or not head:
        printed = result.errors.strip()[-_SHOWN:] or "it printed nothing"
        raise _error(
            "EngineError",
            f"the process that runs {name} {child.describe_exit(result.code)}: {printed}",
            name,
            limits,
        )
    if "error" in (answer := json.loads(head)):
        kind, message = answer["error"]
        raise _error(kind, message, name, limits)
    arrays = unpacked(data)

    def run(prefix: str) -> dict[str, np.ndarray]:
        return {output: arrays[f"{prefix}{number}"] for number, output in enumerate(outputs)}

    if "payload" not in arrays:
        return GraphRuns(run("expected"))
    tensors = {
        tensor: StoredTensor.from_dict(values)
        for tensor, values in json.loads(arrays["tensors"].tobytes()).items()
    }
    payload = Payload(arrays["payload"].tobytes(), arrays["weights"].tobytes(), tensors)
    return GraphRuns(run("expected"), payload, run("found"))


def _error(kind: str, message: str, name: str, limits: Limits) -> VimDeployError:
    if kind == "MemoryError" or _NO_MEMORY.search(message):
        return EngineError(
            f"{name}: running the graph once needs more than {limits.memory / 1e9:.1f} GB of memory. If you "
            f"trust the file, set {MEMORY_VARIABLE} to a higher limit."
        )
    error: VimDeployError = getattr(errors, kind)(message)
    return error
