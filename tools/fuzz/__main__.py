"""Tests commands with random inputs and random signals: `python tools/fuzz KIND --count N --seed S`.

`images` and `artifacts` run vim-infer on mutated files: every case must result in a row or an error
message. `operators` calls the native operators with malformed inputs, in a library built with sanitizers.
`kills` ends all commands at random moments: no file of the user may change, and the next run must complete
the outputs. Prints a JSON summary. The files of cases that fail are copied to --keep, and the exit status
is 1.
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
import kills  # noqa: E402
import operators  # noqa: E402

_RUNS = {"images": images.run, "artifacts": artifacts.run, "kills": kills.run, "operators": operators.run}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=tuple(_RUNS))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, nargs="+", default=[], help="ONNX files written by vim-export")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for failing cases")
    options = parser.parse_args()
    if not options.model and options.kind != "kills":
        parser.error("--model is missing")
    run = _RUNS[options.kind]
    with tempfile.TemporaryDirectory(prefix="vim-fuzz-") as folder:
        models = [path.resolve() for path in options.model]
        figures = run(models, options.count, options.seed, Path(folder), options.keep.resolve())
    print(json.dumps(figures, indent=1))
    return 1 if figures["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
