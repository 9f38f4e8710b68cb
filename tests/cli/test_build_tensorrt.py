"""The command vim-build --backend tensorrt, with fakes of TensorRT and the GPU."""

from __future__ import annotations

import json
from functools import partial

import commands
import pytest
from small_exports import small_export
from tensorrt_environment import Environment

from vim_deploy.cli.build import main
from vim_deploy.engines.container import read_manifest

pytest.importorskip("onnxruntime", reason="the fake's engines are run by onnxruntime")


@pytest.fixture
def place(tmp_path, monkeypatch):
    made = Environment(tmp_path, monkeypatch)
    made.install(10)
    (tmp_path / "model.onnx").write_bytes(small_export("fp16"))
    monkeypatch.chdir(tmp_path)
    return made


run = partial(commands.invoke, main)


def test_the_default_device_is_cuda(place):
    result = run("model.onnx", "-o", "model.engine", "--backend", "tensorrt", "--max-batch", 4, "--refit")
    assert result.exit_code == 0, result.output
    manifest = read_manifest("model.engine")
    assert (manifest.device, manifest.precision) == ("cuda", "fp16")
    assert manifest.build_info["batches"] == [1, 4, 4]
    assert manifest.options.refit is True
    assert "tensorrt on cuda, fp16, selective scan: plugin, differs from model.onnx by" in result.stderr


def test_json_names_the_environment(place):
    result = run("model.onnx", "-o", "model.engine", "--backend", "tensorrt", "--json", "--quiet")
    environment = json.loads(result.stdout)["environment"]
    assert set(environment) == {"tensorrt", "gpu", "operator_contract", "plugin_sha256"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "tensorrt", "--threads", "2"), "--threads: only valid with --backend onnxruntime"),
        (("--backend", "tensorrt", "--no-library"), "--no-library: only valid with --backend onnxruntime"),
        (("--max-batch", "2", "--strip"), "--max-batch, --strip: only valid with --backend tensorrt"),
        (("--backend", "tensorrt", "--device", "cpu"), "device is 'cpu'; expected cuda"),
        (("--backend", "tensorrt", "--builder-level", "6"), "--builder-level"),
        ((), "the operator library computes only in fp32"),
    ],
)
def test_incompatible_options(place, arguments, message):
    result = run("model.onnx", "-o", "model.engine", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (place.folder / "model.engine").exists()


def test_without_onnxruntime_the_summary_says_not_compared(place, monkeypatch):
    from vim_deploy.engines.tensorrt import backend as tensorrt
    from vim_deploy.errors import MissingDependencyError

    def missing(source, pixels):
        raise MissingDependencyError("onnxruntime does not load")

    monkeypatch.setattr(tensorrt, "reference_outputs", missing)
    result = run("model.onnx", "-o", "model.engine", "--backend", "tensorrt")
    assert result.exit_code == 0, result.output
    assert "is NOT compared with model.onnx: onnxruntime does not load" in result.stderr
    assert read_manifest("model.engine").self_check["compared"] is False
