"""A detector without weights in the format of vim-export: one object of each pure color in the image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import helper, numpy_helper
from PIL import Image
from small_onnx import metadata

from vim_deploy.data.preprocess import Preprocessing

SIDE = 32
SCORES = (0.9, 0.6, 0.3)  # of red, green, blue
PURE = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
Box = tuple[int, int, int, int]

_GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
detector (float[1, 3, {side}, {side}] pixels) => (
  float[{rows}, 4] boxes, float[{rows}] scores, {integer}[{rows}] classes,
  float[{rows}, 28, 28] masks{further})
<float score_scale = {{{scale}}}>
{{
  half = Constant <value_float: float = 0.5> ()
  least = Constant <value_float: float = 0.05> ()
  side = Constant <value_float: float = {side}.0> ()
  zero = Constant <value_ints: ints = [0]> ()
  bright = Greater (pixels, half)
  bright_number = Cast <to: int = 1> (bright)
  here = Squeeze (bright_number, zero)
  rows = ReduceMax <axes: ints = [2], keepdims: int = 0> (here)
  columns = ReduceMax <axes: ints = [1], keepdims: int = 0> (here)
  up_rows = Mul (rows, rising)
  down_rows = Mul (rows, falling)
  up_columns = Mul (columns, rising)
  down_columns = Mul (columns, falling)
  bottom = ReduceMax <axes: ints = [1], keepdims: int = 1> (up_rows)
  right = ReduceMax <axes: ints = [1], keepdims: int = 1> (up_columns)
  below = ReduceMax <axes: ints = [1], keepdims: int = 1> (down_rows)
  beside = ReduceMax <axes: ints = [1], keepdims: int = 1> (down_columns)
  top = Sub (side, below)
  left = Sub (side, beside)
  all_boxes = Concat <axis: int = 1> (left, top, right, bottom)
  present = ReduceMax <axes: ints = [1], keepdims: int = 0> (rows)
  plain_scores = Mul (present, base)
  all_scores = Mul (plain_scores, score_scale)
  {selection}
}}
"""
_OBJECTS = """
  enough = Greater (all_scores, least)
  found = NonZero (enough)
  classes = Squeeze (found, zero)
  boxes = Gather (all_boxes, classes)
  scores = Gather (all_scores, classes)
  masks = Gather (solid, classes)
"""
# As in files exported with --fixed-rows.
_FIXED_ROWS = """
  three = Constant <value_ints: ints = [3]> ()
  scores, order = TopK <axis: int = 0> (all_scores, three)
  classes = Cast <to: int = 6> (order)
  boxes = Gather (all_boxes, order)
  masks = Gather (solid, order)
  enough = Greater (scores, least)
  objects = Cast <to: int = 1> (enough)
  total = ReduceSum (objects, zero)
  count = Cast <to: int = 6> (total)
  no_bound = Cast <to: int = 6> (zero)
  three_objects = Equal (count, number)
  first_bound = Cast <to: int = 6> (three_objects)
  exceeded = Concat <axis: int = 0> (first_bound, no_bound)
"""


def color_detector(scale: float = 1.0, fixed_rows: bool = False, **changes: Any) -> onnx.ModelProto:
    """Red, green and blue: the box of all pixels of the color, a mask that fills it, scores `SCORES`.

    `fixed_rows`: always three rows; an image with three objects exceeds the first bound.
    """
    parts = {
        "rows": 3 if fixed_rows else "objects",
        "integer": "int32" if fixed_rows else "int64",
        "further": ", int32[1] count, int32[2] exceeded" if fixed_rows else "",
        "selection": _FIXED_ROWS if fixed_rows else _OBJECTS,
    }
    model = onnx.parser.parse_model(_GRAPH.format(side=SIDE, scale=scale, **parts))
    rising = np.arange(1, SIDE + 1, dtype=np.float32)
    constants = {
        "rising": rising,
        "falling": rising[::-1].copy(),
        "base": np.array(SCORES, np.float32),
        "solid": np.full((3, 28, 28), 0.9, np.float32),
        **({"number": np.array([3], np.int32)} if fixed_rows else {}),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in constants.items())
    about = metadata(
        **{
            "task": "detect",
            "config": {"backbone": {}, "head": {"num_classes": 3, "score_threshold": 0.05}},
            "preprocessing": Preprocessing((SIDE, SIDE), 1.0, (0.0,) * 3, (1.0,) * 3),
            **changes,
        }
    )
    helper.set_model_props(model, about.to_props())
    return model


def with_rectangles(path: Path, size: tuple[int, int], boxes: Mapping[int, Box]) -> Path:
    """A black image of `size` (width, height) with a rectangle of each color (left, top, right, bottom)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((size[1], size[0], 3), np.uint8)
    for index, (left, top, right, bottom) in boxes.items():
        values[top:bottom, left:right] = PURE[index]
    Image.fromarray(values).save(path)
    return path


def annotations(
    path: Path, images: Mapping[str, tuple[tuple[int, int], Mapping[int, Box]]], **changes: Any
) -> Path:
    """COCO's format for images by file name: size (width, height) and boxes, categories 11, 12 and 13."""
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [
            {"id": 11 + index, "name": name} for index, name in enumerate(("red", "green", "blue"))
        ],
    }
    for number, (name, ((width, height), boxes)) in enumerate(images.items(), 7):
        content["images"].append({"id": number, "file_name": name, "width": width, "height": height})
        for index, (left, top, right, bottom) in boxes.items():
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": 11 + index,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                }
            )
    path.write_text(json.dumps({**content, **changes}))
    return path
