"""Faults injected into exported graphs are located by block and part; correct graphs have none."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
import torch

pytest.importorskip("onnxruntime", reason="running exported files needs onnxruntime")

import small_vim
from small_vim import build_model, exported, open_model

from vim_deploy.export.onnx import to_onnx
from vim_deploy.families.parts import PIXELS, run_parts
from vim_deploy.families.vim_parts import FINAL_NORM, model_parts
from vim_deploy.families.vim_probes import find_probes
from vim_deploy.parity.difference import difference
from vim_deploy.tasks.classify.export import ClassifyModule
from vim_deploy.validation.layers import LayerReport, compare_layers, worst_slice
from vim_deploy.validation.probes import with_probes

PIXELS_GIVEN = np.random.default_rng(0).standard_normal((2, 3, 32, 48)).astype(np.float32)


@cache
def expected_of(eager, shape):
    parts = model_parts(eager)
    return parts, run_parts(parts, torch.from_numpy(pixels_of(shape)))


def pixels_of(shape):
    return PIXELS_GIVEN[:, :, : shape[2], : shape[3]].copy()


def layers_of(eager, correct: onnx.ModelProto, broken: onnx.ModelProto, library: bool, pixels=PIXELS_GIVEN):
    """The probes are those of the correct graph."""
    parts, reference = expected_of(eager, pixels.shape)
    probes = find_probes(correct)
    with open_model(with_probes(broken, set(probes.values())), library) as artifact:
        return compare_layers(parts, reference, artifact, probes, pixels)


@pytest.mark.parametrize("library", [True, False], ids=["library", "function body"])
def test_correct_graph_has_no_fault(library):
    model, graph = exported()
    report = layers_of(model, graph, graph, library)
    assert report.first_fault is None
    assert len(report.parts) == 2 + 4 * 15
    # Far enough below the limits that another CPU's order of summation does not exceed them.
    assert max(part.local_error / part.limit for part in report.parts) < 0.5


@pytest.mark.parametrize(
    ("fault", "library"),
    [
        (small_vim.swap_directions, True),
        (small_vim.swap_directions, False),
        (small_vim.leave_halving_out, True),
        (small_vim.change_epsilon, True),
        (small_vim.round_projection_weight, True),
        (small_vim.round_convolution_weight, True),
        (small_vim.round_output_weight, True),
        (small_vim.half_state, False),
        (small_vim.gate_with_the_wrong_half, True),
        (small_vim.gate_with_the_wrong_half, False),
    ],
    ids=lambda value: getattr(value, "__name__", "library" if value else "function body"),
)
def test_fault_is_located(fault, library):
    model, graph = exported()
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    place = fault(broken)
    report = layers_of(model, graph, broken, library)
    assert report.first_fault is not None
    assert report.first_fault.name == place
    # Later parts inherit the error without a local error: only the faulty part exceeds its limit.
    kind = report.first_fault.kind
    assert {part.kind for part in report.parts if part.exceeds_limit} == {kind}
    assert {part.block for part in report.parts if part.exceeds_limit} == {report.first_fault.block}


def test_accumulated_error_stays_large_after_a_fault():
    model, graph = exported()
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    small_vim.leave_halving_out(broken)
    report = layers_of(model, graph, broken, True)
    errors = {part.name: part.accumulated_error for part in report.parts}
    assert errors["layers.0.out_proj"] < 1e-5
    assert errors["layers.1.sum"] == pytest.approx(1, rel=1e-3)
    assert all(errors[f"layers.{block}.residual"] > 1e-2 for block in (2, 3))


def test_a_rounded_weight_shows_in_the_layers_but_not_in_the_outputs():
    model, graph = exported()
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    small_vim.round_projection_weight(broken)
    with open_model(graph, True) as correct, open_model(broken, True) as other:
        outputs = difference(correct.run(PIXELS_GIVEN), other.run(PIXELS_GIVEN))
    assert outputs.relative > 0 and outputs.within("fp32")
    assert layers_of(model, graph, broken, True).first_fault is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"directions": "shared", "layer_scale": True},
        {"directions": "forward", "rms_norm": False},
        {"rope": True, "rope_residual": True, "class_token": "front", "image_size": [32, 32]},
        {"average_directions": False, "class_token": "none", "position_embedding": False},
        {"depth": 4, "paired": True, "directions": "forward"},
        {
            "depth": 2,
            "paired": True,
            "directions": "forward",
            "rope": True,
            "class_token": "front",
            "image_size": [32, 32],
        },
    ],
    ids=lambda changes: " ".join(changes),
)
def test_every_variant_of_the_model(changes):
    model = build_model(**{"depth": 1, **changes})
    pixels = pixels_of((2, 3, *model.config.image_size))
    graph = to_onnx(ClassifyModule(model))
    report = layers_of(model, graph, graph, False, pixels)
    assert report.first_fault is None
    values = run_parts(model_parts(model), torch.from_numpy(pixels))
    with torch.inference_mode():
        expected = build_model(**{"depth": 1, **changes}).double().forward_features(values[PIXELS])
    torch.testing.assert_close(values[FINAL_NORM], expected, rtol=1e-11, atol=1e-11)


def test_faults_in_paired_models_are_located():
    changes = {"depth": 4, "paired": True, "directions": "forward"}
    model = build_model(**changes)
    graph = to_onnx(ClassifyModule(model))
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    # The second block of a pair scans from the last token to the first.
    scan = small_vim.node(broken, "layers.3.mixer/SelectiveScan")
    next(item for item in scan.attribute if item.name == "reverse").i = 0
    report = layers_of(model, graph, broken, True)
    assert report.first_fault.name == "layers.3.scan forward"
    assert {part.name for part in report.parts} >= {"layers.1.pair hidden", "layers.3.pair residual"}
    probes = find_probes(graph)
    add = next(item for item in broken.graph.node if item.output[0] == probes["layers.1.pair hidden"])
    add.op_type = "Sub"
    assert layers_of(model, graph, broken, True).first_fault.name == "layers.1.pair hidden"


def test_worst_slice_finds_one_wrong_channel_and_one_wrong_token():
    expected = np.random.default_rng(0).standard_normal((2, 300, 400))
    for wrong in (np.s_[:, :, 7], np.s_[:, 9, :]):
        found = expected.copy()
        found[wrong] += 1e-3
        assert worst_slice(expected, found) == pytest.approx(1e-3, rel=0.2)
    assert worst_slice(expected, expected) == 0
    found[0, 0, 0] = np.nan
    assert worst_slice(expected, found) == np.inf


def test_nan_is_a_fault():
    model, graph = exported()
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    small_vim.set_input(broken, "layers.2.norm/Add", 1, np.array(np.nan, np.float32))
    report = layers_of(model, graph, broken, True)
    assert isinstance(report, LayerReport)
    assert report.first_fault.name == "layers.2.norm"
    assert report.to_dict()["first_fault"] == "layers.2.norm"
