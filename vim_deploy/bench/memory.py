"""Resident memory of this process, from Linux itself. Bytes.

The peak is that of the address space: the largest value that getrusage gives is inherited through fork and
exec, and would be the parent's.
"""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def resident() -> int:
    return _field("VmRSS")


def peak() -> int:
    """The most that was resident since the start, or since `reset_peak`."""
    return _field("VmHWM")


def reset_peak() -> None:
    """Let the peak start anew from what is resident now. Raises OSError where the system forbids it."""
    _CLEAR.write_text(_RESET_PEAK)


def _field(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise OSError(f"{_STATUS} has no field {name}")
