"""A validation as one HTML file that needs no other: tables, the picture of layers, hashes and versions."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence

from vim_deploy.validation.compare import Report
from vim_deploy.validation.plots import error_against_depth, svg
from vim_deploy.validation.tables import FIGURES, figures, remarks
from vim_deploy.validation.validate import ArtifactResult, Validation

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { border: 1px solid #ccc; padding: .25em .6em }
td { text-align: right; font-variant-numeric: tabular-nums } td:first-child { text-align: left }
th { background: #f0f0f0 } .passed { color: #07663a } .failed { color: #a40000; font-weight: bold }
svg { max-width: 100%; height: auto } code { overflow-wrap: anywhere }
"""


def render(validation: Validation) -> str:
    """The page. Raises MissingDependencyError where layers were compared and matplotlib is missing."""
    verdict = "passed" if validation.passed else "failed"
    body = [
        "<h1>vim-validate</h1>",
        f'<p class="{verdict}">{_escape(_headline(validation))}</p>',
        "<h2>Outputs</h2>",
        _table(("artifact", "against", "inputs", *FIGURES), _output_rows(validation)),
        _list(line for result in validation.results for line in remarks(result)),
        *_layer_section(validation),
        *_invariance_section(validation.results),
        *_accuracy_section(validation.results),
        "<h2>What was compared</h2>",
        _provenance(validation),
    ]
    head = f'<meta charset="utf-8"><title>vim-validate: {verdict}</title><style>{_STYLE}</style>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _headline(validation: Validation) -> str:
    good = sum(result.passed for result in validation.results)
    return (
        f"{good} of {len(validation.results)} artifacts equal the eager model within their precision, on "
        f"{len(validation.inputs)} inputs, {validation.created}"
    )


def _output_rows(validation: Validation) -> Iterable[Sequence[str]]:
    yield from _rows("eager float32", "float64", validation.eager)
    for result in validation.results:
        label = f"{result.way.label}: {'equal' if result.passed else 'FAILED'}"
        yield from _rows(label, "float32", result.float32)
        yield from _rows(label, "float64", result.float64)


def _rows(label: str, against: str, report: Report) -> Iterable[Sequence[str]]:
    for group in report.groups():
        yield (label, against, group.kind, *figures(group))


def _layer_section(validation: Validation) -> Iterable[str]:
    reports = [result.layers for result in validation.results if result.layers]
    if not reports:
        return
    yield "<h2>Layers</h2>"
    yield svg(error_against_depth(reports))
    for report in reports:
        rows = [
            (
                str(number),
                f"{last.propagated:.1e}",
                nearest.name,
                f"{nearest.own:.1e}",
                f"{nearest.limit:.1e}",
            )
            for number, last, nearest in report.blocks()
        ]
        jump = report.first_jump
        found = f"the error jumps at {jump.name}" if jump else "no part makes a jump"
        yield f"<h3>{_escape(report.label)}: {_escape(found)}</h3>"
        yield _table(("block", "error so far", "part nearest its limit", "own error", "limit"), rows)


def _invariance_section(results: Iterable[ArtifactResult]) -> Iterable[str]:
    rows = [
        (result.way.label, item.what, "equal bits" if item.identical else f"differs by {item.relative:.1e}")
        for result in results
        if result.invariance
        for item in result.invariance.variations
    ]
    if rows:
        yield "<h2>What the result depends on</h2>"
        yield _table(("artifact", "circumstance", "result"), rows)


def _accuracy_section(results: Iterable[ArtifactResult]) -> Iterable[str]:
    rows = []
    for result in results:
        if (found := result.accuracy) is not None:
            low, high = found.interval
            rows.append(
                (
                    result.way.label,
                    str(found.images),
                    *(f"{share:.2%}" for share in found.shares),
                    f"{low:+.2%} to {high:+.2%}",
                    f"{found.p_value:.2g}",
                )
            )
    if rows:
        yield "<h2>Accuracy</h2>"
        difference = "top-1 minus eager's, 95 % (Newcombe's method 10 for pairs)"
        shares = ("eager top-1", "top-1", "eager top-5", "top-5")
        yield _table(("artifact", "images", *shares, difference, "p (McNemar)"), rows)


def _provenance(validation: Validation) -> str:
    facts = {
        "reference": json.dumps(validation.origin),
        "inputs (SHA-256)": validation.inputs_sha256,
        **{
            result.way.label: f"{result.artifact_sha256} ({result.precision})"
            for result in validation.results
        },
        **validation.versions,
    }
    return _list(f"{name}: {value}" for name, value in facts.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{_escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{_escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>" + "\n".join(lines) + "</table>"


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li><code>{_escape(line)}</code></li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _escape(text: str) -> str:
    return html.escape(text)
