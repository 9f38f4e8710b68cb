"""The graph with QuantizeLinear and DequantizeLinear around its large matmuls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vim_deploy.errors import ExportError
from vim_deploy.export.quantization.formats import FORMATS, Format
from vim_deploy.export.quantization.samples import sample
from vim_deploy.export.quantization.scales import Scales, choose_scales
from vim_deploy.export.quantization.sites import Site, find_sites
from vim_deploy.precision import Precision


@dataclass(frozen=True)
class Quantization:
    """How a graph was quantized, for its metadata.

    `matmuls`: their number. `smoothed`: those whose inputs are divided by factors, `multiplied` with an
    operator of their own. `error`: the mean over the matmuls of the squared error relative to the squared
    output.
    """

    matmuls: int
    smoothed: int
    multiplied: int
    error: float


def quantize(
    graph: onnx.ModelProto, precision: Precision, batches: Iterable[Mapping[str, np.ndarray]], count: int
) -> Quantization:
    """Quantize the graph in place, with scales from `count` batches of inputs.

    Its opset must be that of the precision's format or later. Raises ExportError for a graph without a matmul
    that is large enough.
    """
    form = FORMATS[precision]
    sites = find_sites(graph.graph)
    if not sites:
        raise ExportError(
            f"the network has no matmul with constant weights that {precision} applies to; export with "
            "--precision fp32."
        )
    samples = sample(graph, sorted({site.value for site in sites}), batches, count)
    chosen = {
        site.node.name: choose_scales(form, site.weights, samples[site.value], foldable=bool(site.foldable))
        for site in sites
    }
    _rewrite(graph.graph, form, sites, chosen)
    smoothed = [site for site in sites if chosen[site.node.name].factors is not None]
    return Quantization(
        matmuls=len(sites),
        smoothed=len(smoothed),
        multiplied=sum(not site.foldable for site in smoothed),
        error=float(np.mean([scales.error for scales in chosen.values()])),
    )


def _rewrite(graph: onnx.GraphProto, form: Format, sites: list[Site], chosen: dict[str, Scales]) -> None:
    by_name = {site.node.name: site for site in sites}
    constants = {item.name: item for item in graph.initializer}
    unused = {site.node.input[1] for site in sites}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        site = by_name.get(node.name)
        if site is not None:
            nodes += _quantized(graph, form, constants, site, chosen[node.name])
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [item for item in graph.initializer if item.name in used or item.name not in unused]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _quantized(
    graph: onnx.GraphProto,
    form: Format,
    constants: dict[str, onnx.TensorProto],
    site: Site,
    scales: Scales,
) -> list[onnx.NodeProto]:
    """The nodes before a matmul, whose inputs are replaced in place."""
    name, weights, value = site.node.name, site.weights, site.value
    nodes = []
    if scales.factors is not None:
        weights = weights * scales.factors[:, None]
        if site.foldable:
            for constant in site.foldable:
                divided = numpy_helper.to_array(constants[constant]) / scales.factors
                constants[constant].CopyFrom(numpy_helper.from_array(divided, constant))
        else:
            smooth = _constant(graph, f"{name}/smoothing", 1 / scales.factors)
            nodes.append(helper.make_node("Mul", [value, smooth], [f"{name}/smooth"], name=f"{name}/Smooth"))
            value = f"{name}/smooth"
    quantized, weight_scales = form.quantize_weights(weights)
    zero = _constant(graph, f"{name}/zero", np.zeros((), form.dtype))
    scale = _constant(graph, f"{name}/input_scale", np.float32(scales.inputs))
    nodes += [
        helper.make_node(
            "QuantizeLinear", [value, scale, zero], [f"{name}/quantized"], name=f"{name}/Quantize"
        ),
        helper.make_node(
            "DequantizeLinear",
            [f"{name}/quantized", scale, zero],
            [f"{name}/input"],
            name=f"{name}/Dequantize",
        ),
        helper.make_node(
            "DequantizeLinear",
            [
                _constant(graph, f"{name}/weight", quantized),
                _constant(graph, f"{name}/weight_scale", weight_scales),
                _constant(graph, f"{name}/weight_zero", np.zeros(weight_scales.shape, form.dtype)),
            ],
            [f"{name}/weight_float"],
            name=f"{name}/DequantizeWeight",
            axis=1,
        ),
    ]
    site.node.input[0], site.node.input[1] = f"{name}/input", f"{name}/weight_float"
    return nodes


def _constant(graph: onnx.GraphProto, name: str, value: np.ndarray | np.generic) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name
