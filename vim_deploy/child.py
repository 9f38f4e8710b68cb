"""Child processes: fresh Python interpreters that call one function of this package."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any, NamedTuple

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


class Result(NamedTuple):
    """What a child process left: its return code and what it wrote."""

    code: int
    output: bytes
    errors: str


def call_limited(target: str, data: bytes, *, memory: int, seconds: float, **arguments: Any) -> Result:
    """Call "module:function" in a child process whose standard input is `data`.

    `memory`: the bytes that it may use, not counting files and reserved address space. It ends when this
    process ends, also by SIGKILL. Raises TimeoutError after `seconds`, and OSError if it cannot be started.
    """
    until, open_while_alive = os.pipe()
    try:
        # In its own session, so that Ctrl-C in the terminal reaches only this process.
        process = subprocess.Popen(
            command(f"{__name__}:limited", function=target, memory=memory, until=until, arguments=arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(until,),
            start_new_session=True,
        )
        with process:
            try:
                output, errors = process.communicate(data, timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise TimeoutError from None
            except BaseException:
                process.kill()
                raise
    finally:
        os.close(until)
        os.close(open_while_alive)
    return Result(process.returncode, output, errors.decode(errors="replace"))


def limited(function: str, memory: int, until: int, arguments: dict[str, Any]) -> None:
    """In the child process of `call_limited`: set the limits and call the function."""
    from vim_deploy.registry import load_object

    threading.Thread(target=_exit_at_end_of, args=(until,), daemon=True).start()
    # Not RLIMIT_AS: threads and memory allocators reserve far more addresses than they use.
    limit_memory(memory, "RLIMIT_DATA")
    load_object(function)(**arguments)


def _exit_at_end_of(descriptor: int) -> None:
    os.read(descriptor, 1)
    os._exit(1)


def limit_memory(limit: int, name: str = "RLIMIT_AS") -> None:
    """Limit the memory of this process to some bytes, and write no core dumps."""
    try:
        import resource
    except ImportError:  # not on this system
        return
    for limited_resource, value in ((getattr(resource, name), limit), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
            resource.setrlimit(limited_resource, (value, value))


def describe_exit(code: int) -> str:
    """How a process ended, from its return code: "exited with code 1", "was killed by SIGSEGV"."""
    if code >= 0:
        return f"exited with code {code}"
    known = -code in set(signal.Signals)
    return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
