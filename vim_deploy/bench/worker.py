"""The measured process: reads requests as lines of JSON from stdin and answers each with a line on stdout.

An *opener*, "module:function", defines what is measured. The function takes the request's arguments, imports
the runtime, and returns a function that opens the model; that returns a function that runs one batch: from a
float32 array (batch, channels, height, width) to an array. Peak memory is measured from the "start": the
runtime is imported, the model is not open yet.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vim_deploy.bench import memory
from vim_deploy.errors import VimDeployError
from vim_deploy.registry import load_object

if TYPE_CHECKING:
    import numpy as np

Run = Callable[["np.ndarray"], "np.ndarray"]
Open = Callable[[], Run]
_KILL_FIRST = "1000"


class Measurement:
    """One opened model and its input."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._pixels: Any = None
        self._memory: dict[str, int] = {}

    def open(self, opener: str, arguments: dict[str, Any], shape: list[int], seed: int) -> dict[str, Any]:
        """Import the runtime, create the input, open the model; seconds and bytes."""
        import numpy as np

        open_model: Open = load_object(opener)(**arguments)
        self._pixels = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        memory.reset_peak()
        start = memory.resident()
        started = time.perf_counter()
        self._run = open_model()
        seconds = time.perf_counter() - started
        self._memory = {"start": start, "open_peak": memory.peak(), "opened": memory.resident()}
        memory.reset_peak()
        return {"seconds": seconds, "memory": self.memory()}

    def run(self, repeats: int, seconds: float) -> dict[str, Any]:
        """Times of up to `repeats` inferences, at least one, stopping after `seconds`."""
        assert self._run is not None
        times: list[float] = []
        limit = time.perf_counter() + seconds
        while len(times) < repeats and (not times or time.perf_counter() < limit):
            started = time.perf_counter()
            self._run(self._pixels)
            times.append(time.perf_counter() - started)
        return {"seconds": times, "memory": self.memory()}

    def output(self) -> dict[str, Any]:
        """The output for the first image, flattened."""
        assert self._run is not None
        return {"output": self._run(self._pixels)[0].ravel().tolist()}

    def call(self, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call any function by name, for work that must not happen in the parent process."""
        return {"result": load_object(function)(**arguments)}

    def memory(self) -> dict[str, int]:
        """Bytes. `above_start`: the peak of opening and running, above the start; `above_opened`: the peak of
        running, above the opened model."""
        running = memory.peak()
        peak = max(running, self._memory["open_peak"])
        return {
            **self._memory,
            "run_peak": running,
            "above_start": peak - self._memory["start"],
            "above_opened": max(0, running - self._memory["opened"]),
        }


def main() -> None:
    """Answer requests until stdin is closed."""
    answers = _redirect_stdout()
    _prefer_for_oom_kill()
    measurement = Measurement()
    actions = {name: getattr(measurement, name) for name in ("open", "run", "output", "call")}
    for line in sys.stdin:
        request = json.loads(line)
        action = request.pop("do")
        try:
            answer = actions[action](**request)
        except VimDeployError as error:
            answer = {"error": str(error)}
        except Exception as error:  # runtimes raise anything; it belongs in the report
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _redirect_stdout() -> IO[str]:
    """The original stdout, for answers only; what runtimes print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _prefer_for_oom_kill() -> None:
    """If memory runs out, the system kills this process rather than another one."""
    Path("/proc/self/oom_score_adj").write_text(_KILL_FIRST)
