"""Runs mypy on the package in its installed layout, with `export/` and `engines/` inside `vim_deploy/`.

mypy does not follow the `__path__` that `vim_deploy/__init__.py` extends in a checkout.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "vim_deploy"
        package.mkdir()
        for item in (*(ROOT / "vim_deploy").iterdir(), ROOT / "export", ROOT / "engines"):
            (package / item.name).symlink_to(item)
        options = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
        command = [sys.executable, "-m", "mypy", *options, package]
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
