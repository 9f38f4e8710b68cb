"""What is measured side by side: every network in every runtime, and why some are left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import networks
from benchmarks.networks import Pair
from vim_deploy.bench.process import call_isolated
from vim_deploy.ops.library import instruction_set
from vim_deploy.precision import Precision

ENGINE, ENGINE_BF16 = "our engine", "our engine, bf16 products"
LIBRARY, FUNCTION = "onnxruntime, library", "onnxruntime, no library"
KERNEL, REFERENCE = "pytorch, kernel", "pytorch, reference"
ONNXRUNTIME, PYTORCH = "onnxruntime", "pytorch"
OPENVINO = {"fp32": "openvino fp32", "bf16": "openvino bf16"}
OPENVINO_HINT = {"fp32": "f32", "bf16": "bf16"}
PRODUCTS, SCANS = "matrix products", "scans"
FLOOR = "floor"


@dataclass(frozen=True)
class Subject:
    """A network in a runtime. `opener` and `arguments` as in vim_deploy/bench/worker.py; `refusal` says why
    it is not measured."""

    network: str
    runtime: str
    opener: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    refusal: str | None = None

    @property
    def name(self) -> str:
        return f"{self.network}, {self.runtime}"


@dataclass(frozen=True)
class Choice:
    """Which subjects are wanted: the runtimes in `only`, or all. The slow ones, the reference operator and
    the function body, are measured for single images of up to `slow_up_to` pixels a side."""

    threads: int
    folder: Path
    slow_up_to: int
    only: frozenset[str] | None = None


_OTHER_VIMS = (LIBRARY, FUNCTION, KERNEL, REFERENCE)
_DEITS = (ONNXRUNTIME, PYTORCH, *OPENVINO.values())
_FLOOR = (PRODUCTS, SCANS)
RUNTIMES = (ENGINE, ENGINE_BF16, *_OTHER_VIMS, *_DEITS, *_FLOOR)
ENGINE_AND_FLOOR = frozenset((ENGINE, *_FLOOR))


def subjects(pair: Pair, batch: int, choice: Choice) -> list[Subject]:
    """The subjects of one cell of the grid. Exports, builds and caches the files that they need."""
    wanted = choice.only or frozenset(RUNTIMES)
    found: list[Subject] = []
    if ENGINE in wanted:
        found.append(_engine(pair, choice))
    if ENGINE_BF16 in wanted:
        found.append(_engine_bf16(pair, choice))
    if wanted.intersection(_OTHER_VIMS):
        found += _other_vims(pair, batch, choice)
    if wanted.intersection(_DEITS):
        found += _deits(pair, choice)
    if batch == 1 and pair.head == "classifier" and wanted.intersection(_FLOOR):
        found += _floor(pair, choice)
    return [subject for subject in found if subject.runtime in wanted]


def _engine(pair: Pair, choice: Choice) -> Subject:
    path = networks.vim_engine(pair, choice.folder, choice.threads)
    arguments = {"path": str(path), "threads": choice.threads}
    return Subject(f"Vim-{pair.label}", ENGINE, "vim_deploy.bench.openers:engine", arguments)


def _engine_bf16(pair: Pair, choice: Choice) -> Subject:
    network, refusal = f"Vim-{pair.label}", _bf16_refusal()
    if refusal is not None:
        return Subject(network, ENGINE_BF16, refusal=refusal)
    path = networks.vim_engine(pair, choice.folder, choice.threads, "bf16")
    arguments = {"path": str(path), "threads": choice.threads}
    return Subject(network, ENGINE_BF16, "vim_deploy.bench.openers:engine", arguments, Precision.BF16_MATMUL)


@cache
def _bf16_refusal() -> str | None:
    found = instruction_set()
    if found.endswith("bf16"):
        return None
    return f"this processor has no instructions for products in bf16 ({found}); the engine would emulate them"


def _other_vims(pair: Pair, batch: int, choice: Choice) -> list[Subject]:
    network, threads = f"Vim-{pair.label}", choice.threads
    path = str(networks.vim_file(pair, choice.folder))
    refusal = None
    if batch > 1 or pair.size > choice.slow_up_to:
        refusal = f"slow: measured for single images of up to {choice.slow_up_to} pixels (--slow-up-to)"
    session, eager = "benchmarks.runtimes:onnxruntime_session", "benchmarks.runtimes:pytorch_vim"
    model = {"config": pair.vim.to_dict(), "head": pair.head, "threads": threads}
    file = {"path": path, "threads": threads}
    return [
        Subject(network, LIBRARY, session, {**file, "library": True}),
        Subject(network, FUNCTION, session, {**file, "library": False}, refusal=refusal),
        Subject(network, KERNEL, eager, {**model, "scan": "kernel"}),
        Subject(network, REFERENCE, eager, {**model, "scan": "reference"}, refusal=refusal),
    ]


def _deits(pair: Pair, choice: Choice) -> list[Subject]:
    network, threads = f"DeiT-{pair.label}", choice.threads
    file = {"path": str(networks.deit_file(pair, choice.folder)), "threads": threads}
    found = [
        Subject(network, ONNXRUNTIME, "benchmarks.runtimes:onnxruntime_session", {**file, "library": False}),
        Subject(
            network,
            PYTORCH,
            "benchmarks.runtimes:pytorch_deit",
            {"config": pair.deit, "head": pair.head, "threads": threads},
        ),
    ]
    for precision, hint in OPENVINO_HINT.items():
        refusal = _openvino_refusal(hint)
        arguments = {**file, "precision": hint}
        opener = "benchmarks.runtimes:openvino_model"
        found.append(Subject(network, OPENVINO[precision], opener, arguments, precision, refusal))
    return found


@cache
def _openvino_refusal(precision: str) -> str | None:
    refusal: str | None = call_isolated("benchmarks.runtimes:openvino_refusal", {"precision": precision})
    return refusal


def _floor(pair: Pair, choice: Choice) -> list[Subject]:
    arguments = {"config": pair.vim.to_dict(), "threads": choice.threads}
    name = f"{FLOOR} of Vim-{pair.label}"
    return [
        Subject(name, PRODUCTS, "benchmarks.floor:products", arguments),
        Subject(name, SCANS, "benchmarks.floor:scans", arguments),
    ]
