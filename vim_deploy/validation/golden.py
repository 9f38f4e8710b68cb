"""Exported full-size models against reference values from the upstream implementation.

`golden_rows` exports each model of `full_logits.json` with synthetic
weights, runs the file with the operator library, by its function body and as an engine, and compares the
logits and the outputs of every block (at some tokens and channels) with the float64 or float32 values in the
folder. The eager model of this project is not used for the comparison.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from vim_deploy.engines.build import build_engine
from vim_deploy.engines.source import read_source
from vim_deploy.export.exporter import ExportRequest, export
from vim_deploy.families.family import ModelSource
from vim_deploy.families.vim_probes import find_probes
from vim_deploy.model import create_model, save_checkpoint
from vim_deploy.model.config import REGISTERED_NAMES
from vim_deploy.model.synthetic import fill_synthetic, synthetic_pixels
from vim_deploy.parity.difference import difference, signal_to_noise
from vim_deploy.precision import Precision
from vim_deploy.validation.artifacts import (
    RunMode,
    Target,
    open_artifact,
    open_source_model,
)
from vim_deploy.validation.probes import with_probes

HEADER = (
    "| case | run mode | max abs difference | max relative | SNR | worst block | same top 5 |",
    "|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Row:
    """One case in one run mode. `block`: the largest relative difference after any block, or None."""

    case: str
    mode: RunMode
    max_abs: float
    relative: float
    signal_to_noise_db: float
    top5_equal: bool
    block: float | None

    @property
    def passed(self) -> bool:
        limit = Precision.FP32.tolerance
        return self.relative <= limit and (self.block is None or self.block <= limit)

    def markdown(self) -> str:
        block = "" if self.block is None else f"{self.block:.1e}"
        return (
            f"| {self.case} | {self.mode} | {self.max_abs:.1e} | {self.relative:.1e} | "
            f"{self.signal_to_noise_db:.0f} dB | {block} | {'yes' if self.top5_equal else 'no'} |"
        )


def golden_rows(folder: Path, names: tuple[str, ...] = ()) -> Iterator[Row]:
    """Every case, or those in `names`, in every run mode."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / "full_logits.safetensors")
    for case in json.loads((folder / "full_logits.json").read_text())["cases"]:
        if names and case["name"] not in names:
            continue
        expected = {key.partition(".")[2]: value for key, value in tensors.items()
                    if key.startswith(f"{case['name']}.")}  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="vim-golden-") as work:
            yield from _case(case, expected, Path(work))


def _case(case: dict[str, Any], expected: dict[str, np.ndarray], work: Path) -> Iterator[Row]:
    path = _export(case, work)
    pixels = synthetic_pixels((case["batch"], 3, *case["image_hw"]), case["image_seed"])
    block = _worst_block(case, expected, path, pixels)
    engine = work / "model.engine"
    build_engine(path, engine)
    for mode in RunMode:
        with open_artifact(Target(engine if mode == RunMode.ENGINE else path, mode)) as artifact:
            logits = artifact.run(pixels)
        found = difference(expected["logits_f64"], logits)
        top5 = np.argsort(-logits, axis=1)[:, :5].tolist() == case["top5"]
        noise = signal_to_noise(expected["logits_f64"], logits)
        inside = block if mode == RunMode.LIBRARY else None
        yield Row(case["name"], mode, found.max_abs, found.relative, noise, top5, inside)


def _export(case: dict[str, Any], work: Path) -> Path:
    name = next(short for long, short in REGISTERED_NAMES.items() if long.startswith(case["model"]))
    trained_size = case["pos_embed_resized_from"] or case["image_hw"][0]
    model = create_model(name, image_size=(trained_size, trained_size))
    fill_synthetic(model, case["weights_seed"])
    checkpoint = work / "model.safetensors"
    save_checkpoint(model, checkpoint)
    source = ModelSource(
        "auto", str(checkpoint), image_size=tuple(case["image_hw"]), position_rule="reference"
    )
    return export(ExportRequest(source, work / "model.onnx", check=False)).path


def _worst_block(
    case: dict[str, Any], expected: dict[str, np.ndarray], path: Path, pixels: np.ndarray
) -> float:
    model = onnx.load(str(path))
    probes = find_probes(model)
    depth = len(expected["probe_hidden"])
    wanted = {probes[f"layers.{index}.{kind}"] for index in range(depth) for kind in ("out_proj", "residual")}
    inside = path.with_name("probed.onnx")
    onnx.save_model(with_probes(model, wanted), str(inside))
    with open_source_model(Target(inside, RunMode.LIBRARY), read_source(inside)) as artifact:
        found = artifact.run_all(pixels)
    tokens, channels = case["probe_token_indices"], case["probe_channels"]
    worst = 0.0
    for kind, probe in (("out_proj", "probe_hidden"), ("residual", "probe_residual")):
        for index in range(depth):
            values = found[probes[f"layers.{index}.{kind}"]][:, tokens, :channels]
            worst = max(worst, difference(expected[probe][index], values).relative)
    return worst
