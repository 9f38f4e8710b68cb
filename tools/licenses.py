"""Writes docs/licenses.md, the licenses of all packages that are installed: `python tools/licenses.py`.

With --check, only compares the file with the installed packages. The licenses are those that the packages
state.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import tomllib
from constraints import is_cuda, normalized
from packaging.requirements import Requirement

FILE = Path(__file__).resolve().parent.parent / "docs" / "licenses.md"
_THIS = "vim-deploy"
_HEAD = """# Licenses of dependencies

vim-deploy is licensed under Apache-2.0. It does not distribute the packages below; pip installs them.
`python tools/licenses.py` writes this table from the metadata of the installed packages, and `make check`
verifies it. Versions are in `constraints.txt`. Not listed: `tensorrt`, `pycuda`, `openvino`, `nncf` and the
CUDA packages of PyTorch and ONNX Runtime, which are not installed for tests; NVIDIA's have their own
licenses. `tools/scale/requirements.txt` and `tools/cluster/requirements.txt` state the licenses of the
packages that only `make test-scale` installs.

"Needed for": running engines on a CPU (`cpu`), other extras of `pyproject.toml`, or the tools that set up a
development environment (`setup`).

| package | license | needed for |
|---|---|---|
"""
# The extras that `make setup` installs, in the order in which they are named.
EXTRAS = ("cpu", "export", "torch", "parquet", "detect", "plots", "urls", "examples", "test", "dev")
_LONGEST = 120  # characters; longer texts are whole licenses


def license_of(item: Distribution) -> str:
    """The license that a package states: an SPDX expression, a short text, or its classifiers."""
    fields = item.metadata
    if expression := fields.get("License-Expression"):
        return str(expression)
    stated = str(fields.get("License") or "").strip()
    if stated and "\n" not in stated and len(stated) <= _LONGEST:
        return stated
    classifiers = [str(line) for line in fields.get_all("Classifier") or [] if line.startswith("License ::")]
    names = [line.rpartition(" :: ")[2] for line in classifiers]
    return ", ".join(names) or stated.partition("\n")[0][:_LONGEST] or "not stated"


def requirements_of(name: str) -> list[str]:
    """What a package requires, with markers for its extras. This package's are those of pyproject.toml."""
    if name != _THIS:
        return distribution(name).requires or []
    project = tomllib.loads((FILE.parent.parent / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra, items in project["optional-dependencies"].items():
        for item in items:
            condition = str(Requirement(item).marker or "python_version > '0'")
            lines.append(f"{item.partition(';')[0]}; ({condition}) and extra == '{extra}'")
    return lines


def needed_by(extra: str) -> set[str]:
    """The normalized names of everything that the package needs with this extra and without others."""
    found: set[str] = set()
    pending = [Requirement(f"{_THIS}[{extra}]")]
    while pending:
        requirement = pending.pop()
        name = normalized(requirement.name)
        extras = {"", *requirement.extras}
        key = f"{name}[{','.join(sorted(extras))}]"
        if key in found:
            continue
        found |= {key, name}
        for line in requirements_of(requirement.name):
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": item}) for item in extras):
                pending.append(needed)
    return {name for name in found if "[" not in name and name != _THIS}


def table() -> str:
    """The content of the file."""
    needs = {extra: needed_by(extra) for extra in EXTRAS}
    rows = []
    for item in distributions():
        name = normalized(item.metadata["Name"])
        if name == _THIS or is_cuda(name):
            continue
        uses = [extra for extra, names in needs.items() if name in names]
        # What runs engines is also part of every other extra.
        text = "cpu" if "cpu" in uses else ", ".join(uses) or "setup"
        rows.append((name, re.sub(r"\s+", " ", license_of(item)).replace("|", "\\|"), text))
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in sorted(rows))


def main(arguments: list[str]) -> int:
    current = table()
    if "--check" not in arguments:
        FILE.write_text(current)
    elif not FILE.exists() or FILE.read_text() != current:
        print(f"docs/{FILE.name} does not match the installed packages; run python tools/licenses.py")
        return 1
    print(f"docs/{FILE.name} lists all installed packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
