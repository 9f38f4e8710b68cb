"""What an engine says about itself, and the refusal of engines that say something else than expected."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from typing import Any
from unicodedata import category

from vim_deploy.engines.onnxruntime.fusion.apply import BF16_PRODUCTS
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import ConfigError, EngineError
from vim_deploy.files import sha256_of
from vim_deploy.metadata import ModelMetadata

FORMAT = 1
LONGEST_CLASS_NAME = 1000
_UNUSABLE = ("Cc", "Cs", "Zl", "Zp")  # controls, half surrogate pairs, line and paragraph separators


@dataclass(frozen=True)
class FileRecord:
    """A file as it was at build time."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything there is to know about an engine without opening its payload.

    `environment` holds what must be the same where the engine runs (runtime version, processor architecture,
    instruction set, the operator's contract version ...); `operator` how the custom operator is served;
    `metadata` the properties of the ONNX file, unchanged. The hash over the manifest finds damage and
    careless edits; it is no signature.
    """

    backend: str
    device: str
    precision: str
    payload: FileRecord
    source: FileRecord
    environment: dict[str, str]
    operator: dict[str, Any]
    settings: dict[str, Any]
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    self_check: dict[str, Any]
    metadata: dict[str, str]
    created: str  # ISO 8601, UTC
    tool_version: str
    validation: dict[str, Any] | None = None  # written by vim-validate --sign; see `validated`
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        values["input"] = self.input.to_dict()
        values["outputs"] = [spec.to_dict() for spec in self.outputs]
        return values

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
                f"{path}: manifest edited or damaged: self_hash is {recorded}, its content has {found}. "
                "Build the engine again."
            )
        if values.get("format") != FORMAT:
            raise EngineError(
                f"{path}: format is {values.get('format')!r}, this version of vim-deploy reads {FORMAT}. "
                "Build the engine again."
            )
        try:
            return cls(**_typed(values))
        except (ValueError, TypeError, KeyError) as error:
            raise EngineError(
                f"{path}: the manifest is malformed ({error}); build the engine again."
            ) from None

    @property
    def validated(self) -> str:
        """Whether vim-validate found this very payload equal to its eager model, as a line for users."""
        record = self.validation or {}
        if record.get("payload_sha256") != self.payload.sha256:
            return "not validated (vim-validate --sign does it)"
        date, reference = (_printable(str(record.get(key))) for key in ("created", "reference"))
        return f"validated against eager {reference} on {date}"

    def model_metadata(self, path: str) -> ModelMetadata:
        return read_metadata(self.metadata, path)

    def rebuild_command(self, path: str) -> str:
        """The command that builds this engine again from its source."""
        words = ["vim-build", self.source.name, "-o", path]
        for name, default in (("backend", "onnxruntime"), ("device", "cpu")):
            if (value := getattr(self, name)) != default:
                words += [f"--{name}", value]
        if self.precision == BF16_PRODUCTS:
            words += ["--cpu-precision", "bf16"]
        return " ".join(shlex.quote(_printable(word)) for word in words)

    def refuse(self, path: str, field: str, recorded: object, found: object) -> EngineError:
        """The error for an engine that does not fit: the field, both values, and the way out."""
        return EngineError(
            f"{path} cannot be used here: {field} is {_printable(str(recorded))} in the engine and "
            f"{_printable(str(found))} here. Build it again: {self.rebuild_command(path)}"
        )

    def check_environment(self, path: str, current: dict[str, str]) -> None:
        """Raises EngineError at the first recorded field whose value here is another."""
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
        # They go into every row: text of a sane length that can be encoded and printed on one line.
        if len(name) > LONGEST_CLASS_NAME or any(category(letter) in _UNUSABLE for letter in name):
            raise EngineError(
                f"{source}: class name {name[:60]!r} is longer than {LONGEST_CLASS_NAME} characters or holds "
                "characters that cannot be printed; export the model with other names."
            )
    return metadata


def _hash(values: dict[str, Any]) -> str:
    return sha256_of(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:500])


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    for name in ("backend", "device", "precision", "created", "tool_version"):
        _expect(values, name, str)
    if values.get("validation") is not None:
        _expect(values, "validation", dict)
    for name in ("environment", "operator", "settings", "self_check", "metadata"):
        _expect(values, name, dict)
    for name in ("environment", "metadata"):
        for key in values[name]:
            _expect(values[name], key, str)
    typed = dict(values)
    for name in ("payload", "source"):
        record = FileRecord(**values[name])
        for key, kind in (("name", str), ("sha256", str), ("bytes", int)):
            _expect(values[name], key, kind)
        typed[name] = record
    typed["input"] = TensorSpec.from_dict(values["input"])
    typed["outputs"] = tuple(TensorSpec.from_dict(value) for value in values["outputs"])
    return typed


def _expect(values: dict[str, Any], name: str, kind: type) -> None:
    if type(values.get(name)) is not kind:
        raise TypeError(f"{name} is {values.get(name)!r:.100}, expected {kind.__name__}")
