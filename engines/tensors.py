"""Inputs and outputs of an engine: names, types, shapes and batch sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vim_deploy.errors import EngineError

MAX_ELEMENTS = 1 << 29  # of a tensor whose size is known before a run
NUMBERS = tuple(
    np.dtype(kind).name for kind in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
)


@dataclass(frozen=True)
class TensorSpec:
    """Name, numpy type name and shape of an input or output; None is a dynamic size."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TensorSpec:
        """Reads `to_dict`. Raises TypeError, KeyError or ValueError for anything else."""
        if type(values["shape"]) is not list:
            raise TypeError(f"shape {values['shape']!r:.100}")
        shape = tuple(values["shape"])
        if not all(size is None or (type(size) is int and size >= 0) for size in shape):
            raise ValueError(f"shape {shape!r}")
        name, dtype = values["name"], values["dtype"]
        if type(name) is not str or dtype not in NUMBERS:
            raise ValueError(f"tensor {name!r:.100} of type {dtype!r:.100}")
        return cls(name, dtype, shape)

    def check(self, array: np.ndarray) -> None:
        """Raises EngineError unless the array has this type and shape; nothing is converted."""
        expected = ", ".join("any" if size is None else str(size) for size in self.shape)
        fits = len(array.shape) == len(self.shape) and all(
            size is None or size == given for size, given in zip(self.shape, array.shape, strict=True)
        )
        if not fits or 0 in array.shape:
            raise EngineError(f"{self.name} has shape {array.shape}; the engine expects ({expected}).")
        if array.dtype != np.dtype(self.dtype):
            raise EngineError(
                f"{self.name} has type {array.dtype}; the engine expects {self.dtype}. "
                f"Convert it with .astype({self.dtype!r})."
            )


@dataclass(frozen=True)
class BatchRange:
    """The batch sizes that an engine runs, both ends included; `largest` None: no limit."""

    smallest: int = 1
    largest: int | None = None

    @classmethod
    def of(cls, input: TensorSpec) -> BatchRange:
        """The range of an input with a fixed batch size, or with a dynamic one without limits.

        An input without axes is one element.
        """
        fixed = input.shape[0] if input.shape else 1
        return cls() if fixed is None else cls(fixed, fixed)

    @property
    def fixed(self) -> bool:
        return self.smallest == self.largest

    def contains(self, size: int) -> bool:
        return self.smallest <= size and (self.largest is None or size <= self.largest)

    def nearest(self, size: int) -> int:
        """`size`, limited to the range."""
        return max(self.smallest, size if self.largest is None else min(size, self.largest))

    def __str__(self) -> str:
        if self.fixed:
            return str(self.smallest)
        return f"{self.smallest} {'or more' if self.largest is None else f'to {self.largest}'}"
