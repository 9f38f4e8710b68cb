"""Fuses matmuls with the fused operators before and after them; see plugins/fused/README.md.

This is a second pass over graphs from `rewrite.fuse`.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import TensorProto, helper

from vim_deploy.engines.fusion.domain import FUSED_DOMAIN
from vim_deploy.engines.fusion.edit import Edit
from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError, demand

_PANEL = 48  # columns
_MAX_DEPTH = 3072
# Indices of ScanPair's inputs: the sequence of each direction, and its projection.
_DIRECTIONS = ((1, 2), (7, 8))


def fuse_matmuls(model: onnx.ModelProto, *, bfloat16: bool) -> dict[str, int]:
    """Fuse matmuls in place, with weights in bfloat16 or float32.

    Returns the number of fused operators of each kind in the new graph.
    """
    index, edit = GraphIndex(model.graph), Edit(model.graph)
    patterns = _Patterns(index, edit, bfloat16)
    by_type = {"RMSNorm": patterns.norm, "AddRMSNorm": patterns.add_norm, "ScanPair": patterns.conv}
    for node in model.graph.node:
        if node.domain == FUSED_DOMAIN and node.op_type in by_type:
            try:
                by_type[node.op_type](node)
            except NoMatchError:
                continue
    edit.apply()
    return dict(Counter(node.op_type for node in model.graph.node if node.domain == FUSED_DOMAIN))


class _Patterns:
    """The patterns. Each method adds a replacement or raises NoMatchError."""

    def __init__(self, index: GraphIndex, edit: Edit, bfloat16: bool) -> None:
        self._index, self._edit, self._bfloat16 = index, edit, bfloat16

    def norm(self, norm: onnx.NodeProto) -> None:
        x, weight = norm.input
        after = self._matmul_of(norm.output[0])
        self._replace(
            "NormProject", [norm, after], [x, weight, self._packed(after)], [after.output[0]], after, norm
        )

    def add_norm(self, norm: onnx.NodeProto) -> None:
        first, second, weight = norm.input
        after = self._matmul_of(norm.output[0])
        try:
            before, residual = self._matmul(first), second
        except NoMatchError:
            before, residual = self._matmul(second), first
        inputs = [before.input[0], self._packed(before), residual, weight, self._packed(after)]
        outputs = [after.output[0], norm.output[1]]
        self._replace("ProjectNormProject", [before, norm, after], inputs, outputs, after, norm)

    def conv(self, scan: onnx.NodeProto) -> None:
        conv = self._index.producer(scan.input[_DIRECTIONS[0][0]], "CausalConvPair", FUSED_DOMAIN)
        matmuls = [self._matmul(scan.input[projection]) for _, projection in _DIRECTIONS]
        sequences = [scan.input[sequence] for sequence, _ in _DIRECTIONS]
        demand(sequences == list(conv.output))
        demand([matmul.input[0] for matmul in matmuls] == sequences)
        demand(len({self._index.constant(matmul.input[1]).shape for matmul in matmuls}) == 1)
        xz, taps, bias, taps_b, bias_b = conv.input
        weights = [self._packed(matmul) for matmul in matmuls]
        inputs = [xz, taps, bias, weights[0], taps_b, bias_b, weights[1]]
        outputs = [*sequences, *(matmul.output[0] for matmul in matmuls)]
        self._replace("ConvProject", [conv, *matmuls], inputs, outputs, matmuls[0])

    def _matmul_of(self, value: str) -> onnx.NodeProto:
        """The matmul that is the only consumer of `value`."""
        found = self._index.only_consumer(value, "MatMul")
        if found is None:
            raise NoMatchError
        demand(found.input[0] == value)
        return self._matmul(found.output[0])

    def _matmul(self, value: str) -> onnx.NodeProto:
        """The matmul with constant weights that computes `value`."""
        found = self._index.producer(value, "MatMul")
        demand(self._index.constant(found.input[1], rank=2).shape[0] <= _MAX_DEPTH)
        return found

    def _packed(self, matmul: onnx.NodeProto) -> str:
        weights = self._index.constant(matmul.input[1], rank=2)
        name = f"{matmul.output[0]}/packed"
        return self._edit.tensor(
            _in_bfloat16(name, weights) if self._bfloat16 else _in_float32(name, weights)
        )

    def _replace(
        self,
        kind: str,
        nodes: list[onnx.NodeProto],
        inputs: list[str],
        outputs: list[str],
        last: onnx.NodeProto,
        norm: onnx.NodeProto | None = None,
    ) -> None:
        """`last`: the matmul that sets the attribute `columns`; `norm`: the node with further attributes."""
        demand(self._index.is_closed(nodes, exposed=outputs))
        attributes = {"columns": self._index.constant(last.input[1]).shape[1]}
        if norm is not None:
            attributes |= {item.name: helper.get_attribute_value(item) for item in norm.attribute}
        kind = f"{kind}Bfloat16" if self._bfloat16 else kind
        name = f"{outputs[0].rpartition('/')[0]}/{kind}"
        node = helper.make_node(kind, inputs, outputs, name=name, domain=FUSED_DOMAIN, **attributes)
        self._edit.replace(nodes, [node])


def _in_float32(name: str, weights: np.ndarray) -> onnx.TensorProto:
    """(panels, depth, columns of a panel)."""
    depth = len(weights)
    panels = _padded(weights, depth).reshape(depth, -1, _PANEL).transpose(1, 0, 2)
    return _tensor(name, TensorProto.FLOAT, panels)


def _in_bfloat16(name: str, weights: np.ndarray) -> onnx.TensorProto:
    """(panels, half the depth, pairs of values along the depth for each column of a panel)."""
    steps = (len(weights) + 1) // 2
    pairs = _padded(weights, 2 * steps).reshape(steps, 2, -1, _PANEL).transpose(2, 0, 3, 1)
    bits = np.ascontiguousarray(pairs).view(np.uint32)
    rounded = ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)  # to nearest, ties to even
    return _tensor(name, TensorProto.BFLOAT16, rounded.reshape(-1, steps, 2 * _PANEL))


def _padded(weights: np.ndarray, depth: int) -> np.ndarray:
    """Padded with zeros to this depth and to whole panels."""
    rows, columns = weights.shape
    return np.pad(weights, ((0, depth - rows), (0, -columns % _PANEL)))


def _tensor(name: str, kind: int, values: np.ndarray) -> onnx.TensorProto:
    raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return helper.make_tensor(name, kind, values.shape, raw, raw=True)
