"""Ends a run early: signals and the limit of failures."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from vim_deploy.errors import ConfigError, VimDeployError

# Percentages are too noisy for fewer rows.
MIN_ROWS_FOR_PERCENT = 100
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StoppedRunError(VimDeployError):
    """A run that ended early. `resumable`: its rows are saved and --resume continues it.

    `signal`: the number of the signal that stopped it, None for other causes.
    """

    def __init__(self, message: str, resumable: bool, signal: int | None = None) -> None:
        super().__init__(message)
        self.resumable, self.signal = resumable, signal


class StopSignals:
    """While entered, SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt.

    When `deferred`, the first one is only recorded. It does nothing outside the main thread.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferring = False
        self._before: dict[int, Any] = {}

    def requested(self) -> bool:
        return self.received is not None

    def error(self, resumable: bool) -> StoppedRunError:
        """The error for a run that a KeyboardInterrupt has ended."""
        number = self.received or signal.SIGINT
        return StoppedRunError(f"stopped by {signal.Signals(number).name}.", resumable, number)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """For code that checks `requested`. A recorded signal raises KeyboardInterrupt at the end."""
        self.defer()
        yield
        self._deferring = False
        if self.requested():
            raise KeyboardInterrupt

    def defer(self) -> None:
        """Record the first signal from now on."""
        self._deferring = True

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets SIGHUP
                    self._before[number] = signal.signal(number, self._record)
        return self

    def _record(self, number: int, frame: FrameType | None) -> None:
        first = self.received is None
        self.received = self.received or number
        if not (first and self._deferring):
            raise KeyboardInterrupt

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class FailureLimit:
    """The allowed failures: a number, or a percentage of the rows, checked from the 100th row on."""

    count: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> FailureLimit:
        """`N` or `P%`. Raises ConfigError."""
        if re.fullmatch(r"\d{1,12}", text):
            return cls(count=int(text))
        if (match := re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%", text)) and float(match.group(1)) <= 100:
            return cls(percent=float(match.group(1)))
        raise ConfigError(
            f"{text!r} is not a failure limit; expected a number like 20 or a percentage like 5%."
        )

    def exceeded(self, failed: int, rows: int) -> bool:
        if self.count is not None:
            return failed > self.count
        if self.percent is not None and rows >= MIN_ROWS_FOR_PERCENT:
            return 100 * failed > self.percent * rows
        return False

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent is not None else str(self.count)
