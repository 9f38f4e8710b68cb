"""Vim-Ti and DeiT-Ti in eager PyTorch on the GPU, float16: latency and memory by size and batch.

    python tools/gpu_check/eager.py LIBRARY [--sizes 224,...] [--batches 1,8,64] [--seconds 1]

LIBRARY is built from gpu_library.cu by run.py. Vim runs with every scan of gpu_scan.py: the project's fused
kernel, which needs no copies, and the public Mamba kernel's algorithm with the copies and flips that it
needs. The first line of output reports whether the results agree with the eager model on the CPU. Needs a
CUDA build of PyTorch.
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

SIZES, BATCHES = (224, 512, 768, 1024, 1248), (1, 8, 64)
TOLERANCE = 2e-2  # float16 against float32, relative to the largest logit
_WARM_UP, _MAX_RUNS = 3, 30


def vim(size: int, precision: str) -> Any:
    from vim_deploy.export.reduced import in_precision
    from vim_deploy.model import create_model
    from vim_deploy.model.synthetic import fill_synthetic

    model = create_model("vim_tiny", image_size=(size, size))
    fill_synthetic(model, seed=0)
    return in_precision(model.eval(), precision)


def deit(size: int) -> Any:
    from benchmarks.deit import DeitConfig
    from benchmarks.heads import deit_model

    return deit_model(DeitConfig(image_size=size), "classifier")


def check(scans: dict[str, Any], device: str) -> bool:
    """Whether Vim's outputs with each scan are within TOLERANCE of float32 on the CPU."""
    import torch

    from vim_deploy.ops import use_scan

    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = vim(224, "fp32")(pixels).double()
        model = vim(224, "fp16").to(device)
        errors = {}
        for name, scan in scans.items():
            with use_scan(scan):
                found = model(pixels.to(device)).double().cpu()
            errors[name] = float((found - expected).abs().max() / expected.abs().max())
    passed = all(error <= TOLERANCE for error in errors.values())
    print(json.dumps({"step": "eager check", "errors": errors, "passed": passed}), flush=True)
    return passed


def measure(model: Any, pixels: Any, seconds: float) -> dict[str, Any]:
    """Median latency of a batch, and peak memory without weights and pixels."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    times: list[float] = []
    limit = time.perf_counter() + seconds
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            model(pixels)
        torch.cuda.synchronize()
        while len(times) < _MAX_RUNS and (not times or time.perf_counter() < limit):
            started = time.perf_counter()
            model(pixels)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() - before
    return {"ms": round(1000 * median(times), 4), "runs": len(times), "memory_mib": round(peak / 2**20, 1)}


def row(network: str, size: int, batch: int, model: Any, pixels: Any, seconds: float) -> dict[str, Any]:
    import torch

    cell = {"step": "eager", "network": network, "size": size, "batch": batch}
    try:
        return {**cell, **measure(model, pixels, seconds)}
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return {**cell, "error": "out of GPU memory"}


def measure_size(size: int, batches: list[int], scans: dict[str, Any], seconds: float) -> None:
    import torch

    from vim_deploy.ops import use_scan

    vim_model = vim(size, "fp16").to("cuda")
    deit_model = deit(size).half().to("cuda")
    for batch in batches:
        pixels = torch.randn(batch, 3, size, size, device="cuda")
        for name, scan in scans.items():
            with use_scan(scan):
                result = row(f"Vim-Ti, scan {name}", size, batch, vim_model, pixels, seconds)
            print(json.dumps(result), flush=True)
        print(json.dumps(row("DeiT-Ti", size, batch, deit_model, pixels.half(), seconds)), flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("PyTorch found no GPU; nothing was run", file=sys.stderr)
        return 2
    import gpu_scan

    scans = gpu_scan.scans(options.library)
    passed = check(scans, "cuda")
    for size in map(int, options.sizes.split(",")):
        measure_size(size, [int(batch) for batch in options.batches.split(",")], scans, options.seconds)
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
