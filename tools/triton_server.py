"""Starts the Triton Inference Server of the package nvidia-pytriton on a repository, without a container.

    pip install "vim-deploy[cpu,triton]"
    python tools/triton_server.py repository/

It listens on the loopback address only and ends with Ctrl-C. The server has the Python backend and no other.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "127.0.0.1"
START_SECONDS = 180.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STOP_SECONDS = 40.0  # the server itself waits 30 s for requests


@dataclass(frozen=True)
class Ports:
    http: int
    grpc: int
    metrics: int


class ServerError(Exception):
    """The server is not installed, or did not start."""


class TritonServer:
    """A running server. Its log is the file `log`."""

    def __init__(self, process: subprocess.Popen[bytes], ports: Ports, log: Path) -> None:
        self.process, self.ports, self.log = process, ports, log

    @property
    def http(self) -> str:
        return f"{ADDRESS}:{self.ports.http}"

    @property
    def grpc(self) -> str:
        return f"{ADDRESS}:{self.ports.grpc}"

    @property
    def metrics(self) -> str:
        return f"http://{ADDRESS}:{self.ports.metrics}/metrics"

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Raises ServerError with the end of the log if the server ends or a model is not loaded."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, urllib.error.URLError):
                if urllib.request.urlopen(f"http://{self.http}/v2/health/ready", timeout=5).status == 200:
                    return
            time.sleep(0.1)
        end = "ended" if self.process.poll() is not None else f"was not ready after {seconds:g} s"
        lines = self.log.read_text(errors="replace").splitlines()
        errors = [line for line in lines if re.match(r"E\d|error", line)]
        raise ServerError("\n".join([f"the server {end}. The errors in its log:", *(errors or lines)]))

    def stop(self) -> None:
        """End the server and the processes of its models."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def package() -> Path:
    """The folder of the installed package pytriton. Raises ServerError."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ServerError('nvidia-pytriton is not installed; run `pip install "vim-deploy[cpu,triton]"`.')
    return Path(spec.origin).parent


def free_ports() -> Ports:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(3)]
        for item in sockets:
            item.bind((ADDRESS, 0))
        return Ports(*(item.getsockname()[1] for item in sockets))


def assemble(folder: Path) -> Path:
    """The folder of backends, with the Python backend for this Python. The package keeps its parts apart."""
    server, version = package() / "tritonserver", f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise ServerError(f"nvidia-pytriton has no Python backend for Python {version}; use another one.")
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    for path in [*(server / "backends" / "python").iterdir(), stub]:
        (backend / path.name).symlink_to(path)
    return backend.parent


def environment() -> dict[str, str]:
    """The server's: the stub runs the first python3 on PATH, isolated from PYTHONPATH."""
    libraries = [str(package().parent / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {
        **inherited,
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def _end_with_parent() -> Callable[[], None]:
    """For the new process: end it when this one ends, also by SIGKILL."""
    libc = ctypes.CDLL(None)  # before the fork
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def running(repository: Path, ports: Ports | None = None) -> Iterator[TritonServer]:
    """A server that is ready, and is stopped at the end. Raises ServerError."""
    ports = ports or free_ports()
    with tempfile.TemporaryDirectory(prefix="triton-") as name:
        folder = Path(name)
        listen = [
            f"--{protocol}-{part}={value}"
            for protocol, port in (("http", ports.http), ("grpc", ports.grpc), ("metrics", ports.metrics))
            for part, value in (("address", ADDRESS), ("port", port))
        ]
        command = [
            str(package() / "tritonserver" / "bin" / "tritonserver"),
            f"--model-repository={repository.resolve()}",
            f"--backend-directory={assemble(folder)}",
            *listen,
        ]
        log = folder / "log"
        with log.open("wb") as file:
            # In its own group, so that `stop` also ends processes of models that are left.
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=file,
                env=environment(),
                cwd=folder,
                start_new_session=True,
                preexec_fn=_end_with_parent(),
            )
        server = TritonServer(process, ports, log)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Start Triton Inference Server on a model repository.")
    parser.add_argument("repository", type=Path)
    parser.add_argument("--http-port", type=int, default=8000)
    parser.add_argument("--grpc-port", type=int, default=8001)
    parser.add_argument("--metrics-port", type=int, default=8002)
    given = parser.parse_args(arguments)
    if not given.repository.is_dir():
        print(
            f"error: {given.repository} is not a folder; write one with vim-build --triton.", file=sys.stderr
        )
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job of a shell ignores the first
        signal.signal(number, _stop)
    try:
        with running(given.repository, Ports(given.http_port, given.grpc_port, given.metrics_port)) as server:
            print(f"ready: HTTP {server.http}, gRPC {server.grpc}, metrics {server.metrics}", flush=True)
            return server.process.wait()
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
