"""Exported files against reference numbers from the upstream implementation, at full size.

`python -m vim_deploy.validation.golden FOLDER` exports each model of `full_logits.json` with generated
weights, runs the file with our library, by the function body and as an engine, and compares the logits and
the tensors inside (after every block, at some tokens and channels) with the float64 or float32 numbers in
the folder. Nothing of this project's eager model takes part in the result.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx

from vim_deploy.cli.common import command
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.source import read_source
from vim_deploy.export.exporter import ExportRequest, export
from vim_deploy.export.source import ModelSource
from vim_deploy.model import create_model, save_checkpoint
from vim_deploy.model.config import REGISTERED_NAMES
from vim_deploy.model.synthetic import fill_generated, generated_pixels
from vim_deploy.parity.difference import RELATIVE_TOLERANCE, difference, signal_to_noise
from vim_deploy.validation.artifacts import (
    ENGINE,
    FUNCTION_BODY,
    LIBRARY,
    Way,
    open_artifact,
    open_source_model,
)
from vim_deploy.validation.probes import find_taps, tapped

WAYS = (LIBRARY, FUNCTION_BODY, ENGINE)
HEADER = (
    "| case | run by | largest difference | relative | signal to noise | worst block | top 5 equal |",
    "|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Row:
    """One case run one way. `block`: the worst relative difference of any block's probes, or None."""

    case: str
    how: str
    max_abs: float
    relative: float
    signal_to_noise_db: float
    top5_equal: bool
    block: float | None

    @property
    def passed(self) -> bool:
        limit = RELATIVE_TOLERANCE["fp32"]
        return self.relative <= limit and (self.block is None or self.block <= limit)

    def markdown(self) -> str:
        block = "" if self.block is None else f"{self.block:.1e}"
        return (
            f"| {self.case} | {self.how} | {self.max_abs:.1e} | {self.relative:.1e} | "
            f"{self.signal_to_noise_db:.0f} dB | {block} | {'yes' if self.top5_equal else 'no'} |"
        )


def golden_rows(folder: Path, names: tuple[str, ...] = ()) -> Iterator[Row]:
    """Every way of running every case, or the named ones."""
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
    pixels = generated_pixels((case["batch"], 3, *case["image_hw"]), case["image_seed"])
    block = _worst_block(case, expected, path, pixels)
    engine = work / "model.engine"
    build_engine(path, engine)
    for how in WAYS:
        with open_artifact(Way(engine if how == ENGINE else path, how)) as artifact:
            logits = artifact.run(pixels)
        found = difference(expected["logits_f64"], logits)
        top5 = np.argsort(-logits, axis=1)[:, :5].tolist() == case["top5"]
        noise = signal_to_noise(expected["logits_f64"], logits)
        inside = block if how == LIBRARY else None
        yield Row(case["name"], how, found.max_abs, found.relative, noise, top5, inside)


def _export(case: dict[str, Any], work: Path) -> Path:
    name = next(short for long, short in REGISTERED_NAMES.items() if long.startswith(case["model"]))
    trained_size = case["pos_embed_resized_from"] or case["image_hw"][0]
    model = create_model(name, image_size=(trained_size, trained_size))
    fill_generated(model, case["weights_seed"])
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
    taps = find_taps(model)
    depth = len(expected["probe_hidden"])
    wanted = {taps[f"layers.{index}.{kind}"] for index in range(depth) for kind in ("out_proj", "residual")}
    inside = path.with_name("tapped.onnx")
    onnx.save_model(tapped(model, wanted), str(inside))
    with open_source_model(Way(inside, LIBRARY), read_source(inside)) as artifact:
        found = artifact.run_all(pixels)
    tokens, channels = case["probe_token_indices"], case["probe_channels"]
    worst = 0.0
    for kind, probe in (("out_proj", "probe_hidden"), ("residual", "probe_residual")):
        for index in range(depth):
            values = found[taps[f"layers.{index}.{kind}"]][:, tokens, :channels]
            worst = max(worst, difference(expected[probe][index], values).relative)
    return worst


@command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--case", "cases", multiple=True, help="One case of full_logits.json; repeatable.  [default: all]"
)
def main(folder: Path, cases: tuple[str, ...]) -> None:
    """Print a table (Markdown) of the exported files against the reference numbers in FOLDER.

    Exit codes: 0 all within the tolerance, 1 some are not.
    """
    passed = True
    click.echo("\n".join(HEADER))
    for row in golden_rows(folder, cases):
        click.echo(row.markdown())
        sys.stdout.flush()
        passed = passed and row.passed
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
