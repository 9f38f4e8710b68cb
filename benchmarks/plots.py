"""The two plots of the Vim paper's first figure, speed and memory against resolution, from the JSON.

python -m benchmarks.plots benchmark-output/compare.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.candidates import ENGINE, ENGINE_BF16, ENGINE_INT8, LIBRARY, ONNXRUNTIME, OPENVINO, PYTORCH
from benchmarks.ratios import find
from vim_deploy.bench.table import MEGABYTE
from vim_deploy.cli.common import command
from vim_deploy.errors import MissingDependencyError, OutputError
from vim_deploy.text import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Value = Callable[[dict[str, Any]], float]
# Network, runtime, color, marker. The colors are distinguishable for color-blind readers.
_LINES = (
    ("Vim", ENGINE, "#d55e00", "o"),
    ("Vim", ENGINE_BF16, "#cc79a7", "o"),
    ("Vim", ENGINE_INT8, "#000000", "o"),
    ("Vim", LIBRARY, "#e69f00", "o"),
    ("DeiT", ONNXRUNTIME, "#0072b2", "s"),
    ("DeiT", OPENVINO["fp32"], "#56b4e9", "s"),
    ("DeiT", OPENVINO["bf16"], "#009e73", "s"),
    ("DeiT", OPENVINO["int8"], "#f0e442", "s"),
    ("DeiT", PYTORCH, "#666666", "s"),
)


@dataclass(frozen=True)
class Line:
    """One network in one runtime: a value per resolution (pixels per side), in ascending order."""

    label: str
    color: str
    marker: str
    resolutions: tuple[int, ...]
    values: tuple[float, ...]


def images_per_second(result: dict[str, Any]) -> float:
    return 1000 / float(result["latency_ms"]["p50"])


def megabytes_above_start(result: dict[str, Any]) -> float:
    return float(result["memory_bytes"]["above_start"]) / MEGABYTE


def lines(cells: Sequence[dict[str, Any]], pair: str, value: Value) -> list[Line]:
    """The lines of one model size at batch 1, without candidates that were not measured."""
    found = []
    single = sorted((cell for cell in cells if cell["pair"] == pair and cell["batch_size"] == 1),
                    key=lambda cell: cell["resolution"])  # fmt: skip
    for network, runtime, color, marker in _LINES:
        points = [(cell["resolution"], value(result))
                  for cell in single if (result := find(cell, network, runtime))]  # fmt: skip
        if points:
            resolutions, values = zip(*points, strict=True)
            found.append(Line(f"{network}-{pair}, {runtime}", color, marker, resolutions, values))
    return found


def draw(result: dict[str, Any], folder: Path, stem: str) -> list[Path]:
    """Write one image with both plots per model size. Raises MissingDependencyError."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingDependencyError(
            f'matplotlib does not load ({error}); install it with `pip install "vim-deploy[bench]"`.'
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    written = []
    for pair in dict.fromkeys(cell["pair"] for cell in result["cells"]):
        figure, (speed, memory) = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
        _draw(speed, lines(result["cells"], pair, images_per_second), "images per second")
        _draw(memory, lines(result["cells"], pair, megabytes_above_start), "memory above start, MB")
        speed.legend(fontsize=8, frameon=False)
        conditions = result["conditions"]
        figure.suptitle(
            f"{conditions['cpu']} ({conditions['cpu_instruction_set']}), "
            f"{plural(result['settings']['threads'], 'thread')}, batch 1",
            fontsize=10,
        )
        path = folder / f"{stem}-{pair.replace(' ', '-')}.png"
        figure.savefig(path, dpi=150)
        pyplot.close(figure)
        written.append(path)
    return written


def _draw(axes: Axes, drawn: Sequence[Line], title: str) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    for line in drawn:
        axes.plot(line.resolutions, line.values, color=line.color, marker=line.marker, label=line.label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({size for line in drawn for size in line.resolutions})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.tick_params(axis="x", labelrotation=45)
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("image side, pixels")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)


@command()
@click.argument("file", type=click.Path(path_type=Path))
def main(file: Path) -> None:
    """Draw the plots of FILE, the JSON of benchmarks.compare, to the same folder."""
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{file} cannot be read: {error}; give the JSON of benchmarks.compare.") from None
    for path in draw(result, file.parent, file.stem):
        click.echo(path)


if __name__ == "__main__":
    main()
