"""The parts of a Vision Mamba classifier: in the eager model, and in its exported graph."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vim_deploy.errors import ConfigError, ExportError
from vim_deploy.families.parts import PIXELS, Part
from vim_deploy.model.blocks import Block
from vim_deploy.model.config import Directions
from vim_deploy.model.mixer import Mixer, causal_conv
from vim_deploy.model.vim import VisionMamba
from vim_deploy.onnx_graph.index import GraphIndex
from vim_deploy.ops import selective_scan
from vim_deploy.ops.signature import OP_DOMAIN, OP_NAME, by_name

TOKENS, FINAL_NORM = "tokens", "final norm"
# See Part.limit. Sums of hundreds of products accumulate some tens of rounding errors, and the scan
# accumulates over the sequence. A wrong epsilon or a single rounded weight exceeds the limits; docs/parity.md
# has the measurements.
LIMITS = {
    "tokens": 32.0,
    "residual": 4.0,
    "norm": 8.0,
    "in_proj": 32.0,
    "convolution": 16.0,
    "x_proj": 48.0,
    "dt_proj": 32.0,
    "scan": 64.0,
    "sum": 4.0,
    "out_proj": 64.0,
}


def model_parts(model: VisionMamba) -> list[Part]:
    """The chain from "pixels" to "final norm", in order of execution, computing in float64.

    Block i has the parts `layers.i.` residual (the input of its norm), norm, in_proj, for each direction
    convolution, x_proj, dt_proj and scan (with the gate), then sum (average of the directions) and out_proj.
    Raises ConfigError for models with one direction per layer.
    """
    if model.config.paired:
        raise ConfigError(
            "--layers does not support models with paired directions, one per layer; drop --layers."
        )
    double = copy.deepcopy(model).double().eval()
    parts = [_part(TOKENS, TOKENS, None, (PIXELS,), double.forward_tokens)]
    stream, hidden = None, TOKENS
    for index in range(double.config.depth):
        block = list(_block(double, index, stream, hidden))
        parts += block
        stream, hidden = f"layers.{index}.residual", block[-1].name
    assert stream is not None
    parts.append(_part(FINAL_NORM, "norm", None, (stream, hidden), lambda a, b: double.norm_f(a + b)))
    return parts


def _part(
    name: str, kind: str, block: int | None, inputs: tuple[str, ...], compute: Callable[..., Tensor]
) -> Part:
    return Part(name, kind, block, inputs, LIMITS[kind], compute, stream=kind in ("tokens", "residual"))


def _block(model: VisionMamba, index: int, stream: str | None, hidden: str) -> Iterator[Part]:
    block = model.layers[index]
    assert isinstance(block, Block)
    mixer = block.mixer

    def part(kind: str, inputs: tuple[str, ...], compute: Callable[..., Tensor], direction: str = "") -> Part:
        name = f"layers.{index}.{kind}{direction and ' ' + direction}"
        return _part(name, kind, index, inputs, compute)

    before = (hidden,) if stream is None else (hidden, stream)
    yield (residual := part("residual", before, partial(_stream, model)))
    yield (norm := part("norm", (residual.name,), block.norm))
    yield (in_proj := part("in_proj", (norm.name,), mixer.in_proj))
    scans: list[str] = []
    for direction, suffix, reverse in _directions(mixer):
        if suffix or not scans:
            conv = getattr(mixer, f"conv1d{suffix}")
            yield (u := part("convolution", (in_proj.name,), partial(_convolve, conv, reverse), direction))
            yield (x_proj := part("x_proj", (u.name,), getattr(mixer, f"x_proj{suffix}"), direction))
            step = partial(_time_step, mixer, getattr(mixer, f"dt_proj{suffix}"))
            yield (delta := part("dt_proj", (x_proj.name,), step, direction))
        names = (u.name, delta.name, x_proj.name, in_proj.name)
        scan = part("scan", names, partial(_scan, mixer, suffix, direction == "backward", reverse), direction)
        scans.append(scan.name)
        yield scan
    yield (total := part("sum", tuple(scans), partial(_sum, mixer)))
    yield part("out_proj", (total.name,), partial(_project_out, mixer))


def _directions(mixer: Mixer) -> list[tuple[str, str, bool]]:
    """Name, suffix of the weights before the scan, and whether the sequence is reversed."""
    directions = mixer.config.directions
    forward = ("forward", "", False)
    if directions is Directions.FORWARD:
        return [forward]
    return [forward, ("backward", "_b" if directions is Directions.SEPARATE else "", True)]


def _stream(model: VisionMamba, hidden: Tensor, residual: Tensor | None = None) -> Tensor:
    if model.config.rope:
        hidden = model.rope(hidden)
        if residual is not None and model.config.rope_residual:
            residual = model.rope(residual)
    return hidden if residual is None else residual + hidden


def _convolve(conv: nn.Conv1d, reverse: bool, projected: Tensor) -> Tensor:
    return F.silu(causal_conv(projected.chunk(2, dim=-1)[0], conv.weight, conv.bias, reverse))


def _time_step(mixer: Mixer, dt_proj: nn.Linear, projected: Tensor) -> Tensor:
    return F.linear(projected[..., : mixer.config.dt_rank], dt_proj.weight)


def _scan(
    mixer: Mixer, suffix: str, backward: bool, reverse: bool,
    u: Tensor, delta: Tensor, projected: Tensor, gated: Tensor,
) -> Tensor:  # fmt: skip
    rank, state = mixer.config.dt_rank, mixer.config.state
    _, B, C = projected.split([rank, state, state], dim=-1)
    A = -torch.exp(mixer.A_b_log if backward else mixer.A_log)
    D, bias = getattr(mixer, f"D{suffix}"), getattr(mixer, f"dt_proj{suffix}").bias
    z = gated.chunk(2, dim=-1)[1]
    return selective_scan(
        u, delta, A, B.contiguous(), C.contiguous(), D, z, bias, delta_softplus=True, reverse=reverse
    )


def _sum(mixer: Mixer, *scans: Tensor) -> Tensor:
    total = sum(scans[1:], start=scans[0])
    return total / 2 if mixer.config.averages_directions else total


def _project_out(mixer: Mixer, mixed: Tensor) -> Tensor:
    hidden: Tensor = mixer.out_proj(mixed)
    return hidden * mixer.gamma if mixer.config.layer_scale else hidden


def find_probes(model: onnx.ModelProto) -> dict[str, str]:
    """Names of parts to names of values in an exported graph. Raises ExportError without a scan."""
    graph = GraphIndex(model.graph)
    scans: dict[int, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if node.domain == OP_DOMAIN and node.op_type == OP_NAME:
            scans.setdefault(int(node.name.split(".")[1]), []).append(node)
    if not scans:
        raise ExportError("the graph has no selective scan; expected an ONNX file written by vim-export.")
    probes = {}
    for index in sorted(scans):
        probes.update(_block_probes(graph, index, scans[index]))
    first = probes["layers.0.residual"]
    # A rotary embedding comes between the tokens and the residual stream.
    probes[TOKENS] = graph.upstream(first, lambda node: node.name.startswith("rope/"))
    probes[FINAL_NORM] = next(
        node.output[0] for node in reversed(graph.nodes) if node.name.startswith("norm_f/")
    )
    return probes


def _block_probes(graph: GraphIndex, index: int, scans: list[onnx.NodeProto]) -> dict[str, str]:
    block = f"layers.{index}"
    probes = {}
    for direction, node in zip(("forward", "backward"), scans, strict=False):
        inputs = by_name(node.input)
        probes[f"{block}.convolution {direction}"] = inputs["u"]
        probes[f"{block}.x_proj {direction}"] = graph.upstream(inputs["B"], _is_slicing)
        probes[f"{block}.dt_proj {direction}"] = inputs["delta"]
        probes[f"{block}.scan {direction}"] = node.output[0]
    in_proj = graph.upstream(by_name(scans[0].input)["z"], _is_slicing)
    out_proj = next(node for node in graph.nodes if node.name == f"{block}.mixer.out_proj/MatMul")
    probes[f"{block}.in_proj"] = in_proj
    norm = graph.producers[in_proj].input[0]
    probes[f"{block}.norm"] = norm
    normed = graph.upstream(norm, lambda node: node.op_type == "Cast")
    probes[f"{block}.residual"] = graph.upstream(normed, lambda node: node.name.startswith(f"{block}.norm/"))
    probes[f"{block}.sum"] = out_proj.input[0]
    probes[f"{block}.out_proj"] = _scaled(graph, out_proj.output[0], f"{block}.mixer")
    return probes


def _is_slicing(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Split", "Slice")


def _scaled(graph: GraphIndex, value: str, module: str) -> str:
    """The block's output: the projection, or the projection times the layer scale."""
    for node in graph.nodes:
        if value in node.input and node.op_type == "Mul" and node.name.startswith(f"{module}/"):
            return node.output[0]
    return value
