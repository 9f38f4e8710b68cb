"""One cell of the grid: the subjects take turns, each in a process of its own that stays open."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.subjects import KERNEL, PYTORCH, REFERENCE, Subject
from vim_deploy.bench.figures import Latency
from vim_deploy.bench.process import MeasurementError, Worker
from vim_deploy.parity.difference import difference

_SEED = 0
_EAGER = (REFERENCE, KERNEL, PYTORCH)
Report = Callable[[str], None]


@dataclass(frozen=True)
class Timing:
    """A turn takes `repeats` inferences, fewer when `seconds` are over, one at least. Before its next turn
    begins, a runtime's threads get `settle` seconds to fall asleep, so that nobody is disturbed."""

    rounds: int = 5
    repeats: int = 10
    seconds: float = 2.0
    warmup: int = 2
    settle: float = 0.3


class _Turns:
    """A subject's process and what it has measured."""

    def __init__(self, subject: Subject, worker: Worker) -> None:
        self.subject = subject
        self.worker = worker
        self.rounds: list[list[float]] = []
        self.output: np.ndarray | None = None
        self.opened: dict[str, Any] = {}
        self.memory: dict[str, int] = {}
        self.failure: str | None = None

    def open(self, shape: Sequence[int], timing: Timing) -> None:
        subject = self.subject
        self.opened = self.worker.open(subject.opener, subject.arguments, shape, _SEED)
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
        about = _about(self.subject)
        if self.failure is not None:
            return {**about, "status": "failed", "reason": self.failure}
        return {
            **about,
            "status": "measured",
            "rounds_seconds": self.rounds,
            "latency_ms": Latency.of([value for times in self.rounds for value in times]).to_dict(),
            "open_seconds": self.opened["seconds"],
            "memory_bytes": self.memory,
        }


def measure(
    subjects: Iterable[Subject], shape: Sequence[int], timing: Timing, report: Report = lambda stage: None
) -> list[dict[str, Any]]:
    """Measure every subject on random pixels of `shape` (batch, channels, height, width), in rounds.

    A subject that cannot be measured has status "skipped" or "failed", and the reason. `differs_from_eager`
    is the largest difference of the output from the same network's in eager PyTorch, over the largest value.
    """
    results: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        turns = []
        for subject in subjects:
            results[subject.name] = {**_about(subject), "status": "skipped", "reason": subject.refusal}
            if subject.refusal is None:
                turns.append(_Turns(subject, stack.enter_context(Worker(subject.name))))
        for turn in turns:
            report(f"opening {turn.subject.name}")
            turn.try_to(turn.open, shape, timing)
        for index in range(timing.rounds):
            # Every other round backwards: what drifts during a round favours nobody.
            for turn in turns[:: -1 if index % 2 else 1]:
                report(f"round {index + 1} of {timing.rounds}: {turn.subject.name}")
                time.sleep(timing.settle)
                turn.try_to(turn.take, timing)
        for turn in turns:
            results[turn.subject.name] = turn.result()
            if turn.failure is None:
                results[turn.subject.name]["differs_from_eager"] = _difference(turn, turns)
    return list(results.values())


def _about(subject: Subject) -> dict[str, Any]:
    return {"network": subject.network, "runtime": subject.runtime, "precision": subject.precision}


def _difference(turn: _Turns, turns: Sequence[_Turns]) -> float | None:
    """None where the network has no eager form in this cell, and for that itself."""
    of_network = {other.subject.runtime: other for other in turns
                  if other.subject.network == turn.subject.network and other.failure is None}  # fmt: skip
    eager = next((of_network[runtime] for runtime in _EAGER if runtime in of_network), None)
    if eager is None or eager is turn or eager.output is None or turn.output is None:
        return None
    return difference(eager.output, turn.output).relative
