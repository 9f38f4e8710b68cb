"""Small exports of each task, with a dynamic batch size where the task has one."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from dense.golden_detector import golden_detector
from golden_segmenter import golden_segmenter
from small_exports import small_export, small_model

from vim_deploy.export.onnx import to_onnx
from vim_deploy.tasks.detect.export import DetectModule
from vim_deploy.tasks.detect.options import DetectExportOptions
from vim_deploy.tasks.features.export import FeaturesModule
from vim_deploy.tasks.features.options import FeatureExportOptions
from vim_deploy.tasks.segment.export import SegmentModule


def features() -> onnx.ModelProto:
    return to_onnx(FeaturesModule(small_model(), FeatureExportOptions("map")))


EXPORTS: dict[str, Callable[[], onnx.ModelProto]] = {
    "classify": lambda: onnx.load_model_from_string(small_export("fp32")),
    "features": features,
    "segment": lambda: to_onnx(SegmentModule(golden_segmenter())),
    "detect": lambda: to_onnx(DetectModule(golden_detector(), DetectExportOptions(fixed_rows=True))),
}
