"""Resident memory of this process in bytes, from /proc.

The peak is not read with getrusage, whose maximum is inherited from the parent process through fork and exec.
"""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_ROLLUP = Path("/proc/self/smaps_rollup")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def resident() -> int:
    return _field("VmRSS")


def peak() -> int:
    """The peak since the process started, or since `reset_peak`."""
    return _field("VmHWM")


def reset_peak() -> None:
    """Reset the peak to the current value. Raises OSError if the system does not allow it."""
    _CLEAR.write_text(_RESET_PEAK)


def shares() -> dict[str, int]:
    """Bytes now. `anonymous`: memory of this process only. `proportional`: all memory, where pages that
    several processes map are divided by their number. The sum over processes is what they take together."""
    sizes = {}
    for line in _ROLLUP.read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        sizes[key] = int(value.split()[0]) * 1024
    return {"anonymous": sizes["Anonymous"], "proportional": sizes["Pss"]}


def _field(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise OSError(f"{_STATUS} has no field {name}")
