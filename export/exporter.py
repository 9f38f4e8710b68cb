"""One export from start to end: weights, graph, file, comparison with the eager model, metadata."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from vim_deploy.data.decode import decode
from vim_deploy.data.discover import Discovery
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import ExportError, ImageError
from vim_deploy.export.model import ExportModel, open_export_model
from vim_deploy.export.onnx import to_onnx
from vim_deploy.export.reduced import compare_reduced, in_precision
from vim_deploy.export.source import ModelSource
from vim_deploy.export.task import TaskModule
from vim_deploy.export.verify import compare_with_eager
from vim_deploy.metadata import ModelMetadata
from vim_deploy.ops.signature import CONTRACT_VERSION, OP_DOMAIN, OP_NAME
from vim_deploy.package import VERSION
from vim_deploy.precision import Precision

_CHECK_SEED = 0


@dataclass(frozen=True)
class ExportRequest:
    """What to export and how. `preprocessing` None takes the reference's for the model's image size.

    `check_images` (files, folders, globs) are what the file is compared on, at most `check_count`; without
    them, random pixels. `check` False leaves the comparison out, and the file says so.
    """

    source: ModelSource
    output: Path
    task: str = "classify"
    features: str = "pooled"
    batch: int | None = None
    precision: str = "fp32"
    class_names: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    check: bool = True
    check_images: tuple[str, ...] = ()
    check_count: int = 8


@dataclass(frozen=True)
class ExportResult:
    """The written file, its metadata, and everything that was assumed about the weights."""

    path: Path
    metadata: ModelMetadata
    notes: tuple[str, ...]


def export(request: ExportRequest, report: Callable[[str], None] = lambda stage: None) -> ExportResult:
    """Write `request.output`; `report` is called with the name of each stage as it begins.

    Raises CheckpointError, ConfigError, ImageError or ExportError; the output is then what it was before.
    """
    report("reading the weights")
    subject = open_export_model(request.source, request.task, request.features)
    preprocessing = _preprocessing(request, subject)
    _check_class_names(request, subject.num_classes)
    subject.task.check_preprocessing(preprocessing)
    pixels = _check_pixels(request, subject.task, preprocessing) if request.check else None
    task = subject.task.of(in_precision(subject.task.model, request.precision))
    report("tracing the graph")
    graph = to_onnx(task, batch=request.batch)
    metadata = _metadata(request, subject, preprocessing)
    partial = request.output.with_name(f"{request.output.name}.{os.getpid()}.partial")
    try:
        if pixels is not None:
            report(f"comparing the file with the eager model on {len(pixels)} images")
            _write(graph, metadata, partial)
            figures = _compare(partial, subject.task, task, pixels, request.precision)
            figures["images"] = "real" if request.check_images else "random"
            metadata = replace(metadata, parity=figures)
        _write(graph, metadata, partial)
        partial.replace(request.output)
    finally:
        partial.unlink(missing_ok=True)
    return ExportResult(request.output, metadata, subject.notes)


def _compare(
    path: Path, wide: TaskModule, task: TaskModule, pixels: np.ndarray, precision: str
) -> dict[str, Any]:
    if precision == "fp32":
        return dict(compare_with_eager(path, task, pixels, precision))
    return dict(compare_reduced(path, wide, task, pixels, precision))


def _preprocessing(request: ExportRequest, subject: ExportModel) -> Preprocessing:
    channels, given = subject.task.channels, request.preprocessing
    if given is None:
        if subject.preprocessing is None:
            raise ExportError(
                f"the model takes {channels} channels, the reference's preprocessing has 3; "
                "give the model's own with --preprocessing FILE."
            )
        return subject.preprocessing
    if given.channels != channels:
        raise ExportError(
            f"the preprocessing is for {given.channels} channels, the model takes {channels}; "
            "correct its `channels`, `mean` and `std`."
        )
    # The file may describe another size of the same model; the graph decides.
    return replace(given, image_size=subject.task.image_size)


def _check_class_names(request: ExportRequest, classes: int) -> None:
    names = request.class_names
    if names is not None and classes and len(names) != classes:
        raise ExportError(
            f"{len(names)} class names for a model of {classes} classes; give one name per class, "
            "in the order of the head's rows."
        )


def _check_pixels(request: ExportRequest, task: TaskModule, preprocessing: Preprocessing) -> np.ndarray:
    if not request.check_images:
        return task.random_pixels(np.random.default_rng(_CHECK_SEED))
    items = list(islice(Discovery(request.check_images), request.check_count))
    if not items:
        raise ExportError(
            f"no images in {', '.join(request.check_images)}; give files or folders with images."
        )
    return np.stack([_pixels_of(item.path, task, preprocessing) for item in items])


def _pixels_of(path: str, task: TaskModule, preprocessing: Preprocessing) -> np.ndarray:
    try:
        return task.pixels(decode(path).image, preprocessing)
    except ImageError as error:
        raise ExportError(f"cannot compare on {path}: {error}; give other images to compare on.") from None


def _metadata(request: ExportRequest, subject: ExportModel, preprocessing: Preprocessing) -> ModelMetadata:
    return ModelMetadata(
        task=request.task,
        variant=subject.variant,
        config=subject.config,
        precision=Precision(request.precision),
        preprocessing=preprocessing,
        class_names=(request.class_names or subject.class_names) if subject.num_classes else None,
        checkpoint=subject.origin,
        operator={"domain": OP_DOMAIN, "name": OP_NAME, "version": CONTRACT_VERSION},
        versions={
            "vim_deploy": VERSION,
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "onnx", "onnxscript")},
        },
        parity=None,
    )


def _write(graph: onnx.ModelProto, metadata: ModelMetadata, path: Path) -> None:
    onnx.helper.set_model_props(graph, metadata.to_props())
    graph.producer_name, graph.producer_version = "vim_deploy", VERSION
    try:
        onnx.save_model(graph, str(path))
    except OSError as error:
        raise ExportError(
            f"cannot write {path.parent}: {error.strerror or error}; choose another place with -o."
        ) from None
