"""The machine: the CPU properties that optimized graphs depend on, and what this process may use of it."""

from __future__ import annotations

import contextlib
import os
import platform
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
