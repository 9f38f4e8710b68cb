"""Runs vim-infer on folders of mutated images: each must give one row, and no decoder may crash or hang."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import seeds
from mutate import mutate

ROUND = 2000
_LOST = "the decoder "
_SLOW = "decoding took longer"


def run(models: list[Path], count: int, seed: int, folder: Path, keep: Path) -> dict[str, Any]:
    """Counts; `failures`: the cases with a missing row or a crashed decoder.

    `slow`: the cases that reached the time limit, which have a row like the others.
    """
    from vim_deploy.engines.build import build_engine

    engine = folder / "model.engine"
    build_engine(models[0], engine)
    whole = seeds.images()
    reasons: Counter[str] = Counter()
    failures: list[str] = []
    slow: list[str] = []
    started = time.monotonic()
    for first in range(0, count, ROUND):
        inputs = folder / "inputs"
        inputs.mkdir()
        for number in range(first, min(count, first + ROUND)):
            _write_case(whole, inputs, seed, number)
        rows = _rows(engine, inputs, folder / "rows.jsonl")
        failures += _check(inputs, rows, reasons, keep)
        slow += [Path(row["path"]).name for row in rows if (row["reason"] or "").startswith(_SLOW)]
        print(f"{number + 1} images, {len(failures)} failures", file=sys.stderr, flush=True)
        shutil.rmtree(inputs)
    return {
        "images": count,
        "seed": seed,
        "formats": len(whole),
        "ok": reasons.pop("", 0),
        "refused": sum(reasons.values()),
        "reasons": dict(reasons.most_common(20)),
        "slow": slow,
        "failures": failures,
        "seconds": round(time.monotonic() - started, 1),
    }


def _write_case(whole: dict[str, bytes], inputs: Path, seed: int, number: int) -> None:
    generator = random.Random(f"{seed}/{number}")
    name = generator.choice(sorted(whole))
    other = whole[generator.choice(sorted(whole))]
    (inputs / f"{number:07d}-{name}.jpg").write_bytes(mutate(whole[name], generator, other))


def _rows(engine: Path, inputs: Path, output: Path) -> list[dict[str, Any]]:
    from vim_deploy.cli.infer import main

    arguments = [
        engine,
        inputs,
        "-o",
        output,
        "--decode-seconds",
        20,
        "--quiet",
        "--workers",
        1,
        "--threads",
        1,
    ]
    try:
        main([str(argument) for argument in (*arguments, "--batch-size", 64, "--restart")])
    except SystemExit as end:
        if end.code not in (0, 1, None):
            raise RuntimeError(f"vim-infer exited with {end.code}") from None
    return [json.loads(line) for line in output.read_text().splitlines()]


def _check(inputs: Path, rows: list[dict[str, Any]], reasons: Counter[str], keep: Path) -> list[str]:
    expected = sorted(str(path) for path in inputs.iterdir())
    if [row["path"] for row in rows] != expected:
        return [f"{len(rows)} rows for {len(expected)} images"]
    failures = []
    for row in rows:
        reason = row["reason"] or ""
        reasons[reason.split(":")[0][:60].strip() if reason else ""] += 1
        if reason.startswith(_LOST) or (row["status"] == "ok") != (len(row["top"]) > 0):
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(row["path"], keep)
            failures.append(f"{Path(row['path']).name}: {reason}")
    return failures
