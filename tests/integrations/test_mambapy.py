"""mambapy, a public package (MIT), with `use_cuda`: through the drop-in, and exported."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vim_deploy
from vim_deploy.integrations.mamba_ssm import install

mamba = pytest.importorskip("mambapy.mamba", reason="mambapy is not installed (extra `test`)")

SIZES = {"d_model": 32, "n_layers": 2, "d_state": 8}


@pytest.fixture(scope="module")
def networks():
    """The same weights twice: its own pure PyTorch path, and the path that imports mamba_ssm."""
    torch.manual_seed(0)
    plain = mamba.Mamba(mamba.MambaConfig(**SIZES, pscan=False)).eval()
    with install():
        config = mamba.MambaConfig(**SIZES, use_cuda=True)
        ours = mamba.Mamba(config).eval()
    assert config.use_cuda  # it would have fallen back without mamba_ssm
    ours.load_state_dict(plain.state_dict())
    return plain, ours


@pytest.mark.parametrize("sizes", [(1, 1), (2, 50), (3, 129)])
def test_equals_its_own_path(networks, sizes):
    x = torch.randn(*sizes, SIZES["d_model"], generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = (network(x) for network in networks)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_gradients_equal_those_of_its_own_path(networks):
    x = torch.randn(2, 20, SIZES["d_model"], generator=torch.Generator().manual_seed(1))
    gradients = []
    for network in networks:
        loss = network(x).square().sum()
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
    for expected, found in zip(*gradients, strict=True):
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_export_equals_its_own_path(networks, tmp_path):
    plain, ours = networks
    example = torch.randn(2, 9, SIZES["d_model"], generator=torch.Generator().manual_seed(2))
    axes = {"x": {0: "batch", 1: "length"}}
    vim_deploy.export_module(ours, {"x": example}, tmp_path / "x.onnx", dynamic_axes=axes)
    with vim_deploy.load(tmp_path / "x.onnx") as model:
        for sizes in ((1, 3), (2, 70)):
            x = torch.randn(*sizes, SIZES["d_model"], generator=torch.Generator().manual_seed(3))
            with torch.inference_mode():
                expected = plain(x).numpy()
            found = model.run(x=x)["output"]
            assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
