"""Latency of MambaVision-T in one run: eager with the reference scan, eager with the kernel, and the engine.

Run it on a quiet machine with the environment of `make test-networks`:
.venv-networks/bin/python tools/networks/latency.py
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from operator import truediv
from pathlib import Path

import numpy as np
import public
import torch

import vim_deploy
from vim_deploy.ops import use_scan


def measure(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each candidate in each round, after a round that is not counted.

    The candidates alternate, so that other load on the machine affects all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            if number:
                times[name].append(1e3 * (time.perf_counter() - started))
    return times


def eager(network: torch.nn.Module, pixels: torch.Tensor, scan: str) -> None:
    with use_scan(scan), torch.inference_mode():  # type: ignore[arg-type]
        network(pixels)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network, pixels = public.mambavision(), torch.randn(1, 3, 224, 224)
    candidates: dict[str, Callable[[], object]] = {
        "eager, reference scan": partial(eager, network, pixels, "reference"),
        "eager, kernel": partial(eager, network, pixels, "kernel"),
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        path = Path(folder) / "tiny.onnx"
        vim_deploy.export_module(network, pixels, path, task="classify", batch_size=1, check=False)
        for name, settings in (("engine", {}), ("engine, no fusion", {"fuse": False})):
            engine = Path(folder) / f"{len(settings)}.engine"
            manifest = vim_deploy.build(path, engine, threads=options.threads, **settings)
            model = opened.enter_context(vim_deploy.load(engine))
            candidates[name] = partial(model.run, np.ascontiguousarray(pixels.numpy()))
            print(f"{name}: fused operators {manifest.build_info.get('fused', {})}")
        times = measure(candidates, options.rounds)
    print(f"{'milliseconds':24} {'median':>9} {'fastest':>9}   median of time / time of the engine")
    for name, values in times.items():
        ratio = statistics.median(map(truediv, values, times["engine"]))
        print(f"{name:24} {statistics.median(values):9.1f} {min(values):9.1f}   {ratio:6.2f}")


if __name__ == "__main__":
    main()
