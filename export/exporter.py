"""One export: open the model, trace the graph, write the file, compare it with the eager model."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx

from vim_deploy.data.calibration import calibration_images
from vim_deploy.data.discover import Discovery
from vim_deploy.data.loading import decode_path
from vim_deploy.data.preprocess import NoPreprocessing, Preprocessing
from vim_deploy.errors import ExportError, ImageError, os_errors
from vim_deploy.export.model import ExportModel, open_export_model
from vim_deploy.export.onnx import to_onnx
from vim_deploy.export.opset import OPSET
from vim_deploy.export.quantization.formats import FORMATS
from vim_deploy.export.quantization.graph import quantize
from vim_deploy.export.reduced import compare_reduced, in_precision
from vim_deploy.export.task import INPUT_NAME, Inputs, TaskModule
from vim_deploy.export.verify import compare_quantized, compare_with_eager
from vim_deploy.families.family import ModelSource
from vim_deploy.metadata import ASSUMED, FROM_CHECKPOINT, GIVEN, PRODUCER, ModelMetadata
from vim_deploy.ops.signature import CONTRACT_VERSION, OP_DOMAIN, OP_NAME
from vim_deploy.package import VERSION
from vim_deploy.precision import QUANTIZED_PRECISIONS, Precision
from vim_deploy.text import by, plural

_CHECK_SEED = 0
_NAME_BYTES = 200


@dataclass(frozen=True)
class ExportRequest:
    """What to export and how.

    `task_options`: keyword arguments of the task's module. `batch` None: dynamic. `preprocessing` None: the
    reference's for the model's image size. `check` False skips the comparison, and the metadata says so.
    `check_images`: files, folders and globs of images to compare on, at most `check_count`; random pixels
    without them. `calibration`: the same for the ranges of a file in int8 or fp8, at most
    `calibration_count`; without `check_images`, the file is also compared on them.
    """

    source: ModelSource
    output: Path
    task: str = "classify"
    task_options: Mapping[str, Any] = field(default_factory=dict)
    batch: int | None = None
    precision: Precision = Precision.FP32
    class_names: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    check: bool = True
    check_images: tuple[str, ...] = ()
    check_count: int = 8
    calibration: tuple[str, ...] = ()
    calibration_count: int = 128


@dataclass(frozen=True)
class ExportResult:
    """The written file, its metadata, and everything that was assumed about the weights."""

    path: Path
    metadata: ModelMetadata
    notes: tuple[str, ...]


def export(request: ExportRequest, report: Callable[[str], None] = lambda stage: None) -> ExportResult:
    """Write `request.output`; `report` is called with the name of each stage.

    Raises CheckpointError, ConfigError, ImageError or ExportError; an existing output is then unchanged.
    """
    report("reading the weights")
    return export_opened(
        open_export_model(request.source, request.task, request.task_options), request, report
    )


def export_opened(
    opened: ExportModel, request: ExportRequest, report: Callable[[str], None] = lambda stage: None
) -> ExportResult:
    """`export` of a model that is already open; of the request's source only `image_size` is used."""
    preprocessing = _preprocessing(request, opened)
    _check_class_names(request, opened.num_classes)
    opened.task.check_preprocessing(preprocessing)
    _check_calibration(request, opened.task)
    pixels = _check_pixels(request, opened.task, preprocessing) if request.check else None
    task = opened.task.of(in_precision(opened.task.model, request.precision))
    report("tracing the graph")
    quantized = request.precision.is_quantized
    opset = FORMATS[request.precision].opset if quantized else OPSET
    graph = to_onnx(task, batch=request.batch, opset=opset)
    metadata = _metadata(request, opened, preprocessing)
    partial = _partial(request.output)
    try:
        if pixels is not None:
            report(f"comparing the file with the eager model on {_described(pixels)}")
            _write(graph, metadata, partial)
            figures = _compare(partial, opened.task, task, pixels, request.precision)
            figures["images"] = "real" if request.check_images or request.calibration else "random"
            metadata = replace(metadata, parity=figures)
        if quantized:
            facts = _quantize(graph, request, task, preprocessing, report)
            metadata = replace(metadata, quantization=facts)
            if pixels is not None:
                report(f"comparing the {request.precision} file with the eager model on {_described(pixels)}")
                _write(graph, metadata, partial)
                figures[str(request.precision)] = compare_quantized(partial, task, pixels, request.precision)
        _write(graph, metadata, partial)
        partial.replace(request.output)
    finally:
        partial.unlink(missing_ok=True)
    return ExportResult(request.output, metadata, _notes(request, opened))


def _partial(output: Path) -> Path:
    """A file beside `output`. The name is cut, because a file name has at most 255 bytes."""
    name = os.fsdecode(os.fsencode(output.name)[:_NAME_BYTES])
    return output.with_name(f"{name}.{os.getpid()}.partial")


def _compare(
    path: Path, float32: TaskModule, task: TaskModule, pixels: Inputs, precision: Precision
) -> dict[str, Any]:
    if precision.activations == Precision.FP32:  # a quantized file is compared before that
        return dict(compare_with_eager(path, task, pixels))
    assert not isinstance(pixels, Mapping)  # networks with named arrays are exported in float32
    return dict(compare_reduced(path, float32, task, pixels, precision))


def _preprocessing(request: ExportRequest, opened: ExportModel) -> Preprocessing:
    if opened.task.spec.arrays:
        return cast("Preprocessing", NoPreprocessing())
    channels, given = opened.task.channels, request.preprocessing
    if given is None:
        if opened.preprocessing is None:
            raise ExportError(
                f"the preprocessing of this model ({plural(channels, 'input channel')}) is not known; "
                "give it with --preprocessing FILE."
            )
        return opened.preprocessing
    if given.channels != channels:
        raise ExportError(
            f"the preprocessing is for {plural(given.channels, 'channel')}, but the model has {channels}; "
            "correct its `channels`, `mean` and `std`."
        )
    size = opened.task.image_size
    if given.image_size != size and request.source.image_size is None:
        raise ExportError(
            f"the preprocessing is for images of {by(given.image_size)}, but the model takes {by(size)}; "
            "correct its `image_size`, or export the model for that size with --image-size "
            f"{by(given.image_size)}."
        )
    return replace(given, image_size=size)


def _notes(request: ExportRequest, opened: ExportModel) -> tuple[str, ...]:
    """What was assumed about the weights, and the options that do not apply completely."""
    notes, size, given = list(opened.notes), opened.task.image_size, request.preprocessing
    if opened.task.spec.arrays:
        return tuple(notes)
    if opened.assumed_dataset is not None and request.class_names is None:
        notes.append(
            f"{opened.num_classes} classes without names are assumed to be those of "
            f"{opened.assumed_dataset}; use --class-names to name them."
        )
    if given is not None and given.image_size != size:
        notes.append(
            f"the preprocessing's image_size {by(given.image_size)} is replaced by {by(size)}, from "
            "--image-size."
        )
    return tuple(notes)


def _check_class_names(request: ExportRequest, classes: int) -> None:
    names = request.class_names
    if names is not None and classes and len(names) != classes:
        raise ExportError(
            f"{plural(len(names), 'class name')} for a model with {plural(classes, 'class', 'classes')}; "
            "give one name per class, in the order of the outputs."
        )


def _described(pixels: Inputs) -> str:
    return "random arrays" if isinstance(pixels, Mapping) else plural(len(pixels), "image")


def _check_pixels(request: ExportRequest, task: TaskModule, preprocessing: Preprocessing) -> Inputs:
    images, option = request.check_images, "--check-images"
    if not images:
        images, option = request.calibration, "--calibrate"
    if task.spec.arrays or not images:
        return task.random_inputs(np.random.default_rng(_CHECK_SEED))
    paths = [item.path for item in islice(Discovery(images), request.check_count)]
    _check_found(paths, images, option)
    return np.stack([_pixels_of(path, task, preprocessing, option) for path in paths])


def _check_found(paths: list[str], given: tuple[str, ...], option: str) -> None:
    if not paths:
        raise ExportError(
            f"no images found in {', '.join(given)}; expected image files, or folders of them, in {option}."
        )


def _pixels_of(path: str, task: TaskModule, preprocessing: Preprocessing, option: str) -> np.ndarray:
    try:
        return task.pixels(decode_path(path).image, preprocessing)
    except ImageError as error:
        raise ExportError(f"{path}: {error}; remove it or give other images with {option}.") from None


def _check_calibration(request: ExportRequest, task: TaskModule) -> None:
    """Raises ExportError for a quantized file without images, and for images without one."""
    precision, images = request.precision, request.calibration
    if precision.is_quantized and task.spec.arrays:
        raise ExportError(
            f"--precision {precision} finds its ranges on images, and this network takes named arrays; "
            "export it with --precision fp32."
        )
    if precision.is_quantized and not images:
        raise ExportError(
            f"--precision {precision} needs images like those of the application, for the ranges of its "
            "matmul inputs; give them with --calibrate."
        )
    if images and not precision.is_quantized:
        raise ExportError(
            f"--calibrate is for --precision {' and '.join(QUANTIZED_PRECISIONS)}, and the precision is "
            f"{precision}; leave it out, or choose one of these precisions."
        )


def _quantize(
    graph: onnx.ModelProto,
    request: ExportRequest,
    task: TaskModule,
    preprocessing: Preprocessing,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Quantize the graph in place. Returns the facts for the metadata."""
    paths = calibration_images(request.calibration, request.calibration_count)
    _check_found(paths, request.calibration, "--calibrate")
    report(f"finding the ranges of matmul inputs on {plural(len(paths), 'image')}")
    size = task.fixed_batch or request.batch or 1
    settings = {name: np.array(value, np.float32) for name, value in task.settings.items()}

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for path in paths:
            pixels = _pixels_of(path, task, preprocessing, "--calibrate")
            yield {INPUT_NAME: np.repeat(pixels[None], size, axis=0), **settings}

    return {"images": len(paths), **asdict(quantize(graph, request.precision, batches(), len(paths)))}


def _metadata(request: ExportRequest, opened: ExportModel, preprocessing: Preprocessing) -> ModelMetadata:
    return ModelMetadata(
        task=request.task,
        variant=opened.variant,
        config=opened.config,
        precision=request.precision,
        preprocessing=preprocessing,
        class_names=(request.class_names or opened.class_names) if opened.num_classes else None,
        class_names_source=_names_source(request, opened),
        checkpoint=opened.origin,
        operator={"domain": OP_DOMAIN, "name": OP_NAME, "version": CONTRACT_VERSION},
        versions={
            "vim_deploy": VERSION,
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "onnx", "onnxscript")},
        },
        parity=None,
    )


def _names_source(request: ExportRequest, opened: ExportModel) -> str | None:
    """`class_names_source` of the metadata."""
    if request.class_names and opened.num_classes:
        return GIVEN
    if opened.assumed_dataset is not None:
        return ASSUMED + opened.assumed_dataset
    return None if opened.class_names is None else FROM_CHECKPOINT


def _write(graph: onnx.ModelProto, metadata: ModelMetadata, path: Path) -> None:
    onnx.helper.set_model_props(graph, metadata.to_props())
    graph.producer_name, graph.producer_version = PRODUCER, VERSION
    with os_errors(ExportError, f"cannot write to {path.parent}", "Choose another file with -o."):
        onnx.save_model(graph, str(path))
