"""Vim-Ti and DeiT-Ti in the same TensorRT, float16: latency and activation memory by size and batch.

    python tools/gpu_check/networks.py FOLDER [--sizes 224,...] [--batches 1,8,64] [--builder-level N]

FOLDER contains the files of prepare.py. Both networks are built and run by the same code with the same
options: a CUDA graph for each shape, timed without copies to and from the GPU. Memory is what TensorRT
reserves for activations at the profile's largest batch; therefore an engine is built for each batch. Needs
TensorRT, pycuda and a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from vim_deploy.precision import Precision  # noqa: E402

PRECISION = Precision.FP16


def activation_bytes(engine: Any) -> int:
    """The memory for activations; the attribute's name depends on TensorRT's version."""
    for name in ("device_memory_size_v2", "device_memory_size"):
        if hasattr(engine, name):
            return int(getattr(engine, name))
    raise AttributeError("the engine has none of the attributes with the size of its activation memory")


def built(path: Path, batch: int, level: int | None, timings: Path) -> tuple[Any, Any, float]:
    """The engine of a file for one batch size, its runner, and the build time in seconds."""
    from vim_deploy.engines.tensorrt.api import load_plugin, major, make_logger, tensorrt
    from vim_deploy.engines.tensorrt.builder import PlanRequest, build_plan
    from vim_deploy.engines.tensorrt.driver import gpu
    from vim_deploy.engines.tensorrt.graph import prepare
    from vim_deploy.engines.tensorrt.open import deserialize
    from vim_deploy.engines.tensorrt.options import TensorrtOptions
    from vim_deploy.engines.tensorrt.runner import TensorrtRunner
    from vim_deploy.engines.tensors import TensorSpec

    gpu()
    trt = tensorrt()
    graph = prepare(path.name, path.read_bytes(), PRECISION, major(trt), fuse=True)
    if graph.scans:
        load_plugin(trt)
    logger = make_logger(trt)
    size = int(path.stem.rpartition("_")[2])
    shape = (batch, 3, size, size)
    options = TensorrtOptions(level=level, timing_cache=timings)
    started = time.perf_counter()
    plan, _ = build_plan(
        trt, logger, PlanRequest(path.name, graph, PRECISION, "pixels", (shape,) * 3, options)
    )
    seconds = time.perf_counter() - started
    engine = deserialize(trt, logger, plan)
    pixels = TensorSpec("pixels", "float32", (None, *shape[1:]))
    logits = (TensorSpec("logits", "float32", (None, 1000)),)
    return engine, TensorrtRunner(engine, pixels, logits, shape, shape, contexts=1), seconds


def measure(path: Path, network: str, batch: int, level: int | None, repeats: int) -> dict[str, Any]:
    size = int(path.stem.rpartition("_")[2])
    cell = {"step": "networks", "network": network, "size": size, "batch": batch}
    engine, backend, seconds = built(path, batch, level, path.with_name("timings"))
    try:
        times = backend.computing_seconds((batch, 3, size, size), repeats)
    finally:
        backend.close()
    memory = round(activation_bytes(engine) / 2**20, 1)
    figures = {"ms": round(1000 * median(times), 4), "runs": len(times), "activations_mib": memory}
    return {**cell, **figures, "build_seconds": round(seconds, 1)}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="224,1248,768,512,1024", help="image sides, in this order")
    parser.add_argument("--batches", default="1,64,8")
    parser.add_argument("--builder-level", type=int)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args(arguments)
    from vim_deploy.errors import VimDeployError

    passed = True
    for size in options.sizes.split(","):
        for batch in map(int, options.batches.split(",")):
            for network, name in (("Vim-Ti", "vim_tiny"), ("DeiT-Ti", "deit_tiny")):
                path = options.folder / f"{name}_{PRECISION}_{size}.onnx"
                try:
                    line = measure(path, network, batch, options.builder_level, options.repeats)
                except (VimDeployError, OSError) as error:
                    passed = False
                    line = {"step": "networks", "network": network, "size": int(size), "batch": batch}
                    line |= {"error": str(error)}
                print(json.dumps(line), flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
