"""The CPU kernel through its Python binding, with the instruction set selected by the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ops.cases import CASES, random_inputs

from vim_deploy.ops import native
from vim_deploy.ops.library import instruction_set, usable_instruction_sets

FLAGS = {"delta_softplus": True, "reverse": False}


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_kernel_equals_the_expected_values(case):
    y = native.selective_scan(case.inputs, **case.attributes)
    case.check(y, "native")


@pytest.mark.parametrize("name", ["avx512", "avx2", "neon", "portable"])
def test_these_tests_pass_with_every_instruction_set(name):
    if name not in usable_instruction_sets():
        pytest.skip(f"this build on this CPU has {', '.join(usable_instruction_sets())}, not {name}")
    if name == instruction_set():
        pytest.skip(f"{name} is the one that the other tests in this file use")
    here = Path(__file__).parent
    tests = [str(here / "test_native_kernel.py"), str(here / "test_ort_operator.py")]
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "equals or bits or NaN",
            *tests,
        ],
        env={**os.environ, "VIM_DEPLOY_ISA": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]


@pytest.mark.parametrize("sizes", [(1, 197, 384, 16), (3, 50, 70, 20)])
def test_bits_do_not_depend_on_threads(sizes):
    inputs = random_inputs(*sizes)
    expected = native.selective_scan(inputs, **FLAGS)
    for threads in (2, 5):
        assert np.array_equal(native.selective_scan(inputs, **FLAGS, threads=threads), expected)


def test_bits_of_an_element_do_not_depend_on_the_batch():
    inputs = random_inputs(3, 40, 33, 16)
    together = native.selective_scan(inputs, **FLAGS)
    per_channel = ("A", "D", "delta_bias")
    for i in range(3):
        single = {name: array if name in per_channel else array[i : i + 1] for name, array in inputs.items()}
        assert np.array_equal(native.selective_scan(single, **FLAGS)[0], together[i])


@pytest.mark.parametrize("name", ["u", "delta", "B", "C", "z"])
def test_a_NaN_never_becomes_a_number(name):  # noqa: N802
    inputs = random_inputs(1, 40, 33, 16)
    clean = native.selective_scan(inputs, **FLAGS)
    inputs[name][0, 20, 5] = np.nan
    y = native.selective_scan(inputs, **FLAGS)
    assert np.isnan(y[0, 20, 5])
    assert np.array_equal(y[:, :20], clean[:, :20])
    if name in ("u", "delta"):  # stays in the state
        assert np.isnan(y[0, 20:, 5]).all()


def test_growth_beyond_float32_is_infinite():
    inputs = random_inputs(1, 4, 8, 16)
    inputs["A"][:] = 1000.0
    inputs["delta"][:] = 10.0
    inputs["C"][:] = np.abs(inputs["C"])
    y = native.selective_scan(inputs, **FLAGS)
    assert not np.isfinite(y[0, 1:]).any()


def test_slices_of_larger_tensors_are_read_and_written_in_place():
    sizes = {"batch": 2, "length": 30, "channels": 21, "state": 16}
    inputs = random_inputs(2, 30, 21, 16)
    expected = native.selective_scan(inputs, **FLAGS)
    # The output of one projection contains u and z, that of another delta, B and C.
    u_z = np.concatenate([inputs["u"], inputs["z"]], axis=-1)
    delta_B_C = np.concatenate([inputs["delta"], inputs["B"], inputs["C"]], axis=-1)
    wide = np.full((2, 30, 50), 7.0, np.float32)
    item = wide.itemsize
    pointers = {name: inputs[name].ctypes.data for name in ("A", "D", "delta_bias")}
    pointers |= {"u": u_z.ctypes.data, "z": u_z.ctypes.data + 21 * item, "y": wide.ctypes.data + 10 * item}
    pointers |= {
        name: delta_B_C.ctypes.data + offset * item for name, offset in {"delta": 0, "B": 21, "C": 37}.items()
    }
    pitches = {"u": 42, "z": 42, "delta": 53, "B": 53, "C": 53, "y": 50}
    native.run_scan(sizes, pointers, **FLAGS, pitches=pitches)
    assert np.array_equal(wide[..., 10:31], expected)
    assert (wide[..., :10] == 7).all()
    assert (wide[..., 31:] == 7).all()


@pytest.mark.parametrize(
    ("name", "shape"),
    [("delta", (1, 4, 8)), ("A", (5, 16)), ("B", (1, 5, 15)), ("D", (7,)), ("z", (2, 5, 8))],
)
def test_wrong_shape_is_named(name, shape):
    inputs = random_inputs(1, 5, 8, 16)
    inputs[name] = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=r"expected float32"):
        native.selective_scan(inputs, **FLAGS)


def test_channels_that_groups_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="groups is 3 and channels 8"):
        native.selective_scan(random_inputs(1, 5, 8, 16), **FLAGS, groups=3)


def test_a_group_equals_the_scan_of_its_channels():
    inputs = random_inputs(2, 50, 3 * 37, 16, 3)
    together = native.selective_scan(inputs, **FLAGS, groups=3)
    for group in range(3):
        part = {
            name: array[..., group * width : (group + 1) * width]
            if array.ndim != 2
            else array[group * 37 : (group + 1) * 37]
            for name, array in inputs.items()
            for width in [16 if name in ("B", "C") else 37]
        }
        assert np.array_equal(
            native.selective_scan(part, **FLAGS), together[..., group * 37 : (group + 1) * 37]
        )


def test_wrong_type_is_named():
    inputs = random_inputs(1, 5, 8, 16)
    inputs["z"] = inputs["z"].astype(np.float64)
    with pytest.raises(ValueError, match=r"z is float64 .*expected float32"):
        native.selective_scan(inputs, **FLAGS)
