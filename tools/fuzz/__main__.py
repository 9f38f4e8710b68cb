"""Runs vim-infer on mutated inputs: `python tools/fuzz images|artifacts --count N --seed S`.

Every case must result in a row or an error message. Prints a JSON summary. If a case results in neither, its
file is copied to --keep, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import artifacts  # noqa: E402
import images  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("images", "artifacts"))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--model", type=Path, nargs="+", required=True, help="ONNX files written by vim-export"
    )
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for failing cases")
    options = parser.parse_args()
    run = {"images": images.run, "artifacts": artifacts.run}[options.kind]
    with tempfile.TemporaryDirectory(prefix="vim-fuzz-") as folder:
        models = [path.resolve() for path in options.model]
        figures = run(models, options.count, options.seed, Path(folder), options.keep.resolve())
    print(json.dumps(figures, indent=1))
    return 1 if figures["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
