"""A validation as one self-contained HTML page: verdict, causes, tables, layer plot, hashes and versions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources

from vim_deploy.validation.kinds import GENERATOR
from vim_deploy.validation.plots import error_against_depth, svg
from vim_deploy.validation.results import Validation
from vim_deploy.validation.tables import Section, headline, outputs, remarks, sections


def render(validation: Validation, command: str = "") -> str:
    """The page. `command`: the command line that made it.

    Raises MissingDependencyError if layers were compared and matplotlib is missing.
    """
    verdict = "passed" if validation.passed else "failed"
    body = "\n".join(_body(validation, command, verdict))
    template = resources.files(__package__).joinpath("page.html").read_text("utf-8")
    # The body comes last: it may contain the text of the other placeholders.
    for name, text in (("GENERATOR", GENERATOR), ("VERDICT", verdict), ("BODY", body)):
        template = template.replace(f"__{name}__", text, 1)
    return template


def _body(validation: Validation, command: str, verdict: str) -> Iterator[str]:
    yield f'<h1 class="{verdict}">{escape(headline(validation))}</h1>'
    yield _paragraph(f"vim-validate {validation.versions['vim_deploy']}, {validation.created}")
    if command:
        yield f"<p><code>{escape(command)}</code></p>"
    causes = [line for result in validation.results for line in remarks(result)]
    if causes:
        yield "<h2>Causes and notes</h2>"
        yield _list(causes)
    yield "<h2>Outputs</h2>"
    yield _paragraph(
        "The largest differences from the eager model over the inputs of each kind, the lowest cosine, "
        "signal-to-noise ratio and rank correlation, and how often the best and the five best classes agree."
    )
    for section in outputs(validation):
        yield from _section(section)
    if reports := [result.layers for result in validation.results if result.layers]:
        yield "<h2>Layers</h2>"
        yield f'<div class="scroll">{svg(error_against_depth(reports))}</div>'
    checks = list(sections(validation))
    if checks:
        yield "<h2>Checks</h2>"
    for section in checks:
        yield from _section(section)
    yield "<h2>Provenance</h2>"
    yield _list(_provenance(validation))


def _section(section: Section) -> Iterator[str]:
    yield f"<h3>{escape(section.title)}</h3>"
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in section.head) + "</tr>"]
    for number, row in enumerate(section.rows):
        faulty = number < len(section.faulty) and section.faulty[number]
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines.append(f'<tr class="failed">{cells}</tr>' if faulty else f"<tr>{cells}</tr>")
    yield '<div class="scroll"><table>' + "\n".join(lines) + "</table></div>"


def _provenance(validation: Validation) -> Iterator[str]:
    yield f"reference: {json.dumps(validation.origin)}"
    yield f"inputs (SHA-256): {validation.inputs_sha256}"
    for result in validation.results:
        yield f"{result.target.label}: {result.artifact_sha256} ({result.precision})"
    for name, version in validation.versions.items():
        yield f"{name}: {version}"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li><code>{escape(line)}</code></li>" for line in lines) + "</ul>"
