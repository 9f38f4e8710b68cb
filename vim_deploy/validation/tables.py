"""A validation as tables for the terminal, and the cells that the HTML page shares."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from vim_deploy.text import plural
from vim_deploy.validation.accuracy import Accuracy
from vim_deploy.validation.compare import Group, Report
from vim_deploy.validation.invariance import Variation
from vim_deploy.validation.layers import LayerReport, PartFigures
from vim_deploy.validation.results import TargetResult, Validation

if TYPE_CHECKING:
    from rich.console import Console

CHANGED_SHOWN = 10
FIGURES = ("count", "max abs", "max relative", "cosine", "SNR dB", "top-1", "top-5", "rank corr.")
BLOCKS = ("block", "accumulated error", "part closest to its limit", "local error", "limit")
ACCURACY = ("artifact", "images", "eager top-1", "top-1", "eager top-5", "top-5",
            "difference in top-1 (95 %)", "p")  # fmt: skip


def show(validation: Validation, console: Console, block: int | None = None) -> None:
    """Print all results; `block` adds the parts of that block if layers were compared."""
    table = Table("artifact", "against", "inputs", *FIGURES, "verdict", title="vim-validate")
    _add(table, "eager float32", "float64", validation.eager, None)
    for result in validation.results:
        table.add_section()
        _add(table, result.target.label, "float32", result.float32, result.passed)
        _add(table, "", "float64", result.float64, None)
    console.print(table)
    for result in validation.results:
        for line in remarks(result):
            console.print(line, highlight=False)
        if result.layers:
            console.print(_layers(result.layers))
            if block is not None:
                console.print(_inside(result.layers, block))
        if result.invariance:
            console.print(_invariance(result))
    if any(result.accuracy for result in validation.results):
        console.print(_accuracy(validation))


def figures(group: Group) -> list[str]:
    """A group's cells, in the order of FIGURES."""
    return [
        str(group.images),
        f"{group.max_abs:.1e}",
        f"{group.relative:.1e}",
        f"{group.cosine:.9f}",
        "exact" if group.signal_to_noise_db == math.inf else f"{group.signal_to_noise_db:.0f}",
        "" if group.top1 is None else f"{group.top1:.2%}",
        "" if group.top5 is None else f"{group.top5:.2%}",
        "" if group.rank_correlation is None else f"{group.rank_correlation:.7f}",
    ]


def remarks(result: TargetResult) -> Iterator[str]:
    """The reasons of a failure, the notes, and the images with another predicted class."""
    for reason in result.reasons:
        yield f"{result.target.label}: FAILED: {reason}"
    for note in result.notes:
        yield f"{result.target.label}: note: {note}"
    changed = result.float64.changed
    for image in changed[:CHANGED_SHOWN]:
        assert image.decision is not None
        ahead = "" if image.margin is None else f" (eager margin {image.margin:.2e})"
        eager, other = image.decision
        yield f"{result.target.label}: class {other} instead of {eager} on {image.name}{ahead}"
    if len(changed) > CHANGED_SHOWN:
        more = plural(len(changed) - CHANGED_SHOWN, "more image")
        yield f"{result.target.label}: {more} with another class; --json lists all"


def _add(table: Table, label: str, against: str, report: Report, passed: bool | None) -> None:
    for index, group in enumerate(report.groups()):
        verdict = "" if passed is None or index else "[green]passed[/]" if passed else "[red]FAILED[/]"
        head = (label, against) if index == 0 else ("", "")
        table.add_row(*head, group.kind, *figures(group), verdict)


def layers_title(report: LayerReport) -> str:
    fault = report.first_fault
    found = (
        f"the local error first exceeds its limit at {fault.name}" if fault else "no part exceeds its limit"
    )
    return f"{report.label}: {found}"


def block_row(number: int, last: PartFigures, closest: PartFigures) -> tuple[str, ...]:
    """The cells of one of `LayerReport.blocks()`, in the order of BLOCKS."""
    errors = (f"{last.accumulated_error:.1e}", closest.name, f"{closest.local_error:.1e}")
    return (str(number), *errors, f"{closest.limit:.1e}")


def change(variation: Variation) -> str:
    return "bit-identical" if variation.identical else f"differs by {variation.relative:.1e}"


def accuracy_row(label: str, accuracy: Accuracy) -> tuple[str, ...]:
    """The cells of one accuracy, in the order of ACCURACY."""
    low, high = accuracy.interval
    return (
        label,
        str(accuracy.images),
        *(f"{value:.2%}" for value in accuracy.accuracies),
        f"{accuracy.top1 - accuracy.reference_top1:+.2%} ({low:+.2%} to {high:+.2%})",
        f"{accuracy.p_value:.2g}",
    )


def _layers(report: LayerReport) -> Table:
    table = Table(*BLOCKS, title=layers_title(report))
    for number, last, closest in report.blocks():
        style = "red" if closest.exceeds_limit else None
        table.add_row(*block_row(number, last, closest), style=style)
    return table


def _inside(report: LayerReport, block: int) -> Table:
    table = Table("part", "accumulated error", "local error", "limit", title=f"{report.label}: block {block}")
    for part in report.inside(block):
        row = (part.name, f"{part.accumulated_error:.1e}", f"{part.local_error:.1e}", f"{part.limit:.1e}")
        table.add_row(*row, style="red" if part.exceeds_limit else None)
    return table


def _invariance(result: TargetResult) -> Table:
    table = Table("condition", "difference", title=f"{result.target.label}: invariance")
    assert result.invariance is not None
    for item in result.invariance.variations:
        table.add_row(item.condition, change(item))
    return table


def _accuracy(validation: Validation) -> Table:
    title = "accuracy, with the 95 % confidence interval of the difference (Newcombe) and p (McNemar)"
    table = Table(*ACCURACY, title=title)
    for result in validation.results:
        if result.accuracy is not None:
            table.add_row(*accuracy_row(result.target.label, result.accuracy))
    return table
