"""The measured process: reads requests as lines of JSON from stdin, answers each with a line on stdout.

What is measured is named by an *opener*, "module:function". The function takes the request's arguments,
imports what its runtime needs, and returns a function that opens the model; that in turn returns what runs
one batch: a float32 array (batch, channels, height, width) to an array. The memory before the model is
opened, runtime imported, is the "start" that peaks are measured from.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vim_deploy.bench import memory
from vim_deploy.errors import VimDeployError

if TYPE_CHECKING:
    import numpy as np

Run = Callable[["np.ndarray"], "np.ndarray"]
Open = Callable[[], Run]
_EXPENDABLE = "1000"


class Measurement:
    """One opened model and its input."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._pixels: Any = None
        self._memory: dict[str, int] = {}

    def open(self, opener: str, arguments: dict[str, Any], shape: list[int], seed: int) -> dict[str, Any]:
        """Import, make the input, open; seconds and bytes."""
        import numpy as np

        open_model: Open = resolve(opener)(**arguments)
        self._pixels = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        memory.reset_peak()
        start = memory.resident()
        began = time.perf_counter()
        self._run = open_model()
        seconds = time.perf_counter() - began
        self._memory = {"start": start, "open_peak": memory.peak(), "opened": memory.resident()}
        memory.reset_peak()
        return {"seconds": seconds, "memory": self.memory()}

    def run(self, repeats: int, seconds: float) -> dict[str, Any]:
        """Single times of up to `repeats` inferences, fewer when `seconds` are over, at least one."""
        assert self._run is not None
        times: list[float] = []
        limit = time.perf_counter() + seconds
        while len(times) < repeats and (not times or time.perf_counter() < limit):
            began = time.perf_counter()
            self._run(self._pixels)
            times.append(time.perf_counter() - began)
        return {"seconds": times, "memory": self.memory()}

    def output(self) -> dict[str, Any]:
        """What the model says of the first image, flat."""
        assert self._run is not None
        return {"output": self._run(self._pixels)[0].ravel().tolist()}

    def call(self, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Any function by name, for what must not happen in the caller's process."""
        return {"result": resolve(function)(**arguments)}

    def memory(self) -> dict[str, int]:
        """Bytes. `above_start`: the peak, opening included, above the start; `above_opened`: that of running
        above what the opened model holds."""
        running = memory.peak()
        peak = max(running, self._memory["open_peak"])
        return {
            **self._memory,
            "run_peak": running,
            "above_start": peak - self._memory["start"],
            "above_opened": max(0, running - self._memory["opened"]),
        }


def resolve(name: str) -> Callable[..., Any]:
    """The function that "module:function" names."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def main() -> None:
    """Answer until stdin ends."""
    answers = _claim_stdout()
    _volunteer_when_memory_ends()
    measurement = Measurement()
    actions = {name: getattr(measurement, name) for name in ("open", "run", "output", "call")}
    for line in sys.stdin:
        request = json.loads(line)
        action = request.pop("do")
        try:
            answer = actions[action](**request)
        except VimDeployError as error:
            answer = {"error": str(error)}
        except Exception as error:  # whatever a runtime throws belongs into the report, not onto the floor
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _claim_stdout() -> IO[str]:
    """The pipe for answers alone; what runtimes print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _volunteer_when_memory_ends() -> None:
    """A measurement that is too large is what the system should end, and nothing else."""
    Path("/proc/self/oom_score_adj").write_text(_EXPENDABLE)
