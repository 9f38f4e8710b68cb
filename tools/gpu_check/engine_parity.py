"""Compares an engine's logits with the eager model's, which prepare.py wrote.

    python tools/gpu_check/engine_parity.py ENGINE EAGER.npz TOLERANCE

Exits with 1 if a top-1 class differs, or if the error of a logit, relative to the largest one, is above
TOLERANCE. Does not need PyTorch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]


def logits_of(path: str, pixels: np.ndarray) -> np.ndarray:
    """The logits of each image in float64, (images, classes)."""
    import vim_deploy

    with vim_deploy.load(path) as engine:
        size = engine.batches.smallest
        rows = [engine.run(np.repeat(image[None], size, axis=0))["logits"][:1] for image in pixels]
    return np.concatenate(rows).astype(np.float64)


def main(arguments: list[str]) -> int:
    engine, reference, tolerance = arguments
    with np.load(reference) as saved:
        pixels, want = saved["pixels"], saved["logits"].astype(np.float64)
    found = logits_of(engine, pixels)
    error = float(np.abs(found - want).max() / np.abs(want).max())
    differs = found.argmax(-1) != want.argmax(-1)
    differences = int(differs.sum())
    # How far the eager model's top class is ahead where the engine's differs; a small margin is a tie.
    best = np.sort(want, axis=-1)
    margins = ((best[:, -1] - best[:, -2]) / np.abs(want).max())[differs]
    passed = differences == 0 and error <= float(tolerance)
    result = {"step": "parity", "engine": Path(engine).name, "images": len(pixels), "error": error}
    result |= {"tolerance": float(tolerance), "different_top1": differences, "top1_margins": margins.tolist()}
    print(json.dumps({**result, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
