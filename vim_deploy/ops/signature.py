"""The operator's signature: names, shapes and types as in plugins/selective_scan/README.md.

Python code with one entry per input or attribute of the operator is derived from these tuples. Imports no
framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

OP_DOMAIN = "vim_deploy"
OP_NAME = "SelectiveScan"
CONTRACT_VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the operator.

    `shape`: one of SIZES per axis. `float32`: float32 in every precision; all other tensors share one type.
    `optional`: the CPU kernel can be called without it; nodes of a graph always have all inputs.
    """

    name: str
    shape: tuple[str, ...]
    float32: bool = False
    optional: bool = False


SIZES = ("batch", "length", "channels", "state")
_SEQUENCE, _PROJECTION = ("batch", "length", "channels"), ("batch", "length", "state")

INPUTS = (
    TensorSpec("u", _SEQUENCE),
    TensorSpec("delta", _SEQUENCE),
    TensorSpec("A", ("channels", "state"), float32=True),
    TensorSpec("B", _PROJECTION),
    TensorSpec("C", _PROJECTION),
    TensorSpec("D", ("channels",), float32=True, optional=True),
    TensorSpec("z", _SEQUENCE, optional=True),
    TensorSpec("delta_bias", ("channels",), float32=True, optional=True),
)
OUTPUT = TensorSpec("y", _SEQUENCE)
ATTRIBUTES = ("delta_softplus", "reverse")  # integers, 0 or 1

INPUT_NAMES = tuple(spec.name for spec in INPUTS)


def by_name(values: Sequence[T]) -> dict[str, T]:
    """Values in the order of INPUTS, by input name. Raises ValueError if there are more or fewer."""
    return dict(zip(INPUT_NAMES, values, strict=True))


def sizes_of(u: Sequence[T], A: Sequence[T]) -> dict[str, T]:
    """The values of SIZES, from the shapes of the inputs u and A."""
    return dict(zip(SIZES, (*u, A[1]), strict=True))


def input_shapes(sizes: Mapping[str, T]) -> dict[str, tuple[T, ...]]:
    """The shape of each input by name; `sizes` has a value for each of SIZES."""
    return {spec.name: tuple(sizes[size] for size in spec.shape) for spec in INPUTS}
