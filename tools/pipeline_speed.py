"""Throughput of vim-infer, compared with only decoding and only inference.

    python tools/pipeline_speed.py ENGINE IMAGES... [--images N] [--repeats N] [--json]

The images are repeated until there are N. Each part runs once to warm up and then REPEATS times, alternating
with the others; the medians are compared. If decoding and inference share the same CPUs, no pipeline can
reach the throughput of the slower part: `shared` is 1 / (1/decode + 1/infer), the limit for both together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from vim_deploy import load
from vim_deploy.data.decode import Limits
from vim_deploy.data.discover import Discovery
from vim_deploy.data.isolation import ProcessLoader
from vim_deploy.data.loading import default_workers
from vim_deploy.machine import usable_cpus
from vim_deploy.pipeline.inference import run_inference
from vim_deploy.pipeline.options import InferenceOptions
from vim_deploy.pipeline.prefetch import PrefetchQueue
from vim_deploy.results import Start
from vim_deploy.tasks.base import DEFAULT_BATCH, MAX_CHUNK
from vim_deploy.text import plural


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("engine", type=Path)
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.engine, options.inputs, options.images, options.repeats)
    print(json.dumps(figures, indent=1) if options.json else text(figures))


def measure(engine: Path, inputs: list[str], count: int, repeats: int) -> dict[str, Any]:
    """Images per second of each part, and ratios."""
    found = list(Discovery(inputs))
    items = list(islice(cycle(found), count))
    paths = tuple(item.path for item in items)
    with load(engine) as opened, tempfile.TemporaryDirectory() as folder:
        batch = opened.batches.nearest(DEFAULT_BATCH)
        shape = [batch if size is None else size for size in opened.input.shape]
        pixels = np.random.default_rng(0).standard_normal(shape, np.float32)

        def decode() -> None:
            loader = ProcessLoader(opened.metadata.preprocessing, Limits())
            chunk = min(batch, MAX_CHUNK)
            for _ in PrefetchQueue(loader, items, default_workers(Limits()), 2 * batch, lambda: False, chunk):
                pass

        def infer() -> None:
            for _ in range(-(-count // batch)):
                opened.run(pixels)

        def whole() -> None:
            output = Path(folder) / "rows.csv"
            run_inference(InferenceOptions(engine, paths, output, start=Start.RESTART))

        parts: dict[str, Callable[[], None]] = {"decode": decode, "infer": infer, "whole": whole}
        rates = _rates(parts, count, repeats)
    slower = min(rates["decode"], rates["infer"])
    shared = 1 / (1 / rates["decode"] + 1 / rates["infer"])
    return {
        "images": count,
        "files": len(found),
        "batch": batch,
        "cpus": usable_cpus(),
        "repeats": repeats,
        "images_per_second": rates,
        "whole_of_slower": rates["whole"] / slower,
        "shared": shared,
        "whole_of_shared": rates["whole"] / shared,
    }


def _rates(parts: dict[str, Callable[[], None]], count: int, repeats: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(repeats + 1):
        for name, part in parts.items():
            started = time.perf_counter()
            with contextlib.redirect_stdout(sys.stderr):
                part()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: count / statistics.median(values) for name, values in seconds.items()}


def text(figures: dict[str, Any]) -> str:
    rates = figures["images_per_second"]
    return "\n".join(
        (
            f"{plural(figures['images'], 'image')}, batches of {figures['batch']}, "
            f"{plural(figures['cpus'], 'CPU')}, median of {figures['repeats']}",
            f"decode only  {rates['decode']:9.1f} images/s",
            f"infer only   {rates['infer']:9.1f} images/s",
            f"complete run {rates['whole']:9.1f} images/s, including opening the engine",
            f"The complete run reaches {figures['whole_of_slower']:.1%} of the slower part, and "
            f"{figures['whole_of_shared']:.1%} of the limit with shared CPUs "
            f"({figures['shared']:.1f} images/s)",
        )
    )


if __name__ == "__main__":
    main()
