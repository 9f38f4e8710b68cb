"""Faults injected into exported segmenters and detectors are located at the right stage."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import pytest
import task_exports
import torch
from dense.golden_detector import golden_detector, golden_input
from golden_segmenter import golden_segmenter
from onnx import numpy_helper

pytest.importorskip("onnxruntime", reason="running exported files needs onnxruntime")

from small_vim import constant, node, open_model, set_input

from vim_deploy.families import detector_parts, segmenter_parts
from vim_deploy.families.parts import run_parts
from vim_deploy.validation.layers import LayerReport, compare_layers
from vim_deploy.validation.probes import with_probes

Fault = Callable[[onnx.ModelProto], None]
DETECTOR = {"task": "detect", "config": {"backbone": {}, "head": {"num_classes": 5, "score_threshold": 0.05}}}


@cache
def segmenter():
    model = golden_segmenter()
    graph = task_exports.segmenter()
    shape = (1, model.channels, *model.image_size)
    pixels = np.random.default_rng(0).standard_normal(shape, np.float32)
    parts = segmenter_parts.model_parts(model)
    return (
        graph,
        segmenter_parts.find_probes(graph),
        pixels,
        parts,
        run_parts(parts, torch.from_numpy(pixels)),
    )


@cache
def detector():
    model = golden_detector()
    graph = task_exports.detector()
    pixels = golden_input().numpy()
    parts = detector_parts.model_parts(model)
    return graph, detector_parts.find_probes(graph), pixels, parts, run_parts(parts, torch.from_numpy(pixels))


def layers_of(made, fault: Fault | None = None, library: bool = True, **about: object) -> LayerReport:
    graph, probes, pixels, parts, expected = made
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    if fault is not None:
        fault(changed)
    with open_model(with_probes(changed, set(probes.values())), library, **about) as artifact:
        return compare_layers(parts, expected, artifact, probes, pixels)


def scaled(weight: str, factor: float = 1.001) -> Fault:
    """One output channel of a weight is multiplied by a factor."""

    def fault(model: onnx.ModelProto) -> None:
        values = constant(model, weight)
        values[0] *= factor
        (found,) = (item for item in model.graph.initializer if item.name == weight)
        found.CopyFrom(numpy_helper.from_array(values, weight))

    fault.__name__ = weight
    return fault


def replaced(name: str, op_type: str) -> Fault:
    def fault(model: onnx.ModelProto) -> None:
        node(model, name).op_type = op_type

    fault.__name__ = f"{op_type} in {name}"
    return fault


def first_pixel(name: str) -> Fault:
    """A pooling takes the first pixel of each window."""

    def fault(model: onnx.ModelProto) -> None:
        kernel = next(item for item in node(model, name).attribute if item.name == "kernel_shape")
        kernel.ints[:] = [1, 1]

    fault.__name__ = f"kernel of {name}"
    return fault


def given(name: str, index: int, value: np.ndarray) -> Fault:
    """A node gets another constant input."""

    def fault(model: onnx.ModelProto) -> None:
        set_input(model, name, index, value)

    fault.__name__ = f"input {index} of {name}"
    return fault


@pytest.mark.parametrize("library", [True, False], ids=["library", "function body"])
def test_a_correct_segmenter_has_no_fault(library):
    report = layers_of(segmenter(), library=library)
    assert report.first_fault is None
    assert max(part.local_error / part.limit for part in report.parts) < 0.5
    names = [part.name for part in report.parts if part.block is None]
    assert names == [
        "tokens", "map 1", "map 2", "map 3", "map 4", "neck 1", "neck 2", "neck 4", "lateral 1", "lateral 2",
        "lateral 3", "pooling 1", "pooling 2", "pooling 3", "pooling 4", "context", "top-down 3",
        "top-down 2", "top-down 1", "fpn 1", "fpn 2", "fpn 3", "fusion", "logits",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "place"),
    [
        (scaled("backbone.layers.1.mixer.conv1d.bias", 1.1), "layers.1.convolution forward"),
        (scaled("backbone.fpn1.3.weight"), "neck 1"),
        (scaled("backbone.fpn2.0.weight"), "neck 2"),
        (first_pixel("backbone.fpn4/MaxPool"), "neck 4"),
        (scaled("decode_head.lateral_convs.1.bn.weight"), "lateral 2"),
        (scaled("decode_head.psp_modules.2.1.conv.weight"), "pooling 3"),
        (scaled("decode_head.bottleneck.bn.bias", 1.1), "context"),
        (replaced("decode_head/Add_1", "Sub"), "top-down 2"),
        (scaled("decode_head.fpn_convs.0.conv.weight"), "fpn 1"),
        (scaled("decode_head.fpn_bottleneck.bn.running_var"), "fusion"),
        (scaled("decode_head.conv_seg.weight"), "logits"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_faults_in_segmenters_are_located(fault, place):
    report = layers_of(segmenter(), fault)
    assert report.first_fault is not None and report.first_fault.name == place
    assert [part.name for part in report.parts if part.exceeds_limit] == [place]


@pytest.mark.parametrize("library", [True, False], ids=["library", "function body"])
def test_a_correct_detector_has_no_fault(library):
    report = layers_of(detector(), library=library, **DETECTOR)
    assert report.first_fault is None
    assert max(part.local_error / part.limit for part in report.parts) < 0.5
    names = [part.name for part in report.parts if part.block is None]
    assert names == [
        "tokens", "map 1", "level 2", "level 3", "level 4", "level 5", "level 6", "proposals", "stage 1",
        "stage 2", "stage 3", "detections", "masks",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "place"),
    [
        (scaled("backbone.simfp_3.1.weight", 1.1), "level 3"),
        (scaled("backbone.simfp_2.3.weight", 1.1), "level 2"),
        (scaled("proposal_generator.rpn_head.conv.conv1.weight", 1.1), "proposals"),
        (given("proposal_generator/NonMaxSuppression", 3, np.array([0.01], np.float32)), "proposals"),
        (scaled("roi_heads.box_predictor.0.bbox_pred.weight", 1.1), "stage 1"),
        (scaled("roi_heads.box_predictor.1.cls_score.weight", 1.1), "stage 2"),
        (scaled("roi_heads.box_head.2.conv3.weight", 1.1), "stage 3"),
        (given("model/NonMaxSuppression", 3, np.array([0.01], np.float32)), "detections"),
        (scaled("roi_heads.mask_head.mask_fcn2.weight", 1.1), "masks"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_faults_in_detectors_are_located(fault, place):
    report = layers_of(detector(), fault, **DETECTOR)
    assert report.first_fault is not None and report.first_fault.name == place
    assert [part.name for part in report.parts if part.exceeds_limit] == [place]
