"""An opened engine: run, predict, and the cache for ONNX files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from small_onnx import color_model, finish, metadata, save, scan_model

from vim_deploy import Model, load
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.engines.build import build_engine
from vim_deploy.errors import EngineError, ImageError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(folder: Path, model) -> Model:
    build_engine(save(model, folder / "model.onnx"), folder / "model.engine")
    return load(folder / "model.engine")


def solid_image(shade: str, size: tuple[int, int] = (12, 10)) -> Image.Image:
    return Image.new("RGB", size, shade)


def test_run_gives_named_outputs(tmp_path):
    pixels = np.zeros((2, 3, 8, 8), np.float32)
    pixels[0, 0] = pixels[1, 2] = 1
    with opened(tmp_path, color_model()) as engine:
        outputs = engine.run(pixels)
    assert list(outputs) == ["logits"]
    np.testing.assert_allclose(outputs["logits"], [[10, 0, 0], [0, 0, 10]], atol=1e-5)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((1, 3, 8, 8)), "float64; the engine expects float32"),
        (np.zeros((1, 3, 8, 9), np.float32), r"shape \(1, 3, 8, 9\); the engine expects \(any, 3, 8, 8\)"),
        (np.zeros((3, 8, 8), np.float32), "shape"),
        (np.zeros((0, 3, 8, 8), np.float32), "shape"),
    ],
)
def test_run_converts_nothing(tmp_path, pixels, message):
    with opened(tmp_path, color_model()) as engine, pytest.raises(EngineError, match=message):
        engine.run(pixels)


def test_closed_engine_is_an_error(tmp_path):
    engine = opened(tmp_path, color_model())
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(np.zeros((1, 3, 8, 8), np.float32))


def test_predict_keeps_the_order_and_the_failures(tmp_path):
    solid_image("red").save(tmp_path / "red.png")
    (tmp_path / "bad.png").write_text("text")
    given = [
        tmp_path / "red.png",
        solid_image("blue"),
        str(tmp_path / "bad.png"),
        tmp_path / "missing.png",
    ] * 5
    with opened(tmp_path, color_model()) as engine:
        predictions = engine.predict(given, top_k=2, batch_size=3)
    assert [row.ok for row in predictions] == [True, True, False, False] * 5
    assert [row.top1.name for row in predictions if row.ok] == ["red", "blue"] * 5
    assert predictions[0].path == str(tmp_path / "red.png")
    assert predictions[0].size == (12, 10)
    assert len(predictions[0].top) == 2
    assert "not an image" in predictions[2].error
    assert "No such file" in predictions[3].error


def test_probabilities_are_the_softmax(tmp_path):
    with opened(tmp_path, color_model()) as engine:
        (prediction,) = engine.predict(solid_image("red"))
    expected = np.exp([10, 0, 0]) / np.exp([10, 0, 0]).sum()
    assert [score.index for score in prediction.top] == [0, 1, 2]
    np.testing.assert_allclose([score.probability for score in prediction.top], expected, rtol=1e-5)


def test_one_path_is_one_image(tmp_path):
    solid_image("green").save(tmp_path / "green.png")
    with opened(tmp_path, color_model()) as engine:
        assert [row.top1.name for row in engine.predict(tmp_path / "green.png")] == ["green"]
        assert [row.top1.name for row in engine.predict(str(tmp_path / "green.png"))] == ["green"]
        assert engine.predict([]) == []


def test_fixed_batch_is_padded_for_images_and_required_for_arrays(tmp_path):
    with opened(tmp_path, color_model(batch=4)) as engine:
        assert engine.batch == 4
        predictions = engine.predict([solid_image("red")] * 4 + [solid_image("blue")])
        assert [row.top1.name for row in predictions] == ["red"] * 4 + ["blue"]
        with pytest.raises(EngineError, match="fixed to batches of 4"):
            engine.predict(solid_image("red"), batch_size=2)
        with pytest.raises(EngineError, match=r"expects \(4, 3, 8, 8\)"):
            engine.run(np.zeros((1, 3, 8, 8), np.float32))


@pytest.mark.parametrize("options", [{"top_k": 0}, {"batch_size": 0}, {"workers": 0}])
def test_invalid_options(tmp_path, options):
    with opened(tmp_path, color_model()) as engine, pytest.raises(EngineError, match="expected 1 or more"):
        engine.predict(solid_image("red"), **options)


def test_nan_logits_fail_only_their_image(tmp_path):
    # 0 / 0 for black images, finite for others.
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, 8, 8])
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["pixels"], ["all"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["all", "one"], ["column"]),
        helper.make_node("Div", ["mean", "column"], ["logits"]),
    ]
    one = numpy_helper.from_array(np.array([1], np.int64), "one")
    model = finish(helper.make_graph(nodes, "ratio", [pixels], [output], [one]), metadata())
    with opened(tmp_path, model) as engine:
        rows = engine.predict([solid_image("red"), solid_image("black"), solid_image("blue")])
    assert [row.ok for row in rows] == [True, False, True]
    assert "NaN or infinite logits" in rows[1].error
    with pytest.raises(ImageError, match="NaN or infinite logits"):
        _ = rows[1].top1


def test_features(tmp_path):
    with opened(tmp_path, color_model(task="features", class_names=None)) as engine:
        assert engine.class_names == ()
        (row,) = engine.predict(solid_image("red"))
    np.testing.assert_allclose(row.features, [10, 0, 0], atol=1e-5)
    assert not hasattr(row, "top")


def test_classes_without_names_are_numbers(tmp_path):
    with opened(tmp_path, color_model(class_names=None)) as engine:
        assert engine.predict(solid_image("blue"))[0].top1.name == "2"


def test_images_need_the_models_channels(tmp_path):
    model = color_model()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    about = metadata(class_names=None, preprocessing=Preprocessing((8, 8), 1.0, (0.0,) * 5, (1.0,) * 5, 5))
    helper.set_model_props(model, about.to_props())
    with opened(tmp_path, model) as engine:
        assert engine.run(np.zeros((1, 5, 8, 8), np.float32))["logits"].shape == (1, 5)
        with pytest.raises(EngineError, match="5 channels"):
            engine.predict(solid_image("red"))


def test_scan_with_library_equals_function_body(tmp_path):
    from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions

    path = save(scan_model(), tmp_path / "scan.onnx")
    build_engine(path, tmp_path / "library.engine")
    build_engine(path, tmp_path / "function.engine", OnnxruntimeOptions(use_library=False))
    pixels = np.random.default_rng(0).standard_normal((3, 1, 4, 6), np.float32)
    with (
        load(tmp_path / "library.engine", threads=1) as library,
        load(tmp_path / "function.engine", threads=2) as function,
    ):
        first, second = library.run(pixels)["logits"], function.run(pixels)["logits"]
    assert np.abs(first - second).max() < 1e-5 * np.abs(second).max()


def test_onnx_file_is_built_once_into_the_cache(tmp_path, cache, caplog):
    caplog.set_level(logging.INFO, "vim_deploy")
    path = save(color_model(), tmp_path / "colors.onnx")
    load(path).close()
    (entry,) = (cache / "engines").iterdir()
    built = entry.stat().st_ino
    with load(path, threads=1) as engine:
        assert engine.predict(solid_image("red"))[0].top1.name == "red"
    assert entry.stat().st_ino == built
    assert [record.message.split()[0] for record in caplog.records] == ["building"]


def test_changed_onnx_file_gets_a_new_engine(tmp_path, cache):
    path = save(color_model(), tmp_path / "colors.onnx")
    load(path).close()
    save(color_model(class_names=("r", "g", "b")), path)
    with load(path) as engine:
        assert engine.class_names == ("r", "g", "b")
    assert len(list((cache / "engines").iterdir())) == 2


def test_damaged_cache_entry_is_rebuilt_with_a_warning(tmp_path, cache, caplog):
    path = save(color_model(), tmp_path / "colors.onnx")
    load(path).close()
    (entry,) = (cache / "engines").iterdir()
    entry.write_bytes(entry.read_bytes()[:-100])
    with load(path) as engine:
        assert engine.predict(solid_image("red"))[0].top1.name == "red"
    assert "building the cached engine again" in caplog.text


def test_unwritable_cache(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="VIM_DEPLOY_CACHE"):
        load(save(color_model(), tmp_path / "colors.onnx"))
