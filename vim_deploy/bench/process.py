"""The near end of a measured process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from vim_deploy.errors import VimDeployError

_BOOT = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
_WORK = _BOOT + "from vim_deploy.bench.worker import main; main()"
_GRACE_SECONDS = 10
_TAIL = 600


class MeasurementError(VimDeployError):
    """A measured process reported an error, or ended."""


class Worker:
    """A fresh process that holds one opened model; a context manager. Its threads sleep between requests."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115  (closed by close)
        self._process = subprocess.Popen(
            python(_WORK), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    @property
    def process_id(self) -> int:
        return self._process.pid

    def open(self, opener: str, arguments: dict[str, Any], shape: Sequence[int], seed: int) -> dict[str, Any]:
        """Open what the opener names (see worker.py) for random input of this shape.

        Returns `seconds` of opening and `memory` in bytes. Raises MeasurementError, as all requests do.
        """
        return self._ask("open", opener=opener, arguments=arguments, shape=list(shape), seed=seed)

    def run(self, repeats: int, seconds: float) -> dict[str, Any]:
        """Up to `repeats` inferences, fewer when `seconds` are over: their `seconds`, and `memory`."""
        return self._ask("run", repeats=repeats, seconds=seconds)

    def output(self) -> list[float]:
        """What the model says of the first image, flat."""
        values: list[float] = self._ask("output")["output"]
        return values

    def call(self, function: str, arguments: dict[str, Any]) -> Any:
        """The result, plain JSON, of "module:function" called over there."""
        return self._ask("call", function=function, arguments=arguments)["result"]

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self.close()

    def _ask(self, action: str, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": action, **request}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise MeasurementError(f"{self.name}: {self._obituary()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MeasurementError(f"{self.name}: {answer['error']}")
        return answer

    def _obituary(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()[-_TAIL:]
        how = f"exit code {code}"
        if code < 0:
            how = signal.Signals(-code).name
        hint = "; it probably needed more memory than there is" if code == -signal.SIGKILL else ""
        return f"the measured process ended with {how}{hint}." + (f" It said: {said}" if said else "")


def call_isolated(function: str, arguments: dict[str, Any]) -> Any:
    """The result, plain JSON, of "module:function" called in a process of its own."""
    with Worker(function) as worker:
        return worker.call(function, arguments)


def python(code: str, *arguments: str) -> list[str]:
    """A command for a fresh interpreter that finds the modules found here; `arguments` from argv[2] on."""
    return [sys.executable, "-c", code, json.dumps(sys.path), *arguments]
