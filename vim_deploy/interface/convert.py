"""`export` and `build`: the commands vim-export and vim-build as functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vim_deploy.class_names import read_class_names
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.registry import BACKENDS, DEFAULT_BACKEND
from vim_deploy.errors import ConfigError, EngineError, needs_extra
from vim_deploy.families.family import ModelSource
from vim_deploy.metadata import EXPORTED_FILE
from vim_deploy.options import converted
from vim_deploy.output_files import OutputFile, check_output_files, input_paths
from vim_deploy.precision import FILE_PRECISIONS, Precision

if TYPE_CHECKING:
    from vim_deploy.export.exporter import ExportResult

_PATH = (str, os.PathLike)
Paths: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"
ClassNames: TypeAlias = "Sequence[str] | os.PathLike[str] | str | None"
GivenPreprocessing: TypeAlias = "Preprocessing | Mapping[str, Any] | os.PathLike[str] | str | None"


def export(
    model: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None = None,
    task: str = "classify",
    image_size: int | tuple[int, int] | None = None,
    class_names: ClassNames = None,
    preprocessing: GivenPreprocessing = None,
    precision: str = "fp32",
    batch_size: int | None = None,
    num_classes: int | None = None,
    checkpoint_key: Literal["model", "model_ema"] = "model",
    average_directions: bool | None = None,
    position_rule: Literal["geometric", "reference"] = "geometric",
    seed: int = 0,
    check: bool = True,
    check_images: Paths = (),
    calibrate: Paths = (),
    force: bool = False,
    **task_options: Any,
) -> ExportResult:
    """Export a model to the ONNX file `output`, and compare the file with the eager model.

    The arguments are the options of vim-export. `model` is a named model, a JSON file with a configuration,
    or "auto" to use the configuration of the checkpoint. `checkpoint` is a file or hf://owner/repo[/file];
    without it, weights are synthetic, from `seed`. `image_size` is N or (height, width); `class_names` a list
    or a file, `preprocessing` its values or a file. `check_images` and `calibrate` are one path or several.
    `batch_size` None: dynamic. `task_options` are those of the task, e.g. `features="tokens"`. `force`
    replaces an `output` that was not written by vim-export.

    Returns the path, the metadata with the figures of the comparison, and notes on what was assumed. Raises
    CheckpointError, ConfigError, ExportError, ImageError or OutputError, and MissingDependencyError without
    the extra `export`; an existing output is then unchanged.
    """
    _check_choice("precision", precision, [str(known) for known in FILE_PRECISIONS])
    _check_choice("checkpoint_key", checkpoint_key, ["model", "model_ema"])
    _check_choice("position_rule", position_rule, ["geometric", "reference"])
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    _check_positive("image_size", size or ())
    _check_positive("batch_size", () if batch_size is None else (batch_size,))
    source = ModelSource(
        os.fspath(model),
        checkpoint=None if checkpoint is None else os.fspath(checkpoint),
        checkpoint_key=checkpoint_key,
        image_size=size,
        num_classes=num_classes,
        average_directions=average_directions,
        position_rule=position_rule,
        seed=seed,
    )
    return export_source(
        source,
        Path(output),
        task=task,
        task_options=task_options,
        batch_size=batch_size,
        precision=precision,
        class_names=class_names,
        preprocessing=preprocessing,
        check=check,
        check_images=check_images,
        calibrate=calibrate,
        force=force,
    )


def export_source(
    source: ModelSource,
    output: Path,
    *,
    task: str,
    task_options: Mapping[str, Any],
    batch_size: int | None,
    precision: str,
    class_names: ClassNames,
    preprocessing: GivenPreprocessing,
    check: bool,
    check_images: Paths,
    calibrate: Paths,
    force: bool,
    output_name: str = "output",
    report: Callable[[str], None] = lambda stage: None,
) -> ExportResult:
    """`export` with valid values. `output_name`: the output in errors; `report` is called with each stage."""
    images, calibration = _paths(check_images), _paths(calibrate)
    files = [path for path in (class_names, preprocessing) if isinstance(path, _PATH)]
    inputs = input_paths([source.name, source.checkpoint or "", *files, *images, *calibration])
    check_output_files([OutputFile(output_name, output, EXPORTED_FILE)], inputs, force)
    report("loading PyTorch")
    with needs_extra("export"):
        from vim_deploy.export.exporter import ExportRequest
        from vim_deploy.export.exporter import export as export_request
    request = ExportRequest(
        source=source,
        output=output,
        task=task,
        task_options=task_options,
        batch=batch_size,
        precision=Precision(precision),
        class_names=_class_names(class_names),
        preprocessing=_preprocessing(preprocessing),
        check=check,
        check_images=images,
        calibration=calibration,
    )
    return export_request(request, report)


def _paths(given: Paths) -> tuple[str, ...]:
    return tuple(os.fspath(path) for path in ([given] if isinstance(given, _PATH) else given))


def _class_names(given: ClassNames) -> tuple[str, ...] | None:
    if given is None:
        return None
    return read_class_names(Path(given)) if isinstance(given, _PATH) else tuple(given)


def _preprocessing(given: GivenPreprocessing) -> Preprocessing | None:
    from vim_deploy.export.description import read_preprocessing

    if given is None or isinstance(given, Preprocessing):
        return given
    if isinstance(given, Mapping):
        return Preprocessing.from_dict(dict(given))
    return read_preprocessing(Path(given))


def build(
    onnx: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    backend: str = DEFAULT_BACKEND,
    device: str | None = None,
    force: bool = False,
    **options: Any,
) -> Manifest:
    """Build the engine `output` from an ONNX file made by vim-export, and compare it with the file.

    The arguments are the options of vim-build: `options` are those of the backend, e.g. `threads=4` or
    `cpu_precision="bf16"`. `device` defaults to the first one of the backend. `force` replaces an `output`
    that is not an engine.

    Returns the engine's manifest. Raises EngineError for an invalid file or option, ImageError for images
    that cannot be used, OutputError, OperatorLibraryError or MissingDependencyError.
    """
    spec = BACKENDS.get(backend)
    known = {item.name: item for item in fields(spec.options) if item.name != "device"}
    if unknown := [name for name in options if name not in known]:
        raise EngineError(
            f"{unknown[0]!r} is not an option of the backend {backend}, which has {', '.join(known)}."
        )
    values = {name: converted(known[name], value, EngineError) for name, value in options.items()}
    return build_engine(onnx, output, spec.options(device or spec.devices[0], **values), force=force)


def _check_positive(name: str, values: Sequence[int]) -> None:
    if min(values, default=1) < 1:
        raise ConfigError(f"{name} is {'x'.join(map(str, values))}; expected 1 or more.")


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(known)}.")
