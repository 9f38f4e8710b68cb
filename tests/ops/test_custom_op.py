"""The PyTorch operator: registration, errors, choice of implementation, gradient."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from golden_data import assert_close
from torch import Tensor

from vim_deploy.ops import selective_scan, use_scan
from vim_deploy.ops.gradient import differentiable_scan
from vim_deploy.ops.reference import selective_scan_reference
from vim_deploy.ops.signature import ATTRIBUTES, INPUT_NAMES, INPUTS, input_shapes

OPERATOR = torch.ops.vim_deploy.selective_scan
FLAGS = {"delta_softplus": True, "reverse": False}


def scan_inputs(
    batch: int = 2,
    length: int = 5,
    channels: int = 3,
    state: int = 4,
    dtype: torch.dtype = torch.float32,
    groups: int = 1,
) -> list[Tensor]:
    """Random inputs in the order of the signature."""
    random = torch.Generator().manual_seed(0)
    wide = torch.promote_types(dtype, torch.float32)
    sizes = {"batch": batch, "length": length, "channels": channels, "state": state}
    shapes = input_shapes(sizes, groups)
    values = {
        name: torch.randn(shape, generator=random, dtype=torch.float64) for name, shape in shapes.items()
    }
    values["A"] = -values["A"].exp()
    return [values[spec.name].to(wide if spec.float32 else dtype) for spec in INPUTS]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("needs_gradient", [False, True])
def test_registration_passes_the_checks_of_pytorch(needs_gradient, reverse):
    inputs = [tensor.requires_grad_(needs_gradient) for tensor in scan_inputs()]
    torch.library.opcheck(OPERATOR.default, (*inputs, True, reverse, 1))


def test_registration_of_an_ungated_scan_with_groups():
    inputs = [tensor.requires_grad_() for tensor in scan_inputs(channels=6, groups=3)]
    torch.library.opcheck(OPERATOR.default, (*_without_gate(inputs), True, False, 3))


def _without_gate(inputs: list[Tensor]) -> list[Tensor | None]:
    return [None if name == "z" else tensor for name, tensor in zip(INPUT_NAMES, inputs, strict=True)]


def test_schema_equals_the_contract():
    names = [argument.name for argument in OPERATOR.default._schema.arguments]
    assert names == [*INPUT_NAMES, *ATTRIBUTES]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reverse", [False, True])
def test_reference_on_request(dtype, reverse):
    inputs = scan_inputs(dtype=dtype)
    flags = {"delta_softplus": True, "reverse": reverse}
    with use_scan("reference"):
        y = selective_scan(*inputs, **flags)
    torch.testing.assert_close(y, selective_scan_reference(*inputs, **flags), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("position", "name", "shape"),
    [
        (1, "delta", (2, 5, 4)),
        (2, "A", (2, 4)),
        (3, "B", (2, 4, 5)),
        (5, "D", (1,)),
        (6, "z", (1, 5, 3)),
        (7, "delta_bias", (3, 1)),
    ],
)
def test_wrong_shape_is_named(position, name, shape):
    inputs = scan_inputs()
    inputs[position] = torch.zeros(shape)
    with pytest.raises(ValueError, match=rf"{name} is torch.float32 .*expected"):
        selective_scan(*inputs, **FLAGS)


def test_wrong_type_is_named():
    inputs = scan_inputs(dtype=torch.float16)
    inputs[2] = inputs[2].half()
    with pytest.raises(ValueError, match=r"A is torch.float16 .*expected torch.float32"):
        selective_scan(*inputs, **FLAGS)


@pytest.mark.parametrize("sizes", [{"length": 0}, {"channels": 0}, {"state": 0}])
def test_empty_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="1 or more"):
        selective_scan(*scan_inputs(**sizes), **FLAGS)


def test_empty_batch_gives_an_empty_result():
    assert selective_scan(*scan_inputs(batch=0), **FLAGS).shape == (0, 5, 3)


def test_unknown_implementation_is_refused():
    with pytest.raises(ValueError, match="expected 'auto', 'kernel' or 'reference'"), use_scan("fast"):
        pass


@pytest.mark.parametrize("reverse", [False, True])
def test_gradient_equals_finite_differences(reverse):
    inputs = [tensor.requires_grad_() for tensor in scan_inputs(1, 3, 2, 2, dtype=torch.float64)]
    assert torch.autograd.gradcheck(
        lambda *tensors: selective_scan(*tensors, delta_softplus=True, reverse=reverse), inputs
    )


def test_gradient_equals_the_reference():
    inputs = [tensor.requires_grad_() for tensor in scan_inputs(length=20)]
    gradients = torch.autograd.grad(selective_scan(*inputs, **FLAGS).square().sum(), inputs)
    expected = torch.autograd.grad(selective_scan_reference(*inputs, **FLAGS).square().sum(), inputs)
    for actual, reference in zip(gradients, expected, strict=True):
        assert_close(actual, reference, 1e-5)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_output_and_gradient_in_float64_equal_the_reference(length, reverse, groups, gated):
    inputs = scan_inputs(3, length, 6, 4, dtype=torch.float64, groups=groups)
    results = []
    for scan in (selective_scan_reference, selective_scan, differentiable_scan):
        tensors = [tensor.clone().requires_grad_() for tensor in inputs]
        given = tensors if gated else _without_gate(tensors)
        y = scan(*given, delta_softplus=True, reverse=reverse, groups=groups)
        used = [tensor for tensor in given if tensor is not None]
        results.append([y, *torch.autograd.grad(y.square().sum(), used)])
    reference, *others = results
    for other in others:
        for actual, expected in zip(other, reference, strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_a_function_replaces_the_operator_and_its_gradient():
    inputs = [tensor.requires_grad_() for tensor in scan_inputs()]

    def scan(u, *others, delta_softplus, reverse, groups):
        assert (len(others), delta_softplus, reverse, groups) == (7, True, False, 1)
        return 3 * u

    with use_scan(scan):
        y = selective_scan(*inputs, **FLAGS)
        with pytest.raises(ValueError, match="A is"):
            selective_scan(inputs[0], inputs[1], inputs[3], *inputs[3:], **FLAGS)
    (gradient,) = torch.autograd.grad(y.sum(), inputs[:1])
    assert (gradient == 3).all()


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Changes the number of PyTorch's threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_kernel_equals_the_reference(reverse, threads, set_threads):
    set_threads(threads)
    inputs = scan_inputs(batch=2, length=197, channels=70, state=16)
    flags = {"delta_softplus": True, "reverse": reverse}
    with use_scan("kernel"):
        y = selective_scan(*inputs, **flags)
    assert_close(y, selective_scan_reference(*(tensor.double() for tensor in inputs), **flags), 2e-6)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 5])
def test_kernel_equals_the_reference_with_groups_and_without_gate(groups, gated):
    inputs = scan_inputs(batch=2, length=50, channels=70, state=16, groups=groups)
    given = inputs if gated else _without_gate(inputs)
    wide = [None if tensor is None else tensor.double() for tensor in given]
    with use_scan("kernel"):
        y = selective_scan(*given, **FLAGS, groups=groups)
    assert_close(y, selective_scan_reference(*wide, **FLAGS, groups=groups), 2e-6)


@pytest.mark.parametrize("groups", [0, 2])
def test_groups_that_do_not_divide_the_channels_are_refused(groups):
    with pytest.raises(ValueError, match=f"groups is {groups} and channels 3"):
        selective_scan(*scan_inputs(), **FLAGS, groups=groups)


def test_a_missing_input_is_named():
    inputs = scan_inputs()
    inputs[5] = None
    with use_scan("reference"), pytest.raises((ValueError, RuntimeError), match="D"):
        selective_scan(*inputs, **FLAGS)


def test_kernel_reads_slices_of_projections():
    inputs = scan_inputs(batch=2, length=40, channels=24, state=16)
    u, delta, A, B, C, D, z, delta_bias = inputs
    wide = torch.cat([u, z], dim=-1)
    packed = torch.cat([torch.zeros(2, 40, 3), B, C], dim=-1)
    sliced = [wide[..., :24], delta, A, packed[..., 3:19], packed[..., 19:], D, wide[..., 24:], delta_bias]
    with use_scan("kernel"):
        assert torch.equal(selective_scan(*sliced, **FLAGS), selective_scan(*inputs, **FLAGS))


@pytest.mark.parametrize("length", [1, 6])
def test_kernel_supports_any_strides(length):
    inputs = scan_inputs(batch=3, length=length, channels=5, state=4)
    odd = [tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in inputs]
    with use_scan("kernel"):
        assert torch.equal(selective_scan(*odd, **FLAGS), selective_scan(*inputs, **FLAGS))


def test_kernel_on_request_refuses_other_types():
    with use_scan("kernel"), pytest.raises(ValueError, match=r"kernel takes float32 .*torch.float64"):
        selective_scan(*scan_inputs(dtype=torch.float64), **FLAGS)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"VIM_DEPLOY_ISA": "avx1024"}, "avx1024"),
        ({"VIM_DEPLOY_ORT_LIBRARY": "nowhere.so"}, "nowhere.so: no such file"),
    ],
    ids=["instruction set", "library"],
)
def test_there_is_no_fallback_if_the_library_cannot_be_used(environment, expected):
    code = (
        "import torch; from vim_deploy.ops import selective_scan\n"
        "x, a, n, d = torch.ones(1, 2, 3), -torch.ones(3, 4), torch.ones(1, 2, 4), torch.ones(3)\n"
        "selective_scan(x, x, a, n, n, d, x, d, delta_softplus=True, reverse=False)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert "OperatorLibraryError" in found.stderr
    assert expected in found.stderr
