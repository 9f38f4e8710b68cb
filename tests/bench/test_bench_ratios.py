"""Ratios and plotted lines of cells with known values."""

import pytest

from benchmarks import plots
from benchmarks.candidates import (
    ENGINE,
    ENGINE_BF16,
    ENGINE_INT8,
    FLOOR,
    MATMULS,
    ONNXRUNTIME,
    OPENVINO,
    REFERENCE,
    SCANS,
)  # fmt: skip
from benchmarks.ratios import across_cells, fastest_deit, floor_rounds, within_cell
from benchmarks.report import format_result


def result(network, runtime, rounds, above_start=0, above_opened=0, precision="fp32"):
    times = sorted(value for times in rounds for value in times)
    latency = {"p50": 1000 * times[len(times) // 2], "p95": 1000 * times[-1]}
    return {
        "network": network,
        "runtime": runtime,
        "precision": precision,
        "status": "measured",
        "rounds_seconds": rounds,
        "latency_ms": latency,
        "memory_bytes": {"above_start": above_start, "above_opened": above_opened},
        "differs_from_eager": None,
    }


def cell(resolution, results, batch_size=1):
    return {
        "pair": "Ti",
        "resolution": resolution,
        "batch_size": batch_size,
        "load_average": 0.5,
        "results": results,
    }


ONE = cell(
    624,
    [
        result("Vim-Ti", ENGINE, [[1.0], [2.0], [1.0]], above_start=20, above_opened=5),
        result("Vim-Ti", ENGINE_BF16, [[0.25], [1.0], [0.5]], precision="bf16-matmul"),
        result("Vim-Ti", ENGINE_INT8, [[0.125], [0.5], [0.25]], precision="int8-matmul"),
        result("Vim-Ti", REFERENCE, [[10.0], [40.0], [30.0]]),
        result("DeiT-Ti", ONNXRUNTIME, [[3.0], [6.0], [3.0]], above_start=100, above_opened=50),
        result("DeiT-Ti", OPENVINO["fp32"], [[2.0], [5.0], [2.0]]),
        result("DeiT-Ti", OPENVINO["bf16"], [[0.5], [1.0], [0.5]], precision="bf16"),
        result("DeiT-Ti", OPENVINO["int8"], [[0.25], [0.75], [0.25]], precision="int8"),
        result(f"{FLOOR} of Vim-Ti", MATMULS, [[0.5], [1.0], [0.25]]),
        result(f"{FLOOR} of Vim-Ti", SCANS, [[0.25], [0.5], [0.25]]),
        {
            "network": "DeiT-Ti",
            "runtime": "none",
            "precision": "fp32",
            "status": "skipped",
            "reason": "no why",
        },
    ],
)


def test_ratios_within_a_cell():
    found = within_cell(ONE)
    assert found["times faster than its reference in eager PyTorch"] == {"median": 20, "low": 10, "high": 30}
    assert found["times faster than DeiT in ONNX Runtime"] == {"median": 3, "low": 3, "high": 3}
    assert found["times faster than the fastest DeiT in fp32 (openvino fp32)"]["median"] == 2
    assert found["times faster than the fastest DeiT in bf16 (openvino bf16)"]["median"] == 0.5
    assert found["bf16 matmul: times faster than our engine in fp32"]["median"] == 2
    found_bf16 = found["bf16 matmul: times faster than the fastest DeiT in bf16 (openvino bf16)"]
    assert found_bf16 == {"median": 1, "low": 1, "high": 2}
    assert found["int8 matmul: times faster than our engine in fp32"]["median"] == 4
    assert found["int8 matmul: times faster than our engine with bf16 matmuls"]["median"] == 2
    of_deit = found["int8 matmul: times faster than the fastest DeiT in int8 (openvino int8)"]
    assert of_deit == {"median": 1.5, "low": 1, "high": 2}
    assert found["times the floor"] == pytest.approx({"median": 4 / 3, "low": 4 / 3, "high": 2})
    assert found["share of DeiT's memory in ONNX Runtime, above start"]["median"] == 0.2
    assert found["share of DeiT's memory in ONNX Runtime, running"]["median"] == 0.1


def test_the_floor_is_the_sum_of_its_parts_in_each_round():
    assert floor_rounds(ONE) == [[0.75], [1.5], [0.5]]
    assert floor_rounds(cell(624, ONE["results"][:-2])) is None


def test_the_fastest_deit_is_selected_per_precision():
    assert fastest_deit(ONE, "fp32")["runtime"] == OPENVINO["fp32"]
    assert fastest_deit(cell(624, []), "fp32") is None


def test_growth_with_image_size_and_batch():
    large = cell(1248, [result("Vim-Ti", ENGINE, [[4.2]], above_opened=21)])
    batched = cell(624, [result("Vim-Ti", ENGINE, [[4.0]])], batch_size=8)
    found = across_cells([ONE, large, batched])
    name = "Vim-Ti, 1248 over 624 pixels (4 times the patches)"
    assert found[f"{name}: time"]["median"] == pytest.approx(4.2)
    assert found[f"{name}: memory of running"]["median"] == pytest.approx(4.2)
    assert found["Vim-Ti, 624 pixels: images/s at batch 8 over batch 1"]["median"] == pytest.approx(2)


def test_without_an_engine_there_are_no_ratios():
    assert within_cell(cell(624, ONE["results"][1:])) == {}
    assert across_cells([cell(624, ONE["results"][1:])]) == {}


def whole(cells):
    conditions = {
        "cpu": "abacus", "architecture": "wood", "cpu_instruction_set": "beads",
        "kernel_instruction_set": "fingers", "cpus": 2, "load_average": 0.5,
        "load_average_at_end": 0.25, "date": "today", "versions": {"python": "3"},
    }  # fmt: skip
    return {"conditions": conditions, "settings": {"threads": 2, "rounds": 3}, "cells": cells}


def test_the_report_lists_skipped_candidates_and_the_floor():
    text = format_result(whole([ONE]))
    assert "DeiT-Ti, none: SKIPPED, no why" in text
    assert "floor: 750 ms" in text
    assert "abacus" in text and "2 threads" in text
    row = next(line for line in text.splitlines() if line.startswith("| Vim-Ti, our engine"))
    assert [part.strip() for part in row.split("|")][2:6] == ["1000", "2000", "1", "3.00"]


def test_the_overview_compares_each_precision_with_deit_in_the_same_precision():
    batched = cell(624, [result("Vim-Ti", ENGINE, [[4.0]])], batch_size=8)
    text = format_result(whole([ONE, batched]))
    overview = text[text.index("p50 ms per batch") :]
    rows = {name.strip(): [value.strip() for value in values]
            for line in overview.splitlines() if line.startswith("|")
            for name, *values in [line.strip("|").split("|")]}  # fmt: skip
    assert rows["pixels, batch"] == ["624x624, 1", "624x624, 8"]
    assert rows["Vim-Ti, our engine"] == ["1000", "4000"]
    assert rows["DeiT-Ti, none"] == ["-", "-"]
    for precision, runtime, speed in (
        ("fp32", ENGINE, "2.00"),
        ("bf16", ENGINE_BF16, "1.00"),
        ("int8", ENGINE_INT8, "1.50"),
    ):
        assert rows[f"Vim, {runtime}: times faster than the fastest DeiT in {precision}"] == [speed, "-"]
    assert "p50 ms per batch" not in format_result(whole([ONE]))


def test_a_line_has_one_point_per_resolution_in_order_for_single_images():
    small = cell(224, [result("Vim-Ti", ENGINE, [[0.5]], above_start=2_000_000)])
    batched = cell(224, [result("Vim-Ti", ENGINE, [[0.1]])], batch_size=8)
    (vim, *others) = plots.lines([ONE, batched, small], "Ti", plots.images_per_second)
    assert (vim.label, vim.resolutions, vim.values) == ("Vim-Ti, our engine", (224, 624), (2.0, 1.0))
    assert all(line.resolutions == (624,) for line in others)
    (vim, *_) = plots.lines([small], "Ti", plots.megabytes_above_start)
    assert vim.values == (2.0,)


def test_both_plots_are_drawn_for_every_size(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib (extra: bench)")
    from PIL import Image

    other = {**ONE, "resolution": 1248}
    paths = plots.draw(whole([ONE, other, {**ONE, "pair": "S"}]), tmp_path, "result")
    assert [path.name for path in paths] == ["result-Ti.png", "result-S.png"]
    with Image.open(paths[0]) as image:
        assert image.width > 1000
        colors = {tuple(pixel[:3]) for _, pixel in image.convert("RGB").getcolors(1 << 24)}
    assert (0xD5, 0x5E, 0x00) in colors and (0x00, 0x72, 0xB2) in colors
