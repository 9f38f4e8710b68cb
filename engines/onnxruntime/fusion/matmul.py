"""Fuses matmuls with the fused operators before and after them; see plugins/fused/README.md.

This is a second pass over graphs from `rewrite.fuse`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vim_deploy.engines.fusion.domain import FUSED_DOMAIN, SCAN_PAIR
from vim_deploy.engines.fusion.edit import Edit
from vim_deploy.engines.onnxruntime.fusion.ends import match_patches
from vim_deploy.engines.onnxruntime.fusion.packing import grouped, packed_tensor, to_bfloat16
from vim_deploy.engines.onnxruntime.fusion.reduced_scan import reduce_scans
from vim_deploy.engines.onnxruntime.fusion.smoothing import matmuls_of
from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError, demand, is_op
from vim_deploy.ops.signature import OP_DOMAIN, OP_NAME

_MAX_DEPTH = 3072
_PACKED = "/packed"  # end of the name of packed weights, after the name of the matmul's output
# Indices of ScanPair's inputs: the sequence of each direction, and its projection.
_DIRECTIONS = ((1, 2), (7, 8))


@dataclass(frozen=True)
class WeightFormat:
    """How operators have the weights of their matmuls.

    `suffix`: of the operators' names. `pack`: a function of a name and weights (depth, columns) that returns
    the packed tensor. `smoothing`: whether matmul inputs are multiplied by smoothing factors.
    `reduced_scan`: whether the scans have less accurate functions and time steps in bfloat16.
    """

    suffix: str
    pack: Callable[[str, np.ndarray], onnx.TensorProto]
    smoothing: bool = False
    reduced_scan: bool = True


def fuse_matmuls(
    model: onnx.ModelProto, weights: WeightFormat, smoothing: Mapping[str, np.ndarray] | None = None
) -> dict[str, int]:
    """Fuse matmuls in place.

    `smoothing`: factors (depth) of a matmul's input, by the name of its output; the weights are divided by
    them. Returns the number of fused operators of each kind in the new graph.
    """
    index, edit = GraphIndex(model.graph), Edit(model.graph)
    patterns = _Patterns(index, edit, weights, smoothing or {})
    by_type = {"RMSNorm": patterns.norm, "AddRMSNorm": patterns.add_norm, SCAN_PAIR: patterns.conv}
    for node in model.graph.node:
        if node.domain == FUSED_DOMAIN and node.op_type in by_type:
            try:
                by_type[node.op_type](node)
            except NoMatchError:
                continue
    patterns.others()
    edit.apply()
    if weights.reduced_scan:
        reduce_scans(model)
    return dict(Counter(node.op_type for node in model.graph.node if node.domain == FUSED_DOMAIN))


def matmul_of_packed(name: str) -> str | None:
    """The name of the output of the matmul that an initializer has the weights of; None for others."""
    return name.removesuffix(_PACKED) if name.endswith(_PACKED) else None


class _Patterns:
    """The patterns. Each method adds a replacement or raises NoMatchError."""

    def __init__(
        self, index: GraphIndex, edit: Edit, weights: WeightFormat, smoothing: Mapping[str, np.ndarray]
    ) -> None:
        self._index, self._edit, self._weights, self._smoothing = index, edit, weights, smoothing
        self._fused: set[str] = set()  # outputs of matmuls

    def norm(self, norm: onnx.NodeProto) -> None:
        x, weight = norm.input
        after = self._matmul_of(norm.output[0])
        inputs = [x, self._norm_weight(weight, after), self._packed(after)]
        self._replace("NormProject", [norm, after], inputs, [after.output[0]], after, _attributes(norm))

    def add_norm(self, norm: onnx.NodeProto) -> None:
        first, second, weight = norm.input
        after = self._matmul_of(norm.output[0])
        try:
            before, residual = self._matmul(first), second
        except NoMatchError:
            before, residual = self._matmul(second), first
        norm_weight = self._norm_weight(weight, after)
        inputs = [before.input[0], self._packed(before), residual, norm_weight, self._packed(after)]
        inputs += self._smoothing_inputs(before)
        outputs = [after.output[0], norm.output[1]]
        self._replace("ProjectNormProject", [before, norm, after], inputs, outputs, after, _attributes(norm))

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
        inputs += self._smoothing_inputs(*matmuls)
        outputs = [*sequences, *(matmul.output[0] for matmul in matmuls)]
        self._replace("ConvProject", [conv, *matmuls], inputs, outputs, matmuls[0])

    def others(self) -> None:
        """Matmuls without such neighbors, in networks whose scans are all fused.

        Otherwise the projections of time steps, which stay in float32, would be among them.
        """
        scans = [node for node in self._index.nodes if node.op_type in (OP_NAME, SCAN_PAIR)]
        if not scans or any(is_op(node, OP_NAME, OP_DOMAIN) for node in scans):
            return
        for output, matmul in matmuls_of(self._index).items():
            if output in self._fused or self._index.constant(matmul.input[1]).shape[0] > _MAX_DEPTH:
                continue
            weights = [self._packed(matmul), *self._smoothing_inputs(matmul)]
            try:
                self._patch_project(matmul, weights)
            except NoMatchError:
                self._replace("Project", [matmul], [matmul.input[0], *weights], [output], matmul)

    def _patch_project(self, matmul: onnx.NodeProto, weights: list[str]) -> None:
        patches = match_patches(self._index, matmul)
        demand(bool(self._weights.suffix))  # there is no such operator for float32
        image = self._edit.tensor(numpy_helper.from_array(patches.image, f"{matmul.output[0]}/image"))
        rows = helper.make_node("Reshape", [patches.x, image], [patches.nodes[0].output[0]])
        nodes, outputs = [*patches.nodes, matmul], [matmul.output[0]]
        inputs = [rows.output[0], *weights]
        self._replace("PatchProject", nodes, inputs, outputs, matmul, patches.attributes, before=[rows])

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
        if (factors := self._smoothing.get(matmul.output[0])) is not None:
            weights = weights / factors[:, None]
        return self._edit.tensor(self._weights.pack(f"{matmul.output[0]}{_PACKED}", weights))

    def _norm_weight(self, weight: str, matmul: onnx.NodeProto) -> str:
        """The weight of a norm, with the smoothing factors of the matmul after it."""
        factors = self._smoothing.get(matmul.output[0])
        if factors is None:
            return weight
        return self._edit.constant(f"{matmul.output[0]}/norm", self._index.constant(weight) * factors)

    def _smoothing_inputs(self, *matmuls: onnx.NodeProto) -> list[str]:
        """Smoothing factors as inputs of the operator; 1 without factors."""
        if not self._weights.smoothing:
            return []
        names = []
        for matmul in matmuls:
            factors = self._smoothing.get(matmul.output[0])
            if factors is None:
                depth = self._index.constant(matmul.input[1], rank=2).shape[0]
                names.append(self._edit.constant(f"ones/{depth}", np.ones(depth)))
            else:
                names.append(self._edit.constant(f"{matmul.output[0]}/smoothing", factors))
        return names

    def _replace(
        self,
        kind: str,
        nodes: list[onnx.NodeProto],
        inputs: list[str],
        outputs: list[str],
        last: onnx.NodeProto,
        attributes: Mapping[str, Any] | None = None,
        before: Sequence[onnx.NodeProto] = (),
    ) -> None:
        """`last`: the matmul that sets `columns`; `before`: new nodes that compute inputs."""
        demand(self._index.is_closed(nodes, exposed=outputs))
        self._fused |= {node.output[0] for node in nodes}
        columns = self._index.constant(last.input[1]).shape[1]
        kind += self._weights.suffix
        name = f"{outputs[0].rpartition('/')[0]}/{kind}"
        node = helper.make_node(
            kind, inputs, outputs, name=name, domain=FUSED_DOMAIN, columns=columns, **(attributes or {})
        )
        self._edit.replace(nodes, [*before, node])


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _in_float32(name: str, weights: np.ndarray) -> onnx.TensorProto:
    return packed_tensor(name, TensorProto.FLOAT, grouped(weights, 1))


def _in_bfloat16(name: str, weights: np.ndarray) -> onnx.TensorProto:
    return packed_tensor(name, TensorProto.BFLOAT16, to_bfloat16(grouped(weights, 2)))


FLOAT32 = WeightFormat("", _in_float32, reduced_scan=False)
BFLOAT16 = WeightFormat("Bfloat16", _in_bfloat16)
