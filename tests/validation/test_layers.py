"""Faults put into exported graphs are found where they are, by block and part; sound graphs have none."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
import torch

pytest.importorskip("onnxruntime", reason="running exported files needs onnxruntime")

import small_vim
from small_vim import build_model, exported, open_model

from vim_deploy.errors import ConfigError
from vim_deploy.export.onnx import to_onnx
from vim_deploy.export.task import VimTaskModule
from vim_deploy.parity.difference import difference
from vim_deploy.validation.layers import LayerReport, compare_layers, worst_slice
from vim_deploy.validation.parts import FINAL_NORM, PIXELS, model_parts, run_parts
from vim_deploy.validation.probes import find_taps, tapped

PIXELS_GIVEN = np.random.default_rng(0).standard_normal((2, 3, 32, 48)).astype(np.float32)


@cache
def expected_of(eager, shape):
    parts = model_parts(eager)
    return parts, run_parts(parts, torch.from_numpy(pixels_of(shape)))


def pixels_of(shape):
    return PIXELS_GIVEN[:, :, : shape[2], : shape[3]].copy()


def layers_of(eager, sound: onnx.ModelProto, broken: onnx.ModelProto, library: bool, pixels=PIXELS_GIVEN):
    """The taps are those of the sound graph: a fault does not say where it is."""
    parts, reference = expected_of(eager, pixels.shape)
    taps = find_taps(sound)
    with open_model(tapped(broken, set(taps.values())), library) as artifact:
        return compare_layers(parts, reference, artifact, taps, pixels)


@pytest.mark.parametrize("library", [True, False], ids=["library", "function body"])
def test_sound_graph_has_no_jump(library):
    model, graph = exported()
    report = layers_of(model, graph, graph, library)
    assert report.first_jump is None
    assert len(report.parts) == 2 + 4 * 13
    # Far enough below the limits that another processor's order of summation makes no alarm.
    assert max(part.own / part.limit for part in report.parts) < 0.5


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
    ],
    ids=lambda value: getattr(value, "__name__", "library" if value else "function body"),
)
def test_fault_is_found_where_it_is(fault, library):
    model, graph = exported()
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    place = fault(broken)
    report = layers_of(model, graph, broken, library)
    assert report.first_jump is not None
    assert report.first_jump.name == place
    # Later parts inherit the error but do not make it: the other jumps are those of the same fault.
    kind = report.first_jump.kind
    assert {part.kind for part in report.parts if part.jumps} == {kind}
    assert {part.block for part in report.parts if part.jumps} == {report.first_jump.block}


def test_error_so_far_stays_large_after_a_fault():
    model, graph = exported()
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    small_vim.leave_halving_out(broken)
    report = layers_of(model, graph, broken, True)
    errors = {part.name: part.propagated for part in report.parts}
    assert errors["layers.0.out_proj"] < 1e-5
    assert errors["layers.1.sum"] == pytest.approx(1, rel=1e-3)
    assert all(errors[f"layers.{block}.residual"] > 1e-2 for block in (2, 3))


def test_rounded_weight_hides_from_the_outputs_but_not_from_the_layers():
    """This is what makes the look inside worth its time."""
    model, graph = exported()
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    small_vim.round_projection_weight(broken)
    with open_model(graph, True) as sound, open_model(broken, True) as other:
        outputs = difference(sound.run(PIXELS_GIVEN), other.run(PIXELS_GIVEN))
    assert outputs.relative > 0 and outputs.within("fp32")
    assert layers_of(model, graph, broken, True).first_jump is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"directions": "shared", "layer_scale": True},
        {"directions": "forward", "rms_norm": False},
        {"rope": True, "rope_residual": True, "class_token": "front", "image_size": [32, 32]},
        {"halve": False, "class_token": "none", "position_embedding": False},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_every_form_of_the_model(changes):
    model = build_model(**{"depth": 1, **changes})
    pixels = pixels_of((2, 3, *model.config.image_size))
    graph = to_onnx(VimTaskModule(model, "classify"))
    report = layers_of(model, graph, graph, False, pixels)
    assert report.first_jump is None
    values = run_parts(model_parts(model), torch.from_numpy(pixels))
    with torch.inference_mode():
        expected = build_model(**{"depth": 1, **changes}).double().forward_features(values[PIXELS])
    torch.testing.assert_close(values[FINAL_NORM], expected, rtol=1e-11, atol=1e-11)


def test_paired_directions_are_refused():
    with pytest.raises(ConfigError, match="not in pairs"):
        model_parts(build_model(depth=2, paired=True, directions="forward"))


def test_worst_slice_finds_one_wrong_channel_and_one_wrong_token():
    expected = np.random.default_rng(0).standard_normal((2, 300, 400))
    for spoiled in (np.s_[:, :, 7], np.s_[:, 9, :]):
        found = expected.copy()
        found[spoiled] += 1e-3
        assert worst_slice(expected, found) == pytest.approx(1e-3, rel=0.2)
    assert worst_slice(expected, expected) == 0
    found[0, 0, 0] = np.nan
    assert worst_slice(expected, found) == np.inf


def test_missing_numbers_are_a_jump():
    model, graph = exported()
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    small_vim.set_input(broken, "layers.2.norm/Add", 1, np.array(np.nan, np.float32))
    report = layers_of(model, graph, broken, True)
    assert isinstance(report, LayerReport)
    assert report.first_jump.name == "layers.2.norm"
    assert report.to_dict()["first_jump"] == "layers.2.norm"
