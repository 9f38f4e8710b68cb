"""Public networks that use a selective scan: the exported file with and without the operator library against
the eager network with the reference scan. `make test-networks` installs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import public
import pytest
import torch

import vim_deploy
from vim_deploy.engines.onnxruntime.session import make_session
from vim_deploy.ops import ort_library, use_scan

TOLERANCE = 1e-4  # of the largest value; rounding of float32 in another order gives about 1e-6
IMAGES = 20


def runs(path: Path, feeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The first output for all feeds, by how the file was run."""
    found = {}
    for how, library in (("library", ort_library()), ("function body", None)):
        session = make_session(path, library=library)
        found[how] = np.concatenate([session.run(None, feed)[0] for feed in feeds])
    return found


@pytest.fixture(scope="module")
def mambavision(tmp_path_factory):
    network = public.mambavision()
    path = tmp_path_factory.mktemp("mambavision") / "tiny.onnx"
    result = vim_deploy.export_module(
        network, torch.zeros(1, 3, 224, 224), path, task="classify", batch_size=1
    )
    return network, path, result


def test_mambavision_equals_the_eager_network(mambavision):
    network, path, _ = mambavision
    pixels = np.random.default_rng(0).standard_normal((IMAGES, 3, 224, 224), np.float32)
    with use_scan("reference"), torch.inference_mode():
        expected = torch.cat([network(image) for image in torch.from_numpy(pixels).split(1)]).numpy()
    for how, found in runs(path, [{"pixels": pixels[i : i + 1]} for i in range(IMAGES)]).items():
        relative = np.abs(found - expected).max() / np.abs(expected).max()
        assert relative <= TOLERANCE, how
        assert (found.argmax(1) == expected.argmax(1)).all(), how


def test_mambavision_has_its_scans_and_its_preprocessing(mambavision):
    import onnx

    _, path, result = mambavision
    scans = [node for node in onnx.load(path).graph.node if node.op_type == "SelectiveScan"]
    assert len(scans) == 6 and all(node.input[6] == "" for node in scans)
    assert result.metadata.preprocessing.crop_ratio == 1.0


def test_mambavision_with_a_dynamic_batch_equals_the_eager_network(tmp_path):
    """Its code computes the batch size with int()."""
    network, path = public.mambavision(), tmp_path / "tiny.onnx"
    vim_deploy.export_module(network, torch.zeros(1, 3, 224, 224), path, task="classify")
    pixels = np.random.default_rng(1).standard_normal((3, 3, 224, 224), np.float32)
    with use_scan("reference"), torch.inference_mode():
        expected = network(torch.from_numpy(pixels)).numpy()
    for feeds in ([{"pixels": pixels}], [{"pixels": pixels[:1]}, {"pixels": pixels[1:]}]):
        for how, found in runs(path, feeds).items():
            assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max(), how


def test_prefill_of_transformers_equals_the_eager_network(tmp_path):
    network, path = public.mamba_language_model(), tmp_path / "prefill.onnx"
    tokens = torch.randint(0, 200, (2, 12), generator=torch.Generator().manual_seed(0))
    vim_deploy.export_module(
        network, {"tokens": tokens}, path, dynamic_axes={"tokens": {0: "batch", 1: "length"}}
    )
    for length in (3, 64):
        given = torch.randint(0, 200, (2, length), generator=torch.Generator().manual_seed(length))
        with use_scan("reference"), torch.inference_mode():
            expected = network(given).numpy()
        for how, found in runs(path, [{"tokens": given.numpy()}]).items():
            assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max(), how
            assert (found.argmax(-1) == expected.argmax(-1)).all(), how
