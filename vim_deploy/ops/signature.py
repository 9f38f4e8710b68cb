"""The operator's signature: names, shapes and types as in plugins/selective_scan/README.md.

Python code with one entry per input or attribute of the operator is derived from these tuples. Imports no
framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

OP_DOMAIN = "vim_deploy"
OP_NAME = "SelectiveScan"
CONTRACT_VERSION = 2

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the operator.

    `shape`: one of SIZES per axis, or "groups x state". `float32`: float32 in every precision; all other
    tensors share one type. `optional`: nodes of a graph may leave it out. `kernel_optional`: the CPU kernel
    can be called without it.
    """

    name: str
    shape: tuple[str, ...]
    float32: bool = False
    optional: bool = False
    kernel_optional: bool = False


SIZES = ("batch", "length", "channels", "state")
_PROJECTED = "groups x state"
_SEQUENCE, _PROJECTION = ("batch", "length", "channels"), ("batch", "length", _PROJECTED)

INPUTS = (
    TensorSpec("u", _SEQUENCE),
    TensorSpec("delta", _SEQUENCE),
    TensorSpec("A", ("channels", "state"), float32=True),
    TensorSpec("B", _PROJECTION),
    TensorSpec("C", _PROJECTION),
    TensorSpec("D", ("channels",), float32=True, kernel_optional=True),
    TensorSpec("z", _SEQUENCE, optional=True, kernel_optional=True),
    TensorSpec("delta_bias", ("channels",), float32=True, kernel_optional=True),
)
OUTPUT = TensorSpec("y", _SEQUENCE)
FLAGS = ("delta_softplus", "reverse")  # integers, 0 or 1
ATTRIBUTES = (*FLAGS, "groups")  # integers; groups is 1 or more

INPUT_NAMES = tuple(spec.name for spec in INPUTS)
GATE = INPUT_NAMES.index("z")


def by_name(values: Sequence[T]) -> dict[str, T]:
    """Values in the order of INPUTS, by input name. Raises ValueError if there are more or fewer."""
    return dict(zip(INPUT_NAMES, values, strict=True))


def sizes_of(u: Sequence[T], A: Sequence[T]) -> dict[str, T]:
    """The values of SIZES, from the shapes of the inputs u and A."""
    return dict(zip(SIZES, (*u, A[1]), strict=True))


def input_shapes(sizes: Mapping[str, Any], groups: int = 1) -> dict[str, tuple[Any, ...]]:
    """The shape of each input by name; `sizes` has a value for each of SIZES, which may be symbolic."""
    known = {**sizes, _PROJECTED: groups * sizes["state"]}
    return {spec.name: tuple(known[size] for size in spec.shape) for spec in INPUTS}


def groups_error(groups: int, channels: Any) -> str:
    """Why the channels cannot be divided into this number of groups; empty if they can."""
    if groups >= 1 and channels % groups == 0:
        return ""
    return (
        f"groups is {groups} and channels {channels}; expected groups of 1 or more that divide the channels"
    )


def is_gated(node: Any) -> bool:
    """Whether an ONNX node of the operator has the input z."""
    return len(node.input) > GATE and bool(node.input[GATE])
