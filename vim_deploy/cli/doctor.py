"""vim-doctor: check the installation, and report how to fix problems."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from vim_deploy.cli.common import command, echo

if TYPE_CHECKING:
    from vim_deploy.doctor import Finding

NOT_READY = 1
_LABELS = {"ok": "ok      ", "missing": "MISSING ", "broken": "BROKEN  ", "absent": "optional"}


@command(examples=("vim-doctor", "vim-doctor --json"))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def main(as_json: bool) -> None:
    """Check each component that this package uses in a separate process, and report how to fix problems.

    Exit codes: 0 vim-infer works on this machine's CPU, 1 a required component does not work.
    """
    from vim_deploy.doctor import examine

    findings: list[Finding] = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _show(finding)
    ready = not any(finding.required and finding.status != "ok" for finding in findings)
    if as_json:
        values = {"ready": ready, "findings": [asdict(finding) for finding in findings]}
        echo(json.dumps(values, indent=2))
    else:
        echo("vim-infer works on this CPU" if ready else "vim-infer does not work on this machine yet")
    if not ready:
        sys.exit(NOT_READY)


def _show(finding: Finding) -> None:
    echo(f"{_LABELS[finding.status]}  {finding.name}: {finding.detail}")
    if finding.status != "ok" and finding.advice:
        echo(f"          -> {finding.advice}")
