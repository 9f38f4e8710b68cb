"""Whether a result depends on what it should not depend on: batch, threads, chance, instruction set."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy import child
from vim_deploy.ops.library import usable_instruction_sets
from vim_deploy.parity.difference import RELATIVE_TOLERANCE, difference
from vim_deploy.validation.artifacts import FUNCTION_BODY, Artifact, open_artifact
from vim_deploy.validation.compare import plain_json

REPEATS = 3
_ISA = "VIM_DEPLOY_ISA"


@dataclass(frozen=True)
class Variation:
    """The result in one circumstance against the usual result; `relative` is 0 for equal bits."""

    what: str
    relative: float

    @property
    def identical(self) -> bool:
        return self.relative == 0


@dataclass(frozen=True)
class Invariance:
    """All variations of one artifact. Repeats must be equal to the bit, the others within the tolerance."""

    variations: tuple[Variation, ...]
    precision: str

    @property
    def reasons(self) -> list[str]:
        limit = RELATIVE_TOLERANCE[self.precision]
        return [
            f"{variation.what}: results differ by {variation.relative:.1e}"
            for variation in self.variations
            if not variation.relative <= (0 if variation.what.startswith("repeated") else limit)
        ]

    def to_dict(self) -> dict[str, Any]:
        rows = [
            {"what": item.what, "identical": item.identical, "relative": item.relative}
            for item in self.variations
        ]
        plain: dict[str, Any] = plain_json({"variations": rows, "reasons": self.reasons})
        return plain


def check_invariance(artifact: Artifact, pixels: np.ndarray) -> Invariance:
    """Run the artifact in every circumstance that this machine offers."""
    usual = artifact.run(pixels, len(pixels))
    found = [
        _variation(f"repeated, run {count + 2}", usual, artifact.run(pixels, len(pixels)))
        for count in range(REPEATS - 1)
    ]
    if artifact.batch is None:
        found.append(_variation(f"batch 1 instead of {len(pixels)}", usual, artifact.run(pixels, 1)))
        odd = np.concatenate([pixels, pixels[:1]])
        shifted = artifact.run(odd[::-1], len(odd))[::-1][: len(pixels)]
        found.append(_variation("order and size of the batch changed", usual, shifted))
    for threads in (1, 2) if _on_processor(artifact) else ():
        with open_artifact(artifact.way, threads) as other:
            name = f"{threads} thread{'s' if threads > 1 else ''}"
            found.append(_variation(name, usual, other.run(pixels, len(pixels))))
    if _uses_library(artifact):
        for name in usable_instruction_sets():
            found.append(_variation(f"scan with {name}", usual, _in_child(artifact, pixels, name)))
    return Invariance(tuple(found), artifact.precision)


def _variation(what: str, usual: np.ndarray, other: np.ndarray) -> Variation:
    return Variation(what, 0.0 if np.array_equal(usual, other) else difference(usual, other).relative)


def _on_processor(artifact: Artifact) -> bool:
    return artifact.manifest is None or artifact.manifest.device == "cpu"


def _uses_library(artifact: Artifact) -> bool:
    """Whether the processor's library, which has a form for each instruction set, runs the scan."""
    if artifact.manifest is not None:
        return _on_processor(artifact) and artifact.manifest.operator.get("implementation") == "library"
    return artifact.way.how != FUNCTION_BODY


def _in_child(artifact: Artifact, pixels: np.ndarray, instruction_set: str) -> np.ndarray:
    """The artifact in a process of its own: a loaded library has chosen its instructions for good."""
    with tempfile.TemporaryDirectory(prefix="vim-validate-") as folder:
        given, result = Path(folder) / "in.npy", Path(folder) / "out.npy"
        np.save(given, pixels)
        way = {"path": str(artifact.way.path), "how": artifact.way.how}
        command = child.command(f"{__name__}:run_in_child", **way, given=str(given), result=str(result))
        subprocess.run(command, check=True, env={**os.environ, _ISA: instruction_set})
        values: np.ndarray = np.load(result)
        return values


def run_in_child(path: str, how: str, given: str, result: str) -> None:
    """Run the artifact on the array in file `given`, and write the output to `result`."""
    from vim_deploy.validation.artifacts import Way

    pixels = np.load(given)
    with open_artifact(Way(Path(path), how)) as artifact:
        np.save(result, artifact.run(pixels, len(pixels)))
