"""Runs each check in a child process: a library that crashes or hangs while loading is a finding, too."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict

from vim_deploy import child
from vim_deploy.doctor.checks import all_checks
from vim_deploy.finding import Finding

TIMEOUT_SECONDS = 120.0
_PREFIX = "vim-doctor findings: "


def examine(seconds: float = TIMEOUT_SECONDS) -> Iterator[Finding]:
    """The findings of all checks, as soon as each is done."""
    for name in all_checks():
        yield from run_check(name, seconds)


def run_check(name: str, seconds: float = TIMEOUT_SECONDS) -> list[Finding]:
    """The findings of one check."""
    command = child.command(f"{__name__}:print_findings", name=name)
    check = all_checks()[name]
    advice, required = check.advice, check.required
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        return [Finding(name, "broken", f"the check timed out after {seconds:g} s", advice, required)]
    lines = [line for line in result.stdout.splitlines() if line.startswith(_PREFIX)]
    if result.returncode == 0 and lines:
        return [Finding(**values) for values in json.loads(lines[-1][len(_PREFIX) :])]
    (last,) = result.stderr.strip().splitlines()[-1:] or ["no error output"]
    detail = f"the check's process {child.describe_exit(result.returncode)}: {last}"
    return [Finding(name, "broken", detail, advice, required)]


def print_findings(name: str) -> None:
    """In the child process: run the check and print its findings on one line."""
    print(_PREFIX + json.dumps([asdict(finding) for finding in all_checks()[name].run()]), flush=True)
