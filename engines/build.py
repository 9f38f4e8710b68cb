"""From an ONNX file to an engine file."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from vim_deploy.engines.base import BuildOptions
from vim_deploy.engines.container import write_engine
from vim_deploy.engines.manifest import FileRecord, Manifest
from vim_deploy.engines.registry import DEFAULT_DEVICES, DEVICES, backend_module
from vim_deploy.engines.source import SourceModel, read_source
from vim_deploy.errors import EngineError
from vim_deploy.files import sha256_of
from vim_deploy.package import VERSION


def build_engine(
    onnx_path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    backend: str = "onnxruntime",
    options: BuildOptions | None = None,
) -> Manifest:
    """Build an engine and write it to `output`, whole or not at all.

    Raises EngineError for a file, an option or an output that does not do, OperatorLibraryError and
    MissingDependencyError for what is missing.
    """
    _check_output(onnx_path, output)
    return build_from_source(read_source(onnx_path), output, backend=backend, options=options)


def build_from_source(
    source: SourceModel,
    output: str | os.PathLike[str],
    *,
    backend: str = "onnxruntime",
    options: BuildOptions | None = None,
) -> Manifest:
    """`build_engine` for a file that was already read and checked."""
    options = options or BuildOptions(DEFAULT_DEVICES.get(backend, "cpu"))
    if options.device not in DEVICES:
        raise EngineError(f"device is {options.device!r}; expected one of {', '.join(DEVICES)}.")
    if options.threads is not None and options.threads < 1:
        raise EngineError(f"threads is {options.threads}; expected 1 or more.")
    built = backend_module(backend).build(source, options)
    manifest = Manifest(
        backend=backend,
        device=options.device,
        precision=built.precision or source.metadata.precision,
        payload=FileRecord(built.payload_name, sha256_of(built.payload), len(built.payload)),
        source=source.record,
        environment=built.environment,
        operator=built.operator,
        settings=built.settings,
        input=built.input,
        outputs=built.outputs,
        self_check=built.self_check,
        metadata=source.props,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool_version=VERSION,
    )
    write_engine(output, manifest, built.payload)
    return manifest


def _check_output(onnx_path: str | os.PathLike[str], output: str | os.PathLike[str]) -> None:
    folder = Path(output).parent
    if not folder.is_dir():
        raise EngineError(f"the folder {folder} of {os.fspath(output)} does not exist; create it first.")
    if Path(output).exists() and not Path(output).is_file():
        raise EngineError(f"{os.fspath(output)} is not a regular file; give a file name with -o.")
    if Path(output).exists() and Path(onnx_path).exists() and Path(output).samefile(onnx_path):
        raise EngineError(f"{os.fspath(output)} is the ONNX file itself; give another name with -o.")
