"""The checks of a payload that is an ONNX graph, in a process of their own, and once per graph and user.

The checks need the package `onnx`, which takes 17 MB of memory. A process that runs engines does not import
it: a child process makes the checks while this one reads the weights. Its limits of memory and time also
contain errors of the libraries that parse the graph. Checks that passed are recorded in the cache folder
(`check_records.py`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vim_deploy import child, text
from vim_deploy.engines import graph_check, payload, stored_tensors, tensors
from vim_deploy.engines.check_records import has_passed, record_passed
from vim_deploy.engines.limits import MEMORY_VARIABLE, SECONDS_VARIABLE, limits_for
from vim_deploy.engines.payload import StoredTensor
from vim_deploy.errors import EngineError
from vim_deploy.ops import signature
from vim_deploy.package import VERSION

_log = logging.getLogger("vim_deploy")

# The code of the checks. A test compares the list with what they import.
_MODULES = (graph_check, payload, signature, stored_tensors, tensors, text)
_SOURCES = (
    Path(__file__),
    *(Path(str(module.__file__)) for module in _MODULES),
    Path(signature.__file__).with_name("function_body.py"),  # it imports `onnx`
)
_LIBRARIES = ("onnx", "protobuf")
_STARTED = b"checking\n"  # what the child process writes first
_SHOWN = 1000  # characters of a process's last output


@dataclass(frozen=True)
class PayloadCheck:
    """Everything that the result depends on besides the checks themselves.

    `data`: the graph. `tensors`: those in weights of `weights_bytes` bytes. `domains`: the operator domains
    that it may use, besides ONNX's and ours. `shapes`: of the inputs, by name.
    """

    data: bytes
    tensors: Mapping[str, StoredTensor]
    weights_bytes: int
    domains: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def run(self, name: str) -> None:
        """Raises EngineError for a payload that must not be loaded; `name` is its file."""
        model = graph_check.parse_model(name, self.data)
        stored_tensors.check_stored(name, model, self.tensors, self.weights_bytes)
        graph_check.check_graph(name, model, len(self.data) + self.weights_bytes, self.domains)
        graph_check.check_sizes(name, model, self.shapes)

    def start(self, name: str) -> Callable[[], None]:
        """`run`, unless its success is recorded. Returns a function that waits for the end and raises."""
        key = self.key()
        if key is not None and has_passed(key):
            return lambda: None
        if "onnx" in sys.modules:
            return functools.partial(self._finish, key, functools.partial(self.run, name))
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(1)
        future = pool.submit(self._run_in_child, name)
        pool.shutdown(wait=False)
        return functools.partial(self._finish, key, future.result)

    def key(self) -> str | None:
        """The name of a record; None if it is not known with which libraries the graph would be checked."""
        if (checker := _checker()) is None:
            return None
        digest = hashlib.sha256(json.dumps([checker, self._conditions()], sort_keys=True).encode() + b"\n")
        digest.update(self.data)
        return digest.hexdigest()

    def _finish(self, key: str | None, wait: Callable[[], None]) -> None:
        wait()
        if key is not None:
            record_passed(key)

    def _conditions(self) -> dict[str, Any]:
        return {
            "tensors": {name: tensor.to_dict() for name, tensor in self.tensors.items()},
            "weights_bytes": self.weights_bytes,
            "domains": self.domains,
            "shapes": dict(self.shapes),
        }

    def _run_in_child(self, name: str) -> None:
        request = json.dumps({"name": name, **self._conditions()}).encode()
        limits = limits_for(len(self.data), elements=0, threads=1)
        try:
            result = child.call_limited(
                f"{__name__}:main",
                request + b"\n" + self.data,
                memory=limits.memory,
                seconds=limits.seconds,
            )
        except TimeoutError:
            raise EngineError(
                f"{name}: checking the graph took longer than {limits.seconds:g} s. The file was edited or "
                f"damaged, build it again; or set {SECONDS_VARIABLE} to a higher limit."
            ) from None
        except OSError as error:
            result = child.Result(1, b"", str(error))
        if not result.output.startswith(_STARTED):
            # For example, where sys.executable is a server that contains Python.
            _log.info("the graph is checked in this process; no other can be started: %s", result.errors)
            self.run(name)
            return
        answer = result.output.removeprefix(_STARTED)
        if not answer:
            raise EngineError(
                f"{name}: the process that checks the graph {child.describe_exit(result.code)}: "
                f"{result.errors.strip()[-_SHOWN:] or 'it printed nothing'}. The file was edited or damaged, "
                f"build it again; or it needs more than {limits.memory / 1e9:.1f} GB of memory, set "
                f"{MEMORY_VARIABLE} to a higher limit."
            )
        if (message := json.loads(answer)["error"]) is not None:
            raise EngineError(message)


def main() -> None:
    """In the child process: check the payload on standard input; write JSON, with the message of an error."""
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # for libraries that print
    reply.write(_STARTED)
    reply.flush()
    head, _, data = sys.stdin.buffer.read().partition(b"\n")
    given = json.loads(head)
    check = PayloadCheck(
        data,
        {name: StoredTensor.from_dict(tensor) for name, tensor in given["tensors"].items()},
        given["weights_bytes"],
        tuple(given["domains"]),
        {name: tuple(shape) for name, shape in given["shapes"].items()},
    )
    error = None
    try:
        check.run(given["name"])
    except EngineError as refused:
        error = str(refused)
    with reply:
        reply.write(json.dumps({"error": error}).encode())
    os._exit(0)  # without the time that Python takes to end


@functools.cache
def _checker() -> dict[str, str] | None:
    """The versions of the checks and of the libraries that they use; None without metadata of a library."""
    try:
        versions = {library: importlib.metadata.version(library) for library in _LIBRARIES}
    except importlib.metadata.PackageNotFoundError:
        return None
    code = hashlib.sha256()
    for source in _SOURCES:
        code.update(source.read_bytes() if source.is_file() else b"")
        code.update(b"\0")
    return {"vim_deploy": VERSION, "code": code.hexdigest(), **versions}
