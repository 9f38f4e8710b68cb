"""The eager model that artifacts are compared with, and the inputs of the comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from vim_deploy.errors import EngineError
from vim_deploy.export.eager import EagerModel
from vim_deploy.export.model import ExportModel, open_export_model
from vim_deploy.export.task import TaskModule
from vim_deploy.families.parts import Part
from vim_deploy.metadata import ModelMetadata
from vim_deploy.registry import load_object
from vim_deploy.tasks.options import option_fields
from vim_deploy.tasks.registry import TASKS
from vim_deploy.tasks.spec import TaskSpec
from vim_deploy.text import by, plural
from vim_deploy.validation.artifacts import Artifact
from vim_deploy.validation.inputs import Input, hard_inputs, random_inputs, real_inputs, stacked
from vim_deploy.validation.outputs import Found, run_eager
from vim_deploy.validation.request import ValidationRequest

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Reference:
    """The eager model, the inputs of the run, and its outputs for them in float32 and float64."""

    model: ExportModel
    metadata: ModelMetadata
    parts: list[Part]  # for --layers
    inputs: list[Input]
    pixels: np.ndarray
    float32: Found
    float64: Found

    @property
    def spec(self) -> TaskSpec:
        return TASKS.get(self.metadata.task)


def open_reference(request: ValidationRequest, first: Artifact, progress: Progress) -> Reference:
    """The eager model for the task, features and image size of the first artifact."""
    metadata = first.metadata
    check_task(request, metadata)
    spec, options = TASKS.get(metadata.task), {}
    if option_fields(spec, "export_options"):
        module: type[TaskModule] = load_object(spec.module)
        options = module.options_of(_one_run(first))
    progress("opening the eager model")
    source = request.source
    if source.image_size is None:
        source = replace(source, image_size=metadata.preprocessing.image_size)
    model = open_export_model(source, metadata.task, options)
    _check_fits(model, metadata, request.artifacts[0])
    parts = _parts(model, request.block) if request.layers else []
    inputs = _inputs(request, metadata, model.task)
    pixels = stacked(inputs)
    outputs = []
    for float64 in (False, True):
        eager = EagerModel(model.task, float64=float64)
        progress(f"{eager.label} on {plural(len(inputs), 'input')}")
        outputs.append(run_eager(eager, spec, pixels))
    return Reference(model, metadata, parts, inputs, pixels, *outputs)


def check_task(request: ValidationRequest, metadata: ModelMetadata) -> None:
    """Raises EngineError for labels that the task does not have."""
    task = TASKS.get(metadata.task)
    if request.labels is not None and not task.labeled:
        raise EngineError(
            f"--labels needs a task with one class per image; {request.artifacts[0]} is for the task "
            f"{task.name}. Drop --labels."
        )


def _one_run(artifact: Artifact) -> np.ndarray:
    preprocessing = artifact.metadata.preprocessing
    return artifact.run(np.zeros((1, preprocessing.channels, *preprocessing.image_size), np.float32))


def _check_fits(model: ExportModel, metadata: ModelMetadata, path: Path) -> None:
    """Raises EngineError for an artifact that cannot have been exported from the model."""
    preprocessing, names = metadata.preprocessing, metadata.class_names
    found = (model.task.channels, *model.task.image_size)
    expected = (preprocessing.channels, *preprocessing.image_size)
    classes = len(names) if names is not None else model.num_classes
    if found == expected and classes == model.num_classes:
        return
    raise EngineError(
        f"{path} was not exported from {model.variant}: it is a {metadata.variant} model with an input of "
        f"{by(expected)} and {plural(classes, 'class', 'classes')}, the given model has {by(found)} and "
        f"{model.num_classes}. Give the model and the checkpoint that it was exported from."
    )


def _parts(model: ExportModel, block: int | None) -> list[Part]:
    """The parts of the model, none if modules are compared. Raises EngineError for an unknown block."""
    if not model.family.parts:
        if block is not None:
            raise EngineError(f"--block {block}: {model.variant} has no numbered blocks; drop --block.")
        return []
    parts: list[Part] = load_object(model.family.parts)(model.task.model)
    blocks = 1 + max((part.block for part in parts if part.block is not None), default=-1)
    if block is not None and block >= blocks:
        raise EngineError(
            f"--block {block}: the model has {plural(blocks, 'block')}, from 0 to {blocks - 1}."
        )
    return parts


def _inputs(request: ValidationRequest, metadata: ModelMetadata, task: TaskModule) -> list[Input]:
    preprocessing = metadata.preprocessing
    found = []
    if request.images:
        prepare = partial(task.pixels, preprocessing=preprocessing)
        found += real_inputs(request.images, prepare, request.max_images)
    shape = (preprocessing.channels, *preprocessing.image_size)
    found += random_inputs(shape, request.random_images)
    if request.hard:
        found += hard_inputs(preprocessing)
    if not found:
        raise EngineError("there are no inputs to compare on; give --images or --random, or drop --no-hard.")
    return found
