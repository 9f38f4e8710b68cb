"""Copies the small cases of the full reference numbers into this folder, for checkouts without them.

Run as `python tests/golden/make_selection.py ../shared/golden`; its README says what the numbers are.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Tensors = dict[str, NDArray[Any]]
HERE = Path(__file__).resolve().parent
LARGEST_SCAN, LARGEST_PART = 8_000, 26_000  # bytes per case
BLOCKS = ("v2_len2", "v2_layer_scale", "v1", "unidirectional")
MODELS = ("channels1_classes3",)
FULL_SIZE = ("tiny_224",)
PREPROCESSING = ("square_48", "crop1_64", "imagenet_224")
SEGMENTATION_BACKBONES = ("patch8",)  # the neck for patch 16 is the segmenter's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder of the full reference numbers")
    source: Path = parser.parse_args().source
    select(source, "op_selective_scan", lambda case, tensors: nbytes(tensors) <= LARGEST_SCAN)
    select(source, "block", lambda case, tensors: case["name"] in BLOCKS)
    select(source, "full_logits", lambda case, tensors: case["name"] in FULL_SIZE)
    select(source, "preprocess", lambda case, tensors: case["name"] in PREPROCESSING)
    select(source, "seg_backbone", lambda case, tensors: case["name"] in SEGMENTATION_BACKBONES)
    select_parts(source)
    # The padded input follows from the image.
    detector = load_file(source / "detector.safetensors")
    save_file(
        {key: value for key, value in detector.items() if key != "input"}, HERE / "detector.safetensors"
    )
    # Every model is described, so that names and shapes are tested; tensors are there for a few.
    for name in ("models", "full_state_dicts", "full_dense_state_dicts", "segmenter", "detector"):
        write_json(name, json.loads((source / f"{name}.json").read_text()))
    for name in MODELS:
        shutil.copyfile(source / f"model_{name}.safetensors", HERE / f"model_{name}.safetensors")
    for name in (
        "segmenter.safetensors",
        "checkpoint_reduced.pth",
        "checkpoint_reduced_expected.safetensors",
    ):
        shutil.copyfile(source / name, HERE / name)


def select(source: Path, name: str, wanted: Callable[[dict[str, Any], Tensors], bool]) -> None:
    manifest = json.loads((source / f"{name}.json").read_text())
    tensors = load_file(source / f"{name}.safetensors")
    cases = [case for case in manifest["cases"] if wanted(case, below(tensors, f"{case['name']}."))]
    write_json(name, {**manifest, "cases": cases})
    kept: Tensors = {}
    for case in cases:
        kept |= below(tensors, f"{case['name']}.")
    save_file(kept, HERE / f"{name}.safetensors")


def select_parts(source: Path) -> None:
    """`op_misc` has one list of cases per kind."""
    manifest = json.loads((source / "op_misc.json").read_text())
    tensors = load_file(source / "op_misc.safetensors")
    kept: Tensors = {}
    for kind, cases in manifest.items():
        found = {case["name"]: below(tensors, f"{kind}.{case['name']}.") for case in cases}
        small = {name: values for name, values in found.items() if nbytes(values) <= LARGEST_PART}
        manifest[kind] = [case for case in cases if case["name"] in small]
        for values in small.values():
            kept |= values
    write_json("op_misc", manifest)
    save_file(kept, HERE / "op_misc.safetensors")


def below(tensors: Tensors, prefix: str) -> Tensors:
    """Those of a case, without the float32 outputs that have a float64 one."""
    return {
        name: value
        for name, value in tensors.items()
        if name.startswith(prefix)
        and not (name.endswith((".out", ".last_state")) and f"{name}_f64" in tensors)
    }


def nbytes(tensors: Tensors) -> int:
    return sum(np.asarray(value).nbytes for value in tensors.values())


def write_json(name: str, content: Any) -> None:
    (HERE / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
