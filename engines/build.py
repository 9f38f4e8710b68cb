"""Building an engine file from an ONNX file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from vim_deploy.engines.base import backend_module
from vim_deploy.engines.container import ENGINE_FILE, write_engine
from vim_deploy.engines.manifest import FileRecord, Manifest
from vim_deploy.engines.payload import Payload
from vim_deploy.engines.registry import BACKENDS, DEFAULT_BACKEND
from vim_deploy.engines.source import SourceModel, read_source
from vim_deploy.engines.spec import BuildOptions
from vim_deploy.errors import EngineError
from vim_deploy.options import RunPaths, paths_of
from vim_deploy.output_files import OutputFile, check_output_files
from vim_deploy.package import VERSION
from vim_deploy.tasks.registry import TASKS


def build_engine(
    onnx_path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: BuildOptions | None = None,
    *,
    force: bool = False,
) -> Manifest:
    """Build an engine and write it to `output` atomically.

    The class of `options` selects the backend; without options it is ONNX Runtime on CPU. `force`: replace
    existing files of other kinds. Raises OutputError for an output that must not be written, EngineError for
    an invalid file, and OperatorLibraryError or MissingDependencyError for missing parts.
    """
    check_outputs([OutputFile("-o", Path(output), ENGINE_FILE)], onnx_path, options, force)
    return build_from_source(read_source(onnx_path), output, options)


def check_outputs(
    outputs: Sequence[OutputFile],
    onnx_path: str | os.PathLike[str],
    options: BuildOptions | None,
    force: bool,
) -> list[Path]:
    """Raises OutputError if a build must not write one of these files or of its options' files.

    Returns the files that it reads.
    """
    paths = paths_of(dataclasses.fields(options), vars(options)) if options else RunPaths()
    inputs = [Path(onnx_path), *paths.inputs]
    check_output_files([*outputs, *paths.outputs], inputs, force)
    return inputs


def build_from_source(
    source: SourceModel, output: str | os.PathLike[str], options: BuildOptions | None = None
) -> Manifest:
    """`build_engine` for a file that was already read and checked."""
    manifest, payload = built_engine(source, options or BACKENDS.get(DEFAULT_BACKEND).default_options())
    write_engine(output, manifest, payload)
    return manifest


def built_engine(source: SourceModel, options: BuildOptions) -> tuple[Manifest, Payload]:
    """The manifest and the payload of an engine. Raises what `build_engine` raises."""
    _check_task(source, options.backend)
    built = backend_module(options.backend).build(source, options)
    manifest = Manifest(
        options=options,
        precision=built.precision or source.metadata.precision,
        payload=FileRecord(built.payload_name, built.payload.sha256, built.payload.bytes),
        tensors=dict(built.payload.tensors),
        source=source.record,
        environment=built.environment,
        operator=built.operator,
        build_info=built.build_info,
        inputs=built.inputs,
        outputs=built.outputs,
        self_check=built.self_check,
        metadata=source.props,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool_version=VERSION,
    )
    return manifest, built.payload


def _check_task(source: SourceModel, backend: str) -> None:
    if TASKS.get(source.metadata.task).arrays and not BACKENDS.get(backend).named_arrays:
        raise EngineError(
            f"{source.record.name} takes named arrays (task raw), which the {backend} backend does not run; "
            "build it with another --backend, or export a model for images."
        )
    option = TASKS.get(source.metadata.task).fixed_size_option
    open_sizes = any(None in spec.shape for spec in source.outputs)
    if option is None or not open_sizes or not BACKENDS.get(backend).fixed_size_only:
        return
    others = [f"--backend {name}" for name in BACKENDS.names() if not BACKENDS.get(name).fixed_size_only]
    raise EngineError(
        f"{source.record.name}: the outputs of the task {source.metadata.task!r} have as many rows as there "
        f"are objects, but the {backend} backend runs only outputs of fixed size. Export the model again: "
        f"vim-export MODEL --task {source.metadata.task} {option} -o {source.record.name}. Or build this "
        f"file with {' or '.join(others)}."
    )
