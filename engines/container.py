"""The engine file: an uncompressed zip file with `manifest.json` and one payload."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from vim_deploy.engines.graph_check import check_graph, check_sizes, parse_model
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.registry import BACKENDS
from vim_deploy.engines.selfcheck import example_shapes
from vim_deploy.engines.source import check_interface
from vim_deploy.errors import EngineError
from vim_deploy.files import atomic_write, open_regular, sha256_of
from vim_deploy.output_files import FileKind
from vim_deploy.text import is_printable

MANIFEST_NAME = "manifest.json"
_MAX_MANIFEST_BYTES = 16 << 20


def _is_engine(path: Path) -> bool:
    """Whether a file is an engine of any version, valid or not."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MANIFEST_NAME) as file:
            manifest = json.loads(file.read(_MAX_MANIFEST_BYTES))
    except Exception:  # zipfile raises many types of errors for other files
        return False
    return isinstance(manifest, dict) and {"payload", "self_hash"} <= manifest.keys()


ENGINE_FILE = FileKind("an engine written by vim-build", _is_engine)


def write_engine(path: str | os.PathLike[str], manifest: Manifest, payload: bytes) -> None:
    """Write an engine atomically: on failure no new file is left. Raises EngineError."""
    try:
        with atomic_write(path) as file:
            _write(file, manifest, payload)
    except OSError as error:
        raise EngineError(
            f"{os.fspath(path)} cannot be written: {error.strerror or error}. Choose another folder with -o."
        ) from None


def engine_bytes(manifest: Manifest, payload: bytes) -> bytes:
    """The content of an engine file."""
    file = io.BytesIO()
    _write(file, manifest, payload)
    return file.getvalue()


def _write(file: IO[bytes], manifest: Manifest, payload: bytes) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(MANIFEST_NAME, manifest.to_json())
        archive.writestr(manifest.payload.name, payload)


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of an engine file and check its hash. Raises EngineError."""
    with _EngineFile(path) as engine:
        return engine.manifest


def read_engine(path: str | os.PathLike[str]) -> tuple[Manifest, bytes]:
    """Read manifest and payload and check both hashes. Raises EngineError."""
    with _EngineFile(path) as engine:
        return engine.manifest, engine.payload()


class _EngineFile:
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self.file = open_regular(path)
        except OSError as error:
            raise EngineError(f"{self.path} cannot be read: {error.strerror or error}.") from None
        try:
            self.archive = zipfile.ZipFile(self.file)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            self.file.close()
            raise EngineError(
                f"{self.path} is not an engine made by vim-build, or is truncated ({error})."
            ) from None

    def __enter__(self) -> _EngineFile:
        try:
            self.manifest = self._manifest()
        except BaseException:
            self.file.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def _manifest(self) -> Manifest:
        names = self.archive.namelist()
        if MANIFEST_NAME not in names:
            raise EngineError(f"{self.path} has no {MANIFEST_NAME}; give a file made by vim-build.")
        manifest = Manifest.from_json(self._read(MANIFEST_NAME, _MAX_MANIFEST_BYTES), self.path)
        if sorted(names) != sorted([MANIFEST_NAME, manifest.payload.name]):
            raise EngineError(
                f"{self.path} contains {names[:5]}; expected only {MANIFEST_NAME} and "
                f"{manifest.payload.name}. Build the engine again."
            )
        _check_manifest(self.path, manifest)
        return manifest

    def payload(self) -> bytes:
        record = self.manifest.payload
        data = self._read(record.name, record.bytes)
        for field, recorded, found in (
            ("payload.bytes", record.bytes, len(data)),
            ("payload.sha256", record.sha256, sha256_of(data)),
        ):
            if recorded != found:
                raise EngineError(
                    f"{self.path} was edited or damaged: {field} is {recorded} in the manifest and "
                    f"{found} in the file. Build it again: {self.manifest.rebuild_command(self.path)}"
                )
        domains = BACKENDS.get(self.manifest.backend).payload_domains
        if domains is not None:
            self._check_model(data, domains)
        return data

    def _check_model(self, data: bytes, domains: Sequence[str]) -> None:
        shapes = example_shapes(self.manifest.inputs, self.manifest.model_metadata(self.path), self.path)
        model = parse_model(self.path, data)
        check_graph(self.path, model, len(data), domains)
        check_sizes(self.path, model, shapes)

    def _read(self, name: str, limit: int) -> bytes:
        info = self.archive.getinfo(name)
        # Sizes are checked before reading: a zip directory can state any size.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
            raise EngineError(
                f"{self.path}: {name} is compressed or has {info.file_size} bytes, more than {limit}; "
                "the engine was edited. Build it again."
            )
        try:
            return self.archive.read(info)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError) as error:
            raise EngineError(
                f"{self.path} was edited or damaged: {name}: {error}. Build the engine again."
            ) from None


def _check_manifest(path: str, manifest: Manifest) -> None:
    """Raises EngineError for values that no build writes: a valid hash does not prove the origin."""
    for record in (manifest.payload, manifest.source):
        if not is_printable(record.name) or set(record.name) & {"/", "\\"} or record.name in ("", ".", ".."):
            raise EngineError(f"{path}: {record.name!r:.200} is not a file name; the engine was edited.")
    check_interface(path, manifest.model_metadata(path), manifest.inputs, manifest.outputs)
