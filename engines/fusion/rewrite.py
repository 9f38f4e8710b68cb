"""Replaces known groups of nodes of an exported graph with the fused operators of `plugins/fused/`.

Only the engine's copy of the graph changes. Nodes that do not match exactly (`match.py`) are not changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from vim_deploy.engines.fusion.domain import CONV_PAIR, FUSED_DOMAIN, FUSED_VERSION, SCAN_PAIR, Limits
from vim_deploy.engines.fusion.edit import Edit
from vim_deploy.engines.fusion.match import Direction, Mixer, Norm, match_mixer, match_norm
from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError, demand, is_op


def fuse(model: onnx.ModelProto) -> dict[str, int]:
    """Fuse in place, for CPUs. Returns the number of fused operators of each kind."""
    index, edit = GraphIndex(model.graph), Edit(model.graph)
    for node in model.graph.node:
        try:
            if is_op(node, "Mul"):
                norm = match_norm(index, node)
                edit.replace(norm.nodes, _norm_nodes(norm))
            elif is_op(node, "Add"):
                mixer = match_mixer(index, node)
                edit.replace(mixer.nodes, _mixer_nodes(index, edit, mixer))
        except (NoMatchError, ValueError):  # ValueError: a different number of inputs or dimensions
            continue
    return _finish(model, edit)


def fuse_mixers(model: onnx.ModelProto, limits: Limits) -> dict[str, int]:
    """Fuse only the scans and convolutions of mixers, in place, in every precision.

    Shapes must be inferred. Returns the number of fused operators of each kind.
    """
    index, edit = GraphIndex(model.graph), Edit(model.graph)
    for node in model.graph.node:
        if not is_op(node, "Add"):
            continue
        try:
            mixer = match_mixer(index, node)
            _check_limits(index, mixer, limits)
        except (NoMatchError, ValueError):
            continue
        edit.replace(mixer.nodes, _mixer_nodes(index, edit, mixer))
    return _finish(model, edit)


def _check_limits(index: GraphIndex, mixer: Mixer, limits: Limits) -> None:
    direction = mixer.directions[0]
    state = index.constant(direction.A, rank=2).shape[1]
    rank = index.constant(direction.delta_weight, rank=2).shape[0]
    demand(state <= limits.state and rank <= limits.rank and len(direction.conv.taps) <= limits.width)


def _finish(model: onnx.ModelProto, edit: Edit) -> dict[str, int]:
    edit.apply()
    if edit.counts and FUSED_DOMAIN not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(FUSED_DOMAIN, FUSED_VERSION))
    return dict(edit.counts)


def _norm_nodes(norm: Norm) -> list[onnx.NodeProto]:
    if norm.residual is None or norm.sum is None:
        inputs, outputs, kind = [norm.x, norm.weight], [norm.y], "RMSNorm"
    else:
        inputs, outputs, kind = [norm.x, norm.residual, norm.weight], [norm.y, norm.sum], "AddRMSNorm"
    return [_node(kind, norm.y, inputs, outputs, epsilon=norm.epsilon)]


def _mixer_nodes(index: GraphIndex, edit: Edit, mixer: Mixer) -> list[onnx.NodeProto]:
    forward, backward = (direction.conv for direction in mixer.directions)
    filters, scans = [], []
    for direction in mixer.directions:
        conv = direction.conv
        filters += [edit.constant(f"{conv.u}/taps", conv.taps), edit.constant(f"{conv.u}/bias", conv.bias)]
        scans += _scan_inputs(index, edit, direction)
    return [
        _node(CONV_PAIR, forward.u, [mixer.xz, *filters], [forward.u, backward.u]),
        _node(
            SCAN_PAIR,
            mixer.y,
            [mixer.xz, *scans],
            [mixer.y],
            delta_softplus=mixer.directions[0].softplus,
            average_directions=int(mixer.average),
        ),
    ]


def _scan_inputs(index: GraphIndex, edit: Edit, direction: Direction) -> list[str]:
    by_state = edit.constant(f"{direction.conv.u}/A", index.constant(direction.A).T)
    delta_weight = direction.delta_weight
    if (weights := index.constant(delta_weight)).dtype != np.float32:
        delta_weight = edit.constant(f"{direction.conv.u}/delta_weight", weights)
    return [
        direction.conv.u,
        direction.projection,
        delta_weight,
        by_state,
        direction.D,
        direction.delta_bias,
    ]


def _node(kind: str, value: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    name = f"{value.rpartition('/')[0]}/{kind}"
    return helper.make_node(kind, inputs, outputs, name=name, domain=FUSED_DOMAIN, **attributes)
