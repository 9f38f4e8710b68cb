"""Child processes: fresh Python interpreters that call one function of this package."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

# Set in a child process: time.perf_counter() when its interpreter started to run code.
started: float | None = None

_BOOTSTRAP = (
    "import time; started = time.perf_counter(); import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from vim_deploy import child; child.run(started, sys.argv[2], json.loads(sys.argv[3]))"
)


def command(target: str, **arguments: Any) -> list[str]:
    """Command line that calls "module:function" with these arguments, which are passed as JSON.

    The interpreter is isolated from PYTHON* variables and the current folder; it imports modules from where
    this process does.
    """
    return [sys.executable, "-I", "-c", _BOOTSTRAP, json.dumps(sys.path), target, json.dumps(arguments)]


def run(started_at: float, target: str, arguments: dict[str, Any]) -> None:
    """In the child process: call the function."""
    global started
    from vim_deploy.registry import load_object

    started = started_at
    load_object(target)(**arguments)


def describe_exit(code: int) -> str:
    """How a process ended, from its return code: "exited with code 1", "was killed by SIGSEGV"."""
    if code >= 0:
        return f"exited with code {code}"
    known = -code in set(signal.Signals)
    return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
