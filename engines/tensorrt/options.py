"""What a user may choose when TensorRT builds an engine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from vim_deploy.errors import EngineError

# Names in TensorRT's HardwareCompatibilityLevel, in lower case.
HARDWARE = ("none", "ampere_plus", "same_compute_capability")
PROFILE = ("min_batch", "opt_batch", "max_batch", "min_size", "opt_size", "max_size")
Size: TypeAlias = tuple[int, int]  # height, width
DEFAULT_OPT_BATCH = 8  # what vim-infer runs unless told otherwise
DEFAULT_MAX_BATCH = 32
_LEVELS = range(6)


@dataclass(frozen=True)
class TensorrtOptions:
    """Everything is optional.

    `min_batch`, `opt_batch`, `max_batch`: the optimisation profile of a file with an open batch size;
    `min_size`, `opt_size`, `max_size`: that of one with open height or width, each (height, width) in pixels.
    `workspace_mib`: memory that a layer may use while it runs, in MiB; None leaves it to TensorRT.
    `level`: builder optimisation, 0 (quick build) to 5. `timing_cache`: file that is read, if there, and
    written. `layers`: file for the layer information, JSON. `hardware`: GPUs the engine may run on besides
    the one it is built on. `version_compatible`: runs in later versions of the same major version, too.
    `refit`: weights can be exchanged; `strip`: the engine holds no weights, they are taken from the ONNX file
    when it is opened.
    """

    min_batch: int | None = None
    opt_batch: int | None = None
    max_batch: int | None = None
    min_size: Size | None = None
    opt_size: Size | None = None
    max_size: Size | None = None
    workspace_mib: int | None = None
    level: int | None = None
    timing_cache: Path | None = None
    layers: Path | None = None
    hardware: str = "none"
    version_compatible: bool = False
    refit: bool = False
    strip: bool = False

    def check(self) -> None:
        """Raises EngineError for a value out of range."""
        if self.hardware not in HARDWARE:
            raise EngineError(f"hardware is {self.hardware!r}; expected one of {', '.join(HARDWARE)}.")
        if self.level is not None and self.level not in _LEVELS:
            raise EngineError(f"level is {self.level}; expected 0 to {_LEVELS[-1]}.")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise EngineError(f"workspace_mib is {self.workspace_mib}; expected 1 or more.")

    def batches(self, fixed: int | None) -> tuple[int, int, int]:
        """Smallest, best and largest batch size. Raises EngineError for sizes out of order.

        `fixed` is the file's batch size, None where it is open.
        """
        given = (self.min_batch, self.opt_batch, self.max_batch)
        if fixed is not None:
            if any(size not in (None, fixed) for size in given):
                raise EngineError(
                    f"the file is fixed to batches of {fixed}, so its profile cannot be {given}; leave the "
                    "batch options out, or export the model with an open batch size."
                )
            return fixed, fixed, fixed
        low = self.min_batch or 1
        best = self.opt_batch or max(low, min(DEFAULT_OPT_BATCH, self.max_batch or DEFAULT_OPT_BATCH))
        high = self.max_batch or max(best, DEFAULT_MAX_BATCH)
        if not 1 <= low <= best <= high:
            raise EngineError(
                f"batch sizes {low} (min), {best} (opt), {high} (max); expected 1 <= min <= opt <= max."
            )
        return low, best, high

    def sizes(self, open_size: tuple[int | None, int | None], usual: Size) -> tuple[Size, Size, Size]:
        """Smallest, best and largest height and width. Raises EngineError for sizes out of order.

        `open_size` is the file's, None where it is open; `usual` is what its preprocessing makes, which the
        profile is for unless more is asked.
        """
        given = (self.min_size, self.opt_size, self.max_size)
        for size in given:
            for side, fixed, name in zip(size or (), open_size, ("height", "width"), strict=False):
                if fixed not in (None, side):
                    raise EngineError(
                        f"the file's {name} is fixed to {fixed}, so that its profile cannot have "
                        f"{_text(size)}; leave the size options out, or give a file whose sizes are open. "
                        "vim-export fixes them to --image-size."
                    )
        best = self.opt_size or usual
        if self.opt_size is None:
            # What the file fixes, else what is usual, moved into the limits that are given.
            sides = [fixed or side for fixed, side in zip(open_size, usual, strict=True)]
            raised = [max(pair) for pair in zip(sides, self.min_size or sides, strict=True)]
            height, width = (min(pair) for pair in zip(raised, self.max_size or raised, strict=True))
            best = height, width
        low, high = self.min_size or best, self.max_size or best
        for smaller, side, larger in zip(low, best, high, strict=True):
            if not 1 <= smaller <= side <= larger:
                raise EngineError(
                    f"sizes {_text(low)} (min), {_text(best)} (opt), {_text(high)} (max); expected "
                    "1 <= min <= opt <= max in height and in width."
                )
        return low, best, high

    @classmethod
    def recorded(cls, settings: dict[str, Any]) -> TensorrtOptions:
        """The options that an engine was built with, out of its manifest's settings, files left out."""
        values = {name: settings[name] for name in cls().settings() if name in settings}
        for kind, recorded in (("batch", settings.get("batches")), ("size", settings.get("sizes"))):
            for end, value in zip(("min", "opt", "max"), recorded or (), strict=False):
                values[f"{end}_{kind}"] = tuple(value) if kind == "size" else value
        return cls(**values)

    def settings(self) -> dict[str, Any]:
        """What a manifest records beside the profile: everything that changes the engine."""
        values = dataclasses.asdict(self)
        for name in (*PROFILE, "timing_cache", "layers"):
            del values[name]
        return values


def _text(size: Size | None) -> str:
    return "x".join(map(str, size or ()))
