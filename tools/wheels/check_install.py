"""Installs a wheel with the Python that runs this script, without a compiler, and classifies the digits.

Needs only the standard library and the package index, so it also runs in a bare system:
`python3 check_install.py WHEEL digits.onnx digits/ --accuracy 0.99`. If it fails, it exits with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

_LIBRARY = "from vim_deploy.ops import ort_library; print(ort_library())"
_TYPED = "import vim_deploy.package as p; print(all((f / 'py.typed').is_file() for f in p.folders()))"


class Installation:
    """A new virtual environment in `folder`, in which no compiler works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "environment", with_pip=True)
        self.commands = folder / "environment" / "bin"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIM_"))}
        self.variables = {
            **kept,
            "CC": "/bin/false",
            "CXX": "/bin/false",
            "PATH": f"{self.commands}:/usr/bin:/bin",
        }
        self.variables["XDG_CACHE_HOME"] = str(folder / "cache")

    def run(self, command: str, *arguments: str | Path) -> str:
        """What a command prints on stdout. Raises SystemExit with all its output if it fails."""
        words = [self.commands / command, *arguments]
        done = subprocess.run(
            words, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False
        )
        if done.returncode:
            shown = " ".join(map(str, words))
            raise SystemExit(f"{shown}\n{done.stdout}{done.stderr}exit code {done.returncode}")
        return done.stdout.strip()


def check(installation: Installation, wheel: Path, model: Path, images: Path, accuracy: float) -> str:
    """Install, build and infer; a line about what was run. Raises SystemExit with the reason of a failure."""
    run = installation.run
    run(
        "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--only-binary=:all:",
        f"vim-deploy[cpu] @ {wheel.as_uri()}",
    )
    library = run("python", "-c", _LIBRARY)
    if not Path(library).is_relative_to(installation.folder):
        raise SystemExit(f"the library of another installation was found: {library}")
    if run("python", "-c", _TYPED) != "True":
        raise SystemExit("py.typed is not installed: type checkers ignore the package")
    version = run("python", "-m", "vim_deploy", "--version")
    if not json.loads(run("vim-doctor", "--json"))["ready"]:
        raise SystemExit("vim-doctor reports that vim-infer does not work")
    engine = installation.folder / "digits.engine"
    run("vim-build", model, "-o", engine)
    rows = installation.folder / "digits.csv"
    summary = json.loads(run("vim-infer", engine, images, "-o", rows, "--labels", "folder", "--json"))
    reached, count = summary["top1_accuracy"], summary["ok"]
    if reached < accuracy or count != summary["labeled"]:
        raise SystemExit(f"expected top-1 accuracy {accuracy} on all images: {json.dumps(summary)}")
    return f"Python {sys.version.split()[0]}, {version}: {count} images, top-1 accuracy {reached:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("model", type=Path, help="the exported digits model")
    parser.add_argument("images", type=Path, help="a folder of images for each digit")
    parser.add_argument("--accuracy", type=float, required=True, help="the least top-1 accuracy")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder).resolve())
        paths = (options.wheel.resolve(), options.model.resolve(), options.images.resolve())
        print(check(installation, *paths, options.accuracy))


if __name__ == "__main__":
    main()
