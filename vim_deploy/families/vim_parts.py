"""The parts of a Vision Mamba in the eager model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vim_deploy.families.parts import PIXELS, Part
from vim_deploy.model.blocks import Block
from vim_deploy.model.config import Directions
from vim_deploy.model.mixer import Mixer, causal_conv
from vim_deploy.model.vim import VisionMamba
from vim_deploy.ops.reference import selective_scan_reference

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
    "gate": 8.0,
    "sum": 4.0,
    "out_proj": 64.0,
}


def model_parts(model: VisionMamba) -> list[Part]:
    """The chain from "pixels" to "final norm", in order of execution, computing in float64."""
    double = copy.deepcopy(model).double().eval()
    parts, after = blocks_of(double)
    return [*parts, make_part(FINAL_NORM, "norm", None, after[-1], lambda a, b: double.norm_f(a + b))]


def blocks_of(model: VisionMamba) -> tuple[list[Part], list[tuple[str, str]]]:
    """The parts from the tokens to the last block, and the names of the residual and the hidden value after
    each block, or each pair of blocks.

    Block i has the parts `layers.i.` residual (the input of its norm), norm, in_proj, for each direction
    convolution, x_proj, dt_proj, scan and gate, then sum (average of the directions) and out_proj. With
    paired directions, the two blocks of a pair have the same input, and `pair residual` and `pair hidden` add
    their results. `model` computes in float64.
    """
    parts = [make_part(TOKENS, TOKENS, None, (PIXELS,), model.forward_tokens)]
    stream, hidden = None, TOKENS
    after: list[tuple[str, str]] = []
    for index in range(model.config.depth):
        before = (hidden,) if stream is None else (hidden, stream)
        parts += _block(model, index, before, reverse=model.config.paired and index % 2 == 1)
        if not model.config.paired:
            stream, hidden = f"layers.{index}.residual", f"layers.{index}.out_proj"
        elif index % 2:
            stream, hidden = f"layers.{index}.pair residual", f"layers.{index}.pair hidden"
            for name, kind in ((stream, "residual"), (hidden, "out_proj")):
                both = (f"layers.{index - 1}.{kind}", f"layers.{index}.{kind}")
                parts.append(make_part(name, "residual", index, both, torch.add))
        if stream is not None and (not after or after[-1] != (stream, hidden)):
            after.append((stream, hidden))
    return parts, after


def make_part(
    name: str, kind: str, block: int | None, inputs: tuple[str, ...], compute: Callable[..., Tensor]
) -> Part:
    return Part(name, kind, block, inputs, LIMITS[kind], compute, stream=kind in ("tokens", "residual"))


def _block(model: VisionMamba, index: int, before: tuple[str, ...], reverse: bool) -> Iterator[Part]:
    """`before`: the names of hidden and, but for the first block, residual. `reverse`: see Block.forward."""
    block = model.layers[index]
    assert isinstance(block, Block)
    mixer = block.mixer

    def part(kind: str, inputs: tuple[str, ...], compute: Callable[..., Tensor], direction: str = "") -> Part:
        name = f"layers.{index}.{kind}{direction and ' ' + direction}"
        return make_part(name, kind, index, inputs, compute)

    yield (residual := part("residual", before, partial(_stream, model)))
    yield (norm := part("norm", (residual.name,), block.norm))
    yield (in_proj := part("in_proj", (norm.name,), mixer.in_proj))
    gates: list[str] = []
    for direction, suffix, backward in _directions(mixer):
        reversed_here = backward != reverse
        if suffix or not gates:
            conv = getattr(mixer, f"conv1d{suffix}")
            compute = partial(_convolve, conv, reversed_here)
            yield (u := part("convolution", (in_proj.name,), compute, direction))
            yield (x_proj := part("x_proj", (u.name,), getattr(mixer, f"x_proj{suffix}"), direction))
            step = partial(_time_step, mixer, getattr(mixer, f"dt_proj{suffix}"))
            yield (delta := part("dt_proj", (x_proj.name,), step, direction))
        names = (u.name, delta.name, x_proj.name)
        compute = partial(_scan, mixer, suffix, backward, reversed_here)
        yield (scan := part("scan", names, compute, direction))
        yield (gate := part("gate", (scan.name, in_proj.name), _gate, direction))
        gates.append(gate.name)
    yield (total := part("sum", tuple(gates), partial(_sum, mixer)))
    yield part("out_proj", (total.name,), partial(_project_out, mixer))


def _directions(mixer: Mixer) -> list[tuple[str, str, bool]]:
    """Name, suffix of the weights before the scan, and whether it is the backward direction."""
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
    mixer: Mixer, suffix: str, backward: bool, reverse: bool, u: Tensor, delta: Tensor, projected: Tensor
) -> Tensor:
    """Without the gate."""
    rank, state = mixer.config.dt_rank, mixer.config.state
    _, B, C = projected.split([rank, state, state], dim=-1)
    A = -torch.exp(mixer.A_b_log if backward else mixer.A_log)
    D, bias = getattr(mixer, f"D{suffix}"), getattr(mixer, f"dt_proj{suffix}").bias
    scanned = selective_scan_reference(u, delta, A, B, C, D, None, bias, delta_softplus=True, reverse=reverse)
    assert isinstance(scanned, Tensor)
    return scanned


def _gate(scanned: Tensor, projected: Tensor) -> Tensor:
    return scanned * F.silu(projected.chunk(2, dim=-1)[1])


def _sum(mixer: Mixer, *scans: Tensor) -> Tensor:
    total = sum(scans[1:], start=scans[0])
    return total / 2 if mixer.config.averages_directions else total


def _project_out(mixer: Mixer, mixed: Tensor) -> Tensor:
    hidden: Tensor = mixer.out_proj(mixed)
    return hidden * mixer.gamma if mixer.config.layer_scale else hidden
