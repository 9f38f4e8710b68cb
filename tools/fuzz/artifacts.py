"""Runs vim-infer on mutated ONNX files, engines and metadata, each in a separate process."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import edits
from PIL import Image

SECONDS = 120
MEMORY = 8 << 30
_RESULTS = {0: "accepted", 1: "accepted, no valid logits", 2: "refused", 3: "stopped", 70: "traceback"}
_GOOD = (0, 1, 2)


def run(models: list[Path], count: int, seed: int, folder: Path, keep: Path) -> dict[str, Any]:
    """Counts; `failures`: the cases with a crash, a traceback, a timeout or a missing row."""
    # Imported once, before the process forks.
    import onnxruntime  # noqa: F401

    import vim_deploy.cli.infer
    import vim_deploy.pipeline.inference  # noqa: F401
    from vim_deploy.engines.build import build_engine

    image = folder / "image.png"
    Image.new("RGB", (30, 20), "red").save(image)
    engines = []
    for index, model in enumerate(models):
        engines.append(folder / f"{index}.engine")
        if _in_child(lambda model=model: build_engine(model, engines[-1])):
            raise SystemExit(f"{model}: no engine can be built; run vim-build to see why")
    sources = [path.read_bytes() for path in (*models, *engines)]
    results: Counter[str] = Counter()
    failures: list[str] = []
    started = time.monotonic()
    for number in range(count):
        generator = random.Random(f"{seed}/{number}")
        kind, data = edits.case(sources, len(models), generator)
        path = folder / f"case{'.onnx' if kind.startswith('onnx') else '.engine'}"
        path.write_bytes(data)
        result = _run_case(path, image, folder)
        results[f"{kind}: {result}"] += 1
        if result not in [_RESULTS[code] for code in _GOOD]:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, keep / f"{seed}-{number}-{path.name}")
            failures.append(f"{number} ({kind}): {result}")
        if number % 250 == 249:
            print(f"{number + 1} artifacts, {len(failures)} failures", file=sys.stderr, flush=True)
    return {
        "artifacts": count,
        "seed": seed,
        "results": dict(sorted(results.items())),
        "failures": failures,
        "seconds": round(time.monotonic() - started, 1),
    }


def _run_case(path: Path, image: Path, folder: Path) -> str:
    from vim_deploy.cli.infer import main

    output, cache = folder / "rows.csv", folder / "cache"
    output.unlink(missing_ok=True)
    shutil.rmtree(cache, ignore_errors=True)

    def command() -> None:
        os.environ["VIM_DEPLOY_CACHE"] = str(cache)
        main([str(path), str(image), "-o", str(output), "--threads", "1", "--workers", "1", "--restart"])

    code = _in_child(command)
    if code in (0, 1) and (not output.exists() or len(output.read_text().splitlines()) != 2):
        return "no row"
    if code < 0:
        return "hang" if -code == signal.SIGALRM else f"crash ({signal.Signals(-code).name})"
    return _RESULTS.get(code, f"exit code {code}")


def _in_child(work: Any) -> int:
    """The exit code of `work` in a forked process, or minus the signal that killed it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        signal.alarm(SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        with contextlib.suppress(OSError):
            sys.stdin.close()
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        os._exit(code)
