"""Limits of a run: how far decoding runs ahead, how soon it stops, how many failures it allows."""

from __future__ import annotations

import inspect
import itertools
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from vim_deploy.cli.infer import main
from vim_deploy.data.decode import Limits
from vim_deploy.data.discover import FlushMarker, Item
from vim_deploy.data.loading import Input, Loaded
from vim_deploy.errors import ConfigError
from vim_deploy.pipeline.prefetch import PrefetchQueue
from vim_deploy.pipeline.stop import FailureLimit


class Instant:
    """A loader that waits for `gate`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def load_many(self, inputs: Sequence[Input]) -> Iterator[Loaded]:
        self.gate.wait()
        for given in inputs:
            assert isinstance(given, Item)
            yield Loaded(given, pixels=np.zeros(1, np.float32))

    def close(self) -> None:
        self.gate.set()


@pytest.mark.parametrize("chunk", [1, 4, 8])
def test_decoding_does_not_run_ahead_beyond_the_capacity(chunk):
    taken = itertools.count()
    pulled = 0

    def source() -> Iterator[Item]:
        nonlocal pulled
        for number in range(500):
            pulled = next(taken) + 1
            yield Item(str(number))

    for done, loaded in enumerate(PrefetchQueue(Instant(), source(), 3, 10, lambda: False, chunk), 1):
        assert loaded is not None and loaded.path == str(done - 1)
        assert pulled - done <= 3 * chunk + 10
    assert done == 500


def test_flush_markers_follow_all_earlier_inputs():
    given = [Item("a"), Item("b"), FlushMarker(), FlushMarker(), Item("c")]
    queue = PrefetchQueue(Instant(), given, 2, 4, lambda: False, chunk=2)
    assert [loaded.path if loaded else None for loaded in queue] == [
        "a",
        "b",
        None,
        None,
        "c",
    ]


def test_stop_does_not_wait_for_a_hanging_decoder():
    loader, stop = Instant(), threading.Event()
    loader.gate.clear()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    assert list(PrefetchQueue(loader, [Item("a")] * 5, 2, 4, stop.is_set)) == []
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(("text", "failed", "rows", "exceeded"), [
    ("0", 1, 1, True), ("3", 3, 9, False), ("3", 4, 9, True),
    ("10%", 9, 9, False), ("10%", 11, 100, True), ("10%", 10, 100, False), ("0.5%", 1, 199, True),
])  # fmt: skip
def test_failure_limits(text, failed, rows, exceeded):
    assert FailureLimit.parse(text).exceeded(failed, rows) == exceeded


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "101%", "%", "5 %", "9" * 50])
def test_invalid_failure_limits(text):
    with pytest.raises(ConfigError):
        FailureLimit.parse(text)


def test_the_command_and_the_library_have_the_same_default_limits():
    defaults = {parameter.name: parameter.default for parameter in main.params}
    limits = inspect.signature(Limits).parameters
    assert defaults["max_pixels"] == limits["max_pixels"].default
    assert defaults["max_metadata"] == limits["max_metadata"].default
    assert defaults["decode_seconds"] == limits["seconds"].default
