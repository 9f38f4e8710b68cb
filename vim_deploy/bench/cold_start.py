"""From the first import to the first prediction, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from vim_deploy.bench.process import MeasurementError, python

_CODE = (
    "import time; began = time.perf_counter(); import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from vim_deploy.bench.cold_start import first_prediction; "
    "first_prediction(began, **json.loads(sys.argv[2]))"
)
PHASES = ("import", "open", "predict", "total")


def first_prediction(began: float, path: str, shape: Sequence[int], threads: int | None) -> None:
    """In the fresh process: what a user's program does. Prints the seconds of each phase as JSON."""
    import numpy as np

    import vim_deploy

    load_engine = vim_deploy.load_engine
    imported = time.perf_counter()
    engine = load_engine(path, threads=threads)
    opened = time.perf_counter()
    engine.run(np.full(shape, 0.5, np.float32))
    ended = time.perf_counter()
    phases = (imported - began, opened - imported, ended - opened, ended - began)
    print(json.dumps(dict(zip(PHASES, phases, strict=True))))


def cold_starts(
    path: str,
    shape: Sequence[int],
    threads: int | None,
    count: int,
    report: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """Medians of `count` fresh processes, in seconds, and the total of each of them.

    `import` is this package and numpy; the runtime is imported while the engine opens. `process` is seen
    from outside: the interpreter's own start and its end included. Files are in the system's cache. Raises
    MeasurementError.
    """
    arguments = json.dumps({"path": path, "shape": list(shape), "threads": threads})
    runs: list[dict[str, float]] = []
    for index in range(count):
        report(f"cold start {index + 1} of {count}")
        began = time.perf_counter()
        ended = subprocess.run(python(_CODE, arguments), capture_output=True, text=True, check=False)
        process = time.perf_counter() - began
        if ended.returncode:
            raise MeasurementError(f"the cold start of {path} failed: {ended.stderr.strip()[-600:]}")
        runs.append({**json.loads(ended.stdout.splitlines()[-1]), "process": process})
    medians = {f"{phase}_seconds": median(run[phase] for run in runs) for phase in (*PHASES, "process")}
    return {**medians, "all_total_seconds": [run["total"] for run in runs]}
