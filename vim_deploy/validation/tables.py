"""A validation as tables for the terminal, and the cells that the HTML page shares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.markup import escape
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
PARTS = ("part", "accumulated error", "local error", "limit")
ACCURACY = ("artifact", "images", "eager top-1", "top-1", "eager top-5", "top-5",
            "difference in top-1 (95 %)", "p")  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A table about one check. `faulty`: of each row, whether it is the reason of a failure."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    faulty: Sequence[bool] = ()


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
            console.print(line, highlight=False, markup=False)
    for section in sections(validation, block):
        table = Table(*section.head, title=escape(section.title))
        for row, faulty in zip_longest(section.rows, section.faulty):
            table.add_row(*map(escape, row), style="red" if faulty else None)
        console.print(table)


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
        head = (escape(label), against) if index == 0 else ("", "")
        table.add_row(*head, group.kind, *figures(group), verdict)


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


def sections(validation: Validation, block: int | None = None) -> Iterator[Section]:
    """The tables of the checks that were made; `block` adds the parts of that block."""
    for result in validation.results:
        if result.layers:
            yield _blocks(result.layers)
            if block is not None:
                yield _parts(result.layers, block)
        if result.invariance:
            rows = [(item.condition, change(item)) for item in result.invariance.variations]
            yield Section(f"{result.target.label}: invariance", ("condition", "difference"), rows)
    accuracies = [
        accuracy_row(item.target.label, item.accuracy) for item in validation.results if item.accuracy
    ]
    if accuracies:
        title = "accuracy, with the 95 % confidence interval of the difference (Newcombe) and p (McNemar)"
        yield Section(title, ACCURACY, accuracies)


def _blocks(report: LayerReport) -> Section:
    fault, blocks = report.first_fault, report.blocks()
    found = (
        f"the local error first exceeds its limit at {fault.name}" if fault else "no part exceeds its limit"
    )
    rows = [
        (str(number), f"{last.accumulated_error:.1e}", closest.name, *_local(closest))
        for number, last, closest in blocks
    ]
    faulty = [closest.exceeds_limit for _, _, closest in blocks]
    return Section(f"{report.label}: {found}", BLOCKS, rows, faulty)


def _parts(report: LayerReport, block: int) -> Section:
    parts = report.inside(block)
    rows = [(part.name, f"{part.accumulated_error:.1e}", *_local(part)) for part in parts]
    faulty = [part.exceeds_limit for part in parts]
    return Section(f"{report.label}: block {block}", PARTS, rows, faulty)


def _local(part: PartFigures) -> tuple[str, str]:
    return f"{part.local_error:.1e}", f"{part.limit:.1e}"
