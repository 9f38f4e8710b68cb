"""Compares an engine's logits with the eager model's, which prepare.py wrote.

    python tools/gpu_check/engine_parity.py ENGINE EAGER.npz TOLERANCE

Exits with 1 where a top-1 class differs or a logit is off by more than TOLERANCE of the largest. Needs no
PyTorch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]


def logits_of(path: str, pixels: np.ndarray) -> np.ndarray:
    """Image by image, in float64."""
    import vim_deploy

    with vim_deploy.load_engine(path) as engine:
        size = engine.batches.smallest
        rows = [engine.run(np.repeat(image[None], size, axis=0))["logits"][:1] for image in pixels]
    return np.concatenate(rows).astype(np.float64)


def main(arguments: list[str]) -> int:
    engine, reference, tolerance = arguments
    with np.load(reference) as saved:
        pixels, want = saved["pixels"], saved["logits"].astype(np.float64)
    found = logits_of(engine, pixels)
    error = float(np.abs(found - want).max() / np.abs(want).max())
    others = found.argmax(-1) != want.argmax(-1)
    other = int(others.sum())
    # The lead of the eager model's top class where the engine chose another; a small lead is a tie.
    best = np.sort(want, axis=-1)
    leads = ((best[:, -1] - best[:, -2]) / np.abs(want).max())[others]
    passed = other == 0 and error <= float(tolerance)
    result = {"step": "parity", "engine": Path(engine).name, "images": len(pixels), "error": error}
    result |= {"tolerance": float(tolerance), "other_top1": other, "their_leads": leads.tolist()}
    print(json.dumps({**result, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
