"""Reading the layers of a built engine back, and refusing one in another precision than its file.

All tests use fakes (tests/fake_tensorrt.py), because TensorRT does not start without a GPU.
"""

from __future__ import annotations

import json

import pytest
from small_exports import BLOCKS
from tensorrt_environment import Environment

from vim_deploy.engines.container import read_manifest
from vim_deploy.errors import EngineError

pytest.importorskip("onnxruntime", reason="the fake's engines are run by onnxruntime")


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Environment(tmp_path, monkeypatch)


@pytest.mark.parametrize("major", [8, 10, 11])
def test_an_fp32_engine_of_an_fp16_file_is_refused(place, major):
    place.install(major)
    place.recorder.ignores_types = True
    with pytest.raises(EngineError, match=r"the file is in fp16, but TensorRT built layers\.0.* in fp32"):
        place.build("fp16", layers=place.folder / "layers.json")
    assert not (place.folder / "built.engine").exists()
    # The layers are written for inspection.
    assert json.loads((place.folder / "layers.json").read_text())["Layers"]


def test_an_engine_without_layer_types_is_refused(place):
    place.install(10)
    place.recorder.plain_names = True
    with pytest.raises(EngineError, match="0 selective scans, the graph 4"):
        place.build("fp16")


@pytest.mark.parametrize(
    "fields",
    [
        lambda text: {"Format/Datatype": f"Row major linear {text.replace('Half', 'FP16')}"},
        lambda text: {"Datatype": text.replace("Half", "Float16"), "Format": "Linear"},
        lambda text: {"DataType": text.lower(), "Format": "Row major linear FP32 or FP16"},
        lambda text: {"Format": f"Channel major {text.replace('Half', 'FP16').replace('Float', 'FP32')}"},
    ],
    ids=["8.6", "11", "a type before a format", "only a format"],
)
@pytest.mark.parametrize("keeps", [True, False])
def test_types_are_read_in_all_spellings(place, fields, keeps):
    place.install(11)
    place.recorder.tensor_fields, place.recorder.ignores_types = fields, not keeps
    if keeps:
        assert read_manifest(place.build("fp16")).build_info["layers"]["block_matmuls"] >= 4 * BLOCKS
    else:
        with pytest.raises(EngineError, match=r"the file is in fp16, but TensorRT built .* in fp32"):
            place.build("fp16")


def test_matmuls_are_found_by_their_names_in_the_metadata(place):
    place.install(10)
    place.recorder.own_names = True
    assert read_manifest(place.build("fp16")).build_info["layers"]["block_matmuls"] >= 4 * BLOCKS


def test_unidentified_matmuls_are_a_warning(place, caplog, monkeypatch):
    from vim_deploy.engines.tensorrt import readback as tensorrt_readback

    monkeypatch.setattr(tensorrt_readback, "_is_block_matmul", lambda layer, graph: False)
    place.install(10)
    place.build("fp16")
    assert "does not show which layers are matmuls" in caplog.text
