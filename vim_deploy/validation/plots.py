"""The plot of a layer comparison: error against depth, one line per artifact."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vim_deploy.errors import MissingDependencyError, OutputError, os_errors
from vim_deploy.files import atomic_write
from vim_deploy.validation.kinds import GENERATOR, plot_format
from vim_deploy.validation.layers import LayerReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def error_against_depth(reports: Sequence[LayerReport]) -> Figure:
    """Two panels: the accumulated error of the residual stream or of modules, and the local error of parts.

    A cross marks the first fault of an artifact. Raises MissingDependencyError without matplotlib.
    """
    figure, (above, below) = _figure()
    for report in reports:
        depth = [_depth(report, index) for index in range(len(report.parts))]
        stream = [index for index, part in enumerate(report.parts) if part.stream]
        (line,) = above.semilogy(
            [depth[index] for index in stream],
            [report.parts[index].accumulated_error or math.nan for index in stream],
            label=report.label,
        )
        color = line.get_color()
        below.semilogy(
            depth, [part.local_error / part.limit or math.nan for part in report.parts], ".", color=color
        )
        if (fault := report.first_fault) is not None:
            at = depth[report.parts.index(fault)], fault.local_error / fault.limit
            below.plot(*at, "x", color=color, markersize=12, label=f"first fault: {fault.name}")
    below.axhline(1.0, color="red", linewidth=1, label="limit")
    above.set_title("Accumulated error: RMS difference from float64, relative to its RMS (grows with depth)")
    above.set_ylabel("relative error of the residual stream, or of modules")
    below.set_title("Local error of each part: a faulty part is above the limit")
    below.set_ylabel("local error / limit of the part")
    below.set_xlabel(
        "block (the parts of a block are between its number and the next), or number of the module"
    )
    above.legend()
    below.legend()
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix. Raises OutputError."""
    suffix = plot_format(path)
    key = "Software" if suffix == "png" else "Creator"
    with os_errors(OutputError, f"{path} cannot be written"), atomic_write(path) as file:
        figure.savefig(file, format=suffix, dpi=150, metadata={key: GENERATOR})


def svg(figure: Figure) -> str:
    """The figure as an <svg> element for embedding in HTML."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def check_installed() -> None:
    """Raises MissingDependencyError without matplotlib, so that a long run does not fail at its end."""
    _figure()


def _figure() -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            f'plots need matplotlib ({error}); install it with `pip install "vim-deploy[plots]"`.'
        ) from None
    # Not pyplot, which keeps global state and looks for a display.
    figure = Figure(figsize=(9, 7), layout="constrained")
    return figure, figure.subplots(2, 1, sharex=True)


def _depth(report: LayerReport, index: int) -> float:
    """The x coordinate: the parts of a block are between its number and the next.

    Without numbered blocks it is the index.
    """
    part = report.parts[index]
    if all(other.block is None for other in report.parts):
        return index
    if part.block is None:
        if index == 0:
            return -0.5
        after = [place for place, other in enumerate(report.parts) if place and other.block is None]
        first = 1.0 + max(other.block or 0 for other in report.parts)
        return first + after.index(index) / len(after)
    inside = report.inside(part.block)
    return part.block + inside.index(part) / len(inside)
