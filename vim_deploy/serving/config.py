"""The configuration of a model, config.pbtxt: its fields, in protobuf's text format.

Source: model_config.proto of triton-inference-server/common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.tasks.served import TEXT, ServedOutput

MARKER = "# Written by vim-build --triton."
_TYPES = {
    "bool": "TYPE_BOOL",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    TEXT: "TYPE_STRING",
    **{f"{kind}int{bits}": f"TYPE_{kind.upper()}INT{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)},
}


class Symbol(str):
    """A value of an enumeration, which is written without quotes."""


def config_text(fields: Mapping[str, Any]) -> str:
    """The text of config.pbtxt. Mappings are messages, sequences repeated fields; None is left out."""
    return "\n".join([MARKER, *_lines(fields, "")]) + "\n"


def tensor(name: str, dtype: str, shape: Sequence[int | None], labels: str | None = None) -> dict[str, Any]:
    """An input or output. `dtype`: a numpy type name, or TEXT. `labels`: the file with the class names."""
    return {
        "name": name,
        "data_type": Symbol(_TYPES[dtype]),
        "dims": [-1 if size is None else size for size in shape],
        "label_filename": labels,
    }


def network_tensor(spec: TensorSpec, batched: bool, labels: str | None = None) -> dict[str, Any]:
    """An input or output of a network. `batched`: whether the server adds the batch axis."""
    return tensor(spec.name, spec.dtype, spec.shape[1:] if batched else spec.shape, labels)


def served_tensor(output: ServedOutput, labels: str | None) -> dict[str, Any]:
    return tensor(output.name, output.dtype, output.shape, labels if output.labeled else None)


def parameters(values: Mapping[str, object]) -> list[dict[str, Any]] | None:
    """The model's parameters, all as text."""
    return [{"key": key, "value": {"string_value": str(value)}} for key, value in values.items()] or None


def instances(kind: str, count: int = 1) -> list[dict[str, Any]]:
    """Instances that run at the same time; `kind`: "cpu" or "gpu"."""
    return [{"kind": Symbol(f"KIND_{kind.upper()}"), "count": count}]


def warm_up(inputs: Sequence[TensorSpec], batched: bool) -> list[dict[str, Any]] | None:
    """One run of zeros before the model is ready; None for inputs of unknown size."""
    shapes = {spec.name: spec.shape[1:] if batched else spec.shape for spec in inputs}
    if any(size is None for shape in shapes.values() for size in shape):
        return None
    values = [
        {
            "key": spec.name,
            "value": {
                "data_type": Symbol(_TYPES[spec.dtype]),
                "dims": list(shapes[spec.name]),
                "zero_data": True,
            },
        }
        for spec in inputs
    ]
    return [{"name": "zeros", "batch_size": 1, "inputs": values}]


def _lines(fields: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _message(name, value, indent)
        elif isinstance(value, (list, tuple)):
            if any(isinstance(item, Mapping) for item in value):
                for item in value:
                    yield from _message(name, item, indent)
            else:
                yield f"{indent}{name}: [{', '.join(map(_scalar, value))}]"
        elif value is not None:
            yield f"{indent}{name}: {_scalar(value)}"


def _message(name: str, fields: Mapping[str, Any], indent: str) -> Iterator[str]:
    yield f"{indent}{name} {{"
    yield from _lines(fields, indent + "  ")
    yield f"{indent}}}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Symbol) or not isinstance(value, str):
        return str(value)
    return f'"{"".join(map(_escaped, value.encode()))}"'


def _escaped(byte: int) -> str:
    plain = 0x20 <= byte < 0x7F and chr(byte) not in '"\\'
    return chr(byte) if plain else f"\\{byte:03o}"
