"""Build options of the TensorRT backend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, TypeAlias

import click

from vim_deploy.engines.spec import BuildOptions, device_option, fusion_option
from vim_deploy.errors import EngineError
from vim_deploy.options import ImageSize, option
from vim_deploy.output_files import FileKind, containing

# Names in TensorRT's HardwareCompatibilityLevel, in lower case.
HARDWARE = ("none", "ampere_plus", "same_compute_capability")
Size: TypeAlias = tuple[int, int]  # height, width
DEFAULT_OPT_BATCH = 8  # the default batch size of vim-infer
DEFAULT_MAX_BATCH = 32
_COUNT = click.IntRange(min=1)
_SIZE = ImageSize()
_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True)
class TensorrtOptions(BuildOptions):
    """None leaves a choice to the defaults below, or to TensorRT.

    The batch and size options make the optimization profile of a file with dynamic axes; sizes are (height,
    width) in pixels. An engine built with `strip` has no weights: they are read from the ONNX file when the
    engine is opened.
    """

    backend: ClassVar[str] = "tensorrt"

    device: str = device_option("cuda")
    min_batch: int | None = option(
        None, type=_COUNT, help="Smallest batch size of the profile.  [default: 1]"
    )
    opt_batch: int | None = option(
        None,
        type=_COUNT,
        help=f"Batch size that the engine is tuned for.  [default: {DEFAULT_OPT_BATCH}]",
    )
    max_batch: int | None = option(
        None,
        type=_COUNT,
        help=f"Largest batch size of the profile.  [default: {DEFAULT_MAX_BATCH}]",
    )
    min_size: Size | None = option(
        None,
        type=_SIZE,
        metavar="HxW",
        help="Smallest height and width, if they are dynamic.  [default: --opt-size]",
    )
    opt_size: Size | None = option(
        None,
        type=_SIZE,
        metavar="HxW",
        help="Height and width that the engine is tuned for, if they are dynamic.  [default: the input "
        "size of the model's preprocessing]",
    )
    max_size: Size | None = option(
        None,
        type=_SIZE,
        metavar="HxW",
        help="Largest height and width, if they are dynamic.  [default: --opt-size]",
    )
    workspace_mib: int | None = option(
        None,
        flag="--workspace",
        type=_COUNT,
        metavar="MIB",
        help="Workspace memory limit of a layer in MiB.  [default: TensorRT's]",
    )
    level: int | None = option(
        None,
        flag="--builder-level",
        type=click.IntRange(0, 5),
        help="Builder optimization level, 0 (fastest build) to 5.  [default: TensorRT's]",
    )
    timing_cache: Path | None = option(
        None,
        type=_FILE,
        recorded=False,
        # The backend refuses a file that TensorRT does not accept as a timing cache.
        writes=FileKind("a timing cache", lambda path: True),
        help="Timing cache file. It is read if it exists, and written after the build.",
    )
    layers: Path | None = option(
        None,
        type=_FILE,
        recorded=False,
        writes=FileKind("layer information of vim-build", containing(b'"Layers": [')),
        help="Write the engine's layer information to this JSON file.",
    )
    hardware: str = option(
        "none",
        type=click.Choice(HARDWARE),
        help="Hardware compatibility level: other GPUs that the engine can run on.",
    )
    version_compatible: bool = option(
        False,
        help="Build an engine that runs in later versions of the same major version. Opening it runs code "
        "that is stored in the engine.",
    )
    fuse: bool = fusion_option()
    fp32_accumulation: bool = option(
        False, help="TensorRT 10 and later: accumulate the matmuls of an fp16 or bf16 file in float32."
    )
    refit: bool = option(False, help="Build a refittable engine: its weights can be replaced.")
    strip: bool = option(
        False,
        help="TensorRT 10 and later: build an engine without weights, to be opened with --source MODEL.",
    )

    def self_contained(self) -> TensorrtOptions:
        return replace(self, strip=False)

    def batches(self, fixed: int | None) -> tuple[int, int, int]:
        """Minimum, optimum and maximum batch size. Raises EngineError for sizes out of order.

        `fixed` is the file's batch size, None where it is dynamic.
        """
        given = (self.min_batch, self.opt_batch, self.max_batch)
        if fixed is not None:
            if any(size not in (None, fixed) for size in given):
                raise EngineError(
                    f"the file has the fixed batch size {fixed}, so its profile cannot be {given}; leave out "
                    "--min-batch, --opt-batch and --max-batch, or export the model with a dynamic batch size."
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

    def sizes(self, file_size: tuple[int | None, int | None], default: Size) -> tuple[Size, Size, Size]:
        """Minimum, optimum and maximum height and width. Raises EngineError for sizes out of order.

        `file_size` is the file's, None where it is dynamic; `default` is the input size of its preprocessing.
        """
        given = (self.min_size, self.opt_size, self.max_size)
        for size in given:
            for side, fixed, name in zip(size or (), file_size, ("height", "width"), strict=False):
                if fixed not in (None, side):
                    raise EngineError(
                        f"the file has the fixed {name} {fixed}, so its profile cannot have {_text(size)}; "
                        "leave out --min-size, --opt-size and --max-size, or use a file with dynamic sizes. "
                        "vim-export fixes them to --image-size."
                    )
        best = self.opt_size or default
        if self.opt_size is None:
            # The file's size or the default, clipped to the given limits.
            sides = [fixed or side for fixed, side in zip(file_size, default, strict=True)]
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


def _text(size: Size | None) -> str:
    return "x".join(map(str, size or ()))
