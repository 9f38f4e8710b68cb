"""Whether outputs change with batch size, thread count, instruction set, or from run to run."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from vim_deploy import child
from vim_deploy.ops.library import usable_instruction_sets
from vim_deploy.parity.difference import difference
from vim_deploy.precision import Precision
from vim_deploy.tasks.registry import TASKS
from vim_deploy.tasks.spec import TaskSpec
from vim_deploy.text import plural
from vim_deploy.validation.artifacts import Artifact, RunMode, Target, open_artifact
from vim_deploy.validation.compare import plain_json
from vim_deploy.validation.outputs import Found, are_equal, run_artifact

REPEATS = 3
_ISA = "VIM_DEPLOY_ISA"
_ALL_IMAGES = "all images"


@dataclass(frozen=True)
class Variation:
    """The difference from the baseline run under one condition; `relative` is 0 for bit-identical outputs."""

    condition: str
    relative: float

    @property
    def identical(self) -> bool:
        return self.relative == 0


@dataclass(frozen=True)
class Invariance:
    """All variations of one artifact. Repeats must be bit-identical, the others within the tolerance."""

    variations: tuple[Variation, ...]
    precision: str

    @property
    def reasons(self) -> list[str]:
        limit = Precision(self.precision).tolerance
        return [
            f"{variation.condition}: outputs differ by {variation.relative:.1e}"
            for variation in self.variations
            if not variation.relative <= (0 if variation.condition.startswith("repeat") else limit)
        ]

    def to_dict(self) -> dict[str, Any]:
        rows = [
            {"condition": item.condition, "identical": item.identical, "relative": item.relative}
            for item in self.variations
        ]
        plain: dict[str, Any] = plain_json({"variations": rows, "reasons": self.reasons})
        return plain


def check_invariance(artifact: Artifact, pixels: np.ndarray) -> Invariance:
    """Run the artifact under every condition that is available on this machine."""
    spec = TASKS.get(artifact.metadata.task)
    baseline = run_artifact(artifact, spec, pixels, len(pixels))
    found = [
        _variation(f"repeat {count + 1}", spec, baseline, run_artifact(artifact, spec, pixels, len(pixels)))
        for count in range(REPEATS - 1)
    ]
    if artifact.batch is None:
        found.append(_variation(f"batch 1 instead of {len(pixels)}", spec, baseline, artifact.run(pixels, 1)))
        odd = np.concatenate([pixels, pixels[:1]])
        shifted = artifact.run(odd[::-1], len(odd))[::-1][: len(pixels)]
        found.append(_variation("another order and batch size", spec, baseline, shifted))
    for threads in (1, 2) if _on_cpu(artifact) else ():
        with open_artifact(artifact.target, threads) as other:
            outputs = run_artifact(other, spec, pixels, len(pixels))
            found.append(_variation(plural(threads, "thread"), spec, baseline, outputs))
    if _uses_library(artifact):
        for name in usable_instruction_sets():
            found.append(_variation(f"scan with {name}", spec, baseline, _in_child(artifact, pixels, name)))
    return Invariance(tuple(found), artifact.precision)


def _variation(condition: str, spec: TaskSpec, baseline: Found, other: Found) -> Variation:
    if are_equal(baseline, other):
        return Variation(condition, 0.0)
    if isinstance(baseline, np.ndarray) and isinstance(other, np.ndarray):
        return Variation(condition, difference(baseline, other).relative)
    pairs = zip(list(baseline), list(other), strict=True)
    return Variation(condition, max(spec.compare(one, two).relative for one, two in pairs))


def _on_cpu(artifact: Artifact) -> bool:
    return artifact.manifest is None or artifact.manifest.device == "cpu"


def _uses_library(artifact: Artifact) -> bool:
    """Whether the scan runs in the CPU library, which has a kernel for each instruction set."""
    if artifact.manifest is not None:
        return _on_cpu(artifact) and artifact.manifest.operator.get("implementation") == "library"
    return artifact.target.mode != RunMode.FUNCTION_BODY


def _in_child(artifact: Artifact, pixels: np.ndarray, instruction_set: str) -> Found:
    """Outputs from another process: a loaded library does not change its instruction set."""
    with tempfile.TemporaryDirectory(prefix="vim-validate-") as folder:
        given, result = Path(folder) / "in.npy", Path(folder) / "out.safetensors"
        np.save(given, pixels)
        target = {"path": str(artifact.target.path), "mode": artifact.target.mode}
        command = child.command(f"{__name__}:run_in_child", **target, given=str(given), result=str(result))
        subprocess.run(command, check=True, env={**os.environ, _ISA: instruction_set})
        values: dict[str, np.ndarray] = load_file(result)
    if _ALL_IMAGES in values:
        return values[_ALL_IMAGES]
    names = TASKS.get(artifact.metadata.task).outputs
    return [{name: values[f"{index}/{name}"] for name in names} for index in range(len(pixels))]


def run_in_child(path: str, mode: str, given: str, result: str) -> None:
    """Run the artifact on the array in file `given`, and write the outputs to `result`."""
    pixels = np.load(given)
    with open_artifact(Target(Path(path), RunMode(mode))) as artifact:
        found = run_artifact(artifact, TASKS.get(artifact.metadata.task), pixels, len(pixels))
    if isinstance(found, np.ndarray):
        values = {_ALL_IMAGES: found}
    else:
        values = {f"{index}/{name}": row[name] for index, row in enumerate(found) for name in row}
    save_file({name: np.ascontiguousarray(value) for name, value in values.items()}, result)
