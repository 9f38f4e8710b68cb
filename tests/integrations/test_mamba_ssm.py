"""Public code that imports mamba_ssm: with the modules that we provide, and with a real package."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from golden_data import assert_close

from vim_deploy.errors import ExportError
from vim_deploy.integrations import mamba_functions
from vim_deploy.integrations.mamba_ssm import exportable, install
from vim_deploy.ops import use_scan

INTERFACE = "mamba_ssm.ops.selective_scan_interface"


@pytest.fixture(autouse=True)
def _same_modules():
    before = dict(sys.modules)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("mamba_ssm", "causal_conv1d")]:
        if name not in before:
            del sys.modules[name]


def test_install_lists_what_it_provides_and_undoes_it():
    with install() as installed:
        interface = importlib.import_module(INTERFACE)
        assert interface.selective_scan_fn is mamba_functions.selective_scan_fn
        from causal_conv1d import causal_conv1d_fn
        from mamba_ssm.ops.triton.layer_norm import RMSNorm, rms_norm_fn

        assert (causal_conv1d_fn, RMSNorm) == (mamba_functions.causal_conv1d_fn, mamba_functions.RMSNorm)
        assert rms_norm_fn is mamba_functions.rms_norm_fn
        assert importlib.util.find_spec("mamba_ssm") is not None
        assert set(installed.modules) == {name for name in sys.modules if name in installed.modules}
        assert {INTERFACE, "mamba_ssm", "causal_conv1d"} <= set(installed.modules)
        assert install().modules == ()
    assert not set(installed.modules) & set(sys.modules)
    with pytest.raises(ImportError):
        importlib.import_module(INTERFACE)


def test_importing_the_integration_changes_nothing():
    code = (
        "import sys\nimport vim_deploy.integrations.mamba_ssm\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('mamba_ssm', 'causal_conv1d')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_checkout_without_its_extensions_keeps_its_python_modules(tmp_path, monkeypatch):
    package = tmp_path / "mamba_ssm"
    for folder in ("ops", "modules"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").touch()
    (package / "__init__.py").write_text(
        "from mamba_ssm.ops.selective_scan_interface import selective_scan_fn\n"
    )
    (package / "ops" / "selective_scan_interface.py").write_text("import selective_scan_cuda\n")
    (package / "modules" / "mixer.py").write_text(
        "from mamba_ssm.ops.selective_scan_interface import mamba_inner_fn\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with install() as installed:
        assert INTERFACE in installed.modules and "mamba_ssm" not in installed.modules
        mixer = importlib.import_module("mamba_ssm.modules.mixer")
        assert mixer.mamba_inner_fn is mamba_functions.mamba_inner_fn


def real_package(monkeypatch):
    """A package whose functions stand for the real ones, and a network that imported them in two forms."""

    def selective_scan_fn(*arguments):
        raise AssertionError("the real function was called")

    module = types.ModuleType(INTERFACE)
    module.selective_scan_fn = selective_scan_fn
    user = types.ModuleType("public_network")
    user.scan = selective_scan_fn

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Identity()
            self.inner.selective_scan = selective_scan_fn

    for name, item in (
        ("mamba_ssm", types.ModuleType("mamba_ssm")),
        (INTERFACE, module),
        ("public_network", user),
    ):
        monkeypatch.setitem(sys.modules, name, item)
    return module, user, Network()


def test_exportable_replaces_the_real_functions_everywhere_and_restores_them(monkeypatch):
    module, user, network = real_package(monkeypatch)
    real = module.selective_scan_fn
    with exportable(network) as replaced:
        assert {f"{INTERFACE}.selective_scan_fn", "public_network.scan", "inner.selective_scan"} <= set(
            replaced
        )
        assert user.scan is network.inner.selective_scan is mamba_functions.selective_scan_fn
    assert user.scan is network.inner.selective_scan is module.selective_scan_fn is real


def test_exportable_restores_after_an_error(monkeypatch):
    module, user, network = real_package(monkeypatch)
    real = module.selective_scan_fn
    with pytest.raises(KeyError), exportable(network):
        raise KeyError
    assert user.scan is module.selective_scan_fn is real


def test_exportable_without_the_packages_replaces_nothing():
    with exportable() as replaced:
        assert replaced == ()


def test_install_refuses_where_the_real_package_works(monkeypatch):
    real_package(monkeypatch)
    with pytest.raises(ExportError, match="exportable"):
        install()


def inner_inputs(batch=2, length=9, inner=6, rank=2, state=4, embed=5):
    random = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=random)

    return {
        "xz": draw(batch, 2 * inner, length),
        "conv1d_weight": draw(inner, 1, 4),
        "conv1d_bias": draw(inner),
        "x_proj_weight": draw(rank + 2 * state, inner),
        "delta_proj_weight": draw(inner, rank),
        "out_proj_weight": draw(embed, inner),
        "out_proj_bias": draw(embed),
        "A": -draw(inner, state).exp(),
        "D": draw(inner),
        "delta_bias": draw(inner),
    }


def test_inner_function_equals_its_parts():
    values = inner_inputs()
    y = mamba_functions.mamba_inner_fn(**values)
    u, z = values["xz"].chunk(2, dim=1)
    u = F.silu(F.conv1d(u, values["conv1d_weight"], values["conv1d_bias"], padding=3, groups=6)[..., :9])
    dt, B, C = (values["x_proj_weight"] @ u).split([2, 4, 4], dim=1)
    with use_scan("reference"):
        scanned = mamba_functions.selective_scan_fn(
            u, values["delta_proj_weight"] @ dt, values["A"], B, C, values["D"], z, values["delta_bias"], True
        )
    expected = F.linear(scanned.transpose(1, 2), values["out_proj_weight"], values["out_proj_bias"])
    assert_close(y, expected, 1e-5)
    del values["out_proj_weight"], values["out_proj_bias"]
    assert_close(mamba_functions.mamba_inner_fn_no_out_proj(**values), scanned, 1e-5)


def test_given_projections_and_their_biases_are_used():
    values = inner_inputs()
    full = mamba_functions.mamba_inner_fn(**values)
    u = mamba_functions.causal_conv1d_fn(
        values["xz"][:, :6], values["conv1d_weight"][:, 0], values["conv1d_bias"], activation="silu"
    )
    _, B, C = (values["x_proj_weight"] @ u).split([2, 4, 4], dim=1)
    assert_close(mamba_functions.mamba_inner_fn(**values, B=B, C=C), full, 1e-6)
    shifted = mamba_functions.mamba_inner_fn(**values, B_proj_bias=torch.ones(4), C_proj_bias=torch.ones(4))
    assert_close(shifted, mamba_functions.mamba_inner_fn(**values, B=B + 1, C=C + 1), 1e-6)


def test_bidirectional_function_adds_the_scan_of_the_flipped_sequence():
    values = inner_inputs()
    A_b = values["A"] * 0.5
    both = mamba_functions.bimamba_inner_fn(**values, A_b=A_b)
    forward = mamba_functions.mamba_inner_fn(**values)
    u, delta, B, C, z = mamba_functions._inner_inputs(
        *(values[name] for name in ("xz", "conv1d_weight", "conv1d_bias", "x_proj_weight")),
        *(values["delta_proj_weight"], values["A"], None, None, None, None),
    )
    u, delta, B, C, z = (tensor.flip(-1) for tensor in (u, delta, B, C, z))
    back = mamba_functions.selective_scan_fn(u, delta, A_b, B, C, values["D"], z, values["delta_bias"], True)
    expected = forward + F.linear(back.flip(-1).transpose(1, 2), values["out_proj_weight"])
    assert_close(both, expected, 1e-5)


@pytest.mark.parametrize("activation", [None, "silu"])
def test_causal_convolution_does_not_see_later_tokens(activation):
    x, weight, bias = torch.randn(2, 3, 8), torch.randn(3, 4), torch.randn(3)
    y = mamba_functions.causal_conv1d_fn(x, weight, bias, activation=activation)
    expected = (
        sum(weight[:, k, None] * F.pad(x, (3 - k, 0))[..., : x.shape[-1]] for k in range(4)) + bias[:, None]
    )
    assert_close(y, expected if activation is None else F.silu(expected), 1e-5)
    changed = x.clone()
    changed[..., 5:] += 1
    assert torch.equal(
        mamba_functions.causal_conv1d_fn(changed, weight, bias, activation=activation)[..., :5], y[..., :5]
    )


def test_convolving_one_token_is_refused():
    """Public code imports the function together with causal_conv1d_fn."""
    with install():
        from causal_conv1d import causal_conv1d_update

    with pytest.raises(ValueError, match="one token at a time"):
        causal_conv1d_update(torch.ones(1, 2), torch.ones(1, 2, 3), torch.ones(2, 3))


def test_causal_convolution_of_parts_is_refused():
    x, weight = torch.randn(2, 3, 8), torch.randn(3, 4)
    with pytest.raises(ValueError, match="seq_idx"):
        mamba_functions.causal_conv1d_fn(x, weight, return_final_states=True)
    with pytest.raises(ValueError, match="activation is 'relu'"):
        mamba_functions.causal_conv1d_fn(x, weight, activation="relu")


def test_norms():
    x, residual = torch.randn(2, 5, 8).half(), torch.randn(2, 5, 8)
    norm = mamba_functions.RMSNorm(8, eps=1e-3)
    y, total = norm(x, residual, prenorm=True, residual_in_fp32=True)
    assert y.dtype == torch.float16 and total.dtype == torch.float32
    assert torch.equal(total, x.float() + residual)
    assert_close(y.detach().float(), F.rms_norm(total, (8,), eps=1e-3), 1e-3)
    weight, bias = torch.randn(8), torch.randn(8)
    assert_close(
        mamba_functions.layer_norm_fn(residual, weight, bias),
        F.layer_norm(residual, (8,), weight, bias, 1e-6),
        1e-6,
    )
