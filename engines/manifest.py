"""The manifest of an engine: what it was built from, how, and where it can run."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from typing import Any

from vim_deploy.engines.payload import StoredTensor
from vim_deploy.engines.registry import BACKENDS, DEFAULT_BACKEND
from vim_deploy.engines.spec import BuildOptions
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import ConfigError, EngineError
from vim_deploy.files import sha256_of
from vim_deploy.metadata import ModelMetadata
from vim_deploy.options import from_record, to_record, to_words
from vim_deploy.precision import Precision
from vim_deploy.text import is_printable

FORMAT = 5
MAX_CLASS_NAME_LENGTH = 1000
_SHOWN = 500  # characters of a value in messages


@dataclass(frozen=True)
class FileRecord:
    """A file as it was at build time."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything there is to know about an engine without opening its payload.

    `payload`: size and hash of the graph and its weights together. `tensors`: those in the weights, see
    `engines/stored_tensors.py`. `environment`: what must be the same where the engine runs (runtime version,
    CPU architecture, instruction set, the operator's contract version ...). `operator`: the implementation of
    the custom operator. `build_info`: what the build found and chose. `metadata`: the properties of the ONNX
    file, unchanged. The hash over the manifest detects damage and accidental edits; it is not a signature.
    """

    options: BuildOptions  # as given for the build
    precision: Precision
    payload: FileRecord
    source: FileRecord
    environment: dict[str, str]
    operator: dict[str, Any]
    build_info: dict[str, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    self_check: dict[str, Any]
    metadata: dict[str, str]
    created: str  # ISO 8601, UTC
    tool_version: str
    tensors: dict[str, StoredTensor] = dataclasses.field(default_factory=dict)
    validation: dict[str, Any] | None = None  # written by vim-validate --sign; see `validated`
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            **dataclasses.asdict(self),
            "backend": self.backend,
            "options": to_record(self.options),
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
            "tensors": {name: tensor.to_dict() for name, tensor in self.tensors.items()},
        }

    def to_json(self) -> bytes:
        values = self.to_dict()
        return json.dumps({**values, "self_hash": _hash(values)}, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes, path: str) -> Manifest:
        """Reads `to_json`; `path` names the engine in errors. Raises EngineError."""
        try:
            values = json.loads(text)
            recorded = values.pop("self_hash")
            found = _hash(values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise EngineError(
                f"{path}: the manifest cannot be read ({error!r}); build the engine again."
            ) from None
        if recorded != found:
            raise EngineError(
                f"{path}: the manifest was edited or damaged: self_hash is {recorded!s:.100}, expected "
                f"{found}. Build the engine again."
            )
        given = values.get("format")
        if type(given) is not int or given != FORMAT:
            raise EngineError(
                f"{path}: the engine's format is {given!r:.100}; this version of vim-deploy reads {FORMAT}. "
                f"Build the engine again{_how(values, path)}."
            )
        try:
            return cls(**_typed(values))
        except (ValueError, TypeError, KeyError, EngineError) as error:
            raise EngineError(
                f"{path}: the manifest is malformed ({error}); build the engine again."
            ) from None

    @property
    def input(self) -> TensorSpec:
        """The first input, the only one of a model for images."""
        return self.inputs[0]

    @property
    def backend(self) -> str:
        return self.options.backend

    @property
    def device(self) -> str:
        return self.options.device

    @property
    def validated(self) -> str:
        """Whether vim-validate compared this payload with its eager model, as a line for users."""
        record = self.validation or {}
        if record.get("payload_sha256") != self.payload.sha256:
            return "not validated (vim-validate --sign does it)"
        date, reference = (str(record.get(key))[:_SHOWN] for key in ("created", "reference"))
        return f"validated against eager {reference} on {date}"

    def model_metadata(self, path: str) -> ModelMetadata:
        return read_metadata(self.metadata, path)

    def rebuild_command(self, path: str) -> str:
        """The command that builds this engine again from its source, with the same options."""
        words = ["vim-build", self.source.name, "-o", path]
        if self.backend != DEFAULT_BACKEND:
            words += ["--backend", self.backend]
        words += to_words(self.options)
        return " ".join(shlex.quote(word[:_SHOWN]) for word in words)

    def refuse(self, path: str, field: str, recorded: object, found: object) -> EngineError:
        """The error for an engine that does not fit: the field, both values, and what to do."""
        return EngineError(
            f"{path} cannot be used here: {field} is {recorded!s:.{_SHOWN}} in the engine and "
            f"{found!s:.{_SHOWN}} here. Build it again: {self.rebuild_command(path)}"
        )

    def check_environment(self, path: str, current: dict[str, str]) -> None:
        """Raises EngineError for the first recorded field that has another value here."""
        for name, recorded in self.environment.items():
            if current.get(name) != recorded:
                raise self.refuse(path, name, recorded, current.get(name, "unknown"))


def read_metadata(props: dict[str, str], source: str) -> ModelMetadata:
    """`ModelMetadata.from_props` for untrusted properties: every defect is an EngineError."""
    try:
        metadata = ModelMetadata.from_props(props, source)
    except (ConfigError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise EngineError(f"{source}: unusable metadata ({error}); export the model again.") from None
    for name in metadata.class_names or ():
        # They are written into every row.
        if len(name) > MAX_CLASS_NAME_LENGTH or not is_printable(name):
            raise EngineError(
                f"{source}: class name {name[:60]!r} is longer than {MAX_CLASS_NAME_LENGTH} characters or "
                "has characters that cannot be printed; export the model with other names."
            )
    return metadata


def _hash(values: dict[str, Any]) -> str:
    return sha256_of(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    for name in ("backend", "precision", "created", "tool_version"):
        _expect(values, name, str)
    if values.get("validation") is not None:
        _expect(values, "validation", dict)
    for name in ("options", "environment", "operator", "build_info", "self_check", "metadata", "tensors"):
        _expect(values, name, dict)
    for name in ("environment", "metadata"):
        for key in values[name]:
            _expect(values[name], key, str)
    for key in values["self_check"].keys() & {"max_abs_diff", "max_relative_diff", "tolerance"}:
        _expect(values["self_check"], key, float)
    typed = dict(values)
    backend = BACKENDS.get(typed.pop("backend"))
    typed["options"] = from_record(backend.options, values["options"])
    typed["precision"] = Precision(values["precision"])
    for name in ("payload", "source"):
        record = FileRecord(**values[name])
        for key, kind in (("name", str), ("sha256", str), ("bytes", int)):
            _expect(values[name], key, kind)
        typed[name] = record
    for name in ("inputs", "outputs"):
        typed[name] = tuple(TensorSpec.from_dict(value) for value in values[name])
    typed["tensors"] = {name: StoredTensor.from_dict(value) for name, value in values["tensors"].items()}
    if not typed["inputs"]:
        raise ValueError("no inputs")
    return typed


def _how(values: dict[str, Any], path: str) -> str:
    """The command that builds an engine of another format again, if its manifest has the same fields."""
    known = {field.name for field in dataclasses.fields(Manifest)} | {"backend"}
    common = {name: value for name, value in values.items() if name in known}
    try:
        manifest = Manifest(**_typed({"tensors": {}, **common}))
    except (ValueError, TypeError, KeyError, EngineError):
        return ""
    return f": {manifest.rebuild_command(path)}"


def _expect(values: dict[str, Any], name: str, kind: type) -> None:
    if type(values.get(name)) is not kind:
        raise TypeError(f"{name} is {values.get(name)!r:.100}, expected {kind.__name__}")
