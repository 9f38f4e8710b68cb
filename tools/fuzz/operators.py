"""Calls the operators with malformed shapes, attributes and inputs, in a library built with sanitizers.

Every call must give outputs or an error message. A report of AddressSanitizer or UndefinedBehaviorSanitizer
ends the process of an instruction set, which is a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from vim_deploy.engines.source import SourceModel

ROOT = Path(__file__).resolve().parents[2]
_CHILD = Path(__file__).with_name("operator_calls.py")
_TAIL = 4000


def build_library(folder: Path) -> Path:
    """Build the operator library with sanitizers and return its path."""
    options = ["-DVIM_DEPLOY_SANITIZE=ON", "-DVIM_DEPLOY_CUDA=OFF", "-DVIM_DEPLOY_TRT=OFF"]
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(folder), *options],
        ["cmake", "--build", str(folder)],
    ):
        subprocess.run(command, check=True, stdout=sys.stderr)
    return folder / "lib" / "libvim_deploy_ort.so"


def run(models: list[Path], count: int, seed: int, folder: Path, keep: Path) -> dict[str, Any]:
    """Counts per instruction set; `failures`: the processes that ended early, with what they printed.

    The nodes are those of the engines of `models`. `VIM_DEPLOY_ORT_LIBRARY` may name a library that was built
    with sanitizers.
    """
    from vim_deploy.ops.library import usable_instruction_sets

    given = os.environ.pop("VIM_DEPLOY_ORT_LIBRARY", None)  # it does not load into this process
    usable = usable_instruction_sets()
    library = Path(given) if given else build_library(folder / "build")
    nodes = _recorded_nodes(models, folder)
    started = time.monotonic()
    results: Counter[str] = Counter()
    failures = []
    for instruction_set in usable:
        command = [sys.executable, str(_CHILD), str(nodes), str(-(-count // len(usable))), str(seed)]
        environment = {
            **os.environ,
            "VIM_DEPLOY_ORT_LIBRARY": str(library),
            "VIM_DEPLOY_ISA": instruction_set,
            "LD_PRELOAD": " ".join(_runtimes()),
            # Python does not free all of its memory; a large size is an error, not the end.
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=4096",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "PYTHONMALLOC": "malloc",
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        counts = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
        results.update({f"{instruction_set}: {result}": number for result, number in counts.items()})
        if done.returncode:
            failures.append(f"{instruction_set}: exit code {done.returncode}: {done.stderr[-_TAIL:]}")
        print(f"{instruction_set}: {counts}, exit code {done.returncode}", file=sys.stderr, flush=True)
    return {
        "calls": sum(results.values()),
        "seed": seed,
        "results": dict(sorted(results.items())),
        "failures": failures,
        "seconds": round(time.monotonic() - started, 1),
    }


def _runtimes() -> list[str]:
    """The sanitizers' libraries, which must be loaded before Python."""
    names = ("libasan.so", "libubsan.so")
    commands = [["c++", f"-print-file-name={name}"] for name in names]
    return [subprocess.check_output(command, text=True).strip() for command in commands]


def _recorded_nodes(models: list[Path], folder: Path) -> Path:
    """A folder with one graph per node of our operators, whose initializers are the inputs of a real run."""
    import onnx

    from vim_deploy.engines.fusion.rewrite import fuse
    from vim_deploy.engines.onnxruntime.fusion.int8 import INT8
    from vim_deploy.engines.onnxruntime.fusion.matmul import BFLOAT16, FLOAT32, fuse_matmuls
    from vim_deploy.engines.source import read_source

    formats = {"matmul": FLOAT32, "bfloat16": BFLOAT16, "int8": INT8}
    nodes = folder / "nodes"
    nodes.mkdir()
    for number, model in enumerate(models):
        source = read_source(model)
        for title in ("exported", "fused", *formats):
            graph = onnx.load_model_from_string(source.data)
            if title != "exported":
                fuse(graph)
            if title in formats:
                fuse_matmuls(graph, formats[title])
            for place, recorded in enumerate(_with_inputs(graph, source)):
                (nodes / f"{number}-{title}-{place}").write_bytes(recorded.SerializeToString())
    return nodes


def _with_inputs(model: onnx.ModelProto, source: SourceModel) -> Iterator[onnx.GraphProto]:
    import onnx

    from vim_deploy.engines.onnxruntime.session import make_session, run_session
    from vim_deploy.engines.selfcheck import random_pixels
    from vim_deploy.ops.library import ort_library
    from vim_deploy.ops.signature import OP_DOMAIN

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    ours = [node for node in model.graph.node if node.domain.startswith(OP_DOMAIN)]
    computed = {name for node in ours for name in node.input if name} - tensors.keys()
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(computed - known))
    session = make_session(model.SerializeToString(), library=ort_library(), optimization="none", threads=1)
    pixels = random_pixels(source.input, source.metadata.preprocessing)
    for name, value in run_session(session, sorted(computed), pixels).items():
        tensors[name] = onnx.numpy_helper.from_array(value, name)
    for node in ours:
        names = sorted({name for name in node.input if name})
        yield onnx.GraphProto(name="node", node=[node], initializer=[tensors[name] for name in names])
