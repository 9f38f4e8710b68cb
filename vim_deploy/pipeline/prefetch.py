"""Decodes inputs ahead of their use, in worker threads and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import islice
from typing import TypeAlias

from vim_deploy.data.discover import FlushMarker
from vim_deploy.data.loading import Input, Loaded, Loader

Given: TypeAlias = Input | FlushMarker
_POLL_SECONDS = 0.2


class PrefetchQueue:
    """Iterates over the loaded inputs in order; None stands for a flush marker.

    At most `workers * chunk + prefetch` inputs are being decoded or waiting. A worker takes `chunk` inputs at
    a time. Iteration ends early once `stopped()`.
    """

    def __init__(
        self,
        loader: Loader,
        inputs: Iterable[Given],
        workers: int,
        prefetch: int,
        stopped: Callable[[], bool],
        chunk: int = 1,
    ) -> None:
        self._loader, self._inputs = loader, iter(inputs)
        self._workers, self._chunk, self._stopped = workers, chunk, stopped
        self._capacity = workers * chunk + prefetch
        self._pending: deque[Future[list[Loaded]]] = deque()
        self._count = 0  # inputs that were taken and not yielded
        self._flushing = False

    def __iter__(self) -> Iterator[Loaded | None]:
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="decode")
        try:
            self._fill(pool)
            while (self._pending or self._flushing) and not self._stopped():
                if self._pending:
                    loaded = self._wait(self._pending.popleft())
                    for entry in loaded:
                        self._count -= 1
                        if not self._flushing:
                            self._fill(pool)
                        yield entry
                else:
                    yield None
                    self._flushing = False
                    self._fill(pool)
        finally:
            self._loader.close()
            pool.shutdown(wait=True, cancel_futures=True)

    def _fill(self, pool: ThreadPoolExecutor) -> None:
        while self._count + self._chunk <= self._capacity and not self._flushing:
            inputs: list[Input] = []
            for given in islice(self._inputs, self._chunk):
                if isinstance(given, FlushMarker):
                    self._flushing = True
                    break
                inputs.append(given)
            if not inputs:
                return
            self._count += len(inputs)
            self._pending.append(pool.submit(lambda chosen: list(self._loader.load_many(chosen)), inputs))

    def _wait(self, future: Future[list[Loaded]]) -> list[Loaded]:
        """The future's result; empty once stopped."""
        while not self._stopped():
            try:
                return future.result(timeout=_POLL_SECONDS)
            except FutureTimeoutError:
                if future.done():  # finished just now, or the loader itself raised TimeoutError
                    return future.result()
        return []
