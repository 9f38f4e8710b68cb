"""Builds the fake driver, `fake_driver/`, as libcuda.so.1."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tensorrt_parsers.installation import NotAvailableError

_SOURCES = Path(__file__).parent / "fake_driver"
LIBRARY = "libcuda.so.1"
KINDS = ("device memory", "host memory", "streams", "graphs", "graph executables")  # as in fake_driver.h


def build_driver(folder: Path, caller: Path | None = None) -> Path:
    """The library in `folder`. `caller`: a library that links the driver, such as pycuda's.

    Functions that only `caller` needs return CUDA_ERROR_NOT_SUPPORTED. Raises NotAvailableError,
    RuntimeError.
    """
    compiler = os.environ.get("CC", "gcc")
    if shutil.which(compiler) is None:
        raise NotAvailableError(f"no C compiler: {compiler} is not on PATH (CC names another)")
    refused = folder / "refused.c"
    refused.write_text("\n".join(_refused(name) for name in _needed(caller)) + "\n")
    target = folder / LIBRARY
    flags = [
        "-std=gnu11",
        "-O1",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
    ]
    sources = [*map(str, sorted(_SOURCES.glob("*.c"))), str(refused)]
    command = [compiler, *flags, f"-Wl,-soname,{LIBRARY}", "-o", str(target), *sources, "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the fake driver does not compile:\n{done.stderr}")
    return target


def _needed(caller: Path | None) -> list[str]:
    """The functions of the driver that a library links."""
    if caller is None:
        return []
    command = ["nm", "-D", "--undefined-only", str(caller)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"U (cu[A-Z]\w+)$", shown, re.M)))


def _refused(name: str) -> str:
    return f'__attribute__((visibility("default"), weak)) int {name}(void) {{ return 801; }}'
