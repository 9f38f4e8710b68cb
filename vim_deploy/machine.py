"""The machine: the CPU properties that optimized graphs depend on, and what this process may use of it."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# Widest first. ONNX Runtime uses a different convolution layout for each.
_X86_LEVELS = ("avx512f", "avx2", "avx")


def architecture() -> str:
    return platform.machine()


@cache
def instruction_set() -> str:
    """The widest vector instruction set of this CPU that the system supports."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown"
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags = set(value.split())
            return next((level for level in _X86_LEVELS if level in flags), "baseline")
    return "unknown"


def usable_cpus() -> int:
    """The number of CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy_cpus(seconds: float = 0.5) -> float | None:
    """How many CPUs of the machine are in use now, on average over this time; None where it is not known."""
    first = _cpu_times()
    time.sleep(seconds)
    second = _cpu_times()
    if first is None or second is None:
        return None
    (busy, total), (busy_later, total_later) = first, second
    passed = max(1, total_later - total)
    return (os.cpu_count() or 1) * (busy_later - busy) / passed


def _cpu_times() -> tuple[int, int] | None:
    """The time that all CPUs worked, and the time that passed on all of them, in the kernel's units."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()
        values = [
            int(value) for value in fields[1:9]
        ]  # user, nice, system, idle, iowait, irq, softirq, steal
    except (OSError, ValueError, IndexError):
        return None
    return sum(values) - values[3] - values[4], sum(values)


def usable_memory() -> int | None:
    """The bytes of memory of the machine or, if it is less, of this process's control group."""
    limits = list(_control_group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")))
    with contextlib.suppress(AttributeError, OSError, ValueError):  # not on this system
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(limits, default=None)


def _control_group_limits(groups: Path, root: Path) -> Iterator[int]:
    """The memory limits of the groups in the file `groups`, of version 1 or 2, and of their parents.

    In a container, the path of a group may be that outside of it; the container's limit is then at `root`.
    """
    lines = groups.read_text().splitlines() if groups.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        group = Path(path)
        for parent in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):  # ValueError: "max", which is no limit
                yield int((folder / parent.relative_to("/") / name).read_text())
