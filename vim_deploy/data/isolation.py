"""Decodes files in separate processes, so that a decoder that hangs or crashes costs one row only.

Each call of `load_many` has one process, which receives paths and returns cropped 8-bit pixels; see
decoder_process.py for the messages. The replies are not executed or unpickled. The content of a file is
passed as a file in memory, which has a path below /proc.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from vim_deploy import child
from vim_deploy.data.decode import Limits
from vim_deploy.data.decoder_process import READY, send
from vim_deploy.data.discover import MAX_PATH_BYTES, Item
from vim_deploy.data.fetch import Fetcher
from vim_deploy.data.loading import Input, Loaded, ThreadLoader
from vim_deploy.data.memory import EncodedImage
from vim_deploy.data.preparation import Preparation
from vim_deploy.errors import DecoderError

_log = logging.getLogger("vim_deploy")
_START_SECONDS = 60.0
_STARTS = 3  # attempts to start a process that is killed
_MAX_REPLY = 1 << 20
_KILLED = f"the decoder {child.describe_exit(-signal.SIGKILL)}"
_Reply: TypeAlias = tuple[dict[str, Any], np.ndarray | None]


class ProcessLoader:
    """Decodes files and their contents in processes, and other images in memory in the calling thread."""

    def __init__(self, preparation: Preparation, limits: Limits) -> None:
        self._preparation, self._limits = preparation, limits
        self._in_memory = ThreadLoader(preparation, limits)
        self._fetcher = Fetcher()
        self._processes: list[_Decoder] = []
        self._idle: list[_Decoder] = []
        self._lock = threading.Lock()
        self._closed = False

    def load(self, given: Input) -> Loaded:
        (loaded,) = self.load_many([given])
        return loaded

    def load_many(self, inputs: Sequence[Input]) -> Iterator[Loaded]:
        """Several at once, so that the process decodes while this thread works."""
        encoded = [given for given in inputs if isinstance(given, (Item, EncodedImage))]
        if not encoded:
            yield from map(self._in_memory.load, inputs)
            return
        with self._fetcher.readable(encoded) as files, self._decoder() as decoder:
            found = iter(files)
            replies = decoder.request([(file.path, file.name) for file in files if not file.reason])
            for given in inputs:
                if not isinstance(given, (Item, EncodedImage)):
                    yield self._in_memory.load(given)
                elif reason := next(found).reason:
                    yield Loaded(given, reason=reason)
                else:
                    yield self._loaded(given, *next(replies))

    def _loaded(self, given: Input, reply: dict[str, Any], values: np.ndarray | None) -> Loaded:
        if values is None:
            return Loaded(given, reason=str(reply["reason"]))
        width, height = reply["size"]
        flags = tuple(str(flag) for flag in reply["flags"])
        pixels = self._preparation.normalize(values)
        return Loaded(given, size=(int(width), int(height)), flags=flags, pixels=pixels)

    @contextlib.contextmanager
    def _decoder(self) -> Iterator[_Decoder]:
        """A decoder that no other call uses; its process is started on its first request."""
        with self._lock:
            decoder = self._idle.pop() if self._idle else None
            if decoder is None:
                decoder = _Decoder(self._preparation, self._limits)
                self._processes.append(decoder)
                if self._closed:
                    decoder.close()
        try:
            yield decoder
        except BaseException:
            decoder.close()  # it may still send replies that nobody reads
            raise
        with self._lock:
            self._idle.append(decoder)

    def close(self) -> None:
        self._fetcher.close()
        with self._lock:
            self._closed = True
            for decoder in self._processes:
                decoder.close()


class _StoppedError(Exception):
    """The loader was closed."""


class _Decoder:
    """A decoder process, started on first use and restarted after a crash."""

    def __init__(self, preparation: Preparation, limits: Limits) -> None:
        self._limits = limits
        self._shape_of = preparation.shape
        self._settings = {
            "preparation": preparation.to_dict(),
            "limits": dataclasses.asdict(limits),
            "memory": limits.memory,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._closed = False

    def request(self, files: Sequence[tuple[str, str]]) -> Iterator[_Reply]:
        """A reply for each file, given as its path and the name of the image, in order.

        If the process hangs or crashes, the reply has the reason. If it is killed, perhaps by the kernel for
        lack of memory, the file is decoded once more.
        """
        waiting = deque(files)
        killed_on: tuple[str, str] | None = None
        while waiting:
            try:
                connection = self._send_all(waiting)
                while waiting:
                    reply = self._reply(connection, time.monotonic())
                    waiting.popleft()
                    yield reply
            except TimeoutError:
                self._end()
                waiting.popleft()
                yield {"reason": f"decoding took longer than {self._limits.seconds:g} s"}, None
            except _StoppedError:
                waiting.popleft()
                yield {"reason": "the run was stopped"}, None
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                # Replies are in order, so the process failed on the first path without one.
                reason = self._cause(error)
                if reason == _KILLED and killed_on is not waiting[0]:
                    killed_on = waiting[0]
                    continue
                waiting.popleft()
                yield {"reason": reason}, None

    def _send_all(self, files: Iterable[tuple[str, str]]) -> socket.socket:
        """Requests are few and small enough for the connection's buffer."""
        # Longer paths cannot be opened.
        requests = [[os.fsencode(text)[:MAX_PATH_BYTES] for text in file] for file in files]
        for _ in range(2):
            connection = self._connection or self._start()
            for number, request in enumerate(requests):
                try:
                    for part in request:
                        send(connection, part)
                except (BrokenPipeError, ConnectionResetError):
                    if number:
                        return connection  # replies sent before it ended can still be read
                    # It ended while idle, so none of these paths is the cause.
                    self._end()
                    break
            else:
                return connection
        raise DecoderError("a decoder process ended before it was given a file, twice in a row.")

    def _reply(self, connection: socket.socket, started: float) -> _Reply:
        deadline = None if self._limits.seconds is None else started + self._limits.seconds
        (length,) = struct.unpack("<I", _receive(connection, 4, deadline))
        if length > _MAX_REPLY:
            raise ValueError(f"a reply of {length} bytes")
        reply = json.loads(bytes(_receive(connection, length, deadline)))
        if "size" not in reply:
            return {"reason": str(reply["reason"])}, None
        shape = self._shape_of(self._checked_size(reply["size"]))
        values = np.frombuffer(_receive(connection, math.prod(shape), deadline), np.uint8).reshape(shape)
        return reply, values

    def _checked_size(self, size: Any) -> tuple[int, int]:
        """Checked because it determines how many bytes are read from a process that may be compromised."""
        width, height = (int(side) for side in size)
        if not (min(width, height) > 0 and width * height <= self._limits.max_pixels):
            raise ValueError(f"an image of {width} x {height} pixels")
        return width, height

    def _start(self) -> socket.socket:
        """Start the process and wait until it is ready. If it is killed meanwhile, another one is started."""
        cause = _KILLED
        for _ in range(_STARTS):
            if self._closed:
                raise _StoppedError
            try:
                ours = self._connection = self._launch()
            except OSError as error:
                raise DecoderError(
                    f"a decoder process cannot be started: {error.strerror or error}. Raise the limit on "
                    "open files, processes or memory (ulimit -n, -u, -v), or use fewer --workers."
                ) from None
            if self._is_ready(ours):
                return ours
            closed, cause = self._closed, self._cause(EOFError())
            if closed:
                raise _StoppedError
            if cause != _KILLED:
                break
        raise DecoderError(
            f"the decoder process does not start ({cause}); its output is above. Check the installation of "
            "Pillow and NumPy, and the limit on memory (ulimit -v)."
        )

    def _is_ready(self, connection: socket.socket) -> bool:
        try:
            greeting = _receive(connection, 4 + len(READY), time.monotonic() + _START_SECONDS)
        except (OSError, EOFError):
            return False
        return bytes(greeting[4:]) == READY

    def _launch(self) -> socket.socket:
        """Start the process and return the connection to it."""
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            with theirs:
                # In its own session, so that Ctrl-C in the terminal reaches only the parent.
                self._process = subprocess.Popen(
                    child.command("vim_deploy.data.decoder_process:main", **self._settings),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=environment,
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        _log.debug("started the decoder process %d", self._process.pid)
        return ours

    def _cause(self, error: Exception) -> str:
        """End the process and return the reason of its failure."""
        process = self._process
        if process is None or self._closed:
            return "the run was stopped"
        if isinstance(error, (OSError, EOFError)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        code = process.poll()
        self._end()
        if code is None:
            return f"the decoder sent an invalid reply ({error})"
        return f"the decoder {child.describe_exit(code)}"

    def _end(self) -> None:
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if process is not None:
            process.kill()
            process.wait()
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """End the process; may be called from another thread than `request`."""
        self._closed = True
        process, connection = self._process, self._connection
        if process is not None:
            process.kill()
            process.wait()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _receive(connection: socket.socket, count: int, deadline: float | None) -> bytearray:
    """Raises TimeoutError at the deadline, EOFError at the end of the input."""
    data = bytearray(count)
    view, filled = memoryview(data), 0
    while filled < count:
        remaining = None if deadline is None else deadline - time.monotonic()
        if remaining is not None and remaining <= 0:
            raise TimeoutError
        connection.settimeout(remaining)
        received = connection.recv_into(view[filled:])
        if not received:
            raise EOFError
        filled += received
    return data
