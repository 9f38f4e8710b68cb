"""A validation as one self-contained HTML page: tables, the layer plot, hashes and versions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from vim_deploy.text import plural
from vim_deploy.validation.compare import Report
from vim_deploy.validation.kinds import GENERATOR
from vim_deploy.validation.plots import error_against_depth, svg
from vim_deploy.validation.results import Validation
from vim_deploy.validation.tables import FIGURES, figures, remarks, sections

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { border: 1px solid #ccc; padding: .25em .6em }
td { text-align: right; font-variant-numeric: tabular-nums } td:first-child { text-align: left }
th { background: #f0f0f0 } .passed { color: #07663a } .failed { color: #a40000; font-weight: bold }
svg { max-width: 100%; height: auto } code { overflow-wrap: anywhere }
"""


def render(validation: Validation) -> str:
    """The page. Raises MissingDependencyError if layers were compared and matplotlib is missing."""
    verdict = "passed" if validation.passed else "failed"
    body = [
        "<h1>vim-validate</h1>",
        f'<p class="{verdict}">{escape(_headline(validation))}</p>',
        "<h2>Outputs</h2>",
        _table(("artifact", "against", "inputs", *FIGURES), _output_rows(validation)),
        _list(line for result in validation.results for line in remarks(result)),
        *_checks(validation),
        "<h2>Provenance</h2>",
        _provenance(validation),
    ]
    head = f'<meta charset="utf-8"><meta name="generator" content="{GENERATOR}">'
    head += f"<title>vim-validate: {verdict}</title><style>{_STYLE}</style>"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _headline(validation: Validation) -> str:
    good = sum(result.passed for result in validation.results)
    return (
        f"{good} of {plural(len(validation.results), 'result')} within the tolerance of the precision, on "
        f"{plural(len(validation.inputs), 'input')}, {validation.created}"
    )


def _output_rows(validation: Validation) -> Iterable[Sequence[str]]:
    yield from _rows("eager float32", "float64", validation.eager)
    for result in validation.results:
        label = f"{result.target.label}: {'passed' if result.passed else 'FAILED'}"
        yield from _rows(label, "float32", result.float32)
        yield from _rows(label, "float64", result.float64)


def _rows(label: str, against: str, report: Report) -> Iterable[Sequence[str]]:
    for group in report.groups():
        yield (label, against, group.kind, *figures(group))


def _checks(validation: Validation) -> Iterable[str]:
    if reports := [result.layers for result in validation.results if result.layers]:
        yield "<h2>Layers</h2>"
        yield svg(error_against_depth(reports))
    for section in sections(validation):
        yield f"<h2>{escape(section.title)}</h2>"
        yield _table(section.head, section.rows)


def _provenance(validation: Validation) -> str:
    facts = {
        "reference": json.dumps(validation.origin),
        "inputs (SHA-256)": validation.inputs_sha256,
        **{
            result.target.label: f"{result.artifact_sha256} ({result.precision})"
            for result in validation.results
        },
        **validation.versions,
    }
    return _list(f"{name}: {value}" for name, value in facts.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>" + "\n".join(lines) + "</table>"


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li><code>{escape(line)}</code></li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""
