"""Builds and runs the native test programs with the host's compiler, without CMake."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
SCAN = PLUGINS / "selective_scan"
FUSED = PLUGINS / "fused"
PROGRAMS = PLUGINS / "tests"

SANITIZERS = ("-Og", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wno-sign-conversion", "-Werror")


def compiler() -> str:
    """The host's C++ compiler. Skips the test if there is none."""
    name = os.environ.get("CXX", "g++")
    if shutil.which(name) is None:
        pytest.skip(f"no C++ compiler: {name} is not on PATH (CXX names another)")
    return name


def build(program: Path, sources: list[Path], *flags: str) -> Path:
    """Compiles and links `sources`. Fails the test with the compiler's messages."""
    include = (f"-I{SCAN}", f"-I{FUSED}", f"-I{PROGRAMS}")
    command = [compiler(), "-std=c++17", *flags, *include, *map(str, sources), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return program


def run(program: Path, *arguments: str) -> str:
    """Runs a test program. Fails the test with its output, which includes the sanitizers' reports."""
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
