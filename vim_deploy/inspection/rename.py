"""Writes a copy of an ONNX file or an engine with other class names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx

from vim_deploy.engines.container import ENGINE_FILE, read_engine, write_engine
from vim_deploy.engines.manifest import read_metadata
from vim_deploy.engines.source import read_source
from vim_deploy.errors import EngineError, os_errors
from vim_deploy.files import atomic_write
from vim_deploy.inspection.inspect import kind_of
from vim_deploy.inspection.model import class_count
from vim_deploy.metadata import EXPORTED_FILE, GIVEN, ModelMetadata
from vim_deploy.output_files import OutputFile, check_output_files
from vim_deploy.text import plural


def set_class_names(path: Path, names: tuple[str, ...], output: Path, *, force: bool = False) -> None:
    """Write `output`, a copy of the file at `path` with these names, which is checked like every file.

    The network is unchanged: an engine keeps its payload with its hash, the hash of the ONNX file that it was
    built from, and its validation; only the hash of the manifest is computed again. Raises EngineError for
    names that do not fit the model, and OutputError for an output that must not be written.
    """
    kind = kind_of(str(path))
    if kind == "checkpoint":
        raise EngineError(
            f"{path} is a checkpoint; class names are set on ONNX files and engines, or with vim-export "
            "--class-names."
        )
    written = OutputFile("-o", output, ENGINE_FILE if kind == "engine" else EXPORTED_FILE)
    check_output_files([written], [path], force)
    if kind == "engine":
        manifest, payload = read_engine(path)
        metadata = manifest.model_metadata(str(path))
        _check_count(path, names, class_count(metadata, manifest.outputs))
        props = _renamed(manifest.metadata, metadata, names, path)
        write_engine(output, dataclasses.replace(manifest, metadata=props), payload)
    else:
        source = read_source(path)
        _check_count(path, names, class_count(source.metadata, source.outputs))
        model = onnx.load_from_string(source.data)
        onnx.helper.set_model_props(model, _renamed(source.props, source.metadata, names, path))
        with os_errors(EngineError, f"{output} cannot be written"), atomic_write(output) as file:
            file.write(model.SerializeToString())


def _check_count(path: Path, names: tuple[str, ...], classes: int | None) -> None:
    if not classes:
        raise EngineError(f"the model in {path} has no classes, so that it cannot have class names.")
    if len(names) != classes:
        raise EngineError(
            f"{plural(len(names), 'class name')} for a model with {plural(classes, 'class', 'classes')}; "
            "give one name per class, in the order of the outputs."
        )


def _renamed(
    props: dict[str, str], metadata: ModelMetadata, names: tuple[str, ...], path: Path
) -> dict[str, str]:
    """The properties with these names. Raises EngineError for a name that cannot be used."""
    changed = dataclasses.replace(metadata, class_names=names, class_names_source=GIVEN)
    found = {**props, **changed.to_props()}
    read_metadata(found, f"{path} with the new class names")
    return found
