"""Writes a model repository of Triton Inference Server: the model of the network, and the one for images."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from vim_deploy.engines.build import check_outputs
from vim_deploy.engines.class_names import class_names_of
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.source import SourceModel, read_source
from vim_deploy.engines.spec import BuildOptions
from vim_deploy.engines.tensors import BatchRange
from vim_deploy.errors import EngineError, OutputError
from vim_deploy.registry import load_object
from vim_deploy.serving.artifacts import ARTIFACTS, Artifact, python_model
from vim_deploy.serving.config import (
    config_text,
    instances,
    network_tensor,
    served_tensor,
    tensor,
    warm_up,
)
from vim_deploy.serving.description import FILE_NAME, Description
from vim_deploy.serving.model_folder import check_model_folder, write_model_folder
from vim_deploy.serving.readme import readme
from vim_deploy.tasks.base import DEFAULT_BATCH
from vim_deploy.tasks.registry import TASKS
from vim_deploy.tasks.served import TEXT, Served

IMAGE_SUFFIX = "_image"
LABELS = "labels.txt"
MAX_BATCH = 32  # of a network without a largest batch size
_QUEUE_MICROSECONDS = 1000  # how long a request waits for others
_IMAGE_INSTANCES = 2  # one decodes while the network runs the batch of the other
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Repository:
    """What was written: the names of the models, that of the network first. `manifest`: of the engine."""

    models: tuple[str, ...]
    manifest: Manifest


def write_repository(
    onnx_path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    options: BuildOptions,
    *,
    server_backend: str = "python",
    name: str | None = None,
    served_from: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Repository:
    """Write the models of an ONNX file made by vim-export to a model repository.

    `server_backend`: one of `SERVER_BACKENDS`. `options`: how the engine is built, or for the server's own
    backends how the server runs the network. `name`: of the model, by default that of the file.
    `served_from`: the repository's path on the server, by default `folder`. `force`: replace files that this
    function has not written, or that were edited since.

    The network is built and compared with the file before anything is written. Raises OutputError for files
    that must not be replaced, and what `vim_deploy.engines.build.build_engine` raises.
    """
    name = _checked_name(Path(onnx_path).stem if name is None else name)
    root, image_name = Path(folder), name + IMAGE_SUFFIX
    where = PurePosixPath(served_from) if served_from is not None else PurePath(root.absolute())
    inputs = check_outputs([], onnx_path, options, force)
    for model in (name, image_name):  # before the build; the names of all files are known after it
        check_model_folder(root / model, ["config.pbtxt"], inputs, force)
    source = read_source(onnx_path)
    artifact = ARTIFACTS[server_backend](source, options, where / name)
    models = {name: _network_files(name, artifact, source, server_backend, where)}
    if TASKS.get(source.metadata.task).served is not None:
        models[image_name] = _image_files(image_name, name, artifact.manifest)
    for model, contents in models.items():
        check_model_folder(root / model, contents, inputs, force)
    for model, contents in models.items():
        write_model_folder(root / model, contents)
    return Repository(tuple(models), artifact.manifest)


def batches_of(manifest: Manifest) -> tuple[BatchRange, bool]:
    """The batch sizes of the network on the server, and whether the server adds the batch axis.

    It does for networks that run any number of images up to a maximum. Raises EngineError for one that runs
    none of fewer than some images, which cannot be configured.
    """
    fixed = BatchRange.of(manifest.input)
    tensors = (*manifest.inputs, *manifest.outputs)
    if not TASKS.get(manifest.model_metadata("the model").task).batchable or any(
        not spec.shape or spec.shape[0] is not None for spec in tensors
    ):
        return fixed, False
    smallest, _, largest = manifest.build_info.get("batches", (1, None, MAX_BATCH))
    if smallest != 1:
        raise EngineError(
            f"the engine runs batches of {smallest} or more images, but a server forms batches of 1 or more; "
            "leave out --min-batch."
        )
    return BatchRange(1, largest), True


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise OutputError(
            f"the model's name is {name!r:.200}; expected up to 100 letters, digits, '_', '-' and '.', not "
            "starting with '-' or '.'. Give another one with --name."
        )
    return name


def _network_files(
    name: str, artifact: Artifact, source: SourceModel, server_backend: str, where: PurePath
) -> dict[str, bytes]:
    manifest = artifact.manifest
    metadata = manifest.model_metadata(name)
    task, batches, batched = TASKS.get(metadata.task), *batches_of(manifest)
    names = class_names_of(metadata, manifest.outputs)
    primary = None if task.arrays or task.class_axis is None else task.primary_output
    config: dict[str, Any] = {
        "name": name,
        **artifact.config,
        "max_batch_size": batches.largest if batched else 0,
        "input": [network_tensor(spec, batched) for spec in manifest.inputs],
        "output": [
            network_tensor(spec, batched, LABELS if spec.name == primary else None)
            for spec in manifest.outputs
        ],
        "instance_group": instances("gpu" if manifest.device == "cuda" else "cpu"),
        "dynamic_batching": {"max_queue_delay_microseconds": _QUEUE_MICROSECONDS} if batched else None,
        "model_warmup": warm_up(manifest.inputs, batched),
    }
    files = {**artifact.files, "config.pbtxt": config_text(config).encode()}
    if names:
        files[LABELS] = _labels(names)
    image_model = None if task.served is None else name + IMAGE_SUFFIX
    files["README.md"] = readme(name, image_model, server_backend, artifact, source.record, where).encode()
    return files


def _image_files(name: str, network: str, manifest: Manifest) -> dict[str, bytes]:
    description = Description(
        network, manifest.metadata, manifest.inputs, manifest.outputs, batches_of(manifest)[0]
    )
    spec = TASKS.get(description.model_metadata().task)
    assert spec.served is not None
    served: Served = load_object(spec.served)
    outputs = served.outputs(description.output, len(description.class_names))
    labels = LABELS if description.class_names else None
    config = {
        "name": name,
        "backend": "python",
        "max_batch_size": DEFAULT_BATCH,
        "input": [tensor("image", TEXT, (1,))],
        "output": [served_tensor(output, labels) for output in outputs],
        "instance_group": instances("cpu", _IMAGE_INSTANCES),
        "dynamic_batching": {"max_queue_delay_microseconds": _QUEUE_MICROSECONDS},
    }
    files = {
        "config.pbtxt": config_text(config).encode(),
        "1/model.py": python_model("image_model", "ImageModel"),
        f"1/{FILE_NAME}": description.to_json(),
    }
    if labels is not None:
        files[LABELS] = _labels(description.class_names)
    return files


def _labels(names: tuple[str, ...]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()
