"""The parent's side of a measured process; worker.py is the other side."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from vim_deploy import child
from vim_deploy.errors import VimDeployError

_EXIT_SECONDS = 10
_STDERR_TAIL = 600


class MeasurementError(VimDeployError):
    """A measured process reported an error, or exited."""


class Worker:
    """A fresh process with one opened model, as a context manager. Its threads are idle between requests."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115  (closed by close)
        self._process = subprocess.Popen(
            child.command("vim_deploy.bench.worker:main"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    @property
    def process_id(self) -> int:
        return self._process.pid

    def open(self, opener: str, arguments: dict[str, Any], shape: Sequence[int], seed: int) -> dict[str, Any]:
        """Open a model with an opener (see worker.py), for random input of this shape.

        Returns the `seconds` it took and `memory` in bytes. Raises MeasurementError, like all requests.
        """
        return self._ask("open", opener=opener, arguments=arguments, shape=list(shape), seed=seed)

    def run(self, repeats: int, seconds: float) -> dict[str, Any]:
        """Up to `repeats` inferences, stopping after `seconds`: their `seconds`, and `memory` in bytes."""
        return self._ask("run", repeats=repeats, seconds=seconds)

    def output(self) -> list[float]:
        """The model's output for the first image, flattened."""
        values: list[float] = self._ask("output")["output"]
        return values

    def call(self, function: str, arguments: dict[str, Any]) -> Any:
        """The result, plain JSON, of "module:function" called in the process."""
        return self._ask("call", function=function, arguments=arguments)["result"]

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
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
            raise MeasurementError(f"{self.name}: {self._describe_exit()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MeasurementError(f"{self.name}: {answer['error']}")
        return answer

    def _describe_exit(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        stderr = self._log.read().decode(errors="replace").strip()[-_STDERR_TAIL:]
        hint = "; it probably ran out of memory" if code == -signal.SIGKILL else ""
        detail = f" Its stderr: {stderr}" if stderr else ""
        return f"the measured process {child.describe_exit(code)}{hint}.{detail}"


def call_isolated(function: str, arguments: dict[str, Any]) -> Any:
    """The result, plain JSON, of "module:function" called in a child process."""
    with Worker(function) as worker:
        return worker.call(function, arguments)
