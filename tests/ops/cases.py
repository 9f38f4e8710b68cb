"""The scan cases that every implementation is tested with, and the tolerance of each implementation.

Arrays are float32 and channels last, as in the contract. Expected values are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from golden_data import load_json, load_tensors
from numpy.typing import NDArray

from vim_deploy.ops.signature import ATTRIBUTES, INPUT_NAMES, INPUTS, input_shapes

# Inputs with one row per token.
SEQUENCES = tuple(spec.name for spec in INPUTS if "length" in spec.shape)
Arrays = dict[str, NDArray[Any] | None]


@dataclass(frozen=True)
class Tolerance:
    """The maximum difference, relative to the largest expected magnitude of the case."""

    relative: float
    reason: str


TOLERANCES = {
    "reference": Tolerance(
        1e-5, "float32 recurrence; recommended by the golden data, whose largest error is 2.0e-6"
    ),
    "native": Tolerance(2e-6, "float32 recurrence, exponential within 1.7e-7; largest error 4.0e-7 (len17)"),
    "onnxruntime": Tolerance(2e-6, "the same kernel as native"),
    "function": Tolerance(1e-5, "standard operators in float32, sums over states in any order"),
}


class ScanCase:
    """Inputs, flags and expected output of one scan; the arrays are created on first use."""

    def __init__(
        self,
        name: str,
        make: Callable[[], tuple[Arrays, NDArray[Any] | None]],
        *,
        delta_softplus: bool = True,
        reverse: bool = False,
        groups: int = 1,
        gated: bool = True,
    ) -> None:
        self.name = name
        self.delta_softplus = delta_softplus
        self.reverse = reverse
        self.groups = groups
        self.gated = gated
        self._make = make

    @property
    def attributes(self) -> dict[str, int]:
        """The attributes of the case's node."""
        return {name: int(getattr(self, name)) for name in ATTRIBUTES}

    @cached_property
    def _made(self) -> tuple[Arrays, NDArray[Any] | None]:
        return self._make()

    @property
    def inputs(self) -> Arrays:
        """The inputs by name; optional ones may be None."""
        return self._made[0]

    @cached_property
    def operator_inputs(self) -> dict[str, NDArray[Any]]:
        """The inputs of a node: zeros for an absent D or delta_bias, which is equivalent; z only if gated."""
        zeros = np.zeros(self.inputs["A"].shape[0], np.float32)
        filled = {name: zeros if array is None else array for name, array in self.inputs.items()}
        return {name: array for name, array in filled.items() if self.gated or name != "z"}

    @cached_property
    def expected(self) -> NDArray[Any]:
        """(batch, length, channels), float64."""
        known = self._made[1]
        return known if known is not None else scan_in_float64(self.inputs, **self.attributes)

    def check(self, y: NDArray[Any], backend: str) -> None:
        """Assert that a backend's float32 result is within its tolerance."""
        assert y.shape == self.expected.shape
        assert y.dtype == np.float32
        if not y.size:
            return
        difference = np.abs(y.astype(np.float64) - self.expected).max()
        scale = np.abs(self.expected).max()
        bound = TOLERANCES[backend].relative * scale
        assert difference <= bound, (
            f"{self.name}: off by {difference:.3g} at magnitude {scale:.3g}, bound {bound:.3g}"
        )

    def __repr__(self) -> str:
        return self.name


def scan_in_float64(inputs: Arrays, delta_softplus: bool, reverse: bool, groups: int = 1) -> NDArray[Any]:
    """The contract in float64, one token at a time."""
    u, delta, A, B, C, D, z, bias = (
        None if (array := inputs[name]) is None else array.astype(np.float64) for name in INPUT_NAMES
    )
    dt = delta if bias is None else delta + bias
    if delta_softplus:
        dt = np.where(dt > 20, dt, np.logaddexp(0.0, dt))
    # (batch, length, channels, state)
    B, C = (
        np.repeat(array.reshape(*array.shape[:2], groups, A.shape[1]), A.shape[0] // groups, axis=2)
        for array in (B, C)
    )
    h = np.zeros((u.shape[0], *A.shape))
    y = np.zeros(u.shape)
    steps = range(u.shape[1])
    for t in reversed(steps) if reverse else steps:
        h = np.exp(dt[:, t, :, None] * A) * h + (dt[:, t] * u[:, t])[..., None] * B[:, t]
        y[:, t] = (h * C[:, t]).sum(-1)
    if D is not None:
        y += D * u
    return y if z is None else y * z * np.exp(-np.logaddexp(0.0, -z))


# Golden cases that only the reference operator supports.
REFERENCE_ONLY = {
    case["name"]: "constant B or C" if not half else "float16 inputs"
    for case in load_json("op_selective_scan")["cases"]
    if (half := case["io_dtype"] != "float32") or not (case["variable_B"] and case["variable_C"])
}


@cache
def _golden_tensors() -> dict[str, NDArray[Any]]:
    return load_tensors("op_selective_scan")


def _golden_arrays(name: str, flip: bool) -> tuple[Arrays, NDArray[Any]]:
    tensors = _golden_tensors()
    arrays: Arrays = {key: tensors.get(f"{name}.{key}") for key in INPUT_NAMES}
    expected = tensors[f"{name}.out_f64"].swapaxes(1, 2)
    for key in SEQUENCES:
        if (array := arrays[key]) is not None:
            # Grouped projections are (batch, groups, state, length).
            array = np.moveaxis(array, -1, 1).reshape(array.shape[0], array.shape[-1], -1)
            arrays[key] = np.ascontiguousarray(array[:, ::-1] if flip else array)
    return arrays, expected[:, ::-1] if flip else expected


def _golden_cases() -> Iterator[ScanCase]:
    for case in load_json("op_selective_scan")["cases"]:
        name = case["name"]
        if name in REFERENCE_ONLY:
            continue
        flags = {
            "delta_softplus": case["delta_softplus"],
            "gated": case["has_z"],
            "groups": case["groups"] or 1,
        }
        yield ScanCase(name, lambda name=name: _golden_arrays(name, flip=False), **flags)
        if name in ("full", "no_z", "len17", "dim33", "dstate12", "dstate24", "group3_noz"):
            # The reverse scan of the flipped sequence has the flipped output.
            make = lambda name=name: _golden_arrays(name, flip=True)  # noqa: E731
            yield ScanCase(f"{name}-mirrored", make, reverse=True, **flags)


def random_inputs(
    batch: int, length: int, channels: int, state: int, groups: int = 1, *, gated: bool = True
) -> Arrays:
    """Values like those of a trained network: time steps around 0.05, decays from 1 to `state`."""
    generator = np.random.default_rng([0, batch, length, channels, state])
    sizes = {"batch": batch, "length": length, "channels": channels, "state": state}
    shapes = input_shapes(sizes, groups)
    arrays = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    arrays["A"] = -np.arange(1, state + 1) * np.exp(0.3 * arrays["A"])
    arrays["z"] = 2 * arrays["z"]
    arrays["delta_bias"] = arrays["delta_bias"] - 3
    made: Arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    return made if gated else {**made, "z": None}


# (batch, length, channels, state): the tokens of 224, 432 and 1248 pixels with a class token, channels on
# both sides of every vector and task width, states on both sides of the tuned 16, nothing at all.
_SIZES = (
    (1, 1, 1, 1),
    (2, 1, 384, 16),
    (2, 197, 48, 16),
    (1, 730, 33, 16),
    (1, 6085, 20, 16),
    (3, 32, 31, 16),
    (1, 33, 65, 17),
    (2, 31, 15, 7),
    (1, 64, 17, 33),
    (1, 5, 9, 300),
    (0, 12, 8, 16),
)
# Sizes, groups, gated: the ungated mixer of MambaVision, the four directions of a cross scan, groups that are
# smaller and larger than a vector or a task.
_FORMS = (
    (1, 196, 160, 8, 1, False),
    (2, 49, 4 * 24, 1, 4, False),
    (2, 49, 4 * 96, 16, 4, False),
    (1, 33, 2 * 70, 17, 2, True),
    (2, 1030, 3 * 33, 16, 3, True),
    (2, 7, 12, 5, 12, True),
    (0, 7, 12, 5, 3, False),
)


def _generated_cases() -> Iterator[ScanCase]:
    for sizes in _SIZES:
        for reverse in (False, True):
            name = "x".join(map(str, sizes)) + ("-reverse" if reverse else "")
            yield ScanCase(name, lambda sizes=sizes: (random_inputs(*sizes), None), reverse=reverse)
    for *sizes, groups, gated in _FORMS:
        name = "x".join(map(str, sizes)) + f"-groups{groups}" + ("" if gated else "-ungated")
        make = lambda sizes=sizes, groups=groups, gated=gated: (  # noqa: E731
            random_inputs(*sizes, groups, gated=gated),
            None,
        )
        yield ScanCase(name, make, groups=groups, gated=gated, reverse=groups % 2 == 0)


CASES = (*_golden_cases(), *_generated_cases())
