"""Latency of MambaVision-T in one run: eager with the reference scan, eager with the kernel, and the engine.

Run it on a quiet machine with the environment of `make test-networks`:
.venv-networks/bin/python tools/networks/latency.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import public
import torch

import vim_deploy
from vim_deploy.ops import use_scan


def median_ms(run: Callable[[], object], runs: int) -> float:
    """The median time of `runs` runs, after one that is not counted."""
    run()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network, pixels = public.mambavision(), torch.randn(1, 3, 224, 224)

    def eager(scan: str) -> float:
        with use_scan(scan), torch.inference_mode():  # type: ignore[arg-type]
            return median_ms(lambda: network(pixels), options.runs)

    figures = {"eager, reference scan": eager("reference"), "eager, kernel": eager("kernel")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.onnx"
        vim_deploy.export_module(network, pixels, path, task="classify", batch_size=1, check=False)
        for name, settings in (("engine", {}), ("engine, no fusion", {"fuse": False})):
            engine = Path(folder) / f"{len(settings)}.engine"
            manifest = vim_deploy.build(path, engine, threads=options.threads, **settings)
            with vim_deploy.load(engine) as model:
                array = np.ascontiguousarray(pixels.numpy())
                figures[name] = median_ms(partial(model.run, array), options.runs)
            print(f"{name}: fused operators {manifest.build_info.get('fused', {})}")
    for name, milliseconds in figures.items():
        print(f"{name:24} {milliseconds:9.1f} ms   {milliseconds / figures['engine']:6.2f} x the engine")


if __name__ == "__main__":
    main()
