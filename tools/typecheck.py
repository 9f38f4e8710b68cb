"""Run mypy over the package as it is installed: `export/` and `engines/` inside `vim_deploy/`.

mypy follows folders, not the path that `vim_deploy/__init__.py` extends in a checkout, so the checker gets a
folder of links in the installed shape.
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
        for item in (ROOT / "vim_deploy").iterdir():
            if item.name != "__pycache__":
                (package / item.name).symlink_to(item)
        for name in ("export", "engines"):
            (package / name).symlink_to(ROOT / name)
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(package)]
        cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
        return subprocess.run([*command, *cache], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
