"""Optimization profiles of TensorRT engines with dynamic and with fixed height and width.

The tests use fakes of TensorRT, the driver and pycuda (tests/fake_*.py).
"""

from __future__ import annotations

import commands
import numpy as np
import onnx
import pytest
from changed_engine import changed_engine
from onnx import TensorProto, helper, numpy_helper
from small_onnx import finish, metadata, save
from tensorrt_environment import Environment

from vim_deploy import load
from vim_deploy.cli.build import main
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.errors import EngineError

pytest.importorskip("onnxruntime", reason="the fake's engines are run by onnxruntime")


@pytest.fixture
def place(tmp_path, monkeypatch):
    made = Environment(tmp_path, monkeypatch)
    made.install(10)
    return made


def open_model(height: int | str = "height", width: int | str = "width") -> onnx.ModelProto:
    """The pixels times ten; the preprocessing gives 8 x 8."""
    shape = ["batch", 3, height, width]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("pixels", "features")
    ]
    ten = numpy_helper.from_array(np.array(10, np.float32), "ten")
    node = helper.make_node("Mul", ["pixels", "ten"], ["features"], "times")
    return finish(helper.make_graph([node], "maps", values[:1], values[1:], [ten]), metadata(task="features"))


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def test_a_dynamic_size_has_a_profile_and_every_size_in_it_runs(place):
    model = save(open_model(), place.folder / "open.onnx")
    sizes = {"min_size": (4, 4), "opt_size": (8, 8), "max_size": (16, 32)}
    engine = place.build_file(model, max_batch=2, **sizes)
    assert place.recorder.named("set_shape") == [("pixels", (1, 3, 4, 4), (2, 3, 8, 8), (2, 3, 16, 32))]
    assert read_manifest(engine).build_info["sizes"] == [[4, 4], [8, 8], [16, 32]]
    with load(engine) as opened:
        for shape in ((1, 3, 4, 4), (2, 3, 16, 32), (1, 3, 8, 12), (1, 3, 8, 12), (2, 3, 4, 32)):
            x = pixels(*shape)
            assert np.array_equal(opened.run(x)["features"], 10 * x)
        for wrong in ((1, 3, 3, 8), (1, 3, 8, 33)):
            given = "x".join(map(str, wrong[2:]))
            with pytest.raises(
                EngineError, match=f"pixels of {given}; the engine was built for 4x4 to 16x32"
            ):
                opened.run(pixels(*wrong))


def test_a_dynamic_size_defaults_to_that_of_the_preprocessing(place):
    engine = place.build_file(save(open_model(), place.folder / "open.onnx"))
    assert read_manifest(engine).build_info["sizes"] == [[8, 8]] * 3


def test_one_side_may_be_fixed(place):
    model = save(open_model(height=8), place.folder / "wide.onnx")
    engine = place.build_file(model, max_size=(8, 64))
    assert read_manifest(engine).build_info["sizes"] == [[8, 8], [8, 8], [8, 64]]
    with pytest.raises(EngineError, match="the fixed height 8, so its profile cannot have 16x64"):
        place.build_file(model, max_size=(16, 64))


def test_size_options_must_match_fixed_sizes(place):
    with pytest.raises(EngineError, match=r"the fixed height 16.*dynamic sizes. vim-export fixes them"):
        place.build("fp32", min_size=(8, 8))
    engine = place.build("fp32", opt_size=(16, 32))  # the fixed size
    assert read_manifest(engine).build_info["sizes"] == [[16, 32]] * 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ((8, 8), (8, 8), (8, 8))),
        ({"max_size": (64, 32)}, ((8, 8), (8, 8), (64, 32))),
        ({"min_size": (16, 4)}, ((16, 4), (16, 8), (16, 8))),
        ({"max_size": (4, 4)}, ((4, 4), (4, 4), (4, 4))),
        ({"opt_size": (32, 32)}, ((32, 32), (32, 32), (32, 32))),
    ],
)
def test_sizes_default_to_the_preprocessing_within_the_limits(given, expected):
    assert TensorrtOptions(**given).sizes((None, None), (8, 8)) == expected


@pytest.mark.parametrize(
    "given", [{"min_size": (9, 8), "opt_size": (8, 8)}, {"opt_size": (8, 9), "max_size": (8, 8)}]
)
def test_sizes_out_of_order_are_refused(given):
    with pytest.raises(EngineError, match=r"expected 1 <= min <= opt <= max in height and in width"):
        TensorrtOptions(**given).sizes((None, None), (8, 8))


def test_a_profile_without_the_size_of_the_preprocessing_is_a_warning(place, caplog):
    place.build_file(save(open_model(), place.folder / "open.onnx"), min_size=(16, 16), max_size=(32, 32))
    assert "vim-infer cannot use this engine: the model's preprocessing gives 8x8" in caplog.text


def test_a_manifest_with_invalid_sizes_is_refused(place):
    engine = place.build_file(save(open_model(), place.folder / "open.onnx"))
    build_info = {**read_manifest(engine).build_info, "sizes": [[8, 8]]}
    with pytest.raises(EngineError, match=r"the sizes .* build the engine again"):
        load(changed_engine(engine, build_info=build_info))


def test_the_command_accepts_sizes(place, monkeypatch):
    monkeypatch.chdir(place.folder)
    save(open_model(), place.folder / "open.onnx")
    arguments = ["open.onnx", "-o", "x.engine", "--backend", "tensorrt", "--min-size", "4", "--max-size"]
    result = commands.invoke(main, *arguments, "16x32")
    assert result.exit_code == 0, result.output
    assert read_manifest("x.engine").build_info["sizes"] == [[4, 4], [8, 8], [16, 32]]
    result = commands.invoke(main, *arguments, "16by32")
    assert result.exit_code == 2 and "expected N or HEIGHTxWIDTH" in result.output
    result = commands.invoke(main, "open.onnx", "-o", "x.engine", "--opt-size", "8")
    assert result.exit_code == 2 and "--opt-size: only valid with --backend tensorrt" in result.output
