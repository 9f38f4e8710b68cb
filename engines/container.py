"""The engine file: an uncompressed zip file with `manifest.json`, one payload and, for some, its weights."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.payload import Payload
from vim_deploy.engines.payload_check import PayloadCheck
from vim_deploy.engines.registry import BACKENDS
from vim_deploy.engines.selfcheck import example_shapes
from vim_deploy.engines.shared_weights import DamagedError, Source, private_weights, shared_weights
from vim_deploy.engines.source import check_interface
from vim_deploy.engines.stored_tensors import WEIGHTS_NAME
from vim_deploy.errors import EngineError
from vim_deploy.files import atomic_write, open_regular, sha256_of
from vim_deploy.output_files import FileKind
from vim_deploy.text import is_printable

MANIFEST_NAME = "manifest.json"
_MAX_MANIFEST_BYTES = 16 << 20
_PAGE = 4096
_LOCAL_HEADER = struct.Struct("<26xHH")  # up to the lengths of the name and the extra fields that follow
_EXTRA_FIELD = struct.Struct("<HH")
_PADDING_FIELD = 0xD935
_SHA256 = re.compile("[0-9a-f]{64}")
_DATE = (1980, 1, 1, 0, 0, 0)


def _is_engine(path: Path) -> bool:
    """Whether a file is an engine of any version, valid or not."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MANIFEST_NAME) as file:
            manifest = json.loads(file.read(_MAX_MANIFEST_BYTES))
    except Exception:  # zipfile raises many types of errors for other files
        return False
    return isinstance(manifest, dict) and {"payload", "self_hash"} <= manifest.keys()


ENGINE_FILE = FileKind("an engine written by vim-build", _is_engine)


def write_engine(path: str | os.PathLike[str], manifest: Manifest, payload: Payload) -> None:
    """Write an engine atomically: on failure no new file is left. Raises EngineError."""
    try:
        with atomic_write(path) as file:
            _write(file, manifest, payload)
    except OSError as error:
        raise EngineError(
            f"{os.fspath(path)} cannot be written: {error.strerror or error}. Choose another folder with -o."
        ) from None


def engine_bytes(manifest: Manifest, payload: Payload) -> bytes:
    """The content of an engine file."""
    file = io.BytesIO()
    _write(file, manifest, payload)
    return file.getvalue()


def _write(file: IO[bytes], manifest: Manifest, payload: Payload) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(MANIFEST_NAME, manifest.to_json())
        archive.writestr(manifest.payload.name, payload.data)
        if payload.tensors:
            archive.writestr(_aligned_weights(file.tell()), payload.weights)


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of an engine file and check its hash. Raises EngineError."""
    with _EngineFile(path) as engine:
        return engine.manifest


def read_engine(
    path: str | os.PathLike[str],
    *,
    share: bool = False,
    check_manifest: Callable[[Manifest], None] = lambda manifest: None,
) -> tuple[Manifest, Payload]:
    """Read and check manifest and payload. Raises EngineError.

    `share`: to run the engine. Processes share the memory of the weights where possible, see
    `engines/shared_weights.py`, and a graph that has passed the checks before is not checked again, see
    `engines/payload_check.py`. `check_manifest` raises an error for a manifest that does not fit, and is
    called before the weights are read, while the graph is checked.
    """
    with _EngineFile(path) as engine:
        return engine.manifest, engine.payload(share, check_manifest)


def _aligned_weights(at: int) -> zipfile.ZipInfo:
    """The header of the weights for a place in the file such that the content begins at a page.

    The padding is an extra field of the header, as in Android's packages.
    """
    info = zipfile.ZipInfo(WEIGHTS_NAME, _DATE)
    field = _EXTRA_FIELD.size
    begin = at + _LOCAL_HEADER.size + len(WEIGHTS_NAME) + field
    padding = -begin % _PAGE
    info.extra = _EXTRA_FIELD.pack(_PADDING_FIELD, padding) + bytes(padding)
    return info


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
        expected = [MANIFEST_NAME, manifest.payload.name, *([WEIGHTS_NAME] if manifest.tensors else [])]
        if sorted(names) != sorted(expected):
            raise EngineError(
                f"{self.path} contains {names[:5]}; expected only {', '.join(expected)}. "
                "Build the engine again."
            )
        _check_manifest(self.path, manifest)
        return manifest

    def payload(self, share: bool, check_manifest: Callable[[Manifest], None]) -> Payload:
        """Checked against its hash, and as a graph. Raises EngineError."""
        record = self.manifest.payload
        data = self._read(record.name, record.bytes)
        place = self._weights_place() if self.manifest.tensors else (0, 0)
        wait_for_check = self._start_check(data, place[1], share)
        check_manifest(self.manifest)
        weights: bytes | memoryview = b""
        found_bytes, found_hash = len(data) + place[1], sha256_of(data)
        if self.manifest.tensors and found_bytes == record.bytes:
            weights, found_hash = self._weights(Source(self.file, *place, data, record.sha256), share)
        for field, recorded, found in (
            ("payload.bytes", record.bytes, found_bytes),
            ("payload.sha256", record.sha256, found_hash),
        ):
            if recorded != found:
                raise EngineError(
                    f"{self.path} was edited or damaged: {field} is {recorded} in the manifest and "
                    f"{found} in the file. Build it again: {self.manifest.rebuild_command(self.path)}"
                )
        wait_for_check()
        return Payload(data, weights, self.manifest.tensors)

    def _weights(self, source: Source, share: bool) -> tuple[bytes | memoryview, str]:
        """The weights and the hash of the payload; no weights if the hash is wrong."""
        try:
            return (shared_weights if share else private_weights)(source), source.sha256
        except DamagedError as error:
            return b"", str(error)
        except OSError as error:
            raise EngineError(f"{self.path} cannot be read: {error.strerror or error}.") from None

    def _weights_place(self) -> tuple[int, int]:
        """Offset and size of the weights in the file."""
        info = self.archive.getinfo(WEIGHTS_NAME)
        self.file.seek(info.header_offset)
        header = self.file.read(_LOCAL_HEADER.size)
        size = self.manifest.payload.bytes
        if (
            info.compress_type != zipfile.ZIP_STORED
            or info.file_size > size
            or len(header) < _LOCAL_HEADER.size
        ):
            raise self._not_stored(WEIGHTS_NAME, info.file_size, size)
        name_length, extra_length = _LOCAL_HEADER.unpack(header)
        return info.header_offset + len(header) + name_length + extra_length, info.file_size

    def _start_check(self, data: bytes, weights_bytes: int, share: bool) -> Callable[[], None]:
        """Returns a function that raises EngineError if the payload must not be loaded."""
        domains = BACKENDS.get(self.manifest.backend).payload_domains
        if domains is None:
            return lambda: None
        shapes = example_shapes(self.manifest.inputs, self.manifest.model_metadata(self.path), self.path)
        check = PayloadCheck(data, self.manifest.tensors, weights_bytes, domains, shapes)
        return check.start(self.path) if share else partial(check.run, self.path)

    def _not_stored(self, name: str, size: int, limit: int) -> EngineError:
        return EngineError(
            f"{self.path}: {name} is compressed or has {size} bytes, more than {limit}; "
            "the engine was edited. Build it again."
        )

    def _read(self, name: str, limit: int) -> bytes:
        info = self.archive.getinfo(name)
        # Sizes are checked before reading: a zip directory can state any size.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
            raise self._not_stored(name, info.file_size, limit)
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
    if {manifest.payload.name} & {MANIFEST_NAME, WEIGHTS_NAME} or not _SHA256.fullmatch(
        manifest.payload.sha256
    ):
        raise EngineError(f"{path}: the name or hash of the payload is invalid; the engine was edited.")
    if manifest.tensors and BACKENDS.get(manifest.backend).payload_domains is None:
        raise EngineError(
            f"{path}: {manifest.backend} engines have no separate weights; the engine was edited."
        )
    check_interface(path, manifest.model_metadata(path), manifest.inputs, manifest.outputs)
