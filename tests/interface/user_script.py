"""A program of a user, which `mypy --strict` checks; see test_typing.py. It is not run."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import assert_type

import vim_deploy
from vim_deploy import (
    ClassifyResult,
    DetectResult,
    EngineError,
    FeaturesResult,
    ImageError,
    Model,
    Result,
    SegmentResult,
    VimDeployError,
)


def frames() -> Iterator[NDArray[np.uint8]]:
    yield np.zeros((2, 2, 3), np.uint8)


def classify(path: Path) -> list[str]:
    with vim_deploy.load(path, task="classify", threads=2) as model:
        assert_type(model, Model[ClassifyResult])
        results = model.predict(["a.png", "b.png"], top_k=3, limits=vim_deploy.Limits(depth=12))
        assert_type(results, list[ClassifyResult])
        for result in model.predict(frames(), stream=True, batch_size=4, workers=2):
            assert_type(result, ClassifyResult)
            assert_type(result.top1.name, str)
            assert_type(result.top1.probability, float)
            assert_type(result.probabilities, NDArray[np.float64])
            assert_type(result.error, str | None)
            assert_type(result.size, tuple[int, int] | None)
            assert_type(result.to_dict(), dict[str, Any])
            result.plot(legend=False).save("x.png")
        return [result.top1.name for result in results if result.ok]


def sources(model: Model[DetectResult]) -> Generator[DetectResult, None, None]:
    model.predict("a.png")
    model.predict(Path("a.png"))
    model.predict(b"content")
    model.predict(io.BytesIO())
    model.predict(Image.new("RGB", (2, 2)))
    model.predict(np.zeros((2, 2)))
    model.predict(torch.zeros(3, 2, 2))
    model.predict([torch.zeros(3, 2, 2), "a.png"])
    return model.predict([np.zeros((2, 2, 3)), b"content", Path("a.png")], stream=True)


def other_tasks() -> None:
    detected = vim_deploy.load("d.engine", task="detect").predict("a.png", score_threshold=0.5)[0]
    assert_type(detected, DetectResult)
    assert_type(detected.boxes, NDArray[np.float64])
    assert_type(detected.masks, NDArray[np.bool_])
    assert_type(detected.labels, tuple[str, ...])
    segmented = vim_deploy.load("s.engine", task="segment").predict("a.png", tile=True)[0]
    assert_type(segmented, SegmentResult)
    assert_type(segmented.labels, NDArray[Any])
    assert_type(segmented.areas[0].pixels, int)
    features = vim_deploy.load("f.engine", task="features").predict("a.png")[0]
    assert_type(features, FeaturesResult)
    assert_type(features.features, NDArray[np.float32])


def any_task(path: str) -> None:
    model = vim_deploy.load(path)
    assert_type(model.class_names, tuple[str, ...])
    assert_type(model.task, str)
    outputs = model.run(model.preprocess("a.png"))
    assert_type(outputs["logits"], NDArray[Any])
    model.run(torch.zeros(1, 3, 224, 224))
    for result in model.predict("photos/"):
        if isinstance(result, SegmentResult):
            assert_type(result, SegmentResult)


def count(results: list[Result[Any]]) -> int:
    return sum(result.ok for result in results)


def export_and_build() -> str:
    result = vim_deploy.export("vim_tiny", checkpoint="weights.pth", output="x.onnx", image_size=(224, 224))
    manifest = vim_deploy.build(result.path, "x.engine", threads=4)
    assert_type(result.notes, tuple[str, ...])
    assert_type(manifest.device, str)
    try:
        return vim_deploy.__version__
    except (EngineError, ImageError) as error:
        known: VimDeployError = error
        return str(known)
