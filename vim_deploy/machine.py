"""The CPU properties that optimized graphs depend on: architecture, instruction set and usable CPUs."""

from __future__ import annotations

import os
import platform
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
