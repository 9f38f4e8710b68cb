"""Time from the first import to the first prediction, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from vim_deploy import child
from vim_deploy.bench.openers import example_arrays, takes_arrays
from vim_deploy.bench.process import MeasurementError

PHASES = ("import", "open", "predict", "total")


def first_prediction(path: str, shape: Sequence[int], threads: int | None) -> None:
    """In the child process: what a user's program does. Prints the seconds of each phase as JSON."""
    import numpy as np

    import vim_deploy

    load = vim_deploy.load
    imported = time.perf_counter()
    engine = load(path, threads=threads)
    opened = time.perf_counter()
    if takes_arrays(engine):
        engine.run(**example_arrays(engine))
    else:
        engine.run(np.full(shape, 0.5, np.float32))
    ended = time.perf_counter()
    assert child.started is not None
    phases = (imported - child.started, opened - imported, ended - opened, ended - child.started)
    print(json.dumps(dict(zip(PHASES, phases, strict=True))))


def cold_starts(
    path: str,
    shape: Sequence[int],
    threads: int | None,
    count: int,
    report: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """Medians of `count` fresh processes in seconds, and the total of each.

    `import` is this package and numpy; the runtime is imported while the engine opens. `process` is measured
    from outside, and includes start and exit of the interpreter. Files are in the page cache. Raises
    MeasurementError.
    """
    command = child.command(f"{__name__}:first_prediction", path=path, shape=list(shape), threads=threads)
    runs: list[dict[str, float]] = []
    for index in range(count):
        report(f"cold start {index + 1} of {count}")
        started = time.perf_counter()
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        process = time.perf_counter() - started
        if run.returncode:
            raise MeasurementError(f"the cold start of {path} failed: {run.stderr.strip()[-600:]}")
        runs.append({**json.loads(run.stdout.splitlines()[-1]), "process": process})
    medians = {f"{phase}_seconds": median(times[phase] for times in runs) for phase in (*PHASES, "process")}
    return {**medians, "all_total_seconds": [times["total"] for times in runs]}
