"""Small exports of each task, with a dynamic batch size where the task has one; made once per test run."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from dense.golden_detector import golden_detector
from golden_segmenter import golden_segmenter
from shared_files import exported_once
from small_exports import small_export, small_model

from vim_deploy.export.onnx import to_onnx
from vim_deploy.tasks.detect.export import DetectModule
from vim_deploy.tasks.detect.options import DetectExportOptions
from vim_deploy.tasks.features.export import FeaturesModule
from vim_deploy.tasks.features.options import FeatureExportOptions
from vim_deploy.tasks.segment.export import SegmentModule


def features() -> onnx.ModelProto:
    module = FeaturesModule(small_model(), FeatureExportOptions("map"))
    return exported_once("features", lambda: to_onnx(module))


def segmenter() -> onnx.ModelProto:
    return exported_once("segmenter", lambda: to_onnx(SegmentModule(golden_segmenter())))


def detector(fixed_rows: bool = False) -> onnx.ModelProto:
    options = DetectExportOptions(fixed_rows=fixed_rows)
    name = "detector-fixed-rows" if fixed_rows else "detector"
    return exported_once(name, lambda: to_onnx(DetectModule(golden_detector(), options)))


EXPORTS: dict[str, Callable[[], onnx.ModelProto]] = {
    "classify": lambda: onnx.load_model_from_string(small_export("fp32")),
    "features": features,
    "segment": segmenter,
    "detect": lambda: detector(fixed_rows=True),
}
