"""Compares an engine's logits with those of another engine or ONNX file on the same seeded pixels.

    python tools/gpu_check/engine_parity.py ENGINE REFERENCE TOLERANCE

Exits with 1 where a top-1 class differs or a logit is off by more than TOLERANCE of the largest. The
reference runs on the CPU; that it equals the eager model is what vim-export checked.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

IMAGES, SEED = 8, 7


def logits_of(path: str, device: str | None) -> np.ndarray:
    import vim_deploy

    options: dict[str, Any] = {} if device is None else {"device": device}
    engine = vim_deploy.load_engine(path, **options)
    try:
        rule = engine.metadata.preprocessing
        shape = (IMAGES, rule.channels, *rule.image_size)
        pixels = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)
        rows = [engine.run(pixels[i : i + 1])["logits"] for i in range(IMAGES)]
    finally:
        engine.close()
    return np.concatenate(rows).astype(np.float64)


def main(arguments: list[str]) -> int:
    engine, reference, tolerance = arguments
    found, want = logits_of(engine, None), logits_of(reference, "cpu")
    error = float(np.abs(found - want).max() / np.abs(want).max())
    same = bool((found.argmax(-1) == want.argmax(-1)).all())
    passed = same and error <= float(tolerance)
    print(
        json.dumps({"step": "parity", "engine": engine, "error": error, "same_top1": same, "passed": passed})
    )
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
