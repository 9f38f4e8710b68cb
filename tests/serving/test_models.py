"""What the server runs, with a fake of the server: batches, errors and parameters."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fake_triton
import numpy as np
import pytest
from fake_triton import Request
from PIL import Image
from small_onnx import COLORS, color_model, save

from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.errors import EngineError

pytest.importorskip("onnxruntime")


@pytest.fixture
def repository(tmp_path) -> Path:
    from vim_deploy.serving.repository import write_repository

    save(color_model(), tmp_path / "colors.onnx")
    write_repository(tmp_path / "colors.onnx", tmp_path / "models", OnnxruntimeOptions())
    return tmp_path / "models"


def colors(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The network of the small model."""
    return {"logits": 10 * inputs["pixels"].mean((2, 3))}


@contextmanager
def opened(kind: Any, folder: Path, batch: int = 8, **parameters: str) -> Iterator[Any]:
    """A model, as the server opens it."""
    config = {
        "max_batch_size": batch,
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
    }
    model = kind()
    model.initialize(
        {"model_repository": str(folder), "model_version": "1", "model_config": json.dumps(config)}
    )
    try:
        yield model
    finally:
        model.finalize()


def image(color: str, size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def images(*contents: bytes) -> Request:
    return Request(image=np.array([[content] for content in contents], object))


@pytest.fixture
def image_model(repository, monkeypatch):
    """Opens the model for images with parameters; `asked` has the batch sizes that the network was given."""
    asked: list[int] = []

    def network(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked.append(len(inputs["pixels"]))
        return colors(inputs)

    fake_triton.install(monkeypatch, {"colors": network})
    from vim_deploy.serving.image_model import ImageModel

    def open_it(**parameters: str) -> Any:
        options = {"decoders": "1", **parameters}
        return opened(ImageModel, repository / "colors_image", **options)

    open_it.asked = asked  # type: ignore[attr-defined]
    return open_it


def test_requests_of_tensors_are_one_run(repository, monkeypatch):
    fake_triton.install(monkeypatch)
    from vim_deploy.serving.tensor_model import TensorModel

    given = [np.random.default_rng(count).random((count, 3, 8, 8), np.float32) for count in (1, 3, 2)]
    with opened(TensorModel, repository / "colors") as model:
        runs = []
        engine_run = model._engine.run
        monkeypatch.setattr(
            model._engine, "run", lambda **arrays: runs.append(len(arrays["pixels"])) or engine_run(**arrays)
        )
        answers = model.execute([Request(pixels=values) for values in given])
    assert runs == [6]
    for values, answer in zip(given, answers, strict=True):
        np.testing.assert_allclose(answer.outputs["logits"], 10 * values.mean((2, 3)), atol=1e-5)


def test_a_request_does_not_fail_because_of_another_one(repository, monkeypatch):
    fake_triton.install(monkeypatch)
    from vim_deploy.serving.tensor_model import TensorModel

    def run(pixels: np.ndarray) -> dict[str, np.ndarray]:
        if (pixels < 0).any():
            raise EngineError("negative pixels")
        return colors({"pixels": pixels})

    with opened(TensorModel, repository / "colors") as model:
        monkeypatch.setattr(model._engine, "run", run)
        good, bad = np.ones((1, 3, 8, 8), np.float32), -np.ones((1, 3, 8, 8), np.float32)
        first, second = model.execute([Request(pixels=good), Request(pixels=bad)])
    assert first.outputs["logits"].tolist() == [[10.0, 10.0, 10.0]]
    assert second.error().message() == "negative pixels"


def test_a_wrong_shape_is_an_error(repository, monkeypatch):
    fake_triton.install(monkeypatch)
    from vim_deploy.serving.tensor_model import TensorModel

    with opened(TensorModel, repository / "colors", batch=0) as model:
        (answer,) = model.execute([Request(pixels=np.ones((1, 3, 8, 9), np.float32))])
    assert "the engine expects (any, 3, 8, 8)" in answer.error().message()


def test_images_of_all_requests_are_one_batch(image_model):
    with image_model() as model:
        answers = model.execute([images(image("red")), images(image("lime"), image("blue"))])
    assert image_model.asked == [3]
    found = [answer.outputs["classes"][:, 0].tolist() for answer in answers]
    assert found == [["red"], ["green", "blue"]]
    assert answers[1].outputs["indices"].shape == (2, len(COLORS))
    assert answers[1].outputs["probabilities"].sum(axis=1) == pytest.approx([1, 1])


def test_more_images_than_the_largest_batch_are_split(image_model):
    with image_model() as model:
        answers = model.execute([images(*[image("red")] * 3) for _ in range(5)])
    assert image_model.asked == [8, 7]
    assert [len(answer.outputs["classes"]) for answer in answers] == [3] * 5


def test_a_bad_image_fails_its_own_request(image_model):
    with image_model() as model:
        first, second = model.execute([images(image("red"), b"text"), images(image("blue"))])
    assert first.error().message().startswith("image 1: ")
    assert first.error().code == fake_triton.TritonError.INVALID_ARG
    assert second.outputs["classes"][0, 0] == "blue"


def test_parameters_are_the_options_of_the_task_and_limits(image_model):
    with image_model(top_k="1", max_pixels="100", max_bytes="2000") as model:
        one, large, long = model.execute(
            [images(image("red")), images(image("red", (11, 10))), images(image("red") + b"0" * 2000)]
        )
    assert one.outputs["classes"].shape == (1, 1)
    assert "11 x 10 pixels are more than the limit of 100" in large.error().message()
    assert "more than the limit of 2000 bytes" in long.error().message()


def test_decoding_is_shorter_than_for_files(image_model):
    with image_model() as by_default, image_model(seconds="null") as without_limit:
        assert by_default._settings.limits.seconds == 10
        assert without_limit._settings.limits.seconds is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"top_k": "many"}, "top_k"),
        ({"tile": "true"}, "'tile' is not an option of the task classify"),
        ({"max_pixels": "large"}, "the parameter max_pixels is 'large'"),
        ({"max_bytes": "-1"}, "the parameter max_bytes is -1"),
        ({"decoders": "[1]"}, "the parameter decoders is"),
    ],
)
def test_invalid_parameters_are_refused_when_the_model_is_loaded(image_model, parameters, message):
    with pytest.raises(EngineError) as caught, image_model(**parameters):
        pass
    assert message in str(caught.value)


def test_an_error_of_the_network_is_named(repository, monkeypatch):
    fake_triton.install(monkeypatch, {"colors": lambda inputs: "it is not loaded"})
    from vim_deploy.serving.image_model import ImageModel

    with opened(ImageModel, repository / "colors_image", decoders="1") as model:
        (answer,) = model.execute([images(image("red"))])
    assert answer.error().message() == "the model colors failed: it is not loaded"
    assert answer.error().code == fake_triton.TritonError.INTERNAL


def test_a_damaged_description_is_refused(repository, monkeypatch):
    fake_triton.install(monkeypatch)
    from vim_deploy.serving.image_model import ImageModel

    (repository / "colors_image" / "1" / "network.json").write_text("{}")
    with (
        pytest.raises(EngineError, match=r"network\.json cannot be read"),
        opened(ImageModel, repository / "colors_image"),
    ):
        pass


def test_a_backend_for_another_numpy_is_refused(repository, monkeypatch):
    """As with a Python backend for numpy 1 and arrays of numpy 2: all strides are 0."""
    module = fake_triton.install(monkeypatch)
    broken = type(
        "Tensor",
        (fake_triton.Tensor,),
        {"as_numpy": lambda self: np.lib.stride_tricks.as_strided(self._values, strides=(0, 0))},
    )
    monkeypatch.setattr(module, "Tensor", broken)
    from vim_deploy.serving.tensor_model import TensorModel

    with (
        pytest.raises(EngineError, match=r"does not work with numpy .*numpy<2"),
        opened(TensorModel, repository / "colors"),
    ):
        pass
