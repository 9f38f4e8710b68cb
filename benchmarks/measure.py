"""Measures one cell of the grid: the candidates take turns, each in its own process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.candidates import KERNEL, PYTORCH, REFERENCE, Candidate
from vim_deploy.bench.figures import Latency
from vim_deploy.bench.process import MeasurementError, Worker
from vim_deploy.parity.difference import difference

_SEED = 0
_EAGER = (REFERENCE, KERNEL, PYTORCH)
Report = Callable[[str], None]


@dataclass(frozen=True)
class Timing:
    """A turn is `repeats` inferences, at least one; no further one starts after `seconds`.

    `settle`: seconds of pause before each turn, so that spinning threads of other runtimes go to sleep.
    """

    rounds: int = 5
    repeats: int = 10
    seconds: float = 2.0
    warmup: int = 2
    settle: float = 0.3

    def expected(self, inference: float) -> float:
        """Seconds that a candidate takes after it is open, if one inference takes `inference` seconds."""
        output = inference
        rounds = self.rounds * (self.settle + inference * self._count(inference, self.repeats))
        return inference * self._count(inference, self.warmup) + output + rounds

    def _count(self, inference: float, repeats: int) -> int:
        return min(repeats, 1 + int(self.seconds / inference))


class _Turns:
    """A candidate's process and its measurements."""

    def __init__(self, candidate: Candidate, worker: Worker) -> None:
        self.candidate = candidate
        self.worker = worker
        self.rounds: list[list[float]] = []
        self.output: np.ndarray | None = None
        self.opened: dict[str, Any] = {}
        self.memory: dict[str, int] = {}
        self.failure: str | None = None

    def open(self, shape: Sequence[int], timing: Timing) -> None:
        candidate = self.candidate
        self.opened = self.worker.open(candidate.opener, candidate.arguments, shape, _SEED)
        if timing.warmup:
            self.worker.run(timing.warmup, timing.seconds)
        self.output = np.array(self.worker.output())

    def take(self, timing: Timing) -> None:
        measured = self.worker.run(timing.repeats, timing.seconds)
        self.rounds.append(measured["seconds"])
        self.memory = measured["memory"]

    def try_to(self, action: Callable[..., None], *arguments: Any) -> None:
        if self.failure is None:
            try:
                action(*arguments)
            except MeasurementError as error:
                self.failure = str(error)

    def result(self) -> dict[str, Any]:
        facts = _about(self.candidate)
        if self.failure is not None:
            return {**facts, "status": "failed", "reason": self.failure}
        return {
            **facts,
            "status": "measured",
            "rounds_seconds": self.rounds,
            "latency_ms": asdict(Latency.of([value for times in self.rounds for value in times])),
            "open_seconds": self.opened["seconds"],
            "memory_bytes": self.memory,
        }


def measure(
    candidates: Iterable[Candidate], shape: Sequence[int], timing: Timing, report: Report = lambda stage: None
) -> list[dict[str, Any]]:
    """Measure all candidates on random pixels of `shape` (batch, channels, height, width), in rounds.

    A candidate that is not measured has the status "skipped" or "failed", and a reason. `differs_from_eager`
    is the largest difference of its output from the same network's in eager PyTorch, relative to the largest
    value.
    """
    results: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        turns = []
        for candidate in candidates:
            results[candidate.name] = {
                **_about(candidate),
                "status": "skipped",
                "reason": candidate.skip_reason,
            }
            if candidate.skip_reason is None:
                turns.append(_Turns(candidate, stack.enter_context(Worker(candidate.name))))
        for turn in turns:
            report(f"opening {turn.candidate.name}")
            turn.try_to(turn.open, shape, timing)
        for index in range(timing.rounds):
            # Every other round is in reverse order, so that drift within a round favors nobody.
            for turn in turns[:: -1 if index % 2 else 1]:
                report(f"round {index + 1} of {timing.rounds}: {turn.candidate.name}")
                time.sleep(timing.settle)
                turn.try_to(turn.take, timing)
        for turn in turns:
            results[turn.candidate.name] = turn.result()
            if turn.failure is None:
                results[turn.candidate.name]["differs_from_eager"] = _difference(turn, turns)
    return list(results.values())


def _about(candidate: Candidate) -> dict[str, Any]:
    return {"network": candidate.network, "runtime": candidate.runtime, "precision": candidate.precision}


def _difference(turn: _Turns, turns: Sequence[_Turns]) -> float | None:
    """None if the network has no eager candidate in this cell, and for that candidate itself."""
    of_network = {other.candidate.runtime: other for other in turns
                  if other.candidate.network == turn.candidate.network and other.failure is None}  # fmt: skip
    eager = next((of_network[runtime] for runtime in _EAGER if runtime in of_network), None)
    if eager is None or eager is turn or eager.output is None or turn.output is None:
        return None
    return difference(eager.output, turn.output).relative
