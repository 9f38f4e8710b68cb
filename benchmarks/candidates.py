"""The candidates of a comparison: each network in each runtime, and why some are skipped."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import networks
from benchmarks.networks import Pair
from vim_deploy.bench.process import call_isolated
from vim_deploy.ops.library import instruction_set
from vim_deploy.precision import MATMUL_PRECISIONS

ENGINE, ENGINE_BF16, ENGINE_INT8 = "our engine", "our engine, bf16 matmul", "our engine, int8 matmul"
LIBRARY, FUNCTION = "onnxruntime, library", "onnxruntime, no library"
KERNEL, REFERENCE = "pytorch, kernel", "pytorch, reference"
ONNXRUNTIME, PYTORCH = "onnxruntime", "pytorch"
OPENVINO = {"fp32": "openvino fp32", "bf16": "openvino bf16", "int8": "openvino int8"}
# Of everything that is not quantized.
_OPENVINO_HINT = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
MATMULS, SCANS = "matmuls", "scans"
FLOOR = "floor"


@dataclass(frozen=True)
class Candidate:
    """A network in a runtime. `opener` and `arguments`: see vim_deploy/bench/worker.py; `skip_reason`: why it
    is not measured, or None."""

    network: str
    runtime: str
    opener: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    skip_reason: str | None = None

    @property
    def name(self) -> str:
        return f"{self.network}, {self.runtime}"


@dataclass(frozen=True)
class Choice:
    """The selected candidates: the runtimes in `only`, or all. The slow ones, the reference operator and the
    function body, are measured with single images of up to `slow_up_to` pixels per side."""

    threads: int
    folder: Path
    slow_up_to: int
    only: frozenset[str] | None = None

    def has(self, *runtimes: str) -> bool:
        """Whether one of these is selected."""
        return self.only is None or not self.only.isdisjoint(runtimes)


_OTHER_VIMS = (LIBRARY, FUNCTION, KERNEL, REFERENCE)
_DEITS = (ONNXRUNTIME, PYTORCH, *OPENVINO.values())
_FLOOR = (MATMULS, SCANS)
RUNTIMES = (ENGINE, ENGINE_BF16, ENGINE_INT8, *_OTHER_VIMS, *_DEITS, *_FLOOR)
ENGINE_AND_FLOOR = frozenset((ENGINE, *_FLOOR))
PRECISIONS = frozenset((ENGINE, ENGINE_BF16, ENGINE_INT8, *OPENVINO.values()))


def candidates(pair: Pair, batch: int, choice: Choice) -> list[Candidate]:
    """The candidates of one cell of the grid. Exports, builds and caches the files that they require."""
    found: list[Candidate] = []
    if choice.has(ENGINE):
        found.append(_engine(pair, choice))
    if choice.has(ENGINE_BF16):
        found.append(_reduced_engine(pair, choice, ENGINE_BF16, "bf16", _bf16_skip_reason()))
    if choice.has(ENGINE_INT8):
        found.append(_reduced_engine(pair, choice, ENGINE_INT8, "int8"))
    if choice.has(*_OTHER_VIMS):
        found += _other_vims(pair, batch, choice)
    if choice.has(*_DEITS):
        found += _deits(pair, choice)
    if batch == 1 and pair.head == "classifier" and choice.has(*_FLOOR):
        found += _floor(pair, choice)
    return [candidate for candidate in found if choice.has(candidate.runtime)]


def _engine(pair: Pair, choice: Choice) -> Candidate:
    path = networks.vim_engine(pair, choice.folder, choice.threads)
    arguments = {"path": str(path), "threads": choice.threads}
    return Candidate(f"Vim-{pair.label}", ENGINE, "vim_deploy.bench.openers:engine", arguments)


def _reduced_engine(
    pair: Pair, choice: Choice, runtime: str, precision: str, skip_reason: str | None = None
) -> Candidate:
    """Our engine with matmuls in another precision than float32."""
    network = f"Vim-{pair.label}"
    if skip_reason is not None:
        return Candidate(network, runtime, skip_reason=skip_reason)
    path = networks.vim_engine(pair, choice.folder, choice.threads, precision)
    arguments = {"path": str(path), "threads": choice.threads}
    opener = "vim_deploy.bench.openers:engine"
    return Candidate(network, runtime, opener, arguments, MATMUL_PRECISIONS[precision])


@cache
def _bf16_skip_reason() -> str | None:
    found = instruction_set()
    if found.endswith("bf16"):
        return None
    return f"this CPU has no bf16 matmul instructions ({found}); the engine would emulate them"


def _other_vims(pair: Pair, batch: int, choice: Choice) -> list[Candidate]:
    network, threads = f"Vim-{pair.label}", choice.threads
    path = str(networks.vim_file(pair, choice.folder))
    skip_reason = None
    if batch > 1 or pair.size > choice.slow_up_to:
        skip_reason = f"slow: only measured with one image of up to {choice.slow_up_to} pixels (--slow-up-to)"
    session, eager = "benchmarks.runtimes:onnxruntime_session", "benchmarks.runtimes:pytorch_vim"
    model = {"config": pair.vim.to_dict(), "head": pair.head, "threads": threads}
    file = {"path": path, "threads": threads}
    return [
        Candidate(network, LIBRARY, session, {**file, "library": True}),
        Candidate(network, FUNCTION, session, {**file, "library": False}, skip_reason=skip_reason),
        Candidate(network, KERNEL, eager, {**model, "scan": "kernel"}),
        Candidate(network, REFERENCE, eager, {**model, "scan": "reference"}, skip_reason=skip_reason),
    ]


def _deits(pair: Pair, choice: Choice) -> list[Candidate]:
    network, threads = f"DeiT-{pair.label}", choice.threads
    file = {"path": str(networks.deit_file(pair, choice.folder)), "threads": threads}
    session, eager = "benchmarks.runtimes:onnxruntime_session", "benchmarks.runtimes:pytorch_deit"
    model = {"config": pair.deit, "head": pair.head, "threads": threads}
    return [
        Candidate(network, ONNXRUNTIME, session, {**file, "library": False}),
        Candidate(network, PYTORCH, eager, model),
        *(
            _openvino_deit(pair, choice, precision)
            for precision in OPENVINO
            if choice.has(OPENVINO[precision])
        ),
    ]


def _openvino_deit(pair: Pair, choice: Choice, precision: str) -> Candidate:
    network, runtime = f"DeiT-{pair.label}", OPENVINO[precision]
    skip_reason = _openvino_skip_reason(precision)
    if skip_reason is not None:
        return Candidate(network, runtime, precision=precision, skip_reason=skip_reason)
    find = networks.deit_int8_model if precision == "int8" else networks.deit_file
    hint = _OPENVINO_HINT[precision]
    arguments = {"path": str(find(pair, choice.folder)), "threads": choice.threads, "precision": hint}
    return Candidate(network, runtime, "benchmarks.runtimes:openvino_model", arguments, precision)


@cache
def _openvino_skip_reason(precision: str) -> str | None:
    skip_reason: str | None = call_isolated(
        "benchmarks.runtimes:openvino_skip_reason", {"precision": precision}
    )
    return skip_reason


def _floor(pair: Pair, choice: Choice) -> list[Candidate]:
    arguments = {"config": pair.vim.to_dict(), "threads": choice.threads}
    name = f"{FLOOR} of Vim-{pair.label}"
    return [
        Candidate(name, MATMULS, "benchmarks.floor:matmuls", arguments),
        Candidate(name, SCANS, "benchmarks.floor:scans", arguments),
    ]
