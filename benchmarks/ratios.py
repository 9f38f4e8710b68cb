"""Ratios between the candidates of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.candidates import (
    ENGINE,
    ENGINE_BF16,
    ENGINE_INT8,
    FLOOR,
    KERNEL,
    LIBRARY,
    MATMULS,
    ONNXRUNTIME,
    REFERENCE,
    SCANS,
)
from vim_deploy.bench.figures import Ratio, ratio

Cell = dict[str, Any]
Result = dict[str, Any]


def find(cell: Cell, network: str, runtime: str) -> Result | None:
    """The measured result, `network` without its size: "Vim", "DeiT" or "floor"."""
    return next(
        (
            result
            for result in cell["results"]
            if result["status"] == "measured"
            and result["network"].startswith(network)
            and result["runtime"] == runtime
        ),
        None,
    )


def fastest_deit(cell: Cell, precision: str) -> Result | None:
    candidates = [
        result
        for result in cell["results"]
        if result["status"] == "measured"
        and result["network"].startswith("DeiT")
        and result["precision"] == precision
    ]
    return min(candidates, key=lambda result: result["latency_ms"]["p50"], default=None)


def floor_rounds(cell: Cell) -> list[list[float]] | None:
    """Seconds per round: matmuls and scans together."""
    parts = [find(cell, FLOOR, runtime) for runtime in (MATMULS, SCANS)]
    if None in parts:
        return None
    rounds = [part["rounds_seconds"] for part in parts if part is not None]
    return [[median(matmuls) + median(scans)] for matmuls, scans in zip(*rounds, strict=True)]


def within_cell(cell: Cell) -> dict[str, dict[str, Any]]:
    """Named ratios of one cell: our engine's speedup, and its share of the other's peak memory."""
    engine = find(cell, "Vim", ENGINE)
    found: dict[str, dict[str, Any]] = {}
    if engine is None:
        return found
    for name, other in _others(cell):
        speed = ratio(other["rounds_seconds"], engine["rounds_seconds"])
        found[f"times faster than {name}"] = asdict(speed)
    floor = floor_rounds(cell)
    if floor is not None:
        found["times the floor"] = asdict(ratio(engine["rounds_seconds"], floor))
    deit = find(cell, "DeiT", ONNXRUNTIME)
    if deit is not None:
        for key, name in (("above_start", "above start"), ("above_opened", "running")):
            share = engine["memory_bytes"][key] / max(1, deit["memory_bytes"][key])
            found[f"share of DeiT's memory in ONNX Runtime, {name}"] = _single(share)
    bf16 = find(cell, "Vim", ENGINE_BF16)
    int8 = find(cell, "Vim", ENGINE_INT8)
    of_bf16 = [*_fastest(cell, "bf16")]
    of_int8 = [*_named("our engine with bf16 matmuls", bf16), *of_bf16, *_fastest(cell, "int8")]
    return {
        **found,
        **_reduced_ratios("bf16 matmul", bf16, [("our engine in fp32", engine), *of_bf16]),
        **_reduced_ratios("int8 matmul", int8, [("our engine in fp32", engine), *of_int8]),
    }


def _reduced_ratios(
    label: str, reduced: Result | None, others: Sequence[tuple[str, Result]]
) -> dict[str, dict[str, Any]]:
    """Speedup of our engine with matmuls in reduced precision."""
    if reduced is None:
        return {}
    return {
        f"{label}: times faster than {name}": asdict(
            ratio(other["rounds_seconds"], reduced["rounds_seconds"])
        )
        for name, other in others
    }


def _others(cell: Cell) -> list[tuple[str, Result]]:
    return [
        *_named("its reference in eager PyTorch", find(cell, "Vim", REFERENCE)),
        *_named("eager PyTorch with the kernel", find(cell, "Vim", KERNEL)),
        *_named("its ONNX file in ONNX Runtime with the library", find(cell, "Vim", LIBRARY)),
        *_named("DeiT in ONNX Runtime", find(cell, "DeiT", ONNXRUNTIME)),
        *_fastest(cell, "fp32"),
        *_fastest(cell, "bf16"),
    ]


def _fastest(cell: Cell, precision: str) -> list[tuple[str, Result]]:
    fastest = fastest_deit(cell, precision)
    runtime = "" if fastest is None else fastest["runtime"]
    return _named(f"the fastest DeiT in {precision} ({runtime})", fastest)


def _named(name: str, result: Result | None) -> list[tuple[str, Result]]:
    """One item, or none for a candidate that was not measured."""
    return [] if result is None else [(name, result)]


def across_cells(cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """Scaling of our engine: time and memory when the image side doubles, images per second with the batch.

    These compare turns that are minutes apart.
    """
    return {
        **_growth(cells, ENGINE, ""),
        **_growth(cells, ENGINE_BF16, ", bf16 matmul"),
        **_growth(cells, ENGINE_INT8, ", int8 matmul"),
    }


def _growth(cells: Sequence[Cell], runtime: str, suffix: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    engines = {(cell["pair"], cell["resolution"], cell["batch_size"]): engine
               for cell in cells if (engine := find(cell, "Vim", runtime)) is not None}  # fmt: skip
    for label in dict.fromkeys(key[0] for key in engines):
        single = sorted(size for pair, size, batch in engines if pair == label and batch == 1)
        for small, large in ((size, 2 * size) for size in single if 2 * size in single):
            below, above = engines[label, small, 1], engines[label, large, 1]
            time = above["latency_ms"]["p50"] / below["latency_ms"]["p50"]
            memory = above["memory_bytes"]["above_opened"] / max(1, below["memory_bytes"]["above_opened"])
            name = f"Vim-{label}{suffix}, {large} over {small} pixels (4 times the patches)"
            found[f"{name}: time"], found[f"{name}: memory of running"] = _single(time), _single(memory)
        for (pair, size, batch), result in engines.items():
            if pair == label and batch > 1 and (label, size, 1) in engines:
                alone = engines[label, size, 1]["latency_ms"]["p50"]
                gain = batch * alone / result["latency_ms"]["p50"]
                name = f"Vim-{label}{suffix}, {size} pixels"
                found[f"{name}: images/s at batch {batch} over batch 1"] = _single(gain)
    return found


def _single(value: float) -> dict[str, float]:
    return asdict(Ratio(value, value, value))
