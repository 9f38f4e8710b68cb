"""Checks that constraints.txt pins everything that is installed, at the installed version, and that
requirements.lock has the hashes of these versions.

`python tools/constraints.py --lock` writes requirements.lock; it needs uv. Hashes are not in constraints.txt:
with them, pip refuses to install a folder, such as this package.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "constraints.txt"
LOCK = FILE.with_name("requirements.lock")
# The CPU builds of torch are on other servers than the default builds, and have other hashes.
_WITHOUT_HASHES = ("torch",)
_THIS = "vim-deploy"
# Installed by the default build of torch, which pins their versions itself.
_COMMAND = "python tools/constraints.py --lock"
_CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")


def normalized(name: str) -> str:
    """Source: the specification of names at packaging.python.org."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_cuda(name: str) -> bool:
    """Whether a normalized name is a package of CUDA."""
    return _CUDA.fullmatch(name) is not None


def pins(text: str) -> dict[str, str]:
    """Versions by name, from lines that start with `name==version`."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE)
    return {normalized(name): version for name, version in found}


def installed() -> dict[str, str]:
    """Versions by name, without local parts such as "+cpu"."""
    found = {normalized(item.metadata["Name"]): item.version.partition("+")[0] for item in distributions()}
    return {name: version for name, version in found.items() if name != _THIS and not is_cuda(name)}


def differences(pinned: dict[str, str], found: dict[str, str]) -> list[str]:
    return [
        f"{name} {version} is installed, and {FILE.name} "
        + (f"has {pinned[name]}" if name in pinned else "does not pin it")
        for name, version in sorted(found.items())
        if pinned.get(name) != version
    ]


def lock_differences(pinned: dict[str, str], lock: str) -> list[str]:
    """What is wrong with the text of requirements.lock."""
    expected = {name: version for name, version in pinned.items() if name not in _WITHOUT_HASHES}
    found = pins(lock)
    problems = [
        f"{LOCK.name} has {name} {found.get(name, 'missing')}, "
        f"{FILE.name} has {expected.get(name, 'missing')}"
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    ]
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return problems + [
        f"{LOCK.name} has no hash of {entry.split('==')[0]}"
        for entry in entries
        if "==" in entry and "--hash=sha256:" not in entry
    ]


def write_lock() -> None:
    """Write the hashes of all files of the pinned versions, for every platform."""
    command = ["uv", "pip", "compile", "--quiet", "--no-deps", "--universal", "--generate-hashes"]
    command += ["--python-version", "3.11", "--no-annotate", "--custom-compile-command", _COMMAND]
    command += [word for name in _WITHOUT_HASHES for word in ("--no-emit-package", name)]
    subprocess.run([*command, FILE.name, "-o", LOCK.name], cwd=FILE.parent, check=True)


def main(arguments: list[str]) -> int:
    if "--lock" in arguments:
        write_lock()
    pinned = pins(FILE.read_text())
    problems = differences(pinned, installed()) + lock_differences(pinned, LOCK.read_text())
    print("\n".join(problems) or f"{FILE.name} pins all installed packages; {LOCK.name} has their hashes")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
