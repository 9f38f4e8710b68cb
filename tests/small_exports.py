"""A small Vision Mamba, exported once per test run in each precision and batch size."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
from shared_files import made_once
from small_onnx import metadata

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.export.onnx import to_onnx
from vim_deploy.export.opset import OPSET
from vim_deploy.export.quantization.formats import FORMATS
from vim_deploy.export.quantization.graph import quantize
from vim_deploy.export.reduced import in_precision
from vim_deploy.model import VisionMamba, create_model
from vim_deploy.model.synthetic import fill_synthetic
from vim_deploy.precision import Precision
from vim_deploy.tasks.classify.export import ClassifyModule

IMAGE_SIZE = (16, 32)
CLASSES = ("a", "b", "c", "d", "e")
BLOCKS = 2
IMAGES = 4  # for the ranges of quantized files


@cache
def small_model() -> VisionMamba:
    model = create_model(
        "vim_tiny", embed_dim=16, depth=BLOCKS, patch_size=8, stride=8, image_size=IMAGE_SIZE, num_classes=5
    )
    fill_synthetic(model, seed=3)
    return model.eval()


def small_batches(size: int) -> np.ndarray:
    """Random pixels for IMAGES runs."""
    return np.random.default_rng(4).standard_normal((IMAGES, size, 3, *IMAGE_SIZE), dtype=np.float32)


@cache
def small_export(precision: str, batch: int | None = None) -> bytes:
    """The exported file, without the comparison."""
    return made_once(f"small-{precision}-{batch or 'dynamic'}.onnx", lambda: _small_export(precision, batch))


def _small_export(precision: str, batch: int | None) -> bytes:
    form = FORMATS.get(Precision(precision))
    opset = form.opset if form else OPSET
    graph = to_onnx(ClassifyModule(in_precision(small_model(), precision)), batch=batch, opset=opset)
    if form:
        quantize(
            graph, Precision(precision), ({"pixels": pixels} for pixels in small_batches(batch or 1)), IMAGES
        )
    about = metadata(
        precision=precision, preprocessing=Preprocessing(IMAGE_SIZE), class_names=CLASSES, variant="small"
    )
    onnx.helper.set_model_props(graph, about.to_props())
    data: bytes = graph.SerializeToString()
    return data
