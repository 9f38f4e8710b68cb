"""Records what a TensorRT parser makes of exported files, and compares it with ONNX Runtime.

    python tools/tensorrt_parsers [--root FOLDER] [--plugin LIBRARY]... MODEL.onnx...

Prints one line of JSON per file. The exit status is 1 if a file was refused or differs, 2 if something that
the tool needs is missing. See README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from tensorrt_parsers.compare import differences, parse  # noqa: E402
from tensorrt_parsers.compute import ComputeError  # noqa: E402
from tensorrt_parsers.installation import (  # noqa: E402
    NotAvailableError,
    Recorder,
    build_recorder,
    find_installation,
)
from vim_deploy.errors import VimDeployError  # noqa: E402
from vim_deploy.ops.library import tensorrt_library  # noqa: E402


def main() -> int:
    options = _options()
    try:
        recorder = build_recorder(find_installation(options.root))
        plugins = options.plugin or [tensorrt_library(recorder.installation.major)]
    except (NotAvailableError, VimDeployError) as error:
        print(error, file=sys.stderr)
        return 2
    failed = False
    for result in _results(recorder, tuple(plugins), options):
        print(json.dumps(result), flush=True)
        failed |= not result["passed"]
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.onnx", help="written by vim-export")
    parser.add_argument(
        "--root", type=Path, help="folder with include/ and lib/ of a TensorRT; default: TENSORRT_ROOT"
    )
    parser.add_argument(
        "--plugin", type=Path, action="append", help="plugin library; default: the project's own"
    )
    parser.add_argument("--batch", type=int, default=2, help="images, for files with a dynamic batch size")
    parser.add_argument("--no-fusion", action="store_true", help="as with this option of vim-build")
    parser.add_argument("--keep", type=Path, help="existing folder for the recordings; default: not kept")
    return parser.parse_args()


def _results(
    recorder: Recorder, plugins: tuple[Path, ...], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    for model in options.models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.keep / model.stem if options.keep else Path(temporary)
            folder.mkdir(exist_ok=True)
            try:
                yield _result(recorder, plugins, model, folder, options)
            except (OSError, VimDeployError, ComputeError) as error:
                yield {"file": model.name, "passed": False, "problems": [str(error)]}


def _result(
    recorder: Recorder, plugins: tuple[Path, ...], model: Path, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    fuse = not options.no_fusion
    parsed = parse(recorder, model.name, model.read_bytes(), plugins, folder, fuse)
    recording, problems = parsed.recording, parsed.recording.problems()
    found = {} if problems else differences(parsed, options.batch)
    tolerance = parsed.precision.tolerance
    problems += [
        f"{name} differs by {value:.1e}, more than {tolerance:.0e}"
        for name, value in found.items()
        if not value <= tolerance
    ]
    return {
        "file": model.name,
        "tensorrt": str(recorder.installation),
        "precision": str(parsed.precision),
        "passed": not problems,
        "problems": problems,
        "layers": len(recording.layers),
        "plugins": len(recording.plugins),
        "differences": found,
        "messages": list(recording.messages),
        "refit": recording.refit,
    }


if __name__ == "__main__":
    sys.exit(main())
