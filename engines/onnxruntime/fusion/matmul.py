"""Matrix products join the fused operators that lie before and after them: plugins/fused/README.md.

A second rewriting, of graphs that `rewrite.fuse` has made.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import TensorProto, helper

from vim_deploy.engines.onnxruntime.fusion.domain import FUSED_DOMAIN
from vim_deploy.engines.onnxruntime.fusion.edit import Edit
from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError, demand

_PANEL = 48  # columns
_LARGEST_DEPTH = 3072
# Of ScanPair's inputs: each direction's sequence, and the projection of it.
_DIRECTIONS = ((1, 2), (7, 8))


def join_products(model: onnx.ModelProto, *, bfloat16: bool) -> dict[str, int]:
    """Let products become part of fused operators, in place; with weights in bfloat16 or in float32.

    Returns how many fused operators of each kind there are then.
    """
    view, edit = GraphIndex(model.graph), Edit(model.graph)
    joined = _Joined(view, edit, bfloat16)
    forms = {"RMSNorm": joined.norm, "AddRMSNorm": joined.add_norm, "ScanPair": joined.conv}
    for node in model.graph.node:
        if node.domain == FUSED_DOMAIN and node.op_type in forms:
            try:
                forms[node.op_type](node)
            except NoMatchError:
                continue
    edit.apply()
    return dict(Counter(node.op_type for node in model.graph.node if node.domain == FUSED_DOMAIN))


class _Joined:
    """The forms; each makes a replacement or raises NoMatchError."""

    def __init__(self, view: GraphIndex, edit: Edit, bfloat16: bool) -> None:
        self._view, self._edit, self._bfloat16 = view, edit, bfloat16

    def norm(self, norm: onnx.NodeProto) -> None:
        x, weight = norm.input
        after = self._user(norm.output[0])
        self._replace(
            "NormProject", [norm, after], [x, weight, self._packed(after)], [after.output[0]], after, norm
        )

    def add_norm(self, norm: onnx.NodeProto) -> None:
        first, second, weight = norm.input
        after = self._user(norm.output[0])
        try:
            before, residual = self._product(first), second
        except NoMatchError:
            before, residual = self._product(second), first
        inputs = [before.input[0], self._packed(before), residual, weight, self._packed(after)]
        outputs = [after.output[0], norm.output[1]]
        self._replace("ProjectNormProject", [before, norm, after], inputs, outputs, after, norm)

    def conv(self, scan: onnx.NodeProto) -> None:
        conv = self._view.producer(scan.input[_DIRECTIONS[0][0]], "CausalConvPair", FUSED_DOMAIN)
        products = [self._product(scan.input[projection]) for _, projection in _DIRECTIONS]
        sequences = [scan.input[sequence] for sequence, _ in _DIRECTIONS]
        demand(sequences == list(conv.output))
        demand([product.input[0] for product in products] == sequences)
        demand(len({self._view.constant(product.input[1]).shape for product in products}) == 1)
        xz, taps, bias, taps_b, bias_b = conv.input
        weights = [self._packed(product) for product in products]
        inputs = [xz, taps, bias, weights[0], taps_b, bias_b, weights[1]]
        outputs = [*sequences, *(product.output[0] for product in products)]
        self._replace("ConvProject", [conv, *products], inputs, outputs, products[0])

    def _user(self, value: str) -> onnx.NodeProto:
        """The product that alone uses `value`."""
        found = self._view.only_consumer(value, "MatMul")
        if found is None:
            raise NoMatchError
        demand(found.input[0] == value)
        return self._product(found.output[0])

    def _product(self, value: str) -> onnx.NodeProto:
        """The product with constant weights that makes `value`."""
        found = self._view.producer(value, "MatMul")
        demand(self._view.constant(found.input[1], rank=2).shape[0] <= _LARGEST_DEPTH)
        return found

    def _packed(self, product: onnx.NodeProto) -> str:
        weights = self._view.constant(product.input[1], rank=2)
        name = f"{product.output[0]}/packed"
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
        """`last` is the product whose columns the operator's attribute gives."""
        demand(self._view.is_closed(nodes, exposed=outputs))
        attributes = {"columns": self._view.constant(last.input[1]).shape[1]}
        if norm is not None:
            attributes |= {item.name: helper.get_attribute_value(item) for item in norm.attribute}
        kind = f"{kind}Bfloat16" if self._bfloat16 else kind
        name = f"{outputs[0].rpartition('/')[0]}/{kind}"
        node = helper.make_node(kind, inputs, outputs, name=name, domain=FUSED_DOMAIN, **attributes)
        self._edit.replace(nodes, [node])


def _in_float32(name: str, weights: np.ndarray) -> onnx.TensorProto:
    """(panels, depth, columns of a panel)"""
    depth = len(weights)
    panels = _filled(weights, depth).reshape(depth, -1, _PANEL).transpose(1, 0, 2)
    return _tensor(name, TensorProto.FLOAT, panels)


def _in_bfloat16(name: str, weights: np.ndarray) -> onnx.TensorProto:
    """(panels, half the depth, pairs of neighbours in depth for each column of a panel)"""
    steps = (len(weights) + 1) // 2
    pairs = _filled(weights, 2 * steps).reshape(steps, 2, -1, _PANEL).transpose(2, 0, 3, 1)
    bits = np.ascontiguousarray(pairs).view(np.uint32)
    rounded = ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)  # to nearest, ties to even
    return _tensor(name, TensorProto.BFLOAT16, rounded.reshape(-1, steps, 2 * _PANEL))


def _filled(weights: np.ndarray, depth: int) -> np.ndarray:
    """With zeros up to this depth and to whole panels."""
    rows, columns = weights.shape
    return np.pad(weights, ((0, depth - rows), (0, -columns % _PANEL)))


def _tensor(name: str, kind: int, values: np.ndarray) -> onnx.TensorProto:
    raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return helper.make_tensor(name, kind, values.shape, raw, raw=True)
