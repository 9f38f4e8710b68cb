"""Checks that constraints.txt pins everything that is installed, at the installed version.

Hashes are not part of the file: with them, pip refuses to install this package in editable mode.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "constraints.txt"
_THIS = "vim-deploy"
# Installed by the default build of torch, which pins their versions itself.
_CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")


def normalised(name: str) -> str:
    """Source: the specification of names at packaging.python.org."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Versions by name, from lines of the form `name==version`."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {normalised(name): version for name, _, version in (line.partition("==") for line in lines)}


def installed() -> dict[str, str]:
    """Versions by name, without local parts such as "+cpu"."""
    found = {normalised(item.metadata["Name"]): item.version.partition("+")[0] for item in distributions()}
    return {name: version for name, version in found.items() if name != _THIS and not _CUDA.fullmatch(name)}


def differences(pinned: dict[str, str], found: dict[str, str]) -> list[str]:
    return [
        f"{name} {version} is installed, and {FILE.name} "
        + (f"has {pinned[name]}" if name in pinned else "does not pin it")
        for name, version in sorted(found.items())
        if pinned.get(name) != version
    ]


def main() -> int:
    problems = differences(pins(FILE.read_text()), installed())
    print("\n".join(problems) or f"{FILE.name} pins all installed packages")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
