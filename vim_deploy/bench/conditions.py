"""The conditions of a measurement: machine, versions and load."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vim_deploy import machine
from vim_deploy.errors import OperatorLibraryError
from vim_deploy.ops.library import instruction_set
from vim_deploy.package import VERSION
from vim_deploy.text import plural

_IDLE = 0.1  # of the usable CPUs: other processes may use so much of an idle machine
_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "torch")


def conditions() -> dict[str, Any]:
    """Machine, versions, date and load, as plain JSON."""
    try:
        kernel = instruction_set()
    except OperatorLibraryError as error:
        kernel = f"none: {error}"
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu_name(),
        "architecture": machine.architecture(),
        "cpu_instruction_set": machine.instruction_set(),
        "kernel_instruction_set": kernel,
        "cpus": machine.usable_cpus(),
        "busy_cpus": machine.busy_cpus(),
        "load_average": load_average(),
        "system": platform.system() + " " + platform.release(),
        "versions": {
            "vim_deploy": VERSION,
            "python": platform.python_version(),
            **{name: found for name in _PACKAGES if (found := _version(name))},
        },
    }


def busy_warning(values: dict[str, Any]) -> str | None:
    """A warning if other processes used the CPUs before or after a measurement; `values`: its conditions."""
    used = max(values.get("busy_cpus") or 0.0, values.get("busy_cpus_at_end") or 0.0)
    if used <= _IDLE * values["cpus"]:
        return None
    return (
        f"the machine is busy: other processes used {used:.1f} CPUs, and {values['cpus']} can be used here; "
        "on an idle machine the figures are better"
    )


def load_average() -> float:
    """The system's load average over the last minute; near 0 on an idle machine."""
    return os.getloadavg()[0]


def summary(values: dict[str, Any]) -> str:
    """Two lines for the top of a report."""
    versions = ", ".join(f"{name} {found}" for name, found in values["versions"].items())
    sets = f"{values['cpu_instruction_set']}; scan kernel: {values['kernel_instruction_set']}"
    return (
        f"{values['cpu']} ({values['architecture']}, {sets}), {plural(values['cpus'], 'CPU')}, "
        f"load {values['load_average']:.2f} at the start, {values['date']}\n{versions}"
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Processor")))
    return next(names, platform.processor() or "unknown CPU")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
