"""The result of a comparison as text."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.candidates import ENGINE, ENGINE_BF16, ENGINE_INT8, FLOOR, ONNXRUNTIME
from benchmarks.ratios import across_cells, fastest_deit, find, floor_rounds, within_cell
from vim_deploy.bench.conditions import summary
from vim_deploy.bench.figures import ratio
from vim_deploy.bench.table import megabytes, milliseconds, table
from vim_deploy.text import plural

_HEAD = ("network, runtime", "p50 ms", "p95 ms", "images/s", "speed", "MB", "MB running", "differs")
_LEGEND = (
    "p50, p95: one inference of the whole batch, over all rounds. speed: times as fast as DeiT in ONNX\n"
    "Runtime, median of the rounds' ratios. MB: 1e6 bytes resident at the peak above the start (runtime\n"
    "imported, model not yet opened); running: above the opened model. differs: largest difference of the\n"
    "output from the same network's in eager PyTorch, over the largest value."
)


def format_result(result: dict[str, Any]) -> str:
    """Tables, ratios and skipped candidates."""
    settings, conditions = result["settings"], result["conditions"]
    lines = [
        summary(conditions),
        f"{plural(settings['threads'], 'thread')}, {plural(settings['rounds'], 'round')}, load "
        f"{conditions['load_average_at_end']:.2f} at the end",
    ]
    for cell in result["cells"]:
        lines += ["", *_cell(cell)]
    lines += ["", _LEGEND]
    for pair in dict.fromkeys(cell["pair"] for cell in result["cells"]):
        cells = [cell for cell in result["cells"] if cell["pair"] == pair]
        if len(cells) > 1:
            lines += ["", *_overview(pair, cells)]
    growth = across_cells(result["cells"])
    if growth:
        lines += ["", "Growth of our engine (turns minutes apart)", *_ratios(growth)]
    return "\n".join(lines)


def _overview(pair: str, cells: list[dict[str, Any]]) -> list[str]:
    """A table of all cells: milliseconds, and how many times faster our engines are than DeiT."""
    head = [f"{cell['resolution']}x{cell['resolution']}, {cell['batch_size']}" for cell in cells]
    names = dict.fromkeys((item["network"], item["runtime"]) for cell in cells for item in cell["results"])
    rows = [[", ".join(name), *(_p50(find(cell, *name)) for cell in cells)] for name in names]
    for precision, runtime in (("fp32", ENGINE), ("bf16", ENGINE_BF16), ("int8", ENGINE_INT8)):
        speeds = [_of_fastest(cell, find(cell, "Vim", runtime), precision) for cell in cells]
        rows.append([f"Vim, {runtime}: times faster than the fastest DeiT in {precision}", *speeds])
    return [f"Vim-{pair} and DeiT-{pair}: p50 ms per batch", "", table(("pixels, batch", *head), rows)]


def _p50(result: dict[str, Any] | None) -> str:
    return "-" if result is None else milliseconds(result["latency_ms"]["p50"])


def _of_fastest(cell: dict[str, Any], engine: dict[str, Any] | None, precision: str) -> str:
    deit = fastest_deit(cell, precision)
    if engine is None or deit is None:
        return "-"
    return f"{ratio(deit['rounds_seconds'], engine['rounds_seconds']).median:.2f}"


def _cell(cell: dict[str, Any]) -> list[str]:
    size, batch = cell["resolution"], cell["batch_size"]
    networks = f"Vim-{cell['pair']} and DeiT-{cell['pair']}"
    title = f"{networks}, {size}x{size}, batch {batch}, load {cell['load_average']:.2f} at the start"
    measured = [result for result in cell["results"] if result["status"] == "measured"]
    left_out = [result for result in cell["results"] if result["status"] != "measured"]
    lines = [title, "", table(_HEAD, [_row(cell, result) for result in measured])]
    floor = floor_rounds(cell)
    if floor is not None:
        total = 1000 * median(times[0] for times in floor)
        lines += ["", f"floor: {milliseconds(total)} ms, matmuls and scans together"]
    ratios = within_cell(cell)
    if ratios:
        lines += ["", "Our engine", *_ratios(ratios)]
    return lines + [f"{entry['network']}, {entry['runtime']}: {entry['status'].upper()}, {entry['reason']}"
                    for entry in left_out]  # fmt: skip


def _row(cell: dict[str, Any], result: dict[str, Any]) -> tuple[str, ...]:
    latency, memory = result["latency_ms"], result["memory_bytes"]
    differs, of_floor = result["differs_from_eager"], result["network"].startswith(FLOOR)
    return (
        f"{result['network']}, {result['runtime']}",
        milliseconds(latency["p50"]),
        milliseconds(latency["p95"]),
        f"{1000 * cell['batch_size'] / latency['p50']:.3g}",
        _speed(cell, result),
        "-" if of_floor else megabytes(memory["above_start"]),
        "-" if of_floor else megabytes(memory["above_opened"]),
        "-" if differs is None else f"{differs:.0e}",
    )


def _speed(cell: dict[str, Any], result: dict[str, Any]) -> str:
    deit = find(cell, "DeiT", ONNXRUNTIME)
    if deit is None or result["network"].startswith(FLOOR):
        return "-"
    return f"{ratio(deit['rounds_seconds'], result['rounds_seconds']).median:.2f}"


def _ratios(ratios: dict[str, dict[str, float]]) -> list[str]:
    lines = []
    for name, value in ratios.items():
        spread = f" ({value['low']:.3g} to {value['high']:.3g})" if value["low"] != value["high"] else ""
        lines.append(f"  {value['median']:6.3g}  {name}{spread}")
    return lines
