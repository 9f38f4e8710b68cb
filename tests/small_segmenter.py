"""A segmenter without weights in the format of vim-export: the class of a pixel is its strongest color."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from small_onnx import COLORS, finish, metadata

from vim_deploy.data.preprocess import Preprocessing

CROP = 16
PURE = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def color_segmenter(batch: int | str = "batch", crop: int = CROP, **changes: Any) -> onnx.ModelProto:
    """Logits (batch, 3, crop / 4, crop / 4) are ten times the mean color of four by four pixels."""
    about = metadata(
        **{
            "task": "segment",
            "preprocessing": Preprocessing((crop, crop), 1.0, (0.0,) * 3, (1.0,) * 3),
            **changes,
        }
    )
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, crop, crop])
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3, crop // 4, crop // 4])
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["mean"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Mul", ["mean", "ten"], ["logits"]),
    ]
    ten = numpy_helper.from_array(np.array(10, np.float32), "ten")
    return finish(helper.make_graph(nodes, "colors", [pixels], [output], [ten]), about)


def striped(path: Path, width: int = 40, height: int = 24) -> np.ndarray:
    """Write an image with red left half, green upper right and blue lower right; return its classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    classes = np.zeros((height, width), np.uint8)
    classes[: height // 2, width // 2 :] = 1
    classes[height // 2 :, width // 2 :] = 2
    Image.fromarray(np.array([PURE[name] for name in COLORS], np.uint8)[classes]).save(path)
    return classes


def save_map(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path
