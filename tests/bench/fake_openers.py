"""Openers with known time and memory, for the tests of measurements."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from vim_deploy.errors import EngineError

MEGABYTE = 1 << 20


def _touched(megabytes):
    return np.ones(megabytes * MEGABYTE, np.uint8)


def constant(value=1.0, megabytes_held=0, megabytes_opening=0, megabytes_running=0, log=None):
    """Returns `value` for every image, allocates memory in each phase, and logs runs to a file."""
    held = []

    def open_model():
        held.append(_touched(megabytes_held))
        _touched(megabytes_opening)

        def run(pixels):
            if log is not None:
                with Path(log).open("a") as file:
                    file.write(f"{value}\n")
            assert held
            _touched(megabytes_running)
            return np.full((len(pixels), 3), value, np.float32)

        return run

    return open_model


def noisy():
    """A runtime that prints to stdout, from Python and from native code."""
    print("hello from Python")

    def open_model():
        os.write(1, b"hello from below\n")
        return lambda pixels: pixels

    return open_model


def failing(when, how):
    """Fails at `when` ("import", "open" or "run") with an exception, a user error, an exit or a signal."""

    def fail():
        if how == "mistake":
            raise EngineError("bad.engine is bad; use a good one.")
        if how == "raise":
            raise RuntimeError("the runtime gave up")
        if how == "exit":
            print("last words", flush=True)
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)

    def open_model():
        if when == "open":
            fail()

        def run(pixels):
            fail()

        return run

    if when == "import":
        fail()
    return open_model


def sleeping(seconds):
    def run(pixels):
        time.sleep(seconds)
        return pixels

    return lambda: run


def process_id():
    return os.getpid()
