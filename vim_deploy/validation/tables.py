"""A validation as terminal tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from vim_deploy.validation.compare import Group, Report
from vim_deploy.validation.layers import LayerReport
from vim_deploy.validation.validate import ArtifactResult, Validation

if TYPE_CHECKING:
    from rich.console import Console

CHANGED_SHOWN = 10


def show(validation: Validation, console: Console, block: int | None = None) -> None:
    """Print everything; `block` adds the inside of that block where layers were compared."""
    table = Table("artifact", "against", "inputs", *FIGURES, "verdict", title="vim-validate")
    _add(table, "eager float32", "float64", validation.eager, None)
    for result in validation.results:
        table.add_section()
        _add(table, result.way.label, "float32", result.float32, result.passed)
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


FIGURES = ("count", "max abs", "max relative", "cosine", "SNR dB", "top-1", "top-5", "rank corr.")


def figures(group: Group) -> list[str]:
    """A group's cells, in the order of FIGURES."""
    return [
        str(group.images),
        f"{group.max_abs:.1e}",
        f"{group.relative:.1e}",
        f"{group.cosine:.9f}",
        "equal" if group.signal_to_noise_db == math.inf else f"{group.signal_to_noise_db:.0f}",
        "" if group.top1 is None else f"{group.top1:.2%}",
        "" if group.top5 is None else f"{group.top5:.2%}",
        "" if group.rank_correlation is None else f"{group.rank_correlation:.7f}",
    ]


def remarks(result: ArtifactResult) -> Iterator[str]:
    """Why an artifact failed, what is to be known about it, and the decisions that differ."""
    for reason in result.reasons:
        yield f"{result.way.label}: FAILED {reason}"
    for note in result.notes:
        yield f"{result.way.label}: note: {note}"
    changed = result.float64.changed
    for image in changed[:CHANGED_SHOWN]:
        assert image.decision is not None
        ahead = "" if image.margin is None else f", where eager's class was ahead by {image.margin:.2e}"
        eager, other = image.decision
        yield f"{result.way.label}: class {other} instead of {eager} on {image.name}{ahead}"
    if len(changed) > CHANGED_SHOWN:
        yield f"{result.way.label}: {len(changed) - CHANGED_SHOWN} more decisions differ; see --json"


def _add(table: Table, label: str, against: str, report: Report, passed: bool | None) -> None:
    for index, group in enumerate(report.groups()):
        verdict = "" if passed is None or index else "[green]equal[/]" if passed else "[red]FAILED[/]"
        head = (label, against) if index == 0 else ("", "")
        table.add_row(*head, group.kind, *figures(group), verdict)


def _layers(report: LayerReport) -> Table:
    jump = report.first_jump
    title = f"{report.label}: " + (f"the error jumps at {jump.name}" if jump else "no part makes a jump")
    table = Table("block", "error so far", "part nearest its limit", "own error", "limit", title=title)
    for number, last, nearest in report.blocks():
        mark = "red" if nearest.jumps else None
        row = (
            str(number),
            f"{last.propagated:.1e}",
            nearest.name,
            f"{nearest.own:.1e}",
            f"{nearest.limit:.1e}",
        )
        table.add_row(*row, style=mark)
    return table


def _inside(report: LayerReport, block: int) -> Table:
    table = Table("part", "error so far", "own error", "limit", title=f"{report.label}: inside block {block}")
    for part in report.inside(block):
        row = (part.name, f"{part.propagated:.1e}", f"{part.own:.1e}", f"{part.limit:.1e}")
        table.add_row(*row, style="red" if part.jumps else None)
    return table


def _invariance(result: ArtifactResult) -> Table:
    table = Table("circumstance", "result", title=f"{result.way.label}: what the result depends on")
    assert result.invariance is not None
    for item in result.invariance.variations:
        table.add_row(item.what, "equal bits" if item.identical else f"differs by {item.relative:.1e}")
    return table


def _accuracy(validation: Validation) -> Table:
    title = "accuracy; interval: 95 %, Newcombe's method 10 for pairs; p: McNemar, exact"
    table = Table("artifact", "images", "eager top-1", "top-1", "eager top-5", "top-5", "top-1 minus eager's",
                  "p", title=title)  # fmt: skip
    for result in validation.results:
        if (found := result.accuracy) is not None:
            low, high = found.interval
            table.add_row(
                result.way.label,
                str(found.images),
                *(f"{share:.2%}" for share in found.shares),
                f"{found.top1 - found.reference_top1:+.2%} ({low:+.2%} to {high:+.2%})",
                f"{found.p_value:.2g}",
            )
    return table
