"""A validation as tables for the terminal, and the cells that the HTML page shares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from vim_deploy.text import plural
from vim_deploy.validation.accuracy import Accuracy
from vim_deploy.validation.compare import ALL, Group, Report
from vim_deploy.validation.invariance import Variation
from vim_deploy.validation.layers import LayerReport, PartFigures
from vim_deploy.validation.quality import QualityDifference
from vim_deploy.validation.results import TargetResult, Validation

if TYPE_CHECKING:
    from rich.console import Console

CHANGED_SHOWN = 10
# A line end in a name saves space in a terminal; in HTML it is a space.
FIGURES = ("against", "inputs", "max\nabs", "max\nrelative", "cosine", "SNR\ndB", "top-1", "top-5",
           "rank\ncorr.")  # fmt: skip
BLOCKS = ("block or part", "accumulated\nerror", "part closest to its limit", "local\nerror", "limit")
PARTS = ("part", "accumulated\nerror", "local\nerror", "limit")
ACCURACY = ("model", "images", "top-1", "top-5", "difference\nin top-1", "95 % interval", "p")


@dataclass(frozen=True)
class Section:
    """A table about one check. `faulty`: of each row, whether it is the reason of a failure."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    faulty: Sequence[bool] = ()


def show(validation: Validation, console: Console, block: int | None = None) -> None:
    """Print the verdict, its reasons and all tables; `block` adds the parts of that block if layers were
    compared. The tables fit into 80 columns: long cells of the first column are wrapped.
    """
    # Without wrapping, so that programs can search the lines.
    line_of = partial(console.print, markup=False, soft_wrap=True)
    line_of(headline(validation), style="green" if validation.passed else "red")
    for result in validation.results:
        for line in remarks(result):
            line_of(line)
    for section in (*outputs(validation), *sections(validation, block)):
        console.print()
        console.print(section.title, style="bold", markup=False)
        console.print(_table(section))


def headline(validation: Validation) -> str:
    """The verdict in one line."""
    good, inputs = sum(result.passed for result in validation.results), len(validation.inputs)
    results = plural(len(validation.results), "result")
    given = any(result.float32.tolerance is not None for result in validation.results)
    judged = any(result.criterion for result in validation.results)
    of_precision = f"the tolerance {'or the criterion ' if judged else ''}of the precision"
    tolerance = "the given tolerance" if given else of_precision
    return (
        f"{'passed' if validation.passed else 'FAILED'}: {good} of {results} within {tolerance}, on "
        f"{plural(inputs, 'input')}"
    )


def outputs(validation: Validation) -> Iterator[Section]:
    """The comparison of the outputs: the eager model itself, and each artifact in each of its modes."""
    yield Section("eager float32", FIGURES, list(_rows("float64", validation.eager)))
    for result in validation.results:
        verdict = "passed" if result.passed else "FAILED"
        rows = [*_rows("float32", result.float32), *_rows("float64", result.float64)]
        faulty = [
            bool(report.reasons) and group.kind == ALL
            for report in (result.float32, result.float64)
            for group in report.groups()
        ]
        yield Section(f"{result.target.label}: {verdict}", FIGURES, rows, faulty)


def _rows(against: str, report: Report) -> Iterator[tuple[str, ...]]:
    for group in report.groups():
        yield (against, f"{group.kind} ({group.images})", *_figures(group))


def _figures(group: Group) -> list[str]:
    """A group's cells, in the order of FIGURES."""
    return [
        f"{group.max_abs:.1e}",
        f"{group.relative:.1e}",
        "" if group.cosine is None else f"{group.cosine:.9f}",
        _decibels(group.signal_to_noise_db),
        "" if group.top1 is None else f"{group.top1:.2%}",
        "" if group.top5 is None else f"{group.top5:.2%}",
        "" if group.rank_correlation is None else f"{group.rank_correlation:.7f}",
    ]


def _table(section: Section) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for number, name in enumerate(section.head):
        table.add_column(escape(name), overflow="fold", no_wrap=number > 0)
    for row, faulty in zip_longest(section.rows, section.faulty):
        table.add_row(*map(escape, row), style="red" if faulty else None)
    return table


def _decibels(ratio: float | None) -> str:
    return "" if ratio is None else "exact" if ratio == math.inf else f"{ratio:.0f}"


def remarks(result: TargetResult) -> Iterator[str]:
    """The reasons of a failure, the notes, and the images with another predicted class."""
    for reason in result.reasons:
        yield f"{result.target.label}: FAILED: {reason}"
    if result.criterion:
        yield f"{result.target.label}: the criterion for {result.precision} is {result.criterion.text}"
    for note in result.all_notes:
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


def change(variation: Variation) -> str:
    return "bit-identical" if variation.identical else f"differs by {variation.relative:.1e}"


def accuracy_rows(accuracies: Sequence[tuple[str, Accuracy]]) -> Iterator[tuple[str, ...]]:
    """The eager model, then each artifact; the cells are in the order of ACCURACY."""
    eager = accuracies[0][1]
    yield "eager", str(eager.images), f"{eager.reference_top1:.2%}", f"{eager.reference_top5:.2%}", "", "", ""
    for label, accuracy in accuracies:
        low, high = accuracy.interval
        yield (
            label,
            str(accuracy.images),
            f"{accuracy.top1:.2%}",
            f"{accuracy.top5:.2%}",
            f"{accuracy.top1 - accuracy.reference_top1:+.2%}",
            f"{low:+.2%} to {high:+.2%}",
            f"{accuracy.p_value:.2g}",
        )


def sections(validation: Validation, block: int | None = None) -> Iterator[Section]:
    """The tables of the checks that were made; `block` adds the parts of that block."""
    for result in validation.results:
        if result.layers:
            yield _blocks(result.layers)
            if block is not None:
                yield _parts(result.layers, block)
            if modules := result.layers.not_compared:
                title = f"{result.target.label}: {plural(len(modules), 'module')} not compared"
                yield Section(title, ("module", "reason"), [(item.name, item.reason) for item in modules])
        if result.invariance:
            rows = [(item.condition, change(item)) for item in result.invariance.variations]
            yield Section(f"{result.target.label}: invariance", ("condition", "difference"), rows)
    accuracies = [(item.target.label, item.accuracy) for item in validation.results if item.accuracy]
    if accuracies:
        title = "accuracy; confidence interval by Newcombe, p by McNemar"
        yield Section(title, ACCURACY, list(accuracy_rows(accuracies)))

    if qualities := [(item.target.label, item.quality) for item in validation.results if item.quality]:
        yield _quality(qualities)


def _blocks(report: LayerReport) -> Section:
    fault, blocks = report.first_fault, {row[0]: row for row in report.blocks()}
    found = (
        f"the local error first exceeds its limit at {fault.name}" if fault else "no part exceeds its limit"
    )
    rows, faulty = [], []
    for part in report.parts:
        if part.block is None:
            rows.append((part.name, f"{part.accumulated_error:.1e}", part.name, *_local(part)))
            faulty.append(part.exceeds_limit)
        elif part is blocks[part.block][1]:  # the last one of its block
            closest = blocks[part.block][2]
            row = (str(part.block), f"{part.accumulated_error:.1e}", closest.name, *_local(closest))
            rows.append(row)
            faulty.append(closest.exceeds_limit)
    return Section(f"{report.label}: {found}", BLOCKS, rows, faulty)


def _parts(report: LayerReport, block: int) -> Section:
    parts = report.inside(block)
    rows = [(part.name, f"{part.accumulated_error:.1e}", *_local(part)) for part in parts]
    faulty = [part.exceeds_limit for part in parts]
    return Section(f"{report.label}: block {block}", PARTS, rows, faulty)


def _local(part: PartFigures) -> tuple[str, str]:
    return f"{part.local_error:.1e}", f"{part.limit:.1e}"


def _quality(results: Sequence[tuple[str, QualityDifference]]) -> Section:
    first = results[0][1]
    rows: list[tuple[str, ...]] = [("eager", str(first.images), f"{first.reference:.2%}", "", "")]
    for label, found in results:
        low, high = found.interval
        apart = f"{found.value - found.reference:+.2%}"
        rows.append((label, str(found.images), f"{found.value:.2%}", apart, f"{low:+.2%} to {high:+.2%}"))
    title = f"{first.metric}; interval by {first.resamples} bootstrap samples of the images"
    return Section(title, ("model", "images", first.metric, "difference", "95 % interval"), rows)
