"""The measurements of `vim-bench`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vim_deploy import machine
from vim_deploy.bench.cold_start import cold_starts
from vim_deploy.bench.conditions import busy_warning, conditions, load_average, summary
from vim_deploy.bench.figures import Latency
from vim_deploy.bench.openers import example_arrays, takes_arrays
from vim_deploy.bench.process import Worker
from vim_deploy.bench.table import megabytes, milliseconds, table
from vim_deploy.errors import EngineError
from vim_deploy.options import to_record
from vim_deploy.text import by, plural

if TYPE_CHECKING:
    from vim_deploy.engines.open import OpenEngine

_log = logging.getLogger("vim_deploy")
Report = Callable[[str], None]
DEFAULT_BATCH_SIZES = (1, 8, 32)
_SEED = 0


@dataclass(frozen=True)
class BenchOptions:
    """`batch_sizes` None: the engine's if it is fixed, else the defaults. `threads` None: as in the engine.
    Each batch size runs `repeats` times, but starts no inference after `seconds`."""

    batch_sizes: tuple[int, ...] | None = None
    threads: int | None = None
    warmup: int = 5
    repeats: int = 100
    seconds: float = 30.0
    cold_starts: int = 5


def bench_engine(
    path: str | os.PathLike[str], options: BenchOptions, report: Report = lambda stage: None
) -> dict[str, Any]:
    """Benchmark an engine, or the cached engine of an ONNX file; the result is plain JSON.

    Raises EngineError, and MeasurementError if a measured process fails.
    """
    from vim_deploy.engines.open import open_engine

    # In this process, not in a measured one: for an ONNX file this builds the engine.
    with open_engine(path, threads=options.threads) as engine:
        description = _describe(engine, os.fspath(path), options)
        file, sizes = engine.path, _batch_sizes(engine, options.batch_sizes)
        image = _image(engine)
    start = conditions()
    batches = []
    for size in sizes:
        report(f"batch size {size}")
        batches.append(_measure(file, (size, *image), options))
    cold = None
    if options.cold_starts:
        cold = cold_starts(file, (sizes[0], *image), options.threads, options.cold_starts, report)
    measured = {**start, "busy_cpus_at_end": machine.busy_cpus(), "load_average_at_end": load_average()}
    if warning := busy_warning(measured):
        _log.warning("%s", warning)
    return {
        "engine": description,
        "conditions": measured,
        "settings": {**asdict(options), "batch_sizes": list(sizes)},
        "batches": batches,
        "cold_start": cold,
    }


def _image(engine: OpenEngine) -> tuple[int, ...]:
    """The shape of one image; empty for an engine that takes named arrays."""
    if takes_arrays(engine):
        return ()
    preprocessing = engine.metadata.preprocessing
    usual = (preprocessing.channels, *preprocessing.image_size)
    return tuple(side or default for side, default in zip(engine.input.shape[1:], usual, strict=True))


def _measure(file: str, shape: tuple[Any, ...], options: BenchOptions) -> dict[str, Any]:
    with Worker(f"batch size {shape[0]}") as worker:
        opened = worker.open(
            "vim_deploy.bench.openers:engine", {"path": file, "threads": options.threads}, shape, _SEED
        )
        warmup = len(worker.run(options.warmup, options.seconds)["seconds"]) if options.warmup else 0
        measured = worker.run(options.repeats, options.seconds)
    latency = Latency.of(measured["seconds"])
    return {
        "batch_size": shape[0],
        "warmup": warmup,
        "latency_ms": asdict(latency),
        "images_per_second": 1000 * shape[0] / latency.p50,
        "open_seconds": opened["seconds"],
        "memory_bytes": measured["memory"],
    }


def _batch_sizes(engine: OpenEngine, requested: tuple[int, ...] | None) -> tuple[int, ...]:
    if takes_arrays(engine):
        if requested:
            raise EngineError(
                f"{engine.path} takes named arrays (task raw), whose shapes are those of the example at "
                "export; drop --batch-sizes."
            )
        return (1,)
    if not engine.batches.fixed:
        nearest = sorted({engine.batches.nearest(size) for size in DEFAULT_BATCH_SIZES})
        return requested or tuple(nearest)
    if requested and requested != (engine.batch,):
        raise EngineError(
            f"{engine.path} has the fixed batch size {engine.batch}, not "
            f"{', '.join(map(str, requested))}; drop --batch-sizes."
        )
    return (engine.batches.smallest,)


def _describe(engine: OpenEngine, path: str, options: BenchOptions) -> dict[str, Any]:
    manifest, metadata = engine.manifest, engine.metadata
    return {
        "path": path,
        "variant": metadata.variant,
        "task": metadata.task,
        **_sizes(engine),
        "precision": manifest.precision,
        "weights": metadata.checkpoint.get("source"),
        "backend": manifest.backend,
        "device": manifest.device,
        "operator": manifest.operator.get("implementation"),
        "build_options": to_record(manifest.options),
        "build_info": manifest.build_info,
        "threads": options.threads or getattr(manifest.options, "threads", None) or machine.usable_cpus(),
    }


def _sizes(engine: OpenEngine) -> dict[str, Any]:
    if takes_arrays(engine):
        return {"inputs": {name: list(values.shape) for name, values in example_arrays(engine).items()}}
    return {"image_size": list(engine.metadata.preprocessing.image_size)}


def format_result(result: dict[str, Any]) -> str:
    """The result as text: conditions, a table of batch sizes, and cold start."""
    about, cold = result["engine"], result["cold_start"]
    inputs = about.get("inputs", {})
    size = ", ".join(f"{name} {by(shape) or 'scalar'}" for name, shape in inputs.items())
    unit = "run" if inputs else "image"
    lines = [
        f"{about['path']}: {about['variant']}, {size or by(about['image_size'])}, {about['task']}, "
        f"{about['precision']}, {about['backend']} on {about['device']}, "
        f"{plural(about['threads'], 'thread')}, scan: {about['operator']}",
        summary(result["conditions"]),
        f"load {result['conditions']['load_average_at_end']:.2f} at the end, preprocessing not included",
        *([f"WARNING: {warning}"] if (warning := busy_warning(result["conditions"])) else []),
        "",
        _batch_table(result["batches"], unit),
        "",
        f"ms: one inference of the whole batch. {unit}s/s: at the median. MB: 1e6 bytes, resident on the "
        "host.",
        "above start: peak above the memory before opening; running: peak above the memory after opening.",
    ]
    if about["device"] != "cpu":
        lines.append(f"Memory of the {about['device']} device is not included.")
    if cold is not None:
        phases = ", ".join(f"{name} {cold[f'{name}_seconds']:.3f}" for name in ("import", "open", "predict"))
        lines += [
            "",
            f"cold start, median of {plural(len(cold['all_total_seconds']), 'process', 'processes')}: "
            f"import to first prediction {cold['total_seconds']:.3f} s ({phases}), "
            f"whole process {cold['process_seconds']:.3f} s",
        ]
    return "\n".join(lines)


def _batch_table(batches: list[dict[str, Any]], unit: str) -> str:
    head = ("batch", "p50 ms", "p95 ms", "p99 ms", "repeats", f"{unit}s/s", "MB above start", "MB running")
    rows = []
    for batch in batches:
        latency, memory = batch["latency_ms"], batch["memory_bytes"]
        rows.append(
            (
                str(batch["batch_size"]),
                *(milliseconds(latency[name]) for name in ("p50", "p95", "p99")),
                str(latency["count"]),
                f"{batch['images_per_second']:.1f}",
                megabytes(memory["above_start"]),
                megabytes(memory["above_opened"]),
            )
        )
    return table(head, rows)
