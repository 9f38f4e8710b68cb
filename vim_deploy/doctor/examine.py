"""Runs each check in a process of its own: a library that crashes or hangs on loading is a finding too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

SECONDS = 120.0
_MARK = "vim-doctor finding: "
_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from vim_deploy.doctor.examine import print_finding; print_finding(sys.argv[2])"
)


@dataclass(frozen=True)
class Finding:
    """`status`: ok, missing, or broken. `needed` is for what every inference on a processor needs."""

    name: str
    status: str
    detail: str
    advice: str = ""
    needed: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(seconds: float = SECONDS) -> Iterator[Finding]:
    """Findings as they are made."""
    from vim_deploy.doctor.checks import CHECKS

    for name in CHECKS:
        yield from tried(name, seconds)


def tried(name: str, seconds: float = SECONDS) -> list[Finding]:
    """The findings of one check."""
    from vim_deploy.doctor.checks import CHECKS

    command = [sys.executable, "-I", "-c", _CODE, json.dumps(sys.path), name]
    needed = CHECKS[name].needed
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        return [Finding(name, "broken", f"no answer within {seconds:g} s", CHECKS[name].advice, needed)]
    lines = [line for line in result.stdout.splitlines() if line.startswith(_MARK)]
    if result.returncode == 0 and lines:
        return [Finding(**values) for values in json.loads(lines[-1][len(_MARK) :])]
    said = result.stderr.strip().splitlines()[-1:] or ["nothing was said"]
    how = _ending(result.returncode)
    return [
        Finding(name, "broken", f"the process that tried it {how}: {said[0]}", CHECKS[name].advice, needed)
    ]


def _ending(code: int) -> str:
    if code < 0:
        known = -code in set(signal.Signals)
        return f"died of {signal.Signals(-code).name if known else -code}"
    return f"ended with {code}"


def print_finding(name: str) -> None:
    """The other end of `tried`."""
    from vim_deploy.doctor.checks import CHECKS

    check = CHECKS[name]
    run: Callable[[], list[Finding]] = check.run
    print(_MARK + json.dumps([finding.to_dict() for finding in run()]), flush=True)
