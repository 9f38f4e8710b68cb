"""How a run ends before its inputs do."""

from __future__ import annotations

import re
import signal
import threading
from dataclasses import dataclass
from types import FrameType
from typing import Any

from vim_deploy.errors import ConfigError, VimDeployError

# A share means nothing over a handful of images.
PERCENT_AFTER = 100
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StoppedRunError(VimDeployError):
    """A run that ended early. `resumable`: its rows are kept and it can go on from there.

    `signal` is the number of the signal that stopped it, None for other causes.
    """

    def __init__(self, message: str, resumable: bool, signal: int | None = None) -> None:
        super().__init__(message)
        self.resumable, self.signal = resumable, signal


class StopSignals:
    """While entered, the first SIGINT, SIGTERM or SIGHUP is noted; a second one raises KeyboardInterrupt.

    Outside the main thread nothing is changed.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def requested(self) -> bool:
        return self.received is not None

    def name(self) -> str:
        return signal.Signals(self.received).name if self.received is not None else ""

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets SIGHUP
                    self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class FailureLimit:
    """The failures a run may have: a number, or a percentage of its rows (asked from the 100th row on)."""

    count: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> FailureLimit:
        """`N` or `P%`. Raises ConfigError."""
        if re.fullmatch(r"\d{1,12}", text):
            return cls(count=int(text))
        if (match := re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%", text)) and float(match.group(1)) <= 100:
            return cls(percent=float(match.group(1)))
        raise ConfigError(f"{text!r} is no limit of failures; expected a number like 20 or a share like 5%.")

    def exceeded(self, failed: int, rows: int) -> bool:
        if self.count is not None:
            return failed > self.count
        if self.percent is not None and rows >= PERCENT_AFTER:
            return 100 * failed > self.percent * rows
        return False

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent is not None else str(self.count)
